//! What can be said of a model without running it.

use crate::SamplingOverrides;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The quantisation that most tensors of a checkpoint have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantization {
    /// Bits of a weight.
    pub bits: u8,
    /// Weights that share one scale and one bias.
    pub group_size: u32,
}

/// What a fine-tuning has made of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// Its directory's name.
    pub name: String,
    /// Its directory.
    pub source: String,
    /// `lora` or `full`.
    pub kind: String,
    /// The rank of what is added; `None` where tensors are replaced.
    pub rank: Option<u32>,
}

/// A loaded or inspected checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name for people and for `model_used`: the directory's name, or `boca-demo`; with an adapter `+` and its name follow.
    pub name: String,
    /// Whether this is the demo model that boca carries.
    pub is_demo: bool,
    /// Where it came from: a directory, or `embedded`.
    pub source: String,
    /// `model_type` of the config.
    pub architecture: String,
    /// All parameters.
    pub n_parameters: u64,
    /// Parameters used for one token.
    pub n_active_parameters: u64,
    /// Bytes of all tensors.
    pub weights_bytes: u64,
    /// `None` for an unquantised checkpoint.
    pub quantization: Option<Quantization>,
    /// Layers, without next-token-prediction layers.
    pub n_layers: u32,
    /// Routed experts of a mixture layer.
    pub n_experts: u32,
    /// Routed experts that one token uses.
    pub n_experts_per_token: u32,
    /// Width of the logits.
    pub vocab_size: u32,
    /// The longest context, in tokens.
    pub context_tokens: u32,
    /// Bytes of KV cache that one token takes.
    pub kv_bytes_per_token: u64,
    /// Sampling values that the checkpoint's `generation_config.json` recommends.
    pub recommended_sampling: SamplingOverrides,
    /// What computes: `cpu (avx2)` and so on.
    pub backend: String,
    /// The adapter, if there is one.
    #[serde(default)]
    pub adapter: Option<AdapterInfo>,
}

impl ModelInfo {
    /// A model of which nothing but its name is known; every number is 0.
    pub fn unknown(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            is_demo: false,
            source: "unknown".into(),
            architecture: "unknown".into(),
            n_parameters: 0,
            n_active_parameters: 0,
            weights_bytes: 0,
            quantization: None,
            n_layers: 0,
            n_experts: 0,
            n_experts_per_token: 0,
            vocab_size: 0,
            context_tokens: 0,
            kv_bytes_per_token: 0,
            recommended_sampling: SamplingOverrides::default(),
            backend: "unknown".into(),
            adapter: None,
        }
    }
}

/// A stage of loading, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPhase {
    /// Headers, configuration, tokenizer and template are read and checked.
    Checking,
    /// Weights are mapped and paged in.
    Reading,
    /// One step through the whole model.
    WarmingUp,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// The current stage.
    pub phase: LoadPhase,
    /// Bytes of weights that are in memory.
    pub done_bytes: u64,
    /// Bytes of weights in all; 0 until it is known.
    pub total_bytes: u64,
    /// Time since loading began.
    pub elapsed: Duration,
}
