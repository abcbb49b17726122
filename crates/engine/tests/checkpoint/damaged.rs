//! Every kind of damage gets an error that names the file, the tensor, what was expected and what was found.

use crate::support::{Copied, Tensor, data, open};
use safetensors::tensor::Dtype;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const AGAIN: &str = "a download that was interrupted leaves such gaps: download the model again";

type Tensors = BTreeMap<String, Tensor>;

fn damaged(shape: &str, damage: impl FnOnce(&Copied)) -> String {
    let copied = Copied::of(shape);
    damage(&copied);
    copied.error()
}

fn with_tensors(shape: &str, edit: impl FnOnce(&mut Tensors)) -> String {
    damaged(shape, |copied| copied.edit_tensors(edit))
}

#[test]
fn a_wrong_path_says_what_is_there() {
    let at = |path: &Path| open(path).map(|_| ()).unwrap_err().to_string();
    assert_eq!(at(Path::new("/no/such/model")), "/no/such/model: expected a model directory, found nothing");
    let file = data().join("air-4bit/config.json");
    assert_eq!(at(&file), format!("{}: expected a model directory, found a file", file.display()));
    assert!(at(&file.join("deeper")).ends_with("expected a model directory, found nothing"));
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().display();
    assert_eq!(
        at(empty.path()),
        format!(
            "{path}/config.json: expected the model's config, found no such file: the directory is empty"
        )
    );
    fs::create_dir(empty.path().join("snapshots")).unwrap();
    assert!(
        at(empty.path()).ends_with("this is a cache folder, point at the directory inside its `snapshots`")
    );
}

#[test]
fn small_files_are_checked() {
    let config =
        |text: &str| damaged("plain-f32", |copied| fs::write(copied.file("config.json"), text).unwrap());
    assert_eq!(
        config("{\"hidden_size\": 6"),
        "DIR/config.json: expected a JSON object, found EOF while parsing an object at line 1 column 17"
    );
    assert_eq!(config("[1]"), "DIR/config.json: expected a JSON object, found [1]");
    assert_eq!(
        damaged("plain-f32", |copied| copied
            .edit_config(|c| drop(c.insert("model_type".into(), json!("deepseek_v3"))))),
        "DIR/config.json: `model_type`: expected `glm4_moe`, found `deepseek_v3`"
    );
    let huge = damaged("plain-f32", |copied| {
        fs::File::create(copied.file("config.json")).unwrap().set_len(1 << 40).unwrap();
    });
    assert_eq!(huge, "DIR/config.json: expected at most 33554432 bytes, found 1099511627776 bytes");
    let directory = damaged("plain-f32", |copied| {
        fs::remove_file(copied.file("config.json")).unwrap();
        fs::create_dir(copied.file("config.json")).unwrap();
    });
    assert_eq!(directory, "DIR/config.json: expected a file, found a directory");
}

#[test]
fn missing_files_are_named() {
    let remove =
        |shape: &str, file: &str| damaged(shape, |copied| fs::remove_file(copied.file(file)).unwrap());
    assert_eq!(
        remove("plain-f32", "model.safetensors"),
        "DIR/model.safetensors: expected the weights, found no such file"
    );
    let shard = "model-00002-of-00003.safetensors";
    let expected = format!(
        "DIR/{shard}: expected a shard of the weights, found no such file; 1 of 3 shards are missing; {AGAIN}"
    );
    assert_eq!(remove("sharded-4bit-qk-norm", shard), expected);
    let without_index = damaged("sharded-4bit-qk-norm", |copied| {
        fs::remove_file(copied.file("model.safetensors.index.json")).unwrap();
        fs::remove_file(copied.file(shard)).unwrap();
    });
    assert_eq!(without_index, expected);
}

#[test]
#[cfg(unix)]
fn a_broken_link_counts_as_missing() {
    let broken = |shape: &str, file: &str| {
        damaged(shape, |copied| {
            fs::remove_file(copied.file(file)).unwrap();
            std::os::unix::fs::symlink("../blobs/gone", copied.file(file)).unwrap();
        })
    };
    assert_eq!(
        broken("plain-f32", "config.json"),
        "DIR/config.json: expected the model's config, found no such file: it is a symbolic link to nothing, as an \
         interrupted download leaves it"
    );
    assert!(
        broken("plain-f16-sharded", "model-00001-of-00002.safetensors").contains("1 of 2 shards are missing")
    );
}

#[test]
#[cfg(unix)]
fn a_pipe_does_not_hang_it() {
    let error = damaged("plain-f32", |copied| {
        fs::remove_file(copied.file("model.safetensors")).unwrap();
        let status =
            std::process::Command::new("mkfifo").arg(copied.file("model.safetensors")).status().unwrap();
        assert!(status.success());
    });
    assert_eq!(error, "DIR/model.safetensors: expected a file, found a pipe or device");
}

