//! `config.json` of a GLM-4 MoE, checked.

use super::error::{CheckpointError, shown};
use super::fields::Fields;
use serde_json::Value;

/// `model_type` of the one architecture that this engine runs.
pub const ARCHITECTURE: &str = "glm4_moe";

/// Every number that the forward pass needs. Built from `config.json` only, with every value bounded, so that the
/// code above never meets an absurd one.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `hidden_size`
    pub hidden_size: usize,
    /// `num_hidden_layers`, without next-token-prediction layers.
    pub n_layers: usize,
    /// `num_attention_heads`
    pub n_heads: usize,
    /// `num_key_value_heads`
    pub n_kv_heads: usize,
    /// `head_dim`
    pub head_dim: usize,
    /// `attention_bias`: on q, k and v only.
    pub attention_bias: bool,
    /// `use_qk_norm`
    pub use_qk_norm: bool,
    /// How many numbers of a head are rotated: `head_dim * partial_rotary_factor`.
    pub rotary_dim: usize,
    /// `rope_theta`
    pub rope_theta: f32,
    /// `rms_norm_eps`
    pub rms_norm_eps: f32,
    /// `intermediate_size` of the dense layers.
    pub intermediate_size: usize,
    /// `first_k_dense_replace`: how many layers are dense; all of them without routed experts.
    pub first_k_dense_replace: usize,
    /// `n_routed_experts`, 0 for none.
    pub n_experts: usize,
    /// `num_experts_per_tok`
    pub n_experts_per_token: usize,
    /// `n_shared_experts`, 0 for none.
    pub n_shared_experts: usize,
    /// `moe_intermediate_size` of one expert.
    pub moe_intermediate_size: usize,
    /// `n_group`
    pub n_group: usize,
    /// `topk_group`
    pub topk_group: usize,
    /// `norm_topk_prob`
    pub norm_topk_prob: bool,
    /// `routed_scaling_factor`
    pub routed_scaling_factor: f32,
    /// `vocab_size`, the width of the logits.
    pub vocab_size: usize,
    /// `tie_word_embeddings`. What decides is [`Weights::lm_head`](super::Weights): mlx-lm uses a head wherever the
    /// file has one, so a tied checkpoint with a head of its own uses that.
    pub tie_word_embeddings: bool,
    /// `max_position_embeddings`
    pub max_position_embeddings: usize,
    /// `eos_token_id`, one or several.
    pub eos_token_ids: Vec<u32>,
}

/// What `num_hidden_layers` may be at most; the largest models in use have about a hundred.
const MOST_LAYERS: usize = 1024;
const MOST_HEADS: usize = 4096;
const MOST_HEAD_DIM: usize = 4096;
const MOST_WIDTH: usize = 1 << 20;
const MOST_EXPERTS: usize = 1 << 14;
/// In all layers together; GLM-4.5 has 14,240. It bounds what a search for their tensors may take.
const MOST_EXPERTS_IN_ALL: usize = 1 << 17;
const MOST_SHARED_EXPERTS: usize = 256;
const MOST_TOKENS: usize = 1 << 24;
const MOST_POSITIONS: usize = 1 << 28;
const MOST_ROPE_THETA: f64 = 1e15;
const MOST_SCALING: f64 = 1e4;

