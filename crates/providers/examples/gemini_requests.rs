//! Writes every kind of body that is sent to Gemini into a file, one JSON object a line, so that tools of others can
//! hold them against the official packages.
//!
//!     gemini_requests FILE

use boca_core::{ChatMessage, GenerateRequest, ProviderKind, Role, SamplingOverrides, ToolCall};
use boca_fake_providers::FakeProvider;
use boca_providers::{AskOptions, Endpoint, HttpProvider};
use std::error::Error;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const MODELS: [&str; 6] = [
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3.8-flash",
    "gemini-3.1-pro-preview",
    "gemini-flash-latest",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: gemini_requests FILE")?;
    let fake = FakeProvider::start().await?;
    for model in MODELS {
        let mut endpoint = Endpoint::new("gemini", ProviderKind::Gemini, model);
        endpoint.base_url = fake.base_url();
        let provider = HttpProvider::new(endpoint)?;
        for (request, options) in asks()? {
            provider.attempt(&request, &options, Instant::now() + LIMIT).await?;
            provider.count_tokens(&request, &options, LIMIT).await?;
        }
    }
    let lines = fake.seen().into_iter().map(|seen| {
        let line = serde_json::json!({ "path": seen.path, "query": seen.query, "body": seen.json() });
        format!("{line}\n")
    });
    std::fs::write(file, lines.collect::<String>())?;
    Ok(())
}

/// Asks that together use every field.
fn asks() -> Result<Vec<(GenerateRequest, AskOptions)>, Box<dyn Error>> {
    let plain =
        GenerateRequest::new("dump".parse()?, vec![ChatMessage::user("how are you? 🦀")], 4096, LIMIT);
    let sampled = |sampling| GenerateRequest { sampling, ..plain.clone() };
    let call = |arguments: &str| ToolCall { name: "weather".into(), arguments_json: arguments.into() };
    let with_tools = GenerateRequest {
        messages: vec![
            ChatMessage::system("be brief"),
            ChatMessage::user("what is the weather?"),
            ChatMessage {
                tool_calls: vec![call(r#"{"city":"Riga","days":[1,2],"deep":{"a":null}}"#), call("{}")],
                ..ChatMessage::assistant("I will look.")
            },
            ChatMessage::text(Role::Tool, "rain"),
            ChatMessage::text(Role::Tool, r#"{"sky":"grey"}"#),
            ChatMessage::assistant("It rains."),
            ChatMessage::user("and tomorrow?"),
        ],
        tools_json: vec![
            r#"{"type":"function","function":{"name":"weather","description":"tells the weather","parameters":{"type":"object","properties":{"city":{"type":"string","enum":["Riga"]}},"required":["city"],"additionalProperties":false}}}"#.into(),
            r#"{"type":"function","function":{"name":"now"}}"#.into(),
        ],
        ..plain.clone()
    };
    let everything = GenerateRequest {
        sampling: SamplingOverrides {
            temperature: Some(0.2),
            top_p: Some(0.95),
            top_k: Some(40),
            min_p: Some(0.05),
            repetition_penalty: Some(1.1),
            presence_penalty: Some(2.0),
            frequency_penalty: Some(-2.0),
            seed: Some(u64::MAX - 3),
            logit_bias: Some([(1, 1.0)].into()),
            max_tokens: Some(7),
            thinking: Some(true),
            thinking_budget_tokens: Some(20_000),
        },
        max_tokens: Some(1000),
        stop: vec!["END".into(), "\n\n".into()],
        top_logprobs: Some(5),
        ..with_tools.clone()
    };
    let schema = serde_json::json!({
        "$defs": { "city": { "type": "string", "minLength": 1 } },
        "type": "object",
        "properties": { "city": { "$ref": "#/$defs/city" }, "degrees": { "type": ["number", "null"] } },
        "required": ["city"],
        "additionalProperties": false,
    });
    let default = AskOptions::default;
    let thinking = |thinking, thinking_budget_tokens| {
        sampled(SamplingOverrides { thinking, thinking_budget_tokens, ..SamplingOverrides::default() })
    };
    Ok(vec![
        (plain.clone(), default()),
        (plain.clone(), AskOptions { unary: true, ..default() }),
        (plain.clone(), AskOptions { json_schema: Some(schema), ..default() }),
        (plain.clone(), AskOptions { thinking_budget_tokens: Some(0), ..default() }),
        (GenerateRequest { top_logprobs: Some(0), ..plain.clone() }, default()),
        (thinking(Some(false), None), default()),
        (thinking(Some(true), None), default()),
        (thinking(None, Some(1)), default()),
        (thinking(None, Some(5000)), default()),
        (thinking(None, Some(1_000_000)), default()),
        (with_tools, default()),
        (everything, default()),
    ])
}
