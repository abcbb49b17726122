//! What a loaded model is busy with, as it tells its host.

use serde::{Deserialize, Serialize};

/// Memory of a backend that allocates for itself, as MLX does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceleratorMemory {
    /// Weights, keys and values, and what else is in use.
    pub active_bytes: u64,
    /// Freed buffers that are kept to be used again.
    pub cache_bytes: u64,
    /// The most that was in use at once.
    pub peak_bytes: u64,
}

/// The load of a generator between two steps, and what it has done since it was loaded. Fields that end in `_total`
/// only ever grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorLoad {
    /// Requests that take part in the steps: their prompts are being read or their answers written.
    pub n_running: u32,
    /// Requests that were taken on and wait for KV memory, in the order in which they came.
    pub n_waiting: u32,
    /// KV memory that is allocated: for requests under way, and for what is kept of those that have ended.
    pub kv_bytes_in_use: u64,
    /// KV memory that requests under way may come to need at most, what they share counted once.
    pub kv_bytes_promised: u64,
    /// The most KV memory that requests under way and what is kept may take together; `None` where there is no bound.
    pub kv_limit_bytes: Option<u64>,
    /// KV memory of one token; 0 where nobody knows.
    pub kv_bytes_per_token: u64,
    /// The part of `kv_bytes_in_use` that only the prefix cache holds: it comes free when a request needs it.
    pub prefix_cache_bytes: u64,
    /// The most that the prefix cache keeps.
    pub prefix_cache_limit_bytes: u64,
    /// Memory that the backend allocates for itself; `None` where it uses that of the process.
    pub accelerator: Option<AcceleratorMemory>,
    /// Tokens in the prefix cache, shared beginnings once.
    pub prefix_cache_tokens: u64,
    /// Requests whose prompt began with something that was computed already.
    pub prefix_hits_total: u64,
    /// Requests whose prompt began with nothing that was computed.
    pub prefix_misses_total: u64,
    /// Steps that were computed; one that stands still while requests are running means that the engine is stuck.
    pub steps_total: u64,
    /// Prompt tokens that were computed.
    pub prompt_tokens_computed_total: u64,
    /// Prompt tokens that were not computed, because their keys and values were there.
    pub prompt_tokens_reused_total: u64,
    /// Tokens that were generated, thinking included.
    pub generated_tokens_total: u64,
    /// Requests that were taken on, those refused at once included.
    pub requests_total: u64,
    /// Requests that ended because somebody cancelled them.
    pub cancelled_total: u64,
    /// Answers that were ended because they repeated themselves.
    pub repetitions_total: u64,
    /// Measured speed of reading a prompt that is alone; `None` before the first measurement.
    pub prefill_tokens_per_s: Option<f64>,
    /// Measured speed of one answer; `None` before the first measurement.
    pub decode_tokens_per_s: Option<f64>,
}
