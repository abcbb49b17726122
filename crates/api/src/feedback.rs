//! `POST /api/feedback`: what a person thinks of an answer.

use serde::{Deserialize, Serialize};

/// The body of `POST /api/feedback`. A later verdict on the same answer replaces the earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackRequest {
    /// The answer: [`crate::ChatResponse::request_id`].
    pub request_id: String,
    /// `good` or `bad`.
    pub verdict: String,
}

/// Answers `POST /api/feedback`. When it arrives, the verdict is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedbackResponse {
    /// The answer.
    pub request_id: String,
    /// The verdict that holds now.
    pub verdict: String,
    /// The verdict that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Time from the arrival of the verdict to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}
