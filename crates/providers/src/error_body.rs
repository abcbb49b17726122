//! Error bodies of OpenAI-compatible servers, Ollama and Anthropic, which differ in form and agree in little.

use crate::AttemptClass;
use crate::fault::{Fault, class_of_status, is_about_context, verb};
use boca_core::ErrorCode;
use serde_json::Value;
use std::time::Duration;

/// What an error response says.
pub(crate) fn fault(status: u16, header_wait: Option<Duration>, body: &str) -> Fault {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let said = Said::read(&body);
    let class = match (said.class(), class_of_status(status)) {
        // A status that says more stands above words such as "invalid".
        (Some(AttemptClass::Refused), by_status) => by_status,
        (Some(by_words), _) => by_words,
        (None, by_status) => by_status,
    };
    let kind = if said.kind.is_empty() { String::new() } else { format!(" {}", said.kind) };
    let message = match said.message {
        "" => format!("{} ({status}{kind})", verb(class)),
        message => format!("{} ({status}{kind}): {}", verb(class), message.trim()),
    };
    said.judge(Fault::new(class, message).with_status(Some(status)), header_wait)
}

/// What an error in mid-stream says; the status of the response was good.
pub(crate) fn in_stream(body: &Value) -> Fault {
    let said = Said::read(body);
    let class = said.class().unwrap_or(AttemptClass::Server);
    let message = match said.message {
        "" => format!("{} in the middle of its answer", verb(class)),
        message => format!("{}: {}", verb(class), message.trim()),
    };
    said.judge(Fault::new(class, message), None)
}

/// JSON, or the beginning of it, that stood between two events.
pub(crate) fn stray(text: &str) -> Fault {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.get("error").is_some() => in_stream(&value),
        _ => Fault::malformed("sent text outside of an event"),
    }
}

/// The fields that say something, wherever they stand.
#[derive(Debug, Default)]
struct Said<'a> {
    message: &'a str,
    kind: &'a str,
    code: Code<'a>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Code<'a> {
    #[default]
    None,
    Word(&'a str),
    Status(u16),
}

impl<'a> Said<'a> {
    /// `{"error": {…}}`, `{"error": "text"}`, `{"detail": …}`, `{"message": "text"}` or the error's own fields.
    fn read(body: &'a Value) -> Self {
        let error = match body.get("error") {
            Some(Value::String(message)) => return Self { message, ..Self::default() },
            Some(error @ Value::Object(_)) => error,
            _ => body,
        };
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        let code = match error.get("code") {
            Some(Value::String(word)) => word.parse().map_or(Code::Word(word), Code::Status),
            Some(Value::Number(number)) => {
                number.as_u64().and_then(|n| u16::try_from(n).ok()).map_or(Code::None, Code::Status)
            }
            _ => Code::None,
        };
        // FastAPI lists what is wrong with each field.
        let first_detail = || error.get("detail")?.get(0)?.get("msg")?.as_str();
        let message = text("message").or_else(|| text("detail")).or_else(first_detail).unwrap_or_default();
        Self { message, kind: text("type").unwrap_or_default(), code }
    }

    /// What type, code and message say; `None` when they say nothing.
    fn class(&self) -> Option<AttemptClass> {
        let word = match self.code {
            Code::Word(word) => word,
            _ => "",
        };
        let spent = ["insufficient_quota", "billing_error", "billing_hard_limit_reached"];
        if spent.contains(&word)
            || spent.contains(&self.kind)
            || self.message.contains("credit balance is too low")
        {
            return Some(AttemptClass::QuotaSpent);
        }
        if word == "content_filter" || word == "content_policy_violation" {
            return Some(AttemptClass::Blocked);
        }
        match self.kind {
            "rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests" => {
                return Some(AttemptClass::RateLimited);
            }
            "overloaded_error"
            | "api_error"
            | "timeout_error"
            | "server_error"
            | "internal_server_error"
            | "InternalServerError" => return Some(AttemptClass::Server),
            "invalid_request_error"
            | "authentication_error"
            | "permission_error"
            | "not_found_error"
            | "request_too_large"
            | "BadRequestError"
            | "NotFoundError" => return Some(AttemptClass::Refused),
            _ => {}
        }
        match self.code {
            Code::Word("rate_limit_exceeded") => Some(AttemptClass::RateLimited),
            Code::Status(status @ 400..=599) => Some(class_of_status(status)),
            _ => None,
        }
    }

    fn judge(&self, fault: Fault, header_wait: Option<Duration>) -> Fault {
        let is_about_context = self.code == Code::Word("context_length_exceeded")
            || self.kind == "exceed_context_size_error"
            || is_about_context(self.message);
        match fault.class {
            AttemptClass::Refused if is_about_context => fault.with_code(ErrorCode::ContextLengthExceeded),
            AttemptClass::RateLimited | AttemptClass::Server => fault.with_retry_after(header_wait),
            _ => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        use AttemptClass::{Blocked, QuotaSpent, RateLimited, Refused, Server};
        for (status, body, class, part) in [
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                Refused,
                "(401 invalid_request_error): Incorrect API key provided",
            ),
            (
                429,
                r#"{"error":{"message":"quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
                QuotaSpent,
                "quota",
            ),
            (
                429,
                r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
                RateLimited,
                "slow down",
            ),
            (
                400,
                r#"{"error":{"message":"bad","type":"BadRequestError","param":null,"code":400}}"#,
                Refused,
                "bad",
            ),
            (404, r#"{"error":"model 'x' not found"}"#, Refused, "model 'x' not found"),
            (500, r#"{"error":{"message":"boom","type":"invalid_request_error"}}"#, Server, "boom"),
            (422, r#"{"detail":"no such field"}"#, Refused, "no such field"),
            (422, r#"{"detail":[{"msg":"x"}]}"#, Refused, "(422)"),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Server,
                "Overloaded",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                QuotaSpent,
                "credit",
            ),
            (400, r#"{"error":{"message":"filtered","code":"content_filter"}}"#, Blocked, "filtered"),
            (502, "<html>bad gateway</html>", Server, "(502)"),
            (503, "", Server, "(503)"),
        ] {
            let fault = fault(status, None, body);
            assert_eq!(fault.class, class, "{body}");
            assert!(fault.message.contains(part), "{}", fault.message);
            assert_eq!(fault.status, Some(status));
        }
    }

    #[test]
    fn a_prompt_that_does_not_fit_has_its_own_code() {
        for body in [
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens.","code":400}}"#,
            r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 200001 tokens > 200000 maximum"}}"#,
            r#"{"error":"the input length exceeds the context length"}"#,
        ] {
            assert_eq!(fault(400, None, body).code, ErrorCode::ContextLengthExceeded, "{body}");
        }
    }

    #[test]
    fn errors_in_mid_stream_are_judged_by_their_words() {
        let class = |body: &str| in_stream(&serde_json::from_str(body).unwrap()).class;
        assert_eq!(class(r#"{"error":{"message":"x","type":"overloaded_error"}}"#), AttemptClass::Server);
        assert_eq!(class(r#"{"error":{"message":"x","code":429}}"#), AttemptClass::RateLimited);
        assert_eq!(class(r#"{"error":{"message":"x","code":"500"}}"#), AttemptClass::Server);
        assert_eq!(class(r#"{"error":{"message":"x","code":null}}"#), AttemptClass::Server);
        assert_eq!(class(r#"{"error":"out of memory"}"#), AttemptClass::Server);
        assert_eq!(class(r#"{"error":{"type":"BadRequestError","message":"x"}}"#), AttemptClass::Refused);
    }
}
