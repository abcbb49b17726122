//! `GET /api/compare/stats`: the running record of the providers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers `GET /api/compare/stats`. Covers the answers that are still kept: the newest ones, up to a bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompareStatsResponse {
    /// Answers looked at.
    #[serde(default)]
    pub n_answers: u64,
    /// Of those, the ones that were chosen or merged from two or more sources.
    #[serde(default)]
    pub n_decided: u64,
    /// When the oldest of them was given; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<u64>,
    /// One record a provider, by name.
    #[serde(default)]
    pub providers: Vec<ProviderRecord>,
    /// How `select` and `merge` did where two or more sources answered.
    #[serde(default)]
    pub strategies: StrategyRecords,
}

/// What is known of one provider's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderRecord {
    /// Its name.
    pub provider: String,
    /// Questions that it was asked.
    pub asked: u64,
    /// Questions that it answered to the end.
    pub answered: u64,
    /// Questions that it failed.
    pub failed: u64,
    /// Questions that it was told to stop answering, because its answer was not needed any more.
    pub cancelled: u64,
    /// Failures by their error `code`.
    pub failures: BTreeMap<String, u64>,
    /// Half of its answers were complete after this time or less; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_ms: Option<f64>,
    /// 95 % of its answers were complete after this time or less; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The same for its first token: the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_first_token_ms: Option<f64>,
    /// Answers where one of two or more sources was taken and it was among them.
    pub candidate: u64,
    /// Of those, how often its answer was taken.
    pub chosen: u64,
    /// `chosen` ÷ `candidate`; absent when there was nothing to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What it cost, where prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// People's verdicts on answers that it wrote.
    pub verdicts: Verdicts,
}

/// The two strategies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StrategyRecords {
    /// One of the answers as it is.
    pub select: StrategyRecord,
    /// One answer written from all of them.
    pub merge: StrategyRecord,
}

/// What is known of one strategy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StrategyRecord {
    /// Answers that came about in this way.
    pub answers: u64,
    /// People's verdicts on them.
    pub verdicts: Verdicts,
}

/// People's verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdicts {
    /// `good`.
    pub good: u64,
    /// `bad`.
    pub bad: u64,
    /// `good` ÷ all verdicts; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_share: Option<f64>,
}
