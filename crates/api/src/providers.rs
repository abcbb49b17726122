//! `providers[]` of `GET /api/status`: who can be asked besides the model on this machine.

use serde::{Deserialize, Serialize};

/// One provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderStatus {
    /// Its name in the configuration and in `mode`.
    pub name: String,
    /// The protocol it speaks: `gemini`, `openai`, `ollama` or `anthropic`.
    pub kind: String,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether private questions may go to it.
    pub local: bool,
    /// `unknown` (not probed yet), `available`, `circuit_open`, `resting` (its daily budget is spent) or
    /// `unavailable`.
    pub availability: String,
    /// Why it cannot be asked now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Time until it is tried again, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<f64>,
    /// The circuit breaker: `closed`, `open` or `half_open`.
    pub circuit: String,
    /// Asks that are under way.
    pub running: u64,
    /// What was spent today (local time), where prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_today_usd: Option<f64>,
    /// What may be spent in one day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_budget_usd: Option<f64>,
    /// Asks of today (local time).
    pub requests_today: u64,
    /// Tokens of today (local time), prompts and answers.
    pub tokens_today: u64,
    /// The last look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe: Option<ProbeStatus>,
}

/// A look at a provider by its cheapest call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeStatus {
    /// Time since.
    pub age_ms: f64,
    /// Whether it answered.
    pub ok: bool,
    /// How long that took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
