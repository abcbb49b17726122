//! What a conversation was answered without, because it did not fit the context.

use serde::{Deserialize, Serialize};

/// Turns that were left out of a conversation. Turns are numbered like [`crate::SessionMessage::index`]; those of a
/// question without a session from 0, instructions not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextCut {
    /// The first turn that was left out.
    pub first_turn: u32,
    /// The last turn that was left out.
    pub last_turn: u32,
    /// How many they are.
    pub n_turns: u32,
    /// Tokens of the whole conversation.
    pub whole_tokens: u32,
    /// What took their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<TurnSummary>,
    /// Why there is no summary, or no newer one, where one was to be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_summary: Option<String>,
}

/// The oldest turns of a conversation in few words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnSummary {
    /// The first turn that is not in it.
    pub before_turn: u32,
    /// The summary.
    pub text: String,
    /// The model that wrote it.
    pub model: String,
    /// When it was stored with its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_unix_ms: Option<u64>,
}
