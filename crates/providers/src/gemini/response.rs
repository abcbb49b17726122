//! The bodies that come back. Everything is optional, every enum is text: unknown fields and values must not break
//! an answer.

use crate::decode::{count, or_default};
use crate::tool_call::CalledFunction;
use serde::Deserialize;
use serde_json::Value;

/// A whole response, or one chunk of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GenerateContentResponse {
    #[serde(deserialize_with = "or_default")]
    pub(super) candidates: Vec<Candidate>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    pub(super) usage_metadata: Option<UsageMetadata>,
    /// An error in mid-stream, when it comes inside an event.
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Candidate {
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) finish_message: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) safety_ratings: Vec<SafetyRating>,
    pub(super) logprobs_result: Option<LogprobsResult>,
    #[serde(deserialize_with = "count")]
    pub(super) index: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    #[serde(deserialize_with = "or_default")]
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Part {
    pub(super) text: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) thought: bool,
    pub(super) function_call: Option<CalledFunction>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SafetyRating {
    #[serde(deserialize_with = "or_default")]
    pub(super) category: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) probability: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) blocked: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) safety_ratings: Vec<SafetyRating>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UsageMetadata {
    #[serde(deserialize_with = "count")]
    pub(super) prompt_token_count: u32,
    #[serde(deserialize_with = "count")]
    pub(super) cached_content_token_count: u32,
    #[serde(deserialize_with = "count")]
    pub(super) candidates_token_count: u32,
    #[serde(deserialize_with = "count")]
    pub(super) thoughts_token_count: u32,
    #[serde(deserialize_with = "count")]
    pub(super) tool_use_prompt_token_count: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogprobsResult {
    #[serde(deserialize_with = "or_default")]
    pub(super) top_candidates: Vec<TopCandidates>,
    #[serde(deserialize_with = "or_default")]
    pub(super) chosen_candidates: Vec<LogprobCandidate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TopCandidates {
    #[serde(deserialize_with = "or_default")]
    pub(super) candidates: Vec<LogprobCandidate>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogprobCandidate {
    #[serde(deserialize_with = "or_default")]
    pub(super) token: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) log_probability: f32,
}

/// What `countTokens` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CountTokensResponse {
    pub(crate) total_tokens: u32,
}
