//! What a fake saw.

use serde_json::Value;
use std::time::Instant;

/// One request, and what became of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Counts the connections of this fake from 0.
    pub connection: usize,
    /// `GET`, `POST` …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its question mark, empty without one.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// When its last byte came.
    pub at: Instant,
    /// The whole response was sent.
    pub is_answered: bool,
    /// The client closed the connection before the response was complete.
    pub client_hung_up: bool,
}

impl Seen {
    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Whether it asks for an answer, and not for a list of models or a count of tokens.
    pub fn is_ask(&self) -> bool {
        self.method == "POST" && !self.path.ends_with(":countTokens") && !self.path.ends_with("/count_tokens")
    }
}
