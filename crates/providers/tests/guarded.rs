//! The guards around the real client, against real servers on loopback that misbehave.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use boca_core::resilience::{CircuitState, FullJitter, Prices, TokenPrices};
use boca_core::{
    Availability, ChatMessage, ErrorCode, Failure, GenerateRequest, GenerationEvent, GenerationSummary,
    GenerationUpdate, MicroUsd, ProviderKind,
};
use boca_fake_providers::{Behaviour, FakeProvider, Fault};
use boca_providers::guarded::{GuardSettings, GuardedProvider, GuardedStream, HealthCheck};
use boca_providers::{ApiKey, AskOptions, Endpoint, HttpProvider};
use futures_util::StreamExt;
use std::time::{Duration, Instant};

/// Longer than any test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "AIzaSyTestKeyThatNobodyMaySee_0123456789";
const KINDS: [ProviderKind; 4] =
    [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Ollama, ProviderKind::Anthropic];

fn settings() -> GuardSettings {
    let mut settings = GuardSettings::default();
    settings.retry.backoff =
        FullJitter { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    settings.breaker.first_open = Duration::from_millis(20);
    settings.breaker.longest_open = Duration::from_millis(50);
    settings
}

fn guarded(kind: ProviderKind, base_url: String, settings: GuardSettings) -> GuardedProvider {
    let mut endpoint = Endpoint::new("cloud", kind, "some-model");
    endpoint.base_url = base_url;
    endpoint.key = ApiKey::new(KEY);
    GuardedProvider::new(HttpProvider::new(endpoint).unwrap(), settings)
}

fn request() -> GenerateRequest {
    GenerateRequest::new("test".parse().unwrap(), vec![ChatMessage::user("How are you?")], 100, PATIENCE)
}

fn ask(provider: &GuardedProvider) -> GuardedStream {
    provider.ask(request(), AskOptions::default(), Instant::now() + PATIENCE)
}

async fn answer(provider: &GuardedProvider) -> Result<(String, GenerationSummary), Failure> {
    let mut stream = ask(provider);
    let mut said = String::new();
    loop {
        match stream.next().await.expect("a stream ends with `Finished` or a failure")? {
            GenerationUpdate::Event(GenerationEvent::Text(text)) => said.push_str(&text),
            GenerationUpdate::Event(_) => {}
            GenerationUpdate::Finished(summary) => return Ok((said, summary)),
        }
    }
}

#[tokio::test]
async fn a_burst_of_500_is_ridden_out_for_every_kind() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.enqueue([Behaviour::fault(Fault::Status(500)), Behaviour::fault(Fault::Status(503))]);
        fake.set(Behaviour::text("well again"));
        let provider = guarded(kind, fake.base_url(), settings());
        let (said, _) = answer(&provider).await.unwrap();
        assert_eq!((said.as_str(), fake.asks().len()), ("well again", 3), "{kind:?}");
        assert_eq!(provider.snapshot().today.retries, 2);
    }
}

#[tokio::test]
async fn a_connection_closed_before_the_head_is_tried_again_and_one_after_text_is_not() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.enqueue([Behaviour::fault(Fault::CloseBeforeHead)]);
        let provider = guarded(kind, fake.base_url(), settings());
        answer(&provider).await.unwrap();
        assert_eq!(fake.asks().len(), 2, "{kind:?}");

        fake.enqueue([Behaviour::fault(Fault::Reset(2)).with_latency(Duration::from_millis(20))]);
        let failure = answer(&provider).await.unwrap_err();
        assert_eq!((failure.code, fake.asks().len()), (ErrorCode::ProviderFailed, 3), "{kind:?}");
    }
}

#[tokio::test]
async fn the_wait_that_is_named_is_kept_for_every_kind() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let wait = Duration::from_secs(1);
        fake.enqueue([Behaviour::fault(Fault::RateLimited { retry_after: Some(wait), as_date: false })]);
        let provider = guarded(kind, fake.base_url(), settings());
        answer(&provider).await.unwrap();
        let asks = fake.asks();
        assert_eq!(asks.len(), 2, "{kind:?}");
        assert!(asks[1].at - asks[0].at >= wait, "{kind:?}");
        assert_eq!(provider.circuit(), CircuitState::Closed);
    }
}

#[tokio::test]
async fn a_spent_quota_of_the_day_is_not_asked_again_whatever_retry_info_says() {
    let fake = FakeProvider::start().await.unwrap();
    fake.enqueue([Behaviour::fault(Fault::DailyQuota)]);
    let provider = guarded(ProviderKind::Gemini, fake.base_url(), settings());
    let failure = answer(&provider).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ProviderUnavailable);
    let Availability::CircuitOpen { retry_in, .. } = provider.availability() else {
        panic!("{:?}", provider.availability());
    };
    assert!(retry_in > Duration::from_secs(10 * 60), "{retry_in:?}");
    answer(&provider).await.unwrap_err();
    assert_eq!(fake.asks().len(), 1);
    assert_eq!(provider.check_health(PATIENCE).await, HealthCheck::Well);
    assert!(!provider.availability().can_be_asked(), "the list of models says nothing about quotas");
}

