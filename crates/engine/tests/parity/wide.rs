//! A small checkpoint with as many heads as four hosts need.

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use std::path::Path;

const HIDDEN: usize = 48;
const N_HEADS: usize = 8;
const N_KV_HEADS: usize = 4;
const HEAD_DIM: usize = 16;
const DENSE: usize = 70;
const EXPERT: usize = 22;
const N_EXPERTS: usize = 6;
const VOCAB: usize = 96;

/// Writes it: one dense layer and one mixture, in f32, with numbers that are the same every time. None of its sizes can be
/// cut into equal parts by three, and the inner ones not by four either.
pub(crate) fn wide_checkpoint(directory: &Path) {
    let config = json!({
        "model_type": "glm4_moe", "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS, "head_dim": HEAD_DIM, "attention_bias": true, "use_qk_norm": true,
        "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "intermediate_size": DENSE,
        "first_k_dense_replace": 1, "n_routed_experts": N_EXPERTS, "num_experts_per_tok": 2, "n_shared_experts": 1,
        "moe_intermediate_size": EXPERT, "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
        "routed_scaling_factor": 1.0, "vocab_size": VOCAB, "max_position_embeddings": 512, "hidden_act": "silu",
        "tie_word_embeddings": false, "eos_token_id": 0,
    });
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let (queries, keys) = (N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM);
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push((name, shape.to_vec()));
    for layer in 0..2 {
        let of = |name: &str| format!("model.layers.{layer}.{name}");
        add(of("input_layernorm.weight"), &[HIDDEN]);
        add(of("post_attention_layernorm.weight"), &[HIDDEN]);
        for (name, n) in [("q", queries), ("k", keys), ("v", keys)] {
            add(of(&format!("self_attn.{name}_proj.weight")), &[n, HIDDEN]);
            add(of(&format!("self_attn.{name}_proj.bias")), &[n]);
        }
        add(of("self_attn.o_proj.weight"), &[HIDDEN, queries]);
        add(of("self_attn.q_norm.weight"), &[HEAD_DIM]);
        add(of("self_attn.k_norm.weight"), &[HEAD_DIM]);
    }
    for name in ["gate_proj", "up_proj", "down_proj"] {
        let cut = |inner: usize| if name == "down_proj" { [HIDDEN, inner] } else { [inner, HIDDEN] };
        add(format!("model.layers.0.mlp.{name}.weight"), &cut(DENSE));
        add(format!("model.layers.1.mlp.shared_experts.{name}.weight"), &cut(EXPERT));
        let [rows, columns] = cut(EXPERT);
        add(format!("model.layers.1.mlp.switch_mlp.{name}.weight"), &[N_EXPERTS, rows, columns]);
    }
    add("model.layers.1.mlp.gate.weight".into(), &[N_EXPERTS, HIDDEN]);
    add("model.layers.1.mlp.gate.e_score_correction_bias".into(), &[N_EXPERTS]);
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        add(name.into(), &[VOCAB, HIDDEN]);
    }
    add("model.norm.weight".into(), &[HIDDEN]);
    let mut state = 7_u64;
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| {
            let number = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.6
            };
            (0..shape.iter().product::<usize>()).map(number).flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(directory.join("model.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
}
