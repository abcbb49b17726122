//! What opens, and what comes out of it.

use crate::support::{Copied, data, open, open_shape, shapes};
use boca_engine::checkpoint::{Checkpoint, CheckpointWeights, MatrixData, MlpWeights, MoeWeights};
use boca_engine::{EmbeddedCheckpoint, EmbeddedFile, ModelSource};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn reference(shape: &str) -> Value {
    serde_json::from_slice(&fs::read(data().join(shape).join("reference.json")).unwrap()).unwrap()
}

fn moe(checkpoint: &CheckpointWeights, layer: usize) -> &MoeWeights {
    match &checkpoint.weights.layers[layer].mlp {
        MlpWeights::Moe(moe) => moe,
        MlpWeights::Dense(_) => panic!("layer {layer} is dense"),
    }
}

fn bits_and_group(data: &MatrixData) -> Option<(u8, usize)> {
    match data {
        MatrixData::Dense { .. } => None,
        MatrixData::Affine { bits, group_size, .. } => Some((*bits, *group_size)),
    }
}

#[test]
fn every_reference_opens_and_has_as_many_parameters_as_mlx_lm_counts() {
    let shapes = shapes();
    assert!(shapes.len() >= 8, "{shapes:?}");
    for shape in shapes {
        let info = open_shape(&shape).model_info("none", 0);
        assert_eq!(info.n_parameters, reference(&shape)["n_parameters"].as_u64().unwrap(), "{shape}");
        assert!(info.n_active_parameters < info.n_parameters, "{shape}");
        assert_eq!(info.name, shape);
        assert!(!info.is_demo);
    }
}

#[test]
fn active_parameters_are_those_of_the_chosen_experts() {
    let checkpoint = open_shape("air-4bit");
    let info = checkpoint.model_info("none", 0);
    // Two mixture layers with five idle experts of three 64 × 128 matrices; all but one row of the embedding.
    let idle = 2 * 5 * 3 * 64 * 128 + 255 * 128;
    assert_eq!(info.n_active_parameters, info.n_parameters - idle);
    assert_eq!(checkpoint.config.kv_bytes_per_token(4), 3 * 2 * 2 * 32 * 4);
}

#[test]
fn overrides_hold_for_the_tensors_they_name() {
    let checkpoint = open_shape("mixed-bits");
    let weights = &checkpoint.weights;
    let of = |data: &MatrixData| bits_and_group(data);
    assert_eq!(of(&weights.lm_head.as_ref().unwrap().weight.data), Some((8, 32)));
    assert_eq!(of(&weights.embed_tokens.weight.data), Some((6, 64)));
    assert_eq!(of(&moe(&checkpoint, 1).experts[3].down_proj.weight.data), Some((5, 32)));
    assert_eq!(of(&moe(&checkpoint, 2).experts[0].down_proj.weight.data), Some((3, 64)));
    assert_eq!(of(&weights.layers[0].self_attn.o_proj.weight.data), None);
    assert_eq!(of(&weights.layers[1].self_attn.o_proj.weight.data), Some((4, 64)));
    assert_eq!(of(&moe(&checkpoint, 2).shared_experts.as_ref().unwrap().down_proj.weight.data), None);
}

#[test]
fn shapes_tell_what_the_config_does_not() {
    let copied = Copied::of("mixed-bits");
    copied.edit_config(|config| {
        config.insert("quantization".into(), json!({"bits": 2, "group_size": 128}));
        config.remove("quantization_config");
    });
    let checkpoint = copied.open().unwrap();
    let head = &checkpoint.weights.lm_head.as_ref().unwrap().weight.data;
    assert_eq!(bits_and_group(head), Some((8, 32)));
    assert_eq!(bits_and_group(&moe(&checkpoint, 1).experts[0].gate_proj.weight.data), Some((4, 64)));
}

#[test]
fn an_override_of_stacked_experts_holds_for_separate_ones() {
    let copied = Copied::of("separate-2bit");
    let up_proj = "model.layers.1.mlp.switch_mlp.up_proj";
    copied.edit_config(|config| {
        config.insert("quantization".into(), json!({"bits": 2, "group_size": 32, up_proj: {"bits": 3}}));
    });
    assert_eq!(
        copied.error(),
        "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.0.up_proj.weight`: expected U32 [64, 12] (3 bits in \
         groups of 32), found U32 [64, 8]"
    );
}

