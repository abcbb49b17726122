//! What a supervisor does next, and to whom: the rules, without actors, clock or threads.
//!
//! Children form a list in which each may need some of those before it. A child is first started when all that it
//! needs have been ready, and children are stopped in the reverse of their order, one after the other. What happens to
//! the others when one ends is the [`Strategy`]'s to say.
//!
//! Source: the supervision strategies of OTP's design principles, chapter "Supervisor Behaviour"; here `RestForOne`
//! follows what a child says that it needs instead of the mere order.

use crate::restart_policy::{Decision, EndedRun, RestartHistory, RestartPolicy};
use std::time::Duration;

/// Who is started again when a child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody else. For children that survive each other's restarts, as those do that hold handles.
    OneForOne,
    /// Everyone who needs it, directly or through others: they are stopped, youngest first, and started again once it
    /// is ready. For children that hold state of the ended one.
    RestForOne,
}

impl Strategy {
    /// The name in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneForOne => "one_for_one",
            Self::RestForOne => "rest_for_one",
        }
    }
}

/// Something that has to be done for the child with this number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Action {
    /// Start an incarnation. Answered by [`Plan::ready`] or [`Plan::ended`].
    Start(usize),
    /// Stop its incarnation within its grace. Answered by [`Plan::stopped`] or, if it had just ended, [`Plan::ended`].
    Stop(usize),
    /// Wait, then call [`Plan::pause_over`].
    Pause(usize, Duration),
    /// Show that it was stopped because of another, and waits for that one.
    Rest(usize, usize),
    /// It is never started again.
    Retire(usize, Retired),
    /// Its restart limit is spent, and the process has no use without it.
    Escalate(usize),
}

/// Why a child is never started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retired {
    /// The supervisor stops.
    Stopped,
    /// It ended, and its policy leaves it at that.
    Done,
    /// Its restart limit is spent.
    GaveUp,
}

/// How an incarnation ended, as far as the plan cares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// The child's policy decides.
    Run(EndedRun),
    /// It said itself that no restart would help.
    Hopeless,
}

/// Where a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For those that it needs.
    Waiting,
    Starting,
    Ready,
    Stopping,
    /// Before its next start.
    Pausing,
    Retired,
}

#[derive(Debug)]
struct Child {
    needs: Vec<usize>,
    policy: RestartPolicy,
    is_essential: bool,
    history: RestartHistory,
    phase: Phase,
    was_ready: bool,
    /// Whose end this one has to be stopped for.
    rests_for: Option<usize>,
}

impl Child {
    fn lives(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Ready | Phase::Stopping)
    }
}

/// The state of one supervisor. Every method gives what is to be done now, in order.
#[derive(Debug)]
pub(super) struct Plan {
    strategy: Strategy,
    children: Vec<Child>,
    is_stopping: bool,
}