impl ModelConfig {
    /// Reads `config.json`. Where a field may be absent, its default is that of `Glm4MoeConfig` in transformers.
    ///
    /// Source: `ModelArgs` in mlx-lm `models/glm4_moe.py`.
    pub(super) fn of(config: Fields<'_>) -> Result<Self, CheckpointError> {
        check_architecture(config)?;
        config.one_of("hidden_act", &["silu", "swish"])?;
        config.one_of("scoring_func", &["sigmoid"])?;
        config.one_of("topk_method", &["noaux_tc"])?;
        let n_layers = config.count("num_hidden_layers", 1..=MOST_LAYERS)?;
        let n_heads = config.count("num_attention_heads", 1..=MOST_HEADS)?;
        let n_kv_heads = config.count("num_key_value_heads", 1..=n_heads)?;
        if !n_heads.is_multiple_of(n_kv_heads) {
            let expected = format!("a divisor of `num_attention_heads` ({n_heads})");
            return Err(config.error("num_key_value_heads", &expected, n_kv_heads.to_string()));
        }
        let head_dim = config.count("head_dim", 1..=MOST_HEAD_DIM)?;
        let rope = rope(config, head_dim)?;
        let experts = experts(config, n_layers)?;
        let vocab_size = config.count("vocab_size", 1..=MOST_TOKENS)?;
        Ok(Self {
            hidden_size: config.count("hidden_size", 1..=MOST_WIDTH)?,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            attention_bias: config.flag("attention_bias", false)?,
            use_qk_norm: config.flag("use_qk_norm", false)?,
            rotary_dim: rope.rotary_dim,
            rope_theta: rope.theta as f32,
            rms_norm_eps: config.positive("rms_norm_eps", 1.0)? as f32,
            intermediate_size: config.count("intermediate_size", 1..=MOST_WIDTH)?,
            first_k_dense_replace: experts.first_k_dense_replace,
            n_experts: experts.n_experts,
            n_experts_per_token: experts.n_experts_per_token,
            n_shared_experts: experts.n_shared_experts,
            moe_intermediate_size: experts.moe_intermediate_size,
            n_group: experts.n_group,
            topk_group: experts.topk_group,
            norm_topk_prob: config.flag("norm_topk_prob", true)?,
            routed_scaling_factor: config
                .optional_positive("routed_scaling_factor", MOST_SCALING)?
                .unwrap_or(1.0) as f32,
            vocab_size,
            tie_word_embeddings: config.flag("tie_word_embeddings", false)?,
            max_position_embeddings: config.count("max_position_embeddings", 1..=MOST_POSITIONS)?,
            eos_token_ids: eos_token_ids(config, vocab_size)?,
        })
    }

    /// Bytes of KV cache that one token takes in a cache of numbers of `bytes_per_number`.
    pub fn kv_bytes_per_token(&self, bytes_per_number: usize) -> u64 {
        // At most 2^10 layers × 2 × 2^12 heads × 2^12 numbers: far from the end of 64 bits.
        self.n_layers as u64 * 2 * self.n_kv_heads as u64 * self.head_dim as u64 * bytes_per_number as u64
    }

    /// Whether layer `layer` has a dense block instead of a mixture.
    pub fn is_dense(&self, layer: usize) -> bool {
        layer < self.first_k_dense_replace
    }
}

/// Reads `eos_token_id` of a config or generation config: one id, several, or none.
pub(super) fn eos_token_ids(config: Fields<'_>, vocab_size: usize) -> Result<Vec<u32>, CheckpointError> {
    let expected = "a token id or a list of token ids";
    let Some(value) = config.get("eos_token_id") else { return Ok(Vec::new()) };
    let ids = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let mut known = Vec::with_capacity(ids.len());
    for id in ids {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| config.bad("eos_token_id", expected, value))?;
        // An id outside the vocabulary can never be generated: it is of no use, and no harm.
        if (id as usize) < vocab_size && !known.contains(&id) {
            known.push(id);
        }
    }
    Ok(known)
}

fn check_architecture(config: Fields<'_>) -> Result<(), CheckpointError> {
    let unknown = |found| CheckpointError::UnknownArchitecture { file: config.file.into(), found };
    match config.get("model_type") {
        None => Err(unknown("no such field".into())),
        Some(value) if value.as_str() == Some(ARCHITECTURE) => Ok(()),
        Some(Value::String(other)) => Err(unknown(format!("`{}`", shown(other)))),
        Some(other) => Err(unknown(shown(&other.to_string()))),
    }
}

struct Rope {
    theta: f64,
    rotary_dim: usize,
}

