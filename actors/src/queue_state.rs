//! What the queue of generations holds: those that wait, those that run, and the engine.

use crate::engine_host::{EngineCommand, EngineHost};
use crate::generation_channel::GenerationChannel;
use crate::generation_queue::{Epoch, Ticket};
use crate::service_time::ServiceTime;
use boca_core::{Failure, GenerateRequest, RequestId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of it.
#[derive(Debug)]
pub(crate) struct State {
    /// The most requests in the engine at once.
    pub(crate) max_running: usize,
    pub(crate) next_ticket: u64,
    pub(crate) waiting: VecDeque<Entry>,
    /// Oldest first.
    pub(crate) running: Vec<Running>,
    /// The engine that was started last, and whether it is ready.
    pub(crate) engine: Option<Engine>,
    /// Why nothing is taken, when waiting would not help.
    pub(crate) refusal: Option<Failure>,
    pub(crate) service_time: ServiceTime,
}

/// The engine that requests go to.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) epoch: Epoch,
    pub(crate) host: Arc<dyn EngineHost>,
    pub(crate) is_ready: bool,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ticket: Ticket,
    pub(crate) request: Box<GenerateRequest>,
    pub(crate) accepted_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) channel: Arc<GenerationChannel>,
}

/// A request in the engine.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) ticket: Ticket,
    pub(crate) id: RequestId,
    pub(crate) accepted_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) channel: Arc<GenerationChannel>,
    pub(crate) epoch: Epoch,
    pub(crate) began: Instant,
    /// When the engine was first told to end it.
    pub(crate) told_to_end: Option<Instant>,
    /// Why, when it was not its caller who wanted that.
    pub(crate) reason_to_end: Option<Failure>,
}

impl State {
    pub(crate) fn new(max_running: usize) -> Self {
        Self {
            max_running: max_running.max(1),
            next_ticket: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            engine: None,
            refusal: None,
            service_time: ServiceTime::default(),
        }
    }

    pub(crate) fn can_run_at_once(&self) -> bool {
        self.running.len() < self.max_running && self.is_engine_ready()
    }

    pub(crate) fn is_engine_ready(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.is_ready)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn n_accepted(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &RequestId> {
        let running = self.running.iter().map(|running| &running.id);
        running.chain(self.waiting.iter().map(|entry| &entry.request.id))
    }

    pub(crate) fn take_waiting(&mut self, ticket: Ticket) -> Option<Entry> {
        let place = self.waiting.iter().position(|entry| entry.ticket == ticket)?;
        self.waiting.remove(place)
    }

    pub(crate) fn running(&mut self, ticket: Ticket) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.ticket == ticket)
    }

    /// Takes the request of this id out of those in this engine.
    pub(crate) fn take_running(&mut self, epoch: Epoch, id: &RequestId) -> Option<Running> {
        let of_id = |running: &Running| running.epoch == epoch && running.id == *id;
        let place = self.running.iter().position(of_id)?;
        Some(self.running.remove(place))
    }

    /// Tells the engine to end a request; nothing when it does not run.
    pub(crate) fn tell_to_end(&mut self, ticket: Ticket, now: Instant) {
        let Some(running) = self.running(ticket) else { return };
        running.told_to_end.get_or_insert(now);
        let id = running.id.clone();
        if let Some(engine) = &self.engine {
            // An engine that is gone needs no telling: its end is about to be reported.
            engine.host.send(EngineCommand::Cancel { id }).ok();
        }
    }

    /// How long a request that came now would wait for its first step: those that wait before it, at the measured
    /// mean, and, when there is no room, what is left of the one that ends first. Before the first measurement
    /// nobody knows, and it counts as no wait.
    pub(crate) fn expected_wait(&self, now: Instant) -> Duration {
        let Some(mean) = self.service_time.mean() else { return Duration::ZERO };
        let until_room = if self.running.len() < self.max_running {
            Duration::ZERO
        } else {
            let left = |running: &Running| mean.saturating_sub(now.saturating_duration_since(running.began));
            self.running.iter().map(left).min().unwrap_or_default()
        };
        let n_waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let n_at_once = u32::try_from(self.max_running).unwrap_or(u32::MAX);
        (mean.saturating_mul(n_waiting) / n_at_once).saturating_add(until_room)
    }

    /// When a request that is refused now should come again.
    pub(crate) fn retry_after(&self) -> Duration {
        self.service_time.wait_behind(self.n_accepted().div_ceil(self.max_running))
    }
}
