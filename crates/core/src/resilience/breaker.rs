//! Leaves a provider alone that keeps failing, and finds out by itself when it is well again.

use super::backoff::{doubled, unit};
use std::time::Duration;

/// The share by which the pause between two health checks is longer or shorter than said.
const CHECK_JITTER: f64 = 0.2;
/// The least pause before a doubtful provider is checked again.
const DOUBT: Duration = Duration::from_secs(1);

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Failed attempts in a row that open it.
    pub failures_to_open: u32,
    /// Failed health checks in a row that open it. The very first check of a provider opens it alone.
    pub checks_to_open: u32,
    /// How long it stays open the first time; each opening in a row doubles it.
    pub first_open: Duration,
    /// It never stays open longer.
    pub longest_open: Duration,
    /// The share of that time, 0 to 1, that a random draw may take away.
    pub jitter: f64,
    /// A trial that has no result after this is taken for lost.
    pub trial_limit: Duration,
}

impl Default for BreakerSettings {
    /// Five attempts or two checks; open for 5 s to 2 min.
    fn default() -> Self {
        Self {
            failures_to_open: 5,
            checks_to_open: 2,
            first_open: Duration::from_secs(5),
            longest_open: Duration::from_secs(120),
            jitter: 0.2,
            trial_limit: Duration::from_secs(60),
        }
    }
}

/// What is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A real request.
    Answer,
    /// The provider's cheapest call. It shows that somebody is there, not that answers come.
    HealthCheck,
}

/// Leave to try once. Its result must be told, or that there is none.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back keeps a half-open circuit from being tried"]
pub struct Permit {
    epoch: u64,
    is_trial: bool,
    evidence: Evidence,
}

impl Permit {
    /// Whether the circuit waits for this one's result.
    pub fn is_trial(&self) -> bool {
        self.is_trial
    }
}

/// What a circuit does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything passes.
    Closed,
    /// Nothing passes for this long.
    Open {
        /// Time until a trial.
        retry_in: Duration,
    },
    /// One may try.
    HalfOpen {
        /// Somebody does.
        is_being_tried: bool,
    },
}

/// A circuit breaker: closed, open, half-open.
///
/// A circuit that only a health check has closed is on probation: the first failed answer opens it again, and longer,
/// because a provider can list its models and still answer nothing.
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    settings: BreakerSettings,
    state: State,
    /// Failed answers since the last good one.
    failures: u32,
    /// Failed health checks since anything good.
    failed_checks: u32,
    /// Openings since the last good answer, or since the circuit was closed for a long time.
    openings: u32,
    /// Whether anything good was ever seen.
    was_ever_well: bool,
    /// Grows with every change, so that what was tried before it changes nothing after it.
    epoch: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { since: Duration },
    Open { until: Duration },
    HalfOpen { trial_since: Option<Duration> },
}

impl CircuitBreaker {
    /// A closed circuit, as of `now`.
    pub fn new(settings: BreakerSettings, now: Duration) -> Self {
        Self {
            settings,
            state: State::Closed { since: now },
            failures: 0,
            failed_checks: 0,
            openings: 0,
            was_ever_well: false,
            epoch: 0,
        }
    }

    /// Whether anything good was ever seen.
    pub fn was_ever_well(&self) -> bool {
        self.was_ever_well
    }

    /// What it does now. Changes nothing.
    pub fn state(&self, now: Duration) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open { retry_in: until - now },
            State::Open { .. } => CircuitState::HalfOpen { is_being_tried: false },
            State::HalfOpen { trial_since } => {
                let is_being_tried = trial_since.is_some_and(|since| !self.is_lost(since, now));
                CircuitState::HalfOpen { is_being_tried }
            }
        }
    }

    /// When the next health check is due, where one is made about `every` so often. `draw` is a random number from 0
    /// to 1, so that checks of many providers and daemons do not fall together.
    ///
    /// An open circuit is checked as soon as its time is over; a doubtful one soon.
    pub fn next_check_in(&self, every: Duration, now: Duration, draw: f64) -> Duration {
        let usual = every.mul_f64(1.0 + CHECK_JITTER * (2.0 * unit(draw) - 1.0));
        match self.state(now) {
            CircuitState::Open { retry_in } => retry_in,
            CircuitState::Closed if self.failed_checks == 0 => usual,
            CircuitState::Closed | CircuitState::HalfOpen { .. } => {
                DOUBT.mul_f64(1.0 + unit(draw)).min(usual)
            }
        }
    }

    /// Asks for leave to try.
    ///
    /// # Errors
    /// The time after which to ask again.
    pub fn admit(&mut self, evidence: Evidence, now: Duration) -> Result<Permit, Duration> {
        match self.state {
            State::Closed { .. } => Ok(Permit { epoch: self.epoch, is_trial: false, evidence }),
            State::Open { until } if now < until => Err(until - now),
            State::HalfOpen { trial_since: Some(since) } if !self.is_lost(since, now) => {
                Err((since + self.settings.trial_limit).saturating_sub(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.change(State::HalfOpen { trial_since: Some(now) });
                Ok(Permit { epoch: self.epoch, is_trial: true, evidence })
            }
        }
    }

    /// The permitted try went well.
    pub fn succeeded(&mut self, permit: Permit, now: Duration) {
        if permit.epoch != self.epoch {
            return;
        }
        self.was_ever_well = true;
        self.failed_checks = 0;
        match permit.evidence {
            Evidence::Answer => (self.failures, self.openings) = (0, 0),
            Evidence::HealthCheck if permit.is_trial => {
                self.failures = self.settings.failures_to_open.saturating_sub(1);
            }
            Evidence::HealthCheck => {}
        }
        if permit.is_trial {
            self.change(State::Closed { since: now });
        }
    }

    /// The permitted try failed, and the provider is to blame. `draw` is a random number from 0 to 1.
    pub fn failed(&mut self, permit: Permit, now: Duration, draw: f64) {
        if permit.epoch != self.epoch {
            return;
        }
        let (count, limit) = match permit.evidence {
            Evidence::Answer => (&mut self.failures, self.settings.failures_to_open),
            Evidence::HealthCheck if self.was_ever_well => {
                (&mut self.failed_checks, self.settings.checks_to_open)
            }
            Evidence::HealthCheck => (&mut self.failed_checks, 1),
        };
        *count = count.saturating_add(1);
        if permit.is_trial || *count >= limit {
            self.open(now, draw);
        }
    }

    /// The permitted try was given up without a result.
    pub fn abandoned(&mut self, permit: Permit) {
        if permit.epoch == self.epoch && permit.is_trial {
            self.change(State::HalfOpen { trial_since: None });
        }
    }

    fn open(&mut self, now: Duration, draw: f64) {
        if let State::Closed { since } = self.state
            && now.saturating_sub(since) >= self.settings.longest_open
        {
            self.openings = 0;
        }
        let full = doubled(self.settings.first_open, self.openings, self.settings.longest_open);
        let open_for = full.mul_f64(1.0 - unit(self.settings.jitter) * unit(draw));
        self.openings = self.openings.saturating_add(1);
        self.change(State::Open { until: now + open_for });
    }

    fn is_lost(&self, trial_since: Duration, now: Duration) -> bool {
        now.saturating_sub(trial_since) >= self.settings.trial_limit
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