#[test]
fn truncated_files_are_named_with_the_first_tensor_that_is_cut() {
    let shard = "model-00001-of-00002.safetensors";
    let size = fs::metadata(data().join("plain-f16-sharded").join(shard)).unwrap().len();
    let cut = |n| damaged("plain-f16-sharded", |copied| copied.truncate(shard, n));
    let in_data = cut(size - 1);
    assert!(in_data.starts_with(&format!("DIR/{shard}: tensor `")), "{in_data}");
    assert!(in_data.ends_with("bytes of data in the file (truncated)"), "{in_data}");
    let in_header = cut(100);
    assert!(in_header.ends_with("found 92 bytes after its length (truncated)"), "{in_header}");
    assert_eq!(cut(0), format!("DIR/{shard}: expected at least 8 bytes, found 0 bytes"));
}

#[test]
fn a_large_header_is_refused_before_it_is_read() {
    let error = damaged("plain-f32", |copied| {
        let mut file = 104_857_600_u64.to_le_bytes().to_vec();
        file.resize(1000, b' ');
        fs::write(copied.file("model.safetensors"), file).unwrap();
    });
    let expected = "expected a header of less than 100000000 bytes, found 104857600 bytes";
    assert_eq!(error, format!("DIR/model.safetensors: {expected}"));
}

