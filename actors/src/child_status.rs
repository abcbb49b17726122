//! What the supervisor publishes about one actor. Reading it never waits.

use crate::restart_policy::Restart;
use arc_swap::ArcSwap;
use boca_core::{ActorState, ErrorCode, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// What a user sees of one actor.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorReport {
    /// What it is doing.
    pub state: ActorState,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it was last started again, or is down.
    pub last_error: Option<String>,
    /// Calls that it has taken and not answered.
    pub mailbox_depth: usize,
    /// The most calls that it takes before it refuses.
    pub mailbox_capacity: usize,
    /// Since when it has been in this state.
    pub since: SystemTime,
    /// After which endings it is started again.
    pub restart: Restart,
    /// Those that have to be ready before it is started.
    pub needs: &'static [&'static str],
}

/// The supervisor's published record of one child.
#[derive(Debug)]
pub(crate) struct ChildStatus {
    name: Arc<str>,
    capacity: usize,
    depth: AtomicUsize,
    /// Calls whose handling began, ever: the actor's progress.
    taken: AtomicU64,
    life: ArcSwap<Life>,
    restart: Restart,
    needs: &'static [&'static str],
    /// Whether there was an incarnation yet, or will never be one.
    is_made: watch::Sender<bool>,
}

/// Where a child is in its life.
#[derive(Debug, Clone)]
struct Life {
    state: ActorState,
    since: SystemTime,
    restarts: u64,
    last_error: Option<String>,
    next_start: Option<Instant>,
    stopping: bool,
}

impl ChildStatus {
    pub(crate) fn new(name: Arc<str>, capacity: usize) -> Self {
        let life = Life {
            state: ActorState::Starting,
            since: SystemTime::now(),
            restarts: 0,
            last_error: None,
            next_start: None,
            stopping: false,
        };
        Self {
            name,
            capacity,
            depth: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            life: ArcSwap::from_pointee(life),
            restart: Restart::Permanent,
            needs: &[],
            is_made: watch::Sender::new(false),
        }
    }

    pub(crate) fn governed_by(self, restart: Restart, needs: &'static [&'static str]) -> Self {
        Self { restart, needs, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn state(&self) -> ActorState {
        self.life.load().state
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.life.load().last_error.clone()
    }

    pub(crate) fn report(&self) -> ActorReport {
        let life = self.life.load();
        ActorReport {
            state: life.state,
            restarts: life.restarts,
            last_error: life.last_error.clone(),
            mailbox_depth: self.depth.load(Ordering::Relaxed),
            mailbox_capacity: self.capacity,
            since: life.since,
            restart: self.restart,
            needs: self.needs,
        }
    }

    /// Says that there is, or was, an incarnation.
    pub(crate) fn is_made(&self) {
        self.is_made.send_replace(true);
    }

    /// Waits for the first incarnation, which comes when all that the actor needs are ready.
    pub(crate) async fn until_made(&self, deadline: Instant) {
        if !*self.is_made.borrow() {
            let mut is_made = self.is_made.subscribe();
            // Who has waited in vain finds no actor, and is told so.
            tokio::time::timeout_at(deadline.into(), is_made.wait_for(|is_made| *is_made)).await.ok();
        }
    }

    /// Counts a call that the actor has begun to handle.
    pub(crate) fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls the actor has begun to handle.
    pub(crate) fn n_taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What a caller is told who finds no actor.
    pub(crate) fn absence(&self) -> Failure {
        let life = self.life.load();
        let name = &self.name;
        if life.stopping {
            return Failure::new(ErrorCode::ShuttingDown, format!("the {name} actor has been stopped"));
        }
        if life.state == ActorState::Down {
            let reason = life.last_error.as_deref().unwrap_or("unknown reason");
            return Failure::new(ErrorCode::ShuttingDown, format!("the {name} actor is down: {reason}"));
        }
        if life.state == ActorState::Starting && life.restarts == 0 {
            let message = format!("the {name} actor is being started");
            return Failure::new(ErrorCode::Restarting, message).retry_after(Duration::from_secs(1));
        }
        let wait = life.next_start.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        Failure::new(ErrorCode::Restarting, format!("the {name} actor is being restarted"))
            .retry_after(wait.max(Duration::from_secs(1)))
    }

    /// Takes one place in the mailbox; false when there is none.
    pub(crate) fn enter_mailbox(&self) -> bool {
        self.depth
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |depth| {
                (depth < self.capacity).then_some(depth + 1)
            })
            .is_ok()
    }

    pub(crate) fn leave_mailbox(&self) {
        self.depth.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn starting(&self) {
        self.change(|life| life.state = ActorState::Starting);
    }

    pub(crate) fn ready(&self) {
        self.change(|life| life.state = ActorState::Ready);
    }

    pub(crate) fn restarting(&self, reason: Option<String>, next_start: Instant) {
        self.change(|life| {
            life.state = ActorState::Restarting;
            life.restarts += 1;
            life.last_error = reason.clone().or_else(|| life.last_error.take());
            life.next_start = Some(next_start);
        });
    }

    pub(crate) fn down(&self, reason: Option<String>) {
        self.is_made();
        self.change(|life| {
            life.state = ActorState::Down;
            life.last_error = reason.clone().or_else(|| life.last_error.take());
        });
    }

    pub(crate) fn stopping(&self) {
        self.change(|life| life.stopping = true);
    }

    /// Only the supervisor writes, under its lock, so that no change is lost.
    fn change(&self, edit: impl FnOnce(&mut Life)) {
        let mut life = Life::clone(&self.life.load());
        let before = life.state;
        edit(&mut life);
        if life.state != before {
            life.since = SystemTime::now();
        }
        self.life.store(Arc::new(life));
    }
}
