//! ModelActor: owns the engine and its queue.
//!
//! Talks to the engine's host in commands; the host's events go straight to queue and status, and only the end of an
//! engine comes back to the actor. Asked by the synthesizer (`Generate`) and by the daemon (`Observe`, `Cancel`,
//! `Drain`, `Reload`).
//!
//! How it fails: an engine that breaks is rebuilt here, with its own restart policy. When that is spent the model is down,
//! and one request in [`ModelShared::probe_every`] is let through to try again. An engine that lives in a thread of the
//! daemon is another matter: only a new process can help then, and when it no longer obeys, so the actor gives up and
//! supervision escalates. A checkpoint that cannot be loaded is no failure of the actor: it stays down with the reason, and
//! tries again on `Reload`.
//! What a restart loses: the loaded engine and the generations in it that had shown something. Requests that wait are
//! kept, and those that had shown nothing are sent once more.

use crate::engine_host::{EngineCommand, EngineEnd, EngineEvent, EngineHost, EventSink};
use crate::engine_hosting::EngineHosting;
use crate::engine_thread::EngineTurn;
use crate::exit_guard::ExitGuard;
use crate::generation_queue::{Epoch, GenerationQueue};
use crate::handle::Call;
use crate::messages::{Cancel, Drain, Generate, Observe, Reload, ReloadOutcome};
use crate::model_memory::{LevelCell, MemoryOptions, ModelMemory};
use crate::model_status::{ModelObservation, StatusCell};
use crate::prompt_desk::PromptDesk;
use crate::restart_policy::{Decision, EndedRun, Ending, RestartHistory, RestartPolicy};
use crate::supervisor::Control;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle, StreamHandler};
use boca_core::{ActorState, ErrorCode, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How often the actor looks whether its engine still obeys.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the actor needs and what outlives it.
pub(crate) struct ModelShared {
    /// Where engines live.
    pub(crate) hosting: EngineHosting,
    /// Where answers are read, and what an engine process says: no token needs to wake a second thread.
    pub(crate) runtime: Handle,
    /// Accepted requests.
    pub(crate) queue: GenerationQueue,
    /// Makes prompts before requests are queued.
    pub(crate) prompts: PromptDesk,
    /// The published status.
    pub(crate) status: Arc<StatusCell>,
    /// Lets one engine after another live.
    pub(crate) turn: EngineTurn,
    /// The newest engine's number.
    pub(crate) newest_epoch: AtomicU64,
    /// When an engine is built again.
    pub(crate) policy: RestartPolicy,
    /// An engine that has not ended a generation for this long after it had to is given up.
    pub(crate) stuck_after: Duration,
    /// How often a request may try whether a model that is down for its many failures has recovered.
    pub(crate) probe_every: Duration,
    /// How long a drain waits for the engine to end a cancelled generation.
    pub(crate) cancel_patience: Duration,
    /// When the weights are in memory.
    pub(crate) memory: MemoryOptions,
    /// How short memory is.
    pub(crate) level: LevelCell,
}

/// The end of one engine, if one has ended.
type Ended = Option<(Epoch, EngineEnd)>;

/// The actor.
pub(crate) struct ModelActor {
    pub(crate) shared: Arc<ModelShared>,
    /// `None` while there is no engine: down, unloaded, or between two.
    pub(crate) engine: Option<Engine>,
    /// Where an engine's end is written. It holds one, which is enough: no engine starts before the last one's end
    /// has been seen.
    ends: Arc<watch::Sender<Ended>>,
    pub(crate) origin: Instant,
    /// Why the weights are there, or not.
    pub(crate) memory: ModelMemory,
    history: RestartHistory,
    /// The next start, while the pause before it lasts.
    next_start: Option<SpawnHandle>,
    /// The engine was started to try whether it has recovered.
    is_probe: bool,
    is_draining: bool,
    is_stopping: bool,
    exit: ExitGuard,
}

/// The running engine. Dropping it, also in a panic of the actor, ends the engine and fails what runs in it.
pub(crate) struct Engine {
    pub(crate) epoch: Epoch,
    began: Instant,
    pub(crate) host: Arc<dyn EngineHost>,
    queue: GenerationQueue,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let failure = Failure::new(ErrorCode::Restarting, "the model actor was stopped");
        // Before the stop, which would let the running request end as if someone had cancelled it.
        self.queue.engine_gone(self.epoch, &failure.retry_after(Duration::from_secs(1)));
        // An error means that it has ended already.
        self.host.send(EngineCommand::Stop).ok();
    }
}

impl ModelActor {
    pub(crate) fn new(shared: Arc<ModelShared>, exit: ExitGuard) -> Self {
        let memory = ModelMemory::new(&shared.memory);
        Self {
            shared,
            engine: None,
            ends: Arc::new(watch::Sender::new(None)),
            origin: Instant::now(),
            memory,
            history: RestartHistory::default(),
            next_start: None,
            is_probe: false,
            is_draining: false,
            is_stopping: false,
            exit,
        }
    }
}

