//! Questions that several can answer: fake providers on loopback, the demo model, and the real binary between them.

mod asking;
mod commands;
mod guards;
mod key_leaks;
mod keys;
mod modes;
mod private;

use crate::harness::{Cloud, Daemon, Home, until};
use serde_json::{Value, json};

/// What both fakes say when they agree.
const PARIS: &str = "The capital of France is Paris.";

/// Two fakes of different kinds.
struct Clouds {
    a: Cloud,
    b: Cloud,
}

impl Clouds {
    fn start() -> Self {
        Self { a: Cloud::saying(PARIS), b: Cloud::saying(PARIS) }
    }

    fn config(&self, more: &str) -> String {
        format!("{more}\n{}{}", self.a.config("alpha", "gemini", ""), self.b.config("beta", "openai", ""))
    }
}

/// A daemon with this configuration whose providers have all been looked at.
fn daemon_with(home: &Home, config: &str) -> Daemon {
    home.write_config(config);
    let daemon = Daemon::start(home);
    wait_for_checks(&daemon);
    daemon
}

/// Waits until nobody's state is unknown any more.
fn wait_for_checks(daemon: &Daemon) {
    until("every provider to be looked at", || {
        let status = daemon.get("/api/status").expect(200).json();
        let providers = status["providers"].as_array().unwrap();
        providers.iter().all(|provider| provider["availability"] != "unknown").then_some(())
    });
}

fn provider_status(daemon: &Daemon, name: &str) -> Value {
    let status = daemon.get("/api/status").expect(200).json();
    let providers = status["providers"].as_array().unwrap();
    providers.iter().find(|provider| provider["name"] == name).unwrap_or_else(|| panic!("{status}")).clone()
}

fn asking(mode: &str) -> Value {
    json!({ "message": "What is the capital of France?", "mode": mode, "temperature": 0, "max_tokens": 24 })
}

/// State of each source by its name, of those that were to answer.
fn outcomes(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sources = answer["trace"]["sources"].as_array().unwrap();
    let asked = sources.iter().filter(|source| source["role"] == "answer");
    asked.map(|source| (text(&source["provider"]), text(&source["state"]))).collect()
}
