//! The rows of one step: every token of every chunk, in order. What may stand in a step is the same for every backend.

use crate::backend::{BackendError, Chunk, LogitsOf, SequenceId};
use crate::sequences::{Extent, not_open};

/// One chunk's place among the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepChunk {
    pub(crate) first_row: usize,
    pub(crate) n_rows: usize,
}

/// What the forward pass is about to compute.
#[derive(Debug, Default)]
pub(crate) struct Step {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    chunks: Vec<StepChunk>,
    wanted_rows: Vec<usize>,
}

impl Step {
    /// Checks all chunks, then lays them out as rows. `extent_of` knows the open sequences.
    ///
    /// # Errors
    /// [`BackendError::BadSequence`]; the step is empty then, or holds rows that are no use.
    pub(crate) fn prepare(
        &mut self,
        chunks: &[Chunk<'_>],
        vocab_size: usize,
        extent_of: impl Fn(SequenceId) -> Option<Extent>,
    ) -> Result<(), BackendError> {
        self.clear();
        for (index, chunk) in chunks.iter().enumerate() {
            let bad = |reason: String| BackendError::bad_sequence(chunk.sequence, reason);
            let extent = extent_of(chunk.sequence).ok_or_else(|| not_open(chunk.sequence))?;
            if chunks[..index].iter().any(|other| other.sequence == chunk.sequence) {
                return Err(bad("it has two chunks in one step".into()));
            }
            if chunk.tokens.is_empty() {
                return Err(bad("its chunk has no tokens".into()));
            }
            let Extent { n_tokens: held, max_tokens: max } = extent;
            let new = chunk.tokens.len();
            if new > max - held {
                return Err(bad(format!("it may hold {max} tokens, has {held}, and was given {new} more")));
            }
            if let Some(token) = chunk.tokens.iter().find(|token| **token as usize >= vocab_size) {
                let last = vocab_size - 1;
                return Err(bad(format!("token ids go up to {last}, it was given {token}")));
            }
            self.push(chunk, held);
        }
        Ok(())
    }

    /// Empties it; its memory stays.
    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.chunks.clear();
        self.wanted_rows.clear();
    }

    /// Adds a chunk that begins at `position` of its sequence.
    fn push(&mut self, chunk: &Chunk<'_>, position: usize) {
        let (first_row, n_rows) = (self.tokens.len(), chunk.tokens.len());
        self.tokens.extend_from_slice(chunk.tokens);
        self.positions.extend(position..position + n_rows);
        self.chunks.push(StepChunk { first_row, n_rows });
        match chunk.logits {
            LogitsOf::None => {}
            LogitsOf::Last => self.wanted_rows.push(first_row + n_rows - 1),
            LogitsOf::All => self.wanted_rows.extend(first_row..first_row + n_rows),
        }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    #[cfg_attr(
        not(any(target_os = "macos", feature = "mlx")),
        expect(dead_code, reason = "MLX takes them as a whole")
    )]
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(crate) fn token(&self, row: usize) -> usize {
        self.tokens[row] as usize
    }

    pub(crate) fn position(&self, row: usize) -> usize {
        self.positions[row]
    }

    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.positions.iter().copied()
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = StepChunk> + '_ {
        self.chunks.iter().copied()
    }

    /// Rows whose logits somebody reads, in order.
    pub(crate) fn wanted_rows(&self) -> &[usize] {
        &self.wanted_rows
    }
}
