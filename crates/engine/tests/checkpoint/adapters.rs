//! What is wrong with an adapter is said with the file, the tensor or field, what was expected and what was found.
//! What an adapter computes is held against mlx-lm in `tests/parity`.

use crate::support::{Copied, Tensor, data};
use boca_engine::ModelSource;
use boca_engine::checkpoint::{CheckpointError, CheckpointWeights};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TENSORS: &str = "adapters.safetensors";
const CONFIG: &str = "adapter_config.json";

type Tensors = BTreeMap<String, Tensor>;

fn open(base: &str, adapter: &Path) -> Result<CheckpointWeights, CheckpointError> {
    CheckpointWeights::open_adapted(&ModelSource::Directory(data().join(base)), Some(adapter))
}

/// The error of opening a damaged adapter, with its directory's path taken out.
fn damaged(adapter: &str, base: &str, damage: impl FnOnce(&Copied)) -> String {
    let copied = Copied::of_adapter(adapter);
    open(base, copied.path()).unwrap();
    damage(&copied);
    let error = open(base, copied.path()).map(|_| ()).expect_err("a damaged adapter was opened").to_string();
    error.replace(&copied.path().display().to_string(), "DIR")
}

/// Of `default-keys` (rank 4, the last two of three layers) with other tensors.
fn with_tensors(edit: impl FnOnce(&mut Tensors)) -> String {
    damaged("default-keys", "air-4bit", |copied| copied.edit_tensors_of(TENSORS, edit))
}

fn with_config(edit: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    damaged("default-keys", "air-4bit", |copied| copied.edit_json(CONFIG, edit))
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor { dtype: Dtype::F32, shape: shape.to_vec(), bytes: vec![0; 4 * shape.iter().product::<usize>()] }
}

fn rename(tensors: &mut Tensors, from: &str, to: &str) {
    let tensor = tensors.remove(from).unwrap();
    tensors.insert(to.into(), tensor);
}

#[test]
fn a_wrong_path_says_what_is_there() {
    let at = |path: &Path| open("air-4bit", path).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        at(Path::new("/no/such/adapter")),
        "/no/such/adapter: expected an adapter directory, found nothing"
    );
    let file = data().join("air-4bit/config.json");
    assert_eq!(at(&file), format!("{}: expected an adapter directory, found a file", file.display()));
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().display();
    assert_eq!(
        at(empty.path()),
        format!("{path}/{CONFIG}: expected the adapter's config, found no such file: the directory is empty")
    );
    fs::write(empty.path().join(CONFIG), r#"{"fine_tune_type": "full"}"#).unwrap();
    assert_eq!(
        at(empty.path()),
        format!("{path}/{TENSORS}: expected the adapter's tensors, found no such file")
    );
}

#[test]
fn files_are_checked() {
    let config = |text: &str| {
        damaged("default-keys", "air-4bit", |copied| fs::write(copied.file(CONFIG), text).unwrap())
    };
    assert_eq!(
        config("{\"num_layers\": 6"),
        format!(
            "DIR/{CONFIG}: expected a JSON object, found EOF while parsing an object at line 1 column 16"
        )
    );
    // Python writes numbers that JSON does not have.
    assert_eq!(
        config("{\"num_layers\": 1, \"lora_parameters\": {\"rank\": 4, \"scale\": NaN}}"),
        format!("DIR/{CONFIG}: expected a JSON object, found expected value at line 1 column 59")
    );
    let truncated = damaged("default-keys", "air-4bit", |copied| copied.truncate(TENSORS, 100_000));
    assert!(
        truncated.starts_with(&format!("DIR/{TENSORS}: tensor `model.layers."))
            && truncated.ends_with("bytes of data in the file (truncated)"),
        "{truncated}"
    );
    let shorter = damaged("default-keys", "air-4bit", |copied| copied.truncate(TENSORS, 7));
    assert_eq!(shorter, format!("DIR/{TENSORS}: expected at least 8 bytes, found 7 bytes"));
    assert_eq!(
        with_tensors(BTreeMap::clear),
        format!("DIR/{TENSORS}: expected at least one tensor, found none")
    );
}

