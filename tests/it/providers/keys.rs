//! Keys: where they come from, and that they are seen nowhere.

use super::{asking, provider_status, wait_for_checks};
use crate::harness::{Cloud, Daemon, Home, stderr, stdout};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const KEY: &str = "AIzaNobodyMaySeeThis0123456789";

fn with_key(home: &Home, key: &str) -> Daemon {
    let mut command = home.command(&["serve", "--log-level", "trace"]);
    command.env("GEMINI_API_KEY", key);
    let daemon = Daemon::spawn_command(command, home.socket());
    daemon.wait_until_ready();
    wait_for_checks(&daemon);
    daemon
}

#[test]
fn a_key_in_the_environment_is_used_and_seen_nowhere() {
    let (home, cloud) = (Home::new(), Cloud::saying("Hello from afar."));
    cloud.fake().require_key(KEY);
    let base_url = cloud.fake().base_url();
    home.write_config(&format!(
        "[[provider]]\nname = \"gemini\"\nmodel = \"fake-model\"\nbase_url = \"{base_url}\"\n"
    ));
    let daemon = with_key(&home, KEY);
    let answer = daemon.chat(&asking("gemini"));
    assert_eq!(answer["response"], "Hello from afar.");
    let asked = cloud.fake().asks().remove(0);
    assert_eq!(asked.header("x-goog-api-key"), Some(KEY));
    assert!(!asked.path.contains(KEY) && !asked.query.contains(KEY), "{asked:?}");
    // An answer that shows the key back must not lead it anywhere either.
    cloud.fake().set(boca_fake_providers::Behaviour::fault(boca_fake_providers::Fault::Raw {
        status: 400,
        content_type: "application/json".into(),
        body: json!({ "error": { "code": 400, "message": format!("bad key {KEY}"), "status": "INVALID_ARGUMENT" } })
            .to_string(),
    }));
    let refused = daemon.post("/api/chat", &asking("gemini"));
    assert_ne!(refused.status, 200);
    let status = daemon.get("/api/status").body;
    let mut command = home.command(&["config", "show"]);
    let shown = stdout(&command.env("GEMINI_API_KEY", KEY).output().unwrap());
    assert!(shown.contains("[[provider]]\nname = \"gemini\""), "{shown}");
    let log = daemon.stop().log;
    for (place, text) in [("answer", &refused.body), ("status", &status), ("config", &shown), ("log", &log)] {
        assert!(!text.contains(KEY), "the key is in the {place}: {text}");
    }

    let daemon = with_key(&home, "AIzaTheWrongOne987654321");
    let status = provider_status(&daemon, "gemini");
    assert_eq!(status["availability"], "unavailable", "{status}");
    assert!(!status.to_string().contains("AIzaTheWrongOne"), "{status}");
}

#[test]
fn a_key_in_the_environment_alone_makes_gemini_known() {
    let home = Home::new();
    let mut command = home.command(&["config", "show"]);
    let shown = stdout(&command.env("GEMINI_API_KEY", KEY).output().unwrap());
    for line in [
        "name = \"gemini\"  # environment variable GEMINI_API_KEY",
        "model = \"gemini-3.8-flash\"  # environment variable GEMINI_API_KEY",
        "api_key_env = \"GEMINI_API_KEY\"  # environment variable GEMINI_API_KEY",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains(KEY), "{shown}");
}

#[test]
fn a_key_file_that_everybody_can_read_is_refused() {
    let home = Home::new();
    let file = home.path("key");
    home.write(&file, KEY);
    home.write_config(&format!(
        "[[provider]]\nname = \"gemini\"\nbase_url = \"http://127.0.0.1:1\"\napi_key_file = {file:?}\n"
    ));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o604)).unwrap();
    for args in [&["serve"][..], &["config", "check"]] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let message = stderr(&output);
        assert!(
            message.contains("`provider.gemini.api_key_file` must not be open to everybody"),
            "{message}"
        );
        assert!(!message.contains(KEY), "{message}");
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(home.run(&["config", "check"]).status.code(), Some(0));
}
