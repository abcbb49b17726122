//! Who may begin: as many as their KV memory allows, in the order in which they came.
//!
//! A request may come to need memory for its prompt and all the tokens that it may generate. It begins when that fits
//! beside what those under way may come to need, so none of them ever stops half way for want of memory. What is kept
//! of earlier prompts does not count: it gives way as soon as the memory is really written.

use super::answer::{Answer, NewAnswer};
use super::clock::Clock;
use super::engine::Engine;
use super::stepping::Share;
use crate::generator::{Report, ReportSink};
use crate::{CancelToken, EngineError};
use boca_core::{FinishReason, RequestId};

/// A request that fits, but not yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) cancel: CancelToken,
    pub(super) clock: Clock,
    pub(super) answer: NewAnswer,
}

impl Engine {
    /// Tokens that one request may take when nothing else is there.
    pub(super) fn kv_tokens(&self) -> usize {
        let Some(limit) = self.config.kv_limit_bytes else { return usize::MAX };
        let granule = self.backend.kv_granule_tokens().max(1);
        let granules = limit / self.backend.kv_bytes_per_token().max(1).saturating_mul(granule as u64);
        usize::try_from(granules).unwrap_or(usize::MAX).saturating_mul(granule)
    }

    /// KV memory of so many tokens of one sequence that shares nothing.
    pub(super) fn kv_bytes_of(&self, n_tokens: usize) -> u64 {
        let rounded = n_tokens.next_multiple_of(self.backend.kv_granule_tokens().max(1));
        self.backend.kv_bytes_per_token().saturating_mul(rounded as u64)
    }

    /// Lets those begin that waited, as far as they fit.
    pub(super) fn admit(&mut self, report: ReportSink<'_>) {
        // Only somebody's end makes room.
        while std::mem::take(&mut self.may_admit)
            && let Some(first) = self.waiting.front()
        {
            let (prompt, n_tokens) = (first.answer.prompt().to_vec(), first.answer.n_tokens());
            let reuse = self.longest_match(&prompt);
            let shared = reuse.filter(|found| self.running.iter().any(|a| a.sequence == found.sequence));
            let granule = self.backend.kv_granule_tokens().max(1);
            // A block that is not full is copied when two go on from it.
            let n_shared = match shared {
                Some(found) if !self.backend.forks_copy() => found.n_tokens / granule * granule,
                _ => 0,
            };
            let needed = self.kv_bytes_of(n_tokens) - self.kv_bytes_of(n_shared);
            if self.config.kv_limit_bytes.is_some_and(|limit| self.promised_bytes + needed > limit) {
                return;
            }
            let Some(Waiting { id, cancel, mut clock, answer }) = self.waiting.pop_front() else { return };
            match self.open(reuse, n_tokens) {
                Ok((sequence, n_cached)) => {
                    clock.begin();
                    self.counters.count_start(n_cached);
                    self.running.push(answer.begin(id, cancel, clock, sequence, n_cached));
                    self.count_promises();
                }
                Err(error) => {
                    self.may_admit = true;
                    report(&id, Report::Ended(Err(error.into())));
                }
            }
        }
    }

    /// Ends those that waited and were cancelled, or whose time is over.
    pub(super) fn end_those_that_waited(&mut self, report: ReportSink<'_>) {
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place) {
            let end = if waiting.cancel.is_cancelled() {
                Ok(waiting.answer.unbegun(FinishReason::Cancelled, &waiting.clock))
            } else if waiting.clock.has_ended() {
                Err(EngineError::DeadlineBeforeFirstToken)
            } else {
                place += 1;
                continue;
            };
            if let Some(Waiting { id, .. }) = self.waiting.remove(place) {
                self.may_admit = true;
                self.counters.count_end(&end);
                report(&id, Report::Ended(end));
            }
        }
    }

    /// Counts again what those under way may come to need.
    pub(super) fn count_promises(&mut self) {
        self.may_admit = true;
        if self.backend.forks_copy() {
            // In the end each has all of it for itself.
            self.promised_bytes = self.running.iter().map(|answer| self.kv_bytes_of(answer.max_held())).sum();
            return;
        }
        let sequences: Vec<_> = self.running.iter().map(|answer| answer.sequence).collect();
        let more = |answer: &Answer| {
            self.kv_bytes_of(answer.max_held()).saturating_sub(self.kv_bytes_of(answer.n_launched()))
        };
        let growth: u64 = self.running.iter().map(more).sum();
        self.promised_bytes = self.backend.kv_bytes_of(&sequences).saturating_add(growth);
    }

    /// Lets what is kept give way to what the next step writes.
    pub(super) fn make_room_for(&mut self, shares: &[Share]) {
        let Some(limit) = self.config.kv_limit_bytes else { return };
        let more = |share: &Share| {
            let answer = &self.running[share.place];
            let held = answer.n_launched();
            let is_copied = self.backend.forks_copy() && answer.has_only_what_was_cached();
            let there = if is_copied { 0 } else { self.kv_bytes_of(held) };
            self.kv_bytes_of(held + share.n_prompt.max(1)) - there
        };
        let more: u64 = shares.iter().map(more).sum();
        while self.backend.kv_bytes().saturating_add(more) > limit {
            match self.cache.evict() {
                Some(sequence) => self.backend.close(sequence),
                None => break,
            }
        }
    }
}
