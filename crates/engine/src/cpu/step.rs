//! The rows of one step: every token of every chunk, in order.

use crate::backend::{Chunk, LogitsOf};

/// One chunk's place among the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepChunk {
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
}

/// What the forward pass is about to compute.
#[derive(Debug, Default)]
pub(super) struct Step {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    chunks: Vec<StepChunk>,
    wanted_rows: Vec<usize>,
}

impl Step {
    /// Empties it; its memory stays.
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.chunks.clear();
        self.wanted_rows.clear();
    }

    /// Adds a chunk that begins at `position` of its sequence.
    pub(super) fn push(&mut self, chunk: &Chunk<'_>, position: usize) {
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

    pub(super) fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn token(&self, row: usize) -> usize {
        self.tokens[row] as usize
    }

    pub(super) fn position(&self, row: usize) -> usize {
        self.positions[row]
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.positions.iter().copied()
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = StepChunk> + '_ {
        self.chunks.iter().copied()
    }

    /// Rows whose logits somebody reads, in order.
    pub(super) fn wanted_rows(&self) -> &[usize] {
        &self.wanted_rows
    }
}
