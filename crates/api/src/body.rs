//! Reads request bodies so that every fault names its field.
//!
//! serde's own errors say what is wrong but, for a wrong type, not where. The body is therefore read in two steps:
//! into a list of top-level members, and from that list into the request's type while the current member is known.

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde_json::Value;
use std::cell::RefCell;
use std::fmt;

/// A request body that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadBody {
    /// The top-level field that is to blame; `None` when the body is not a JSON object at all.
    pub param: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

/// Reads a request body.
///
/// # Errors
/// [`BadBody`] for anything but one JSON object whose fields are those of `T`: broken JSON, a repeated, unknown,
/// missing or mistyped field, text that is not Unicode.
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    let whole = |message: String| BadBody { param: None, message };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(whole("the body is empty, expected a JSON object".to_owned()));
    }
    let current = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members = reader
        .deserialize_any(MembersVisitor { current: &current })
        .and_then(|members| reader.end().map(|()| members));
    let members = members.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => whole(format!("the body must be a JSON object: {error}")),
        _ if is_fault_of_a_value(&error) => about_field(current.take(), &error),
        _ => whole(format!("the body is not valid JSON: {error}")),
    })?;
    let access = Members { rest: members.into_iter(), value: None, current: &current };
    T::deserialize(MapAccessDeserializer::new(access)).map_err(|error| about_field(current.take(), &error))
}

/// Whether a syntax error lies in what a value says and not in how the document is put together.
fn is_fault_of_a_value(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["surrogate", "hex escape", "unicode code point", "number out of range", "control character"]
        .iter()
        .any(|part| text.contains(part))
}

fn about_field(current: Option<String>, error: &serde_json::Error) -> BadBody {
    let text = error.to_string();
    if let Some(name) = quoted_after(&text, "missing field ") {
        return BadBody { message: format!("`{name}` is missing"), param: Some(name) };
    }
    let Some(field) = current else { return BadBody { param: None, message: text } };
    let message = if quoted_after(&text, "unknown field ").as_deref() == Some(field.as_str()) {
        let known = text.split_once(", ").map_or("", |(_, rest)| rest);
        format!("`{field}` is not a field of this request, {known}")
    } else if text.starts_with("duplicate field ") {
        format!("`{field}` is given twice")
    } else if let Some((got, expected)) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        format!("`{field}` must be {}, got {got}", in_words(expected))
    } else {
        format!("`{field}` is not valid: {text}")
    };
    BadBody { param: Some(field), message }
}

fn quoted_after(text: &str, prefix: &str) -> Option<String> {
    let rest = text.strip_prefix(prefix)?.strip_prefix('`')?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

/// Rust's names of number types mean nothing to the sender of a request.
fn in_words(expected: &str) -> String {
    match expected {
        "f32" | "f64" => "a number".to_owned(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => "a whole number, 0 or more".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a map" => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// Reads an object into its members, in order and with repetitions, and remembers the member it is at.
struct MembersVisitor<'a> {
    current: &'a RefCell<Option<String>>,
}

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            *self.current.borrow_mut() = Some(key.clone());
            members.push((key, map.next_value()?));
            *self.current.borrow_mut() = None;
        }
        Ok(members)
    }
}

