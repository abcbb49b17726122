//! The bodies that come back.

use crate::decode::{count, or_default};
use serde::Deserialize;
use serde_json::Value;

/// One event of a stream. Which fields are there depends on `kind`; new kinds must not break an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamEvent {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    /// Of `message_start`.
    pub(super) message: Option<Message>,
    /// Of `content_block_*`.
    #[serde(deserialize_with = "count")]
    pub(super) index: u32,
    pub(super) content_block: Option<Block>,
    /// Of `content_block_delta` and `message_delta`.
    pub(super) delta: Option<Delta>,
    pub(super) usage: Option<TokenUsage>,
    pub(super) error: Option<Value>,
}

/// A whole response, or its frame at the beginning of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    #[serde(deserialize_with = "or_default")]
    pub(super) content: Vec<Block>,
    pub(super) stop_reason: Option<String>,
    pub(super) stop_sequence: Option<String>,
    pub(super) usage: Option<TokenUsage>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Block {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) text: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) thinking: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    pub(super) input: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) text: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) thinking: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) partial_json: String,
    pub(super) stop_reason: Option<String>,
    pub(super) stop_sequence: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct TokenUsage {
    #[serde(deserialize_with = "count")]
    pub(super) input_tokens: u32,
    #[serde(deserialize_with = "count")]
    pub(super) cache_creation_input_tokens: u32,
    #[serde(deserialize_with = "count")]
    pub(super) cache_read_input_tokens: u32,
    #[serde(deserialize_with = "count")]
    pub(super) output_tokens: u32,
    #[serde(deserialize_with = "or_default")]
    pub(super) output_tokens_details: OutputDetails,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct OutputDetails {
    #[serde(deserialize_with = "count")]
    pub(super) thinking_tokens: u32,
}

/// What `/v1/messages/count_tokens` answers.
#[derive(Debug, Deserialize)]
pub(crate) struct CountTokensResponse {
    pub(crate) input_tokens: u32,
}
