//! Whether a failed attempt is made again.

use super::FullJitter;
use std::time::Duration;

/// What went wrong with one attempt, as far as the guards care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection, or it broke before an answer began.
    Connection,
    /// The provider says that it has a passing trouble of its own: HTTP 408, 500, 502, 503, 504.
    Server,
    /// HTTP 429: too much in too short a time.
    RateLimited,
    /// A quota that does not come back within minutes is spent.
    QuotaSpent,
    /// It took the request and fell silent. It may still be at work, so that a second attempt could double it.
    Timeout,
    /// It refuses this request, or us.
    Refused,
    /// Its content rules forbid an answer.
    Blocked,
    /// It answered what its protocol does not allow.
    Malformed,
    /// It answered more than we take.
    TooLarge,
}

impl Fault {
    /// Every fault, for tables and tests.
    pub const ALL: [Self; 9] = [
        Self::Connection,
        Self::Server,
        Self::RateLimited,
        Self::QuotaSpent,
        Self::Timeout,
        Self::Refused,
        Self::Blocked,
        Self::Malformed,
        Self::TooLarge,
    ];

    /// Whether the same request may be sent again: nothing was generated, and the trouble passes by itself.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Connection | Self::Server | Self::RateLimited => true,
            Self::QuotaSpent
            | Self::Timeout
            | Self::Refused
            | Self::Blocked
            | Self::Malformed
            | Self::TooLarge => false,
        }
    }

    /// Whether it speaks against the provider. A request that was refused or blocked says that the provider is alive.
    pub fn is_providers_fault(self) -> bool {
        match self {
            Self::Connection | Self::Server | Self::RateLimited | Self::Timeout | Self::Malformed => true,
            // Spent quota and an answer beyond our own bound say nothing about its health.
            Self::QuotaSpent | Self::Refused | Self::Blocked | Self::TooLarge => false,
        }
    }
}

/// How often and how fast attempts are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts after the first one of a request.
    pub max_retries: u32,
    /// The pause before each.
    pub backoff: FullJitter,
    /// No request sleeps longer than this before it is sent again: who is told to wait longer fails at once, and
    /// learns when to come back.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// Two retries, after at most 10 s each.
    fn default() -> Self {
        Self { max_retries: 2, backoff: FullJitter::default(), longest_pause: Duration::from_secs(10) }
    }
}

/// One attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailedAttempt {
    /// What went wrong.
    pub fault: Fault,
    /// Attempts of the same request before this one.
    pub retries_before: u32,
    /// How long the provider says to wait.
    pub retry_after: Option<Duration>,
    /// Whether the asker has seen a part of the answer.
    pub has_begun: bool,
    /// Time until the request's deadline.
    pub time_left: Duration,
    /// A random number from 0 to 1.
    pub draw: f64,
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again after this pause.
    Retry {
        /// The pause.
        after: Duration,
    },
    /// Answer with the failure.
    GiveUp(GiveUp),
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The asker has seen a part of the answer, which a new attempt would begin differently.
    HasBegun,
    /// This fault does not pass by itself, or it is not known that nothing was generated.
    NotRetryable,
    /// All attempts are made.
    NoRetriesLeft,
    /// It is to wait longer than a request may sleep.
    PauseTooLong,
    /// The pause would end after the deadline.
    PastDeadline,
    /// Too large a share of the requests were retries lately.
    BudgetSpent,
}

impl RetryPolicy {
    /// Decides about a failed attempt; a retry is taken from `budget` as of `now`.
    pub fn decide(&self, attempt: FailedAttempt, budget: &mut RetryBudget, now: Duration) -> RetryDecision {
        if attempt.has_begun {
            return RetryDecision::GiveUp(GiveUp::HasBegun);
        }
        if !attempt.fault.is_retryable() {
            return RetryDecision::GiveUp(GiveUp::NotRetryable);
        }
        if attempt.retries_before >= self.max_retries {
            return RetryDecision::GiveUp(GiveUp::NoRetriesLeft);
        }
        let after = match attempt.retry_after {
            Some(told) if told > self.longest_pause => return RetryDecision::GiveUp(GiveUp::PauseTooLong),
            // Never earlier than told; a little later, because everyone else was told the same.
            Some(told) => told.saturating_add(self.backoff.pause(0, attempt.draw)),
            None => self.backoff.pause(attempt.retries_before, attempt.draw),
        };
        let after = after.min(self.longest_pause);
        if after >= attempt.time_left {
            return RetryDecision::GiveUp(GiveUp::PastDeadline);
        }
        if !budget.take(now) {
            return RetryDecision::GiveUp(GiveUp::BudgetSpent);
        }
        RetryDecision::Retry { after }
    }
}

