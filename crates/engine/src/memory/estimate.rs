//! What a model takes, from its config alone.

use crate::checkpoint::{CheckpointWeights, Cut, ModelConfig};
use boca_core::KvPrecision;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelNeeds {
    /// All tensors.
    pub weights_bytes: u64,
    /// Keys and values of one token.
    pub kv_bytes_per_token: u64,
    /// Keys and values are kept in blocks of so many tokens.
    pub kv_granule_tokens: u64,
    /// The longest context that the model was made for.
    pub context_tokens: u64,
    /// Buffers of a step, the tokenizer, and what else a process takes.
    pub scratch_bytes: u64,
}

impl ModelNeeds {
    /// Of a checkpoint on the CPU.
    pub fn on_cpu(
        model: &CheckpointWeights,
        kv_precision: KvPrecision,
        prefill_chunk_tokens: usize,
        max_running: usize,
    ) -> Self {
        Self {
            weights_bytes: model.weights_bytes,
            kv_bytes_per_token: kv_bytes_per_token(&model.config, kv_precision),
            kv_granule_tokens: crate::cpu::KV_GRANULE_TOKENS as u64,
            context_tokens: model.config.max_position_embeddings as u64,
            scratch_bytes: scratch_bytes(&model.config, prefill_chunk_tokens, max_running),
        }
    }

    /// Of a checkpoint in MLX's memory, all of it.
    pub fn on_mlx(
        model: &CheckpointWeights,
        kv_precision: KvPrecision,
        prefill_chunk_tokens: usize,
        max_running: usize,
    ) -> Self {
        Self {
            kv_bytes_per_token: mlx_kv_bytes_per_token(model, kv_precision),
            kv_granule_tokens: MLX_KV_GRANULE_TOKENS as u64,
            ..Self::on_cpu(model, kv_precision, prefill_chunk_tokens, max_running)
        }
    }

    /// The same of one host's part.
    pub fn of_part(self, model: &CheckpointWeights, cut: &Cut) -> Self {
        let (own, all) = (cut.config(&model.config).n_kv_heads, model.config.n_kv_heads);
        Self {
            weights_bytes: cut.weights_bytes(&model.weights, self.weights_bytes),
            kv_bytes_per_token: self.kv_bytes_per_token / all as u64 * own as u64,
            ..self
        }
    }

    /// Keys and values of `n_requests` contexts of so many tokens.
    pub fn kv_bytes(&self, context_tokens: u64, n_requests: u64) -> u64 {
        context_tokens
            .checked_next_multiple_of(self.kv_granule_tokens)
            .and_then(|tokens| tokens.checked_mul(self.kv_bytes_per_token)?.checked_mul(n_requests))
            .unwrap_or(u64::MAX)
    }
}

/// Keys and values of one token.
pub fn kv_bytes_per_token(config: &ModelConfig, precision: KvPrecision) -> u64 {
    // Every bound of the config is far below the end of 64 bits.
    (config.n_layers * 2 * config.n_kv_heads * precision.bytes_of(config.head_dim)) as u64
}

/// Tokens by which the keys and values of a sequence grow on MLX.
pub(crate) const MLX_KV_GRANULE_TOKENS: usize = 256;

/// Keys and values of one token on MLX: in 8 bits with a scale and an offset a group, or in the model's own format.
fn mlx_kv_bytes_per_token(model: &CheckpointWeights, precision: KvPrecision) -> u64 {
    let config = &model.config;
    let number_bytes = model.weights.norm.float.size_bytes();
    let row = match (precision, mlx_kv_group_size(config.head_dim)) {
        (KvPrecision::Q8, Some(group)) => config.head_dim + config.head_dim / group * 2 * number_bytes,
        _ => config.head_dim * number_bytes,
    };
    (config.n_layers * 2 * config.n_kv_heads * row) as u64
}

/// Numbers of a head that share a scale where MLX keeps keys and values in 8 bits; `None` where it cannot.
pub(crate) fn mlx_kv_group_size(head_dim: usize) -> Option<usize> {
    [64, 32].into_iter().find(|size| head_dim.is_multiple_of(*size))
}

/// Everything but weights, keys and values, generously: the buffers of the largest step, logits, the tokenizer.
pub fn scratch_bytes(config: &ModelConfig, prefill_chunk_tokens: usize, max_running: usize) -> u64 {
    /// Threads' stacks, the binary, the store, the HTTP server.
    const PROCESS_BYTES: u64 = 64 << 20;
    /// A token's text, its place in two maps and its merges (measured: a vocabulary of 151,552 takes some 90 MB).
    const VOCABULARY_ENTRY_BYTES: u64 = 640;
    let wide = |n: usize| n as u64;
    let rows = wide(prefill_chunk_tokens).saturating_add(wide(max_running));
    let (hidden, queries) = (wide(config.hidden_size), wide(config.n_heads * config.head_dim));
    let keys = wide(config.n_kv_heads * config.head_dim);
    let routed = wide(config.n_experts_per_token) * (2 * hidden + 2 * wide(config.moe_intermediate_size));
    let dense = 2 * wide(config.intermediate_size.max(config.moe_intermediate_size)) + hidden;
    let row = 4 * hidden + 2 * queries + 2 * keys + routed + dense + 2 * wide(config.n_experts);
    let vocabulary = wide(config.vocab_size);
    // Logits, and the sorted copy that sampling makes of them.
    let logits = wide(max_running).saturating_mul(vocabulary) * 3;
    rows.saturating_mul(row)
        .saturating_add(logits)
        .saturating_mul(size_of::<f32>() as u64)
        .saturating_add(vocabulary * VOCABULARY_ENTRY_BYTES)
        .saturating_add(PROCESS_BYTES)
}
