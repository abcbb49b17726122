//! What the store keeps, as its callers see it.

use boca_core::{
    ErrorCode, FinishReason, FusionTrace, Preset, RequestId, Role, SamplingOverrides, SessionId,
    SourceAnswer, SourceTrace, Timings, TurnSummary, Usage,
};
use std::fmt;
use std::str::FromStr;

/// The most characters of a title that is made from a message.
const TITLE_CHARS: usize = 80;

/// What holds for every question of a session, unless the question says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionSettings {
    /// The system prompt; `None` is the configured one.
    pub system: Option<String>,
    /// The preset; `None` is the configured one.
    pub preset: Option<Preset>,
    /// Sampling fields.
    pub sampling: SamplingOverrides,
    /// Whether its questions stay on this machine. Set for good by the first message that is private.
    pub private: bool,
}

/// A conversation that is to be begun.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    /// Its name in requests.
    pub id: SessionId,
    /// Its name for people; `None`: made from the first message.
    pub title: Option<String>,
    /// What holds for every question.
    pub settings: SessionSettings,
}

/// A stored conversation, without its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its name in requests.
    pub id: SessionId,
    /// Its name for people; `None` while it has no message and none was given.
    pub title: Option<String>,
    /// When it was begun, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// When its last message came or its settings changed, in milliseconds since 1970.
    pub updated_unix_ms: u64,
    /// What holds for every question.
    pub settings: SessionSettings,
    /// Messages ever appended; also the index of the next one.
    pub n_messages: u32,
    /// Prompt tokens of all answers together.
    pub prompt_tokens: u64,
    /// Generated tokens of all answers together.
    pub completion_tokens: u64,
    /// Its oldest turns in few words, once they did not fit the context any more. A turn's number is the message's index.
    pub summary: Option<StoredSummary>,
}

/// The oldest turns of a conversation in few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSummary {
    /// The summary.
    pub summary: TurnSummary,
    /// When it was stored, in milliseconds since 1970.
    pub created_unix_ms: u64,
}

/// What to change of a session; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionUpdate {
    /// A new title.
    pub title: Option<String>,
    /// New settings, all of them.
    pub settings: Option<SessionSettings>,
}

/// One turn, with everything that is known of how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// The thinking that led to it.
    pub reasoning: Option<String>,
    /// When it was said, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Name of the model or provider that wrote it; `None` for a person's turn.
    pub model_used: Option<String>,
    /// Whether the demo model wrote it.
    pub is_demo: bool,
    /// Why it ended; `None` for a person's turn and for one that failed.
    pub finish_reason: Option<FinishReason>,
    /// Tokens counted.
    pub usage: Option<Usage>,
    /// Where the time went.
    pub timings: Option<Timings>,
    /// The request that it belongs to.
    pub request_id: Option<RequestId>,
    /// Why it is incomplete or empty, if the turn failed.
    pub failure: Option<ErrorCode>,
    /// Whether it was kept on this machine.
    pub private: bool,
    /// How it came about, for an answer.
    pub trace: Option<Box<AnswerTrace>>,
}

/// How an answer came about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnswerTrace {
    /// How one answer came out of several.
    pub fusion: FusionTrace,
    /// Everyone who was asked.
    pub sources: Vec<SourceTrace>,
    /// The whole answers of everyone who was asked, where there were several.
    pub answers: Vec<SourceAnswer>,
}

impl Message {
    /// A turn of text alone.
    pub fn text(role: Role, content: impl Into<String>, created_unix_ms: u64) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning: None,
            created_unix_ms,
            model_used: None,
            is_demo: false,
            finish_reason: None,
            usage: None,
            timings: None,
            request_id: None,
            failure: None,
            private: false,
            trace: None,
        }
    }
}

/// A turn with its place in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// Its place, from 0. A gap is a record that was damaged and set aside.
    pub index: u32,
    /// The turn.
    pub message: Message,
}

/// A place in the list of sessions, newest first. Stable while sessions come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCursor {
    /// [`Session::updated_unix_ms`] of the last session of the page before.
    pub updated_unix_ms: u64,
    /// Its id.
    pub id: SessionId,
}

/// A cursor that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a cursor from an earlier page (`<milliseconds>.<session id>`), got {0:?}")]
pub struct InvalidCursor(String);

impl fmt::Display for SessionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.updated_unix_ms, self.id)
    }
}

impl FromStr for SessionCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let parse = || {
            let (time, id) = text.split_once('.')?;
            Some(Self { updated_unix_ms: time.parse().ok()?, id: id.parse().ok()? })
        };
        parse().ok_or_else(|| InvalidCursor(text.chars().take(100).collect()))
    }
}

/// Some sessions, last updated first.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<SessionCursor>,
}

/// A title from what a person said first: its first line with text, blanks collapsed, cut at a word when it is long.
pub fn session_title(first_message: &str) -> String {
    let line = first_message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut title = String::new();
    for word in line.split_whitespace() {
        let length = title.chars().count() + word.chars().count() + 1;
        if length > TITLE_CHARS {
            if title.is_empty() {
                title.extend(word.chars().take(TITLE_CHARS - 1));
            }
            title.push('…');
            break;
        }
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(session_title("\n  What   is\tboca?\nTell me"), "What is boca?");
        assert_eq!(session_title(&"ä".repeat(300)), format!("{}…", "ä".repeat(79)));
        let long = session_title(&"word ".repeat(100));
        assert!(long.chars().count() <= TITLE_CHARS + 1, "{long}");
        assert!(long.ends_with("word…"), "{long}");
        assert_eq!(session_title(" \n"), "");
    }

    #[test]
    fn cursors_survive_the_wire() {
        let cursor = SessionCursor { updated_unix_ms: 1_732_300_000_123, id: "a-b_c".parse().unwrap() };
        assert_eq!(cursor.to_string().parse::<SessionCursor>().unwrap(), cursor);
        for bad in ["", "1", "x.a", "1.", "1.a b", "-1.a"] {
            assert!(bad.parse::<SessionCursor>().is_err(), "{bad}");
        }
    }
}
