//! `/api/requests`: questions that are being answered, and their cancellation.

use serde::{Deserialize, Serialize};

/// Answers `GET /api/requests`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestListResponse {
    /// The requests, oldest first.
    pub requests: Vec<RunningRequest>,
}

/// A request that is queued or running.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningRequest {
    /// The request's id.
    pub id: String,
    /// The conversation it belongs to.
    pub session_id: String,
    /// `queued` or `running`.
    pub state: String,
    /// Who was asked; see [`crate::ChatRequest::mode`].
    #[serde(default)]
    pub mode: String,
    /// Whether it stays on this machine.
    #[serde(default)]
    pub private: bool,
    /// Time since it arrived.
    pub age_ms: f64,
    /// Time until its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_left_ms: Option<f64>,
}

/// Answers `DELETE /api/requests/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CancelRequestResponse {
    /// The request that was told to stop.
    pub id: String,
    /// Time from the arrival of the cancellation to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}
