//! Requests between the callers and the engine: admission, order, deadlines, cancellation.
//!
//! Every accepted request is here until its end: at most [`QueueSettings::limit`] of each priority waiting, and at most
//! [`QueueSettings::max_running`] in the engine. People's requests go before those that have time, and parties take
//! turns ([`crate::fair_order`]). One place is kept free for people; where there is only one, work that has time makes
//! room and begins anew later.
//!
//! The queue outlives engines and model actors, so that a request which still waits when an engine breaks is served by
//! the next one. Callers, the model actor and the engine's thread all use it, for moments at a time.

use crate::engine_host::{EngineCommand, EngineHost};
use crate::engine_thread::cancelled_before_it_began;
use crate::generation_channel::{GenerationChannel, GenerationEnd};
use crate::generation_stream::GenerationStream;
use crate::messages::DrainReport;
use crate::model_status::StatusCell;
pub use crate::queue_report::{QueueReport, RequestReport};
use crate::queue_state::{Engine, Entry, Running, State};
use boca_core::{
    ErrorCode, Failure, FinishReason, GenerateRequest, GenerationEvent, GeneratorLoad, Priority, RequestId,
    Retry,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bounds of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueSettings {
    /// The most requests of each priority that wait behind the running ones.
    pub(crate) limit: usize,
    /// The most requests in the engine at once.
    pub(crate) max_running: usize,
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

impl GenerationQueue {
    pub(crate) fn new(settings: QueueSettings, status: Arc<StatusCell>) -> Self {
        let state = Mutex::new(State::new(settings.max_running));
        let shared = Shared { settings, status, state, idle: Notify::new(), is_busy: false.into() };
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
        let is_let_in = std::mem::take(&mut state.lets_one_in);
        if let Some(refusal) = state.refusal.as_ref().filter(|_| !is_let_in) {
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
        let priority = request.priority;
        if state.waiting.n_of(priority) >= self.0.settings.limit && !state.can_run_at_once(priority) {
            return Err(self.overloaded(&state, priority, now));
        }
        request.time_left = request.time_left.min(deadline.saturating_duration_since(accepted_at));
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        let channel = Arc::new(GenerationChannel::default());
        let reader = Arc::clone(&channel);
        state.waiting.push(Entry::new(ticket, request, accepted_at, deadline, channel));
        self.pump(state);
        Ok(GenerationStream::new(ticket, self.clone(), reader, deadline))
    }

    /// Ends a request whose deadline has passed; one that runs gets a little longer.
    pub(crate) fn expire(&self, ticket: Ticket, now: Instant) -> Expiry {
        let mut state = self.lock();
        if let Some(entry) = state.take_waiting(ticket) {
            entry.channel.finish(Err(self.expired(&state, entry.request.priority, now)));
            self.pump(state);
            return Expiry::Ended;
        }
        let Some(running) = state.running(ticket) else {
            return Expiry::Ended;
        };
        let grace = self.0.settings.deadline_grace;
        let deadline = running.entry.deadline;
        let last_moment = deadline.checked_add(grace).unwrap_or(deadline);
        if now < last_moment {
            return Expiry::WindsUpUntil(last_moment);
        }
        let message = "the answer was not complete at the deadline";
        running.entry.channel.finish(Err(Failure::new(ErrorCode::DeadlineExceeded, message)));
        state.tell_to_end(ticket, now);
        Expiry::Ended
    }

    /// Ends a request that nobody reads any more.
    pub(crate) fn abandon(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.take_waiting(ticket).is_none() {
            state.tell_to_end(ticket, Instant::now());
        }
        self.pump(state);
    }

    /// Ends a request early: a running one keeps its text. False when there is no such request.
    pub(crate) fn cancel(&self, id: &RequestId) -> bool {
        let mut state = self.lock();
        if let Some(entry) = state.waiting.take(|entry| entry.request.id == *id) {
            entry.channel.finish(Err(cancelled_before_it_began()));
            self.pump(state);
            return true;
        }
        let running = state.all_running().iter().find(|running| running.id() == id);
        let running = running.map(|running| running.entry.ticket);
        if let Some(ticket) = running {
            state.tell_to_end(ticket, Instant::now());
        }
        running.is_some()
    }

    /// Takes nothing from now on. Accepted requests go on.
    pub(crate) fn refuse(&self, reason: Failure) {
        let mut state = self.lock();
        state.refusal = Some(reason);
        state.lets_one_in = false;
    }

    /// Whether requests are taken now.
    pub(crate) fn takes_requests(&self) -> bool {
        self.lock().refusal.is_none()
    }

    /// Takes requests again, unless the daemon is stopping.
    pub(crate) fn welcome(&self) {
        let mut state = self.lock();
        if state.refusal.as_ref().is_some_and(|reason| reason.code != ErrorCode::ShuttingDown) {
            state.refusal = None;
        }
    }

    /// Takes the next request, whatever is refused.
    pub(crate) fn welcome_one(&self) {
        self.lock().lets_one_in = true;
    }

    /// Ends every accepted request: those that wait with `reason`, the running ones with the text that they have.
    pub(crate) fn end_all(&self, reason: &Failure) -> usize {
        let mut state = self.lock();
        let mut n_ended = 0;
        while let Some(entry) = state.waiting.pop() {
            entry.channel.finish(Err(reason.clone()));
            n_ended += 1;
        }
        let mut running = Vec::new();
        for one in state.all_running_mut() {
            one.reason_to_end = Some(reason.clone());
            running.push(one.entry.ticket);
        }
        for ticket in running {
            state.tell_to_end(ticket, Instant::now());
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

    /// The engine is gone. What had shown something fails; what had not is sent to the next engine, once, because nobody
    /// can tell the difference. What waits goes on waiting.
    pub(crate) fn engine_gone(&self, epoch: Epoch, failure: &Failure) {
        let mut state = self.lock();
        if state.engine.as_ref().is_some_and(|engine| engine.epoch == epoch) {
            state.engine = None;
        }
        let takes_any = failure.code.retry() == Retry::Safe && state.refusal.is_none();
        // Backwards, so that they wait in the order in which they ran.
        for mut running in state.take_all_of(epoch, Instant::now()).into_iter().rev() {
            if running.makes_room {
                state.waiting.put_back(running.entry);
            } else if running.told_to_end.is_some() {
                // It was about to end; that its engine ended first makes no failure of it.
                running.finish(Err(cancelled_while_its_engine_was_lost()));
            } else if takes_any && running.entry.may_try_again() {
                state.waiting.put_back(running.entry);
            } else {
                running.entry.channel.finish(Err(failure.clone()));
            }
        }
        self.pump(state);
    }

    /// Something happened in a generation.
    pub(crate) fn generation_event(&self, epoch: Epoch, id: &RequestId, event: GenerationEvent) {
        let mut state = self.lock();
        let of_id = |running: &&mut Running| running.epoch == epoch && running.id() == id;
        let Some(running) = state.all_running_mut().find(of_id) else { return };
        match &mut running.held_back {
            Some(held_back) => held_back.push(event),
            None => {
                let told = running.entry.tell(event);
                drop(state);
                if let Some((channel, event)) = told {
                    channel.push(event);
                }
            }
        }
    }

    /// A generation ended; the next one goes to the engine.
    pub(crate) fn generation_ended(&self, epoch: Epoch, id: &RequestId, end: GenerationEnd) {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(running) = state.take_running(epoch, id, now) {
            if running.makes_room && is_cancelled(&end) {
                state.waiting.put_back(running.entry);
                self.pump(state);
                return;
            }
            let spent = state.service_time.spent(running.share, now);
            state.service_time.add(running.entry.request.priority, spent);
            running.finish(end);
        }
        self.pump(state);
    }

    /// How long the engine has not obeyed: since it was told to end a running generation, or since that one's
    /// deadline. `None` while it owes nothing.
    pub(crate) fn disobeyed_for(&self, now: Instant) -> Option<Duration> {
        let since = |running: &Running| {
            let deadline = running.entry.deadline;
            running.told_to_end.map_or(deadline, |told| told.min(deadline))
        };
        let oldest = self.lock().all_running().iter().map(since).min()?;
        now.checked_duration_since(oldest)
    }

    /// Whether the engine works on a request. Never waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.is_busy.load(Ordering::Acquire)
    }

    /// Requests that wait or run.
    pub(crate) fn n_accepted(&self) -> u32 {
        u32::try_from(self.lock().n_accepted()).unwrap_or(u32::MAX)
    }

    /// How long a request that came now would wait for its first step.
    pub(crate) fn expected_wait(&self, now: Instant) -> Duration {
        self.lock().expected_wait(now)
    }

    /// What the engine said last of its load; `None` while it is not ready.
    pub(crate) fn generator_load(&self) -> Option<GeneratorLoad> {
        let state = self.lock();
        let engine = state.engine.as_ref().filter(|engine| engine.is_ready)?;
        Some(engine.host.pulse().load)
    }

    /// The process that the engine lives in, when that is one of its own.
    pub(crate) fn engine_process(&self) -> Option<u32> {
        self.lock().engine.as_ref()?.host.process_id()
    }

    pub(crate) fn report(&self) -> QueueReport {
        let state = self.lock();
        QueueReport {
            running: state.all_running().len(),
            queued: state.waiting.len(),
            queue_limit: self.0.settings.limit,
            mean_service_time: state.service_time.mean(Priority::Interactive),
        }
    }

    pub(crate) fn requests(&self) -> Vec<RequestReport> {
        let state = self.lock();
        let now = Instant::now();
        let report = |entry: &Entry, is_running| RequestReport {
            id: entry.request.id.clone(),
            is_running,
            age: now.saturating_duration_since(entry.accepted_at),
            time_left: entry.deadline.saturating_duration_since(now),
        };
        let running = state.all_running().iter().map(|running| report(&running.entry, true));
        let waiting = state.waiting.iter().map(|entry| report(entry, false));
        running.chain(waiting).collect()
    }

    /// Hands the next requests to a ready engine that has room; tells those who wait for idleness.
    fn pump(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        while let Some(entry) = state.take_next() {
            if entry.deadline <= now {
                entry.channel.finish(Err(self.expired(&state, entry.request.priority, now)));
                continue;
            }
            let waited = now.saturating_duration_since(entry.accepted_at);
            let command = EngineCommand::Generate { request: entry.request.clone(), waited };
            let engine = state.engine.as_mut().filter(|engine| engine.host.send(command).is_ok());
            let Some(epoch) = engine.map(|engine| engine.epoch) else {
                // Its end is about to be reported; the request waits for the next engine.
                if let Some(engine) = &mut state.engine {
                    engine.is_ready = false;
                }
                state.waiting.put_back(entry);
                break;
            };
            state.begins(entry, epoch, now);
        }
        state.make_room(now);
        self.0.is_busy.store(!state.all_running().is_empty(), Ordering::Release);
        if state.is_idle() {
            self.0.idle.notify_waiters();
        }
    }

    /// Frees the places of requests whose reader has not looked at the clock.
    fn remove_expired(&self, state: &mut State, now: Instant) {
        let mut expired = Vec::new();
        state.waiting.retain(|entry| {
            let is_alive = now < entry.deadline;
            if !is_alive {
                expired.push((Arc::clone(&entry.channel), entry.request.priority));
            }
            is_alive
        });
        for (channel, priority) in expired {
            channel.finish(Err(self.expired(state, priority, now)));
        }
    }

    /// Why a request that waited got nothing before its deadline.
    fn expired(&self, state: &State, priority: Priority, now: Instant) -> Failure {
        if state.is_engine_ready() {
            let message = "the deadline passed while the request waited for the model";
            return Failure::new(ErrorCode::DeadlineExceeded, message)
                .retry_after(state.retry_after(priority, now));
        }
        self.0.status.not_ready(now)
    }

    fn overloaded(&self, state: &State, priority: Priority, now: Instant) -> Failure {
        let limit = self.0.settings.limit;
        let (message, wait) = if state.is_engine_ready() {
            // A place is free as soon as a running request has ended, but others wait for it too.
            (format!("{limit} requests are waiting for the model already"), state.retry_after(priority, now))
        } else {
            let not_ready = self.0.status.not_ready(now);
            let message = format!("{limit} requests are waiting already, and {}", not_ready.message);
            (message, not_ready.retry_after.unwrap_or_default())
        };
        Failure::new(ErrorCode::Overloaded, message).retry_after(wait)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a generation ended because it was told to, and not by itself a moment before.
fn is_cancelled(end: &GenerationEnd) -> bool {
    match end {
        Ok(summary) => summary.finish_reason == FinishReason::Cancelled,
        Err(failure) => failure.code == ErrorCode::Cancelled,
    }
}

#[cfg(test)]
#[path = "generation_queue_tests.rs"]
mod tests;

fn cancelled_while_its_engine_was_lost() -> Failure {
    Failure::new(
        ErrorCode::Cancelled,
        "the request was cancelled, and its engine was lost before it had ended",
    )
}

#[cfg(test)]
#[path = "generation_queue_order_tests.rs"]
mod order_tests;
