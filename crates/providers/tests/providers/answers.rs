//! Good answers, in every protocol, streamed and whole, over TCP and over a Unix socket.

use crate::support::{
    KEY, KINDS, PATIENCE, ask, ask_plainly, endpoint, full_request, in_patience, provider, read, request,
};
use boca_core::{FinishReason, ProviderKind, ToolCall, Usage};
use boca_fake_providers::{Answer, Behaviour, FakeProvider, Fault};
use boca_providers::{AskOptions, AttemptClass, HttpProvider};
use futures_util::StreamExt;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

fn unary() -> AskOptions {
    AskOptions { unary: true, ..AskOptions::default() }
}

fn thoughtful_answer() -> Behaviour {
    let mut behaviour = Behaviour::text("Fine, thanks. 🦀\nAnd you?");
    behaviour.answer.reasoning = vec!["They ask ".into(), "how I am.".into()];
    behaviour.answer.prompt_tokens = Some(11);
    behaviour.answer.cached_tokens = 4;
    behaviour
}

#[tokio::test]
async fn text_thinking_and_counts_arrive() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.set(thoughtful_answer());
        for options in [AskOptions::default(), unary()] {
            let outcome = ask(&provider(kind, &fake), &request(), &options).await;
            assert_eq!(outcome.text(), "Fine, thanks. 🦀\nAnd you?", "{kind:?}");
            assert_eq!(outcome.reasoning(), "They ask how I am.", "{kind:?}");
            let summary = outcome.summary();
            assert_eq!(summary.finish_reason, FinishReason::Stop, "{kind:?}");
            let (cached_tokens, reasoning_tokens) = match kind {
                // Ollama counts neither, Anthropic not always the thinking.
                ProviderKind::Ollama => (0, 0),
                ProviderKind::Anthropic => (4, 0),
                _ => (4, 2),
            };
            let expected = Usage { prompt_tokens: 11, cached_tokens, completion_tokens: 7, reasoning_tokens };
            assert_eq!(summary.usage, expected, "{kind:?}");
            assert!(summary.timings.total >= summary.timings.time_to_first_token);
        }
    }
}

#[tokio::test]
async fn a_stream_is_handed_on_as_it_comes() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.set(Behaviour::text("one two three").with_fault(Fault::Stall(2)));
        let options = AskOptions::default();
        let mut stream = provider(kind, &fake).attempt(&request(), &options, in_patience()).await.unwrap();
        let mut text = String::new();
        while text != "one two" {
            let update = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
            if let boca_core::GenerationUpdate::Event(boca_core::GenerationEvent::Text(more)) = update {
                text.push_str(&more);
            }
        }
        drop(stream);
        timeout(PATIENCE, fake.wait_for_hang_up()).await.expect("dropping the stream closes the connection");
    }
}

#[tokio::test]
async fn dropping_an_attempt_before_its_head_closes_the_connection() {
    let fake = FakeProvider::start().await.unwrap();
    fake.set(Behaviour { head_delay: PATIENCE * 2, ..Behaviour::default() });
    let provider = provider(ProviderKind::Gemini, &fake);
    let (request, options) = (request(), AskOptions::default());
    {
        let attempt = provider.attempt(&request, &options, in_patience());
        tokio::select! {
            _ = attempt => panic!("it must not answer"),
            () = fake.wait_for_asks(1) => {}
        }
    }
    timeout(PATIENCE, fake.wait_for_hang_up()).await.unwrap();
}

