//! The task that starts and watches the incarnations of one child, and does what the supervisor's plan says.

use crate::exit_guard::{Exit, ExitGuard, exit_guard};
use crate::handle::Slot;
use crate::supervisor::{ChildSpec, Control, Placement, Supervised, Supervision, SupervisorCore};
use actix::{Actor, Addr, Arbiter, Context, MailboxError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Places in a mailbox for a heartbeat and a stop, on top of those that calls may take.
const CONTROL_PLACES: usize = 2;

/// What a child's task is told. A stop that finds nobody to stop is answered by nothing: the end of who was meant has
/// been told already.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    Start,
    Stop,
    Pause(Duration),
    Retire,
}

/// One life of an actor.
pub(super) struct Incarnation<A: Actor> {
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
    pub(super) fn start(spec: &ChildSpec<A>, slot: &Slot<A>) -> Self {
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
        let factory: Arc<dyn Fn(ExitGuard) -> A + Send + Sync> = Arc::clone(&spec.factory);
        let capacity = spec.mailbox_capacity + CONTROL_PLACES;
        let place = arbiter.as_ref().map_or_else(Arbiter::current, Arbiter::handle);
        let addr = A::start_in_arbiter(&place, move |ctx: &mut Context<A>| {
            ctx.set_mailbox_capacity(capacity);
            factory(guard)
        });
        slot.addr.store(Some(Arc::new(addr.clone())));
        slot.status.is_made();
        Self { running: Some(Running { addr, exited, arbiter }), began }
    }
}

/// How an incarnation was over.
enum Over {
    /// As the plan wanted.
    Stopped,
    /// By itself.
    Ended(Exit),
}

/// Runs until the child retires.
pub(super) async fn run<A: Supervised>(
    child: usize,
    spec: ChildSpec<A>,
    slot: Arc<Slot<A>>,
    core: Arc<SupervisorCore>,
    mut commands: mpsc::Receiver<Command>,
    mut incarnation: Option<Incarnation<A>>,
) {
    loop {
        let Some(current) = incarnation.take() else {
            match commands.recv().await {
                None | Some(Command::Retire) => return,
                Some(Command::Start) => incarnation = Some(Incarnation::start(&spec, &slot)),
                Some(Command::Stop) => {}
                Some(Command::Pause(pause)) => {
                    tokio::select! {
                        biased;
                        // Nothing but the end is told to a child that pauses.
                        _ = commands.recv() => return,
                        () = tokio::time::sleep(pause) => core.pause_over(child),
                    }
                }
            }
            continue;
        };
        let began = current.began;
        let over = watch_over(child, &spec, &slot, &core, current, &mut commands).await;
        slot.addr.store(None);
        match over {
            Over::Stopped => core.stopped(child),
            Over::Ended(exit) => core.ended(child, exit, began.elapsed()),
        }
    }
}

/// Waits for the end of one incarnation.
async fn watch_over<A: Supervised>(
    child: usize,
    spec: &ChildSpec<A>,
    slot: &Slot<A>,
    core: &SupervisorCore,
    incarnation: Incarnation<A>,
    commands: &mut mpsc::Receiver<Command>,
) -> Over {
    let Some(Running { addr, mut exited, arbiter }) = incarnation.running else {
        return Over::Ended(Exit::Error("no thread could be started".into()));
    };
    let over = tokio::select! {
        biased;
        exit = &mut exited => Over::Ended(exit.unwrap_or(Exit::Normal)),
        // A stop is all that can be told to one that lives; without a supervisor nobody else would stop it.
        _ = commands.recv() => Over::Stopped,
        () = heart_stops(&addr, slot, &spec.supervision, || core.ready(child)) => Over::Ended(Exit::Stuck),
    };
    if matches!(over, Over::Stopped) {
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
    over
}

/// Resolves when the actor has made no progress for too long: its heartbeat is not answered, and no message that was
/// in front of it is taken either. An actor with a long mailbox is slow; one that takes nothing is stuck.
async fn heart_stops<A: Supervised>(
    addr: &Addr<A>,
    slot: &Slot<A>,
    supervision: &Supervision,
    first_beat: impl FnOnce(),
) {
    let mut first_beat = Some(first_beat);
    loop {
        let beat = addr.send(Control::Beat);
        tokio::pin!(beat);
        loop {
            let before = slot.status.n_taken();
            match tokio::time::timeout(supervision.heartbeat_patience, &mut beat).await {
                Ok(Ok(())) => break,
                // It has ended, which its guard reports.
                Ok(Err(MailboxError::Closed | MailboxError::Timeout)) => std::future::pending().await,
                Err(_elapsed) if slot.status.n_taken() == before => return,
                Err(_elapsed) => {}
            }
        }
        if let Some(first_beat) = first_beat.take() {
            first_beat();
        }
        tokio::time::sleep(supervision.heartbeat_every).await;
    }
}
