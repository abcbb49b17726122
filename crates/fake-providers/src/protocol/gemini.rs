//! Gemini's API. Source: <https://ai.google.dev/api/generate-content>, and recorded responses in public test data.

use super::{Exchange, Trouble};
use serde_json::{Value, json};
use std::fmt::Display;

pub(super) fn frame(data: impl Display) -> String {
    format!("data: {data}\r\n\r\n")
}

fn chunk(exchange: &Exchange<'_>, parts: Value, finish_reason: Option<&str>) -> Value {
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = reason.into();
    }
    if finish_reason == Some("SAFETY") {
        candidate["safetyRatings"] =
            json!([{ "category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": true }]);
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": usage(exchange, finish_reason.is_some()),
        "modelVersion": exchange.model,
        "responseId": "mXn4Z8iKHuWNxN8P2fGWqQ0",
    })
}

/// Counts of the answer come with its end.
fn usage(exchange: &Exchange<'_>, is_over: bool) -> Value {
    let prompt = exchange.prompt_tokens();
    let (text, thoughts) = (exchange.text_tokens(), exchange.reasoning_tokens());
    let mut usage = json!({
        "promptTokenCount": prompt,
        "totalTokenCount": prompt,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": prompt }],
    });
    if exchange.answer.cached_tokens > 0 {
        usage["cachedContentTokenCount"] = exchange.answer.cached_tokens.into();
    }
    if is_over {
        usage["candidatesTokenCount"] = text.into();
        usage["totalTokenCount"] = (prompt as usize + text + thoughts).into();
        if thoughts > 0 {
            usage["thoughtsTokenCount"] = thoughts.into();
        }
    }
    usage
}

pub(super) fn text(exchange: &Exchange<'_>, text: &str, is_thought: bool) -> String {
    let part = if is_thought { json!({ "text": text, "thought": true }) } else { json!({ "text": text }) };
    frame(chunk(exchange, json!([part]), None))
}

fn calls(exchange: &Exchange<'_>) -> Vec<Value> {
    let calls = exchange.answer.tool_calls.iter();
    calls.map(|(name, arguments)| json!({ "functionCall": { "name": name, "args": arguments } })).collect()
}

pub(super) fn closing(exchange: &Exchange<'_>) -> String {
    let mut parts = calls(exchange);
    if parts.is_empty() {
        parts.push(json!({ "text": "" }));
    }
    frame(chunk(exchange, Value::Array(parts), Some(finish_reason(exchange))))
}

fn finish_reason<'a>(exchange: &'a Exchange<'_>) -> &'a str {
    exchange.answer.finish_reason.as_deref().unwrap_or("STOP")
}

pub(super) fn whole(exchange: &Exchange<'_>) -> Value {
    let mut parts = Vec::new();
    if !exchange.answer.reasoning.is_empty() {
        parts.push(json!({ "text": exchange.answer.reasoning.concat(), "thought": true }));
    }
    if !exchange.answer.tokens.is_empty() {
        parts.push(json!({ "text": exchange.answer.tokens.concat() }));
    }
    parts.extend(calls(exchange));
    chunk(exchange, Value::Array(parts), Some(finish_reason(exchange)))
}

pub(super) fn blocked_prompt(exchange: &Exchange<'_>, stream: bool) -> String {
    let prompt = exchange.prompt_tokens();
    let body = json!({
        "promptFeedback": {
            "blockReason": "SAFETY",
            "safetyRatings": [
                { "category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": true },
                { "category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE" },
            ],
        },
        "usageMetadata": { "promptTokenCount": prompt, "totalTokenCount": prompt },
        "modelVersion": exchange.model,
    });
    if stream { frame(&body) } else { body.to_string() }
}

/// Not a frame: the bare, pretty-printed error object, as the real server sends it.
pub(super) fn error_in_stream(message: &str) -> String {
    let body = json!({ "error": { "code": 503, "message": message, "status": "UNAVAILABLE" } });
    format!("{body:#}").replace('\n', "\r\n")
}

pub(super) fn error(trouble: &Trouble) -> (u16, Vec<(String, String)>, Value) {
    let (status, word, message, details) = match trouble {
        Trouble::BadKey { given } => (
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.".to_owned(),
            json!([
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": { "service": "generativelanguage.googleapis.com" },
                },
                // The real server is known to echo the key here.
                {
                    "@type": "type.googleapis.com/google.rpc.DebugInfo",
                    "detail": format!("Invalid API key: {given}"),
                },
            ]),
        ),
        Trouble::UnknownModel { model } => (
            404,
            "NOT_FOUND",
            format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
            ),
            Value::Null,
        ),
        Trouble::BadRequest { problem } => (
            400,
            "INVALID_ARGUMENT",
            format!("Invalid JSON payload received. {problem}"),
            json!([{
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{ "description": format!("Invalid JSON payload received. {problem}") }],
            }]),
        ),
        Trouble::ContextTooLong => (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
                .to_owned(),
            Value::Null,
        ),
        Trouble::RateLimited { retry_after } => {
            let mut details = vec![quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "10")];
            details.extend(retry_after.map(retry_info));
            (
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.".to_owned(),
                Value::Array(details),
            )
        }
        Trouble::DailyQuota => (
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.".to_owned(),
            json!([
                quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"),
                retry_info(std::time::Duration::from_secs(47)),
            ]),
        ),
        Trouble::Status(status) => {
            let (word, message) = match status {
                500 => ("INTERNAL", "An internal error has occurred. Please retry."),
                503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
                504 => ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
                403 => ("PERMISSION_DENIED", "The caller does not have permission"),
                _ => ("UNKNOWN", "Something went wrong."),
            };
            (*status, word, message.to_owned(), Value::Null)
        }
    };
    let mut error = json!({ "code": status, "message": message, "status": word });
    if !details.is_null() {
        error["details"] = details;
    }
    (status, Vec::new(), json!({ "error": error }))
}

fn quota(id: &str, value: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": id,
            "quotaDimensions": { "location": "global", "model": "gemini-3.8-flash" },
            "quotaValue": value,
        }],
    })
}

fn retry_info(wait: std::time::Duration) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": format!("{}s", wait.as_secs_f64()),
    })
}

pub(super) fn models(models: &[String]) -> Value {
    let described = models.iter().map(|model| {
        json!({
            "name": format!("models/{model}"),
            "version": "001",
            "displayName": model,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
            "thinking": true,
        })
    });
    json!({ "models": described.collect::<Vec<_>>() })
}
