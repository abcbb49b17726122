//! Counting parameters the way model cards do.

use super::ModelConfig;
use super::tensor::{Linear, Matrix};
use super::weights::{GatedMlp, LayerWeights, MlpWeights, Weights};

/// Parameters of a model. A quantised weight counts as one, its scales and biases not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCount {
    /// All of them.
    pub all: u64,
    /// Those that one token is multiplied with: of the routed experts the chosen ones, of the embedding one row.
    pub active: u64,
}

/// Counts the parameters of `weights`.
pub(super) fn count_parameters(weights: &Weights, config: &ModelConfig) -> ParameterCount {
    let embedding = linear(&weights.embed_tokens);
    let mut all = embedding + weights.norm.len() as u64;
    // A tied embedding is read as a whole: it is the head.
    let mut active = weights.norm.len() as u64
        + if weights.lm_head.is_some() { config.hidden_size as u64 } else { embedding };
    if let Some(head) = &weights.lm_head {
        all += linear(head);
        active += linear(head);
    }
    for layer in &weights.layers {
        let (common, idle) = (outside_experts(layer), idle_experts(layer, config.n_experts_per_token));
        all += common.0 + common.1;
        active += common.0 + common.1 - idle;
    }
    ParameterCount { all, active }
}

/// Parameters of a layer without its routed experts, and of those.
fn outside_experts(layer: &LayerWeights) -> (u64, u64) {
    let attention = &layer.self_attn;
    let projections = [&attention.q_proj, &attention.k_proj, &attention.v_proj, &attention.o_proj];
    let vectors = [
        Some(&layer.input_layernorm),
        Some(&layer.post_attention_layernorm),
        attention.q_norm.as_ref(),
        attention.k_norm.as_ref(),
    ];
    let mut common: u64 = projections.into_iter().map(linear).sum();
    common += vectors.into_iter().flatten().map(|v| v.len() as u64).sum::<u64>();
    match &layer.mlp {
        MlpWeights::Dense(dense) => (common + gated_mlp(dense), 0),
        MlpWeights::Moe(moe) => {
            common += matrix(&moe.gate) + moe.e_score_correction_bias.len() as u64;
            common += moe.shared_experts.as_ref().map_or(0, gated_mlp);
            (common, moe.experts.iter().map(gated_mlp).sum())
        }
    }
}

fn idle_experts(layer: &LayerWeights, n_per_token: usize) -> u64 {
    match &layer.mlp {
        MlpWeights::Dense(_) => 0,
        MlpWeights::Moe(moe) => moe.experts.iter().skip(n_per_token).map(gated_mlp).sum(),
    }
}

fn gated_mlp(mlp: &GatedMlp) -> u64 {
    linear(&mlp.gate_proj) + linear(&mlp.up_proj) + linear(&mlp.down_proj)
}

fn linear(layer: &Linear) -> u64 {
    let adapter = layer.adapter.as_ref().map_or(0, |low_rank| matrix(&low_rank.down) + matrix(&low_rank.up));
    matrix(&layer.weight) + layer.bias.as_ref().map_or(0, |bias| bias.len() as u64) + adapter
}

fn matrix(matrix: &Matrix) -> u64 {
    matrix.n_out as u64 * matrix.n_in as u64
}