#[tokio::test]
async fn tool_calls_arrive_whole() {
    let called =
        vec![("weather".to_owned(), json!({ "city": "Rīga", "days": 3 })), ("now".to_owned(), json!({}))];
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let mut behaviour = Behaviour::text("I look.");
        behaviour.answer.tool_calls = called.clone();
        fake.set(behaviour);
        for options in [AskOptions::default(), unary()] {
            let outcome = ask(&provider(kind, &fake), &full_request(), &options).await;
            let expected = called.iter().map(|(name, arguments)| ToolCall {
                name: name.clone(),
                arguments_json: arguments.to_string(),
            });
            assert_eq!(outcome.tool_calls(), expected.collect::<Vec<_>>(), "{kind:?}");
            assert_eq!(outcome.summary().finish_reason, FinishReason::ToolCalls, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn the_budgets_end_is_told() {
    for (kind, reason) in [
        (ProviderKind::Gemini, "MAX_TOKENS"),
        (ProviderKind::Openai, "length"),
        (ProviderKind::Ollama, "length"),
        (ProviderKind::Anthropic, "max_tokens"),
    ] {
        let fake = FakeProvider::start().await.unwrap();
        let answer = Answer { finish_reason: Some(reason.into()), ..Answer::text("cut") };
        fake.set(Behaviour { answer: answer.clone(), ..Behaviour::default() });
        let outcome = ask_plainly(&provider(kind, &fake)).await;
        assert_eq!(outcome.summary().finish_reason, FinishReason::Length, "{kind:?}");
        // A budget that thinking ate up leaves no answer at all, which is said instead of shown.
        fake.set(Behaviour { answer: Answer { tokens: Vec::new(), ..answer }, ..Behaviour::default() });
        let outcome = ask_plainly(&provider(kind, &fake)).await;
        assert_eq!(outcome.error().class, AttemptClass::Refused, "{kind:?}");
        assert_eq!(outcome.error().failure.param.as_deref(), Some("max_tokens"));
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let path = folder.path().join(kind.as_str());
        let fake = FakeProvider::start_unix(&path).unwrap();
        fake.require_key(KEY);
        let provider = provider(kind, &fake);
        let outcome = ask_plainly(&provider).await;
        assert_eq!(outcome.text(), "This is the answer of a fake provider.", "{kind:?}");
        assert_eq!(provider.probe(PATIENCE).await.unwrap(), ["fake-model"], "{kind:?}");
        assert_eq!(fake.asks()[0].header("host"), Some("localhost"));
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let fake = FakeProvider::start().await.unwrap();
    let provider = provider(ProviderKind::Gemini, &fake);
    for _ in 0..3 {
        ask_plainly(&provider.clone()).await.summary();
    }
    assert_eq!((fake.asks().len(), fake.n_connections()), (3, 1));
}

#[tokio::test]
async fn a_probe_lists_the_models() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.require_key(KEY);
        fake.set_models(["a", "b:latest"]);
        assert_eq!(provider(kind, &fake).probe(PATIENCE).await.unwrap(), ["a", "b:latest"], "{kind:?}");
        assert!(fake.asks().is_empty(), "a probe costs no tokens");
        fake.set_probe(Some(Behaviour { head_delay: PATIENCE, ..Behaviour::default() }));
        let late = provider(kind, &fake).probe(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(late.class, AttemptClass::Timeout, "{kind:?}");
        assert_eq!(late.failure.message, "`tested` did not answer within 50ms");
    }
}

#[tokio::test]
async fn tokens_are_counted_where_there_is_a_call_for_it() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let counted = provider(kind, &fake).count_tokens(&full_request(), &unary(), PATIENCE).await;
        match kind {
            ProviderKind::Gemini | ProviderKind::Anthropic => assert!(counted.unwrap() > 5, "{kind:?}"),
            _ => assert_eq!(counted.unwrap_err().class, AttemptClass::Refused, "{kind:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_is_continued_only_where_the_model_can() {
    let mut begun = request();
    begun.answer_so_far = "I am f ".into();
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.set(Behaviour::text(" ine"));
        let outcome = ask(&provider(kind, &fake), &begun, &AskOptions::default()).await;
        assert_eq!(outcome.error().class, AttemptClass::Refused, "{kind:?}");
        assert!(fake.seen().is_empty(), "nothing was sent");
        let mut able = endpoint(kind, &fake);
        able.continues_answers = true;
        if kind == ProviderKind::Gemini {
            HttpProvider::new(able).unwrap_err();
            continue;
        }
        let able = HttpProvider::new(able).unwrap();
        assert!(able.supports_continuing());
        let outcome = ask(&able, &begun, &AskOptions::default()).await;
        let body = fake.asks()[0].json();
        let last = body["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["role"], "assistant", "{kind:?}");
        // Anthropic refuses a turn that ends in a space: it is not sent, and not shown twice.
        let expected = if kind == ProviderKind::Anthropic { "ine" } else { " ine" };
        assert_eq!(outcome.text(), expected, "{kind:?}");
        if kind == ProviderKind::Anthropic {
            assert_eq!(last["content"][0]["text"], "I am f");
        }
    }
}

#[tokio::test]
async fn a_model_of_ollama_that_cannot_think_is_asked_without() {
    let fake = FakeProvider::start().await.unwrap();
    let refusal = Fault::Raw {
        status: 400,
        content_type: "application/json".into(),
        body: r#"{"error":"\"glm-4.5-air\" does not support thinking"}"#.into(),
    };
    fake.enqueue([Behaviour::fault(refusal)]);
    let provider = provider(ProviderKind::Ollama, &fake);
    for _ in 0..2 {
        ask(&provider, &full_request(), &AskOptions::default()).await.summary();
    }
    let thinks: Vec<_> = fake.asks().iter().map(|ask| ask.json()["think"].clone()).collect();
    assert_eq!(thinks, [json!(true), json!(null), json!(null)]);
}

#[tokio::test]
async fn many_streams_run_side_by_side() {
    let fake = FakeProvider::start().await.unwrap();
    fake.script(|ask| Behaviour::text(ask.json()["messages"][0]["content"].as_str().unwrap_or_default()));
    let provider = provider(ProviderKind::Openai, &fake);
    let one = |n: usize| {
        let provider = provider.clone();
        async move {
            let mut request = request();
            request.messages[0].content = format!("number {n}");
            let stream = provider.attempt(&request, &AskOptions::default(), in_patience()).await.unwrap();
            assert_eq!(read(stream).await.text(), format!("number {n}"));
        }
    };
    futures_util::future::join_all((0..50).map(one)).await;
}

#[tokio::test]
async fn a_client_with_tls_is_made_or_says_why_not() {
    // A slim container has no root certificates: that is this provider's trouble, and no panic.
    for kind in [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Anthropic] {
        match HttpProvider::new(boca_providers::Endpoint::new("tested", kind, "m")) {
            Ok(provider) => assert!(provider.endpoint().base_url.starts_with("https://")),
            Err(error) => {
                assert!(error.to_string().starts_with("the HTTP client could not be made"), "{error}")
            }
        }
    }
}
