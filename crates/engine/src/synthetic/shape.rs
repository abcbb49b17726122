//! Dimensions, `config.json` and the list of tensors.

use super::SyntheticError;
use serde_json::{Value, json};

/// The most layers that can be asked for; the model itself has 46.
const MOST_LAYERS: usize = 128;
const BITS: usize = 4;
const GROUP: usize = 64;

/// The dimensions of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SyntheticShape {
    n_layers: usize,
    hidden: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    dense_inner: usize,
    expert_inner: usize,
    n_experts: usize,
    n_experts_per_token: usize,
    context_tokens: usize,
    /// How far apart logits are: so far that the entropy of the next token is about half of the most that it could be.
    logit_spread: f32,
    pub(super) vocab: usize,
    /// Tokens before the special ones; the head is a little wider than all of them, as in the model itself.
    pub(super) n_ordinary_tokens: usize,
    /// Tensor bytes of a file before the next one is begun.
    pub(super) shard_bytes: u64,
}

/// How a tensor's numbers are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// Packed numbers of any value.
    Packed,
    /// Scales of groups that give a matrix entries of this size (root of the mean square).
    Scales(f32),
    /// The biases that go with them.
    Biases(f32),
    /// Evenly distributed around `middle`.
    Around { middle: f32, spread: f32 },
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its type, as a safetensors header spells it.
    pub dtype: &'static str,
    /// Its dimensions.
    pub shape: Vec<usize>,
    pub(super) fill: Fill,
}

impl TensorSpec {
    /// Its length in a file.
    pub fn n_bytes(&self) -> u64 {
        let one = if self.dtype == "BF16" { 2 } else { 4 };
        self.shape.iter().map(|n| *n as u64).product::<u64>() * one
    }
}

impl SyntheticShape {
    /// GLM-4.5-Air with this many of its 46 layers: one dense layer, then mixtures.
    ///
    /// # Errors
    /// [`SyntheticError::Layers`].
    pub fn glm_4_5_air(n_layers: usize) -> Result<Self, SyntheticError> {
        Ok(Self {
            n_layers: checked(n_layers)?,
            hidden: 4096,
            n_heads: 96,
            n_kv_heads: 8,
            head_dim: 128,
            dense_inner: 10_944,
            expert_inner: 1408,
            n_experts: 128,
            n_experts_per_token: 8,
            context_tokens: 131_072,
            logit_spread: 3.4,
            vocab: 151_552,
            n_ordinary_tokens: 151_329,
            shard_bytes: 1 << 30,
        })
    }

    /// The same architecture in less than 2 MB, for tests.
    ///
    /// # Errors
    /// [`SyntheticError::Layers`], also when they would take more.
    pub fn tiny(n_layers: usize) -> Result<Self, SyntheticError> {
        const MOST_TINY_LAYERS: usize = 8;
        if n_layers > MOST_TINY_LAYERS {
            return Err(SyntheticError::Layers { most: MOST_TINY_LAYERS, got: n_layers });
        }
        Ok(Self {
            n_layers: checked(n_layers)?,
            hidden: 64,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 32,
            dense_inner: 128,
            expert_inner: 64,
            n_experts: 8,
            n_experts_per_token: 2,
            context_tokens: 4096,
            logit_spread: 2.0,
            vocab: 1024,
            n_ordinary_tokens: 960,
            shard_bytes: 128 << 10,
        })
    }

    /// `config.json`, with the keys of the model's own.
    pub fn config(&self) -> Value {
        let quantization = json!({ "group_size": GROUP, "bits": BITS, "mode": "affine" });
        json!({
            "architectures": ["Glm4MoeForCausalLM"],
            "attention_bias": true,
            "attention_dropout": 0.0,
            "eos_token_id": self.end_tokens(),
            "first_k_dense_replace": 1,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.dense_inner,
            "max_position_embeddings": self.context_tokens,
            "model_type": "glm4_moe",
            "moe_intermediate_size": self.expert_inner,
            "n_group": 1,
            "n_routed_experts": self.n_experts,
            "n_shared_experts": 1,
            "norm_topk_prob": true,
            "num_attention_heads": self.n_heads,
            "num_experts_per_tok": self.n_experts_per_token,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_kv_heads,
            "num_nextn_predict_layers": 1,
            "pad_token_id": self.n_ordinary_tokens,
            "partial_rotary_factor": 0.5,
            "quantization": quantization,
            "quantization_config": quantization,
            "rms_norm_eps": 1e-5,
            "rope_scaling": null,
            "rope_theta": 1_000_000,
            "routed_scaling_factor": 1.0,
            "tie_word_embeddings": false,
            "topk_group": 1,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "use_qk_norm": false,
            "vocab_size": self.vocab,
        })
    }

    /// `<|endoftext|>`, `<|user|>` and `<|observation|>`.
    pub(super) fn end_tokens(&self) -> [usize; 3] {
        [0, 7, 9].map(|nth| self.n_ordinary_tokens + nth)
    }

