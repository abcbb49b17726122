//! A request's messages in the JSON shape that chat templates know.

use super::template::Conversation;
use boca_core::{ChatMessage, FieldError, Role};
use serde_json::{Map, Value as Json, json};

/// Turns messages and tools into what the template is given. A text that is absent is empty text, never `null`,
/// which templates would print as `None`.
///
/// # Errors
/// For arguments or tools that are not JSON objects, or that hold a number which would change on its way.
pub fn messages_to_json(messages: &[ChatMessage], tools_json: &[String]) -> Result<Conversation, FieldError> {
    let messages = messages
        .iter()
        .enumerate()
        .map(|(place, message)| message_to_json(&format!("messages[{place}]"), message))
        .collect::<Result<_, _>>()?;
    let tools = tools_json
        .iter()
        .enumerate()
        .map(|(place, tool)| read_object(&format!("tools[{place}]"), tool).map(Json::Object))
        .collect::<Result<_, _>>()?;
    Ok(Conversation { messages, tools, add_generation_prompt: true, enable_thinking: None })
}

fn message_to_json(field: &str, message: &ChatMessage) -> Result<Json, FieldError> {
    let mut json = Map::new();
    json.insert("role".into(), message.role.as_str().into());
    json.insert("content".into(), message.content.as_str().into());
    if message.role == Role::Assistant {
        if let Some(reasoning) = &message.reasoning {
            json.insert("reasoning_content".into(), reasoning.as_str().into());
        }
        if !message.tool_calls.is_empty() {
            let calls = message.tool_calls.iter().enumerate().map(|(place, call)| {
                let field = format!("{field}.tool_calls[{place}].arguments");
                let arguments = read_object(&field, &call.arguments_json)?;
                Ok(json!({"type": "function", "function": {"name": call.name, "arguments": arguments}}))
            });
            json.insert("tool_calls".into(), calls.collect::<Result<Vec<_>, FieldError>>()?.into());
        }
    }
    Ok(Json::Object(json))
}

/// Reads a JSON object whose numbers all survive.
fn read_object(field: &str, text: &str) -> Result<Map<String, Json>, FieldError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let text = checked_numbers(field, text)?;
    match serde_json::from_str(&text) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(FieldError::new(field, format!("`{field}` must be a JSON object"))),
        Err(error) => Err(FieldError::new(field, format!("`{field}` must be a JSON object: {error}"))),
    }
}

/// Refuses integers that do not fit 64 bits, which would turn into floats and print differently, and writes `-0` as
/// the integer that it is.
fn checked_numbers(field: &str, text: &str) -> Result<String, FieldError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' => string_len(rest),
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
                let number = &rest[..end.unwrap_or(rest.len())];
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Err(FieldError::new(
                        field,
                        format!("`{field}` must hold integers of at most 64 bits, got {}", shortened(number)),
                    ));
                }
                if number == "-0" {
                    out.push('0');
                    rest = &rest[number.len()..];
                    continue;
                }
                number.len()
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    Ok(out)
}

fn shortened(number: &str) -> String {
    const MOST: usize = 40;
    if number.len() > MOST { format!("{}…", &number[..MOST]) } else { number.to_owned() }
}

/// Length of the JSON string that `text` begins with.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::ToolCall;

    #[test]
    fn a_message_has_text_and_never_null() {
        let mut message = ChatMessage::assistant("");
        message.tool_calls.push(ToolCall { name: "f".into(), arguments_json: String::new() });
        let conversation = messages_to_json(&[ChatMessage::user("hi"), message], &[]).unwrap();
        assert_eq!(conversation.messages[0], json!({"role": "user", "content": "hi"}));
        assert_eq!(conversation.messages[1]["content"], "");
        assert_eq!(conversation.messages[1]["tool_calls"][0]["function"]["arguments"], json!({}));
    }

    #[test]
    fn numbers_survive_or_are_refused() {
        let read = |text: &str| read_object("x", text);
        assert_eq!(read(r#"{"a": -0, "b": "-0 \" -0"}"#).unwrap()["a"].to_string(), "0");
        assert_eq!(read(r#"{"a": "-0 \" -0"}"#).unwrap()["a"], "-0 \" -0");
        assert_eq!(read(r#"{"a": 18446744073709551615}"#).unwrap()["a"], u64::MAX);
        let error = read(r#"{"a": 18446744073709551616}"#).unwrap_err();
        assert!(error.message.contains("64 bits, got 18446744073709551616"), "{error}");
        assert!(read("[1]").unwrap_err().message.contains("must be a JSON object"));
        assert!(read("{").is_err());
    }
}
