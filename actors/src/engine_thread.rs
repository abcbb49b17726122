//! Hosts an engine on a thread of its own: it is built, used and dropped there, and nowhere else.
//!
//! A panic of the engine ends this engine, with a clear failure for the request that it hit, and nothing else.
//! A device fault that aborts the process is out of reach here: for that there is [`crate::engine_process`], which has this
//! thread in a process of its own.

use crate::engine_host::{EngineCommand, EngineEnd, EngineEvent, EngineGone, EngineHost, EventSink, Pulse};
use crate::exit_guard::take_panic_note;
use boca_core::{ErrorCode, Failure, GenerateRequest, GeneratorLoad, RequestId};
use boca_engine::{CancelToken, Doubt, Generator, GeneratorFactory, Report};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// It may have to make prompts.
const STACK_BYTES: usize = boca_engine::TEXT_STACK_BYTES;

/// Lets one engine after another live: a new one is not built before the last one is gone, or two threads would
/// touch the accelerator and two models fill the memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineTurn(Arc<Mutex<()>>);

impl EngineTurn {
    /// Waits for the turn, and holds it until the guard is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commands for an engine's thread.
#[derive(Debug, Default)]
pub(crate) struct EngineThread {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    pulse: Mutex<Pulse>,
    doubt: Mutex<Doubtful>,
}

/// Who knows when the engine is of no use any more.
#[derive(Default)]
struct Doubtful(Option<Doubt>);

impl fmt::Debug for Doubtful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Doubtful" } else { "Trusted" })
    }
}

#[derive(Debug, Default)]
struct Inbox {
    /// At most [`MAX_WAITING`].
    waiting: VecDeque<Assignment>,
    running: Vec<(RequestId, CancelToken)>,
    is_stopping: bool,
    /// Whether what is kept for later requests has to go.
    gives_up_cache: bool,
}

#[derive(Debug)]
struct Assignment {
    request: Box<GenerateRequest>,
    accepted_at: Instant,
    cancel: CancelToken,
}

/// The queue before it sends no more than the engine runs at once, and a few may come while the end of others is being
/// reported.
const MAX_WAITING: usize = 512;

/// Carried by the unwinding that ends a load when a stop is wanted.
struct LoadStopped;

