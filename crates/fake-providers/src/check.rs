//! What the real servers refuse about a request's body, as far as boca could get it wrong.

use crate::protocol::Protocol;
use serde_json::{Map, Value};

/// The first thing that is wrong; `None` when a real server would take it.
pub(crate) fn problem(protocol: Protocol, body: &Value) -> Option<String> {
    let Value::Object(fields) = body else { return Some("the body must be a JSON object".into()) };
    match protocol {
        Protocol::Gemini => gemini(fields),
        Protocol::Openai => needs(fields, &["model", "messages"]).or_else(|| turns(&fields["messages"])),
        Protocol::Ollama => needs(fields, &["model"]),
        Protocol::Anthropic => anthropic(fields),
    }
}

fn needs(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let missing = names.iter().find(|name| !fields.contains_key(**name))?;
    Some(format!("{missing}: Field required"))
}

fn knows(fields: &Map<String, Value>, at: &str, names: &[&str]) -> Option<String> {
    let unknown = fields.keys().find(|name| !names.contains(&name.as_str()))?;
    let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
    Some(format!("Unknown name \"{unknown}\"{place}: Cannot find field."))
}

fn gemini(fields: &Map<String, Value>) -> Option<String> {
    const REQUEST: &[&str] = &[
        "cachedContent",
        "contents",
        "generationConfig",
        "labels",
        "model",
        "safetySettings",
        "serviceTier",
        "store",
        "systemInstruction",
        "toolConfig",
        "tools",
    ];
    const CONFIG: &[&str] = &[
        "candidateCount",
        "frequencyPenalty",
        "logprobs",
        "maxOutputTokens",
        "presencePenalty",
        "responseJsonSchema",
        "responseLogprobs",
        "responseMimeType",
        "responseModalities",
        "responseSchema",
        "seed",
        "stopSequences",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    ];
    if let Some(problem) = knows(fields, "", REQUEST).or_else(|| needs(fields, &["contents"])) {
        return Some(problem);
    }
    let empty = Map::new();
    let config = fields.get("generationConfig").and_then(Value::as_object).unwrap_or(&empty);
    if let Some(problem) = knows(config, "generation_config", CONFIG) {
        return Some(problem);
    }
    let thinking = &config.get("thinkingConfig").cloned().unwrap_or_default();
    if thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some() {
        return Some("You can only set one of thinking budget and thinking level.".into());
    }
    let contents = fields["contents"].as_array()?;
    if contents.is_empty() {
        return Some("contents is not specified".into());
    }
    contents.iter().find_map(|content| {
        let role = content["role"].as_str().unwrap_or("user");
        if !matches!(role, "user" | "model") {
            return Some("Please use a valid role: user, model.".into());
        }
        let has_parts = content["parts"].as_array().is_some_and(|parts| !parts.is_empty());
        (!has_parts).then(|| "contents.parts must not be empty.".into())
    })
}

fn turns(messages: &Value) -> Option<String> {
    let Some(messages) = messages.as_array() else { return Some("messages: must be an array".into()) };
    messages.iter().enumerate().find_map(|(index, message)| {
        let role = message["role"].as_str().unwrap_or_default();
        let known = matches!(role, "system" | "developer" | "user" | "assistant" | "tool");
        (!known).then(|| format!("Invalid value: '{role}' at messages[{index}].role"))
    })
}

fn anthropic(fields: &Map<String, Value>) -> Option<String> {
    if let Some(problem) = needs(fields, &["model", "max_tokens", "messages"]) {
        return Some(problem);
    }
    let max_tokens = fields["max_tokens"].as_u64().unwrap_or(0);
    let budget = fields.get("thinking").and_then(|thinking| thinking["budget_tokens"].as_u64());
    if budget.is_some_and(|budget| budget < 1024) {
        return Some("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".into());
    }
    if budget.is_some_and(|budget| budget >= max_tokens) {
        return Some("`max_tokens` must be greater than `thinking.budget_tokens`".into());
    }
    if fields.get("temperature").and_then(Value::as_f64).is_some_and(|t| t > 1.0) {
        return Some("temperature: range: 0..1".into());
    }
    let Some(messages) = fields["messages"].as_array().filter(|messages| !messages.is_empty()) else {
        return Some("messages: at least one message is required".into());
    };
    messages.iter().enumerate().find_map(|(index, message)| match message["role"].as_str() {
        Some("user" | "assistant") => {
            let blocks = message["content"].as_array();
            let is_blank = |block: &Value| block["text"].as_str().is_some_and(|text| text.trim().is_empty());
            (message["content"].as_str().is_none()
                && blocks.is_none_or(|blocks| blocks.is_empty() || blocks.iter().any(is_blank)))
            .then(|| format!("messages.{index}: text content blocks must be non-empty"))
        }
        role => Some(format!("messages.{index}.role: unexpected role {role:?}")),
    })
}