impl Plan {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self { strategy, children: Vec::new(), is_stopping: false }
    }

    pub(super) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Adds a child that needs some of those before it.
    pub(super) fn add(
        &mut self,
        needs: Vec<usize>,
        policy: RestartPolicy,
        is_essential: bool,
    ) -> (usize, Vec<Action>) {
        let new = self.children.len();
        debug_assert!(needs.iter().all(|need| *need < new), "only what was started before can be needed");
        self.children.push(Child {
            needs,
            policy,
            is_essential,
            history: RestartHistory::default(),
            phase: Phase::Waiting,
            was_ready: false,
            rests_for: None,
        });
        (new, self.advance(Vec::new()))
    }

    /// A child that was started takes messages.
    pub(super) fn ready(&mut self, child: usize) -> Vec<Action> {
        let this = &mut self.children[child];
        if this.phase == Phase::Starting {
            this.phase = Phase::Ready;
            this.was_ready = true;
        }
        self.advance(Vec::new())
    }

    /// A child ended that nobody had stopped, as far as it knew.
    pub(super) fn ended(&mut self, child: usize, end: End) -> Vec<Action> {
        let this = &mut self.children[child];
        match this.phase {
            Phase::Starting | Phase::Ready => {}
            Phase::Stopping => return self.stopped(child),
            Phase::Waiting | Phase::Pausing | Phase::Retired => return Vec::new(),
        }
        this.rests_for = None;
        let decision = match end {
            End::Hopeless => Decision::GiveUp,
            End::Run(run) => {
                let (decision, history) = this.policy.decide(std::mem::take(&mut this.history), run);
                this.history = history;
                decision
            }
        };
        let mut actions = Vec::new();
        match decision {
            Decision::Restart { after } => {
                this.phase = Phase::Pausing;
                actions.push(Action::Pause(child, after));
            }
            Decision::Stop => {
                this.phase = Phase::Retired;
                actions.push(Action::Retire(child, Retired::Done));
                return self.advance(actions);
            }
            Decision::GiveUp => {
                this.phase = Phase::Retired;
                actions.push(Action::Retire(child, Retired::GaveUp));
                if this.is_essential {
                    actions.push(Action::Escalate(child));
                }
            }
        }
        for other in self.affected_by(child) {
            if self.children[other].lives() {
                self.children[other].rests_for = Some(child);
            }
        }
        self.advance(actions)
    }

    /// A child ended that had been told to stop.
    pub(super) fn stopped(&mut self, child: usize) -> Vec<Action> {
        let is_stopping = self.is_stopping;
        let this = &mut self.children[child];
        if this.phase != Phase::Stopping {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match this.rests_for.take() {
            Some(need) if !is_stopping => {
                this.phase = Phase::Waiting;
                actions.push(Action::Rest(child, need));
            }
            _ => {
                this.phase = Phase::Retired;
                actions.push(Action::Retire(child, Retired::Stopped));
            }
        }
        self.advance(actions)
    }

    /// The pause before a child's next start is over.
    pub(super) fn pause_over(&mut self, child: usize) -> Vec<Action> {
        let this = &mut self.children[child];
        if this.phase == Phase::Pausing {
            this.phase = Phase::Waiting;
        }
        self.advance(Vec::new())
    }

    /// Stops everyone, for good.
    pub(super) fn stop_all(&mut self) -> Vec<Action> {
        self.is_stopping = true;
        self.advance(Vec::new())
    }

    /// Whether everyone was stopped for good.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping && self.children.iter().all(|child| child.phase == Phase::Retired)
    }

    /// Who else is started again when this child is.
    fn affected_by(&self, child: usize) -> Vec<usize> {
        match self.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::RestForOne => self.dependents_of(child),
        }
    }

    /// Those who need a child, directly or through others, oldest first.
    fn dependents_of(&self, child: usize) -> Vec<usize> {
        let mut found = vec![child];
        for (other, this) in self.children.iter().enumerate().skip(child + 1) {
            if this.needs.iter().any(|need| found.contains(need)) {
                found.push(other);
            }
        }
        found.split_off(1)
    }

    /// Appends everything that can be done now.
    fn advance(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        let is_one_stopping = self.children.iter().any(|child| child.phase == Phase::Stopping);
        if self.is_stopping {
            if !is_one_stopping {
                self.stop_youngest(&mut actions);
            }
            return actions;
        }
        let resting = self.children.iter().rposition(|child| child.rests_for.is_some());
        if let Some(youngest) = resting
            && !is_one_stopping
        {
            self.children[youngest].phase = Phase::Stopping;
            actions.push(Action::Stop(youngest));
        }
        for child in 0..self.children.len() {
            if self.children[child].phase == Phase::Waiting && self.can_start(child) {
                self.children[child].phase = Phase::Starting;
                actions.push(Action::Start(child));
            }
        }
        actions
    }

    /// Retires from the youngest on who does not live; the first one who does is told to stop, and waited for.
    fn stop_youngest(&mut self, actions: &mut Vec<Action>) {
        for (at, child) in self.children.iter_mut().enumerate().rev() {
            match child.phase {
                Phase::Retired | Phase::Stopping => {}
                Phase::Starting | Phase::Ready => {
                    child.phase = Phase::Stopping;
                    actions.push(Action::Stop(at));
                    return;
                }
                Phase::Waiting | Phase::Pausing => {
                    child.phase = Phase::Retired;
                    actions.push(Action::Retire(at, Retired::Stopped));
                }
            }
        }
    }

    fn can_start(&self, child: usize) -> bool {
        let has = |need: &usize| {
            let need = &self.children[*need];
            match self.strategy {
                // Who is down for good is not waited for: handles say so to those who ask.
                Strategy::OneForOne => need.was_ready || need.phase == Phase::Retired,
                Strategy::RestForOne => need.phase == Phase::Ready && need.rests_for.is_none(),
            }
        };
        // Nobody of an earlier life may still hold what the next one takes.
        let are_gone = || self.affected_by(child).iter().all(|other| !self.children[*other].lives());
        self.children[child].needs.iter().all(has) && are_gone()
    }
}

#[cfg(test)]
#[path = "supervisor_plan_tests.rs"]
mod tests;