/// Hands the members to a type, and remembers the member it is at.
struct Members<'a> {
    rest: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
    current: &'a RefCell<Option<String>>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.rest.next() else {
            *self.current.borrow_mut() = None;
            return Ok(None);
        };
        *self.current.borrow_mut() = Some(key.clone());
        self.value = Some(value);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value was read twice"))?;
        seed.deserialize(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatRequest, CreateSessionRequest, UpdateSessionRequest};

    fn fault(body: &str) -> (Option<String>, String) {
        let bad = decode_body::<ChatRequest>(body.as_bytes()).unwrap_err();
        (bad.param, bad.message)
    }

    #[test]
    fn a_good_body_is_read() {
        let body = br#" {"message":"h\u00e9","temperature":0.7,"logit_bias":{"5":-1},"stop":"x","session_id":null} "#;
        let request: ChatRequest = decode_body(body).unwrap();
        assert_eq!(request.message, "hé");
        assert_eq!(request.temperature, Some(0.7));
        assert_eq!(request.logit_bias.unwrap()[&5], -1.0);
        assert_eq!(request.session_id, None);
    }

    #[test]
    fn every_fault_of_a_field_names_it() {
        for (body, param, part) in [
            (r#"{}"#, "message", "`message` is missing"),
            (r#"{"message":null}"#, "message", "`message` must be a string, got null"),
            (r#"{"message":["a"]}"#, "message", "`message` must be a string, got sequence"),
            (r#"{"message":"\ud800"}"#, "message", "`message` is not valid: "),
            (r#"{"message":"\udc00x"}"#, "message", "surrogate"),
            (
                r#"{"message":"a","mesage":"b"}"#,
                "mesage",
                "`mesage` is not a field of this request, expected one of",
            ),
            (r#"{"message":"a","message":"b"}"#, "message", "`message` is given twice"),
            (r#"{"message":"a","temperature":"hot"}"#, "temperature", "must be a number, got string \"hot\""),
            (
                r#"{"message":"a","max_tokens":-1}"#,
                "max_tokens",
                "a whole number from 0 to 4294967295, got integer `-1`",
            ),
            (r#"{"message":"a","top_logprobs":300}"#, "top_logprobs", "from 0 to 255, got integer `300`"),
            (r#"{"message":"a","private":1}"#, "private", "must be true or false, got integer `1`"),
            (r#"{"message":"a","temperature":1e999}"#, "temperature", "number out of range"),
            (r#"{"message":"a","stop":{}}"#, "stop", "must be a string or a list of strings, got map"),
            (
                r#"{"message":"a","logit_bias":{"x":1}}"#,
                "logit_bias",
                "its keys must be token ids, got \"x\"",
            ),
            (r#"{"message":"a","logit_bias":[]}"#, "logit_bias", "must be an object, got sequence"),
        ] {
            let (got_param, message) = fault(body);
            assert_eq!(got_param.as_deref(), Some(param), "{body}: {message}");
            assert!(message.contains(part), "{body}: {message}");
        }
    }

    #[test]
    fn what_is_no_object_blames_no_field() {
        for (body, part) in [
            ("", "empty"),
            (" \n", "empty"),
            ("[1]", "must be a JSON object: invalid type: sequence"),
            ("\"text\"", "must be a JSON object"),
            (r#"{"message":"a""#, "not valid JSON: EOF"),
            (r#"{"message":"a"} x"#, "not valid JSON: trailing characters"),
            (r#"{"message" "a"}"#, "not valid JSON"),
            ("{'message':'a'}", "not valid JSON"),
        ] {
            let (param, message) = fault(body);
            assert_eq!(param, None, "{body}");
            assert!(message.contains(part), "{body}: {message}");
        }
        let deep = format!("{{\"message\":{}", "[".repeat(100_000));
        assert!(fault(&deep).1.contains("recursion limit"));
        assert!(
            decode_body::<ChatRequest>(b"{\"message\":\"\xff\"}").unwrap_err().message.contains("unicode")
        );
    }

    #[test]
    fn nested_sampling_is_read_strictly() {
        let created: CreateSessionRequest =
            decode_body(br#"{"sampling":{"temperature":0.5,"logit_bias":{"1":2}}}"#).unwrap();
        assert_eq!(created.sampling.unwrap().0.temperature, Some(0.5));
        let bad = decode_body::<UpdateSessionRequest>(br#"{"sampling":{"warmth":1}}"#).unwrap_err();
        assert_eq!(bad.param.as_deref(), Some("sampling"));
        assert!(bad.message.contains("unknown field `warmth`"), "{bad}");
    }
}
