//! A checkpoint with every tensor of GLM-4.5-Air in files that are all hole: whoever read the weights, or copied
//! them, would not come back with 60 GB of memory to spare.

use crate::support::open;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The published size of the 4-bit build.
const PUBLISHED_BYTES: u64 = 60_160_161_534;
const N_LAYERS: usize = 46;
const N_SHARDS: usize = 230;

struct Spec {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

fn n_bytes(spec: &Spec) -> u64 {
    let size = if spec.dtype == "BF16" { 2 } else { 4 };
    spec.shape.iter().map(|n| *n as u64).product::<u64>() * size
}

fn quantised(tensors: &mut Vec<Spec>, path: &str, shape: &[usize]) {
    let (n_in, outer) = shape.split_last().unwrap();
    let with_last = |n: usize| outer.iter().copied().chain([n]).collect();
    tensors.push(Spec { name: format!("{path}.weight"), dtype: "U32", shape: with_last(n_in / 8) });
    for part in ["scales", "biases"] {
        tensors.push(Spec { name: format!("{path}.{part}"), dtype: "BF16", shape: with_last(n_in / 64) });
    }
}

fn plain(tensors: &mut Vec<Spec>, name: String, dtype: &'static str, shape: &[usize]) {
    tensors.push(Spec { name, dtype, shape: shape.to_vec() });
}

fn glm_4_5_air() -> Vec<Spec> {
    let mut all = Vec::new();
    quantised(&mut all, "model.embed_tokens", &[151_552, 4096]);
    quantised(&mut all, "lm_head", &[151_552, 4096]);
    plain(&mut all, "model.norm.weight".into(), "BF16", &[4096]);
    for layer in 0..N_LAYERS {
        let path = format!("model.layers.{layer}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            plain(&mut all, format!("{path}.{norm}.weight"), "BF16", &[4096]);
        }
        for (name, n_out) in [("q_proj", 12_288), ("k_proj", 1024), ("v_proj", 1024)] {
            quantised(&mut all, &format!("{path}.self_attn.{name}"), &[n_out, 4096]);
            plain(&mut all, format!("{path}.self_attn.{name}.bias"), "BF16", &[n_out]);
        }
        quantised(&mut all, &format!("{path}.self_attn.o_proj"), &[4096, 12_288]);
        let mut gated = |path: String, inner: usize, experts: &[usize]| {
            for (name, n_out, n_in) in
                [("gate_proj", inner, 4096), ("up_proj", inner, 4096), ("down_proj", 4096, inner)]
            {
                quantised(&mut all, &format!("{path}.{name}"), &[experts, &[n_out, n_in]].concat());
            }
        };
        if layer == 0 {
            gated(format!("{path}.mlp"), 10_944, &[]);
            continue;
        }
        gated(format!("{path}.mlp.switch_mlp"), 1408, &[128]);
        gated(format!("{path}.mlp.shared_experts"), 1408, &[]);
        plain(&mut all, format!("{path}.mlp.gate.weight"), "BF16", &[128, 4096]);
        plain(&mut all, format!("{path}.mlp.gate.e_score_correction_bias"), "F32", &[128]);
    }
    all
}

fn write_shard(path: &Path, tensors: &[Spec]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for spec in tensors {
        let begin = end;
        end += n_bytes(spec);
        header.insert(
            spec.name.clone(),
            json!({"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [begin, end]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

#[test]
fn glm_4_5_air_in_hundreds_of_shards_opens_without_reading_its_weights() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "glm4_moe", "attention_bias": true, "eos_token_id": [151_329, 151_336, 151_338],
        "first_k_dense_replace": 1, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 10_944,
        "max_position_embeddings": 131_072, "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 128,
        "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 96, "num_experts_per_tok": 8,
        "num_hidden_layers": N_LAYERS, "num_key_value_heads": 8, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-5,
        "rope_scaling": null, "rope_theta": 1_000_000, "routed_scaling_factor": 1.0, "tie_word_embeddings": false,
        "topk_group": 1, "use_qk_norm": false, "vocab_size": 151_552,
        "quantization": {"group_size": 64, "bits": 4}
    });
    fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    let tensors = glm_4_5_air();
    let mut weight_map = serde_json::Map::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(N_SHARDS)).enumerate() {
        let name = format!("model-{i:05}.safetensors");
        write_shard(&directory.path().join(&name), part);
        weight_map.extend(part.iter().map(|spec| (spec.name.clone(), json!(name))));
    }
    let index = json!({"weight_map": weight_map}).to_string();
    fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();

    let checkpoint = open(directory.path()).unwrap();
    let info = checkpoint.model_info("none", checkpoint.config.kv_bytes_per_token(2));
    // The published files hold these tensors, their headers, and the tokenizer.
    assert!(info.weights_bytes <= PUBLISHED_BYTES, "{}", info.weights_bytes);
    assert!(PUBLISHED_BYTES - info.weights_bytes < 50_000_000, "{}", info.weights_bytes);
    assert_eq!(info.n_parameters / 1_000_000_000, 106, "{}", info.n_parameters);
    assert_eq!(info.n_active_parameters / 1_000_000_000, 12, "{}", info.n_active_parameters);
    assert_eq!(info.kv_bytes_per_token, 188_416);
    assert_eq!(checkpoint.weights.layers.len(), N_LAYERS);
}
