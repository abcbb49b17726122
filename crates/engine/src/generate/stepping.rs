//! One step after the other: who takes part, and what becomes of it.

use super::answer::Answer;
use super::decoding::Source;
use super::engine::{End, Engine};
use super::sampler::BadLogit;
use crate::EngineError;
use crate::backend::{BackendError, Chunk, Logits, SequenceId};
use crate::generator::{Report, ReportSink};
use std::time::{Duration, Instant};

/// One answer's share of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Its place among those that are under way.
    pub(super) place: usize,
    /// Tokens of its prompt; 0 when it is being written.
    pub(super) n_prompt: usize,
    /// Which of the step's outputs is its next token; `None` inside a prompt.
    pub(super) row: Option<usize>,
}

/// What a step was, whoever of those that had a share in it is still there.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepFacts {
    n_shares: usize,
    n_prompt: usize,
    n_decoding: usize,
    took: Duration,
}

impl StepFacts {
    pub(super) fn of<'a>(shares: impl IntoIterator<Item = &'a Share>, took: Duration) -> Self {
        let mut facts = Self { n_shares: 0, n_prompt: 0, n_decoding: 0, took };
        for share in shares {
            facts.n_shares += 1;
            facts.n_prompt += share.n_prompt;
            facts.n_decoding += usize::from(share.n_prompt == 0);
        }
        facts
    }
}

/// What a step gives, a row for each answer that gets its next token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    Logits(&'a Logits),
    /// `None` where a logit was not finite.
    Drawn(&'a [Option<u32>]),
}

impl Engine {
    /// Who takes part in the next step. Those whose prompts are being read share its prompt tokens evenly, so that a
    /// short one does not wait behind a long one; what is left over goes round.
    pub(super) fn shares(&self) -> Vec<Share> {
        let n_decoding = self.running.iter().filter(|answer| answer.wants_token()).count();
        let mut unread: Vec<usize> = self.running.iter().map(Answer::n_unread).collect();
        let mut n_prompt = vec![0; unread.len()];
        let mut left = self.prefill.tokens(n_decoding);
        while left > 0 {
            let n_readers = unread.iter().filter(|n| **n > 0).count();
            if n_readers == 0 {
                break;
            }
            let each = (left / n_readers).max(1);
            // Where there is not even one for each, they take turns.
            let turn = self.counters.steps as usize % unread.len();
            for place in (turn..unread.len()).chain(0..turn) {
                let (unread, n_prompt) = (&mut unread[place], &mut n_prompt[place]);
                let n = each.min(*unread).min(left);
                *unread -= n;
                *n_prompt += n;
                left -= n;
            }
        }
        let mut rows = 0..;
        let share = |(place, n_prompt): (usize, usize)| {
            let answer = &self.running[place];
            let gives_token = answer.n_unread() == n_prompt && (n_prompt > 0 || answer.wants_token());
            let row = if gives_token { rows.next() } else { None };
            (gives_token || n_prompt > 0).then_some(Share { place, n_prompt, row })
        };
        n_prompt.into_iter().enumerate().filter_map(share).collect()
    }

    fn compute(&mut self, shares: &[Share]) -> Result<(), BackendError> {
        let chunk = |share: &Share| {
            let answer = &self.running[share.place];
            let (tokens, logits) = (answer.tokens(share.n_prompt), answer.logits_after(share.n_prompt));
            Chunk { sequence: answer.sequence, tokens, logits }
        };
        let chunks: Vec<Chunk<'_>> = shares.iter().map(chunk).collect();
        let ticket = self.backend.launch(&chunks)?;
        self.backend.collect(ticket, &mut self.logits)
    }

    /// Counts a step that was computed.
    pub(super) fn count(&mut self, step: StepFacts) {
        self.counters.count_step(step.n_prompt);
        self.prefill.record(step.n_decoding, step.n_prompt, step.took);
    }

