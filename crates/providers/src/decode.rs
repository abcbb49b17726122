//! What every dialect's decoder has in common.

use crate::AttemptClass;
use crate::fault::Fault;
use crate::frame::Frame;
use boca_core::{ErrorCode, FinishReason, GenerationEvent, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::time::Duration;

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Read on.
    More,
    /// The protocol says that the answer is over.
    Done,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub(crate) finish_reason: FinishReason,
    /// The provider's own word for it, for messages.
    pub(crate) reason: String,
    pub(crate) stop_sequence: Option<String>,
    /// Times that the provider measured itself; `queue` is the loading of the model.
    pub(crate) queue: Option<Duration>,
    pub(crate) prefill: Option<Duration>,
    pub(crate) decode: Option<Duration>,
}

impl Ending {
    pub(crate) fn new(finish_reason: FinishReason, reason: impl Into<String>) -> Self {
        Self {
            finish_reason,
            reason: reason.into(),
            stop_sequence: None,
            queue: None,
            prefill: None,
            decode: None,
        }
    }
}

/// Turns the frames of one response into events. Pure: no clock, no I/O.
pub(crate) trait Decode: Send {
    /// Takes one frame; what it says is put into `events`. Empty texts among them are left out by the caller.
    fn frame(&mut self, frame: Frame, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault>;

    /// What was counted so far.
    fn usage(&self) -> Usage;

    /// Whether the reason of the end is known, so that a connection which breaks now loses nothing.
    fn is_complete(&self) -> bool;

    /// How it ended, with the events that were held back until then; an error when nobody said that it was complete.
    fn end(&mut self, events: &mut Vec<GenerationEvent>) -> Result<Ending, Fault>;
}

/// The fault of a stream that just stops.
pub(crate) fn truncated() -> Fault {
    Fault::new(AttemptClass::Connect, "ended its answer without saying that it was complete")
}

/// Checks that there is an answer at all. `has_content`: any text or tool call.
pub(crate) fn check_not_empty(ending: &Ending, has_content: bool) -> Result<(), Fault> {
    if has_content {
        return Ok(());
    }
    match ending.finish_reason {
        FinishReason::ContentFilter => {
            Err(Fault::new(AttemptClass::Blocked, format!("blocked the answer: {}", ending.reason)))
        }
        FinishReason::Length => Err(Fault {
            param: Some("max_tokens".into()),
            ..Fault::new(
                AttemptClass::Refused,
                "spent its whole budget of tokens before it wrote any answer; raise `max_tokens` or lower the thinking budget",
            )
            .with_code(ErrorCode::ProviderRefused)
        }),
        _ => Err(Fault::malformed("gave an empty answer")),
    }
}

/// Reads a frame's JSON.
pub(crate) fn json<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        // The error's own text quotes only types and places, but a value may be part of it: keep to the place.
        Fault::malformed(format!(
            "sent JSON that cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}

/// A count that servers write as an integer, a float, text or null; anything else counts as nothing.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    let number = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    // The cast saturates, and not-a-number becomes 0.
    Ok(number.unwrap_or(0.0) as u32)
}

/// Null stands for the default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Counted {
        #[serde(default, deserialize_with = "count")]
        n: u32,
    }

    #[test]
    fn counts_are_read_whatever_they_are() {
        for (text, expected) in [
            ("{}", 0),
            (r#"{"n":7}"#, 7),
            (r#"{"n":7.0}"#, 7),
            (r#"{"n":"7"}"#, 7),
            (r#"{"n":null}"#, 0),
            (r#"{"n":-1}"#, 0),
            (r#"{"n":1e99}"#, u32::MAX),
            (r#"{"n":[1]}"#, 0),
        ] {
            assert_eq!(serde_json::from_str::<Counted>(text).unwrap().n, expected, "{text}");
        }
    }
}
