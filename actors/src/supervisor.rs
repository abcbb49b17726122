//! Starts actors, notices their end, and starts them again.
//!
//! actix's own `Supervisor` does not restart an actor after a panic, so each child here has a supervising task and a
//! factory. An actor holds an [`ExitGuard`]; when its end is reported (or it stops answering its heartbeat) the task
//! takes the address away, asks the [`RestartPolicy`], and makes a new actor from the factory after the pause that
//! the policy names. One child's end concerns no other child. When a child's restart limit is spent the whole
//! supervisor escalates: the process should end with its documented exit code, and a service manager start it afresh.
//!
//! Children are stopped in the reverse of their starting order, each within its own time limit.

pub use crate::child_status::ActorReport;
pub(crate) use crate::child_status::ChildStatus;
use crate::exit_guard::{Exit, ExitGuard, exit_guard};
use crate::handle::{ActorHandle, Slot};
use crate::restart_policy::{Decision, EndedRun, Ending, RestartHistory, RestartPolicy};
use actix::{Actor, ActorContext, Addr, Arbiter, Context, Handler, MailboxError, Message};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Places in a mailbox for a heartbeat and a stop, on top of those that calls may take.
const CONTROL_PLACES: usize = 2;

/// How every child is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Supervision {
    /// When an actor is started again, and when that ends.
    pub actors: RestartPolicy,
    /// The same for the engine, which lives below its actor and takes longer to start.
    pub engine: RestartPolicy,
    /// How long a child may take to stop before it is abandoned.
    pub shutdown_timeout: Duration,
    /// Pause between two heartbeats of an actor.
    pub heartbeat_every: Duration,
    /// An actor that has not answered a heartbeat for this long is stuck, and replaced.
    pub heartbeat_patience: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        let actors = RestartPolicy::default();
        Self {
            actors,
            engine: RestartPolicy { within: Duration::from_secs(600), ..actors },
            shutdown_timeout: Duration::from_secs(5),
            heartbeat_every: Duration::from_secs(5),
            heartbeat_patience: Duration::from_secs(30),
        }
    }
}

/// Supervision gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {actor} actor failed again and again: {reason}")]
pub struct Escalation {
    /// The actor whose restart limit is spent.
    pub actor: String,
    /// Its last error.
    pub reason: String,
}

/// What a supervisor tells an actor.
#[derive(Debug)]
pub(crate) enum Control {
    /// Stop when that is possible without loss.
    Stop,
    /// Show that messages are still handled.
    Beat,
}

impl Message for Control {
    type Result = ();
}

impl Control {
    /// What an actor does that has nothing to clean up.
    pub(crate) fn obey<A: Actor<Context = Context<A>>>(self, ctx: &mut Context<A>) {
        match self {
            Self::Stop => ctx.stop(),
            Self::Beat => {}
        }
    }
}

/// An actor that can be supervised: it holds its [`ExitGuard`] and obeys [`Control`].
pub(crate) trait Supervised: Actor<Context = Context<Self>> + Handler<Control> {}
impl<A: Actor<Context = Context<A>> + Handler<Control>> Supervised for A {}

/// Which thread an actor runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The supervisor's own; an actor that blocks there blocks its supervisor too.
    #[cfg(test)]
    Shared,
    /// One of its own, new for each incarnation.
    OwnThread,
}

/// One child to be started.
pub(crate) struct ChildSpec<A: Supervised> {
    pub(crate) name: Arc<str>,
    pub(crate) policy: RestartPolicy,
    pub(crate) supervision: Supervision,
    pub(crate) mailbox_capacity: usize,
    pub(crate) placement: Placement,
    /// Whether the process has no use without it.
    pub(crate) is_essential: bool,
    /// Makes one incarnation, on the thread where it will run.
    pub(crate) factory: Arc<dyn Fn(ExitGuard) -> A + Send + Sync>,
}

/// Starts, watches and stops its children.
#[derive(Debug)]
pub(crate) struct Supervisor {
    children: Mutex<Vec<Child>>,
    escalation: Arc<watch::Sender<Option<Escalation>>>,
}

