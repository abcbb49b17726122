//! The plan against a world in which anything may happen in any order.

use super::Strategy;
use super::*;
use crate::restart_policy::{Backoff, Ending, Restart};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    None,
    Starting,
    Ready,
    Stopping,
    StoppingReady,
}

/// Does what the plan says, and holds it to its promises.
struct World {
    plan: Plan,
    needs: Vec<Vec<usize>>,
    lives: Vec<Life>,
    was_ready: Vec<bool>,
    pauses: Vec<usize>,
    retired: Vec<Option<Retired>>,
    escalated: Vec<usize>,
    stop_order: Vec<usize>,
    is_stopping: bool,
    clock: Duration,
}

impl World {
    fn new(strategy: Strategy, needs: Vec<Vec<usize>>, restart: Restart, max_restarts: u32) -> Self {
        let n = needs.len();
        let mut world = Self {
            plan: Plan::new(strategy),
            needs: needs.clone(),
            lives: vec![Life::None; n],
            was_ready: vec![false; n],
            pauses: Vec::new(),
            retired: vec![None; n],
            escalated: Vec::new(),
            stop_order: Vec::new(),
            is_stopping: false,
            clock: Duration::ZERO,
        };
        let backoff = Backoff { first: Duration::ZERO, longest: Duration::ZERO, jitter: 0.0 };
        let policy = RestartPolicy { restart, max_restarts, backoff, ..RestartPolicy::default() };
        for (nth, needs) in needs.into_iter().enumerate() {
            let (child, actions) = world.plan.add(needs, policy, nth % 2 == 0);
            assert_eq!(child, nth);
            world.obey(actions);
        }
        world
    }

    fn strategy(&self) -> Strategy {
        self.plan.strategy()
    }

    fn dependents(&self, child: usize) -> Vec<usize> {
        let needs_it = |other: &usize| {
            let mut open = self.needs[*other].clone();
            while let Some(next) = open.pop() {
                if next == child {
                    return true;
                }
                open.extend(&self.needs[next]);
            }
            false
        };
        (0..self.needs.len()).filter(needs_it).collect()
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(child) => {
                    assert_eq!(self.lives[child], Life::None, "{child} lives twice");
                    assert!(self.retired[child].is_none() && !self.pauses.contains(&child));
                    assert!(!self.is_stopping, "nobody is started while all are stopped");
                    for need in &self.needs[child] {
                        match self.strategy() {
                            Strategy::OneForOne => {
                                assert!(self.was_ready[*need] || self.retired[*need].is_some());
                            }
                            Strategy::RestForOne => assert_eq!(self.lives[*need], Life::Ready),
                        }
                    }
                    if self.strategy() == Strategy::RestForOne {
                        for other in self.dependents(child) {
                            assert_eq!(self.lives[other], Life::None, "{other} holds an old {child}");
                        }
                    }
                    self.lives[child] = Life::Starting;
                }
                Action::Stop(child) => {
                    let is_ready = self.lives[child] == Life::Ready;
                    assert!(is_ready || self.lives[child] == Life::Starting);
                    let stopping = self.lives.iter().filter(|life| is_being_stopped(**life)).count();
                    assert_eq!(stopping, 0, "one after the other");
                    if self.strategy() == Strategy::OneForOne {
                        assert!(self.is_stopping, "one for one stops nobody else");
                    }
                    for other in self.dependents(child) {
                        let is_affected = self.is_stopping || self.strategy() == Strategy::RestForOne;
                        assert!(!is_affected || self.lives[other] == Life::None, "{other} needs {child}");
                    }
                    self.lives[child] = if is_ready { Life::StoppingReady } else { Life::Stopping };
                    self.stop_order.push(child);
                }
                Action::Pause(child, _) => {
                    assert_eq!(self.lives[child], Life::None);
                    self.pauses.push(child);
                }
                Action::Rest(child, for_whom) => {
                    assert_eq!(self.lives[child], Life::None);
                    assert!(self.dependents(for_whom).contains(&child));
                }
                Action::Retire(child, why) => {
                    assert_eq!(self.lives[child], Life::None);
                    assert_eq!(self.retired[child], None, "retired twice");
                    self.retired[child] = Some(why);
                    self.pauses.retain(|paused| *paused != child);
                }
                Action::Escalate(child) => {
                    assert_eq!(self.retired[child], Some(Retired::GaveUp));
                    self.escalated.push(child);
                }
            }
        }
    }

    fn end(&mut self, child: usize, ending: Ending) {
        if self.lives[child] != Life::None {
            self.lives[child] = Life::None;
            self.clock += Duration::from_millis(1);
            let run = EndedRun { ending, at: self.clock, ran_for: Duration::ZERO, draw: 0.0 };
            let actions = self.plan.ended(child, End::Run(run));
            self.obey(actions);
        }
    }

    fn become_ready(&mut self, child: usize) {
        if self.lives[child] == Life::Starting {
            self.lives[child] = Life::Ready;
            self.was_ready[child] = true;
            let actions = self.plan.ready(child);
            self.obey(actions);
        }
    }

    fn finish_stop(&mut self, child: usize) {
        if is_being_stopped(self.lives[child]) {
            self.lives[child] = Life::None;
            let actions = self.plan.stopped(child);
            self.obey(actions);
        }
    }

    fn end_pause(&mut self, at: usize) {
        if !self.pauses.is_empty() {
            let child = self.pauses.remove(at % self.pauses.len());
            let actions = self.plan.pause_over(child);
            self.obey(actions);
        }
    }

    fn stop_all(&mut self) {
        self.is_stopping = true;
        // What rests now was told before.
        self.stop_order.clear();
        let actions = self.plan.stop_all();
        self.obey(actions);
    }

    fn step(&mut self, kind: u8, child: usize) {
        let child = child % self.needs.len();
        match kind % 8 {
            0 => self.end(child, Ending::Failed),
            1 => self.end(child, Ending::Normal),
            2..=3 => self.become_ready(child),
            4..=5 => self.finish_stop(child),
            _ => self.end_pause(child),
        }
    }

    /// Nothing fails any more.
    fn settle(&mut self) {
        for _ in 0..self.needs.len() * 8 {
            for child in 0..self.needs.len() {
                self.become_ready(child);
                self.finish_stop(child);
                self.end_pause(child);
            }
        }
    }
}

