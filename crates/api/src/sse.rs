//! Server-sent events of a streamed answer: what they say, and how they are written.
//!
//! Source: WHATWG HTML, "Server-sent events".

use crate::{ChatResponse, ErrorBody, SourceTrace};
use serde::{Deserialize, Serialize};

/// The media type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// A comment that clients ignore, sent when nothing else was sent for a while so that no one gives up.
pub const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// One event of a streamed answer: `started` first, then any number of the others, and exactly one of `done` and
/// `error` last.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// The request is accepted.
    Started(Started),
    /// A provider changed its state.
    Source(SourceTrace),
    /// More text of the thinking.
    Reasoning(TextDelta),
    /// More text of the answer. Whole characters, though not always whole words.
    Token(TextDelta),
    /// What came so far, thinking and text, is not the answer: whoever wrote it broke off, and another's answer follows
    /// from its beginning. A client takes back what it has shown.
    Restart(Restart),
    /// The answer is complete and stored.
    Done(Box<ChatResponse>),
    /// There will be no complete answer. What was sent before is not stored.
    Error(ErrorBody),
}

/// The request is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Cancel with `DELETE /api/requests/{id}`, or by closing the connection.
    pub request_id: String,
    /// The conversation it belongs to.
    pub session_id: String,
}

/// The answer begins anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Why, in one sentence.
    pub reason: String,
}

/// More text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextDelta {
    /// The text to append.
    pub text: String,
}

impl StreamEvent {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Source(_) => "source",
            Self::Reasoning(_) => "reasoning",
            Self::Token(_) => "token",
            Self::Restart(_) => "restart",
            Self::Done(_) => "done",
            Self::Error(_) => "error",
        }
    }

    /// Whether no event comes after this one.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Error(_))
    }

    /// The event as it travels: name, one line of JSON, blank line.
    ///
    /// # Errors
    /// Only if a value cannot be written as JSON, which none of these types brings about.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        let data = match self {
            Self::Started(body) => serde_json::to_string(body),
            Self::Source(body) => serde_json::to_string(body),
            Self::Reasoning(body) | Self::Token(body) => serde_json::to_string(body),
            Self::Restart(body) => serde_json::to_string(body),
            Self::Done(body) => serde_json::to_string(body),
            Self::Error(body) => serde_json::to_string(body),
        }?;
        Ok(format!("event: {}\ndata: {data}\n\n", self.name()))
    }

    /// Reads an event by its name and data; `None` for a name that this version does not know.
    ///
    /// # Errors
    /// Data that is not the JSON of such an event.
    pub fn decode(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match name {
            "started" => Self::Started(serde_json::from_str(data)?),
            "source" => Self::Source(serde_json::from_str(data)?),
            "reasoning" => Self::Reasoning(serde_json::from_str(data)?),
            "token" => Self::Token(serde_json::from_str(data)?),
            "restart" => Self::Restart(serde_json::from_str(data)?),
            "done" => Self::Done(serde_json::from_str(data)?),
            "error" => Self::Error(serde_json::from_str(data)?),
            _ => return Ok(None),
        }))
    }
}
