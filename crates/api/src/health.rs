//! `GET /health` and `GET /ready`: for service managers, load balancers and the CLI. Neither ever waits.

use crate::ErrorDetail;
use crate::status::LoadProgress;
use serde::{Deserialize, Serialize};

/// Answers `GET /health`, always with 200.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResponse {
    /// `ok`.
    pub status: String,
}

/// Answers `GET /ready`: 200 when a question can be answered now, else 503 with the same body, `error` filled in,
/// and the header `retry-after` when waiting helps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadyResponse {
    /// Whether a question can be answered now.
    pub ready: bool,
    /// State of the model: `starting`, `loading`, `ready`, `busy`, `degraded`, `restarting`, `down` or `disabled`;
    /// `stopping` when the daemon drains.
    pub status: String,
    /// Name of the model, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether that is the small demo model that boca carries.
    #[serde(default)]
    pub model_is_demo: bool,
    /// How far loading has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<LoadProgress>,
    /// Why not, in the words and the shape of every error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
    /// Time from the arrival of the request to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}