#[tokio::test]
async fn a_dead_server_opens_the_circuit_and_the_check_closes_it_when_it_is_back() {
    let fake = FakeProvider::start().await.unwrap();
    let base_url = fake.base_url();
    let address: std::net::SocketAddr = base_url.strip_prefix("http://").unwrap().parse().unwrap();
    drop(fake);
    // Its listener ends with its task, a moment later.
    while std::net::TcpStream::connect(address).is_ok() {
        tokio::task::yield_now().await;
    }
    let mut settings = settings();
    settings.breaker.first_open = Duration::from_millis(200);
    settings.breaker.longest_open = Duration::from_millis(200);
    let provider = guarded(ProviderKind::Openai, base_url, settings);
    while provider.circuit() == CircuitState::Closed {
        answer(&provider).await.unwrap_err();
    }
    let n_failures = provider.snapshot().today.failures;
    assert!((1..=3).contains(&n_failures), "{n_failures} requests opened it");

    let fake = FakeProvider::start_on(address).await.unwrap();
    let begun = Instant::now();
    let every = Duration::from_secs(30);
    while provider.availability() != Availability::Available {
        assert!(begun.elapsed() < PATIENCE, "{:?}", provider.snapshot());
        tokio::time::sleep(provider.next_check_in(every, 0.5)).await;
        provider.check_health(PATIENCE).await;
    }
    assert_eq!(fake.asks().len(), 0, "no request was needed for it");
    answer(&provider).await.unwrap();
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection_and_is_paid() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        fake.set(Behaviour::fault(Fault::Stall(2)));
        let provider = guarded(kind, fake.base_url(), settings());
        let mut stream = ask(&provider);
        while !matches!(
            stream.next().await.unwrap().unwrap(),
            GenerationUpdate::Event(GenerationEvent::Text(_))
        ) {}
        assert_eq!(provider.snapshot().in_flight, 1);
        drop(stream);
        tokio::time::timeout(PATIENCE, fake.wait_for_hang_up()).await.unwrap();
        let snapshot = provider.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.today.requests), (0, 1), "{kind:?}");
        assert_eq!((snapshot.today.estimated, snapshot.today.failures), (1, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn tokens_and_cost_are_counted_for_every_kind() {
    for kind in KINDS {
        let fake = FakeProvider::start().await.unwrap();
        let mut settings = settings();
        let base =
            TokenPrices { input: MicroUsd(1_000_000), cached_input: None, output: MicroUsd(10_000_000) };
        settings.prices = Some(Prices { base, long_context: None });
        let provider = guarded(kind, fake.base_url(), settings);
        let (_, summary) = answer(&provider).await.unwrap();
        let (snapshot, usage) = (provider.snapshot(), summary.usage);
        assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0, "{kind:?}");
        let cost = u64::from(usage.prompt_tokens) + 10 * u64::from(usage.completion_tokens);
        assert_eq!((snapshot.today.cost, snapshot.today.estimated), (MicroUsd(cost), 0), "{kind:?}");
        assert_eq!(provider.cost(&usage), Some(MicroUsd(cost)));
        assert_eq!(provider.take_unrecorded().unwrap().1, snapshot.today);
    }
}

#[tokio::test]
async fn a_bad_key_is_found_by_the_check_and_never_shown() {
    for kind in [ProviderKind::Gemini, ProviderKind::Openai, ProviderKind::Anthropic] {
        let fake = FakeProvider::start().await.unwrap();
        fake.require_key("another");
        let provider = guarded(kind, fake.base_url(), settings());
        let failure = answer(&provider).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::ProviderRefused, "{kind:?}");
        let HealthCheck::Failed(found) = provider.check_health(PATIENCE).await else { panic!("{kind:?}") };
        assert!(matches!(provider.availability(), Availability::Unavailable { .. }), "{kind:?}");
        let refused = answer(&provider).await.unwrap_err();
        assert_eq!((refused.code, fake.asks().len()), (ErrorCode::ProviderUnavailable, 1));
        let shown = format!("{failure:?} {found:?} {refused:?} {provider:?} {:?}", provider.snapshot());
        assert!(!shown.contains(KEY), "{shown}");

        fake.require_key(KEY);
        assert_eq!(provider.check_health(PATIENCE).await, HealthCheck::Well);
        answer(&provider).await.unwrap();
    }
}
