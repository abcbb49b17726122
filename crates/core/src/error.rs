//! The closed set of reasons for which a request can fail.
//!
//! Every part of the daemon speaks of failures in these words; `src/http/error.rs` holds the one table that turns
//! them into HTTP statuses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Why a request failed, by what its sender can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A field is missing, malformed or out of bounds.
    InvalidRequest,
    /// The prompt and the tokens asked for do not fit the context.
    ContextLengthExceeded,
    /// The body is larger than the configured limit.
    PayloadTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// No such route, session, request or summary.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The peer may not use this socket.
    Forbidden,
    /// The client was too slow in sending its request.
    RequestTimeout,
    /// The state of the thing does not allow it (it exists already, it is in use).
    Conflict,
    /// A queue is full.
    Overloaded,
    /// The client, or someone for it, ended the request.
    Cancelled,
    /// Weights are still loading.
    ModelLoading,
    /// There is no model that could answer, and waiting does not help.
    ModelUnavailable,
    /// The actor that served the request is being restarted.
    Restarting,
    /// The daemon is stopping.
    ShuttingDown,
    /// The deadline passed before the answer was complete.
    DeadlineExceeded,
    /// The engine failed while it computed.
    EngineFailed,
    /// A provider broke off, answered nonsense or said that it has an error of its own.
    ProviderFailed,
    /// A provider refuses the request for good: a bad key, an unknown model, a field that it does not take.
    ProviderRefused,
    /// A provider is not asked now: it failed too often, its rate limit or daily budget is spent.
    ProviderUnavailable,
    /// The provider's content rules forbid an answer.
    ContentBlocked,
    /// Everyone who was asked failed.
    NoProviderAnswered,
    /// The store could not make the effect durable.
    StoreFailed,
    /// A defect of boca's own.
    Internal,
}

/// Whether the same request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Nothing happened; sending it again later is safe and may succeed.
    Safe,
    /// Sending it again unchanged fails again.
    Pointless,
    /// The request may have had an effect already.
    Unsafe,
}

impl ErrorCode {
    /// Every code, for tables and tests.
    pub const ALL: [Self; 24] = [
        Self::InvalidRequest,
        Self::ContextLengthExceeded,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Forbidden,
        Self::RequestTimeout,
        Self::Conflict,
        Self::Overloaded,
        Self::Cancelled,
        Self::ModelLoading,
        Self::ModelUnavailable,
        Self::Restarting,
        Self::ShuttingDown,
        Self::DeadlineExceeded,
        Self::EngineFailed,
        Self::ProviderFailed,
        Self::ProviderRefused,
        Self::ProviderUnavailable,
        Self::ContentBlocked,
        Self::NoProviderAnswered,
        Self::StoreFailed,
        Self::Internal,
    ];

    /// Whether sending the same request again is safe and sensible.
    pub fn retry(self) -> Retry {
        match self {
            Self::Overloaded
            | Self::ModelLoading
            | Self::Restarting
            | Self::ShuttingDown
            | Self::RequestTimeout
            | Self::DeadlineExceeded
            | Self::EngineFailed
            | Self::ProviderFailed
            | Self::ProviderUnavailable
            | Self::NoProviderAnswered => Retry::Safe,
            Self::InvalidRequest
            | Self::ContextLengthExceeded
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Forbidden
            | Self::Conflict
            | Self::Cancelled
            | Self::ModelUnavailable
            | Self::ProviderRefused
            | Self::ContentBlocked => Retry::Pointless,
            Self::StoreFailed | Self::Internal => Retry::Unsafe,
        }
    }

    /// The name on the wire, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Forbidden => "forbidden",
            Self::RequestTimeout => "request_timeout",
            Self::Conflict => "conflict",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::ModelLoading => "model_loading",
            Self::ModelUnavailable => "model_unavailable",
            Self::Restarting => "restarting",
            Self::ShuttingDown => "shutting_down",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::EngineFailed => "engine_failed",
            Self::ProviderFailed => "provider_failed",
            Self::ProviderRefused => "provider_refused",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ContentBlocked => "content_blocked",
            Self::NoProviderAnswered => "no_provider_answered",
            Self::StoreFailed => "store_failed",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed request: what every actor and handle answers instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The reason, from the closed set.
    pub code: ErrorCode,
    /// One sentence for a person: lower case, no final period, the field in backticks, with bound and value.
    pub message: String,
    /// The field of the request that is to blame, if one is.
    pub param: Option<String>,
    /// How long to wait before the next try, when that is known.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None }
    }

    /// A bad field of a request. The message names the field, the bound and the value.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(ErrorCode::InvalidRequest, message) }
    }

    /// The same failure, with the time after which a retry makes sense.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_serde_and_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{code}\""));
            assert!(seen.insert(code.as_str()));
        }
    }
}