impl EngineHost for EngineThread {
    fn send(&self, command: EngineCommand) -> Result<(), EngineGone> {
        let mut inbox = self.lock();
        if inbox.is_stopping {
            return Err(EngineGone);
        }
        match command {
            EngineCommand::Generate { request, waited } => {
                if inbox.waiting.len() >= MAX_WAITING {
                    return Err(EngineGone);
                }
                let now = Instant::now();
                let accepted_at = now.checked_sub(waited).unwrap_or(now);
                let cancel = CancelToken::default();
                inbox.waiting.push_back(Assignment { request, accepted_at, cancel });
            }
            EngineCommand::Cancel { id } => {
                let waiting = inbox.waiting.iter().map(|next| (&next.request.id, &next.cancel));
                let running = inbox.running.iter().map(|(id, cancel)| (id, cancel));
                waiting.chain(running).filter(|(of, _)| **of == id).for_each(|(_, cancel)| cancel.cancel());
            }
            EngineCommand::GiveUpCache => inbox.gives_up_cache = true,
            EngineCommand::Stop => {
                inbox.is_stopping = true;
                inbox.running.iter().for_each(|(_, cancel)| cancel.cancel());
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    fn pulse(&self) -> Pulse {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A thread cannot be ended from outside.
    fn end_by_force(&self, _: &str) -> bool {
        false
    }
}

impl EngineThread {
    /// Starts the thread. Events go to `sink` until [`EngineEvent::Ended`].
    ///
    /// # Errors
    /// When the system gives no thread; no event comes then.
    pub(crate) fn start(
        self: &Arc<Self>,
        factory: GeneratorFactory,
        turn: EngineTurn,
        sink: EventSink,
    ) -> std::io::Result<()> {
        let this = Arc::clone(self);
        let thread = std::thread::Builder::new().name("boca-engine".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            let end = {
                let _turn = turn.hold();
                this.live(&factory, &sink)
            };
            this.lock().is_stopping = true;
            sink(EngineEvent::Ended(end));
        })?;
        Ok(())
    }

    fn live(&self, factory: &GeneratorFactory, sink: &EventSink) -> EngineEnd {
        if self.lock().is_stopping {
            return EngineEnd::Stopped;
        }
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            factory(&mut |progress| {
                if self.lock().is_stopping {
                    // No panic: the hook does not run, and only the load on this thread unwinds.
                    resume_unwind(Box::new(LoadStopped));
                }
                sink(EngineEvent::Loading(progress));
            })
        }));
        let mut generator = match loaded {
            Ok(Ok(generator)) => generator,
            Ok(Err(error)) => return EngineEnd::LoadFailed(error.into()),
            Err(payload) if payload.is::<LoadStopped>() => return EngineEnd::Stopped,
            Err(payload) => return EngineEnd::Crashed(panic_failure("while it loaded", payload)),
        };
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).load = generator.load();
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).0 = generator.doubt();
        sink(EngineEvent::Ready(Box::new(generator.info().clone())));
        let end = self.serve(generator.as_mut(), sink);
        // A generator that has panicked may panic again when it is dropped.
        match catch_unwind(AssertUnwindSafe(move || drop(generator))) {
            Ok(()) => end,
            Err(payload) => match end {
                EngineEnd::Stopped => EngineEnd::Crashed(panic_failure("while it was freed", payload)),
                crashed => crashed,
            },
        }
    }

    fn serve(&self, generator: &mut dyn Generator, sink: &EventSink) -> EngineEnd {
        loop {
            let n_running = generator.n_running();
            let room = generator.capacity().saturating_sub(n_running);
            let Some(new) = self.next_assignments(n_running > 0, room) else { return EngineEnd::Stopped };
            self.step_begins();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut report = |id: &RequestId, report| self.report(id, report, sink);
                for Assignment { request, accepted_at, cancel } in new {
                    if cancel.is_cancelled() {
                        self.forget(&request.id);
                        let failure = cancelled_before_it_began();
                        sink(EngineEvent::Failed { id: request.id, failure });
                    } else {
                        generator.begin(&request, accepted_at, &cancel, &mut report);
                    }
                }
                if std::mem::take(&mut self.lock().gives_up_cache) {
                    generator.give_up_cache();
                }
                if generator.n_running() > 0 {
                    generator.step(&mut report);
                }
            }));
            self.step_ends(outcome.is_ok().then(|| generator.load()));
            let failure = match outcome {
                Ok(()) => self.doubt(Duration::ZERO),
                Err(payload) => Some(panic_failure("while it generated", payload)),
            };
            if let Some(failure) = failure {
                let lost = {
                    let mut inbox = self.lock();
                    // Before anyone hears of it, or the next request would be sent to this engine.
                    inbox.is_stopping = true;
                    std::mem::take(&mut inbox.running)
                };
                for (id, _) in lost {
                    sink(EngineEvent::Failed { id, failure: failure.clone() });
                }
                return EngineEnd::Crashed(failure);
            }
        }
    }

    /// Why the engine will never take another step, if that has been known for so long: it may be stuck in one.
    pub(crate) fn doubt(&self, known_for: Duration) -> Option<Failure> {
        let doubt = self.doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let (reason, since) = (doubt.0.as_ref()?)()?;
        let failure = || Failure::new(ErrorCode::EngineFailed, reason).retry_after(Duration::from_secs(1));
        (since >= known_for).then(failure)
    }

    fn step_begins(&self) {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner).is_working = true;
    }

    fn step_ends(&self, load: Option<GeneratorLoad>) {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.is_working = false;
        pulse.n_steps += 1;
        pulse.load = load.unwrap_or_default();
    }

    fn report(&self, id: &RequestId, report: Report, sink: &EventSink) {
        let id = id.clone();
        match report {
            Report::Event(event) => sink(EngineEvent::Generation { id, event }),
            Report::Ended(end) => {
                self.forget(&id);
                sink(match end {
                    Ok(summary) => EngineEvent::Finished { id, summary },
                    Err(error) => EngineEvent::Failed { id, failure: error.into() },
                });
            }
        }
    }

    /// A generation is over.
    fn forget(&self, id: &RequestId) {
        self.lock().running.retain(|(running, _)| running != id);
    }

    /// What to begin, at most `room`; waits for work when there is none. `None` when the engine is to stop and
    /// nothing runs any more.
    fn next_assignments(&self, is_working: bool, room: usize) -> Option<Vec<Assignment>> {
        let inbox = self.lock();
        let is_idle = |inbox: &mut Inbox| {
            !is_working && inbox.waiting.is_empty() && !inbox.is_stopping && !inbox.gives_up_cache
        };
        let mut inbox = self.changed.wait_while(inbox, is_idle).unwrap_or_else(PoisonError::into_inner);
        if inbox.is_stopping {
            return is_working.then(Vec::new);
        }
        let n = room.min(inbox.waiting.len());
        let new: Vec<Assignment> = inbox.waiting.drain(..n).collect();
        inbox.running.extend(new.iter().map(|next| (next.request.id.clone(), next.cancel.clone())));
        Some(new)
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure of a request that was cancelled while it waited.
pub(crate) fn cancelled_before_it_began() -> Failure {
    Failure::new(ErrorCode::Cancelled, "the request was cancelled before it began")
}

/// The failure of whoever was served when the engine panicked.
fn panic_failure(when: &str, payload: Box<dyn Any + Send>) -> Failure {
    let note = take_panic_note();
    // Dropping a payload runs foreign code, which may panic too.
    std::mem::forget(payload);
    let message = format!("the engine panicked {when}: {note}");
    tracing::error!(note, "the engine panicked {when}");
    Failure::new(ErrorCode::EngineFailed, message).retry_after(Duration::from_secs(1))
}
