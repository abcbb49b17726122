//! Rate limits: so many requests and so many tokens a minute.

use std::time::Duration;

/// A bucket that holds what one minute allows and fills evenly.
///
/// It is taken from in advance: whoever takes more than there is learns how long to wait, and those after it wait for
/// that long more. So waiters are served in their order, and nobody has to ask twice.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBucket {
    per_minute: f64,
    /// Negative while somebody waits.
    level: f64,
    at: Duration,
}

impl TokenBucket {
    /// A full bucket, as of `now`. A limit of 0 counts as 1: a provider that may never be asked is switched off
    /// elsewhere.
    pub fn new(per_minute: u32, now: Duration) -> Self {
        let per_minute = f64::from(per_minute.max(1));
        Self { per_minute, level: per_minute, at: now }
    }

    /// How long `n` would have to wait. More than a whole minute's amount waits for a full bucket, and is then let
    /// through on credit: it would otherwise wait for ever.
    pub fn wait_for(&self, n: u32, now: Duration) -> Duration {
        let needed = f64::from(n).min(self.per_minute);
        let missing = (needed - self.level_at(now)).max(0.0);
        Duration::from_secs_f64(missing / self.per_minute * 60.0)
    }

    /// Takes `n`, now or in advance; [`Self::wait_for`] said how long it has to wait.
    pub fn take(&mut self, n: u32, now: Duration) {
        self.level = self.level_at(now) - f64::from(n);
        self.at = self.at.max(now);
    }

    /// Corrects an earlier estimate by the real count.
    pub fn settle(&mut self, taken: u32, real: u32, now: Duration) {
        let corrected = self.level_at(now) + f64::from(taken) - f64::from(real);
        self.level = corrected.min(self.per_minute);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Duration) -> f64 {
        let filled = now.saturating_sub(self.at).as_secs_f64() / 60.0 * self.per_minute;
        (self.level + filled).min(self.per_minute)
    }
}

/// The two limits of a provider, and the time for which it wants to be left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimits {
    requests: Option<TokenBucket>,
    tokens: Option<TokenBucket>,
    /// Nothing starts before this.
    held_until: Duration,
}

