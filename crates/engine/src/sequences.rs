//! The open sequences of a backend: how they are named, looked up, lent to a step and taken back. The same for every
//! backend.

use crate::backend::{BackendError, Chunk, SequenceId};
use crate::step::Step;
use std::collections::HashMap;

/// How far a sequence is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Tokens that it holds.
    pub(crate) n_tokens: usize,
    /// Tokens that it may hold.
    pub(crate) max_tokens: usize,
}

/// Keys and values of one sequence.
pub(crate) trait Held: Sized {
    fn extent(&self) -> Extent;

    /// A sequence that begins like this one.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`].
    fn fork(&self, n_tokens: usize, max_tokens: usize) -> Result<Self, BackendError>;

    /// Counts tokens that a step has written.
    fn advance(&mut self, n_new: usize);
}

/// Those of one backend.
#[derive(Debug)]
pub(crate) struct Sequences<S> {
    open: HashMap<SequenceId, S>,
    /// Never one that was used before.
    next: u64,
}

impl<S> Default for Sequences<S> {
    fn default() -> Self {
        Self { open: HashMap::new(), next: 0 }
    }
}

impl<S: Held> Sequences<S> {
    pub(crate) fn insert(&mut self, sequence: S) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.open.insert(id, sequence);
        id
    }

    pub(crate) fn get(&self, id: SequenceId) -> Option<&S> {
        self.open.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SequenceId) -> Option<&mut S> {
        self.open.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: SequenceId) {
        self.open.remove(&id);
    }

    pub(crate) fn len(&self, id: SequenceId) -> Option<usize> {
        Some(self.get(id)?.extent().n_tokens)
    }

    /// Those of these that are open.
    pub(crate) fn of<'a>(&'a self, ids: &'a [SequenceId]) -> impl Iterator<Item = &'a S> {
        ids.iter().filter_map(|id| self.get(*id))
    }

    /// Opens one that begins as the first tokens of another.
    ///
    /// # Errors
    /// See [`crate::backend::Backend::fork`].
    pub(crate) fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError> {
        let sequence = self.get(parent).ok_or_else(|| not_open(parent))?;
        let held = sequence.extent().n_tokens;
        if n_tokens > held || n_tokens > max_tokens {
            let reason =
                format!("it holds {held} tokens; {n_tokens} of them were to go on up to {max_tokens}");
            return Err(BackendError::bad_sequence(parent, reason));
        }
        let fork = sequence.fork(n_tokens, max_tokens)?;
        Ok(self.insert(fork))
    }

    /// Lays a step's chunks out as rows, if they may stand in it.
    ///
    /// # Errors
    /// [`BackendError::BadSequence`].
    pub(crate) fn prepare(
        &self,
        step: &mut Step,
        chunks: &[Chunk<'_>],
        vocab_size: usize,
    ) -> Result<(), BackendError> {
        step.prepare(chunks, vocab_size, |id| Some(self.get(id)?.extent()))
    }

    /// The sequences of a prepared step, side by side: [`Sequences::take_back`] returns them.
    pub(crate) fn lend(&mut self, chunks: &[Chunk<'_>]) -> Vec<S> {
        chunks.iter().filter_map(|chunk| self.open.remove(&chunk.sequence)).collect()
    }

    /// Takes back what was lent; where the step was computed, with the tokens that it has written.
    pub(crate) fn take_back(&mut self, chunks: &[Chunk<'_>], sequences: Vec<S>, is_computed: bool) {
        for (chunk, mut sequence) in chunks.iter().zip(sequences) {
            if is_computed {
                sequence.advance(chunk.tokens.len());
            }
            self.open.insert(chunk.sequence, sequence);
        }
    }
}

pub(crate) fn not_open(id: SequenceId) -> BackendError {
    BackendError::bad_sequence(id, "it is not open".into())
}
