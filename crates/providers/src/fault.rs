//! What went wrong, in the words of a dialect, before the provider's name is put in front of it.

use crate::{ApiKey, AttemptClass, AttemptError};
use boca_core::{ErrorCode, Failure, Usage};
use std::time::Duration;

/// The most characters of a provider's own message that are passed on.
const MAX_MESSAGE_CHARS: usize = 400;

/// A failed attempt, without the provider's name. The message is a predicate ("refused the request: …").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) class: AttemptClass,
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(class: AttemptClass, message: impl Into<String>) -> Self {
        Self {
            class,
            code: class.usual_code(),
            message: message.into(),
            param: None,
            status: None,
            retry_after: None,
        }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(AttemptClass::Malformed, message)
    }

    /// A request that this protocol cannot carry; nothing was sent.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidRequest,
            param: Some(param.into()),
            ..Self::new(AttemptClass::Refused, message)
        }
    }

    pub(crate) fn with_code(self, code: ErrorCode) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn with_status(self, status: Option<u16>) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The error that leaves this crate: with the provider's name, in one line, and without the key.
    pub(crate) fn of_provider(self, name: &str, key: Option<&ApiKey>, usage: Usage) -> AttemptError {
        let message = clean(&format!("`{name}` {}", self.message), key);
        AttemptError {
            failure: Failure { code: self.code, message, param: self.param, retry_after: self.retry_after },
            class: self.class,
            status: self.status,
            retry_after: self.retry_after,
            usage,
        }
    }
}

/// What a status alone says.
pub(crate) fn class_of_status(status: u16) -> AttemptClass {
    match status {
        429 => AttemptClass::RateLimited,
        402 => AttemptClass::QuotaSpent,
        408 | 499 => AttemptClass::Server,
        501 | 505 | 511 => AttemptClass::Refused,
        500..=599 => AttemptClass::Server,
        300..=499 => AttemptClass::Refused,
        _ => AttemptClass::Malformed,
    }
}

/// The beginning of the message that fits a class.
pub(crate) fn verb(class: AttemptClass) -> &'static str {
    match class {
        AttemptClass::Connect => "broke off",
        AttemptClass::Timeout => "took too long",
        AttemptClass::RateLimited => "is asked too often",
        AttemptClass::QuotaSpent => "has no quota left",
        AttemptClass::Server => "failed",
        AttemptClass::Refused => "refused the request",
        AttemptClass::Blocked => "blocked the answer",
        AttemptClass::Malformed => "answered nonsense",
        AttemptClass::TooLarge => "sent too much",
    }
}

/// Whether an error message is about a prompt that does not fit the model's context. No protocol has a field for it
/// that every server fills.
pub(crate) fn is_about_context(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "context length",
        "context window",
        "context size",
        "context_length",
        "prompt is too long",
        "input token count",
        "exceeds the maximum number of tokens",
        "input length",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// One line of bounded length without control characters, final period and secrets.
fn clean(message: &str, key: Option<&ApiKey>) -> String {
    // Before the cut, so that no part of a key is left at the end.
    let message = key.map_or_else(|| message.to_owned(), |key| key.redact(message));
    let mut line = String::with_capacity(message.len().min(MAX_MESSAGE_CHARS * 4));
    let words = message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(if looks_like_a_key(word) { "<hidden>" } else { word });
    }
    line.truncate(line.trim_end_matches('.').len());
    if line.chars().count() > MAX_MESSAGE_CHARS {
        line = line.chars().take(MAX_MESSAGE_CHARS).collect();
        line.push('…');
    }
    line
}

/// Keys of somebody else, such as the one of a gateway behind the provider.
fn looks_like_a_key(word: &str) -> bool {
    ["AIza", "sk-", "Bearer"].iter().any(|prefix| {
        word.find(prefix).is_some_and(|at| {
            let rest = &word[at + prefix.len()..];
            rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count() >= 20
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_clean() {
        let key = ApiKey::new("topsecretkey").unwrap();
        let clean = |text: &str| clean(text, Some(&key));
        assert_eq!(clean("a\r\nb\0c  d"), "a b c d");
        assert_eq!(clean("bad topsecretkey!"), "bad <hidden>!");
        assert_eq!(clean("key:AIzaSyA0123456789012345678901234567890 is bad"), "<hidden> is bad");
        let long = clean(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + 1);
        let at_the_cut = format!("{}topsecretkey", "x".repeat(MAX_MESSAGE_CHARS - 5));
        assert!(!clean(&at_the_cut).contains("tops"));
    }

    #[test]
    fn retryable_statuses_are_the_known_ones() {
        for status in 100..=599 {
            let retryable = class_of_status(status).is_worth_a_retry();
            let known = matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 506..=510 | 512..=599);
            assert_eq!(retryable, known, "{status}");
        }
    }
}
