//! Not computing twice what was computed once.

use super::answer::Answer;
use super::engine::Engine;
use super::prefix_cache::{Match, shared_len};
use crate::EngineError;
use crate::backend::{BackendError, Chunk, LogitsOf, SequenceId};
use boca_core::ChatMessage;

impl Engine {
    /// Computes the beginning that all conversations with this system prompt share, so that the first one does not wait
    /// for it.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn read_ahead(&mut self, system: &str) -> Result<(), EngineError> {
        let with = |question: &str| {
            let messages = [ChatMessage::system(system), ChatMessage::user(question)];
            self.text.prompt(&messages, &[], true).map(|prompt| prompt.ids)
        };
        // What comes before any question is what two different ones have in common.
        let (one, other) = (with("A")?, with("B")?);
        let tokens = &one[..shared_len(&one, &other)];
        let context_tokens = self.config.info.context_tokens as usize;
        let most = self.cache.max_tokens().min(context_tokens.saturating_sub(1)).min(self.kv_tokens());
        if tokens.is_empty() || tokens.len() > most {
            return Ok(());
        }
        let found = self.cache.longest(tokens);
        if found.is_some_and(|found| found.n_tokens == tokens.len()) {
            return Ok(());
        }
        let (sequence, n_held) = self.open(found, tokens.len())?;
        let mut chunks = tokens[n_held..].chunks(self.config.prefill_chunk_tokens.max(1));
        let computed = chunks
            .try_for_each(|tokens| self.compute_one(Chunk { sequence, tokens, logits: LogitsOf::None }));
        match &computed {
            Ok(()) => self.keep(tokens, sequence),
            Err(_) => self.backend.close(sequence),
        }
        Ok(computed?)
    }

    /// The sequence that shares the longest beginning with a prompt: what ended answers have left, or what others hold
    /// that are under way.
    pub(super) fn longest_match(&mut self, prompt: &[u32]) -> Option<Match> {
        // The last token is always computed: its logits are what the answer begins with.
        let reusable = &prompt[..prompt.len() - 1];
        let under_way = self
            .running
            .iter()
            .map(|answer| Match { sequence: answer.sequence, n_tokens: shared_len(answer.held(), reusable) });
        let best = under_way.chain(self.cache.longest(reusable)).max_by_key(|found| found.n_tokens);
        best.filter(|found| found.n_tokens > 0)
    }

    /// A sequence that begins like `reuse`, and how many tokens it holds already.
    pub(super) fn open(
        &mut self,
        reuse: Option<Match>,
        max_tokens: usize,
    ) -> Result<(SequenceId, usize), BackendError> {
        loop {
            let opened = match reuse {
                Some(Match { sequence, n_tokens }) if self.backend.len(sequence).is_some() => {
                    self.backend.fork(sequence, n_tokens, max_tokens).map(|fork| (fork, n_tokens))
                }
                _ => self.backend.open(max_tokens).map(|sequence| (sequence, 0)),
            };
            match opened {
                Err(BackendError::OutOfMemory { .. }) if self.make_room() => {}
                opened => return opened,
            }
        }
    }

    /// Keeps a sequence that holds these tokens, as far as there is room.
    pub(super) fn keep(&mut self, held: &[u32], sequence: SequenceId) {
        for superfluous in self.cache.insert(held, sequence) {
            self.backend.close(superfluous);
        }
        self.keep_within_bound();
    }

    /// Gives up what was not used for longest, until what is kept fits its bound. The tree counts tokens; what they take
    /// depends on how the backend shares and rounds.
    fn keep_within_bound(&mut self) {
        let is_too_much = |engine: &Self| {
            engine.kept_bytes() > engine.config.prefix_cache_bytes
                || engine.config.kv_limit_bytes.is_some_and(|limit| engine.backend.kv_bytes() > limit)
        };
        while is_too_much(self) {
            match self.cache.evict() {
                Some(sequence) => self.backend.close(sequence),
                None => break,
            }
        }
    }

    /// Bytes that answers under way do not account for.
    pub(super) fn kept_bytes(&self) -> u64 {
        let held: usize = self.running.iter().map(Answer::n_launched).sum();
        let of_running = (held as u64).saturating_mul(self.backend.kv_bytes_per_token());
        self.backend.kv_bytes().saturating_sub(of_running)
    }

    /// Gives up what is kept for later. False when nothing is.
    pub(super) fn make_room(&mut self) -> bool {
        let had_any = !self.cache.is_empty();
        while let Some(sequence) = self.cache.evict() {
            self.backend.close(sequence);
        }
        had_any
    }
}
