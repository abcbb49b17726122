//! The body of every answer that is not a success: OpenAI's shape, and the time it took.

use serde::{Deserialize, Serialize};

/// Every `code` that an error may carry, with its meaning. Clients must expect new ones.
pub const CODES: &[(&str, &str)] = &[
    ("invalid_request", "a field is missing, malformed or out of bounds; `param` names it"),
    ("context_length_exceeded", "prompt and requested tokens do not fit the context"),
    ("payload_too_large", "the body is larger than the configured limit"),
    ("unsupported_media_type", "the body is not declared as `application/json`"),
    ("not_found", "no such route, session or request"),
    ("method_not_allowed", "the route exists, the method does not"),
    ("forbidden", "the peer may not use this socket"),
    ("request_timeout", "the client was too slow in sending its request"),
    ("conflict", "the thing exists already or is in use"),
    ("overloaded", "a queue is full; `retry-after` says when to come back"),
    ("cancelled", "the request was cancelled"),
    ("model_loading", "weights are still loading; `retry-after` says when to come back"),
    ("model_unavailable", "no model can answer, and waiting does not help"),
    ("restarting", "the part that served the request is being restarted"),
    ("shutting_down", "the daemon is stopping"),
    ("deadline_exceeded", "the deadline passed before there was an answer"),
    ("engine_failed", "the engine failed while it computed"),
    ("provider_failed", "a provider broke off, answered nonsense or has an error of its own"),
    ("provider_refused", "a provider refuses the request for good: a bad key, an unknown model, a field"),
    (
        "provider_unavailable",
        "a provider is not asked now: it failed too often, or its limit or budget is spent",
    ),
    ("content_blocked", "the provider's content rules forbid an answer"),
    ("no_provider_answered", "everyone who was asked failed; the message names each of them and why"),
    ("store_failed", "the store could not make the effect durable"),
    ("internal", "a defect of boca's own"),
];

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
    /// Time from the arrival of the request to this answer.
    #[serde(default)]
    pub response_time_ms: f64,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One sentence for a person, with the field in backticks, the bound and the value.
    pub message: String,
    /// The family in OpenAI's words: `invalid_request_error`, `rate_limit_error`, `permission_error`,
    /// `server_error`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The field of the request that is to blame, if one is.
    #[serde(default)]
    pub param: Option<String>,
    /// One of [`CODES`].
    #[serde(default)]
    pub code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_shape_that_clients_of_openai_read() {
        let body = ErrorBody {
            error: ErrorDetail {
                message: "`message` must not be blank".into(),
                kind: "invalid_request_error".into(),
                param: Some("message".into()),
                code: "invalid_request".into(),
            },
            response_time_ms: 0.25,
        };
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(
            json,
            r#"{"error":{"message":"`message` must not be blank","type":"invalid_request_error","param":"message","code":"invalid_request"},"response_time_ms":0.25}"#
        );
        assert_eq!(serde_json::from_str::<ErrorBody>(&json).unwrap(), body);
        let foreign: ErrorBody = serde_json::from_str(r#"{"error":{"message":"x","new":1}}"#).unwrap();
        assert_eq!(foreign.error.message, "x");
    }
}
