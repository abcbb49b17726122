//! `GET /api/status`: the daemon, its model, its providers, its actors and its store.

use crate::ErrorDetail;
use crate::providers::ProviderStatus;
use crate::sessions::SamplingFields;
use serde::{Deserialize, Serialize};

/// Answers `GET /api/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Time since it started.
    pub uptime_s: f64,
    /// The socket it listens on.
    #[serde(default)]
    pub socket: String,
    /// The directory that holds its state.
    #[serde(default)]
    pub state_dir: String,
    /// The configuration files it read, in the order in which they count; none: the defaults.
    #[serde(default)]
    pub config_files: Vec<String>,
    /// Who answers when a request names no mode.
    #[serde(default)]
    pub default_mode: String,
    /// Whether the daemon is on its way out and takes no new requests.
    #[serde(default)]
    pub stopping: bool,
    /// The model on this machine.
    pub model: ModelStatus,
    /// Who can be asked besides, in the order of the configuration.
    #[serde(default)]
    pub providers: Vec<ProviderStatus>,
    /// Who is started again when an actor ends: `one_for_one` (nobody else) or `rest_for_one` (those that need it).
    #[serde(default)]
    pub supervision: String,
    /// The actors, in the order in which they are started.
    #[serde(default)]
    pub agents: Vec<AgentStatus>,
    /// The store.
    #[serde(default)]
    pub store: StoreStatus,
    /// Requests in the house.
    #[serde(default)]
    pub requests: RequestCounts,
}

/// The model on this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// `starting`, `loading`, `ready`, `busy`, `degraded`, `restarting`, `down`, `unloaded` or `disabled`.
    pub state: String,
    /// What is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<ModelInfo>,
    /// Where a model was looked for, in order; the last one is what was taken.
    #[serde(default)]
    pub tried: Vec<ModelCandidate>,
    /// How far loading has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<LoadProgress>,
    /// The process that the engine lives in; absent while there is none, and when it lives in the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_pid: Option<u32>,
    /// How short memory is: `normal`, `soft` (no new requests) or `hard` (the weights go).
    #[serde(default)]
    pub memory_level: String,
    /// Why there is no model, or why it was restarted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// One place where a model was looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCandidate {
    /// The path, or `embedded` for the demo model.
    pub path: String,
    /// What named it: `--model`, `GLM_MODEL_PATH`, `config`, `default` or `embedded`.
    pub from: String,
    /// What came of it: `taken`, `cannot be loaded`, `not found`, or why it was not taken.
    pub outcome: String,
}

/// What a fine-tuning has made of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// Its directory's name.
    pub name: String,
    /// Its directory.
    #[serde(default)]
    pub source: String,
    /// `lora` (something is added) or `full` (tensors are replaced).
    #[serde(default)]
    pub kind: String,
    /// The rank of what is added; absent where tensors are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
}

/// What can be said of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name: the directory's, or `boca-demo`; with an adapter `+` and its name follow.
    pub name: String,
    /// Whether it is the small demo model that boca carries.
    #[serde(default)]
    pub is_demo: bool,
    /// Where it came from: a directory, or `embedded`.
    #[serde(default)]
    pub source: String,
    /// `model_type` of its configuration.
    #[serde(default)]
    pub architecture: String,
    /// All parameters.
    #[serde(default)]
    pub n_parameters: u64,
    /// Parameters used for one token.
    #[serde(default)]
    pub n_active_parameters: u64,
    /// Bytes of all tensors.
    #[serde(default)]
    pub weights_bytes: u64,
    /// Bits of most weights; absent for an unquantised checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_bits: Option<u8>,
    /// Weights that share one scale and one bias; absent for an unquantised checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_group_size: Option<u32>,
    /// Layers, without next-token-prediction layers.
    #[serde(default)]
    pub n_layers: u32,
    /// Routed experts of a mixture layer.
    #[serde(default)]
    pub n_experts: u32,
    /// Routed experts that one token uses.
    #[serde(default)]
    pub n_experts_per_token: u32,
    /// Width of the logits.
    #[serde(default)]
    pub vocab_size: u32,
    /// The longest context.
    #[serde(default)]
    pub context_tokens: u32,
    /// Bytes of KV cache that one token takes.
    #[serde(default)]
    pub kv_bytes_per_token: u64,
    /// Sampling values that the checkpoint recommends.
    #[serde(default)]
    pub recommended_sampling: SamplingFields,
    /// What computes: `cpu (avx2)` and so on.
    #[serde(default)]
    pub backend: String,
    /// The adapter; absent where the model is as it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterInfo>,
}

/// How far loading has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// `checking`, `reading` or `warming_up`.
    pub phase: String,
    /// Bytes of weights that are in memory.
    pub done_bytes: u64,
    /// Bytes of weights in all; 0 until it is known.
    pub total_bytes: u64,
    /// Time since loading began.
    pub elapsed_ms: f64,
}

/// One actor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// `starting`, `loading`, `ready`, `busy`, `degraded`, `restarting`, `down` or `disabled`.
    pub state: String,
    /// How often the supervisor started it again.
    #[serde(default)]
    pub restarts: u64,
    /// What ended it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Messages that wait for it.
    #[serde(default)]
    pub mailbox_depth: u64,
    /// The most messages that may wait.
    #[serde(default)]
    pub mailbox_capacity: u64,
    /// How long it has been in this state.
    #[serde(default)]
    pub in_state_ms: f64,
    /// After which endings it is started again: `permanent` (all), `transient` (failures) or `never`.
    #[serde(default)]
    pub restart: String,
    /// Those that have to be ready before it is started.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// The store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// The directory it lives in.
    pub path: String,
    /// Size on disk.
    pub size_bytes: u64,
    /// Stored conversations.
    pub n_sessions: u64,
    /// Records that were damaged and set aside.
    pub n_damaged_records: u64,
    /// Where a store was put that could not be opened at this start; what is in it is missing from the one in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
}

/// Requests in the house.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestCounts {
    /// Being answered.
    pub running: u64,
    /// Waiting for their turn.
    pub queued: u64,
}
