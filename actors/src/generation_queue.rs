//! Requests between the callers and the engine: admission, order, deadlines, cancellation.
//!
//! Every accepted request is here until its end: at most [`QueueSettings::limit`] waiting, one in the engine. The
//! queue outlives engines and model actors, so that a request which still waits when an engine breaks is served by
//! the next one. Callers, the model actor and the engine's thread all use it, for moments at a time.

use crate::engine_host::{EngineCommand, EngineHost};
use crate::engine_thread::cancelled_before_it_began;
use crate::generation_channel::{GenerationChannel, GenerationEnd};
use crate::generation_stream::GenerationStream;
use crate::messages::DrainReport;
use crate::model_status::StatusCell;
pub use crate::queue_report::{QueueReport, RequestReport};
use crate::service_time::ServiceTime;
use boca_core::{ErrorCode, Failure, GenerateRequest, GenerationEvent, RequestId};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bounds of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueSettings {
    /// The most requests that wait behind the running one.
    pub(crate) limit: usize,
    /// How long after its deadline a running generation may take to end with the text that it has.
    pub(crate) deadline_grace: Duration,
}

/// Names one accepted request for ever, unlike its id, which may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Names one engine for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) u64);

/// What a passed deadline means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It is over; its end is in its channel.
    Ended,
    /// It runs, and may end with the text that it has until then.
    WindsUpUntil(Instant),
}

/// A cloneable way to the one queue.
#[derive(Debug, Clone)]
pub(crate) struct GenerationQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: QueueSettings,
    status: Arc<StatusCell>,
    state: Mutex<State>,
    /// Told when nothing runs or waits any more.
    idle: Notify,
    /// Whether the engine works; apart from the state, so that reading it never waits.
    is_busy: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    next_ticket: u64,
    waiting: VecDeque<Entry>,
    running: Option<Running>,
    /// The engine that was started last, and whether it is ready.
    engine: Option<Engine>,
    /// Why nothing is taken, when waiting would not help.
    refusal: Option<Failure>,
    service_time: ServiceTime,
}

#[derive(Debug)]
struct Engine {
    epoch: Epoch,
    host: Arc<dyn EngineHost>,
    is_ready: bool,
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    request: Box<GenerateRequest>,
    accepted_at: Instant,
    deadline: Instant,
    channel: Arc<GenerationChannel>,
}

#[derive(Debug)]
struct Running {
    ticket: Ticket,
    id: RequestId,
    accepted_at: Instant,
    deadline: Instant,
    channel: Arc<GenerationChannel>,
    epoch: Epoch,
    began: Instant,
    /// When the engine was first told to end it.
    told_to_end: Option<Instant>,
    /// Why, when it was not its caller who wanted that.
    reason_to_end: Option<Failure>,
}

impl GenerationQueue {
    pub(crate) fn new(settings: QueueSettings, status: Arc<StatusCell>) -> Self {
        let shared =
            Shared { settings, status, state: Mutex::default(), idle: Notify::new(), is_busy: false.into() };
        Self(Arc::new(shared))
    }

    /// Accepts a request, or says at once why not.
    ///
    /// # Errors
    /// `Overloaded` with the time after which a place should be free; `DeadlineExceeded`; `Conflict` for an id that
    /// is in use; the reason for which nothing is taken at all.
    pub(crate) fn admit(
        &self,
        mut request: Box<GenerateRequest>,
        accepted_at: Instant,
        deadline: Instant,
    ) -> Result<GenerationStream, Failure> {
        let mut state = self.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let now = Instant::now();
        if deadline <= now {
            let message = "the deadline passed before the request was accepted";
            return Err(Failure::new(ErrorCode::DeadlineExceeded, message));
        }
        self.remove_expired(&mut state, now);
        if state.ids().any(|id| *id == request.id) {
            let message = format!("a request with the id {} is running", request.id);
            return Err(Failure::new(ErrorCode::Conflict, message));
        }
        if state.waiting.len() >= self.0.settings.limit && !state.can_run_at_once() {
            return Err(self.overloaded(&state));
        }
        request.time_left = request.time_left.min(deadline.saturating_duration_since(accepted_at));
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        let channel = Arc::new(GenerationChannel::default());
        let reader = Arc::clone(&channel);
        state.waiting.push_back(Entry { ticket, request, accepted_at, deadline, channel });
        self.pump(state);
        Ok(GenerationStream::new(ticket, self.clone(), reader, deadline))
    }

