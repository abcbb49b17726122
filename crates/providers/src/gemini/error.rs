//! Error bodies, and what can be done about them.
//!
//! Source: `google.rpc.Status` and its details, <https://ai.google.dev/gemini-api/docs/troubleshooting>.

use crate::AttemptClass;
use crate::decode::{count, or_default};
use crate::fault::{Fault, class_of_status, is_about_context, verb};
use crate::retry_after;
use boca_core::ErrorCode;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Who wants to be left alone for longer than this is not retried.
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(300);
/// How long a quota per minute may need to come back: an estimate of ours, for a server that does not say.
const MINUTE: Duration = Duration::from_secs(60);

/// What an error body says. `status` is that of the response, `None` in mid-stream; `header_wait` is its
/// `Retry-After`. A body that is no error of this protocol is judged by its status alone.
pub(crate) fn fault(status: Option<u16>, header_wait: Option<Duration>, body: &str) -> Fault {
    match read(body) {
        Some(error) => classify(&error, status, header_wait),
        None => {
            let class = status.map_or(AttemptClass::Malformed, class_of_status);
            let said = status.map_or_else(String::new, |status| format!(" with status {status}"));
            Fault::new(class, format!("{}{said}, without an error that can be read", verb(class)))
                .with_status(status)
                .with_retry_after(header_wait)
        }
    }
}

/// The error object, bare, in its envelope, or in an envelope in an array of one.
fn read(body: &str) -> Option<Status> {
    let mut value: Value = serde_json::from_str(body).ok()?;
    if let Value::Array(values) = &mut value {
        value = values.pop()?;
    }
    let error = value.get_mut("error").map(Value::take)?;
    serde_json::from_value(error).ok()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "count")]
    code: u32,
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    details: Vec<Detail>,
}

/// The details that matter, one flat struct for all their types.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    #[serde(deserialize_with = "or_default")]
    violations: Vec<Violation>,
    #[serde(deserialize_with = "or_default")]
    reason: String,
    #[serde(deserialize_with = "or_default")]
    retry_delay: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Violation {
    #[serde(deserialize_with = "or_default")]
    quota_id: String,
}

fn classify(error: &Status, status: Option<u16>, header_wait: Option<Duration>) -> Fault {
    let code = u16::try_from(error.code).ok().filter(|code| *code != 0).or(status);
    let (class, wait) = class_and_wait(error, code, header_wait);
    let mut message = verb(class).to_owned();
    if let Some(code) = code {
        message.push_str(&format!(" ({code} {})", error.status));
    }
    message.push_str(": ");
    message.push_str(error.message.trim());
    let fault = Fault::new(class, message).with_status(code).with_retry_after(wait);
    if class == AttemptClass::Refused && is_about_context(&error.message) {
        return fault.with_code(ErrorCode::ContextLengthExceeded);
    }
    fault
}

/// The order matters: a spent daily quota still carries a `retryDelay` of some seconds.
fn class_and_wait(
    error: &Status,
    code: Option<u16>,
    header_wait: Option<Duration>,
) -> (AttemptClass, Option<Duration>) {
    let quota_ids =
        || error.details.iter().flat_map(|detail| &detail.violations).map(|violation| &violation.quota_id);
    let quota_names = |words: &[&str]| quota_ids().any(|id| words.iter().any(|word| id.contains(word)));
    let reason_is = |reasons: &[&str]| error.details.iter().any(|detail| reasons.contains(&&*detail.reason));
    if quota_names(&["PerDay", "Daily"]) || error.message.contains("limit: 0") {
        return (AttemptClass::QuotaSpent, None);
    }
    if reason_is(&["MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"]) {
        return (AttemptClass::QuotaSpent, None);
    }
    let class = match (&*error.status, code) {
        ("RESOURCE_EXHAUSTED", _) => AttemptClass::RateLimited,
        ("UNAVAILABLE" | "INTERNAL" | "DEADLINE_EXCEEDED" | "CANCELLED" | "ABORTED" | "UNKNOWN", _) => {
            AttemptClass::Server
        }
        ("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "PERMISSION_DENIED" | "UNAUTHENTICATED", _)
        | ("NOT_FOUND" | "OUT_OF_RANGE" | "ALREADY_EXISTS" | "UNIMPLEMENTED", _) => AttemptClass::Refused,
        (_, Some(code)) => class_of_status(code),
        (_, None) => AttemptClass::Server,
    };
    let retry_info = error.details.iter().find_map(|detail| retry_after::of_text(&detail.retry_delay));
    let per_minute = quota_names(&["PerMinute"]).then_some(MINUTE);
    let told = retry_info.or_else(|| in_prose(&error.message)).or(header_wait);
    let wait = told.or(per_minute);
    match (class, wait) {
        (AttemptClass::RateLimited, Some(wait)) if wait > LONGEST_RETRY_DELAY => {
            (AttemptClass::QuotaSpent, Some(wait))
        }
        (AttemptClass::RateLimited | AttemptClass::Server, wait) => (class, wait),
        (class, _) => (class, None),
    }
}

/// "Please retry in 25.46s."
fn in_prose(message: &str) -> Option<Duration> {
    let rest = message.split("Please retry in ").nth(1)?;
    let end = rest.find('s')? + 1;
    retry_after::of_text(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(message: &str, retry_delay: Option<&str>, header_wait: Option<u64>) -> Option<Duration> {
        let delay =
            retry_delay.map(|delay| format!(r#", {{ "retryDelay": "{delay}" }}"#)).unwrap_or_default();
        let body = format!(
            r#"{{ "error": {{ "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "{message}",
                "details": [{{ "violations": [{{ "quotaId": "RequestsPerMinutePerProject" }}] }}{delay}] }} }}"#
        );
        let fault = fault(Some(429), header_wait.map(Duration::from_secs), &body);
        assert_eq!(fault.class, AttemptClass::RateLimited);
        fault.retry_after
    }

    #[test]
    fn what_the_server_says_stands_above_our_estimate() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(wait_of("Quota.", None, None), seconds(60));
        assert_eq!(wait_of("Quota.", None, Some(7)), seconds(7));
        assert_eq!(wait_of("Quota. Please retry in 5s.", None, Some(7)), seconds(5));
        assert_eq!(wait_of("Quota. Please retry in 5s.", Some("3s"), Some(7)), seconds(3));
    }
}