impl Actor for ModelActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let ends = futures_util::stream::unfold(self.ends.subscribe(), |mut ends| async move {
            ends.changed().await.ok()?;
            let end = ends.borrow_and_update().clone();
            Some((end, ends))
        });
        ctx.add_stream(ends);
        ctx.run_interval(WATCH_EVERY, Self::watch_engine);
        ctx.run_interval(self.shared.memory.look_every, Self::look_at_memory);
        self.start_engine(ctx);
    }
}

impl StreamHandler<Ended> for ModelActor {
    fn handle(&mut self, ended: Ended, ctx: &mut Self::Context) {
        if let Some((epoch, end)) = ended {
            self.engine_ended(epoch, end, ctx);
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The default would stop the actor. This cannot come while the actor holds the sender.
    }
}

impl Handler<Call<Generate>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Generate>, ctx: &mut Self::Context) {
        let deadline = call.deadline;
        self.probe_if_due(ctx);
        self.asked(ctx);
        call.reply(|Generate { request, accepted_at }| {
            self.shared.queue.admit(Box::new(request), accepted_at, deadline)
        });
    }
}

impl Handler<Call<Cancel>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Cancel>, _: &mut Self::Context) {
        call.reply(|Cancel { id }| self.shared.queue.cancel(&id));
    }
}

impl Handler<Call<Observe<Self>>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Observe<Self>>, _: &mut Self::Context) {
        let ModelShared { status, queue, .. } = &*self.shared;
        call.reply(|_| ModelObservation {
            status: status.get(),
            queue: queue.report(),
            requests: queue.requests(),
        });
    }
}

impl Handler<Call<Drain>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Drain>, _: &mut Self::Context) {
        self.is_draining = true;
        let (Drain { grace }, reply) = call.into_parts();
        let queue = self.shared.queue.clone();
        let patience = self.shared.cancel_patience;
        actix::spawn(async move { reply.send(queue.drain(grace, patience).await) });
    }
}

impl Handler<Call<Reload>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Reload>, ctx: &mut Self::Context) {
        let outcome = self.reload(ctx);
        call.reply(|Reload| outcome);
    }
}

impl Handler<Control> for ModelActor {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Self::Context) {
        match control {
            Control::Beat => {}
            Control::Stop => {
                self.is_stopping = true;
                let reason = Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping");
                self.refuse_all(reason);
                match &self.engine {
                    // The actor stops when the engine's end arrives.
                    Some(engine) if engine.host.send(EngineCommand::Stop).is_ok() => {}
                    _ => ctx.stop(),
                }
            }
        }
    }
}

impl ModelActor {
    pub(crate) fn start_engine(&mut self, ctx: &mut Context<Self>) {
        let epoch = Epoch(self.shared.newest_epoch.fetch_add(1, Ordering::AcqRel) + 1);
        self.next_start = None;
        self.shared.status.starting();
        self.shared.prompts.open();
        let (host, start) = self.shared.hosting.place(&self.shared.runtime);
        let queue = self.shared.queue.clone();
        // Before its first event.
        queue.engine_starts(epoch, Arc::clone(&host));
        self.engine = Some(Engine { epoch, began: Instant::now(), host, queue });
        let sink = event_sink(epoch, Arc::clone(&self.shared), Arc::clone(&self.ends));
        if let Err(error) = start(self.shared.turn.clone(), sink) {
            let message = format!("no thread for the engine could be started: {error}");
            self.engine_ended(epoch, EngineEnd::Crashed(Failure::new(ErrorCode::EngineFailed, message)), ctx);
        }
    }

    fn engine_ended(&mut self, epoch: Epoch, end: EngineEnd, ctx: &mut Context<Self>) {
        let Some(engine) = self.engine.take_if(|engine| engine.epoch == epoch) else { return };
        let ran_for = engine.began.elapsed();
        drop(engine);
        if self.is_stopping {
            ctx.stop();
            return;
        }
        match end.failure() {
            None => self.engine_stopped(ctx),
            Some((failure, true)) => self.restart_engine(failure.clone(), ran_for, ctx),
            Some((failure, false)) => {
                tracing::error!(reason = failure.message, "the model cannot be loaded");
                self.go_down(Failure { code: ErrorCode::ModelUnavailable, ..failure.clone() }, None);
            }
        }
    }