/// Positions are rotated plainly. mlx-lm reads `rope_scaling` and leaves it out of the computation; a checkpoint that
/// was trained with it would answer wrongly, so anything but the default is refused.
fn rope(config: Fields<'_>, head_dim: usize) -> Result<Rope, CheckpointError> {
    // Newer configs keep all of it in `rope_parameters`.
    let nested = config.object("rope_parameters")?;
    for (name, object) in [("rope_scaling", config.object("rope_scaling")?), ("rope_parameters", nested)] {
        let Some(object) = object else { continue };
        let prefix = format!("{}{name}.", config.prefix);
        let fields = Fields { file: config.file, prefix: &prefix, object };
        fields.one_of("type", &["default"])?;
        fields.one_of("rope_type", &["default"])?;
        if let Some(factor) = fields.get("factor").filter(|f| f.as_f64() != Some(1.0)) {
            return Err(fields.bad("factor", "1 (scaled positions are not supported)", factor));
        }
    }
    let nested = nested.map(|object| Fields { file: config.file, prefix: "rope_parameters.", object });
    let value = |name: &str, most: f64| match (config.optional_positive(name, most)?, nested) {
        (None, Some(nested)) => nested.optional_positive(name, most),
        (value, _) => Ok(value),
    };
    let theta = value("rope_theta", MOST_ROPE_THETA)?.ok_or_else(|| {
        config.missing("rope_theta", &format!("a number greater than 0 and at most {MOST_ROPE_THETA}"))
    })?;
    let factor = value("partial_rotary_factor", 1.0)?.unwrap_or(0.5);
    let rotary_dim = (head_dim as f64 * factor) as usize;
    if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
        let expected = format!("a share of `head_dim` ({head_dim}) that is even and not 0");
        return Err(config.error(
            "partial_rotary_factor",
            &expected,
            format!("{factor}, which is {rotary_dim}"),
        ));
    }
    Ok(Rope { theta, rotary_dim })
}

struct Experts {
    first_k_dense_replace: usize,
    n_experts: usize,
    n_experts_per_token: usize,
    n_shared_experts: usize,
    moe_intermediate_size: usize,
    n_group: usize,
    topk_group: usize,
}

fn experts(config: Fields<'_>, n_layers: usize) -> Result<Experts, CheckpointError> {
    let n_experts = config.optional_count("n_routed_experts", 0..=MOST_EXPERTS)?.unwrap_or(0);
    if n_experts == 0 {
        return Ok(Experts {
            first_k_dense_replace: n_layers,
            n_experts: 0,
            n_experts_per_token: 0,
            n_shared_experts: 0,
            moe_intermediate_size: 0,
            n_group: 1,
            topk_group: 1,
        });
    }
    if n_experts * n_layers > MOST_EXPERTS_IN_ALL {
        let expected = format!("at most {MOST_EXPERTS_IN_ALL} experts in {n_layers} layers together");
        return Err(config.error("n_routed_experts", &expected, n_experts.to_string()));
    }
    let n_group = config.optional_count("n_group", 1..=n_experts)?.unwrap_or(1);
    // A group is scored by its best two experts.
    if !n_experts.is_multiple_of(n_group) || (n_group > 1 && n_experts / n_group < 2) {
        let expected =
            format!("a divisor of `n_routed_experts` ({n_experts}) with two experts or more a group");
        return Err(config.error("n_group", &expected, n_group.to_string()));
    }
    Ok(Experts {
        first_k_dense_replace: config.count("first_k_dense_replace", 0..=MOST_LAYERS)?.min(n_layers),
        n_experts,
        n_experts_per_token: config.count("num_experts_per_tok", 1..=n_experts)?,
        n_shared_experts: config.optional_count("n_shared_experts", 0..=MOST_SHARED_EXPERTS)?.unwrap_or(0),
        moe_intermediate_size: config.count("moe_intermediate_size", 1..=MOST_WIDTH)?,
        n_group,
        topk_group: config.optional_count("topk_group", 1..=n_group)?.unwrap_or(1),
    })
}

#[cfg(test)]
mod tests;
