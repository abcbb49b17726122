//! The CPU as a [`Backend`].

use super::StepError;
use super::forward::Forward;
use super::isa::Isa;
use super::kernels::KV_BLOCK_TOKENS;
use super::kv_cache::{KvSequence, KvShape, ReservedBytes};
use super::linear::Compute;
use super::pool::{Pool, panic_text};
use crate::backend::{Backend, BackendError, Chunk, KvImage, Logits, SequenceId, Ticket};
use crate::checkpoint::{ModelConfig, Weights};
use crate::sequences::Sequences;
use crate::step::Step;
use boca_core::KvPrecision;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How the CPU is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// Threads that compute, the caller's among them. Default: as many as the process may run on.
    pub threads: Option<usize>,
    /// Instruction set. Default, and when this processor lacks the one named: the best it has.
    pub isa: Option<Isa>,
    /// In which format keys and values are kept.
    pub kv_precision: KvPrecision,
}

/// Native inference on all cores, straight from mapped weights.
#[derive(Debug)]
pub struct CpuBackend {
    forward: Forward,
    compute: Compute,
    isa: Isa,
    kv_shape: KvShape,
    kv_bytes: ReservedBytes,
    vocab_size: usize,
    sequences: Sequences<KvSequence>,
    next_ticket: u64,
    /// Steps whose logits have not been read.
    finished: HashMap<u64, Vec<f32>>,
    /// A logits buffer for the next step.
    spare: Vec<f32>,
    step: Step,
}

impl CpuBackend {
    /// Bytes of KV cache that one token of a model takes, without loading it.
    pub fn kv_bytes_per_token_of(config: &ModelConfig, precision: KvPrecision) -> u64 {
        KvShape::new(config, precision).bytes_per_token()
    }

    /// Takes a checked model; `threads` as in [`CpuOptions`].
    pub fn new(config: &ModelConfig, weights: Weights, threads: Option<usize>) -> Self {
        Self::with_options(config, weights, CpuOptions { threads, ..CpuOptions::default() })
    }

    /// Takes a checked model.
    pub fn with_options(config: &ModelConfig, weights: Weights, options: CpuOptions) -> Self {
        let detected = Isa::detect();
        let isa = options.isa.filter(|isa| isa.is_available()).unwrap_or(detected);
        let kernels = isa.kernels().expect("an instruction set that was just seen");
        // Respects affinity masks and control groups.
        let available = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = options.threads.unwrap_or_else(available).max(1);
        Self {
            forward: Forward::new(config, weights),
            compute: Compute::new(kernels, Pool::new(threads)),
            isa,
            kv_shape: KvShape::new(config, options.kv_precision),
            kv_bytes: ReservedBytes::default(),
            vocab_size: config.vocab_size,
            sequences: Sequences::default(),
            next_ticket: 0,
            finished: HashMap::new(),
            spare: Vec::new(),
            step: Step::default(),
        }
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.compute.pool.threads()
    }

    /// Checks all chunks before anything changes, then lays them out as rows.
    fn prepare(&mut self, chunks: &[Chunk<'_>]) -> Result<(), BackendError> {
        self.sequences.prepare(&mut self.step, chunks, self.vocab_size)?;
        for chunk in chunks {
            if let Some(sequence) = self.sequences.get_mut(chunk.sequence) {
                sequence.reserve(chunk.tokens.len())?;
            }
        }
        Ok(())
    }
}

impl Backend for CpuBackend {
    fn describe(&self) -> String {
        let plural = if self.threads() == 1 { "" } else { "s" };
        format!("cpu ({}, {} thread{plural})", self.isa, self.threads())
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        let sequence = KvSequence::new(self.kv_shape, max_tokens, self.kv_bytes.clone())?;
        Ok(self.sequences.insert(sequence))
    }

    fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError> {
        self.sequences.fork(parent, n_tokens, max_tokens)
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.sequences.len(sequence)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(sequence);
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let started = Instant::now();
        self.prepare(chunks)?;
        let mut logits = std::mem::take(&mut self.spare);
        logits.clear();
        if self.step.n_rows() > 0 {
            // The step borrows its sequences side by side; they go back whatever happens.
            let mut sequences = self.sequences.lend(chunks);
            let Self { forward, compute, step, .. } = self;
            let outcome =
                catch_unwind(AssertUnwindSafe(|| forward.run(compute, step, &mut sequences, &mut logits)));
            let failed = |reason: String| BackendError::Device { after: started.elapsed(), reason };
            let outcome = match outcome {
                Ok(Ok(())) => Ok(()),
                Ok(Err(StepError::Memory(error))) => Err(error),
                Ok(Err(StepError::Worker(panic))) => Err(failed(panic.0)),
                Err(payload) => Err(failed(panic_text(payload.as_ref()))),
            };
            // After a failure a sequence is as long as before: its new keys and values are written again.
            self.sequences.take_back(chunks, sequences, outcome.is_ok());
            outcome?;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.finished.insert(ticket, logits);
        Ok(Ticket(ticket))
    }

    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        let Some(values) = self.finished.remove(&ticket.0) else {
            return Err(BackendError::unknown_step(&ticket));
        };
        self.spare = std::mem::replace(&mut logits.values, values);
        logits.vocab_size = self.vocab_size;
        Ok(())
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.kv_shape.bytes_per_token()
    }

    fn kv_granule_tokens(&self) -> usize {
        KV_BLOCK_TOKENS
    }

    fn kv_bytes(&self) -> u64 {
        self.kv_bytes.load(Ordering::Relaxed)
    }

    fn kv_format(&self) -> Option<String> {
        Some(self.kv_shape.format(self.isa))
    }

    fn export(&self, sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        Some(Box::new(self.sequences.get(sequence)?.image()))
    }

    fn import(
        &mut self,
        parent: Option<(SequenceId, usize)>,
        n_tokens: usize,
        n_bytes: u64,
        from: &mut dyn Read,
    ) -> io::Result<SequenceId> {
        let shared = parent.and_then(|(id, n_shared)| Some((self.sequences.get(id)?, n_shared)));
        let reserved = self.kv_bytes.clone();
        let sequence = KvSequence::read(self.kv_shape, reserved, shared, n_tokens, n_bytes, from)?;
        Ok(self.sequences.insert(sequence))
    }

    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        let mut blocks = HashSet::new();
        for sequence in self.sequences.of(sequences) {
            blocks.extend(sequence.block_addresses());
        }
        self.kv_shape.block_bytes().saturating_mul(blocks.len() as u64)
    }
}
