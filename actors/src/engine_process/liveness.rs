//! Whether an engine process still lives: it reports, and what it works on goes on.
//!
//! Pure: time is an argument.

use crate::engine_host::Pulse;
use std::time::{Duration, Instant};

/// How long an engine process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessPatience {
    /// To say hello, and then to say anything. It beats on a thread of its own, also while it computes or loads.
    pub(crate) beat: Duration,
    /// For one step of a generation, and between two reports of a load. A step on weights that stream from a slow disk
    /// takes minutes, and nothing that was measured before tells that.
    pub(crate) step: Duration,
    /// To end after it was told to.
    pub(crate) stop: Duration,
}

/// What was last seen of it.
#[derive(Debug)]
pub(super) struct Liveness {
    patience: ProcessPatience,
    last_word: Instant,
    last_progress: Instant,
    is_loading: bool,
    pulse: Pulse,
}

impl Liveness {
    pub(super) fn new(patience: ProcessPatience, now: Instant) -> Self {
        Self { patience, last_word: now, last_progress: now, is_loading: true, pulse: Pulse::default() }
    }

    /// The load has come further.
    pub(super) fn loading(&mut self, now: Instant) {
        self.last_progress = now;
    }

    /// The load is over.
    pub(super) fn loaded(&mut self, now: Instant) {
        self.is_loading = false;
        self.last_progress = now;
    }

    /// It has said something, whatever it was.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.last_word = now;
    }

    pub(super) fn beat(&mut self, pulse: Pulse, now: Instant) {
        let has_moved = pulse.n_steps != self.pulse.n_steps || !pulse.is_working;
        if !self.is_loading && has_moved {
            self.last_progress = now;
        }
        self.pulse = pulse;
    }

    /// Nobody listened for so long, because the daemon itself stood still: that says nothing of the engine.
    pub(super) fn forgive(&mut self, deaf_for: Duration) {
        self.last_word += deaf_for;
        self.last_progress += deaf_for;
    }

    /// Why it must be taken for dead, if it must.
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        let given = self.patience.beat;
        let silent = now.saturating_duration_since(self.last_word);
        if silent > given {
            return Some(format!("it has not reported for {silent:.0?}, at most {given:.0?} are given"));
        }
        let given = self.patience.step;
        let still = now.saturating_duration_since(self.last_progress);
        let what = if self.is_loading { "loading the weights" } else { "one step" };
        (still > given).then(|| format!("{what} has not come further for {still:.0?}, {given:.0?} are given"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const PATIENCE: ProcessPatience = ProcessPatience {
        beat: Duration::from_secs(10),
        step: Duration::from_secs(600),
        stop: Duration::from_secs(5),
    };

    fn pulse(n_steps: u64, is_working: bool) -> Pulse {
        Pulse { n_steps, is_working, ..Pulse::default() }
    }

    #[test]
    fn silence_is_death_whatever_it_does() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        assert_eq!(liveness.verdict(begin + 10 * S), None);
        assert!(liveness.verdict(begin + 11 * S).unwrap().contains("has not reported"));
        liveness.loaded(begin + S);
        liveness.spoke(begin + 5 * S);
        assert_eq!(liveness.verdict(begin + 15 * S), None);
        assert!(liveness.verdict(begin + 16 * S).is_some());
        liveness.forgive(100 * S);
        assert_eq!(liveness.verdict(begin + 115 * S), None, "the daemon itself stood still");
        assert!(liveness.verdict(begin + 116 * S).is_some());
    }

    #[test]
    fn a_load_may_take_long_but_must_come_further() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        let mut see = |second: u64, comes_further: bool| {
            let now = begin + u32::try_from(second).unwrap() * S;
            liveness.spoke(now);
            liveness.beat(Pulse::default(), now);
            if comes_further {
                liveness.loading(now);
            }
            liveness.verdict(now)
        };
        for second in 0..=600 {
            assert_eq!(see(second, false), None, "{second}");
        }
        assert!(see(601, false).unwrap().contains("loading the weights"));
        assert_eq!(see(602, true), None);
    }

    #[test]
    fn a_step_must_end_and_idleness_is_no_step() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        liveness.loaded(begin);
        let mut see = |second: u32, pulse| {
            let now = begin + second * S;
            liveness.spoke(now);
            liveness.beat(pulse, now);
            liveness.verdict(now)
        };
        assert_eq!(see(600, pulse(0, true)), None);
        assert!(see(601, pulse(0, true)).unwrap().contains("one step"));
        assert_eq!(see(602, pulse(1, true)), None);
        assert_eq!(see(1202, pulse(1, true)), None);
        assert!(see(1203, pulse(1, true)).is_some());
        for second in 1204..5000 {
            assert_eq!(see(second, pulse(1, false)), None);
        }
    }
}