    fn restart_engine(&mut self, failure: Failure, ran_for: Duration, ctx: &mut Context<Self>) {
        let run =
            EndedRun { ending: Ending::Failed, at: self.origin.elapsed(), ran_for, draw: fastrand::f64() };
        // A probe is one more try, not the first of a new series, unless what it started ran well for a while.
        let is_failed_probe = std::mem::take(&mut self.is_probe) && ran_for < self.shared.policy.stable_after;
        let decision = if is_failed_probe {
            Decision::GiveUp
        } else {
            let (decision, history) = self.shared.policy.decide(std::mem::take(&mut self.history), run);
            self.history = history;
            decision
        };
        match decision {
            Decision::Restart { after } => {
                let reason = failure.message.as_str();
                tracing::warn!(reason, after_ms = after.as_millis() as u64, "the engine restarts");
                self.shared.status.restarting(failure, Instant::now() + after);
                self.next_start = Some(ctx.run_later(after, Self::start_engine));
            }
            Decision::Stop => self.go_down(failure, None),
            Decision::GiveUp if self.shared.hosting.shares_the_process() => self.give_up(failure, ctx),
            Decision::GiveUp => {
                let every = self.shared.probe_every;
                let message = format!("the engine failed again and again: {}", failure.message);
                tracing::error!(reason = failure.message, probe_every = ?every, "the model is down");
                let failure = Failure::new(ErrorCode::Restarting, message).retry_after(every);
                self.go_down(failure, Some(Instant::now() + every));
            }
        }
    }

    /// Starts an engine for the request that has come, if the model is down and it is time to try again.
    fn probe_if_due(&mut self, ctx: &mut Context<Self>) {
        let is_due = self.shared.status.is_worth_a_try(Instant::now());
        if is_due && self.engine.is_none() && !self.is_draining && !self.is_stopping {
            tracing::info!("a request tries whether the engine has recovered");
            self.is_probe = true;
            self.shared.queue.welcome_one();
            self.start_engine(ctx);
        }
    }

    /// Whether nothing may be started any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_draining || self.is_stopping
    }

    /// Stays up without a model until someone asks for a reload, or a request tries it at `next_try`.
    fn go_down(&self, failure: Failure, next_try: Option<Instant>) {
        self.shared.status.down(failure.clone(), next_try);
        self.refuse_all(failure);
    }

    /// Ends the actor for an error that only a new process may mend.
    fn give_up(&mut self, failure: Failure, ctx: &mut Context<Self>) {
        self.exit.give_up(failure.message.clone());
        self.go_down(failure, None);
        ctx.stop();
    }

    fn refuse_all(&self, reason: Failure) {
        self.shared.queue.refuse(reason.clone());
        self.shared.queue.end_all(&reason);
    }

    pub(crate) fn reload(&mut self, ctx: &mut Context<Self>) -> Result<ReloadOutcome, Failure> {
        if self.is_draining || self.is_stopping {
            return Err(Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping"));
        }
        if self.engine.is_some() {
            let is_loaded = self.shared.status.state() == ActorState::Ready;
            return Ok(if is_loaded { ReloadOutcome::AlreadyLoaded } else { ReloadOutcome::AlreadyLoading });
        }
        if let Some(next_start) = self.next_start.take() {
            ctx.cancel_future(next_start);
        }
        self.is_probe = false;
        self.shared.queue.welcome();
        self.start_engine(ctx);
        Ok(ReloadOutcome::Started)
    }

    /// An engine in a thread of the daemon cannot be ended from outside: if it computes for ever, the daemon must end.
    fn watch_engine(&mut self, ctx: &mut Context<Self>) {
        let stuck_after = self.shared.stuck_after;
        if self.shared.queue.disobeyed_for(Instant::now()).is_some_and(|time| time > stuck_after) {
            let reason = format!("it did not end a generation within {stuck_after:?} after it had to");
            match &self.engine {
                Some(engine) if engine.host.end_by_force(&reason) => {}
                _ => {
                    let message = format!("the engine was given up: {reason}");
                    self.give_up(Failure::new(ErrorCode::EngineFailed, message), ctx);
                }
            }
        }
    }
}

/// Takes the events of one engine.
fn event_sink(epoch: Epoch, shared: Arc<ModelShared>, ends: Arc<watch::Sender<Ended>>) -> EventSink {
    Arc::new(move |event| {
        let is_newest = shared.newest_epoch.load(Ordering::Acquire) == epoch.0;
        let ModelShared { status, queue, .. } = &*shared;
        match event {
            EngineEvent::Loading(progress) if is_newest => status.loading(progress),
            EngineEvent::Ready(info) if is_newest => {
                let (model, is_demo, backend) = (&info.name, info.is_demo, &info.backend);
                tracing::info!(model, is_demo, backend, "the model is ready");
                status.ready(*info);
                // After a time without a model nothing but a probe was let in.
                queue.welcome();
                queue.engine_ready(epoch);
            }
            EngineEvent::Loading(_) | EngineEvent::Ready(_) => {}
            EngineEvent::Generation { id, event } => queue.generation_event(epoch, &id, event),
            EngineEvent::Finished { id, summary } => queue.generation_ended(epoch, &id, Ok(summary)),
            EngineEvent::Failed { id, failure } => queue.generation_ended(epoch, &id, Err(failure)),
            EngineEvent::Ended(end) => {
                let stopped = Failure::new(ErrorCode::ShuttingDown, "the engine was stopped");
                let failure = end.failure().map_or(&stopped, |(failure, _)| failure);
                queue.engine_gone(epoch, failure);
                ends.send_replace(Some((epoch, end)));
            }
        }
    })
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