#[test]
fn the_config_is_held_against_the_model() {
    assert_eq!(
        with_config(|config| drop(config.insert("num_layers".into(), json!(4)))),
        format!(
            "DIR/{CONFIG}: `num_layers`: expected a whole number from -1 (all layers) to 3 (the model's layers), found 4"
        )
    );
    assert_eq!(
        with_config(|config| config["lora_parameters"]["rank"] = json!(0)),
        format!("DIR/{CONFIG}: `lora_parameters.rank`: expected a whole number from 1 to 4096, found 0")
    );
    assert_eq!(
        with_config(|config| config["lora_parameters"]["scale"] = json!(1e39)),
        format!("DIR/{CONFIG}: `lora_parameters.scale`: expected a number from -10000 to 10000, found 1e+39")
    );
    assert_eq!(
        with_config(|config| config["lora_parameters"]["keys"] = json!(["self_attn"])),
        format!(
            "DIR/{CONFIG}: `lora_parameters.keys`: expected a list of paths of linear layers or embeddings, found \
             `self_attn`, which is neither"
        )
    );
    assert!(
        with_config(|config| config["fine_tune_type"] = json!("dora"))
            .contains("`dora` is not supported; train with")
    );
    assert_eq!(
        with_config(|config| config["fine_tune_type"] = json!("prefix")),
        format!("DIR/{CONFIG}: `fine_tune_type`: expected `lora` or `full`, found \"prefix\"")
    );
    // The config of another adapter.
    assert_eq!(
        with_config(|config| config["lora_parameters"]["rank"] = json!(8)),
        format!(
            "DIR/{TENSORS}: tensor `model.layers.1.mlp.shared_experts.down_proj.lora_a`: expected BF16, F16 or F32 \
             [64, 8] (`rank` is 8), found F32 [64, 4]"
        )
    );
}

#[test]
fn a_tensor_that_the_config_does_not_ask_for_is_an_error() {
    let asked =
        "expected a module that `num_layers` (from layer 1 on) and `keys` of adapter_config.json ask for";
    let q = "self_attn.q_proj.lora_a";
    for (to, what) in [
        (format!("model.layers.0.{q}"), format!("{asked}, found another one")),
        ("lm_head.lora_a".into(), format!("{asked}, found another one")),
        ("model.layers.x.y.lora_a".into(), format!("{asked}, found another one")),
        (
            "model.layers.1.self_attn.q_proj.m".into(),
            "expected a name that ends with `.lora_a` or `.lora_b`, found another one".into(),
        ),
    ] {
        assert_eq!(
            with_tensors(|tensors| rename(tensors, &format!("model.layers.1.{q}"), &to)),
            format!("DIR/{TENSORS}: tensor `{to}`: {what}")
        );
    }
    assert_eq!(
        with_config(|config| config["lora_parameters"]["keys"] = json!(["self_attn.k_proj"])),
        format!(
            "DIR/{TENSORS}: tensor `model.layers.1.mlp.shared_experts.down_proj.lora_a`: {asked}, found another one"
        )
    );
    // Modules that this model has not: a layer too many, another architecture's, the head of a tied model.
    for path in ["model.layers.7.self_attn.q_proj", "model.layers.2.mlp.gate", "model.layers.2.mlp.up_proj"] {
        assert_eq!(
            with_tensors(|tensors| {
                tensors.insert(format!("{path}.lora_a"), zeros(&[128, 4]));
                tensors.insert(format!("{path}.lora_b"), zeros(&[4, 128]));
            }),
            format!(
                "DIR/{TENSORS}: tensor `{path}.lora_a`: expected a linear layer or an embedding of the model, found \
                 nothing of the kind at `{path}`"
            )
        );
    }
    let tied = damaged("tied", "tied-4bit", |copied| {
        copied.edit_json(CONFIG, |config| config["lora_parameters"]["keys"] = json!(["lm_head"]));
        copied.edit_tensors_of(TENSORS, |tensors| {
            tensors.clear();
            tensors.insert("lm_head.lora_a".into(), zeros(&[128, 8]));
            tensors.insert("lm_head.lora_b".into(), zeros(&[8, 256]));
        });
    });
    assert!(tied.contains("nothing of the kind at `lm_head`"), "{tied}");
}

#[test]
fn a_product_has_two_halves() {
    let q = "model.layers.1.self_attn.q_proj";
    for (gone, left) in [("lora_a", "lora_b"), ("lora_b", "lora_a")] {
        assert_eq!(
            with_tensors(|tensors| drop(tensors.remove(&format!("{q}.{gone}")))),
            format!(
                "DIR/{TENSORS}: tensor `{q}.{left}`: expected `{q}.{gone}` beside it, found no such tensor"
            )
        );
    }
}