#[derive(Debug)]
struct Child {
    status: Arc<ChildStatus>,
    stop: watch::Sender<bool>,
    /// Taken by who waits for its end.
    stopped: Option<oneshot::Receiver<()>>,
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        crate::exit_guard::keep_panic_notes();
        Self { children: Mutex::default(), escalation: Arc::new(watch::Sender::new(None)) }
    }

    /// Starts a child. Must be called inside an actix system.
    pub(crate) fn start<A: Supervised>(&self, spec: ChildSpec<A>) -> ActorHandle<A> {
        let status = Arc::new(ChildStatus::new(Arc::clone(&spec.name), spec.mailbox_capacity));
        let slot = Arc::new(Slot { addr: ArcSwapOption::empty(), status: Arc::clone(&status) });
        let (stop, stop_wanted) = watch::channel(false);
        let (done, stopped) = oneshot::channel();
        let escalation = Arc::clone(&self.escalation);
        let task_slot = Arc::clone(&slot);
        // The first incarnation is made at once, so that a message sent right after this call finds its mailbox.
        let first = Incarnation::start(&spec, &slot);
        actix::spawn(async move {
            supervise(spec, task_slot, first, stop_wanted, escalation).await;
            done.send(()).ok();
        });
        self.lock().push(Child { status, stop, stopped: Some(stopped) });
        ActorHandle::new(slot)
    }

    /// Every child, by name.
    pub(crate) fn reports(&self) -> BTreeMap<String, ActorReport> {
        self.lock().iter().map(|child| (child.status.name().to_owned(), child.status.report())).collect()
    }

    /// Waits until supervision gives up. Never resolves while all is well.
    pub(crate) async fn escalated(&self) -> Escalation {
        let mut escalation = self.escalation.subscribe();
        loop {
            if let Some(escalation) = escalation.borrow_and_update().clone() {
                return escalation;
            }
            if escalation.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops every child, the youngest first, each within its time limit.
    pub(crate) async fn stop_all(&self) {
        while let Some(stopped) = self.stop_youngest() {
            // An error means that the child's task is gone, which is as good.
            stopped.await.ok();
        }
    }

    /// Tells the youngest child that was not told before; the list keeps it, for reports.
    fn stop_youngest(&self) -> Option<oneshot::Receiver<()>> {
        let mut children = self.lock();
        let child = children.iter_mut().rev().find(|child| child.stopped.is_some())?;
        child.stop.send_replace(true);
        child.stopped.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One life of an actor.
struct Incarnation<A: Actor> {
    /// `None` when not even its thread could be started.
    running: Option<Running<A>>,
    began: Instant,
}

struct Running<A: Actor> {
    addr: Addr<A>,
    exited: oneshot::Receiver<Exit>,
    arbiter: Option<Arbiter>,
}

impl<A: Supervised> Incarnation<A> {
    fn start(spec: &ChildSpec<A>, slot: &Slot<A>) -> Self {
        let began = Instant::now();
        let arbiter = match spec.placement {
            #[cfg(test)]
            Placement::Shared => None,
            // `Arbiter::new` panics when the system has no thread left.
            Placement::OwnThread => match catch_unwind(AssertUnwindSafe(Arbiter::new)) {
                Ok(arbiter) => Some(arbiter),
                Err(_) => return Self { running: None, began },
            },
        };
        let (guard, exited) = exit_guard();
        let factory = Arc::clone(&spec.factory);
        let capacity = spec.mailbox_capacity + CONTROL_PLACES;
        let place = arbiter.as_ref().map_or_else(Arbiter::current, Arbiter::handle);
        let addr = A::start_in_arbiter(&place, move |ctx| {
            ctx.set_mailbox_capacity(capacity);
            factory(guard)
        });
        slot.addr.store(Some(Arc::new(addr.clone())));
        Self { running: Some(Running { addr, exited, arbiter }), began }
    }
}

/// The supervising task of one child.
async fn supervise<A: Supervised>(
    spec: ChildSpec<A>,
    slot: Arc<Slot<A>>,
    first: Incarnation<A>,
    mut stop_wanted: watch::Receiver<bool>,
    escalation: Arc<watch::Sender<Option<Escalation>>>,
) {
    let origin = Instant::now();
    let status = &slot.status;
    let name = &*spec.name;
    let mut history = RestartHistory::default();
    let mut incarnation = first;
    loop {
        let began = incarnation.began;
        let exit = watch_over(&spec, &slot, incarnation, &mut stop_wanted).await;
        slot.addr.store(None);
        let Some(exit) = exit else {
            status.stopping();
            status.down(None);
            return;
        };
        let reason = exit.reason();
        let ending = if exit == Exit::Normal { Ending::Normal } else { Ending::Failed };
        let (decision, next_history) = match exit {
            Exit::GiveUp(_) => (Decision::GiveUp, history),
            _ => {
                let at = origin.elapsed();
                let draw = fastrand::f64();
                spec.policy.decide(history, EndedRun { ending, at, ran_for: began.elapsed(), draw })
            }
        };
        history = next_history;
        match decision {
            Decision::Restart { after } => {
                tracing::warn!(actor = name, reason, after_ms = after.as_millis() as u64, "actor restarts");
                status.restarting(reason, (Instant::now() + after).into_std());
                tokio::select! {
                    biased;
                    _ = stop_wanted.wait_for(|wanted| *wanted) => {
                        status.stopping();
                        status.down(None);
                        return;
                    }
                    () = tokio::time::sleep(after) => {}
                }
                status.starting();
                incarnation = Incarnation::start(&spec, &slot);
            }
            Decision::Stop => {
                tracing::info!(actor = name, "actor ended and stays so");
                status.stopping();
                status.down(reason);
                return;
            }
            Decision::GiveUp => {
                let reason = reason.unwrap_or_else(|| "it kept ending".into());
                tracing::error!(actor = name, reason, spec.is_essential, "supervision gives up");
                status.down(Some(reason.clone()));
                if !spec.is_essential {
                    return;
                }
                escalation.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(Escalation { actor: name.into(), reason });
                    is_first
                });
                return;
            }
        }
    }
}

/// Waits for the end of one incarnation; `None` when it was stopped from outside.
async fn watch_over<A: Supervised>(
    spec: &ChildSpec<A>,
    slot: &Slot<A>,
    incarnation: Incarnation<A>,
    stop_wanted: &mut watch::Receiver<bool>,
) -> Option<Exit> {
    let Some(Running { addr, mut exited, arbiter }) = incarnation.running else {
        return Some(Exit::Error("no thread could be started".into()));
    };
    let exit = tokio::select! {
        biased;
        exit = &mut exited => Some(exit.unwrap_or(Exit::Normal)),
        _ = stop_wanted.wait_for(|wanted| *wanted) => None,
        () = heart_stops(&addr, slot, &spec.supervision) => Some(Exit::Stuck),
    };
    if exit.is_none() {
        let graceful = async {
            if addr.send(Control::Stop).await.is_ok() {
                exited.await.ok();
            }
        };
        if tokio::time::timeout(spec.supervision.shutdown_timeout, graceful).await.is_err() {
            tracing::warn!(actor = &*spec.name, "actor did not stop in time and is abandoned");
        }
    }
    if let Some(arbiter) = arbiter {
        arbiter.stop();
    }
    exit
}

/// Resolves when the actor has not answered a heartbeat for too long.
async fn heart_stops<A: Supervised>(addr: &Addr<A>, slot: &Slot<A>, supervision: &Supervision) {
    let mut is_first = true;
    loop {
        match tokio::time::timeout(supervision.heartbeat_patience, addr.send(Control::Beat)).await {
            Ok(Ok(())) => {}
            // It has ended, which its guard reports.
            Ok(Err(MailboxError::Closed | MailboxError::Timeout)) => std::future::pending().await,
            Err(_elapsed) => return,
        }
        if std::mem::take(&mut is_first) {
            slot.status.ready();
        }
        tokio::time::sleep(supervision.heartbeat_every).await;
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
