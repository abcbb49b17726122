//! When something that ended is started again: the rules of Erlang/OTP's supervisors (restart type, and
//! at most so many restarts in so much time), with a growing pause before each start.
//!
//! Pure: time and the random draw are arguments.
//!
//! Source: the restart intensity and the restart types of OTP's design principles, chapter "Supervisor Behaviour".

use std::collections::VecDeque;
use std::time::Duration;

/// Which endings are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Every ending.
    Permanent,
    /// Only an error or a panic.
    Transient,
    /// None.
    Never,
}

impl Restart {
    /// The name in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Never => "never",
        }
    }
}

/// The pause before a start. It doubles with each failure in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Before the first restart.
    pub first: Duration,
    /// The pause never grows beyond this.
    pub longest: Duration,
    /// The share of the pause, 0 to 1, that a random draw may take away, so that parts which failed together do
    /// not come back together.
    pub jitter: f64,
}

/// When to start again, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPolicy {
    /// Which endings count.
    pub restart: Restart,
    /// More restarts than this within [`Self::within`] is giving up; 0 gives up at the first failure.
    pub max_restarts: u32,
    /// The window in which restarts are counted.
    pub within: Duration,
    /// The pause before each start.
    pub backoff: Backoff,
    /// After a run this long the pause begins anew at [`Backoff::first`].
    pub stable_after: Duration,
}

impl Default for RestartPolicy {
    /// At most 5 restarts a minute, 0.1 s to 10 s apart.
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            max_restarts: 5,
            within: Duration::from_secs(60),
            backoff: Backoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
                jitter: 0.3,
            },
            stable_after: Duration::from_secs(60),
        }
    }
}

/// How a run ended, as far as the rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It stopped by itself, without an error.
    Normal,
    /// It stopped with an error, panicked, or was found stuck.
    Failed,
}

/// One ended run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EndedRun {
    /// How it ended.
    pub ending: Ending,
    /// When, counted from any fixed origin; never before the run decided last.
    pub at: Duration,
    /// How long it had run.
    pub ran_for: Duration,
    /// A random number from 0 (no jitter) to 1 (all of it).
    pub draw: f64,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this pause.
    Restart {
        /// The pause.
        after: Duration,
    },
    /// Leave it stopped; nothing is wrong.
    Stop,
    /// The restart limit is spent.
    GiveUp,
}

/// The restarts that still count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartHistory {
    /// When each restart within the window was decided, oldest first.
    recent: VecDeque<Duration>,
    /// Failures since the last stable run.
    failures_in_a_row: u32,
}

impl RestartPolicy {
    /// Decides about one ended run, and gives the history for the next decision.
    pub fn decide(&self, mut history: RestartHistory, run: EndedRun) -> (Decision, RestartHistory) {
        let again = match self.restart {
            Restart::Permanent => true,
            Restart::Transient => run.ending == Ending::Failed,
            Restart::Never => false,
        };
        if !again {
            return (Decision::Stop, history);
        }
        let window_began = run.at.saturating_sub(self.within);
        while history.recent.front().is_some_and(|restart| *restart < window_began) {
            history.recent.pop_front();
        }
        if history.recent.len() >= self.max_restarts as usize {
            return (Decision::GiveUp, history);
        }
        if run.ran_for >= self.stable_after {
            history.failures_in_a_row = 0;
        }
        let after = self.backoff.pause(history.failures_in_a_row, run.draw);
        history.recent.push_back(run.at);
        history.failures_in_a_row = history.failures_in_a_row.saturating_add(1);
        (Decision::Restart { after }, history)
    }
}

