//! The pause before a retry.

use std::time::Duration;

/// Exponential backoff with full jitter: a draw from zero up to a bound that doubles with each retry.
///
/// Full jitter spreads the retries of many clients that failed together evenly over the pause, which does less work
/// in total than a pause with a little jitter.
///
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullJitter {
    /// The longest pause before the first retry.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for FullJitter {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(8) }
    }
}

impl FullJitter {
    /// The pause after `retries_before` earlier ones. `draw` is a random number from 0 to 1.
    pub fn pause(&self, retries_before: u32, draw: f64) -> Duration {
        doubled(self.first, retries_before, self.longest).mul_f64(unit(draw))
    }
}

/// `first`, doubled `times` times, at most `longest`.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(longest)
}

/// The number, held between 0 and 1; what is no number counts as 1, the cautious end.
pub(super) fn unit(draw: f64) -> f64 {
    if draw.is_nan() { 1.0 } else { draw.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pause_lies_between_zero_and_its_doubling_bound(
            first_ms in 0u64..5_000, longest_ms in 0u64..60_000, before in 0u32..100, draw in 0.0f64..=1.0,
        ) {
            let first = Duration::from_millis(first_ms);
            let longest = Duration::from_millis(longest_ms);
            let jitter = FullJitter { first, longest };
            let bound = jitter.pause(before, 1.0);
            prop_assert!(jitter.pause(before, draw) <= bound && bound <= longest);
            prop_assert!(bound <= jitter.pause(before + 1, 1.0));
            prop_assert_eq!(jitter.pause(before, 0.0), Duration::ZERO);
            prop_assert_eq!(jitter.pause(before, f64::NAN), bound);
        }
    }
}
