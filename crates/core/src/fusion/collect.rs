//! When enough answers are in: quorum, grace, deadline.
//!
//! A state machine without a clock: it is told what happened and when, and says how long to wait, or that it is time
//! to decide, with whom, and whom to cancel. All times count from the arrival of the question.

use std::time::Duration;

/// The bounds of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectBounds {
    /// Good answers after which only the grace is waited for the others; 0 counts as 1.
    pub quorum: usize,
    /// How long the others may take after the quorum.
    pub grace: Duration,
    /// When collecting ends, as long as there is at least one good answer.
    pub collect_until: Duration,
    /// When it ends without one.
    pub deadline: Duration,
}

/// What is known of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Working,
    Good,
    Failed,
}

/// Why a collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everyone has answered or failed.
    Complete,
    /// The quorum was met and the grace is over.
    Grace,
    /// The time for collecting is over.
    Time,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until this time, unless something happens before.
    WaitUntil(Duration),
    /// It is over.
    Decide {
        /// Places of the sources with a good answer, in the order in which they were complete; empty when there is
        /// none.
        survivors: Vec<usize>,
        /// Places of those that still work and are not waited for.
        cancel: Vec<usize>,
        /// Why it is over.
        ended: Ended,
    },
}

/// One collection.
#[derive(Debug, Clone)]
pub struct Collection {
    bounds: CollectBounds,
    parts: Vec<Part>,
    survivors: Vec<usize>,
    quorum_met_at: Option<Duration>,
}

impl Collection {
    /// Begins with `n_sources` that work.
    pub fn new(n_sources: usize, bounds: CollectBounds) -> Self {
        Self { bounds, parts: vec![Part::Working; n_sources], survivors: Vec::new(), quorum_met_at: None }
    }

    /// The source at `place` has a good, complete answer. Later words about it change nothing.
    pub fn finished(&mut self, place: usize, now: Duration) {
        if self.end(place, Part::Good) {
            self.survivors.push(place);
            if self.survivors.len() >= self.bounds.quorum.max(1) {
                self.quorum_met_at.get_or_insert(now);
            }
        }
    }

    /// The source at `place` will not give a good answer.
    pub fn failed(&mut self, place: usize) {
        self.end(place, Part::Failed);
    }

    /// Those that may still answer.
    pub fn working(&self) -> Vec<usize> {
        let working = |(place, part): (usize, &Part)| (*part == Part::Working).then_some(place);
        self.parts.iter().enumerate().filter_map(working).collect()
    }