/// What [`RetryBudget`] allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryShare {
    /// Retries per request, on average.
    pub share: f64,
    /// Retries a minute that are allowed however few requests there are, so that a quiet daemon still retries.
    pub at_least_per_minute: u32,
}

impl Default for RetryShare {
    /// One retry for five requests, or ten a minute.
    fn default() -> Self {
        Self { share: 0.2, at_least_per_minute: 10 }
    }
}

/// Keeps retries a bounded share of requests, so that a provider in trouble is not buried under them.
///
/// Each request pays a share into an account and each retry takes one whole from it. The account also fills slowly by
/// itself, and never holds more than a bounded amount.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryBudget {
    allowed: RetryShare,
    balance: f64,
    at: Duration,
}

impl RetryBudget {
    /// A budget whose account is full, as of `now`.
    pub fn new(allowed: RetryShare, now: Duration) -> Self {
        let mut budget = Self { allowed, balance: 0.0, at: now };
        budget.balance = budget.most();
        budget
    }

    /// The most retries that can be saved up.
    pub fn most(&self) -> f64 {
        let share = self.allowed.share.max(0.0);
        f64::from(self.allowed.at_least_per_minute).max(if share > 0.0 { 10.0 } else { 0.0 })
    }

    /// Counts a request.
    pub fn request(&mut self, now: Duration) {
        self.fill(now);
        self.balance = (self.balance + self.allowed.share.max(0.0)).min(self.most());
    }

