//! `POST /api/model/load` and `POST /api/model/unload`: the weights of the model on this machine.

use serde::{Deserialize, Serialize};

/// Answers `POST /api/model/load` and `POST /api/model/unload`, both at once: loading takes its time, and unloading
/// waits for what runs. [`crate::status`] shows how far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelChangeResponse {
    /// `started`, `already_loading` or `already_loaded`; `unloading` or `already_unloaded`.
    pub outcome: String,
    /// The model's state now; see [`crate::ModelStatus::state`].
    pub state: String,
    /// Time from the arrival of the request to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}
