//! What a fake answers, and how it misbehaves.

use serde_json::Value;
use std::time::Duration;

/// A good answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The thinking, in the pieces in which it is streamed.
    pub reasoning: Vec<String>,
    /// The text, in the pieces in which it is streamed.
    pub tokens: Vec<String>,
    /// Tools to be called: name and arguments.
    pub tool_calls: Vec<(String, Value)>,
    /// Why it ends, in the protocol's own word; `None`: the one of a normal end.
    pub finish_reason: Option<String>,
    /// Prompt tokens to count; `None`: the words of the request.
    pub prompt_tokens: Option<u32>,
    /// How many of them came from a cache.
    pub cached_tokens: u32,
}

impl Answer {
    /// An answer of this text, streamed word by word.
    pub fn text(text: &str) -> Self {
        Self { tokens: words(text), ..Self::default() }
    }
}

/// How one request is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// The answer, as far as the fault lets it come.
    pub answer: Answer,
    /// Wait before the head of the response.
    pub head_delay: Duration,
    /// Wait between the head and the first token.
    pub first_token_delay: Duration,
    /// Wait before every other token.
    pub token_delay: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::text("This is the answer of a fake provider.")
    }
}

impl Behaviour {
    /// Answers with this text, at once.
    pub fn text(text: &str) -> Self {
        Self {
            answer: Answer::text(text),
            head_delay: Duration::ZERO,
            first_token_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            fault: None,
        }
    }

    /// The default answer with something going wrong.
    pub fn fault(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// The same with a wait before every token, the first one included.
    #[must_use]
    pub fn with_latency(mut self, per_token: Duration) -> Self {
        self.first_token_delay = per_token;
        self.token_delay = per_token;
        self
    }

    /// The same with something going wrong.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }
}

/// What goes wrong. Numbers count pieces of the text that are sent before.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing more comes, and the connection stays open.
    Stall(usize),
    /// The whole answer comes, and then the end of the response does not.
    StallAtEnd,
    /// The connection is reset (over a Unix socket: closed).
    Reset(usize),
    /// The write side is closed in the middle of the response; the read side stays open.
    HalfClose(usize),
    /// The response ends properly, but nobody said why the answer ends.
    Truncate(usize),
    /// An error in mid-stream, as this protocol reports it, with this message.
    ErrorInStream(usize, String),
    /// A frame whose JSON is torn.
    MalformedJson(usize),
    /// The content rules end the answer; with 0 they block the prompt.
    Safety(usize),
    /// The answer ends well, but there is nothing in it.
    Empty,
    /// An error status with this protocol's error body.
    Status(u16),
    /// 429 with this protocol's error body.
    RateLimited {
        /// How long to wait: `RetryInfo` in Gemini's body, the `Retry-After` header for the others.
        retry_after: Option<Duration>,
        /// The `Retry-After` header as a date instead of seconds.
        as_date: bool,
    },
    /// 429 because the quota of the day is spent. Gemini's body carries a `RetryInfo` all the same.
    DailyQuota,
    /// A prompt that does not fit the context.
    ContextTooLong,
    /// Any status, content type and body.
    Raw {
        /// The status.
        status: u16,
        /// The `content-type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// A good status with a page of HTML.
    WrongContentType,
    /// A body without end, at least this many bytes, in frames of this protocol.
    Huge(u64),
    /// A redirect to this address.
    Redirect(String),
    /// Bytes that are no HTTP.
    Garbage,
    /// The connection is closed before the head.
    CloseBeforeHead,
}

/// A text in pieces: words with the white space in front of them.
pub fn words(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut in_word = false;
    for character in text.chars() {
        let begins = pieces.is_empty() || (character.is_whitespace() && in_word);
        if begins {
            pieces.push(String::new());
        }
        in_word = !character.is_whitespace();
        if let Some(last) = pieces.last_mut() {
            last.push(character);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_words() {
        assert_eq!(words("one two\n\nthree"), ["one", " two", "\n\nthree"]);
        assert_eq!(words(" a "), [" a", " "]);
        assert!(words("").is_empty());
    }
}
