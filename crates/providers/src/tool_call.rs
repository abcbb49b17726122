//! The calls of tools that an answer holds.

use crate::decode::or_default;
use crate::fault::Fault;
use boca_core::ToolCall;
use serde::Deserialize;
use serde_json::{Map, Value};

/// More calls in one answer are taken for nonsense.
const MAX_CALLS: usize = 128;

/// A call as Gemini and Ollama send it: at once, with its arguments as an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CalledFunction {
    #[serde(deserialize_with = "or_default")]
    name: String,
    /// Gemini's name is `args`.
    #[serde(alias = "args", deserialize_with = "or_default")]
    arguments: Map<String, Value>,
}

impl CalledFunction {
    /// The call in the domain's form.
    pub(crate) fn into_call(self) -> Result<ToolCall, Fault> {
        whole(self.name, Value::Object(self.arguments).to_string())
    }
}

/// A call that arrived in pieces and is complete now.
pub(crate) fn from_pieces(name: String, arguments: &str) -> Result<ToolCall, Fault> {
    whole(name, arguments_json(arguments)?)
}

/// Checks that an answer with this many calls may begin another one.
pub(crate) fn check_room(n_calls: usize) -> Result<(), Fault> {
    if n_calls < MAX_CALLS {
        return Ok(());
    }
    Err(Fault::malformed(format!("called more than {MAX_CALLS} tools at once")))
}

fn whole(name: String, arguments_json: String) -> Result<ToolCall, Fault> {
    if name.is_empty() {
        return Err(Fault::malformed("called a tool without a name"));
    }
    Ok(ToolCall { name, arguments_json })
}

/// Arguments as JSON text of one object.
fn arguments_json(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() {
        return Ok("{}".into());
    }
    let arguments: Map<String, Value> = serde_json::from_str(text)
        .map_err(|_| Fault::malformed("called a tool with arguments that are no JSON object"))?;
    Ok(Value::Object(arguments).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_object() {
        assert_eq!(arguments_json(r#"{ "b": 1, "a": 2 }"#).unwrap(), r#"{"b":1,"a":2}"#);
        assert_eq!(arguments_json("").unwrap(), "{}");
        for bad in ["[1]", "\"a\"", "{", "null"] {
            assert!(arguments_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_call_at_once_has_a_name_and_arguments_of_either_name() {
        let read = |text: &str| serde_json::from_str::<CalledFunction>(text).unwrap().into_call();
        for text in [r#"{"name":"a","args":{"x":1}}"#, r#"{"name":"a","arguments":{"x":1}}"#] {
            assert_eq!(
                read(text).unwrap(),
                ToolCall { name: "a".into(), arguments_json: r#"{"x":1}"#.into() }
            );
        }
        assert_eq!(read(r#"{"name":"a","args":null}"#).unwrap().arguments_json, "{}");
        for nameless in ["{}", r#"{"name":"","args":{}}"#, r#"{"name":null}"#] {
            assert!(read(nameless).is_err(), "{nameless}");
        }
    }
}
