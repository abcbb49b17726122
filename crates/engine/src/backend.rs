//! What a device must be able to do. Batching, caching, sampling and everything else is written once, above this.

use crate::drawing::Drawing;
use crate::generator::Doubt;
use boca_core::AcceleratorMemory;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Names one sequence inside one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceId(pub u64);

/// Which positions of a chunk need logits. The head over a vocabulary of 150,000 is a tenth of a small step's work,
/// so it runs only where someone reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsOf {
    /// A prompt's inner chunk.
    None,
    /// The end of a prompt, or a decode step.
    Last,
    /// Every position (tests, scoring).
    All,
}

/// Tokens to append to one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The sequence to extend.
    pub sequence: SequenceId,
    /// At least one token id below the vocabulary's size.
    pub tokens: &'a [u32],
    /// Which positions need logits.
    pub logits: LogitsOf,
}

/// A launched step whose logits have not been read yet.
#[derive(Debug)]
#[must_use = "a launched step must be collected"]
pub struct Ticket(pub u64);

/// Logits of one step: one row for each position that asked for them, in the order of chunks and positions.
#[derive(Debug, Clone, Default)]
pub struct Logits {
    /// `[n_rows, vocab_size]`
    pub values: Vec<f32>,
    /// Width of a row.
    pub vocab_size: usize,
}

impl Logits {
    /// The logits of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..(row + 1) * self.vocab_size]
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.values.len().checked_div(self.vocab_size).unwrap_or(0)
    }
}

/// A step or a sequence that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// KV memory for the sequence could not be had.
    #[error("no memory for a sequence of {n_tokens} tokens ({bytes} bytes of KV cache)")]
    OutOfMemory {
        /// Tokens that were to be stored.
        n_tokens: usize,
        /// Bytes that this takes.
        bytes: u64,
    },
    /// The sequence is not open, or the tokens do not fit it.
    #[error("sequence {sequence}: {reason}")]
    BadSequence {
        /// The sequence.
        sequence: u64,
        /// What is wrong.
        reason: String,
    },
    /// The device reported a fault.
    #[error("the device failed after {after:?}: {reason}")]
    Device {
        /// Since the step was launched.
        after: Duration,
        /// The device's own words.
        reason: String,
    },
}

impl BackendError {
    pub(crate) fn bad_sequence(sequence: SequenceId, reason: String) -> Self {
        Self::BadSequence { sequence: sequence.0, reason }
    }

    /// A step that nobody launched, or that was collected before.
    pub(crate) fn unknown_step(ticket: &Ticket) -> Self {
        Self::Device { after: Duration::ZERO, reason: format!("step {} was never launched here", ticket.0) }
    }
}

/// Keys and values of one sequence as they are now, to be written on any thread while the backend goes on.
pub trait KvImage: Send {
    /// Bytes that [`KvImage::write_to`] writes.
    fn n_bytes(&self) -> u64;

    /// Writes them.
    ///
    /// # Errors
    /// Those of `to`.
    fn write_to(&self, to: &mut dyn Write) -> io::Result<()>;
}

/// A device that holds the weights and the KV of many sequences.
///
/// `launch` and `collect` are apart so that a device with a slow round trip can be given its next step before the
/// last one has been read.
pub trait Backend {
    /// Name and instruction set, for status: `cpu (avx2)`.
    fn describe(&self) -> String;

    /// Opens an empty sequence that may grow to `max_tokens`.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`].
    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError>;

    /// Opens a sequence that begins as the first `n_tokens` of `parent` and may grow to `max_tokens`.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`], [`BackendError::BadSequence`].
    fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError>;

    /// Tokens that a sequence holds; `None` when it is not open.
    fn len(&self, sequence: SequenceId) -> Option<usize>;

    /// Frees a sequence. Closing one twice is harmless.
    fn close(&mut self, sequence: SequenceId);

    /// Starts one step over chunks of different sequences.
    ///
    /// # Errors
    /// [`BackendError::BadSequence`] before anything was computed, [`BackendError::Device`] later.
    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError>;

    /// Waits for a step and reads its logits into `logits`, whose memory is reused.
    ///
    /// # Errors
    /// [`BackendError::Device`].
    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError>;

    /// The same device, where it draws tokens itself.
    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        None
    }

    /// Who knows when it will never take another step; see [`crate::Generator::doubt`].
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Bytes of KV cache that one token of a sequence takes.
    fn kv_bytes_per_token(&self) -> u64;

    /// Tokens by which the KV cache of a sequence grows.
    fn kv_granule_tokens(&self) -> usize {
        1
    }

    /// Whether a fork copies all that it shares as soon as it, or its parent, goes on writing.
    fn forks_copy(&self) -> bool {
        false
    }

    /// Bytes of KV cache now reserved.
    fn kv_bytes(&self) -> u64;

    /// Memory that it allocates for itself; `None` when it uses that of the process.
    fn memory(&self) -> Option<AcceleratorMemory> {
        None
    }

    /// What the bytes of exported keys and values depend on, besides the model: device, instruction set, number format.
    /// `None` when nothing can be exported.
    fn kv_format(&self) -> Option<String> {
        None
    }

    /// What a sequence holds, to be imported again by a backend with the same model and [`Backend::kv_format`]. Takes no
    /// longer than a copy of [`Backend::kv_granule_tokens`] tokens, or, with [`Backend::forks_copy`], of all of them. `None` when the sequence is not open.
    fn export(&self, _sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        None
    }

    /// Opens a sequence of `n_tokens` from `n_bytes` exported bytes. It begins with as many tokens as are named like
    /// `parent`, whose memory it may share; the bytes hold all of it nevertheless.
    ///
    /// # Errors
    /// Those of `from`; bytes that are not as many as such a sequence has; no memory.
    fn import(
        &mut self,
        _parent: Option<(SequenceId, usize)>,
        _n_tokens: usize,
        _n_bytes: u64,
        _from: &mut dyn Read,
    ) -> io::Result<SequenceId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Bytes of KV cache that these sequences hold, what they share counted once.
    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        let n_tokens: usize = sequences.iter().filter_map(|sequence| self.len(*sequence)).sum();
        self.kv_bytes_per_token().saturating_mul(n_tokens as u64)
    }
}