fn is_being_stopped(life: Life) -> bool {
    matches!(life, Life::Stopping | Life::StoppingReady)
}

prop_compose! {
    fn any_needs()(raw in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..7))
        -> Vec<Vec<usize>> {
        raw.into_iter()
            .enumerate()
            .map(|(nth, picks)| {
                let mut needs: Vec<usize> =
                    picks.into_iter().filter(|_| nth > 0).map(|pick| pick.index(nth.max(1))).collect();
                needs.sort_unstable();
                needs.dedup();
                needs
            })
            .collect()
    }
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::RestForOne)]
}

fn any_restart() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Never)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_everyone_who_can_live_lives_in_the_end(
        strategy in any_strategy(), needs in any_needs(), restart in any_restart(), max_restarts in 0u32..4,
        steps in prop::collection::vec((any::<u8>(), 0usize..7), 0..80),
    ) {
        let mut world = World::new(strategy, needs, restart, max_restarts);
        for (kind, child) in steps {
            world.step(kind, child);
        }
        world.settle();
        for child in 0..world.needs.len() {
            let waits_in_vain = strategy == Strategy::RestForOne
                && world.needs[child].iter().any(|need| world.lives[*need] != Life::Ready);
            let expected = if world.retired[child].is_some() || waits_in_vain { Life::None } else { Life::Ready };
            // A child that was ready before its need was left alone stays so.
            prop_assert!(
                world.lives[child] == expected || (waits_in_vain && world.lives[child] == Life::Ready),
                "{child}: {:?}", world.lives
            );
        }
        for child in &world.escalated {
            prop_assert!(child % 2 == 0, "only the essential ones");
        }
    }

    #[test]
    fn a_stop_at_any_moment_ends_everyone_youngest_first(
        strategy in any_strategy(), needs in any_needs(), max_restarts in 0u32..4,
        before in prop::collection::vec((any::<u8>(), 0usize..7), 0..40),
        after in prop::collection::vec((any::<u8>(), 0usize..7), 0..20),
    ) {
        let mut world = World::new(strategy, needs, Restart::Permanent, max_restarts);
        for (kind, child) in before {
            world.step(kind, child);
        }
        world.stop_all();
        for (kind, child) in after {
            world.step(kind, child);
        }
        world.settle();
        prop_assert!(world.plan.is_over(), "{:?}", world.plan);
        prop_assert!(world.lives.iter().all(|life| *life == Life::None));
        prop_assert!(world.retired.iter().all(Option::is_some));
        prop_assert!(world.stop_order.is_sorted_by(|a, b| a > b), "{:?}", world.stop_order);
    }

    #[test]
    fn one_failure_touches_exactly_those_whom_the_strategy_names(
        strategy in any_strategy(), needs in any_needs(), pick in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(strategy, needs, Restart::Permanent, 3);
        world.settle();
        let child = pick.index(world.needs.len());
        world.end(child, Ending::Failed);
        world.settle();
        let mut expected = match strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::RestForOne => world.dependents(child),
        };
        expected.reverse();
        prop_assert_eq!(&world.stop_order, &expected, "youngest first");
        prop_assert!(world.lives.iter().all(|life| *life == Life::Ready), "and all come back");
    }
}

#[test]
fn the_rest_waits_until_the_one_is_ready_and_starts_in_order() {
    let mut world =
        World::new(Strategy::RestForOne, vec![vec![], vec![0], vec![1], vec![]], Restart::Permanent, 3);
    assert_eq!(world.lives, [Life::Starting, Life::None, Life::None, Life::Starting]);
    for child in 0..3 {
        world.become_ready(child);
    }
    world.become_ready(3);
    world.end(0, Ending::Failed);
    world.end_pause(0);
    assert_eq!(world.lives, [Life::None, Life::Ready, Life::StoppingReady, Life::Ready]);
    world.finish_stop(2);
    world.finish_stop(1);
    assert_eq!(world.lives, [Life::Starting, Life::None, Life::None, Life::Ready]);
    world.become_ready(0);
    assert_eq!(world.lives, [Life::Ready, Life::Starting, Life::None, Life::Ready]);
}
