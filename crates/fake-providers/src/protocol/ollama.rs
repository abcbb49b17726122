//! Ollama's API. Source: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

use super::{Exchange, Trouble, retry_after_header};
use serde_json::{Value, json};

fn line(exchange: &Exchange<'_>, message: Value) -> Value {
    json!({
        "model": exchange.model,
        "created_at": "2026-11-22T12:00:00.123456789Z",
        "message": message,
        "done": false,
    })
}

pub(super) fn text(exchange: &Exchange<'_>, text: &str, is_thought: bool) -> String {
    let message = if is_thought {
        json!({ "role": "assistant", "content": "", "thinking": text })
    } else {
        json!({ "role": "assistant", "content": text })
    };
    format!("{}\n", line(exchange, message))
}

fn calls(exchange: &Exchange<'_>) -> Vec<Value> {
    let calls = exchange.answer.tool_calls.iter();
    calls.map(|(name, arguments)| json!({ "function": { "name": name, "arguments": arguments } })).collect()
}

fn finished(exchange: &Exchange<'_>, mut line: Value) -> Value {
    let n_generated = exchange.text_tokens() + exchange.reasoning_tokens();
    line["done"] = true.into();
    line["done_reason"] = exchange.answer.finish_reason.as_deref().unwrap_or("stop").into();
    // Nanoseconds.
    line["total_duration"] = 4_648_158_584_u64.into();
    line["load_duration"] = 4_071_084_u64.into();
    line["prompt_eval_count"] = exchange.prompt_tokens().into();
    line["prompt_eval_duration"] = 439_038_000_u64.into();
    line["eval_count"] = n_generated.into();
    line["eval_duration"] = 4_196_918_000_u64.into();
    line
}

pub(super) fn closing(exchange: &Exchange<'_>) -> String {
    let mut lines = String::new();
    let calls = calls(exchange);
    if !calls.is_empty() {
        let message = json!({ "role": "assistant", "content": "", "tool_calls": calls });
        lines.push_str(&format!("{}\n", line(exchange, message)));
    }
    let last = finished(exchange, line(exchange, json!({ "role": "assistant", "content": "" })));
    lines.push_str(&format!("{last}\n"));
    lines
}

pub(super) fn whole(exchange: &Exchange<'_>) -> Value {
    let answer = exchange.answer;
    let mut message = json!({ "role": "assistant", "content": answer.tokens.concat() });
    if !answer.reasoning.is_empty() {
        message["thinking"] = answer.reasoning.concat().into();
    }
    let calls = calls(exchange);
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    finished(exchange, line(exchange, message))
}

pub(super) fn error_in_stream(message: &str) -> String {
    format!("{}\n", json!({ "error": message }))
}

pub(super) fn error(trouble: &Trouble) -> (u16, Vec<(String, String)>, Value) {
    let (status, headers, message) = match trouble {
        Trouble::BadKey { .. } => (401, Vec::new(), "unauthorized".to_owned()),
        Trouble::UnknownModel { model } => (404, Vec::new(), format!("model '{model}' not found")),
        Trouble::BadRequest { problem } => (400, Vec::new(), problem.clone()),
        Trouble::ContextTooLong => {
            (400, Vec::new(), "the input length exceeds the context length".to_owned())
        }
        Trouble::RateLimited { retry_after } => {
            (429, retry_after_header(*retry_after), "too many requests".to_owned())
        }
        Trouble::DailyQuota => (429, Vec::new(), "you have reached your daily usage limit".to_owned()),
        Trouble::Status(503) => {
            (503, Vec::new(), "server busy, please try again. maximum pending requests exceeded".to_owned())
        }
        Trouble::Status(status) => (*status, Vec::new(), "llama runner process has terminated".to_owned()),
    };
    (status, headers, json!({ "error": message }))
}

pub(super) fn models(models: &[String]) -> Value {
    let described = models.iter().map(|model| {
        json!({
            "name": model,
            "model": model,
            "modified_at": "2026-11-04T14:56:49.277302595-07:00",
            "size": 7_365_960_935_u64,
            "digest": "9f438cb9cd581fc025612d27f7c1a6669ff83a8bb0ed86c94fcf4c5440555697",
            "details": {
                "format": "gguf",
                "family": "llama",
                "families": null,
                "parameter_size": "13B",
                "quantization_level": "Q4_0",
            },
        })
    });
    json!({ "models": described.collect::<Vec<_>>() })
}