#[test]
fn stacked_experts_are_views_one_behind_the_other() {
    let checkpoint = open_shape("air-4bit");
    let parts: Vec<&[u8]> = moe(&checkpoint, 1)
        .experts
        .iter()
        .map(|expert| match &expert.up_proj.weight.data {
            MatrixData::Affine { packed, .. } => &packed[..],
            MatrixData::Dense { .. } => panic!("not quantised"),
        })
        .collect();
    assert_eq!(parts.len(), 8);
    for pair in parts.windows(2) {
        assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
        assert_ne!(pair[0], pair[1]);
    }
}

#[test]
fn a_tied_model_has_no_head_unless_the_file_has_one() {
    assert!(open_shape("tied-4bit").weights.lm_head.is_none());
    let copied = Copied::of("plain-f32");
    copied.edit_config(|config| drop(config.insert("tie_word_embeddings".into(), json!(true))));
    assert!(copied.open().unwrap().weights.lm_head.is_some());
}

#[test]
fn next_token_prediction_layers_are_left_out() {
    let copied = Copied::of("plain-f32");
    let before = copied.open().unwrap();
    copied.edit_tensors(|tensors| {
        let norm = tensors.remove("model.norm.weight").unwrap();
        let eh = super::support::Tensor { bytes: norm.bytes.clone(), shape: norm.shape.clone(), ..norm };
        tensors.insert("model.layers.2.eh_proj.weight".into(), eh);
        tensors.insert("model.norm.weight".into(), norm);
    });
    let after = copied.open().unwrap();
    assert_eq!(after.weights_bytes, before.weights_bytes);
    assert_eq!(after.weights.layers.len(), 2);
}

#[test]
fn shards_open_without_their_index_and_with_a_stale_one() {
    let copied = Copied::of("plain-f16-sharded");
    let bytes = copied.open().unwrap().weights_bytes;
    fs::remove_file(copied.file("model.safetensors.index.json")).unwrap();
    assert_eq!(copied.open().unwrap().weights_bytes, bytes);

    let copied = Copied::of("plain-f32");
    let stale = r#"{"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}"#;
    fs::write(copied.file("model.safetensors.index.json"), stale).unwrap();
    assert!(copied.open().is_ok());
}

#[test]
#[cfg(unix)]
fn a_cache_of_symbolic_links_opens_under_the_models_name() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--mlx-community--GLM-4.5-Air-4bit/snapshots/0a1b2c");
    fs::create_dir_all(&snapshot).unwrap();
    for entry in fs::read_dir(data().join("air-4bit")).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), snapshot.join(entry.file_name())).unwrap();
    }
    assert_eq!(open(&snapshot).unwrap().name, "GLM-4.5-Air-4bit");
    assert_eq!(open(&data().join("air-4bit/.")).unwrap().name, "air-4bit");
    assert_eq!(open(&data().join("air-4bit/../tied-4bit")).unwrap().name, "tied-4bit");
}