    /// Hands out what a step gave to those of its shares that are still there.
    pub(super) fn hand_out(
        &mut self,
        shares: &[Share],
        given: Given<'_>,
        step: StepFacts,
        report: ReportSink<'_>,
    ) -> Vec<(usize, End)> {
        let mut ends = Vec::new();
        for Share { place, n_prompt, row } in shares.iter().copied() {
            let answer = &mut self.running[place];
            if n_prompt > 0 && step.n_shares > 1 {
                answer.read_in_company();
            }
            answer.computed(n_prompt);
            let Some(row) = row else { continue };
            let source = match given {
                Given::Logits(logits) => (row < logits.n_rows()).then(|| Source::Logits(logits.row(row))),
                Given::Drawn(drawn) => drawn.get(row).copied().map(Source::Drawn),
            };
            let Some(source) = source else {
                let reason = "a step that asked for tokens gave too few".into();
                ends.push((place, Err(BackendError::Device { after: step.took, reason }.into())));
                continue;
            };
            self.counters.generated_tokens += 1;
            let id = answer.id.clone();
            let mut emit = |event| report(&id, Report::Event(event));
            match answer.decode(source, &mut emit) {
                Ok(None) => {}
                Ok(Some(summary)) => ends.push((place, Ok(summary))),
                Err(bad) => ends.push((place, Err(nonsense(bad, step.took)))),
            }
        }
        ends
    }

    /// Ends answers, and saves what they leave when it is time.
    pub(super) fn end_all(&mut self, mut ends: Vec<(usize, End)>, report: ReportSink<'_>) {
        // From the back, so that the places before stay what they are.
        ends.sort_by_key(|(place, _)| *place);
        let any_ended = !ends.is_empty();
        for (place, end) in ends.into_iter().rev() {
            self.end(place, end, report);
        }
        if any_ended {
            self.save_now_and_then();
        }
    }

    /// Whom a step that could not be computed is the end of.
    pub(super) fn ends_of(&mut self, error: BackendError, shares: &[Share]) -> Vec<(usize, End)> {
        // They try again in the next step.
        if matches!(error, BackendError::OutOfMemory { .. }) && self.make_room() {
            return Vec::new();
        }
        let failed = |place| (place, Err(error.clone().into()));
        self.hit_by(&error, shares).into_iter().map(failed).collect()
    }

    /// Whom a failed step is the end of: one whose sequence is at fault, the one that came last where memory is
    /// short, and everybody where the device failed.
    fn hit_by(&self, error: &BackendError, shares: &[Share]) -> Vec<usize> {
        let places = || shares.iter().map(|share| share.place);
        match error {
            BackendError::OutOfMemory { .. } => places().next_back().into_iter().collect(),
            BackendError::BadSequence { sequence, .. } => {
                let id = SequenceId(*sequence);
                let one: Vec<usize> = places().filter(|place| self.running[*place].sequence == id).collect();
                if one.is_empty() { places().collect() } else { one }
            }
            BackendError::Device { .. } => places().collect(),
        }
    }

    /// Everything that has to be done before the next step, and then that.
    pub(super) fn try_step(&mut self, report: ReportSink<'_>) {
        self.end_those_that_waited(report);
        self.end_those_that_must(report);
        self.admit(report);
        if self.can_step_ahead() || !self.in_flight.is_empty() {
            self.step_ahead(report);
        } else {
            self.step_in_turn(report);
        }
    }

    /// A step whose tokens are picked here, from its logits.
    fn step_in_turn(&mut self, report: ReportSink<'_>) {
        let shares = self.shares();
        if shares.is_empty() {
            return;
        }
        self.make_room_for(&shares);
        let began = Instant::now();
        let ends = match self.compute(&shares) {
            Ok(()) => {
                let step = StepFacts::of(&shares, began.elapsed());
                self.count(step);
                let logits = std::mem::take(&mut self.logits);
                let ends = self.hand_out(&shares, Given::Logits(&logits), step, report);
                self.logits = logits;
                ends
            }
            Err(error) => self.ends_of(error, &shares),
        };
        self.end_all(ends, report);
    }
}

pub(super) fn nonsense(bad: BadLogit, after: Duration) -> EngineError {
    EngineError::Backend(BackendError::Device { after, reason: bad.to_string() })
}