impl Backoff {
    fn pause(&self, failures_before: u32, draw: f64) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(failures_before));
        let full = doubled.min(self.longest);
        let taken = self.jitter.clamp(0.0, 1.0) * draw.clamp(0.0, 1.0);
        full.mul_f64(1.0 - taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(restart: Restart) -> RestartPolicy {
        RestartPolicy { restart, ..RestartPolicy::default() }
    }

    fn failed(at_ms: u64, ran_ms: u64) -> EndedRun {
        EndedRun {
            ending: Ending::Failed,
            at: Duration::from_millis(at_ms),
            ran_for: Duration::from_millis(ran_ms),
            draw: 0.0,
        }
    }

    #[test]
    fn the_restart_type_decides_which_endings_count() {
        let normal = EndedRun { ending: Ending::Normal, ..failed(0, 0) };
        let of = |restart, run| policy(restart).decide(RestartHistory::default(), run).0;
        let again = Decision::Restart { after: Duration::from_millis(100) };
        assert_eq!(of(Restart::Permanent, normal), again);
        assert_eq!(of(Restart::Permanent, failed(0, 0)), again);
        assert_eq!(of(Restart::Transient, normal), Decision::Stop);
        assert_eq!(of(Restart::Transient, failed(0, 0)), again);
        assert_eq!(of(Restart::Never, normal), Decision::Stop);
        assert_eq!(of(Restart::Never, failed(0, 0)), Decision::Stop);
    }

    #[test]
    fn gives_up_after_the_limit_and_not_before() {
        let policy = policy(Restart::Permanent);
        let mut history = RestartHistory::default();
        let mut pauses = Vec::new();
        for nth in 0..5 {
            let (decision, next) = policy.decide(history, failed(nth * 100, 0));
            let Decision::Restart { after } = decision else { panic!("gave up at {nth}") };
            pauses.push(after.as_millis());
            history = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600]);
        assert_eq!(policy.decide(history.clone(), failed(60_000, 0)).0, Decision::GiveUp);
        let (decision, _) = policy.decide(history, failed(60_001, 0));
        assert!(matches!(decision, Decision::Restart { .. }), "the oldest restart has left the window");
    }

    #[test]
    fn a_stable_run_resets_the_pause_but_not_the_window() {
        let policy = RestartPolicy { within: Duration::from_secs(3600), ..policy(Restart::Permanent) };
        let (_, history) = policy.decide(RestartHistory::default(), failed(0, 0));
        let (_, history) = policy.decide(history, failed(1, 0));
        let (decision, history) = policy.decide(history, failed(70_000, 60_000));
        assert_eq!(decision, Decision::Restart { after: Duration::from_millis(100) });
        assert_eq!(history.recent.len(), 3);
    }

    prop_compose! {
        fn any_policy()(
            max_restarts in 0u32..6,
            within_ms in 0u64..20_000,
            first_ms in 0u64..2_000,
            longest_ms in 0u64..20_000,
            jitter in 0.0f64..=1.0,
            stable_ms in 0u64..20_000,
        ) -> RestartPolicy {
            RestartPolicy {
                restart: Restart::Transient,
                max_restarts,
                within: Duration::from_millis(within_ms),
                backoff: Backoff {
                    first: Duration::from_millis(first_ms),
                    longest: Duration::from_millis(longest_ms),
                    jitter,
                },
                stable_after: Duration::from_millis(stable_ms),
            }
        }
    }

    proptest! {
        /// Runs under virtual time: a run, its end, the pause that was decided, the next run.
        #[test]
        fn no_window_holds_more_restarts_than_allowed(
            policy in any_policy(),
            runs in prop::collection::vec((0u64..8_000, 0.0f64..=1.0, any::<bool>()), 1..60),
        ) {
            let mut clock = Duration::ZERO;
            let mut history = RestartHistory::default();
            let mut restarts: Vec<Duration> = Vec::new();
            for (ran_ms, draw, is_failure) in runs {
                let ran_for = Duration::from_millis(ran_ms);
                clock += ran_for;
                let ending = if is_failure { Ending::Failed } else { Ending::Normal };
                let (decision, next) = policy.decide(history, EndedRun { ending, at: clock, ran_for, draw });
                history = next;
                let in_window =
                    restarts.iter().filter(|at| **at + policy.within >= clock).count() as u32;
                match decision {
                    Decision::Restart { after } => {
                        prop_assert!(is_failure);
                        prop_assert!(in_window < policy.max_restarts);
                        prop_assert!(after <= policy.backoff.longest);
                        restarts.push(clock);
                        clock += after;
                    }
                    Decision::Stop => prop_assert!(!is_failure),
                    Decision::GiveUp => {
                        prop_assert!(is_failure);
                        prop_assert!(in_window >= policy.max_restarts);
                        break;
                    }
                }
                prop_assert!(history.recent.len() <= policy.max_restarts as usize, "bounded memory");
            }
        }

        #[test]
        fn the_pause_grows_to_its_bound_and_jitter_only_shortens_it(
            policy in any_policy(), failures in 0u32..80, draw in 0.0f64..=1.0,
        ) {
            let full = policy.backoff.pause(failures, 0.0);
            let next = policy.backoff.pause(failures + 1, 0.0);
            prop_assert!(full <= next && next <= policy.backoff.longest);
            let drawn = policy.backoff.pause(failures, draw);
            prop_assert!(drawn <= full);
            let least = full.mul_f64(1.0 - policy.backoff.jitter);
            prop_assert!(drawn + Duration::from_nanos(1) >= least);
        }
    }
}
