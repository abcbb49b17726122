//! Keys of every kind of provider, used, probed with, refused and echoed, with everything logged: found nowhere.

use super::{asking, wait_for_checks};
use crate::harness::{Cloud, Daemon, Home, stderr, stdout, until, with};
use boca_fake_providers::{Behaviour, Fault};
use rustix::process::Signal;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Kinds, and the keys of their providers. None looks like a key of a well-known service, so that each is hidden
/// because it is ours and not because of its form.
const KEYS: [(&str, &str); 4] = [
    ("gemini", "Zq7-first-secret-4vTn"),
    ("openai", "Zq7-second-secret-8mWk"),
    ("ollama", "Zq7-third-secret-2xHd"),
    ("anthropic", "Zq7-fourth-secret-6bRs"),
];
/// What all of them have in common, and nothing else has: it also betrays a key that was cut.
const COMMON: &str = "Zq7-";

/// A refusal that shows the key as Google's `DebugInfo` can, as prose and as a field of its own.
fn echo(key: &str) -> Behaviour {
    let body = json!({
        "error": {
            "code": 401, "status": "UNAUTHENTICATED", "type": "authentication_error",
            "message": format!("invalid key {key}; header was `Bearer {key}`"),
            "details": [{
                "@type": "type.googleapis.com/google.rpc.DebugInfo",
                "stackEntries": [format!("x-goog-api-key: {key}")],
                "detail": format!("[ORIGINAL ERROR] generic::unauthenticated: {key}"),
            }],
        },
    });
    let (content_type, body) = ("application/json".into(), body.to_string());
    Behaviour::fault(Fault::Raw { status: 401, content_type, body })
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn no_log_file_or_reply_holds_a_key() {
    let home = Home::new();
    let clouds = KEYS.map(|(_, key)| {
        let cloud = Cloud::saying("Hello from afar.");
        cloud.fake().require_key(key);
        cloud
    });
    let key_file = home.path("anthropic.key");
    home.write(&key_file, KEYS[3].1);
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
    let config: String = KEYS
        .iter()
        .zip(&clouds)
        .map(|((kind, _), cloud)| {
            let place = match *kind {
                "anthropic" => format!("api_key_file = {key_file:?}"),
                kind => format!("api_key_env = \"KEY_OF_{kind}\""),
            };
            cloud.config(&format!("the-{kind}"), kind, &place)
        })
        .collect();
    home.write_config(&config.replace("check_every = \"1h\"", "check_every = \"1s\""));

    // Standard output goes into a file, which is looked into with all others.
    let line = format!("exec '{}' serve --log-level trace > stdout.log", env!("CARGO_BIN_EXE_boca"));
    let mut command = home.command_of("/bin/sh", &["-c", &line]);
    for (kind, key) in KEYS {
        command.env(format!("KEY_OF_{kind}"), key);
    }
    let daemon = Daemon::spawn_command(command, home.socket());
    daemon.wait_until_ready();
    wait_for_checks(&daemon);

    let mut told = Vec::new();
    let ask_everyone = |told: &mut Vec<String>, is_good: bool| {
        for (kind, _) in KEYS {
            let mode = format!("the-{kind}");
            let reply = daemon.post("/api/chat", &with(asking(&mode), json!({ "session_id": mode })));
            assert_eq!(reply.status == 200, is_good, "{kind}: {reply:?}");
            told.push(reply.body);
        }
        let all = with(asking("compare"), json!({ "stream": true }));
        told.push(daemon.post("/api/chat", &all).body);
    };
    ask_everyone(&mut told, true);
    for (n, (kind, key)) in KEYS.iter().enumerate() {
        let asked = clouds[n].fake().asks().remove(0);
        let header = match *kind {
            "gemini" => asked.header("x-goog-api-key"),
            "anthropic" => asked.header("x-api-key"),
            _ => asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")),
        };
        assert_eq!(header, Some(*key), "{kind} is sent its key, or this test shows nothing");
        assert!(!format!("{}?{}", asked.path, asked.query).contains(COMMON), "{kind}");
        clouds[n].fake().set(echo(key));
    }
    ask_everyone(&mut told, false);
    for (cloud, (_, key)) in clouds.iter().zip(KEYS) {
        cloud.fake().set_probe(Some(echo(key)));
    }
    let status = until("every probe to be refused", || {
        let reply = daemon.get("/api/status").expect(200);
        let json = reply.json();
        let providers = json["providers"].as_array().unwrap();
        providers.iter().all(|provider| provider["last_probe"]["ok"] == false).then_some(reply.body)
    });
    assert!(status.contains("<hidden>"), "the refusals are told, without the key: {status}");
    ask_everyone(&mut told, false);
    daemon.signal(Signal::HUP);
    until("the reload", || daemon.log().contains("read again").then_some(()));
    told.push(status);
    for path in ["/api/metrics", "/api/compare/stats", "/api/sessions", "/api/sessions/the-gemini", "/ready"]
    {
        told.push(daemon.get(path).body);
    }
    for args in
        [&["status"][..], &["status", "--json"], &["chat", "--mode", "the-openai", "--trace", "Hello?"]]
    {
        let output = home.run(args);
        told.push(stdout(&output) + &stderr(&output));
    }
    let log = daemon.stop().log;
    for part in ["the-gemini", "the-anthropic", "TRACE", "an attempt failed"] {
        assert!(log.contains(part), "the log lacks {part}, so that this test shows nothing");
    }
    told.push(log);
    for line in told.iter().flat_map(|text| text.lines()) {
        assert!(!line.contains(COMMON), "a key is in: {line}");
    }
    let mut n_files = 0;
    for path in files(&home.path("")).into_iter().filter(|path| *path != key_file) {
        let bytes = std::fs::read(&path).unwrap();
        let holds_one = bytes.windows(COMMON.len()).any(|part| part == COMMON.as_bytes());
        assert!(!holds_one, "a key is in {}", path.display());
        n_files += 1;
    }
    assert!(home.path("stdout.log").exists() && n_files > 3, "{n_files} files");
}
