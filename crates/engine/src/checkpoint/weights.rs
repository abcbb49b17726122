//! All tensors of a GLM-4 MoE, under the names of the checkpoint.

use super::tensor::{Linear, Matrix, Vector};

/// The whole model.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `model.embed_tokens` `[vocab_size, hidden_size]`: its rows are the embeddings. Also the head when embeddings are tied.
    pub embed_tokens: Linear,
    /// `model.layers.{i}`
    pub layers: Vec<LayerWeights>,
    /// `model.norm.weight` `[hidden_size]`
    pub norm: Vector,
    /// `lm_head` `[vocab_size, hidden_size]`; `None` when tied.
    pub lm_head: Option<Linear>,
}

/// One decoder layer.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// `input_layernorm.weight` `[hidden_size]`
    pub input_layernorm: Vector,
    /// `self_attn`
    pub self_attn: AttentionWeights,
    /// `post_attention_layernorm.weight` `[hidden_size]`
    pub post_attention_layernorm: Vector,
    /// `mlp`
    pub mlp: MlpWeights,
}

/// Grouped-query attention.
#[derive(Debug, Clone)]
pub struct AttentionWeights {
    /// `[n_heads * head_dim, hidden_size]`
    pub q_proj: Linear,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub k_proj: Linear,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub v_proj: Linear,
    /// `[hidden_size, n_heads * head_dim]`
    pub o_proj: Linear,
    /// `q_norm.weight` `[head_dim]`, with `use_qk_norm`.
    pub q_norm: Option<Vector>,
    /// `k_norm.weight` `[head_dim]`, with `use_qk_norm`.
    pub k_norm: Option<Vector>,
}

/// A dense block or a mixture.
#[derive(Debug, Clone)]
pub enum MlpWeights {
    /// The first `first_k_dense_replace` layers.
    Dense(Box<GatedMlp>),
    /// All others.
    Moe(Box<MoeWeights>),
}

/// `down(silu(gate(x)) * up(x))`
#[derive(Debug, Clone)]
pub struct GatedMlp {
    /// `[intermediate, hidden_size]`
    pub gate_proj: Linear,
    /// `[intermediate, hidden_size]`
    pub up_proj: Linear,
    /// `[hidden_size, intermediate]`
    pub down_proj: Linear,
}

/// A mixture of experts.
#[derive(Debug, Clone)]
pub struct MoeWeights {
    /// `gate.weight` `[n_experts, hidden_size]`
    pub gate: Matrix,
    /// `gate.e_score_correction_bias` `[n_experts]`
    pub e_score_correction_bias: Vector,
    /// `switch_mlp` or `experts.{e}`: one entry an expert; stacked tensors are cut into views.
    pub experts: Vec<GatedMlp>,
    /// `shared_experts`, added unweighted; `None` when the config has none.
    pub shared_experts: Option<GatedMlp>,
}
