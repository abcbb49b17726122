//! The lines of a batch: read, checked, numbered and named.

use super::results;
use crate::chat::{Question, one_off};
use crate::config::ChatSettings;
use boca_api::{BatchLine, BatchTurn, LineId, decode_body};
use boca_core::{Ask, ChatMessage, ErrorCode, Failure, Mode, Priority, RequestId, Role, SamplingOverrides};
use boca_store::BatchResult;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// The most lines of a batch.
const MAX_BATCH_LINES: usize = 10_000;
/// The most bytes of a batch.
pub(crate) const MAX_BATCH_BYTES: usize = 32 << 20;
/// The most bytes of a line's id.
const MAX_LINE_ID_BYTES: usize = 200;

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line.
    Lines,
    /// One JSON list.
    List,
}

/// A line as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredLine {
    pub(super) id: LineId,
    /// From 1.
    pub(super) number: u32,
    /// `None`: it could not be read, and has its result from the beginning.
    pub(super) asks: Option<BatchLine>,
}

/// Reads a batch. A line that is wrong gets its error as its result; it fails no other.
///
/// # Errors
/// When it is no batch at all, or has too many lines.
pub(crate) fn read_lines(
    format: Format,
    body: &[u8],
    settings: &ChatSettings,
) -> Result<Vec<(String, Option<BatchResult>)>, Failure> {
    let lines = match format {
        Format::Lines => split_lines(body),
        Format::List => split_list(body)?,
    };
    if lines.is_empty() || lines.len() > MAX_BATCH_LINES {
        let message = format!("a batch must have 1 to {MAX_BATCH_LINES} lines, got {}", lines.len());
        return Err(Failure::new(ErrorCode::InvalidRequest, message));
    }
    let mut known = HashMap::new();
    lines.iter().map(|(number, line)| read_line(*number, line, &mut known, settings)).collect()
}

fn split_lines(body: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    (1..)
        .zip(body.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| (number, line.to_vec()))
        .collect()
}

fn split_list(body: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
    let list: Vec<serde_json::Value> = serde_json::from_slice(body).map_err(|error| {
        Failure::new(ErrorCode::InvalidRequest, format!("the body must be a JSON list of questions: {error}"))
    })?;
    Ok((1..).zip(list.iter().map(|value| value.to_string().into_bytes())).collect())
}

fn read_line(
    number: u32,
    line: &[u8],
    known: &mut HashMap<LineId, u32>,
    settings: &ChatSettings,
) -> Result<(String, Option<BatchResult>), Failure> {
    let mut stored = StoredLine { id: LineId::Number(number.into()), number, asks: None };
    let checked = decode_body::<BatchLine>(line)
        .map_err(|bad| Failure { param: bad.param, ..Failure::new(ErrorCode::InvalidRequest, bad.message) })
        .and_then(|asks| {
            if let Some(id) = &asks.id {
                check_id(id)?;
                stored.id = id.clone();
                if let Some(other) = known.insert(id.clone(), number) {
                    known.insert(id.clone(), other);
                    let message = format!("`id` must be given once, but line {other} has it too");
                    return Err(Failure::invalid("id", message));
                }
            }
            // Whether it can be asked is known now; who it is asked of, only then.
            ask(&asks, "check", RequestId::from_uuid(uuid::Uuid::nil()), settings)?;
            Ok(asks)
        });
    let result = match checked {
        Ok(asks) => {
            stored.asks = Some(asks);
            None
        }
        Err(failure) => Some(results::of_failure(&stored, &failure)),
    };
    let text = serde_json::to_string(&stored)
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("a line cannot be written: {error}")))?;
    Ok((text, result))
}

fn check_id(id: &LineId) -> Result<(), Failure> {
    match id {
        LineId::Text(text) if text.trim().is_empty() || text.len() > MAX_LINE_ID_BYTES => {
            let message = format!("`id` must have 1 to {MAX_LINE_ID_BYTES} bytes, got {}", text.len());
            Err(Failure::invalid("id", message))
        }
        _ => Ok(()),
    }
}

/// What a line asks.
///
/// # Errors
/// A bad request that names the first field out of bounds.
pub(super) fn ask(
    line: &BatchLine,
    fairness_key: &str,
    id: RequestId,
    settings: &ChatSettings,
) -> Result<Ask, Failure> {
    let (before, message) = turns(line)?;
    let question = Question {
        message,
        mode: Some(line.mode.clone().unwrap_or_else(|| Mode::Local.as_str().to_owned())),
        effort: line.effort.clone(),
        strategy: line.strategy.clone(),
        private: line.private,
        system: line.system.clone(),
        preset: line.preset.clone(),
        sampling: SamplingOverrides {
            temperature: line.temperature,
            top_p: line.top_p,
            top_k: line.top_k,
            min_p: line.min_p,
            repetition_penalty: line.repetition_penalty,
            presence_penalty: line.presence_penalty,
            frequency_penalty: line.frequency_penalty,
            seed: line.seed,
            logit_bias: line.logit_bias.clone(),
            max_tokens: line.max_tokens,
            thinking: line.thinking,
            thinking_budget_tokens: line.thinking_budget_tokens,
        },
        stop: line.stop.clone().map(|stop| stop.0).unwrap_or_default(),
        context_policy: line.context_policy.clone(),
        deadline: line.deadline_ms.map(Duration::from_millis),
        priority: Priority::Background,
        is_read_whole: true,
        client: Some(fairness_key.to_owned()),
        ..Question::default()
    };
    one_off(question, before, id, settings)
}

