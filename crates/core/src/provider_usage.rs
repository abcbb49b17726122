//! What a provider was used for, counted by the day.

use crate::{MicroUsd, Usage};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A calendar day where the daemon lives. Days compare in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalDay {
    /// The year.
    pub year: i16,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, 1 to 31.
    pub day: u8,
}

impl fmt::Display for LocalDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Requests, tokens and money: of one request, or of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderUsage {
    /// Requests that were sent to the provider, each counted once however often it was tried.
    pub requests: u64,
    /// Requests that it gave no usable answer to.
    pub failures: u64,
    /// Attempts after the first one of a request.
    pub retries: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// The part of them that came from the provider's cache.
    pub cached_tokens: u64,
    /// Tokens generated, thinking included.
    pub completion_tokens: u64,
    /// Tokens of thinking.
    pub reasoning_tokens: u64,
    /// Requests whose tokens are an estimate, because the answer broke off before the provider had counted them.
    pub estimated: u64,
    /// What it cost, as far as prices are known.
    pub cost: MicroUsd,
}

impl ProviderUsage {
    /// The tokens of one generation.
    pub fn of_tokens(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens.into(),
            cached_tokens: usage.cached_tokens.into(),
            completion_tokens: usage.completion_tokens.into(),
            reasoning_tokens: usage.reasoning_tokens.into(),
            ..Self::default()
        }
    }

    /// Adds `more`; every figure stays at the largest there is.
    pub fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.requests, more.requests),
            (&mut self.failures, more.failures),
            (&mut self.retries, more.retries),
            (&mut self.prompt_tokens, more.prompt_tokens),
            (&mut self.cached_tokens, more.cached_tokens),
            (&mut self.completion_tokens, more.completion_tokens),
            (&mut self.reasoning_tokens, more.reasoning_tokens),
            (&mut self.estimated, more.estimated),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.cost = self.cost.saturating_add(more.cost);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_at_the_largest_figure() {
        let mut sum = ProviderUsage { requests: u64::MAX, cost: MicroUsd(u64::MAX), ..Default::default() };
        sum.add(&ProviderUsage { requests: 1, failures: 2, cost: MicroUsd(3), ..Default::default() });
        assert_eq!((sum.requests, sum.failures, sum.cost), (u64::MAX, 2, MicroUsd(u64::MAX)));
        assert!(!sum.is_empty() && ProviderUsage::default().is_empty());
    }

    #[test]
    fn days_are_written_and_compared_in_order() {
        let day = |year, month, day| LocalDay { year, month, day };
        assert_eq!(day(2026, 3, 9).to_string(), "2026-03-09");
        assert!(day(2026, 12, 31) < day(2027, 1, 1));
    }
}
