//! Tool calls that arrive in pieces.

use super::response::ToolCallDelta;
use crate::fault::Fault;
use crate::tool_call;
use boca_core::ToolCall;
use serde_json::Value;

/// The calls of one answer, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    index: Option<u32>,
    id: Option<String>,
    name: String,
    arguments: String,
}

impl ToolCalls {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes one piece.
    pub(super) fn add(&mut self, delta: ToolCallDelta) -> Result<(), Fault> {
        let at = match self.place_of(&delta) {
            Some(at) => at,
            None => {
                tool_call::check_room(self.parts.len())?;
                let id = delta.id.filter(|id| !id.is_empty());
                self.parts.push(Part {
                    index: delta.index,
                    id,
                    name: String::new(),
                    arguments: String::new(),
                });
                self.parts.len() - 1
            }
        };
        let part = &mut self.parts[at];
        // Some servers repeat the name in every piece, none sends it in parts.
        if let Some(name) = delta.function.name.filter(|name| !name.is_empty()) {
            part.name = name;
        }
        match delta.function.arguments {
            Some(Value::String(text)) => part.arguments.push_str(&text),
            Some(Value::Null) | None => {}
            Some(whole) => part.arguments = whole.to_string(),
        }
        Ok(())
    }

    /// The whole calls.
    pub(super) fn finish(&mut self) -> Result<Vec<ToolCall>, Fault> {
        self.parts.drain(..).map(|part| tool_call::from_pieces(part.name, &part.arguments)).collect()
    }

    /// The call that this piece goes on with; `None` when it begins one.
    fn place_of(&self, delta: &ToolCallDelta) -> Option<usize> {
        if let Some(index) = delta.index {
            return self.parts.iter().position(|part| part.index == Some(index));
        }
        // Without an index a new id begins a call, and so does a name where there are no ids.
        match delta.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => self.parts.iter().position(|part| part.id.as_deref() == Some(id)),
            None if delta.function.name.as_ref().is_some_and(|name| !name.is_empty()) => None,
            None => self.parts.len().checked_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(pieces: &[&str]) -> Result<Vec<ToolCall>, Fault> {
        let mut calls = ToolCalls::default();
        for piece in pieces {
            calls.add(serde_json::from_str(piece).unwrap())?;
        }
        calls.finish()
    }

    fn call(name: &str, arguments_json: &str) -> ToolCall {
        ToolCall { name: name.into(), arguments_json: arguments_json.into() }
    }

    #[test]
    fn pieces_become_whole_calls() {
        let interleaved = assemble(&[
            r#"{"index":0,"id":"a","type":"function","function":{"name":"add","arguments":""}}"#,
            r#"{"index":1,"id":"b","type":"function","function":{"name":"sub","arguments":"{\"y\""}}"#,
            r#"{"index":0,"function":{"arguments":"{\"x\": 1}"}}"#,
            r#"{"index":1,"function":{"arguments":": 2}"}}"#,
        ]);
        assert_eq!(interleaved.unwrap(), [call("add", r#"{"x":1}"#), call("sub", r#"{"y":2}"#)]);
        let without_index = assemble(&[
            r#"{"id":"a","function":{"name":"add","arguments":"{}"}}"#,
            r#"{"id":"b","function":{"name":"add","arguments":{"x":1}}}"#,
        ]);
        assert_eq!(without_index.unwrap(), [call("add", "{}"), call("add", r#"{"x":1}"#)]);
    }

    #[test]
    fn torn_and_nameless_calls_are_refused() {
        assert!(assemble(&[r#"{"index":0,"function":{"name":"a","arguments":"{\"x\":"}}"#]).is_err());
        assert!(assemble(&[r#"{"index":0,"function":{"arguments":"{}"}}"#]).is_err());
        let many: Vec<String> =
            (0..200).map(|i| format!(r#"{{"index":{i},"function":{{"name":"a"}}}}"#)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(assemble(&many).is_err());
    }
}
