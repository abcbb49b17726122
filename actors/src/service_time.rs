//! How long the engine spends on a request, as a moving mean.

use std::time::Duration;

/// How much the newest measurement counts: the mean follows a change of load within some ten requests.
const WEIGHT_OF_NEWEST: f64 = 0.2;
/// A guess before the first measurement.
const UNKNOWN: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// An exponentially weighted mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServiceTime {
    mean: Option<Duration>,
}

impl ServiceTime {
    pub(crate) fn add(&mut self, spent: Duration) {
        self.mean = Some(match self.mean {
            None => spent,
            Some(mean) => mean.mul_f64(1.0 - WEIGHT_OF_NEWEST) + spent.mul_f64(WEIGHT_OF_NEWEST),
        });
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        self.mean
    }

    /// How long `n_requests` will take, as advice for a retry.
    pub(crate) fn wait_behind(&self, n_requests: usize) -> Duration {
        let n_requests = u32::try_from(n_requests).unwrap_or(u32::MAX);
        let wait = self.mean.unwrap_or(UNKNOWN).saturating_mul(n_requests);
        wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_mean_times_length_within_bounds() {
        let mut time = ServiceTime::default();
        assert_eq!(time.wait_behind(2), Duration::from_secs(10));
        time.add(Duration::from_secs(4));
        assert_eq!(time.wait_behind(3), Duration::from_secs(12));
        time.add(Duration::from_secs(9));
        assert_eq!(time.mean(), Some(Duration::from_secs(5)));
        assert_eq!(time.wait_behind(0), SHORTEST_WAIT);
        assert_eq!(time.wait_behind(usize::MAX), LONGEST_WAIT);
    }
}