impl RateLimits {
    /// Full buckets, as of `now`; `None` is no limit.
    pub fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>, now: Duration) -> Self {
        Self {
            requests: requests_per_minute.map(|limit| TokenBucket::new(limit, now)),
            tokens: tokens_per_minute.map(|limit| TokenBucket::new(limit, now)),
            held_until: Duration::ZERO,
        }
    }

    /// Lets nothing start for this long. A longer time that was said before stays.
    pub fn hold_off(&mut self, time: Duration, now: Duration) {
        self.held_until = self.held_until.max(now.saturating_add(time));
    }

    /// How much longer nothing starts because of [`Self::hold_off`].
    pub fn held_for(&self, now: Duration) -> Duration {
        self.held_until.saturating_sub(now)
    }

    /// Takes one request with about `tokens` tokens. Answers how long it has to wait first.
    ///
    /// # Errors
    /// The wait, when it would be longer than `at_most`; nothing is taken then.
    pub fn reserve(&mut self, tokens: u32, now: Duration, at_most: Duration) -> Result<Duration, Duration> {
        let for_request = self.requests.as_ref().map_or(Duration::ZERO, |bucket| bucket.wait_for(1, now));
        let for_tokens = self.tokens.as_ref().map_or(Duration::ZERO, |bucket| bucket.wait_for(tokens, now));
        let wait = for_request.max(for_tokens).max(self.held_for(now));
        if wait > at_most {
            return Err(wait);
        }
        if let Some(bucket) = &mut self.requests {
            bucket.take(1, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens, now);
        }
        Ok(wait)
    }

    /// Corrects the estimate of an earlier [`Self::reserve`] by the tokens that were really used.
    pub fn settle(&mut self, reserved: u32, real: u32, now: Duration) {
        if let Some(bucket) = &mut self.tokens {
            bucket.settle(reserved, real, now);
        }
    }

    /// Gives all of an earlier [`Self::reserve`] back: the request was never sent.
    pub fn give_back(&mut self, reserved: u32, now: Duration) {
        self.settle(reserved, 0, now);
        if let Some(bucket) = &mut self.requests {
            bucket.settle(1, 0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn waiters_are_served_in_their_order() {
        let mut limits = RateLimits::new(Some(2), None, Duration::ZERO);
        let wait =
            |limits: &mut RateLimits| limits.reserve(0, Duration::ZERO, MINUTE * 10).unwrap().as_secs();
        assert_eq!(std::array::from_fn(|_| wait(&mut limits)), [0, 0, 30, 60]);
        limits.give_back(0, Duration::ZERO);
        assert_eq!(wait(&mut limits), 60);
        assert_eq!(limits.reserve(0, Duration::ZERO, MINUTE), Err(Duration::from_secs(90)));
        assert_eq!(limits.reserve(0, MINUTE, MINUTE), Ok(Duration::from_secs(30)), "refusals take nothing");
    }

    #[test]
    fn nothing_starts_while_the_provider_wants_to_be_left_alone() {
        let mut limits = RateLimits::new(None, None, Duration::ZERO);
        limits.hold_off(Duration::from_secs(40), Duration::ZERO);
        limits.hold_off(Duration::from_secs(5), Duration::ZERO);
        let now = Duration::from_secs(10);
        assert_eq!(limits.reserve(1, now, Duration::from_secs(29)), Err(Duration::from_secs(30)));
        assert_eq!(limits.reserve(1, now, MINUTE), Ok(Duration::from_secs(30)));
        assert_eq!(limits.reserve(1, MINUTE, Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn tokens_are_settled_by_the_real_count() {
        let mut limits = RateLimits::new(None, Some(600), Duration::ZERO);
        assert_eq!(limits.reserve(600, Duration::ZERO, MINUTE), Ok(Duration::ZERO));
        limits.settle(600, 100, Duration::ZERO);
        assert_eq!(limits.reserve(500, Duration::ZERO, MINUTE), Ok(Duration::ZERO));
        limits.settle(500, 700, Duration::ZERO);
        assert_eq!(limits.reserve(100, Duration::ZERO, MINUTE), Ok(Duration::from_secs(30)));
    }

    #[test]
    fn more_than_the_bucket_holds_waits_for_a_full_one() {
        let mut limits = RateLimits::new(None, Some(60), Duration::ZERO);
        assert_eq!(limits.reserve(600, Duration::ZERO, MINUTE), Ok(Duration::ZERO));
        assert_eq!(limits.reserve(1, MINUTE * 9, MINUTE), Ok(Duration::from_secs(1)));
    }

    proptest! {
        /// Whatever is asked and when, no stretch of time sees more starts than a bucketful and what flows in.
        #[test]
        fn no_window_starts_more_than_allowed(
            per_minute in 1u32..120,
            asks in prop::collection::vec((0u64..5_000, 1u32..40), 1..120),
        ) {
            let mut bucket = TokenBucket::new(per_minute, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut starts: Vec<(Duration, u32)> = Vec::new();
            for (pause_ms, n) in asks {
                now += Duration::from_millis(pause_ms);
                let n = n.min(per_minute);
                let start = now + bucket.wait_for(n, now);
                bucket.take(n, now);
                prop_assert!(starts.last().is_none_or(|(before, _)| *before <= start + Duration::from_micros(1)));
                starts.push((start, n));
            }
            for (place, (from, _)) in starts.iter().enumerate() {
                let mut taken = 0.0;
                for (at, n) in &starts[place..] {
                    taken += f64::from(*n);
                    let passed = at.saturating_sub(*from).as_secs_f64();
                    let allowed = f64::from(per_minute) * (1.0 + passed / 60.0);
                    prop_assert!(taken <= allowed + 1e-3, "{taken} of {allowed} in {passed} s");
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_through(
            per_minute in 1u32..1_000, taken in 0u32..5_000, n in 0u32..5_000, later_ms in 0u64..100_000,
        ) {
            let mut bucket = TokenBucket::new(per_minute, Duration::ZERO);
            bucket.take(taken, Duration::ZERO);
            let now = Duration::from_millis(later_ms);
            let wait = bucket.wait_for(n, now);
            prop_assert!(bucket.wait_for(n, now + wait) <= Duration::from_micros(1));
        }
    }
}
