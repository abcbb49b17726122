//! `config.json` of a GLM-4 MoE, checked.

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
    /// `first_k_dense_replace`: how many layers are dense.
    pub first_k_dense_replace: usize,
    /// `n_routed_experts`
    pub n_experts: usize,
    /// `num_experts_per_tok`
    pub n_experts_per_token: usize,
    /// `n_shared_experts`
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
    /// `tie_word_embeddings`
    pub tie_word_embeddings: bool,
    /// `max_position_embeddings`
    pub max_position_embeddings: usize,
    /// `eos_token_id`, one or several.
    pub eos_token_ids: Vec<u32>,
}
