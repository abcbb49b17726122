//! A backend whose every step is taken by other hosts too.

use super::links::Links;
use super::wire::{Command, WireChunk, WireDrawChunk};
use crate::backend::{Backend, BackendError, Chunk, Logits, SequenceId, Ticket};
use crate::drawing::{DrawChunk, Drawing};
use crate::generator::Doubt;
use boca_core::AcceleratorMemory;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// MLX notices a host's end as well, and says less: so long is waited for whoever knows which one.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);

/// The first host's backend. A failed step is its end: the hosts need not have come equally far.
#[derive(Debug)]
pub struct LeadBackend<B> {
    // Before the links: followers wait for the rest of a step in their own arrays.
    inner: B,
    links: Links,
    n_steps: u64,
    launched: HashMap<u64, Ticket>,
}

impl<B: Backend + Drawing> LeadBackend<B> {
    /// Leads the others with this.
    pub fn new(inner: B, links: Links) -> Self {
        Self { inner, links, n_steps: 0, launched: HashMap::new() }
    }

    fn check(&self) -> Result<(), BackendError> {
        let lost = |reason| BackendError::Device { after: Duration::ZERO, reason };
        self.links.lost().map_or(Ok(()), |reason| Err(lost(reason)))
    }

    /// What a failed step is the end of, and why.
    fn told<T>(&self, began: Instant, result: Result<T, BackendError>) -> Result<T, BackendError> {
        result.map_err(|error| match error {
            BackendError::Device { reason, .. } => {
                let reason = self.links.lost_or(NEWS_PATIENCE, &reason);
                BackendError::Device { after: began.elapsed(), reason }
            }
            other => other,
        })
    }

    fn launched(
        &mut self,
        began: Instant,
        step: Result<Ticket, BackendError>,
    ) -> Result<Ticket, BackendError> {
        let ticket = self.told(began, step)?;
        self.launched.insert(self.n_steps, ticket);
        Ok(Ticket(self.n_steps))
    }

    fn next_step(&mut self) -> Result<u64, BackendError> {
        self.check()?;
        self.n_steps += 1;
        Ok(self.n_steps)
    }

    fn taken(&mut self, ticket: &Ticket) -> Result<Ticket, BackendError> {
        self.launched.remove(&ticket.0).ok_or_else(|| BackendError::unknown_step(ticket))
    }
}

impl<B: Backend + Drawing> Backend for LeadBackend<B> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        self.check()?;
        let sequence = self.inner.open(max_tokens)?;
        self.links.command(Command::Open { sequence: sequence.0, max_tokens });
        Ok(sequence)
    }

    fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError> {
        self.check()?;
        let sequence = self.inner.fork(parent, n_tokens, max_tokens)?;
        self.links.command(Command::Fork { sequence: sequence.0, parent: parent.0, n_tokens, max_tokens });
        Ok(sequence)
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.inner.len(sequence)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.inner.close(sequence);
        self.links.command(Command::Close { sequence: sequence.0 });
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        let step = self.next_step()?;
        // Before it is launched here: to launch a step may be to wait for the one before it.
        let told = chunks.iter().map(WireChunk::of).collect();
        self.links.command(Command::Launch { step, chunks: told });
        let began = Instant::now();
        let launched = self.inner.launch(chunks);
        self.launched(began, launched)
    }

    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        let inner = self.taken(&ticket)?;
        self.links.command(Command::Collect { step: ticket.0 });
        let began = Instant::now();
        let collected = self.inner.collect(inner, logits);
        self.told(began, collected)
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.inner.kv_bytes_per_token()
    }

    fn kv_granule_tokens(&self) -> usize {
        self.inner.kv_granule_tokens()
    }

    fn forks_copy(&self) -> bool {
        self.inner.forks_copy()
    }

    fn kv_bytes(&self) -> u64 {
        self.inner.kv_bytes()
    }

    fn memory(&self) -> Option<AcceleratorMemory> {
        self.inner.memory()
    }

    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        self.inner.kv_bytes_of(sequences)
    }

    fn doubt(&self) -> Option<Doubt> {
        Some(self.links.doubt())
    }
}

impl<B: Backend + Drawing> Drawing for LeadBackend<B> {
    fn forbid(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.check()?;
        self.inner.forbid(ids)?;
        self.links.command(Command::Forbid { ids: ids.to_vec() });
        Ok(())
    }

    fn launch_drawing(&mut self, chunks: &[DrawChunk<'_>]) -> Result<Ticket, BackendError> {
        let step = self.next_step()?;
        let told = chunks.iter().map(WireDrawChunk::of).collect();
        self.links.command(Command::LaunchDrawing { step, chunks: told });
        let began = Instant::now();
        let launched = self.inner.launch_drawing(chunks);
        self.launched(began, launched)
    }

    fn collect_drawn(&mut self, ticket: Ticket) -> Result<Vec<Option<u32>>, BackendError> {
        let inner = self.taken(&ticket)?;
        self.links.command(Command::CollectDrawn { step: ticket.0 });
        let began = Instant::now();
        let drawn = self.inner.collect_drawn(inner);
        self.told(began, drawn)
    }

    fn forget(&mut self, ticket: Ticket) {
        if let Ok(inner) = self.taken(&ticket) {
            self.links.command(Command::Forget { step: ticket.0 });
            self.inner.forget(inner);
        }
    }

    fn cut(&mut self, sequence: SequenceId, n_tokens: usize) {
        self.inner.cut(sequence, n_tokens);
        self.links.command(Command::Cut { sequence: sequence.0, n_tokens });
    }
}
