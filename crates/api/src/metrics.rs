//! `GET /api/metrics`: counters and percentiles since the daemon started.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers `GET /api/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsResponse {
    /// Time since the daemon started.
    pub uptime_s: f64,
    /// Questions, by how they ended.
    #[serde(default)]
    pub requests: RequestMetrics,
    /// Tokens, over all questions.
    #[serde(default)]
    pub tokens: TokenMetrics,
    /// Memory of the engine, as it said last; absent while no model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_memory: Option<EngineMemory>,
    /// Waiting for the engine.
    #[serde(default)]
    pub queue_ms: Percentiles,
    /// From the hand-over to the engine to the first token.
    #[serde(default)]
    pub time_to_first_token_ms: Percentiles,
    /// From the arrival of a question to its answer.
    #[serde(default)]
    pub total_ms: Percentiles,
    /// Speed of reading prompts.
    #[serde(default)]
    pub prefill_tokens_per_s: Percentiles,
    /// Speed of generation.
    #[serde(default)]
    pub decode_tokens_per_s: Percentiles,
}

/// Memory of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineMemory {
    /// Keys and values, of requests under way and of what is kept of those that have ended.
    pub kv_bytes: u64,
    /// The part of `kv_bytes` that comes free when a request needs it.
    pub prefix_cache_bytes: u64,
    /// What a backend that allocates for itself (MLX) has in use: weights, keys and values, and the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_bytes: Option<u64>,
    /// Freed buffers that it keeps to use them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<u64>,
    /// The most that it had in use at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

/// Questions, by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestMetrics {
    /// All that ended.
    pub total: u64,
    /// Being answered now.
    pub running: u64,
    /// Waiting now.
    pub queued: u64,
    /// What was ended before it was done, by cause: questions for `client_gone`, `deadline`, `requested` (by
    /// `DELETE /api/requests/{id}`) and `shutdown`; for `not_needed` single providers whose answer was not waited for.
    pub by_cancellation: BTreeMap<String, u64>,
    /// Count by outcome: a `finish_reason` or an error `code`.
    pub by_outcome: BTreeMap<String, u64>,
}

/// Tokens, over all questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenMetrics {
    /// Tokens of rendered prompts.
    pub prompt_tokens: u64,
    /// Prompt tokens that were known from before and not computed again.
    pub cached_tokens: u64,
    /// Tokens generated, thinking included.
    pub completion_tokens: u64,
    /// Tokens of thinking.
    pub reasoning_tokens: u64,
}

/// The distribution of one figure, in the unit that the figure's name says. All zero while `count` is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    /// Values seen.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}
