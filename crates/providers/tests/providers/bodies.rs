//! What is sent, field by field, held by snapshots.

use crate::support::{KINDS, ask, endpoint, full_request, request};
use boca_core::{ChatMessage, ProviderKind};
use boca_fake_providers::FakeProvider;
use boca_providers::{AskOptions, HttpProvider};
use serde_json::{Value, json};

/// The body of one ask.
async fn body(kind: ProviderKind, model: &str, change: impl FnOnce(&mut Asked)) -> Value {
    let fake = FakeProvider::start().await.unwrap();
    let mut asked = Asked { request: request(), options: AskOptions::default(), continues: false };
    change(&mut asked);
    let mut endpoint = endpoint(kind, &fake);
    endpoint.model = model.into();
    endpoint.continues_answers = asked.continues;
    let outcome = ask(&HttpProvider::new(endpoint).unwrap(), &asked.request, &asked.options).await;
    outcome.summary();
    fake.asks()[0].json()
}

struct Asked {
    request: boca_core::GenerateRequest,
    options: AskOptions,
    continues: bool,
}

#[tokio::test]
async fn everything_that_can_be_said_is_said() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let options = AskOptions {
            json_schema: Some(json!({ "type": "object", "properties": { "sky": { "type": "string" } } })),
            ..AskOptions::default()
        };
        let mut request = full_request();
        request.top_logprobs = Some(3);
        let outcome = ask(&HttpProvider::new(endpoint(kind, &fake)).unwrap(), &request, &options).await;
        outcome.summary();
        let seen = &fake.asks()[0];
        let address = match seen.query.as_str() {
            "" => seen.path.clone(),
            query => format!("{}?{query}", seen.path),
        };
        let sent = format!("POST {address}\n{:#}", seen.json());
        insta::assert_snapshot!(format!("body-{}", kind.as_str()), sent);
    }
}

#[tokio::test]
async fn a_plain_question_says_no_more_than_it_must() {
    let plain = |_: &mut Asked| {};
    assert_eq!(
        body(ProviderKind::Gemini, "gemini-2.0-flash", plain).await,
        json!({
            "contents": [{ "role": "user", "parts": [{ "text": "how are you?" }] }],
            "generationConfig": { "maxOutputTokens": 4096 },
        })
    );
    assert_eq!(
        body(ProviderKind::Openai, "m", plain).await,
        json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "how are you?" }],
            "stream": true,
            "stream_options": { "include_usage": true },
            "max_tokens": 4096,
        })
    );
    assert_eq!(
        body(ProviderKind::Ollama, "m", plain).await,
        json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "how are you?" }],
            "stream": true,
            "truncate": false,
            "shift": false,
            "options": { "num_predict": 4096 },
        })
    );
    assert_eq!(
        body(ProviderKind::Anthropic, "claude-sonnet-4-5", plain).await,
        json!({
            "max_tokens": 4096,
            "stream": true,
            "model": "claude-sonnet-4-5",
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "how are you?" }] }],
        })
    );
}

#[tokio::test]
async fn thinking_is_said_in_the_words_of_each_model() {
    let off = |asked: &mut Asked| asked.request.sampling.thinking = Some(false);
    let on = |asked: &mut Asked| asked.request.sampling.thinking = Some(true);
    let little = |asked: &mut Asked| asked.options.thinking_budget_tokens = Some(500);
    let much = |asked: &mut Asked| asked.options.thinking_budget_tokens = Some(20_000);
    let thinking = |body: Value| body["generationConfig"]["thinkingConfig"].clone();
    let gemini = ProviderKind::Gemini;
    assert_eq!(thinking(body(gemini, "gemini-2.5-flash", off).await), json!({ "thinkingBudget": 0 }));
    assert_eq!(thinking(body(gemini, "gemini-2.5-pro", off).await), json!({ "thinkingBudget": 128 }));
    assert_eq!(
        thinking(body(gemini, "gemini-2.5-flash", on).await),
        json!({ "includeThoughts": true, "thinkingBudget": -1 })
    );
    assert_eq!(thinking(body(gemini, "gemini-3.8-flash", off).await), json!({ "thinkingLevel": "MINIMAL" }));
    assert_eq!(
        thinking(body(gemini, "gemini-flash-latest", much).await),
        json!({ "includeThoughts": true, "thinkingLevel": "HIGH" })
    );
    assert_eq!(
        thinking(body(gemini, "models/gemini-4-argon", little).await),
        json!({ "includeThoughts": true, "thinkingLevel": "LOW" })
    );
    assert_eq!(thinking(body(gemini, "gemma-3-27b-it", on).await), Value::Null);

    let anthropic = ProviderKind::Anthropic;
    let sent = body(anthropic, "claude-sonnet-4-5", little).await;
    assert_eq!(sent["thinking"], json!({ "type": "enabled", "budget_tokens": 1024 }));
    assert_eq!(sent["max_tokens"], 4096 + 1024);
    let sent = body(anthropic, "claude-opus-4-7", much).await;
    assert_eq!(sent["thinking"], json!({ "type": "adaptive", "display": "summarized" }));
    assert_eq!(sent["output_config"], json!({ "effort": "high" }));
    assert_eq!(body(anthropic, "claude-opus-5", off).await["thinking"], json!({ "type": "disabled" }));
    assert_eq!(body(anthropic, "claude-opus-4-7", off).await["thinking"], Value::Null);
    // No room for the least budget beside an answer of this length.
    let tight = |asked: &mut Asked| {
        asked.request.max_tokens = Some(1000);
        asked.options.thinking_budget_tokens = Some(2000);
    };
    let sent = body(anthropic, "claude-sonnet-4-5", tight).await;
    assert_eq!((&sent["thinking"], &sent["max_tokens"]), (&Value::Null, &json!(1000)));

    let openai = ProviderKind::Openai;
    let sent = body(openai, "glm-4.5-air", off).await;
    assert_eq!(sent["chat_template_kwargs"], json!({ "enable_thinking": false }));
    assert_eq!(body(ProviderKind::Ollama, "m", off).await["think"], json!(false));
    assert_eq!(body(ProviderKind::Ollama, "m", on).await["think"], json!(true));
}