fn turns(line: &BatchLine) -> Result<(Vec<ChatMessage>, String), Failure> {
    match (&line.message, &line.messages) {
        (Some(message), None) => Ok((Vec::new(), message.clone())),
        (None, Some(turns)) => {
            let mut turns = turns.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
            match turns.pop() {
                Some(last) if last.role == Role::User => Ok((turns, last.content)),
                _ => Err(Failure::invalid("messages", "`messages` must end with a turn of `user`")),
            }
        }
        (Some(_), Some(_)) => {
            Err(Failure::invalid("messages", "`message` and `messages` cannot be given together"))
        }
        (None, None) => Err(Failure::invalid("message", "`message` or `messages` must be given")),
    }
}

fn turn(turn: &BatchTurn) -> Result<ChatMessage, Failure> {
    let role =
        [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.as_str() == turn.role);
    let role = role.ok_or_else(|| {
        let shown: String = turn.role.chars().take(60).collect();
        let message = format!("a role in `messages` must be `system`, `user` or `assistant`, got {shown:?}");
        Failure::invalid("messages", message)
    })?;
    Ok(ChatMessage::text(role, turn.content.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::chat_settings;
    use serde_json::Value;

    fn read(format: Format, body: &str) -> Vec<(StoredLine, Option<Value>)> {
        read_lines(format, body.as_bytes(), &chat_settings())
            .unwrap()
            .into_iter()
            .map(|(line, result)| {
                let result = result.map(|result| serde_json::from_str(&result.text).unwrap());
                (serde_json::from_str(&line).unwrap(), result)
            })
            .collect()
    }

    #[test]
    fn good_lines_are_kept_and_each_bad_one_has_its_error() {
        let body = concat!(
            "\u{feff}{\"message\":\"a\"}\n\n",
            "{\"id\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}\r\n",
            "{\"id\":\"x\",\"message\":\"c\"}\n",
            "nonsense\n",
            "{\"id\":7,\"message\":\"d\",\"temperature\":9}\n",
            "{\"message\":\"e\",\"messages\":[]}\n",
            "{\"messages\":[{\"role\":\"robot\",\"content\":\"b\"}]}\n",
            "{\"id\":\"x\",\"message\":\"again\"}",
        );
        let lines = read(Format::Lines, body);
        let seen: Vec<_> = lines
            .iter()
            .map(|(line, error)| {
                let message = error.as_ref().map_or("", |error| error["error"]["message"].as_str().unwrap());
                (line.number, line.id.to_text(), line.asks.is_some(), message.to_owned())
            })
            .collect();
        let expected = [
            (1, "1", true, ""),
            (3, "x", true, ""),
            (4, "x", false, "line 3 has it too"),
            (5, "5", false, "not valid JSON"),
            (6, "7", false, "`temperature` must be between 0 and 2, got 9"),
            (7, "7", false, "cannot be given together"),
            (8, "8", false, "must be `system`, `user` or `assistant`, got \"robot\""),
            (9, "x", false, "line 3 has it too"),
        ];
        assert_eq!(seen.len(), expected.len());
        for (seen, expected) in seen.iter().zip(expected) {
            assert_eq!((seen.0, seen.1.as_str(), seen.2), (expected.0, expected.1, expected.2), "{seen:?}");
            assert!(seen.3.contains(expected.3), "{seen:?}");
        }
    }

    #[test]
    fn a_list_is_as_good_as_lines_and_bounds_hold() {
        let list = read(Format::List, r#"[{"message":"a"},7,{"id":9,"message":"b"}]"#);
        let seen: Vec<_> = list.iter().map(|(line, error)| (line.id.to_text(), error.is_none())).collect();
        assert_eq!(seen, [("1".into(), true), ("2".into(), false), ("9".into(), true)]);
        let refuse = |format, body: &str| read_lines(format, body.as_bytes(), &chat_settings()).unwrap_err();
        assert!(refuse(Format::List, "{}").message.contains("JSON list"));
        assert!(refuse(Format::Lines, " \n").message.contains("1 to 10000 lines, got 0"));
        assert!(refuse(Format::Lines, &"x\n".repeat(10_001)).message.contains("got 10001"));
    }

    #[test]
    fn the_local_model_is_asked_unless_a_line_says_otherwise() {
        let of = |mode: Option<&str>| {
            let line = BatchLine {
                message: Some("x".into()),
                mode: mode.map(str::to_owned),
                ..BatchLine::default()
            };
            ask(&line, "batch:b", RequestId::from_uuid(uuid::Uuid::nil()), &chat_settings()).unwrap()
        };
        assert_eq!(of(None).mode, Mode::Local);
        assert_eq!(of(Some("cloud")).mode, Mode::Cloud);
        assert_eq!(of(None).generate.fairness_key, "batch:b");
    }
}
