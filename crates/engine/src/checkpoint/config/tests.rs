use super::super::quantization::{Declared, Override, QuantizationMap};
use super::*;
use proptest::prelude::*;
use serde_json::json;

/// The config of GLM-4.5-Air, with changes; null takes a field out.
fn air(changes: Value) -> Value {
    let mut config = json!({
        "model_type": "glm4_moe", "attention_bias": true, "eos_token_id": [151329, 151336, 151338],
        "first_k_dense_replace": 1, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 10944, "max_position_embeddings": 131072, "moe_intermediate_size": 1408, "n_group": 1,
        "n_routed_experts": 128, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 96,
        "num_experts_per_tok": 8, "num_hidden_layers": 46, "num_key_value_heads": 8, "num_nextn_predict_layers": 1,
        "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 1000000,
        "routed_scaling_factor": 1.0, "tie_word_embeddings": false, "topk_group": 1, "use_qk_norm": false,
        "vocab_size": 151552, "quantization": {"group_size": 64, "bits": 4, "mode": "affine"}
    });
    let object = config.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    config
}

fn read(changes: Value) -> Result<ModelConfig, String> {
    let config = air(changes);
    let fields = Fields { file: "config.json", prefix: "", object: config.as_object().unwrap() };
    ModelConfig::of(fields).map_err(|e| e.to_string())
}

fn quantization(changes: Value) -> Result<QuantizationMap, String> {
    let config = air(changes);
    let fields = Fields { file: "config.json", prefix: "", object: config.as_object().unwrap() };
    QuantizationMap::of(fields).map_err(|e| e.to_string())
}

#[test]
fn glm_4_5_air_is_read() {
    let config = read(json!({})).unwrap();
    assert_eq!((config.n_layers, config.n_heads, config.n_kv_heads, config.rotary_dim), (46, 96, 8, 64));
    assert_eq!((config.n_experts, config.n_experts_per_token, config.n_shared_experts), (128, 8, 1));
    assert_eq!(config.eos_token_ids, [151_329, 151_336, 151_338]);
    assert_eq!(config.kv_bytes_per_token(2), 188_416);
    assert!(config.is_dense(0) && !config.is_dense(1));
}

