//! Anthropic's Messages API. Source: <https://docs.claude.com/en/api/messages-streaming>.

use super::{Exchange, Trouble, retry_after_header};
use serde_json::{Value, json};

fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default())
}

fn message(exchange: &Exchange<'_>, content: Value) -> Value {
    json!({
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": exchange.model,
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": exchange.prompt_tokens().saturating_sub(exchange.answer.cached_tokens),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": exchange.answer.cached_tokens,
            "output_tokens": 1,
        },
    })
}

pub(super) fn opening(exchange: &Exchange<'_>) -> String {
    let start = json!({ "type": "message_start", "message": message(exchange, json!([])) });
    format!("{}{}", event(&start), event(&json!({ "type": "ping" })))
}

/// Thinking is the first block, text the next one.
fn text_block(exchange: &Exchange<'_>) -> usize {
    usize::from(exchange.reasoning_tokens() > 0)
}

fn begin(index: usize, block: Value) -> String {
    event(&json!({ "type": "content_block_start", "index": index, "content_block": block }))
}

fn piece(index: usize, delta: Value) -> String {
    event(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))
}

fn end(index: usize) -> String {
    event(&json!({ "type": "content_block_stop", "index": index }))
}

pub(super) fn reasoning(exchange: &Exchange<'_>, at: usize, text: &str) -> String {
    let mut events = String::new();
    if at == 0 {
        events.push_str(&begin(0, json!({ "type": "thinking", "thinking": "", "signature": "" })));
    }
    events.push_str(&piece(0, json!({ "type": "thinking_delta", "thinking": text })));
    if at + 1 == exchange.reasoning_tokens() {
        events.push_str(&piece(
            0,
            json!({ "type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h" }),
        ));
        events.push_str(&end(0));
    }
    events
}

pub(super) fn token(exchange: &Exchange<'_>, at: usize, text: &str) -> String {
    let index = text_block(exchange);
    let mut events = String::new();
    if at == 0 {
        events.push_str(&begin(index, json!({ "type": "text", "text": "" })));
    }
    events.push_str(&piece(index, json!({ "type": "text_delta", "text": text })));
    events
}

pub(super) fn closing(exchange: &Exchange<'_>) -> String {
    let mut events = String::new();
    let mut index = text_block(exchange);
    if exchange.text_tokens() > 0 {
        events.push_str(&end(index));
        index += 1;
    }
    for (n, (name, arguments)) in exchange.answer.tool_calls.iter().enumerate() {
        let block = json!({ "type": "tool_use", "id": format!("toolu_{n}"), "name": name, "input": {} });
        events.push_str(&begin(index, block));
        let text = arguments.to_string();
        let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        for half in ["", &text[..middle], &text[middle..]] {
            events.push_str(&piece(index, json!({ "type": "input_json_delta", "partial_json": half })));
        }
        events.push_str(&end(index));
        index += 1;
    }
    events.push_str(&event(&json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(exchange), "stop_sequence": null },
        "usage": { "output_tokens": output_tokens(exchange) },
    })));
    events.push_str(&event(&json!({ "type": "message_stop" })));
    events
}

fn stop_reason<'a>(exchange: &'a Exchange<'_>) -> &'a str {
    let usual = if exchange.answer.tool_calls.is_empty() { "end_turn" } else { "tool_use" };
    exchange.answer.finish_reason.as_deref().unwrap_or(usual)
}

fn output_tokens(exchange: &Exchange<'_>) -> usize {
    exchange.text_tokens() + exchange.reasoning_tokens()
}

pub(super) fn whole(exchange: &Exchange<'_>) -> Value {
    let answer = exchange.answer;
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content
            .push(json!({ "type": "thinking", "thinking": answer.reasoning.concat(), "signature": "EqQB" }));
    }
    if !answer.tokens.is_empty() {
        content.push(json!({ "type": "text", "text": answer.tokens.concat() }));
    }
    for (n, (name, arguments)) in answer.tool_calls.iter().enumerate() {
        content.push(
            json!({ "type": "tool_use", "id": format!("toolu_{n}"), "name": name, "input": arguments }),
        );
    }
    let mut message = message(exchange, Value::Array(content));
    message["stop_reason"] = stop_reason(exchange).into();
    message["usage"]["output_tokens"] = output_tokens(exchange).into();
    message
}

pub(super) fn error_in_stream(message: &str) -> String {
    event(&json!({ "type": "error", "error": { "type": "overloaded_error", "message": message } }))
}

pub(super) fn error(trouble: &Trouble) -> (u16, Vec<(String, String)>, Value) {
    let body = |kind: &str, message: String| {
        json!({
            "type": "error",
            "error": { "type": kind, "message": message },
            "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
        })
    };
    match trouble {
        Trouble::BadKey { given } => {
            (401, Vec::new(), body("authentication_error", format!("invalid x-api-key {given}")))
        }
        Trouble::UnknownModel { model } => {
            (404, Vec::new(), body("not_found_error", format!("model: {model}")))
        }
        Trouble::BadRequest { problem } => (400, Vec::new(), body("invalid_request_error", problem.clone())),
        Trouble::ContextTooLong => (
            400,
            Vec::new(),
            body("invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum".into()),
        ),
        Trouble::RateLimited { retry_after } => (
            429,
            retry_after_header(*retry_after),
            body("rate_limit_error", "This request would exceed your rate limit.".into()),
        ),
        Trouble::DailyQuota => (
            400,
            Vec::new(),
            body("invalid_request_error", "Your credit balance is too low to access the API.".into()),
        ),
        Trouble::Status(529) => (529, Vec::new(), body("overloaded_error", "Overloaded".into())),
        Trouble::Status(status) => (*status, Vec::new(), body("api_error", "Internal server error".into())),
    }
}

pub(super) fn models(models: &[String]) -> Value {
    let described = models.iter().map(|model| {
        json!({ "type": "model", "id": model, "display_name": model, "created_at": "2026-02-19T00:00:00Z" })
    });
    json!({
        "data": described.collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first(),
        "last_id": models.last(),
    })
}
