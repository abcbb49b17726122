//! What the supervisor publishes about one actor. Reading it never waits.

use arc_swap::ArcSwap;
use boca_core::{ActorState, ErrorCode, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

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
}

/// The supervisor's published record of one child.
#[derive(Debug)]
pub(crate) struct ChildStatus {
    name: Arc<str>,
    capacity: usize,
    depth: AtomicUsize,
    life: ArcSwap<Life>,
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
        Self { name, capacity, depth: AtomicUsize::new(0), life: ArcSwap::from_pointee(life) }
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
        }
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
        self.change(|life| {
            life.state = ActorState::Down;
            life.last_error = reason.clone().or_else(|| life.last_error.take());
        });
    }

    pub(crate) fn stopping(&self) {
        self.change(|life| life.stopping = true);
    }

    /// Only the child's own supervising task writes, so that no change is lost.
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