    /// The one source that the answer can still come from: nobody else has answered or works.
    pub fn only_hope(&self) -> Option<usize> {
        let hopes: Vec<usize> = self
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| **part != Part::Failed)
            .map(|(place, _)| place)
            .collect();
        if let [only] = hopes[..] { Some(only) } else { None }
    }

    /// What comes next, as of `now`.
    pub fn step(&self, now: Duration) -> Step {
        let working = self.working();
        let decide =
            |ended| Step::Decide { survivors: self.survivors.clone(), cancel: working.clone(), ended };
        if working.is_empty() {
            return decide(Ended::Complete);
        }
        let CollectBounds { grace, collect_until, deadline, .. } = self.bounds;
        let last = if self.survivors.is_empty() { deadline } else { collect_until.min(deadline) };
        if now >= last {
            return decide(Ended::Time);
        }
        match self.quorum_met_at.map(|met| met.saturating_add(grace)) {
            Some(over) if now >= over => decide(Ended::Grace),
            Some(over) => Step::WaitUntil(over.min(last)),
            None => Step::WaitUntil(last),
        }
    }

    fn end(&mut self, place: usize, part: Part) -> bool {
        match self.parts.get_mut(place) {
            Some(state @ Part::Working) => {
                *state = part;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const BOUNDS: CollectBounds =
        CollectBounds { quorum: 2, grace: ms(100), collect_until: ms(1000), deadline: ms(2000) };

    #[test]
    fn quorum_grace_and_deadline() {
        let mut collection = Collection::new(3, BOUNDS);
        assert_eq!(collection.step(ms(0)), Step::WaitUntil(ms(2000)));
        collection.finished(2, ms(50));
        assert_eq!(collection.step(ms(50)), Step::WaitUntil(ms(1000)));
        collection.finished(0, ms(80));
        assert_eq!(collection.step(ms(80)), Step::WaitUntil(ms(180)));
        let ended = Ended::Grace;
        assert_eq!(collection.step(ms(180)), Step::Decide { survivors: vec![2, 0], cancel: vec![1], ended });
        collection.finished(1, ms(170));
        let ended = Ended::Complete;
        assert_eq!(
            collection.step(ms(170)),
            Step::Decide { survivors: vec![2, 0, 1], cancel: vec![], ended }
        );
    }

    #[test]
    fn without_an_answer_it_waits_until_the_deadline() {
        let mut collection = Collection::new(2, BOUNDS);
        collection.failed(0);
        assert_eq!(collection.only_hope(), Some(1));
        assert_eq!(collection.step(ms(1500)), Step::WaitUntil(ms(2000)));
        let ended = Ended::Time;
        assert_eq!(collection.step(ms(2000)), Step::Decide { survivors: vec![], cancel: vec![1], ended });
        collection.finished(1, ms(1600));
        assert!(matches!(collection.step(ms(1600)), Step::Decide { ended: Ended::Complete, .. }));
        collection.failed(1);
        assert_eq!(collection.only_hope(), Some(1), "what is good stays good");
    }

    /// What one source does: when, and whether it is good.
    type Script = Vec<(u64, bool)>;

    /// Runs a collection in virtual time, in steps that it names itself.
    fn run(script: &Script, bounds: CollectBounds) -> (Duration, Vec<usize>, Vec<usize>, Ended) {
        let mut collection = Collection::new(script.len(), bounds);
        let mut events: Vec<(Duration, usize, bool)> =
            script.iter().enumerate().map(|(place, (at, good))| (ms(*at), place, *good)).collect();
        events.sort();
        let mut now = Duration::ZERO;
        let mut events = events.into_iter().peekable();
        loop {
            match collection.step(now) {
                Step::Decide { survivors, cancel, ended } => return (now, survivors, cancel, ended),
                Step::WaitUntil(until) => {
                    assert!(until > now, "it never asks to wait for the past");
                    match events.next_if(|(at, _, _)| *at <= until) {
                        Some((at, place, good)) => {
                            now = now.max(at);
                            if good { collection.finished(place, now) } else { collection.failed(place) }
                        }
                        None => now = until,
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_rules_hold_for_any_sources(
            script in proptest::collection::vec((0u64..3000, any::<bool>()), 0..6),
            quorum in 0usize..5,
            grace in 0u64..500,
            collect_until in 0u64..2500,
            deadline in 0u64..2500,
        ) {
            let bounds = CollectBounds {
                quorum, grace: ms(grace), collect_until: ms(collect_until), deadline: ms(deadline),
            };
            let (ended_at, survivors, cancelled, ended) = run(&script, bounds);
            // Never past the deadline, never longer than the slowest.
            prop_assert!(ended_at <= ms(deadline));
            let slowest = script.iter().map(|(at, _)| ms(*at)).max().unwrap_or_default();
            prop_assert!(ended_at <= slowest);
            // Every source is a survivor, cancelled or failed, and only one of them.
            let failed = script.len() - survivors.len() - cancelled.len();
            prop_assert!(failed <= script.iter().filter(|(_, good)| !good).count());
            prop_assert!(survivors.iter().all(|place| script[*place].1 && ms(script[*place].0) <= ended_at));
            prop_assert!(survivors.iter().all(|place| !cancelled.contains(place)));
            // Nobody who was done in time is left out.
            for (place, (at, good)) in script.iter().enumerate() {
                prop_assert!(!good || ms(*at) >= ended_at || survivors.contains(&place));
            }
            match ended {
                Ended::Complete => prop_assert!(cancelled.is_empty()),
                Ended::Grace => {
                    prop_assert!(survivors.len() >= quorum.max(1));
                    let met = ms(script[survivors[quorum.max(1) - 1]].0);
                    prop_assert_eq!(ended_at, met + ms(grace));
                }
                Ended::Time => {
                    let bound = if survivors.is_empty() { deadline } else { collect_until.min(deadline) };
                    prop_assert!(ended_at >= ms(bound));
                }
            }
        }
    }
}
