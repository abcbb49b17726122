//! One attempt at an answer, and how it fails.

use boca_core::{ErrorCode, Failure, GenerationUpdate, Usage};
use futures_util::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What an ask may want beyond the generation request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AskOptions {
    /// A JSON schema that the answer must follow.
    pub json_schema: Option<serde_json::Value>,
    /// The most tokens of thinking, above what the request's sampling says; 0 switches thinking off.
    pub thinking_budget_tokens: Option<u32>,
    /// Ask for the whole answer at once. The stream then brings it in one piece, and the limit for the first byte holds
    /// for all of it.
    pub unary: bool,
}

/// Why an attempt failed, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptClass {
    /// No connection, or the connection ended before the answer was complete.
    Connect,
    /// A limit of time passed: first byte, between bytes, or the deadline. (A connection that takes too long was never
    /// made, and counts as [`Connect`](Self::Connect).)
    Timeout,
    /// Too many requests or tokens in a short while (429).
    RateLimited,
    /// A quota that comes back tomorrow or never is spent, or the model has no capacity.
    QuotaSpent,
    /// The provider says that it has an error of its own: 408, 5xx, or such an error in mid-stream.
    Server,
    /// The provider refuses this request for good.
    Refused,
    /// The provider's content rules forbid an answer.
    Blocked,
    /// The provider sent what its protocol does not allow.
    Malformed,
    /// The response is larger than the limit.
    TooLarge,
}

impl AttemptClass {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Timeout,
        Self::RateLimited,
        Self::QuotaSpent,
        Self::Server,
        Self::Refused,
        Self::Blocked,
        Self::Malformed,
        Self::TooLarge,
    ];

    /// The name in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::QuotaSpent => "quota_spent",
            Self::Server => "server",
            Self::Refused => "refused",
            Self::Blocked => "blocked",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }

    /// The code that fits when nothing more is known.
    pub fn usual_code(self) -> ErrorCode {
        match self {
            Self::Connect | Self::Timeout | Self::Server | Self::Malformed | Self::TooLarge => {
                ErrorCode::ProviderFailed
            }
            Self::RateLimited | Self::QuotaSpent => ErrorCode::ProviderUnavailable,
            Self::Refused => ErrorCode::ProviderRefused,
            Self::Blocked => ErrorCode::ContentBlocked,
        }
    }

    /// Whether the same request may be sent again, as long as nothing of the answer was passed on.
    pub fn is_worth_a_retry(self) -> bool {
        matches!(self, Self::Connect | Self::RateLimited | Self::Server)
    }
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct AttemptError {
    /// What the client may see.
    pub failure: Failure,
    /// What can be done about it.
    pub class: AttemptClass,
    /// The HTTP status, when there was a response that carried the error.
    pub status: Option<u16>,
    /// How long the provider wants to be left alone.
    pub retry_after: Option<Duration>,
    /// What the provider had counted when it broke off; it costs all the same.
    pub usage: Usage,
}

impl AttemptError {
    /// A failure of this class with its usual code.
    pub fn new(class: AttemptClass, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(class.usual_code(), message),
            class,
            status: None,
            retry_after: None,
            usage: Usage::default(),
        }
    }

    /// The same with another code.
    #[must_use]
    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.failure.code = code;
        self
    }

    /// The same with the time that the provider wants to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self.failure.retry_after = wait;
        self
    }
}

/// The updates of one attempt: events, then [`GenerationUpdate::Finished`] or an error, then nothing. Dropping it
/// closes the connection.
pub struct AttemptStream {
    updates: Pin<Box<dyn Stream<Item = Result<GenerationUpdate, AttemptError>> + Send>>,
}

impl AttemptStream {
    /// Wraps the updates of one attempt.
    pub fn new(updates: impl Stream<Item = Result<GenerationUpdate, AttemptError>> + Send + 'static) -> Self {
        Self { updates: Box::pin(updates) }
    }
}

impl Stream for AttemptStream {
    type Item = Result<GenerationUpdate, AttemptError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.as_mut().poll_next(context)
    }
}

impl fmt::Debug for AttemptStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptStream").finish_non_exhaustive()
    }
}