#[test]
fn shapes_and_types_are_those_of_the_layer() {
    for (name, expected, shape) in [
        ("model.layers.2.self_attn.q_proj.lora_a", "[128, 4]", vec![4, 128]),
        ("model.layers.2.self_attn.q_proj.lora_b", "[4, 192]", vec![4, 191]),
        ("model.layers.2.mlp.switch_mlp.up_proj.lora_a", "[8, 4, 128]", vec![8, 128, 4]),
        ("model.layers.2.mlp.switch_mlp.down_proj.lora_b", "[8, 128, 4]", vec![7, 128, 4]),
        ("model.layers.2.mlp.shared_experts.gate_proj.lora_a", "[128, 4]", vec![512]),
    ] {
        let found = format!("{shape:?}");
        assert_eq!(
            with_tensors(|tensors| drop(tensors.insert(name.into(), zeros(&shape)))),
            format!(
                "DIR/{TENSORS}: tensor `{name}`: expected BF16, F16 or F32 {expected} (`rank` is 4), found F32 {found}"
            )
        );
    }
    let name = "model.layers.2.self_attn.v_proj.lora_a";
    assert_eq!(
        with_tensors(|tensors| tensors.get_mut(name).unwrap().dtype = Dtype::I32),
        format!(
            "DIR/{TENSORS}: tensor `{name}`: expected BF16, F16 or F32 [128, 4] (`rank` is 4), found I32 [128, 4]"
        )
    );
    // An adapter of another model.
    let copied = Copied::of_adapter("default-keys");
    assert!(open("plain-bf16", copied.path()).is_err());
}

#[test]
fn a_full_fine_tuning_replaces_only_what_is_there() {
    let full = |edit: fn(&mut Tensors)| {
        damaged("full", "plain-bf16", |copied| copied.edit_tensors_of(TENSORS, edit))
    };
    let norm = "model.layers.2.input_layernorm.weight";
    for (name, insert) in [
        ("model.layers.3.input_layernorm.weight", "model.layers.3.input_layernorm.weight"),
        ("model.layers.2.mlp.switch_mlp.up_proj.bias", "model.layers.2.mlp.switch_mlp.up_proj.bias"),
    ] {
        let told = damaged("full", "plain-bf16", |copied| {
            copied.edit_tensors_of(TENSORS, |tensors| drop(tensors.insert(insert.into(), zeros(&[64]))));
        });
        assert_eq!(
            told,
            format!(
                "DIR/{TENSORS}: tensor `{name}`: expected the name of a tensor of the model, found another one"
            )
        );
    }
    assert_eq!(
        full(|tensors| {
            let norm = tensors.get_mut("model.layers.2.input_layernorm.weight").unwrap();
            norm.dtype = Dtype::F16;
        }),
        format!("DIR/{TENSORS}: tensor `{norm}`: expected BF16 [64], as the model has it, found F16 [64]")
    );
    let experts = "model.layers.2.mlp.switch_mlp.up_proj.weight";
    assert_eq!(
        full(|tensors| {
            let experts = tensors.get_mut("model.layers.2.mlp.switch_mlp.up_proj.weight").unwrap();
            experts.shape = vec![8, 64, 40];
        }),
        format!(
            "DIR/{TENSORS}: tensor `{experts}`: expected BF16 [8, 40, 64], as the model has it, found BF16 [8, 64, 40]"
        )
    );
}

#[test]
fn verifying_reads_the_adapter_too() {
    let copied = Copied::of_adapter("default-keys");
    let report = |copied: &Copied| open("air-4bit", copied.path()).unwrap().verify(&mut |_, _| {});
    let good = report(&copied);
    assert!(good.is_good(), "{:?}", good.problems);
    let file = good.files.last().unwrap();
    assert!(file.file.ends_with(TENSORS) && file.n_tensors == 40, "{file:?}");
    let (a, b) = ("model.layers.2.self_attn.q_proj.lora_a", "model.layers.2.self_attn.q_proj.lora_b");
    copied.edit_tensors_of(TENSORS, |tensors| {
        // Training begins with this half at zero, so that is no damage.
        tensors.get_mut(b).unwrap().bytes.fill(0);
        tensors.get_mut(a).unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let problems = report(&copied).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].tensor, a);
    assert_eq!(problems[0].problem, "expected finite numbers, found 1 others, the first NaN at 0");
}

#[test]
fn adapters_that_differ_are_told_apart() {
    let copied = Copied::of_adapter("default-keys");
    let fingerprint = || open("air-4bit", copied.path()).unwrap().fingerprint();
    let before = fingerprint();
    assert_eq!(before, fingerprint());
    copied.edit_json(CONFIG, |config| config["lora_parameters"]["scale"] = json!(21.0));
    let after = fingerprint();
    assert_ne!(before, after, "another scale");
    copied.edit_tensors_of(TENSORS, |tensors| {
        tensors.get_mut("model.layers.2.self_attn.q_proj.lora_a").unwrap().bytes[0] ^= 1;
    });
    assert_ne!(after, fingerprint(), "another number");
}
