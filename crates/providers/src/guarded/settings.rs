//! How a provider is guarded.

use boca_core::MicroUsd;
use boca_core::resilience::{BreakerSettings, Prices, RetryPolicy, RetryShare};
use std::time::Duration;

/// Retries, limits, the breaker and money of one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSettings {
    /// When a failed attempt is made again. Default: two retries, up to 0.5 s and 1 s later, or when the provider says,
    /// within 10 s. The longest pause bounds as well how long a request waits for a provider that wants to be left alone.
    pub retry: RetryPolicy,
    /// How large a share of the requests retries may be. Default: one for five requests, or ten a minute.
    pub retry_share: RetryShare,
    /// Requests a minute. Default: no limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers a minute. Default: no limit.
    pub tokens_per_minute: Option<u32>,
    /// Requests that are answered at the same time. Default: 8.
    pub max_concurrency: usize,
    /// Requests that may wait for one of those places; one more is refused as overloaded. Default: 64.
    pub max_waiting: usize,
    /// When it is left alone, and for how long. Default: after five failed attempts in a row, for 5 s to 2 min.
    pub breaker: BreakerSettings,
    /// The longest time for which it is left alone because it says so. Default: 1 h.
    pub longest_hold_off: Duration,
    /// For how long it is left alone when it says that a quota is spent. Default: 15 min; it is then asked again,
    /// because what it says about the end of that time is often wrong.
    pub quota_rest: Duration,
    /// What its tokens cost. Default: unknown.
    pub prices: Option<Prices>,
    /// The money after which it rests until the next midnight. Needs `prices`. Default: no limit.
    pub daily_budget: Option<MicroUsd>,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            retry_share: RetryShare::default(),
            requests_per_minute: None,
            tokens_per_minute: None,
            max_concurrency: 8,
            max_waiting: 64,
            breaker: BreakerSettings::default(),
            longest_hold_off: Duration::from_secs(3600),
            quota_rest: Duration::from_secs(15 * 60),
            prices: None,
            daily_budget: None,
        }
    }
}

/// The most retries of one request.
const MOST_RETRIES: u32 = 10;
/// The longest pause before a retry.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(3600);
/// The most requests at the same time.
const MOST_CONCURRENCY: usize = 10_000;

impl GuardSettings {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// The first field that cannot be used, with its bound and value.
    pub fn check(&self) -> Result<(), String> {
        let within = |field: &str, value: usize, least: usize, most: usize| {
            let is_within = (least..=most).contains(&value);
            if is_within {
                return Ok(());
            }
            Err(format!("`{field}` must be between {least} and {most}, got {value}"))
        };
        within("max_retries", self.retry.max_retries as usize, 0, MOST_RETRIES as usize)?;
        within("max_concurrency", self.max_concurrency, 1, MOST_CONCURRENCY)?;
        within("max_waiting", self.max_waiting, 0, MOST_CONCURRENCY)?;
        if self.retry.longest_pause > LONGEST_RETRY_PAUSE {
            let (most, got) = (LONGEST_RETRY_PAUSE, self.retry.longest_pause);
            return Err(format!("`longest_retry_pause` must be at most {most:?}, got {got:?}"));
        }
        for (field, limit) in
            [("requests_per_minute", self.requests_per_minute), ("tokens_per_minute", self.tokens_per_minute)]
        {
            if limit == Some(0) {
                return Err(format!("`{field}` must be at least 1, got 0"));
            }
        }
        if self.daily_budget.is_some() && self.prices.is_none() {
            return Err("`daily_budget` needs `prices`, without which nobody knows what is spent".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::resilience::TokenPrices;

    #[test]
    fn the_defaults_are_good_and_bad_fields_are_named() {
        assert_eq!(GuardSettings::default().check(), Ok(()));
        let with = |change: fn(&mut GuardSettings)| {
            let mut settings = GuardSettings::default();
            change(&mut settings);
            settings.check()
        };
        for (outcome, part) in [
            (with(|s| s.retry.max_retries = 11), "`max_retries` must be between 0 and 10, got 11"),
            (with(|s| s.retry.longest_pause = Duration::from_secs(3601)), "`longest_retry_pause`"),
            (with(|s| s.max_concurrency = 0), "`max_concurrency`"),
            (with(|s| s.requests_per_minute = Some(0)), "`requests_per_minute`"),
            (with(|s| s.daily_budget = Some(MicroUsd(1))), "`daily_budget` needs `prices`"),
        ] {
            let message = outcome.unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        let flat = TokenPrices { input: MicroUsd(1), cached_input: None, output: MicroUsd(1) };
        let prices = Some(Prices { base: flat, long_context: None });
        let paid = GuardSettings { daily_budget: Some(MicroUsd(0)), prices, ..Default::default() };
        assert_eq!(paid.check(), Ok(()));
    }
}