#[test]
fn absurd_and_unsupported_values_are_refused() {
    let cases = [
        (json!({"model_type": "llama"}), "`model_type`: expected `glm4_moe`, found `llama`"),
        (json!({"model_type": null}), "`model_type`: expected `glm4_moe`, found no such field"),
        (json!({"model_type": 4}), "`model_type`: expected `glm4_moe`, found 4"),
        (
            json!({"hidden_size": 1e30}),
            "`hidden_size`: expected a whole number from 1 to 1048576, found 1e+30",
        ),
        (
            json!({"hidden_size": u64::MAX}),
            "`hidden_size`: expected a whole number from 1 to 1048576, found 18446744073709551615",
        ),
        (
            json!({"num_hidden_layers": 0}),
            "`num_hidden_layers`: expected a whole number from 1 to 1024, found 0",
        ),
        (
            json!({"num_hidden_layers": -46}),
            "`num_hidden_layers`: expected a whole number from 1 to 1024, found -46",
        ),
        (
            json!({"num_hidden_layers": "46"}),
            "`num_hidden_layers`: expected a whole number from 1 to 1024, found \"46\"",
        ),
        (
            json!({"vocab_size": null}),
            "`vocab_size`: expected a whole number from 1 to 16777216, found no such field",
        ),
        (
            json!({"num_key_value_heads": 7}),
            "`num_key_value_heads`: expected a divisor of `num_attention_heads` (96), found 7",
        ),
        (
            json!({"num_key_value_heads": 97}),
            "`num_key_value_heads`: expected a whole number from 1 to 96, found 97",
        ),
        (
            json!({"num_experts_per_tok": 129}),
            "`num_experts_per_tok`: expected a whole number from 1 to 128, found 129",
        ),
        (
            json!({"n_routed_experts": 16384}),
            "`n_routed_experts`: expected at most 131072 experts in 46 layers together, found 16384",
        ),
        (
            json!({"n_group": 3}),
            "`n_group`: expected a divisor of `n_routed_experts` (128) with two experts or more a group, found 3",
        ),
        (
            json!({"n_group": 128}),
            "`n_group`: expected a divisor of `n_routed_experts` (128) with two experts or more a group, found 128",
        ),
        (
            json!({"n_group": 4, "topk_group": 5}),
            "`topk_group`: expected a whole number from 1 to 4, found 5",
        ),
        (
            json!({"rms_norm_eps": 0}),
            "`rms_norm_eps`: expected a number greater than 0 and at most 1, found 0",
        ),
        (
            json!({"rope_theta": null}),
            "`rope_theta`: expected a number greater than 0 and at most 1000000000000000, found no such field",
        ),
        (
            json!({"partial_rotary_factor": 0.001}),
            "`partial_rotary_factor`: expected a share of `head_dim` (128) that is even and not 0, found 0.001, \
             which is 0",
        ),
        (
            json!({"partial_rotary_factor": 1.5}),
            "`partial_rotary_factor`: expected a number greater than 0 and at most 1, found 1.5",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
            "`rope_scaling.type`: expected `default`, found \"yarn\"",
        ),
        (
            json!({"rope_scaling": {"factor": 4.0}}),
            "`rope_scaling.factor`: expected 1 (scaled positions are not supported), found 4.0",
        ),
        (json!({"rope_scaling": 3}), "`rope_scaling`: expected an object or null, found 3"),
        (
            json!({"rope_parameters": {"rope_type": "llama3"}}),
            "`rope_parameters.rope_type`: expected `default`, found \"llama3\"",
        ),
        (json!({"scoring_func": "softmax"}), "`scoring_func`: expected `sigmoid`, found \"softmax\""),
        (json!({"topk_method": "greedy"}), "`topk_method`: expected `noaux_tc`, found \"greedy\""),
        (json!({"hidden_act": "gelu"}), "`hidden_act`: expected `silu` or `swish`, found \"gelu\""),
        (json!({"use_qk_norm": "yes"}), "`use_qk_norm`: expected true or false, found \"yes\""),
        (
            json!({"eos_token_id": "end"}),
            "`eos_token_id`: expected a token id or a list of token ids, found \"end\"",
        ),
        (
            json!({"routed_scaling_factor": 1e9}),
            "`routed_scaling_factor`: expected a number greater than 0 and at most 10000, found 1000000000.0",
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(read(changes).unwrap_err(), format!("config.json: {expected}"));
    }
}

#[test]
fn what_may_be_left_out_has_the_familys_default() {
    let config = read(json!({
        "attention_bias": null, "use_qk_norm": null, "n_group": null, "topk_group": null, "norm_topk_prob": null,
        "routed_scaling_factor": null, "tie_word_embeddings": null, "partial_rotary_factor": null, "eos_token_id": null,
        "hidden_act": null, "n_shared_experts": null,
    }))
    .unwrap();
    assert!(!config.attention_bias && !config.use_qk_norm && config.norm_topk_prob);
    assert!(!config.tie_word_embeddings && config.eos_token_ids.is_empty());
    assert_eq!((config.n_group, config.topk_group, config.n_shared_experts), (1, 1, 0));
    assert_eq!((config.routed_scaling_factor, config.rotary_dim), (1.0, 64));
}

#[test]
fn positions_may_be_described_in_the_newer_way() {
    let nested = json!({"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.25});
    let config =
        read(json!({"rope_theta": null, "partial_rotary_factor": null, "rope_parameters": nested})).unwrap();
    assert_eq!((config.rope_theta, config.rotary_dim), (5000.0, 32));
    let default = json!({"type": "default"});
    assert!(read(json!({"rope_scaling": default})).is_ok());
}

#[test]
fn without_routed_experts_every_layer_is_dense() {
    let config = read(json!({"n_routed_experts": null, "num_experts_per_tok": null})).unwrap();
    assert_eq!((config.n_experts, config.first_k_dense_replace), (0, 46));
    assert_eq!(read(json!({"first_k_dense_replace": 99})).unwrap().first_k_dense_replace, 46);
}

#[test]
fn an_end_token_outside_the_vocabulary_is_left_out() {
    assert_eq!(read(json!({"eos_token_id": [5, 999_999, 5]})).unwrap().eos_token_ids, [5]);
    assert_eq!(read(json!({"eos_token_id": 7})).unwrap().eos_token_ids, [7]);
}

#[test]
fn quantization_has_common_values_and_overrides() {
    let map = quantization(json!({"quantization": {
        "bits": 3, "group_size": 32, "lm_head": {"bits": 8}, "model.embed_tokens": false, "a": true, "linear": "x"
    }}))
    .unwrap();
    assert_eq!(map.all.map(|q| (q.bits, q.group_size)), Some((3, 32)));
    let eight = Declared { bits: Some(8), group_size: None };
    assert_eq!(map.of_module("lm_head"), Some(Override::Quantized(eight)));
    assert_eq!(map.of_module("model.embed_tokens"), Some(Override::Dense));
    let common = Declared { bits: Some(3), group_size: Some(32) };
    assert_eq!(map.of_module("a"), Some(Override::Quantized(common)));
    assert_eq!(map.of_module("linear"), None);

    let plain = quantization(json!({"quantization": null})).unwrap();
    assert_eq!(plain.all, None);
    let second = json!({"quantization": null, "quantization_config": {"bits": 6, "group_size": 128}});
    assert_eq!(quantization(second).unwrap().all.map(|q| q.bits), Some(6));
}

#[test]
fn other_ways_of_quantising_are_refused() {
    let cases = [
        (
            json!({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}),
            "`quantization.mode`: expected `affine`, found \"mxfp4\"",
        ),
        (
            json!({"quantization": {"bits": 7, "group_size": 64}}),
            "`quantization.bits`: expected one of [2, 3, 4, 5, 6, 8], found 7",
        ),
        (
            json!({"quantization": {"bits": 4, "group_size": 0}}),
            "`quantization.group_size`: expected one of [32, 64, 128], found 0",
        ),
        (
            json!({"quantization": {"bits": 4}}),
            "`quantization.group_size`: expected a number, found no such field",
        ),
        (json!({"quantization": 4}), "`quantization`: expected an object or null, found 4"),
        (
            json!({"quantization": {"bits": 4, "group_size": 64, "lm_head": {"mode": "nvfp4"}}}),
            "`quantization.lm_head.mode`: expected `affine`, found \"nvfp4\"",
        ),
        (
            json!({"quantization": null, "quantization_config": {"quant_method": "gptq"}}),
            "`quantization_config.quant_method`: expected an MLX checkpoint with `bits` and `group_size`, found \"gptq\"",
        ),
        (json!({"quantize_activations": true}), "`quantize_activations`: expected false, found true"),
    ];
    for (changes, expected) in cases {
        assert_eq!(quantization(changes).unwrap_err(), format!("config.json: {expected}"));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!([1, "x"])),
        Just(json!({"bits": 3, "factor": 2, "rope_type": 1})),
    ]
}

proptest! {
    #[test]
    fn no_value_of_any_field_makes_it_panic(field in 0_usize..40, value in any_json()) {
        let config = air(json!({"scoring_func": null, "topk_method": null, "quantization_config": null}));
        let names: Vec<_> = config.as_object().unwrap().keys().cloned().collect();
        let changes = json!({ &names[field % names.len()]: value });
        if let Ok(config) = read(changes.clone()) {
            prop_assert!(config.kv_bytes_per_token(4) > 0);
        }
        drop(quantization(changes));
    }
}