    pub(super) fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut all = Vec::new();
        self.quantized(&mut all, "model.embed_tokens", &[self.vocab, self.hidden], 1.0);
        for layer in 0..self.n_layers {
            self.layer(&mut all, layer);
        }
        vector(&mut all, "model.norm.weight", self.hidden, NORM);
        self.projection(&mut all, "lm_head", &[], self.vocab, self.hidden, self.logit_spread);
        all
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors().iter().map(TensorSpec::n_bytes).sum()
    }

    fn layer(&self, all: &mut Vec<TensorSpec>, layer: usize) {
        let (hidden, path) = (self.hidden, format!("model.layers.{layer}"));
        vector(all, &format!("{path}.input_layernorm.weight"), hidden, NORM);
        vector(all, &format!("{path}.post_attention_layernorm.weight"), hidden, NORM);
        let (q, kv) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
        for (name, n_out) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
            let path = format!("{path}.self_attn.{name}");
            self.projection(all, &path, &[], n_out, hidden, 1.0);
            vector(all, &format!("{path}.bias"), n_out, Fill::Around { middle: 0.0, spread: 0.1 });
        }
        self.projection(all, &format!("{path}.self_attn.o_proj"), &[], hidden, q, 1.0);
        let mlp = format!("{path}.mlp");
        if layer == 0 {
            return self.gated(all, &mlp, &[], self.dense_inner);
        }
        // As wide as a projection's, so that tokens are sent to different experts.
        let spread = (3.0 / hidden as f32).sqrt();
        all.push(TensorSpec {
            name: format!("{mlp}.gate.weight"),
            dtype: "BF16",
            shape: vec![self.n_experts, hidden],
            fill: Fill::Around { middle: 0.0, spread },
        });
        all.push(TensorSpec {
            name: format!("{mlp}.gate.e_score_correction_bias"),
            dtype: "F32",
            shape: vec![self.n_experts],
            fill: Fill::Around { middle: 0.0, spread: 0.02 },
        });
        self.gated(all, &format!("{mlp}.switch_mlp"), &[self.n_experts], self.expert_inner);
        self.gated(all, &format!("{mlp}.shared_experts"), &[], self.expert_inner);
    }

    fn gated(&self, all: &mut Vec<TensorSpec>, path: &str, experts: &[usize], inner: usize) {
        self.projection(all, &format!("{path}.gate_proj"), experts, inner, self.hidden, 1.0);
        self.projection(all, &format!("{path}.up_proj"), experts, inner, self.hidden, 1.0);
        self.projection(all, &format!("{path}.down_proj"), experts, self.hidden, inner, 1.0);
    }

    /// A matrix whose outputs are `gain` times as large as its inputs.
    fn projection(
        &self,
        all: &mut Vec<TensorSpec>,
        path: &str,
        experts: &[usize],
        n_out: usize,
        n_in: usize,
        gain: f32,
    ) {
        self.quantized(all, path, &[experts, &[n_out, n_in]].concat(), gain / (n_in as f32).sqrt());
    }

    fn quantized(&self, all: &mut Vec<TensorSpec>, path: &str, shape: &[usize], size: f32) {
        let (n_in, outer) = shape.split_last().unwrap_or((&0, &[]));
        let mut push = |part: &str, dtype, columns: usize, fill| {
            let shape = outer.iter().copied().chain([columns]).collect();
            all.push(TensorSpec { name: format!("{path}.{part}"), dtype, shape, fill });
        };
        push("weight", "U32", n_in * BITS / 32, Fill::Packed);
        push("scales", "BF16", n_in / GROUP, Fill::Scales(size));
        push("biases", "BF16", n_in / GROUP, Fill::Biases(size));
    }
}

const NORM: Fill = Fill::Around { middle: 1.0, spread: 0.1 };

fn vector(all: &mut Vec<TensorSpec>, name: &str, length: usize, fill: Fill) {
    all.push(TensorSpec { name: name.to_owned(), dtype: "BF16", shape: vec![length], fill });
}

fn checked(n_layers: usize) -> Result<usize, SyntheticError> {
    match n_layers {
        1..=MOST_LAYERS => Ok(n_layers),
        got => Err(SyntheticError::Layers { most: MOST_LAYERS, got }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_layers_are_about_five_gigabytes_and_a_tiny_one_is_small() {
        let four = SyntheticShape::glm_4_5_air(4).unwrap().tensor_bytes();
        assert!((4_700_000_000..5_000_000_000).contains(&four), "{four}");
        assert!(SyntheticShape::tiny(8).unwrap().tensor_bytes() < 1_500_000);
    }

    #[test]
    fn the_number_of_layers_has_bounds() {
        for (made, got) in [(SyntheticShape::glm_4_5_air(0), 0), (SyntheticShape::glm_4_5_air(129), 129)] {
            let told = made.unwrap_err().to_string();
            assert_eq!(told, format!("`layers` must be between 1 and 128, got {got}"));
        }
        assert!(SyntheticShape::tiny(9).is_err() && SyntheticShape::tiny(0).is_err());
    }
}
