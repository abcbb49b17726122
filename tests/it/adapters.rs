//! A LoRA adapter, by `--adapter` and by `[engine] adapter`.

use crate::harness::{Daemon, Home, greedy, stderr, stdout, until};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Of the demo model.
const HIDDEN_SIZE: usize = 256;
const RANK: usize = 2;

/// An adapter for the demo model that changes what it says.
fn adapter(home: &Home, name: &str) -> PathBuf {
    let directory = home.path(name);
    std::fs::create_dir_all(&directory).unwrap();
    let parameters = json!({ "rank": RANK, "scale": 20.0, "dropout": 0.0, "keys": ["self_attn.o_proj"] });
    let config = json!({ "fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters });
    std::fs::write(directory.join("adapter_config.json"), config.to_string()).unwrap();
    let (mut header, mut numbers) = (serde_json::Map::new(), Vec::new());
    for layer in [2, 3] {
        for (half, shape) in [("lora_a", [HIDDEN_SIZE, RANK]), ("lora_b", [RANK, HIDDEN_SIZE])] {
            let begin = numbers.len();
            let values = (0..HIDDEN_SIZE * RANK).map(|i| ((i * 37 + layer) % 19) as f32 / 19.0 - 0.5);
            numbers.extend(values.flat_map(f32::to_le_bytes));
            let name = format!("model.layers.{layer}.self_attn.o_proj.{half}");
            let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, numbers.len()] });
            header.insert(name, entry);
        }
    }
    let header = Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &numbers].concat();
    std::fs::write(directory.join("adapters.safetensors"), file).unwrap();
    directory
}

fn answer(daemon: &Daemon) -> String {
    daemon.chat(&greedy("What can you do?"))["response"].as_str().unwrap().to_owned()
}

#[test]
fn the_daemon_answers_with_the_adapter_that_it_was_given() {
    let home = Home::new();
    let path = adapter(&home, "tunes/poet");
    let path = path.to_str().unwrap();
    let plain = Daemon::start(&home);
    let without = answer(&plain);
    let info = &plain.get("/api/status").expect(200).json()["model"]["info"];
    assert_eq!((&info["name"], info.get("adapter")), (&json!("boca-demo"), None), "{info}");
    plain.stop();

    let daemon = Daemon::start_with(&home, &["--adapter", path]);
    let reply = daemon.chat(&greedy("What can you do?"));
    assert_ne!(reply["response"], without, "the adapter is ignored");
    assert_eq!(reply["model_used"], "boca-demo+poet", "{reply}");
    let info = &daemon.get("/api/status").expect(200).json()["model"]["info"];
    let named = json!({ "name": "poet", "source": path, "kind": "lora", "rank": RANK });
    assert_eq!(info["adapter"], named, "{info}");
    let told = stdout(&home.run(&["status"]));
    assert!(told.contains(&format!("adapter {path} (lora, rank 2)")), "{told}");
    // Another adapter is another model, which a running daemon does not become.
    home.write_config("[engine]\nadapter = \"elsewhere\"\n");
    daemon.signal(rustix::process::Signal::HUP);
    until("the configuration to be read again", || {
        daemon.log().contains("the configuration was read again").then_some(())
    });
    assert_eq!(daemon.get("/api/status").expect(200).json()["model"]["info"]["adapter"], named);
    daemon.stop();

    home.write_config(&format!("[engine]\nadapter = \"{path}\"\n"));
    let configured = Daemon::start(&home);
    assert_eq!(answer(&configured), reply["response"].as_str().unwrap());
    configured.stop();
}

#[test]
fn an_adapter_that_does_not_fit_is_said_and_the_daemon_stays() {
    let home = Home::new();
    let directory = adapter(&home, "tunes/wide");
    let config = directory.join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap().replace("\"rank\":2", "\"rank\":3");
    std::fs::write(&config, text).unwrap();
    let path = directory.to_str().unwrap();
    let expected = format!(
        "{path}/adapters.safetensors: tensor `model.layers.2.self_attn.o_proj.lora_a`: expected BF16, F16 or F32 \
         [256, 3] (`rank` is 3), found F32 [256, 2]"
    );
    let daemon = Daemon::start_listening(&home, &["--adapter", path]);
    let message = until("the adapter to be refused", || {
        let model = daemon.get("/api/status").expect(200).json()["model"].clone();
        (model["state"] == "down").then(|| model["error"]["message"].as_str().unwrap().to_owned())
    });
    assert_eq!(message, expected);
    daemon.get("/health").expect(200);
    daemon.get("/ready").expect(503);
    daemon.post("/api/chat", &greedy("Hello?")).expect(503);

    let verified = home.run(&["model", "verify", "--adapter", path]);
    assert_eq!(verified.status.code(), Some(1), "{}", stdout(&verified));
    assert!(stderr(&verified).contains(&expected), "{}", stderr(&verified));
    for command in ["info", "plan"] {
        let refused = home.run(&["model", command, "--adapter", path]);
        assert!(stderr(&refused).contains(&expected), "{command}: {}", stderr(&refused));
    }
}

#[test]
fn an_adapter_is_looked_at_without_a_daemon() {
    let home = Home::new();
    let path = adapter(&home, "tunes/poet");
    let path = path.to_str().unwrap();
    let verified = home.run(&["model", "verify", "--adapter", path]);
    assert_eq!(verified.status.code(), Some(0), "{}", stderr(&verified));
    let told = stdout(&verified);
    assert!(told.contains("adapters.safetensors") && told.contains("4 tensors"), "{told}");
    let told = stdout(&home.run(&["model", "info", "--adapter", path]));
    assert!(told.contains(&format!("adapter         {path} (lora, rank 2)")), "{told}");
    let bytes = |args: &[&str]| {
        let told: Value = serde_json::from_slice(&home.run(args).stdout).unwrap();
        told["model"]["weights_bytes"].as_u64().unwrap()
    };
    let with = bytes(&["model", "plan", "--json", "--adapter", path]);
    let without = bytes(&["model", "plan", "--json"]);
    assert_eq!(with - without, (4 * HIDDEN_SIZE * RANK * size_of::<f32>()) as u64);
}
