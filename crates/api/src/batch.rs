//! `/api/batch`: many questions taken on together, answered when nobody waits, kept until they are fetched.

use serde::{Deserialize, Serialize};

use crate::chat::{StopTexts, optional_logit_bias};
use crate::{ContextCut, ErrorDetail, Usage};
use std::collections::BTreeMap;

/// The media type of a batch with one question a line, and of its results.
pub const NDJSON: &str = "application/x-ndjson";

/// One question of a batch: a line of JSON, or an element of a list.
///
/// Exactly one of `message` and `messages` is given. Everything else may be left out and comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchLine {
    /// What its result is called, a text or a number, each once in a batch. Left out: the number of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LineId>,
    /// A question without a conversation before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A conversation, oldest turn first, of which the last one is a person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<BatchTurn>>,
    /// Who answers; `local` when it is left out. See [`crate::ChatRequest::mode`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// See [`crate::ChatRequest::effort`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// See [`crate::ChatRequest::strategy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// See [`crate::ChatRequest::private`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// The instructions, instead of the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// `accurate`, `balanced` or `creative`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// See [`crate::ChatRequest::temperature`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// See [`crate::ChatRequest::top_p`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// See [`crate::ChatRequest::top_k`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// See [`crate::ChatRequest::min_p`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// See [`crate::ChatRequest::repetition_penalty`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// See [`crate::ChatRequest::presence_penalty`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// See [`crate::ChatRequest::frequency_penalty`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// See [`crate::ChatRequest::seed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// See [`crate::ChatRequest::logit_bias`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_logit_bias")]
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// See [`crate::ChatRequest::max_tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// See [`crate::ChatRequest::thinking`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// See [`crate::ChatRequest::thinking_budget_tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_budget_tokens: Option<u32>,
    /// Texts that end the answer: one string or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopTexts>,
    /// See [`crate::ChatRequest::context_policy`]. Turns are counted from 0, instructions left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_policy: Option<String>,
    /// How long each try may take, waiting for people included; the longest that is allowed when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// What a line is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LineId {
    /// By a number.
    Number(u64),
    /// By a text.
    Text(String),
}

impl LineId {
    /// As people and files call it.
    pub fn to_text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchTurn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// How far a batch is: answers `POST /api/batch`, `GET /api/batch/{id}` and `DELETE /api/batch/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// The batch's id.
    pub id: String,
    /// `running`, `done` or `cancelled`.
    pub state: String,
    /// Its lines.
    pub n_lines: u32,
    /// Those that have a result.
    pub n_done: u32,
    /// Those of them whose result is an error.
    pub n_failed: u32,
    /// When it came.
    pub created_unix_ms: u64,
    /// When its last line ended, or it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<u64>,
}

impl BatchStatus {
    /// Whether nothing of it is still to come.
    pub fn has_ended(&self) -> bool {
        self.state != "running"
    }
}

/// Answers `GET /api/batch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchListResponse {
    /// The batches that are kept, oldest first.
    pub batches: Vec<BatchStatus>,
}

/// What became of a line: one line of `GET /api/batch/{id}/results`. Either `response` or `error` is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchResult {
    /// The line's own id, or its number.
    pub id: Option<LineId>,
    /// The number of the line, from 1, empty ones counted.
    pub line: u32,
    /// The answer's text, without thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The thinking, if there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_used: Option<String>,
    /// See [`crate::ChatResponse::finish_reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tokens counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it was answered without, when it did not fit the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_cut: Option<ContextCut>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// The queries of `GET /api/batch/{id}/results`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchResultsQuery {
    /// How many results to pass over.
    pub offset: u32,
    /// Whether to wait for those that are still to come.
    pub follow: bool,
}
