//! Runs the binary in a home of its own and talks to it as any client would.

mod cloud;
mod daemon;
mod home;
mod http;
mod patience;
mod stream;

pub(crate) use cloud::Cloud;
pub(crate) use daemon::Daemon;
pub(crate) use home::{Home, stderr, stdout};
pub(crate) use http::{Connection, Reply};
pub(crate) use patience::{PATIENCE, until};
pub(crate) use stream::EventStream;

use serde_json::{Value, json};

/// The body of a chat request that always gets the same answer.
pub(crate) fn greedy(message: &str) -> Value {
    json!({ "message": message, "temperature": 0, "max_tokens": 48 })
}

/// The body of a streamed chat request whose answer is as long as the context allows: no token may end it.
pub(crate) fn endless(message: &str) -> Value {
    let config: Value = serde_json::from_str(include_str!("../../../assets/demo-model/config.json")).unwrap();
    let ids = config["eos_token_id"].as_array().unwrap();
    let bias: serde_json::Map<_, _> = ids.iter().map(|id| (id.to_string(), json!(-100))).collect();
    json!({
        "message": message, "stream": true, "temperature": 0, "repetition_penalty": 1.1, "thinking": false,
        "logit_bias": bias, "max_tokens": 3800, "deadline_ms": 600_000,
    })
}

/// The body with further fields.
pub(crate) fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut body, more) else {
        panic!("objects are wanted")
    };
    fields.extend(more);
    body
}
