//! What status shows of a guarded provider.

use boca_core::resilience::CircuitState;
use boca_core::{Availability, MicroUsd, ProviderUsage};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Answers whose times are kept.
const KEPT: usize = 256;

/// A failure of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFailure {
    /// What it was, in one sentence.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

/// A health check of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCheck {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was wrong, in one sentence; `None` when nothing was.
    pub error: Option<String>,
}

/// The figures of one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSnapshot {
    /// Whether it can be asked now.
    pub availability: Availability,
    /// Whether the breaker lets requests pass.
    pub circuit: CircuitState,
    /// Requests that it answers now.
    pub in_flight: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// The most requests that it answers at the same time.
    pub max_concurrency: usize,
    /// What went wrong last.
    pub last_failure: Option<PastFailure>,
    /// When it last answered anything, a health check included.
    pub last_success: Option<SystemTime>,
    /// The last health check.
    pub last_check: Option<PastCheck>,
    /// Whether the configured model is in its list of models; `None` while no list is known.
    pub lists_model: Option<bool>,
    /// What it was used for today.
    pub today: ProviderUsage,
    /// The money after which it rests.
    pub daily_budget: Option<MicroUsd>,
    /// Times of its latest answers.
    pub latencies: Latencies,
}

/// Times of the latest answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Answers that were looked at, at most 256.
    pub n: usize,
    /// Median time to the first piece of an answer.
    pub first_median: Duration,
    /// The time within which 95 of 100 answers began.
    pub first_p95: Duration,
    /// Median time to a whole answer.
    pub total_median: Duration,
    /// The time within which 95 of 100 answers were whole.
    pub total_p95: Duration,
}

/// The times of the latest answers, a bounded number of them.
#[derive(Debug, Default)]
pub(super) struct RecentTimes {
    times: VecDeque<(Duration, Duration)>,
}

impl RecentTimes {
    pub(super) fn add(&mut self, first: Duration, total: Duration) {
        if self.times.len() == KEPT {
            self.times.pop_front();
        }
        self.times.push_back((first, total));
    }

    pub(super) fn latencies(&self) -> Latencies {
        let mut firsts: Vec<_> = self.times.iter().map(|(first, _)| *first).collect();
        let mut totals: Vec<_> = self.times.iter().map(|(_, total)| *total).collect();
        firsts.sort_unstable();
        totals.sort_unstable();
        Latencies {
            n: self.times.len(),
            first_median: nearest_rank(&firsts, 50),
            first_p95: nearest_rank(&firsts, 95),
            total_median: nearest_rank(&totals, 50),
            total_p95: nearest_rank(&totals, 95),
        }
    }
}

/// The smallest value that `percent` of the sorted values do not exceed; zero without values.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_times_count() {
        let mut times = RecentTimes::default();
        assert_eq!(times.latencies(), Latencies::default());
        for n in 0..1_000 {
            times.add(Duration::from_millis(n), Duration::from_millis(10 * n));
        }
        let found = times.latencies();
        assert_eq!(found.n, KEPT);
        assert_eq!(found.first_median, Duration::from_millis(744 + 127));
        assert_eq!(found.total_p95, Duration::from_millis(10 * (744 + 243)));
    }
}
