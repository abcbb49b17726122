//! What the tests share.

use boca_core::{
    ChatMessage, GenerateRequest, GenerationEvent, GenerationSummary, GenerationUpdate, ProviderKind, Role,
    SamplingOverrides, ToolCall,
};
use boca_fake_providers::FakeProvider;
use boca_providers::{ApiKey, AskOptions, AttemptError, AttemptStream, Endpoint, HttpProvider};
use futures_util::StreamExt;
use std::time::{Duration, Instant};

/// The kinds that are reached over HTTP.
pub(crate) const KINDS: [ProviderKind; 4] =
    [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Ollama, ProviderKind::Anthropic];

/// Longer than any test takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The key that must never be seen. It looks like nobody's key, so that nothing but the search for it hides it.
pub(crate) const KEY: &str = "Key-That-Nobody-May-See-0123456789";

/// An endpoint of this kind at this fake.
pub(crate) fn endpoint(kind: ProviderKind, fake: &FakeProvider) -> Endpoint {
    let mut endpoint = Endpoint::new("tested", kind, usual_model(kind));
    endpoint.base_url = fake.base_url();
    endpoint.unix_socket = fake.unix_socket().map(ToOwned::to_owned);
    endpoint.key = ApiKey::new(KEY);
    endpoint.timeouts.first_byte = PATIENCE;
    endpoint.timeouts.between_bytes = PATIENCE;
    endpoint
}

pub(crate) fn provider(kind: ProviderKind, fake: &FakeProvider) -> HttpProvider {
    HttpProvider::new(endpoint(kind, fake)).unwrap()
}

fn usual_model(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Gemini => "gemini-3.8-flash",
        ProviderKind::Anthropic => "claude-sonnet-4-5",
        _ => "glm-4.5-air",
    }
}

/// A request with these turns and nothing else.
pub(crate) fn request_of(messages: Vec<ChatMessage>) -> GenerateRequest {
    GenerateRequest::new("test".parse().unwrap(), messages, 4096, PATIENCE)
}

pub(crate) fn request() -> GenerateRequest {
    request_of(vec![ChatMessage::user("how are you?")])
}

/// A request in which everything is set that can be.
pub(crate) fn full_request() -> GenerateRequest {
    let call = ToolCall { name: "weather".into(), arguments_json: r#"{"city":"Riga"}"#.into() };
    let mut request = request_of(vec![
        ChatMessage::system("be brief"),
        ChatMessage::user("what is the weather in Riga?"),
        ChatMessage {
            tool_calls: vec![call.clone(), call],
            reasoning: Some("a tool knows".into()),
            ..ChatMessage::assistant("I will look.")
        },
        ChatMessage::text(Role::Tool, "rain"),
        ChatMessage::text(Role::Tool, r#"{"sky":"grey"}"#),
        ChatMessage::user("and tomorrow?"),
    ]);
    request.tools_json = vec![
        r#"{"type":"function","function":{"name":"weather","description":"tells the weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}"#.into(),
        r#"{"type":"function","function":{"name":"now"}}"#.into(),
    ];
    request.sampling = SamplingOverrides {
        temperature: Some(0.2),
        top_p: Some(0.95),
        top_k: Some(40),
        min_p: Some(0.05),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(2.0),
        frequency_penalty: Some(-0.5),
        seed: Some(0x1_0000_0007),
        logit_bias: Some([(5, 1.0)].into()),
        max_tokens: Some(9),
        thinking: Some(true),
        thinking_budget_tokens: Some(2048),
    };
    request.stop = vec!["END".into()];
    request
}

pub(crate) fn in_patience() -> Instant {
    Instant::now() + PATIENCE
}

/// One whole attempt.
pub(crate) async fn ask(provider: &HttpProvider, request: &GenerateRequest, options: &AskOptions) -> Outcome {
    match provider.attempt(request, options, in_patience()).await {
        Ok(stream) => read(stream).await,
        Err(error) => Outcome { events: Vec::new(), end: Err(error) },
    }
}

pub(crate) async fn ask_plainly(provider: &HttpProvider) -> Outcome {
    ask(provider, &request(), &AskOptions::default()).await
}

/// Reads to the end, and holds the stream to its contract.
pub(crate) async fn read(mut stream: AttemptStream) -> Outcome {
    let mut events = Vec::new();
    loop {
        match stream.next().await.expect("a stream must end with a summary or an error") {
            Ok(GenerationUpdate::Event(event)) => events.push(event),
            Ok(GenerationUpdate::Finished(summary)) => {
                assert_eq!(stream.next().await, None, "nothing comes after the summary");
                return Outcome { events, end: Ok(summary) };
            }
            Err(error) => {
                assert_eq!(stream.next().await, None, "nothing comes after an error");
                return Outcome { events, end: Err(error) };
            }
        }
    }
}

/// What came out of an attempt.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<GenerationEvent>,
    pub(crate) end: Result<GenerationSummary, AttemptError>,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        let texts = self.events.iter().filter_map(|event| match event {
            GenerationEvent::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    pub(crate) fn reasoning(&self) -> String {
        let texts = self.events.iter().filter_map(|event| match event {
            GenerationEvent::Reasoning(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    pub(crate) fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.events.iter().filter_map(|event| match event {
            GenerationEvent::ToolCall(call) => Some(call.clone()),
            _ => None,
        });
        calls.collect()
    }

    #[track_caller]
    pub(crate) fn error(&self) -> &AttemptError {
        self.end.as_ref().expect_err("this attempt must fail")
    }

    #[track_caller]
    pub(crate) fn summary(&self) -> &GenerationSummary {
        self.end.as_ref().expect("this attempt must succeed")
    }

    /// Everything but times, as text.
    pub(crate) fn render(&self) -> String {
        let mut lines: Vec<String> = self.events.iter().map(|event| format!("{event:?}")).collect();
        lines.push(match &self.end {
            Ok(summary) => {
                let usage = summary.usage;
                format!(
                    "finished: {}, stop sequence {:?}, tokens: prompt {}, cached {}, completion {}, reasoning {}",
                    summary.finish_reason.as_str(),
                    summary.stop_sequence,
                    usage.prompt_tokens,
                    usage.cached_tokens,
                    usage.completion_tokens,
                    usage.reasoning_tokens,
                )
            }
            Err(error) => format!(
                "failed: {} {} status {:?} retry after {:?} param {:?}: {}",
                error.class.as_str(),
                error.failure.code,
                error.status,
                error.retry_after,
                error.failure.param,
                error.failure.message,
            ),
        });
        lines.join("\n")
    }
}
