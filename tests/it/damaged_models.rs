//! Checkpoints that are incomplete, damaged or absurd: each is refused with the file and what is wrong with it.

use crate::harness::{Daemon, Home, stderr, stdout, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A copy of the demo model as a directory.
fn checkpoint(home: &Home) -> PathBuf {
    let dir = home.path("models/copy");
    std::fs::create_dir_all(&dir).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    dir
}

/// Changes a JSON file of the checkpoint.
fn edit(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(name);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
}

/// Changes the header of `model.safetensors` and leaves the tensors as they are.
fn edit_header(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = header.to_string().into_bytes();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(&header);
    changed.extend(tensors);
    std::fs::write(&path, changed).unwrap();
}

/// The name of a tensor that every checkpoint has.
const NORM: &str = "model.norm.weight";

type Damage = fn(&Path);

/// What is done to the checkpoint, and what the error has to name.
const DAMAGES: [(Damage, &[&str]); 19] = [
    (|dir| std::fs::remove_dir_all(dir).unwrap(), &["models/copy"]),
    (|dir| std::fs::remove_file(dir.join("config.json")).unwrap(), &["config.json"]),
    (|dir| std::fs::write(dir.join("config.json"), "{").unwrap(), &["config.json"]),
    (
        |dir| edit(dir, "config.json", |c| c["model_type"] = json!("llama")),
        &["config.json", "llama", "glm4_moe"],
    ),
    (
        |dir| edit(dir, "config.json", |c| c["hidden_size"] = json!(1_000_000_000_000_u64)),
        &["config.json", "hidden_size", "1000000000000"],
    ),
    (
        |dir| edit(dir, "config.json", |c| c["num_hidden_layers"] = json!(-4)),
        &["config.json", "num_hidden_layers", "-4"],
    ),
    (|dir| edit(dir, "config.json", |c| c["vocab_size"] = json!("many")), &["config.json", "vocab_size"]),
    (
        |dir| edit(dir, "config.json", |c| c["num_experts_per_tok"] = json!(99)),
        &["config.json", "num_experts_per_tok"],
    ),
    (|dir| edit(dir, "config.json", |c| c["quantization"]["bits"] = json!(7)), &["config.json", "bits", "7"]),
    (|dir| std::fs::remove_file(dir.join("model.safetensors")).unwrap(), &["safetensors"]),
    (|dir| truncate(&dir.join("model.safetensors"), 2), &["model.safetensors"]),
    (|dir| truncate(&dir.join("model.safetensors"), 1_000_000), &["model.safetensors"]),
    (
        |dir| {
            std::fs::write(
                dir.join("model.safetensors"),
                [&(100_u64 << 20).to_le_bytes()[..], &[b' '; 64]].concat(),
            )
            .unwrap()
        },
        &["model.safetensors"],
    ),
    (|dir| edit_header(dir, |h| h[NORM]["shape"] = json!([7])), &["model.safetensors", NORM]),
    (
        |dir| edit_header(dir, |h| h[NORM]["data_offsets"] = json!([0, u64::MAX])),
        &["model.safetensors", NORM],
    ),
    (
        |dir| {
            edit_header(dir, |header| {
                let tensors = header.as_object_mut().unwrap();
                let norm = tensors.shift_remove(NORM).unwrap();
                tensors.insert("model.norm.wait".to_owned(), norm);
            });
        },
        &[NORM],
    ),
    (
        |dir| {
            let index = json!({ "weight_map": { NORM: "model-00002-of-00002.safetensors" } });
            std::fs::rename(dir.join("model.safetensors"), dir.join("model-00001-of-00002.safetensors"))
                .unwrap();
            std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        },
        &["model-00002-of-00002.safetensors"],
    ),
    (|dir| std::fs::remove_file(dir.join("tokenizer.json")).unwrap(), &["tokenizer.json"]),
    (|dir| std::fs::remove_file(dir.join("chat_template.jinja")).unwrap(), &["chat_template"]),
];

fn truncate(file: &Path, bytes: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(bytes).unwrap();
}

#[test]
fn every_damage_is_named() {
    for (n, (damage, named)) in DAMAGES.iter().enumerate() {
        let home = Home::new();
        let dir = checkpoint(&home);
        damage(&dir);
        let output = home.run(&["model", "info", dir.to_str().unwrap()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "damage {n}: {said}");
        assert!(said.starts_with("error: ") && stdout(&output).is_empty(), "damage {n}: {said}");
        for part in *named {
            assert!(said.contains(part), "damage {n} does not name {part}: {said}");
        }
    }
}

#[test]
fn an_undamaged_copy_is_good() {
    let home = Home::new();
    let dir = checkpoint(&home);
    let info = home.run(&["model", "info", "--json", dir.to_str().unwrap()]);
    let info: Value = serde_json::from_str(&stdout(&info)).unwrap();
    assert_eq!((&info["model"]["name"], &info["model"]["is_demo"]), (&json!("copy"), &json!(false)));
    assert_eq!(home.run(&["model", "verify", dir.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn overlapping_tensors_are_refused() {
    let home = Home::new();
    let dir = checkpoint(&home);
    edit_header(&dir, |header| {
        let norm = header[NORM]["data_offsets"].clone();
        let tensors = header.as_object_mut().unwrap();
        let twin = tensors.iter().find(|(name, tensor)| {
            name.as_str() != NORM && tensor["shape"] == json!([256]) && tensor["dtype"].is_string()
        });
        let twin = twin.unwrap().0.clone();
        tensors[&twin]["data_offsets"] = norm;
    });
    let output = home.run(&["model", "info", dir.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("overlap"), "{}", stderr(&output));
}

#[test]
fn verify_finds_what_the_headers_do_not_show() {
    let home = Home::new();
    let dir = checkpoint(&home);
    let path = dir.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header_bytes = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let at = 8 + header_bytes + header[NORM]["data_offsets"][0].as_u64().unwrap() as usize;
    // 0x7FC0 is not a number in bfloat16 and in half precision, and so is the pair of it in single.
    bytes[at..at + 4].copy_from_slice(&[0xC0, 0x7F, 0xC0, 0x7F]);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(home.run(&["model", "info", dir.to_str().unwrap()]).status.code(), Some(0));
    let verified = home.run(&["model", "verify", dir.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(stdout(&verified).contains(NORM), "{}", stdout(&verified));
    let json = home.run(&["model", "verify", "--json", dir.to_str().unwrap()]);
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!((&json["ok"], &json["problems"][0]["tensor"]), (&json!(false), &json!(NORM)));
}

#[test]
fn the_daemon_stays_up_over_a_damaged_model() {
    let home = Home::new();
    let dir = checkpoint(&home);
    truncate(&dir.join("model.safetensors"), 1_000_000);
    let daemon = Daemon::start_listening(&home, &["--model", dir.to_str().unwrap()]);
    let said = until("the model to be given up", || {
        let ready = daemon.get("/ready").json();
        (ready["error"]["code"] == "model_unavailable").then(|| ready["error"]["message"].clone())
    });
    assert!(said.as_str().unwrap().contains("model.safetensors"), "{said}");
    daemon.get("/health").expect(200);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn a_directory_of_ones_own_answers_like_the_embedded_model() {
    let home = Home::new();
    let dir = checkpoint(&home);
    let ask = |daemon: &Daemon| daemon.chat(&crate::harness::greedy("What is boca?"));
    let embedded = ask(&Daemon::start(&home));
    let daemon = Daemon::start_with(&home, &["--model", dir.to_str().unwrap()]);
    let own = ask(&daemon);
    assert_eq!(own["response"], embedded["response"]);
    assert_eq!((&own["model_used"], &own["model_is_demo"]), (&json!("copy"), &json!(false)));
}
