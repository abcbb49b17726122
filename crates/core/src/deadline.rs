//! How many tokens fit a deadline.

use std::time::Duration;

/// The share of the remaining time that a generation may plan to use; the rest is for a slower step and the reply.
const PLANNED_SHARE: f64 = 0.9;

/// The token budget of a generation: the least of what was asked for or preset, the context left, and what
/// `time_left` allows at `tokens_per_s` (measured; `None` before the first measurement). At least 1, so that a
/// request which fits is always tried.
pub fn token_budget(
    wanted: u32,
    context_left: u32,
    time_left: Option<Duration>,
    tokens_per_s: Option<f64>,
) -> u32 {
    let by_time = match (time_left, tokens_per_s) {
        (Some(time), Some(speed)) if speed.is_finite() && speed > 0.0 => {
            (time.as_secs_f64() * PLANNED_SHARE * speed).min(f64::from(u32::MAX)) as u32
        }
        _ => u32::MAX,
    };
    wanted.min(context_left).min(by_time).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_wins() {
        let ten_seconds = Some(Duration::from_secs(10));
        assert_eq!(token_budget(100, 50, ten_seconds, Some(1000.0)), 50);
        assert_eq!(token_budget(100, 500, ten_seconds, Some(5.0)), 45);
        assert_eq!(token_budget(100, 500, None, Some(5.0)), 100);
        assert_eq!(token_budget(100, 500, ten_seconds, None), 100);
        assert_eq!(token_budget(100, 500, Some(Duration::ZERO), Some(5.0)), 1);
        assert_eq!(token_budget(100, 500, ten_seconds, Some(f64::NAN)), 100);
    }
}
