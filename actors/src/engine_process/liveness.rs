//! Whether an engine process still lives: it reports, and what it works on goes on.
//!
//! Pure: time is an argument.

use crate::engine_host::Pulse;
use std::time::{Duration, Instant};

/// How long an engine process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessPatience {
    /// To say hello, and between two beats. It beats on a thread of its own, also while it computes or loads.
    pub(crate) beat: Duration,
    /// For one step of a generation when nothing is known of steps, and between two reports of a load, which is one long
    /// step.
    pub(crate) step: Duration,
    /// To end after it was told to.
    pub(crate) stop: Duration,
}

/// A step may last this many times as long as the longest one so far.
const STRETCH: u32 = 20;
/// But no machine is so even that less than this says anything.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(30);

/// What was last seen of it.
#[derive(Debug)]
pub(super) struct Liveness {
    patience: ProcessPatience,
    last_beat: Instant,
    last_progress: Instant,
    is_loading: bool,
    pulse: Pulse,
}

impl Liveness {
    pub(super) fn new(patience: ProcessPatience, now: Instant) -> Self {
        Self { patience, last_beat: now, last_progress: now, is_loading: true, pulse: Pulse::default() }
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

    pub(super) fn beat(&mut self, pulse: Pulse, now: Instant) {
        self.last_beat = now;
        let has_moved = pulse.n_steps != self.pulse.n_steps || !pulse.is_working;
        if !self.is_loading && has_moved {
            self.last_progress = now;
        }
        self.pulse = pulse;
    }

    /// Why it must be taken for dead, if it must.
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        let silent = now.saturating_duration_since(self.last_beat);
        if silent > self.patience.beat {
            return Some(format!(
                "it has not reported for {silent:.0?}, at most {:.0?} are given",
                self.patience.beat
            ));
        }
        let still = now.saturating_duration_since(self.last_progress);
        let given = self.step_patience();
        let what = if self.is_loading { "loading the weights" } else { "one step" };
        (still > given).then(|| format!("{what} has not come further for {still:.0?}, {given:.0?} are given"))
    }

    fn step_patience(&self) -> Duration {
        let longest = self.pulse.longest_step;
        if self.is_loading || longest.is_zero() {
            return self.patience.step;
        }
        longest.saturating_mul(STRETCH).max(SHORTEST_PATIENCE).min(self.patience.step)
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

    fn pulse(n_steps: u64, is_working: bool, longest_step: Duration) -> Pulse {
        Pulse { n_steps, is_working, longest_step, ..Pulse::default() }
    }

    #[test]
    fn silence_is_death_whatever_it_does() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        assert_eq!(liveness.verdict(begin + 10 * S), None);
        assert!(liveness.verdict(begin + 11 * S).unwrap().contains("has not reported"));
        liveness.loaded(begin + S);
        liveness.beat(pulse(0, false, Duration::ZERO), begin + 5 * S);
        assert_eq!(liveness.verdict(begin + 15 * S), None);
        assert!(liveness.verdict(begin + 16 * S).is_some());
    }

    #[test]
    fn a_load_may_take_long_but_must_come_further() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        for second in 0..=600 {
            liveness.beat(Pulse::default(), begin + second * S);
            assert_eq!(liveness.verdict(begin + second * S), None, "{second}");
        }
        liveness.beat(Pulse::default(), begin + 601 * S);
        assert!(liveness.verdict(begin + 601 * S).unwrap().contains("loading the weights"));
        liveness.loading(begin + 601 * S);
        assert_eq!(liveness.verdict(begin + 601 * S), None);
    }

    #[test]
    fn a_step_is_measured_by_those_before_it_and_idleness_is_no_step() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(PATIENCE, begin);
        liveness.loaded(begin);
        let mut see = |at: Duration, pulse| {
            liveness.beat(pulse, begin + at);
            liveness.verdict(begin + at)
        };
        assert_eq!(see(599 * S, pulse(0, true, Duration::ZERO)), None, "nothing is known of steps");
        assert!(see(601 * S, pulse(0, true, Duration::ZERO)).is_some());
        assert_eq!(see(602 * S, pulse(1, true, S / 10)), None);
        assert_eq!(see(631 * S, pulse(1, true, S / 10)), None, "no machine is that even");
        assert!(see(633 * S, pulse(1, true, S / 10)).is_some());
        assert_eq!(see(634 * S, pulse(2, true, 10 * S)), None);
        assert_eq!(see(833 * S, pulse(2, true, 10 * S)), None);
        assert!(see(835 * S, pulse(2, true, 10 * S)).unwrap().contains("one step"));
        for second in 836..5000 {
            assert_eq!(see(second * S, pulse(2, false, 10 * S)), None);
        }
    }
}