fn with_text_files(shape: &str) -> Copied {
    let copied = Copied::of(shape);
    fs::write(copied.file("tokenizer.json"), r#"{"version": "1.0"}"#).unwrap();
    fs::write(copied.file("chat_template.jinja"), "{{ messages }}").unwrap();
    copied
}

fn open_whole(copied: &Copied) -> Result<Checkpoint, String> {
    let source = ModelSource::Directory(copied.path().to_path_buf());
    Checkpoint::open(&source).map_err(|e| e.to_string().replace(&copied.path().display().to_string(), "DIR"))
}

#[test]
fn the_template_is_found_wherever_it_is() {
    let copied = with_text_files("plain-f32");
    let checkpoint = open_whole(&copied).unwrap();
    assert_eq!(checkpoint.text.chat_template, "{{ messages }}");
    assert_eq!(&checkpoint.text.tokenizer_json[..], br#"{"version": "1.0"}"#);
    assert_eq!(checkpoint.text.tokenizer_config, json!({}));

    let inside = |template: Value| {
        let config = json!({"chat_template": template, "eos_token": "<|endoftext|>"});
        fs::write(copied.file("tokenizer_config.json"), config.to_string()).unwrap();
        open_whole(&copied).map(|checkpoint| checkpoint.text.chat_template)
    };
    assert_eq!(inside(json!("inner")).unwrap(), "{{ messages }}", "the file of its own comes first");
    fs::remove_file(copied.file("chat_template.jinja")).unwrap();
    assert_eq!(inside(json!("inner")).unwrap(), "inner");
    let two = json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
    assert_eq!(inside(two).unwrap(), "d");
    assert_eq!(inside(json!([{"name": "chat", "template": "only"}])).unwrap(), "only");
    assert_eq!(
        inside(json!([{"name": "a", "template": "1"}, {"name": "b", "template": "2"}])).unwrap_err(),
        "DIR/tokenizer_config.json: `chat_template`: expected a template, or a list of {name, template} with one \
         called `default`, found templates called [\"a\", \"b\"]"
    );
    assert_eq!(
        inside(Value::Null).unwrap_err(),
        "DIR/chat_template.jinja: expected a chat template, there or as `chat_template` in tokenizer_config.json, \
         found no such file"
    );
    fs::remove_file(copied.file("tokenizer.json")).unwrap();
    assert_eq!(
        inside(json!("inner")).unwrap_err(),
        "DIR/tokenizer.json: expected the tokenizer in the format of `tokenizers`, found no such file"
    );
}

#[test]
fn generation_defaults_come_from_both_files() {
    let copied = Copied::of("plain-f32");
    let generation = |value: Value| {
        fs::write(copied.file("generation_config.json"), value.to_string()).unwrap();
        copied.open().map(|c| c.generation)
    };
    let found = generation(json!({"eos_token_id": [254, 7], "temperature": 0.6, "top_p": 0.95, "top_k": -1}))
        .unwrap();
    assert_eq!(found.eos_token_ids, [253, 254, 255, 7]);
    assert_eq!(found.sampling.temperature, Some(0.6));
    assert_eq!((found.sampling.top_p, found.sampling.top_k), (Some(0.95), Some(0)));
    let greedy = generation(json!({"do_sample": false, "temperature": 0.6})).unwrap();
    assert_eq!(greedy.sampling.temperature, Some(0.0));
    generation(json!({"temperature": 9})).unwrap_err();
    assert_eq!(
        copied.error(),
        "DIR/generation_config.json: `temperature`: expected a value within its bounds, found `temperature` must be \
         between 0 and 2, got 9"
    );
}

#[test]
fn an_embedded_checkpoint_opens_like_a_directory() {
    let copied = with_text_files("sharded-4bit-qk-norm");
    let files: Vec<EmbeddedFile> = fs::read_dir(copied.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name: &'static str = Box::leak(entry.file_name().into_string().unwrap().into_boxed_str());
            EmbeddedFile { name, bytes: Box::leak(fs::read(entry.path()).unwrap().into_boxed_slice()) }
        })
        .collect();
    let embedded = EmbeddedCheckpoint { name: "small", files: Box::leak(files.into_boxed_slice()) };
    let checkpoint = Checkpoint::open(&ModelSource::Embedded(embedded)).unwrap();
    let info = checkpoint.model.model_info("cpu", 7);
    assert_eq!((info.name.as_str(), info.source.as_str(), info.is_demo), ("small", "embedded", true));
    assert_eq!(checkpoint.model.weights_bytes, copied.open().unwrap().weights_bytes);
}

#[test]
fn the_demo_model_opens() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo-model");
    let checkpoint = Checkpoint::open(&ModelSource::Directory(directory)).unwrap();
    let info = checkpoint.model.model_info("cpu", 0);
    assert!((8_000_000..16_000_000).contains(&info.n_parameters), "{}", info.n_parameters);
    assert_eq!(info.quantization.map(|q| (q.bits, q.group_size)), Some((4, 64)));
    assert!(info.n_experts >= 16 && info.n_experts_per_token == 4);
    assert_eq!(checkpoint.model.generation.eos_token_ids.len(), 3);
    assert!(checkpoint.model.verify(&mut |_, _| ()).is_good());
}
