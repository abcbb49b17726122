//! Not computing twice what was computed once.

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
        if tokens.is_empty() {
            return Ok(());
        }
        let sequence = self.backend.open(tokens.len())?;
        let mut computed = Ok(());
        for tokens in tokens.chunks(self.config.prefill_chunk_tokens.max(1)) {
            let chunk = Chunk { sequence, tokens, logits: LogitsOf::None };
            let step = self.backend.launch(&[chunk]);
            computed = step.and_then(|ticket| self.backend.collect(ticket, &mut self.logits));
            if computed.is_err() {
                break;
            }
        }
        let superfluous = match &computed {
            Ok(()) => self.cache.insert(tokens, sequence),
            Err(_) => vec![sequence],
        };
        for sequence in superfluous {
            self.backend.close(sequence);
        }
        Ok(computed?)
    }

    /// A sequence for a prompt, and how many of its tokens it holds already: what ended answers have left, or what
    /// others hold that are under way.
    pub(super) fn open(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
    ) -> Result<(SequenceId, usize), BackendError> {
        // The last token is always computed: its logits are what the answer begins with.
        let reusable = &prompt[..prompt.len() - 1];
        let under_way = self
            .running
            .iter()
            .map(|answer| Match { sequence: answer.sequence, n_tokens: shared_len(answer.held(), reusable) });
        let best = under_way.chain(self.cache.longest(reusable)).max_by_key(|found| found.n_tokens);
        let best = best.filter(|found| found.n_tokens > 0);
        loop {
            let opened = match best {
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

    /// Gives up what is kept for later. False when nothing is.
    pub(super) fn make_room(&mut self) -> bool {
        let had_any = !self.cache.is_empty();
        while let Some(sequence) = self.cache.evict() {
            self.backend.close(sequence);
        }
        had_any
    }
}
