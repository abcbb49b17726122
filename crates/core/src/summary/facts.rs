//! What happened in a window, and in the one before it.

use crate::MicroUsd;
use crate::alert::AlertChange;
use crate::rollup::{SeriesKey, Tally};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that a summary is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SummaryFacts {
    /// From when, in the words that the reader sees: a date and a time of the job's zone.
    pub from: String,
    /// Until when.
    pub until: String,
    /// How long that is, in seconds.
    pub window_s: u64,
    /// What happened.
    pub now: WindowFacts,
    /// What happened in a window of the same length before; `None` where nothing is known of it.
    pub before: Option<WindowFacts>,
    /// Alerts that fired or were over, in order.
    pub alerts: Vec<AlertLine>,
    /// What the sessions were about that are not private.
    pub topics: Vec<String>,
}

/// A change of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertLine {
    /// Which.
    pub name: String,
    /// What there was to say.
    pub change: AlertChange,
    /// When, in the words that the reader sees.
    pub at: String,
}

/// The figures of one window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowFacts {
    /// Requests that ended.
    pub requests: u64,
    /// Those that ended with an answer.
    pub answered: u64,
    /// Those that were ended by who had asked.
    pub cancelled: u64,
    /// Those that failed, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Time to an answer, in seconds: half of them took at most this.
    pub total_p50_s: Option<f64>,
    /// 95 of 100 took at most this.
    pub total_p95_s: Option<f64>,
    /// The same of the first token.
    pub first_token_p95_s: Option<f64>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens that were known from before.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Dollars.
    pub cost_usd: f64,
    /// Each provider's part.
    pub providers: BTreeMap<String, ProviderFacts>,
}

/// One provider's part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProviderFacts {
    /// How often it was asked.
    pub asked: u64,
    /// How often its answer was given.
    pub selected: u64,
    /// Time to its answer, in seconds: 95 of 100 took at most this.
    pub total_p95_s: Option<f64>,
    /// Dollars.
    pub cost_usd: f64,
}

impl WindowFacts {
    /// Those of everything that was measured in a window.
    pub fn of(series: &BTreeMap<SeriesKey, Tally>) -> Self {
        let mut all = Tally::default();
        let mut by_provider: BTreeMap<&str, Tally> = BTreeMap::new();
        for (key, tally) in series {
            all.add(tally);
            by_provider.entry(&key.provider).or_default().add(tally);
        }
        let providers = by_provider
            .into_iter()
            .map(|(name, tally)| {
                let facts = ProviderFacts {
                    asked: tally.requests(),
                    selected: tally.selected,
                    total_p95_s: tally.total_us.quantile(0.95).map(seconds),
                    cost_usd: dollars(tally.cost),
                };
                (name.to_owned(), facts)
            })
            .collect();
        Self {
            requests: all.requests(),
            answered: all.answered(),
            cancelled: all.cancelled(),
            failures: all.failures().map(|(cause, n)| (cause.to_owned(), n)).collect(),
            total_p50_s: all.total_us.quantile(0.5).map(seconds),
            total_p95_s: all.total_us.quantile(0.95).map(seconds),
            first_token_p95_s: all.first_token_us.quantile(0.95).map(seconds),
            prompt_tokens: all.prompt_tokens,
            cached_tokens: all.cached_tokens,
            completion_tokens: all.completion_tokens,
            cost_usd: dollars(all.cost),
            providers,
        }
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().fold(0, |sum: u64, n| sum.saturating_add(*n))
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn dollars(MicroUsd(micros): MicroUsd) -> f64 {
    micros as f64 / 1e6
}
