//! The guards over a scripted provider, under virtual time.

mod bill;
mod budget;
mod waits;

use super::provider::Attempts;
use super::*;
use crate::{AskOptions, AttemptClass, AttemptError, AttemptStream, Endpoint};
use boca_core::resilience::{CircuitState, Prices, RetryPolicy, RetryShare, TokenPrices};
use boca_core::{
    Availability, ChatMessage, ErrorCode, Failure, FinishReason, GenerateRequest, GenerationEvent,
    GenerationSummary, GenerationUpdate, LocalDay, MicroUsd, ProviderKind, ProviderUsage, Timings, Usage,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const A_SECOND: Duration = Duration::from_secs(1);
const PROMPT: &str = "how are you today?";

/// What the provider does with the next attempt.
#[derive(Debug, Clone)]
enum Act {
    /// Answers after this long.
    Answer(Duration),
    /// Says this much and then breaks off.
    BreakAfter(&'static str),
    /// Says this much and then nothing.
    StallAfter(&'static str),
    /// Gives these updates and then nothing.
    Give(Vec<Result<GenerationUpdate, AttemptError>>),
    Fail(AttemptError),
    /// Takes the request and never answers.
    Hang,
}

#[derive(Debug, Default)]
struct Script {
    acts: Mutex<VecDeque<Act>>,
    /// When there is nothing left in the script.
    otherwise: Mutex<Option<Act>>,
    probes: Mutex<VecDeque<Result<Vec<String>, AttemptError>>>,
    attempts: AtomicUsize,
    running: Arc<AtomicUsize>,
    most_running: AtomicUsize,
}

/// Counts a response that is being read.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

fn usage() -> Usage {
    Usage { prompt_tokens: 100, cached_tokens: 40, completion_tokens: 10, reasoning_tokens: 0 }
}

fn text(text: &str) -> GenerationUpdate {
    GenerationUpdate::Event(GenerationEvent::Text(text.into()))
}

fn finished() -> GenerationUpdate {
    let timings = Timings::default();
    let (finish_reason, stop_sequence) = (FinishReason::Stop, None);
    GenerationUpdate::Finished(GenerationSummary { finish_reason, stop_sequence, usage: usage(), timings })
}

impl Attempts for Scripted {
    fn attempt(
        &self,
        _: Arc<GenerateRequest>,
        _: Arc<AskOptions>,
        _: std::time::Instant,
    ) -> BoxFuture<'static, Result<AttemptStream, AttemptError>> {
        let script = Arc::clone(&self.0);
        script.attempts.fetch_add(1, Ordering::SeqCst);
        let act = script.acts.lock().unwrap().pop_front();
        let act = act.or_else(|| script.otherwise.lock().unwrap().clone()).expect("the script goes on");
        let now_running = script.running.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_running.fetch_max(now_running, Ordering::SeqCst);
        let running = Running(Arc::clone(&script.running));
        let ends = matches!(act, Act::Answer(_) | Act::BreakAfter(_));
        async move {
            let updates = match act {
                Act::Answer(after) => {
                    tokio::time::sleep(after).await;
                    vec![Ok(text("fi")), Ok(text("ne")), Ok(finished())]
                }
                Act::BreakAfter(said) => vec![Ok(text(said)), Err(connect("it broke off"))],
                Act::StallAfter(said) => vec![Ok(text(said))],
                Act::Give(updates) => updates,
                Act::Fail(error) => return Err(error),
                Act::Hang => std::future::pending().await,
            };
            let updates = futures_util::stream::iter(updates);
            let rest = futures_util::stream::once(async move {
                let _running = running;
                if !ends {
                    std::future::pending::<()>().await;
                }
                Ok(finished())
            });
            Ok(AttemptStream::new(updates.chain(rest)))
        }
        .boxed()
    }

    fn probe(&self, limit: Duration) -> BoxFuture<'static, Result<Vec<String>, AttemptError>> {
        let probe = self.0.probes.lock().unwrap().pop_front();
        async move {
            match probe {
                Some(result) => result,
                None => {
                    tokio::time::sleep(limit).await;
                    Err(AttemptError::new(AttemptClass::Timeout, "no answer to the check"))
                }
            }
        }
        .boxed()
    }
}

fn connect(message: &str) -> AttemptError {
    AttemptError::new(AttemptClass::Connect, message)
}

fn server(status: u16) -> AttemptError {
    AttemptError { status: Some(status), ..AttemptError::new(AttemptClass::Server, "it has trouble") }
}

fn limited(retry_after: Option<Duration>) -> AttemptError {
    AttemptError::new(AttemptClass::RateLimited, "too fast").with_retry_after(retry_after)
}

#[derive(Debug)]
struct TestCalendar(Mutex<Today>);

impl Calendar for TestCalendar {
    fn today(&self) -> Today {
        *self.0.lock().unwrap()
    }
}

fn day(day: u8) -> LocalDay {
    LocalDay { year: 2026, month: 11, day }
}

struct Test {
    provider: GuardedProvider,
    script: Arc<Script>,
    calendar: Arc<TestCalendar>,
}

impl Test {
    fn new(change: impl FnOnce(&mut GuardSettings)) -> Self {
        let mut settings = GuardSettings::default();
        settings.breaker.jitter = 0.0;
        change(&mut settings);
        let script = Arc::new(Script::default());
        let today = Today { day: day(1), until_midnight: Duration::from_secs(3600) };
        let calendar = Arc::new(TestCalendar(Mutex::new(today)));
        let endpoint = Endpoint::new("cloud", ProviderKind::Openai, "model");
        let attempts = Box::new(Scripted(Arc::clone(&script)));
        let provider = GuardedProvider::over(attempts, endpoint, settings, calendar.clone());
        Self { provider, script, calendar }
    }

    fn then(self, act: Act) -> Self {
        self.script.acts.lock().unwrap().push_back(act);
        self
    }

    fn otherwise(self, act: Act) -> Self {
        *self.script.otherwise.lock().unwrap() = Some(act);
        self
    }

    fn ask(&self, within: Duration) -> GuardedStream {
        let deadline = (Instant::now() + within).into_std();
        self.provider.ask(request(), AskOptions::default(), deadline)
    }

    async fn answer(&self, within: Duration) -> Result<(String, GenerationSummary), Failure> {
        read(self.ask(within)).await
    }

    fn n_attempts(&self) -> usize {
        self.script.attempts.load(Ordering::SeqCst)
    }

    async fn check(&self, result: Result<Vec<String>, AttemptError>) -> HealthCheck {
        self.script.probes.lock().unwrap().push_back(result);
        self.provider.check_health(2 * A_SECOND).await
    }
}

async fn read(mut stream: GuardedStream) -> Result<(String, GenerationSummary), Failure> {
    let mut said = String::new();
    loop {
        match stream.next().await.expect("a stream ends with `Finished` or a failure") {
            Ok(GenerationUpdate::Event(GenerationEvent::Text(text))) => said.push_str(&text),
            Ok(GenerationUpdate::Event(_)) => {}
            Ok(GenerationUpdate::Finished(summary)) => {
                assert!(stream.next().await.is_none());
                return Ok((said, summary));
            }
            Err(failure) => {
                assert!(stream.next().await.is_none());
                return Err(failure);
            }
        }
    }
}

fn request() -> GenerateRequest {
    GenerateRequest {
        max_tokens: Some(50),
        ..GenerateRequest::new("request".parse().unwrap(), vec![ChatMessage::user(PROMPT)], 50, 60 * A_SECOND)
    }
}

fn at_once() -> Act {
    Act::Answer(Duration::ZERO)
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_trouble_is_ridden_out() {
    let test = Test::new(|_| {}).then(Act::Fail(server(500))).then(Act::Fail(server(503))).then(at_once());
    let (said, summary) = test.answer(60 * A_SECOND).await.unwrap();
    assert_eq!((said.as_str(), test.n_attempts()), ("fine", 3));
    assert!(summary.timings.queue <= Duration::from_millis(1500), "two pauses of at most 0.5 s and 1 s");
    let snapshot = test.provider.snapshot();
    assert_eq!(snapshot.today.retries, 2);
    assert_eq!((snapshot.today.requests, snapshot.today.failures), (1, 0));
    assert_eq!(snapshot.availability, Availability::Available);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_or_a_block_is_not_tried_again() {
    for class in
        [AttemptClass::Refused, AttemptClass::Blocked, AttemptClass::Timeout, AttemptClass::Malformed]
    {
        let test = Test::new(|_| {}).then(Act::Fail(AttemptError::new(class, "no")));
        let failure = test.answer(60 * A_SECOND).await.unwrap_err();
        assert_eq!((failure.code, test.n_attempts()), (class.usual_code(), 1), "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_once_a_piece_was_passed_on() {
    let test = Test::new(|_| {}).then(Act::BreakAfter("fi"));
    let mut stream = test.ask(60 * A_SECOND);
    assert_eq!(stream.next().await, Some(Ok(text("fi"))));
    let failure = stream.next().await.unwrap().unwrap_err();
    assert_eq!((failure.code, test.n_attempts()), (ErrorCode::ProviderFailed, 1));
    let today = test.provider.snapshot().today;
    assert_eq!((today.failures, today.estimated, today.completion_tokens), (1, 1, 1), "what came is counted");
}

#[tokio::test(start_paused = true)]
async fn a_check_is_noted_with_the_time_that_it_took() {
    let test = Test::new(|_| {});
    assert_eq!(test.provider.snapshot().last_check, None);
    test.check(Ok(Vec::new())).await;
    let check = test.provider.snapshot().last_check.unwrap();
    assert_eq!((check.took, check.error), (Duration::ZERO, None));
    // The script is at its end: nothing comes back within the limit.
    test.provider.check_health(2 * A_SECOND).await;
    let check = test.provider.snapshot().last_check.unwrap();
    assert_eq!((check.took, check.error.as_deref()), (2 * A_SECOND, Some("no answer to the check")));
}

#[tokio::test(start_paused = true)]
async fn a_dead_provider_is_left_alone_and_comes_back_by_a_check() {
    let test = Test::new(|_| {}).otherwise(Act::Fail(connect("connection refused")));
    for _ in 0..2 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    let n_attempts = test.n_attempts();
    assert_eq!(n_attempts, 5, "the fifth failure in a row opens the circuit, also between retries");
    let began = Instant::now();
    let failure = test.answer(60 * A_SECOND).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ProviderUnavailable);
    assert!(failure.message.contains("connection refused"), "{failure}");
    assert!(failure.retry_after.is_some_and(|wait| wait <= 5 * A_SECOND), "{failure:?}");
    assert_eq!((began.elapsed(), test.n_attempts()), (Duration::ZERO, n_attempts));
    assert_eq!(test.provider.check_health(A_SECOND).await, HealthCheck::NotDue);

    let due = test.provider.next_check_in(30 * A_SECOND, 0.5);
    assert!(due <= 5 * A_SECOND, "{due:?}");
    tokio::time::sleep(due).await;
    assert_eq!(test.check(Ok(vec!["model".into()])).await, HealthCheck::Well);
    assert_eq!(test.provider.availability(), Availability::Available);
    let test = test.otherwise(at_once());
    test.answer(60 * A_SECOND).await.unwrap();
    assert_eq!(test.provider.snapshot().lists_model, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_is_tried_by_one_request_alone() {
    let test = Test::new(|s| s.retry.max_retries = 0).otherwise(Act::Fail(connect("refused")));
    for _ in 0..5 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    tokio::time::sleep(5 * A_SECOND).await;
    let test = test.otherwise(Act::Answer(A_SECOND));
    let (trial, other) = tokio::join!(test.answer(60 * A_SECOND), test.answer(60 * A_SECOND));
    trial.unwrap();
    assert_eq!(other.unwrap_err().code, ErrorCode::ProviderUnavailable);
    assert_eq!(test.n_attempts(), 6);
    assert_eq!(test.provider.circuit(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_asker_goes_away_makes_room() {
    let test = Test::new(|s| s.retry.max_retries = 0).otherwise(Act::Fail(connect("refused")));
    for _ in 0..5 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    tokio::time::sleep(5 * A_SECOND).await;
    let test = test.otherwise(Act::Hang);
    let mut trial = test.ask(60 * A_SECOND);
    assert!(trial.next().now_or_never().is_none());
    assert_eq!(test.provider.circuit(), CircuitState::HalfOpen { is_being_tried: true });
    drop(trial);
    assert_eq!(test.provider.circuit(), CircuitState::HalfOpen { is_being_tried: false });
    test.otherwise(at_once()).answer(60 * A_SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_answers_lets_the_others_in_before_its_end() {
    let test = Test::new(|s| s.retry.max_retries = 0).otherwise(Act::Fail(connect("refused")));
    for _ in 0..5 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    tokio::time::sleep(5 * A_SECOND).await;
    let test = test.then(Act::StallAfter("still")).otherwise(at_once());
    let mut trial = test.ask(60 * A_SECOND);
    assert_eq!(trial.next().await, Some(Ok(text("still"))));
    assert_eq!(test.provider.circuit(), CircuitState::Closed);
    test.answer(60 * A_SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_blocked_answer_shows_that_somebody_is_there() {
    let test = Test::new(|s| s.retry.max_retries = 0).otherwise(Act::Fail(connect("refused")));
    for _ in 0..5 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    tokio::time::sleep(5 * A_SECOND).await;
    let test = test.then(Act::Fail(AttemptError::new(AttemptClass::Blocked, "no")));
    test.answer(60 * A_SECOND).await.unwrap_err();
    assert_eq!(test.provider.circuit(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_refused_for_its_key_makes_it_unavailable_at_once() {
    let refused = AttemptError { status: Some(401), ..AttemptError::new(AttemptClass::Refused, "bad key") };
    let test = Test::new(|_| {}).then(Act::Fail(refused)).otherwise(at_once());
    test.answer(60 * A_SECOND).await.unwrap_err();
    let unavailable = Availability::Unavailable { reason: "bad key".into() };
    assert_eq!(test.provider.availability(), unavailable);
    test.answer(60 * A_SECOND).await.unwrap_err();
    assert_eq!(test.n_attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_does_not_begin_the_answer_again() {
    let started =
        || Ok(GenerationUpdate::Event(GenerationEvent::Started { prompt_tokens: 5, max_tokens: 50 }));
    let broken = Act::Give(vec![started(), Err(connect("broke off"))]);
    let good = Act::Give(vec![started(), Ok(text("fine")), Ok(finished())]);
    let test = Test::new(|_| {}).then(broken).then(good);
    let updates: Vec<_> = test.ask(60 * A_SECOND).collect().await;
    assert_eq!(updates.len(), 3, "{updates:?}");
    assert_eq!((&updates[0], &updates[1]), (&started().map_err(|e| e.failure), &Ok(text("fine"))));
    assert_eq!(test.n_attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_makes_it_unavailable_until_a_check_is_good() {
    let bad_key = AttemptError { status: Some(400), ..AttemptError::new(AttemptClass::Refused, "bad key") };
    let test = Test::new(|_| {}).otherwise(at_once());
    assert!(matches!(test.check(Err(bad_key)).await, HealthCheck::Failed(_)));
    let unavailable = Availability::Unavailable { reason: "bad key".into() };
    assert_eq!(test.provider.availability(), unavailable);
    let failure = test.answer(60 * A_SECOND).await.unwrap_err();
    assert_eq!((failure.code, test.n_attempts()), (ErrorCode::ProviderUnavailable, 0));
    assert!(test.provider.next_check_in(30 * A_SECOND, 0.0) >= 20 * A_SECOND, "no hurry");
    assert_eq!(test.check(Ok(Vec::new())).await, HealthCheck::Well);
    test.answer(60 * A_SECOND).await.unwrap();

    let no_list =
        AttemptError { status: Some(404), ..AttemptError::new(AttemptClass::Refused, "no such path") };
    assert_eq!(test.check(Err(no_list)).await, HealthCheck::Well, "a server without a list is there");
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_has_it_checked_soon_whether_we_are_refused() {
    let refused = AttemptError { status: Some(400), ..AttemptError::new(AttemptClass::Refused, "no") };
    let test = Test::new(|_| {}).then(Act::Fail(refused)).otherwise(at_once());
    test.answer(60 * A_SECOND).await.unwrap_err();
    test.provider.doubted().await;
    assert!(test.provider.next_check_in(30 * A_SECOND, 1.0) <= A_SECOND);
    assert!(test.provider.availability().can_be_asked(), "the request may have been at fault");
    test.check(Ok(Vec::new())).await;
    assert!(test.provider.next_check_in(30 * A_SECOND, 0.0) >= 20 * A_SECOND);
}

#[tokio::test(start_paused = true)]
async fn requests_at_the_same_time_are_bounded_and_wait_within_their_deadline() {
    let test = Test::new(|settings| (settings.max_concurrency, settings.max_waiting) = (2, 3))
        .otherwise(Act::Answer(10 * A_SECOND));
    let all = (0..6).map(|_| test.answer(25 * A_SECOND));
    let outcomes = futures_util::future::join_all(all).await;
    let good = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(good, 4, "two at once, two after them; the fifth met its deadline, the sixth found no room");
    let messages: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(messages.iter().any(|failure| failure.message.contains("3 more wait")), "{messages:?}");
    assert_eq!(test.script.most_running.load(Ordering::SeqCst), 2);
    let late = Test::new(|settings| settings.max_concurrency = 1).otherwise(Act::Hang);
    let (first, second) = tokio::join!(late.answer(10 * A_SECOND), late.answer(5 * A_SECOND));
    assert_eq!(first.unwrap_err().code, ErrorCode::DeadlineExceeded);
    assert_eq!(second.unwrap_err().code, ErrorCode::Overloaded);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_meets_its_deadline_ends_with_what_there_is() {
    let test = Test::new(|_| {}).then(Act::StallAfter("so far"));
    let (said, summary) = test.answer(3 * A_SECOND).await.unwrap();
    assert_eq!((said.as_str(), summary.finish_reason), ("so far", FinishReason::Deadline));
    assert_eq!(summary.timings.total, 3 * A_SECOND);
    assert_eq!(test.script.running.load(Ordering::SeqCst), 0, "the connection is closed");
    assert_eq!(test.provider.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unmet_requirement_is_said_and_nothing_is_sent() {
    let test = Test::new(|_| {}).otherwise(at_once());
    test.provider.set_unmet_requirement(Some("it requires the system macos".into()));
    let failure = test.answer(A_SECOND).await.unwrap_err();
    assert_eq!(failure.message, "cloud cannot be asked: it requires the system macos");
    assert_eq!(test.n_attempts(), 0);
    test.provider.set_unmet_requirement(None);
    test.answer(A_SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_request_pays_for_its_share_of_retries() {
    let test = Test::new(|settings| {
        settings.retry.max_retries = 1;
        settings.retry_share = RetryShare { share: 1.0, at_least_per_minute: 0 };
        settings.breaker.failures_to_open = 1_000;
    })
    .otherwise(Act::Fail(server(503)));
    for _ in 0..30 {
        test.answer(60 * A_SECOND).await.unwrap_err();
    }
    assert_eq!(test.n_attempts(), 60, "ten were saved, the others were paid for");
}

#[tokio::test(start_paused = true)]
async fn retries_stop_when_their_budget_is_spent() {
    let test = Test::new(|settings| {
        settings.retry = RetryPolicy { max_retries: 5, ..RetryPolicy::default() };
        settings.breaker.failures_to_open = 1_000;
        settings.max_concurrency = 100;
    })
    .otherwise(Act::Fail(server(503)));
    let all = (0..50).map(|_| test.answer(60 * A_SECOND));
    futures_util::future::join_all(all).await;
    let retries = test.n_attempts() - 50;
    // Ten saved, ten by 50 requests, and a few by the time that passes.
    assert!((10..=30).contains(&retries), "{retries}");
}