#[tokio::test]
async fn newer_models_of_anthropic_get_no_sampling() {
    let sampled = |asked: &mut Asked| {
        asked.request.sampling.temperature = Some(1.5);
        asked.request.sampling.top_p = Some(0.9);
        asked.request.sampling.top_k = Some(5);
    };
    let old = body(ProviderKind::Anthropic, "claude-sonnet-4-5", sampled).await;
    // Its temperatures end at 1, and the two cannot both be set.
    assert_eq!((&old["temperature"], &old["top_p"], &old["top_k"]), (&json!(1.0), &Value::Null, &json!(5)));
    let new = body(ProviderKind::Anthropic, "claude-opus-4-8", sampled).await;
    assert_eq!(
        (&new["temperature"], &new["top_p"], &new["top_k"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn an_answer_begun_is_the_last_turn() {
    let begun = |asked: &mut Asked| {
        asked.continues = true;
        asked.request.answer_so_far = "Fine, th".into();
        asked.request.sampling.thinking = Some(true);
    };
    let openai = body(ProviderKind::Openai, "m", begun).await;
    assert_eq!(openai["messages"][1], json!({ "role": "assistant", "content": "Fine, th" }));
    assert_eq!(
        (&openai["add_generation_prompt"], &openai["continue_final_message"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        openai["chat_template_kwargs"],
        json!({ "enable_thinking": false }),
        "it is past its thinking"
    );
    let ollama = body(ProviderKind::Ollama, "m", begun).await;
    assert_eq!(ollama["messages"][1], json!({ "role": "assistant", "content": "Fine, th" }));
    let anthropic = body(ProviderKind::Anthropic, "claude-sonnet-4-5", begun).await;
    assert_eq!(anthropic["messages"][1]["content"], json!([{ "type": "text", "text": "Fine, th" }]));
    assert_eq!(anthropic["thinking"], Value::Null);
}

#[tokio::test]
async fn the_providers_sampling_fills_gaps_only() {
    let fake = FakeProvider::start().await.unwrap();
    let mut endpoint = endpoint(ProviderKind::Openai, &fake);
    endpoint.sampling.temperature = Some(0.3);
    endpoint.sampling.top_p = Some(0.5);
    let mut request = request();
    request.sampling.top_p = Some(0.9);
    ask(&HttpProvider::new(endpoint).unwrap(), &request, &AskOptions::default()).await.summary();
    let sent = fake.asks()[0].json();
    assert_eq!((&sent["temperature"], &sent["top_p"]), (&json!(0.3), &json!(0.9)));
}

#[tokio::test]
async fn several_system_turns_become_one() {
    let several = |asked: &mut Asked| {
        asked.request.messages =
            vec![ChatMessage::system("a"), ChatMessage::user("hi"), ChatMessage::system("b")];
    };
    let sent = body(ProviderKind::Gemini, "gemini-3.8-flash", several).await;
    assert_eq!(sent["systemInstruction"], json!({ "parts": [{ "text": "a\n\nb" }] }));
    assert_eq!(body(ProviderKind::Anthropic, "claude-opus-5", several).await["system"], "a\n\nb");
    let sent = body(ProviderKind::Ollama, "m", several).await;
    assert_eq!(sent["messages"][0], json!({ "role": "system", "content": "a\n\nb" }));
}