    /// Ends a request whose deadline has passed; one that runs gets a little longer.
    pub(crate) fn expire(&self, ticket: Ticket, now: Instant) -> Expiry {
        let mut state = self.lock();
        if let Some(entry) = state.take_waiting(ticket) {
            entry.channel.finish(Err(self.expired(&state, now)));
            self.pump(state);
            return Expiry::Ended;
        }
        let Some(running) = state.running.as_mut().filter(|running| running.ticket == ticket) else {
            return Expiry::Ended;
        };
        let grace = self.0.settings.deadline_grace;
        let last_moment = running.deadline.checked_add(grace).unwrap_or(running.deadline);
        if now < last_moment {
            return Expiry::WindsUpUntil(last_moment);
        }
        let message = "the answer was not complete at the deadline";
        running.channel.finish(Err(Failure::new(ErrorCode::DeadlineExceeded, message)));
        state.tell_to_end(now);
        Expiry::Ended
    }

    /// Ends a request that nobody reads any more.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.take_waiting(ticket).is_none()
            && state.running.as_ref().is_some_and(|running| running.ticket == ticket)
        {
            state.tell_to_end(Instant::now());
        }
        self.pump(state);
    }

    /// Ends a request early: a running one keeps its text. False when there is no such request.
    pub(crate) fn cancel(&self, id: &RequestId) -> bool {
        let mut state = self.lock();
        let waiting = state.waiting.iter().find(|entry| entry.request.id == *id).map(|entry| entry.ticket);
        if let Some(entry) = waiting.and_then(|ticket| state.take_waiting(ticket)) {
            entry.channel.finish(Err(cancelled_before_it_began()));
            self.pump(state);
            return true;
        }
        let runs = state.running.as_ref().is_some_and(|running| running.id == *id);
        if runs {
            state.tell_to_end(Instant::now());
        }
        runs
    }

    /// Takes nothing from now on. Accepted requests go on.
    pub(crate) fn refuse(&self, reason: Failure) {
        self.lock().refusal = Some(reason);
    }

    /// Takes requests again, unless the daemon is stopping.
    pub(crate) fn welcome(&self) {
        let mut state = self.lock();
        if state.refusal.as_ref().is_some_and(|reason| reason.code != ErrorCode::ShuttingDown) {
            state.refusal = None;
        }
    }

    /// Ends every accepted request: those that wait with `reason`, the running one with the text that it has.
    pub(crate) fn end_all(&self, reason: &Failure) -> usize {
        let mut state = self.lock();
        let mut n_ended = 0;
        while let Some(entry) = state.waiting.pop_front() {
            entry.channel.finish(Err(reason.clone()));
            n_ended += 1;
        }
        if let Some(running) = &mut state.running {
            running.reason_to_end = Some(reason.clone());
            state.tell_to_end(Instant::now());
            n_ended += 1;
        }
        self.pump(state);
        n_ended
    }

    /// Takes nothing more, gives what was accepted `grace` to finish, then ends it and waits up to `patience` for the
    /// engine to obey.
    pub(crate) async fn drain(&self, grace: Duration, patience: Duration) -> DrainReport {
        let reason = Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping");
        self.refuse(reason.clone());
        if tokio::time::timeout(grace, self.until_idle()).await.is_ok() {
            return DrainReport::default();
        }
        let cancelled = self.end_all(&reason);
        if tokio::time::timeout(patience, self.until_idle()).await.is_err() {
            tracing::warn!("the engine did not end its generation in time");
        }
        DrainReport { cancelled }
    }

    /// Waits until nothing runs or waits.
    pub(crate) async fn until_idle(&self) {
        loop {
            let idle = self.0.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// A new engine begins to load.
    pub(crate) fn engine_starts(&self, epoch: Epoch, host: Arc<dyn EngineHost>) {
        self.lock().engine = Some(Engine { epoch, host, is_ready: false });
    }

    /// The engine takes requests.
    pub(crate) fn engine_ready(&self, epoch: Epoch) {
        let mut state = self.lock();
        if let Some(engine) = state.engine.as_mut().filter(|engine| engine.epoch == epoch) {
            engine.is_ready = true;
        }
        self.pump(state);
    }

    /// The engine is gone: what ran in it fails, what waits goes on waiting.
    pub(crate) fn engine_gone(&self, epoch: Epoch, failure: &Failure) {
        let mut state = self.lock();
        if state.engine.as_ref().is_some_and(|engine| engine.epoch == epoch) {
            state.engine = None;
        }
        if let Some(running) = state.running.take_if(|running| running.epoch == epoch) {
            running.channel.finish(Err(failure.clone()));
        }
        self.pump(state);
    }

    /// Something happened in a generation.
    pub(crate) fn generation_event(&self, epoch: Epoch, id: &RequestId, event: GenerationEvent) {
        let state = self.lock();
        let running = state.running.as_ref().filter(|running| running.epoch == epoch && running.id == *id);
        let channel = running.map(|running| Arc::clone(&running.channel));
        drop(state);
        if let Some(channel) = channel {
            channel.push(event);
        }
    }

    /// A generation ended; the next one goes to the engine.
    pub(crate) fn generation_ended(&self, epoch: Epoch, id: &RequestId, end: GenerationEnd) {
        let mut state = self.lock();
        let ended = state.running.take_if(|running| running.epoch == epoch && running.id == *id);
        if let Some(running) = ended {
            state.service_time.add(running.began.elapsed());
            running.channel.finish(match (end, running.reason_to_end) {
                // The engine had not begun, and knows only that it was told not to.
                (Err(failure), Some(reason)) if failure.code == ErrorCode::Cancelled => Err(reason),
                (end, _) => end,
            });
        }
        self.pump(state);
    }

    /// How long the engine has not obeyed: since it was told to end the running generation, or since that one's
    /// deadline. `None` while it owes nothing.
    pub(crate) fn disobeyed_for(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let running = state.running.as_ref()?;
        let since = running.told_to_end.map_or(running.deadline, |told| told.min(running.deadline));
        now.checked_duration_since(since)
    }

    /// Whether the engine works on a request. Never waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.is_busy.load(Ordering::Acquire)
    }

    /// Requests that wait or run.
    pub(crate) fn n_accepted(&self) -> u32 {
        u32::try_from(self.lock().n_accepted()).unwrap_or(u32::MAX)
    }

    /// How long a request that came now would wait for its first step: those that wait, at the measured mean, and
    /// what the running one has left of it. Before the first measurement nobody knows, and it counts as no wait.
    pub(crate) fn expected_wait(&self, now: Instant) -> Duration {
        let state = self.lock();
        let Some(mean) = state.service_time.mean() else { return Duration::ZERO };
        let running = state.running.as_ref().map_or(Duration::ZERO, |running| {
            mean.saturating_sub(now.saturating_duration_since(running.began))
        });
        let n_waiting = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        mean.saturating_mul(n_waiting).saturating_add(running)
    }

    pub(crate) fn report(&self) -> QueueReport {
        let state = self.lock();
        QueueReport {
            running: usize::from(state.running.is_some()),
            queued: state.waiting.len(),
            queue_limit: self.0.settings.limit,
            mean_service_time: state.service_time.mean(),
        }
    }

    pub(crate) fn requests(&self) -> Vec<RequestReport> {
        let state = self.lock();
        let now = Instant::now();
        let report = |id: &RequestId, is_running, accepted_at, deadline: Instant| RequestReport {
            id: id.clone(),
            is_running,
            age: now.saturating_duration_since(accepted_at),
            time_left: deadline.saturating_duration_since(now),
        };
        let running = state.running.iter().map(|r| report(&r.id, true, r.accepted_at, r.deadline));
        let waiting = state.waiting.iter().map(|w| report(&w.request.id, false, w.accepted_at, w.deadline));
        running.chain(waiting).collect()
    }

    /// Hands the next request to a ready and free engine; tells those who wait for idleness.
    fn pump(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        while state.can_run_at_once() {
            let Some(entry) = state.waiting.pop_front() else { break };
            if entry.deadline <= now {
                entry.channel.finish(Err(self.expired(&state, now)));
                continue;
            }
            let Entry { ticket, request, accepted_at, deadline, channel } = entry;
            let id = request.id.clone();
            let waited = now.saturating_duration_since(accepted_at);
            let Some(engine) = state.engine.as_mut() else { break };
            let epoch = engine.epoch;
            let command = EngineCommand::Generate { request: request.clone(), waited };
            if engine.host.send(command).is_err() {
                // Its end is about to be reported; the request waits for the next engine.
                engine.is_ready = false;
                state.waiting.push_front(Entry { ticket, request, accepted_at, deadline, channel });
                break;
            }
            state.running = Some(Running {
                ticket,
                id,
                accepted_at,
                deadline,
                channel,
                epoch,
                began: now,
                told_to_end: None,
                reason_to_end: None,
            });
        }
        self.0.is_busy.store(state.running.is_some(), Ordering::Release);
        if state.is_idle() {
            self.0.idle.notify_waiters();
        }
    }

    /// Frees the places of requests whose reader has not looked at the clock.
    fn remove_expired(&self, state: &mut State, now: Instant) {
        let failure = self.expired(state, now);
        state.waiting.retain(|entry| {
            let is_alive = now < entry.deadline;
            if !is_alive {
                entry.channel.finish(Err(failure.clone()));
            }
            is_alive
        });
    }

    /// Why a request that waited got nothing before its deadline.
    fn expired(&self, state: &State, now: Instant) -> Failure {
        if state.is_engine_ready() {
            let message = "the deadline passed while the request waited for the model";
            return Failure::new(ErrorCode::DeadlineExceeded, message)
                .retry_after(state.service_time.wait_behind(state.n_accepted()));
        }
        self.0.status.not_ready(now)
    }

    fn overloaded(&self, state: &State) -> Failure {
        let limit = self.0.settings.limit;
        let (message, wait) = if state.is_engine_ready() {
            // A place is free as soon as the running request has ended, but others wait for it too.
            let wait = state.service_time.wait_behind(state.n_accepted());
            (format!("{limit} requests are waiting for the model already"), wait)
        } else {
            let not_ready = self.0.status.not_ready(Instant::now());
            let message = format!("{limit} requests are waiting already, and {}", not_ready.message);
            (message, not_ready.retry_after.unwrap_or_default())
        };
        Failure::new(ErrorCode::Overloaded, message).retry_after(wait)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn can_run_at_once(&self) -> bool {
        self.running.is_none() && self.is_engine_ready()
    }

    fn is_engine_ready(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.is_ready)
    }

    fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    fn n_accepted(&self) -> usize {
        self.waiting.len() + usize::from(self.running.is_some())
    }

    fn ids(&self) -> impl Iterator<Item = &RequestId> {
        let running = self.running.iter().map(|running| &running.id);
        running.chain(self.waiting.iter().map(|entry| &entry.request.id))
    }

    fn take_waiting(&mut self, ticket: Ticket) -> Option<Entry> {
        let place = self.waiting.iter().position(|entry| entry.ticket == ticket)?;
        self.waiting.remove(place)
    }

    fn tell_to_end(&mut self, now: Instant) {
        let Some(running) = &mut self.running else { return };
        running.told_to_end.get_or_insert(now);
        if let Some(engine) = &self.engine {
            // An engine that is gone needs no telling: its end is about to be reported.
            engine.host.send(EngineCommand::Cancel { id: running.id.clone() }).ok();
        }
    }
}

#[cfg(test)]
#[path = "generation_queue_tests.rs"]
mod tests;