    /// Takes one retry; false when there is none.
    pub fn take(&mut self, now: Duration) -> bool {
        self.fill(now);
        let is_there = self.balance >= 1.0;
        if is_there {
            self.balance -= 1.0;
        }
        is_there
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let filled = passed.as_secs_f64() / 60.0 * f64::from(self.allowed.at_least_per_minute);
        self.balance = (self.balance + filled).min(self.most());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed(fault: Fault) -> FailedAttempt {
        FailedAttempt {
            fault,
            retries_before: 0,
            retry_after: None,
            has_begun: false,
            time_left: Duration::from_secs(60),
            draw: 1.0,
        }
    }

    fn decide(attempt: FailedAttempt) -> RetryDecision {
        let mut budget = RetryBudget::new(RetryShare::default(), Duration::ZERO);
        RetryPolicy::default().decide(attempt, &mut budget, Duration::ZERO)
    }

    #[test]
    fn only_what_passes_by_itself_and_generated_nothing_is_tried_again() {
        for fault in Fault::ALL {
            let is_retried = matches!(decide(failed(fault)), RetryDecision::Retry { .. });
            let expected = matches!(fault, Fault::Connection | Fault::Server | Fault::RateLimited);
            assert_eq!(is_retried, expected, "{fault:?}");
        }
        let begun = FailedAttempt { has_begun: true, ..failed(Fault::Connection) };
        assert_eq!(decide(begun), RetryDecision::GiveUp(GiveUp::HasBegun));
    }

    #[test]
    fn what_the_provider_says_is_never_undercut() {
        let told = Some(Duration::from_secs(7));
        let limited = FailedAttempt { retry_after: told, draw: 0.0, ..failed(Fault::RateLimited) };
        assert_eq!(decide(limited), RetryDecision::Retry { after: Duration::from_secs(7) });
        let drawn = FailedAttempt { draw: 1.0, ..limited };
        assert_eq!(decide(drawn), RetryDecision::Retry { after: Duration::from_millis(7_500) });
        let late = FailedAttempt { time_left: Duration::from_secs(7), ..limited };
        assert_eq!(decide(late), RetryDecision::GiveUp(GiveUp::PastDeadline));
    }

    #[test]
    fn nobody_sleeps_longer_than_allowed() {
        let told = |told: f64| FailedAttempt {
            retry_after: Some(Duration::from_secs_f64(told)),
            ..failed(Fault::RateLimited)
        };
        let longest = RetryPolicy::default().longest_pause;
        assert_eq!(longest, Duration::from_secs(10));
        assert_eq!(
            decide(told(10.0)),
            RetryDecision::Retry { after: longest },
            "jitter adds nothing beyond it"
        );
        assert_eq!(decide(told(10.1)), RetryDecision::GiveUp(GiveUp::PauseTooLong));
        let mut budget = RetryBudget::new(RetryShare::default(), Duration::ZERO);
        let impatient = RetryPolicy { longest_pause: Duration::from_millis(100), ..RetryPolicy::default() };
        let decision = impatient.decide(failed(Fault::Server), &mut budget, Duration::ZERO);
        assert_eq!(decision, RetryDecision::Retry { after: Duration::from_millis(100) });
        let before = budget.clone();
        impatient.decide(told(1.0), &mut budget, Duration::ZERO);
        assert_eq!(budget, before, "what is not made costs nothing");
    }

    #[test]
    fn a_spent_budget_fills_by_requests_and_by_time() {
        let mut budget = RetryBudget::new(RetryShare::default(), Duration::ZERO);
        for _ in 0..10 {
            assert!(budget.take(Duration::ZERO));
        }
        assert!(!budget.take(Duration::ZERO));
        for _ in 0..6 {
            budget.request(Duration::ZERO);
        }
        assert!(budget.take(Duration::ZERO) && !budget.take(Duration::ZERO));
        assert!(budget.take(Duration::from_secs(6)), "ten a minute");
        assert!(!budget.take(Duration::from_secs(6)));
    }

    #[test]
    fn a_budget_of_nothing_allows_nothing() {
        let none = RetryShare { share: 0.0, at_least_per_minute: 0 };
        let mut budget = RetryBudget::new(none, Duration::ZERO);
        budget.request(Duration::ZERO);
        assert!(!budget.take(Duration::from_secs(3600)));
    }

    proptest! {
        #[test]
        fn retries_stay_a_bounded_share_of_requests(
            share in 0.0f64..1.0,
            at_least_per_minute in 0u32..30,
            steps in prop::collection::vec((0u64..2_000, any::<bool>()), 1..400),
        ) {
            let allowed = RetryShare { share, at_least_per_minute };
            let mut now = Duration::ZERO;
            let mut budget = RetryBudget::new(allowed, now);
            let (mut requests, mut retries) = (0u32, 0u32);
            for (pause_ms, is_request) in steps {
                now += Duration::from_millis(pause_ms);
                if is_request {
                    budget.request(now);
                    requests += 1;
                } else if budget.take(now) {
                    retries += 1;
                }
                let by_time = now.as_secs_f64() / 60.0 * f64::from(at_least_per_minute);
                let bound = budget.most() + f64::from(requests) * share + by_time;
                prop_assert!(f64::from(retries) <= bound + 1e-6, "{retries} retries, bound {bound}");
            }
        }

        #[test]
        fn a_retry_ends_before_the_deadline_and_after_what_was_told(
            fault in prop::sample::select(&Fault::ALL[..]),
            retries_before in 0u32..6,
            told_ms in prop::option::of(0u64..20_000),
            longest_ms in 0u64..20_000,
            has_begun: bool,
            left_ms in 0u64..20_000,
            draw in 0.0f64..=1.0,
        ) {
            let longest_pause = Duration::from_millis(longest_ms);
            let policy = RetryPolicy { longest_pause, ..RetryPolicy::default() };
            let told = told_ms.map(Duration::from_millis);
            let time_left = Duration::from_millis(left_ms);
            let attempt =
                FailedAttempt { fault, retries_before, retry_after: told, has_begun, time_left, draw };
            let mut budget = RetryBudget::new(RetryShare::default(), Duration::ZERO);
            if let RetryDecision::Retry { after } = policy.decide(attempt, &mut budget, Duration::ZERO) {
                prop_assert!(fault.is_retryable() && !has_begun && retries_before < policy.max_retries);
                prop_assert!(after < time_left && after >= told.unwrap_or_default());
                prop_assert!(after <= longest_pause);
            }
        }
    }
}
