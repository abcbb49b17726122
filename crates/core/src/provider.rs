//! What can be said of a provider without asking it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The protocol that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// The engine of this daemon.
    Engine,
    /// Google's Gemini API.
    Gemini,
    /// `/v1/chat/completions`, as OpenAI, vLLM, llama.cpp's server, LM Studio and many more speak it.
    Openai,
    /// Ollama's `/api/chat`.
    Ollama,
    /// Anthropic's Messages API.
    Anthropic,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Engine, Self::Gemini, Self::Openai, Self::Ollama, Self::Anthropic];

    /// The name in the config, in status and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Gemini => "gemini",
            Self::Openai => "openai",
            Self::Ollama => "ollama",
            Self::Anthropic => "anthropic",
        }
    }
}

/// An amount of money in millionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// The amount in dollars.
    pub fn usd(self) -> f64 {
        // Exact up to nine billion dollars.
        self.0 as f64 / 1e6
    }

    /// The sum, which stays at the largest amount there is.
    pub fn saturating_add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Whether a provider can be asked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Not probed yet; it may be asked.
    Unknown,
    /// Its last probe or answer was good.
    Available,
    /// It failed too often; it is left alone for this long and then tried again.
    CircuitOpen {
        /// Time until the next probe.
        retry_in: Duration,
        /// The last failure, in one sentence.
        reason: String,
    },
    /// Its daily budget is spent; it rests until the next midnight.
    Resting {
        /// Time until then.
        resumes_in: Duration,
    },
    /// It cannot be asked until something outside changes: a key is refused, a requirement does not hold, weights are
    /// loading or missing.
    Unavailable {
        /// Why, in one sentence.
        reason: String,
    },
}

impl Availability {
    /// Whether a request sent now has a chance.
    pub fn can_be_asked(&self) -> bool {
        matches!(self, Self::Unknown | Self::Available)
    }

    /// The name on the wire and in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Available => "available",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Resting { .. } => "resting",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// How busy the engine of this machine is: what routing decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLoad {
    /// Requests that wait or run.
    pub n_requests: u32,
    /// How long a request that came now would wait for its first step.
    pub expected_wait: Duration,
    /// Tokens for which KV memory is free; `None` where nobody knows.
    pub kv_headroom_tokens: Option<u64>,
    /// Memory of the machine that is free for use; `None` where nobody knows.
    pub available_memory_bytes: Option<u64>,
    /// The machine is so short of memory that a generation would make it worse.
    pub is_memory_short: bool,
}
