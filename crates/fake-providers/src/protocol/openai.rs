//! OpenAI's chat completions. Source: <https://platform.openai.com/docs/api-reference/chat/streaming>.

use super::{Exchange, Trouble, retry_after_header};
use serde_json::{Value, json};
use std::fmt::Display;

pub(super) fn frame(data: impl Display) -> String {
    format!("data: {data}\n\n")
}

fn chunk(exchange: &Exchange<'_>, choices: Value) -> Value {
    json!({
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1_741_570_283,
        "model": exchange.model,
        "system_fingerprint": "fp_fc9f1d7035",
        "choices": choices,
    })
}

pub(super) fn opening(exchange: &Exchange<'_>) -> String {
    delta(exchange, json!({ "role": "assistant", "content": "" }))
}

pub(super) fn delta(exchange: &Exchange<'_>, delta: Value) -> String {
    let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null });
    frame(chunk(exchange, json!([choice])))
}

/// A call comes in pieces: its name first, then its arguments in two halves.
fn tool_call_deltas(exchange: &Exchange<'_>) -> String {
    let mut frames = String::new();
    for (index, (name, arguments)) in exchange.answer.tool_calls.iter().enumerate() {
        let begin = json!({
            "index": index,
            "id": format!("call_{index}"),
            "type": "function",
            "function": { "name": name, "arguments": "" },
        });
        frames.push_str(&delta(exchange, json!({ "tool_calls": [begin] })));
        let arguments = arguments.to_string();
        let middle = (0..=arguments.len() / 2).rev().find(|at| arguments.is_char_boundary(*at)).unwrap_or(0);
        for half in [&arguments[..middle], &arguments[middle..]] {
            let piece = json!({ "index": index, "function": { "arguments": half } });
            frames.push_str(&delta(exchange, json!({ "tool_calls": [piece] })));
        }
    }
    frames
}

pub(super) fn closing(exchange: &Exchange<'_>) -> String {
    let mut frames = tool_call_deltas(exchange);
    let last =
        json!([{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish_reason(exchange) }]);
    frames.push_str(&frame(chunk(exchange, last)));
    if exchange.body["stream_options"]["include_usage"] == true {
        let mut with_usage = chunk(exchange, json!([]));
        with_usage["usage"] = usage(exchange);
        frames.push_str(&frame(with_usage));
    }
    frames.push_str("data: [DONE]\n\n");
    frames
}

fn finish_reason<'a>(exchange: &'a Exchange<'_>) -> &'a str {
    let usual = if exchange.answer.tool_calls.is_empty() { "stop" } else { "tool_calls" };
    exchange.answer.finish_reason.as_deref().unwrap_or(usual)
}

fn usage(exchange: &Exchange<'_>) -> Value {
    let prompt = exchange.prompt_tokens() as usize;
    let completion = exchange.text_tokens() + exchange.reasoning_tokens();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": exchange.answer.cached_tokens, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": exchange.reasoning_tokens(), "audio_tokens": 0 },
    })
}

pub(super) fn whole(exchange: &Exchange<'_>) -> Value {
    let answer = exchange.answer;
    let mut message = json!({ "role": "assistant", "content": answer.tokens.concat(), "refusal": null });
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = answer.reasoning.concat().into();
    }
    if !answer.tool_calls.is_empty() {
        let calls = answer.tool_calls.iter().enumerate().map(|(index, (name, arguments))| {
            json!({
                "id": format!("call_{index}"),
                "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() },
            })
        });
        message["tool_calls"] = calls.collect();
    }
    json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": exchange.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(exchange),
        }],
        "usage": usage(exchange),
        "service_tier": "default",
    })
}

pub(super) fn error_in_stream(message: &str) -> String {
    let error = json!({ "message": message, "type": "InternalServerError", "param": null, "code": 500 });
    format!("{}data: [DONE]\n\n", frame(json!({ "error": error })))
}

pub(super) fn error(trouble: &Trouble) -> (u16, Vec<(String, String)>, Value) {
    let body = |message: String, kind: &str, code: Value| json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    match trouble {
        Trouble::BadKey { given } => (
            401,
            Vec::new(),
            body(
                format!("Incorrect API key provided: {given}. You can find your API key in your settings."),
                "invalid_request_error",
                "invalid_api_key".into(),
            ),
        ),
        Trouble::UnknownModel { model } => (
            404,
            Vec::new(),
            body(
                format!("The model `{model}` does not exist or you do not have access to it."),
                "invalid_request_error",
                "model_not_found".into(),
            ),
        ),
        Trouble::BadRequest { problem } => {
            (400, Vec::new(), body(problem.clone(), "invalid_request_error", Value::Null))
        }
        Trouble::ContextTooLong => (
            400,
            Vec::new(),
            body(
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.".into(),
                "invalid_request_error",
                "context_length_exceeded".into(),
            ),
        ),
        Trouble::RateLimited { retry_after } => (
            429,
            retry_after_header(*retry_after),
            body(
                "Rate limit reached for requests. Please slow down.".into(),
                "requests",
                "rate_limit_exceeded".into(),
            ),
        ),
        Trouble::DailyQuota => (
            429,
            Vec::new(),
            body(
                "You exceeded your current quota, please check your plan and billing details.".into(),
                "insufficient_quota",
                "insufficient_quota".into(),
            ),
        ),
        Trouble::Status(status) => (
            *status,
            Vec::new(),
            body(
                "The server had an error while processing your request. Sorry about that!".into(),
                "server_error",
                Value::Null,
            ),
        ),
    }
}

pub(super) fn models(models: &[String]) -> Value {
    let described = models.iter().map(|model| {
        json!({ "id": model, "object": "model", "created": 1_741_569_952, "owned_by": "organization-owner" })
    });
    json!({ "object": "list", "data": described.collect::<Vec<_>>() })
}