#[test]
fn indexes_are_checked() {
    let index = |text: &str| {
        damaged("plain-f16-sharded", |copied| {
            fs::write(copied.file("model.safetensors.index.json"), text).unwrap();
        })
    };
    let file = "DIR/model.safetensors.index.json";
    assert_eq!(
        index("{}"),
        format!(
            "{file}: expected JSON with a `weight_map` of tensors to files, found missing field `weight_map` at line \
             1 column 2"
        )
    );
    assert_eq!(
        index(r#"{"weight_map": {"a": "../../etc/passwd"}}"#),
        format!("{file}: expected plain file names in `weight_map`, found \"../../etc/passwd\"")
    );
    assert_eq!(
        index(r#"{"weight_map": {}}"#),
        format!("{file}: expected at least one file in `weight_map`, found an empty map")
    );
    let twice = damaged("plain-f32", |copied| {
        fs::copy(copied.file("model.safetensors"), copied.file("model-copy.safetensors")).unwrap();
    });
    assert!(twice.starts_with("DIR/model.safetensors: tensor `"), "{twice}");
    assert!(
        twice.ends_with("expected one file with this tensor, found another copy in model-copy.safetensors"),
        "{twice}"
    );
}

#[test]
fn missing_tensors_are_counted_and_the_first_few_named() {
    let one = with_tensors("plain-f32", |tensors| drop(tensors.remove("model.norm.weight")));
    assert_eq!(
        one,
        format!(
            "DIR/model.safetensors: expected 27 tensors, found 1 of them missing: `model.norm.weight`; {AGAIN}"
        )
    );
    let many = with_tensors("plain-bf16", |tensors| {
        tensors.retain(|name, _| !name.contains(".experts.") || name.contains(".experts.0."));
    });
    // Seven of eight experts, three matrices each, in two layers.
    assert!(
        many.contains("found 42 of them missing: `model.layers.1.mlp.experts.1.gate_proj.weight`, "),
        "{many}"
    );
    assert!(many.contains(" and 39 more; a download that was interrupted"), "{many}");

    // An index that names a tensor which its shard lacks tells which file is to blame.
    let shard = "model-00002-of-00002.safetensors";
    let by_index = damaged("plain-f16-sharded", |copied| {
        fs::rename(copied.file(shard), copied.file("model.safetensors")).unwrap();
        copied.edit_tensors(|tensors| drop(tensors.remove("model.norm.weight")));
        fs::rename(copied.file("model.safetensors"), copied.file(shard)).unwrap();
    });
    assert!(by_index.starts_with(&format!("DIR/{shard}: expected ")), "{by_index}");
    assert!(by_index.contains("1 of them missing: `model.norm.weight`"), "{by_index}");
    let scales = with_tensors("air-4bit", |tensors| drop(tensors.remove("lm_head.scales")));
    assert!(scales.contains("1 of them missing: `lm_head.scales`"), "{scales}");
}

fn replace(name: &str, dtype: Dtype, shape: &[usize]) -> impl FnOnce(&mut Tensors) {
    let (name, shape) = (name.to_string(), shape.to_vec());
    let bytes = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
    move |tensors| {
        assert!(tensors.insert(name, Tensor { dtype, shape, bytes }).is_some(), "no such tensor to replace");
    }
}

#[test]
fn wrong_shapes_and_types_are_named_with_both_sides() {
    let gate = "model.layers.1.mlp.switch_mlp.gate_proj";
    let cases = [
        ("model.norm.weight", Dtype::BF16, &[64][..], "BF16, F16 or F32 [128]", "BF16 [64]"),
        ("model.norm.weight", Dtype::F64, &[128], "BF16, F16 or F32 [128]", "F64 [128]"),
        ("model.norm.weight", Dtype::BF16, &[1, 128], "BF16, F16 or F32 [128]", "BF16 [1, 128]"),
        ("lm_head.weight", Dtype::U32, &[255, 16], "U32 [256, 16] (4 bits in groups of 64)", "U32 [255, 16]"),
        ("lm_head.weight", Dtype::U32, &[256, 17], "U32 [256, 16] (4 bits in groups of 64)", "U32 [256, 17]"),
        ("lm_head.weight", Dtype::I32, &[256, 16], "U32 [256, 16] (4 bits in groups of 64)", "I32 [256, 16]"),
        ("lm_head.weight", Dtype::U32, &[], "U32 [256, 16] (4 bits in groups of 64)", "U32 []"),
        ("lm_head.scales", Dtype::U8, &[256, 2], "BF16, F16 or F32 [256, 2]", "U8 [256, 2]"),
        ("lm_head.biases", Dtype::BF16, &[2, 256], "BF16, F16 or F32 [256, 2]", "BF16 [2, 256]"),
        ("lm_head.biases", Dtype::F16, &[256, 2], "BF16 as the scales", "F16 [256, 2]"),
        (
            &format!("{gate}.weight"),
            Dtype::U32,
            &[7, 64, 16],
            "U32 [8, 64, 16] (4 bits in groups of 64)",
            "U32 [7, 64, 16]",
        ),
        ("model.layers.0.self_attn.q_proj.bias", Dtype::U32, &[192], "BF16, F16 or F32 [192]", "U32 [192]"),
        (
            "model.layers.1.mlp.gate.weight",
            Dtype::BF16,
            &[9, 128],
            "BF16, F16 or F32 [8, 128]",
            "BF16 [9, 128]",
        ),
    ];
    for (name, dtype, shape, expected, found) in cases {
        assert_eq!(
            with_tensors("air-4bit", replace(name, dtype, shape)),
            format!("DIR/model.safetensors: tensor `{name}`: expected {expected}, found {found}")
        );
    }
}

#[test]
fn a_config_that_does_not_fit_the_tensors_is_refused() {
    let with = |field: &str, value| {
        damaged("air-4bit", |copied| copied.edit_config(|c| drop(c.insert(field.into(), value))))
    };
    assert_eq!(
        with("vocab_size", json!(300)),
        "DIR/model.safetensors: tensor `model.embed_tokens.weight`: expected U32 [300, 16] (4 bits in groups of 64), \
         found U32 [256, 16]"
    );
    // At half the width the packed words of the embedding would pass for 8 bits in groups of 32; the norms do not.
    assert_eq!(
        with("hidden_size", json!(64)),
        "DIR/model.safetensors: tensor `model.layers.0.input_layernorm.weight`: expected BF16, F16 or F32 [64], found \
         BF16 [128]"
    );
    assert!(with("hidden_size", json!(100)).contains("do not divide into groups of 64"), "hidden_size");
    assert!(with("num_hidden_layers", json!(1024)).contains("`model.layers.3.input_layernorm.weight`"));
    assert!(with("use_qk_norm", json!(true)).contains("found 6 of them missing"));
    let bias = with("attention_bias", json!(false));
    assert_eq!(
        bias,
        "DIR/model.safetensors: expected only tensors that the config asks for, found 9 more: \
         `model.layers.0.self_attn.k_proj.bias`, `model.layers.0.self_attn.q_proj.bias`, \
         `model.layers.0.self_attn.v_proj.bias` and 6 more"
    );
    assert_eq!(
        with("quantization", json!({"bits": 4, "group_size": 64, "lm_head": {"bits": 8, "group_size": 64}})),
        "DIR/model.safetensors: tensor `lm_head.weight`: expected U32 [256, 32] (8 bits in groups of 64), found \
         U32 [256, 16]"
    );
    assert_eq!(
        with("quantization", json!({"bits": 4, "group_size": 64, "lm_head": false})),
        "DIR/model.safetensors: tensor `lm_head.weight`: expected BF16, F16 or F32 [256, 128], found U32 [256, 16]"
    );
    assert_eq!(
        with("quantization", json!({"bits": 4, "group_size": 64, "mode": "mxfp4"})),
        "DIR/config.json: `quantization.mode`: expected `affine`, found \"mxfp4\""
    );
}
