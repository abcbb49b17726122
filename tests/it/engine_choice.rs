//! `[engine]`: which backend computes, and on what.

use crate::harness::{Daemon, Home, greedy, until};
use serde_json::Value;

/// Whether this build has MLX.
const HAS_MLX: bool = cfg!(any(target_os = "macos", feature = "mlx"));

fn daemon_with(config: &str) -> (Home, Daemon) {
    let home = Home::new();
    home.write_config(config);
    let daemon = Daemon::start_listening(&home, &[]);
    (home, daemon)
}

/// Why there is no model.
fn refusal(config: &str) -> String {
    let (_home, daemon) = daemon_with(config);
    let status = until("the model to be refused", || {
        let status = daemon.get("/api/status").expect(200).json();
        (status["model"]["state"] == "down").then_some(status)
    });
    daemon.get("/ready").expect(503);
    status["model"]["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_backend_that_is_not_there_is_said() {
    let told = refusal("[engine]\nbackend = \"cpu\"\ndevice = \"gpu\"\n");
    assert!(told.contains("`engine.device` is \"gpu\""), "{told}");
    if !HAS_MLX {
        let told = refusal("[engine]\nbackend = \"mlx\"\n");
        assert!(told.contains("`engine.backend` is \"mlx\", which this build has not"), "{told}");
    }
}

#[test]
fn mlx_answers_where_it_is_there() {
    if !HAS_MLX {
        return;
    }
    let (_home, daemon) = daemon_with("[engine]\nbackend = \"mlx\"\ndevice = \"cpu\"\n");
    daemon.wait_until_ready();
    let backend = daemon.get("/api/status").expect(200).json()["model"]["info"]["backend"].clone();
    assert_eq!(backend, "mlx (cpu)");
    let question = greedy("What can you do?");
    let first = daemon.chat(&question);
    let again = daemon.chat(&question);
    assert!(!first["response"].as_str().unwrap().is_empty(), "{first}");
    assert_eq!(first["response"], again["response"], "the same question, greedily");
    assert!(again["usage"]["cached_tokens"].as_u64() > Some(0), "{again}");
    let memory: Value = daemon.get("/api/metrics").expect(200).json()["engine_memory"].clone();
    let bytes = |name: &str| memory[name].as_u64().unwrap_or_else(|| panic!("{name}: {memory}"));
    assert!(bytes("active_bytes") > bytes("kv_bytes") && bytes("kv_bytes") > 0, "{memory}");
    assert!(bytes("peak_bytes") >= bytes("active_bytes"), "{memory}");
}
