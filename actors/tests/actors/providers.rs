//! The actors of providers, over servers on loopback.

use crate::support::*;
use boca_actors::{Actors, ProviderSettings, ProviderStatus, UsageLedger};
use boca_core::resilience::{Prices, TokenPrices};
use boca_core::{
    ActorState, Answer, AnswerEvent, Ask, Availability, ErrorCode, Failure, LocalDay, MicroUsd, Mode,
    ProviderKind, ProviderUsage,
};
use boca_fake_providers::{Behaviour, FakeProvider, Fault};
use boca_providers::{ApiKey, Endpoint};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLOUD: &str = "cloud";
/// Longer than any test.
const A_LONG_TIME: Duration = Duration::from_secs(3600);
const KEY: &str = "AIzaSyTestKeyThatNobodyMaySee_0123456789";

fn at(base_url: String) -> ProviderSettings {
    let mut endpoint = Endpoint::new(CLOUD, ProviderKind::Gemini, "some-model");
    endpoint.base_url = base_url;
    endpoint.key = ApiKey::new(KEY);
    let mut settings = ProviderSettings::new(endpoint);
    settings.check_limit = PATIENCE;
    settings.guard.breaker.first_open = Duration::from_millis(20);
    settings.guard.breaker.longest_open = Duration::from_millis(20);
    settings
}

/// Runs a test with a fake, and with actors that know it.
fn with_cloud<F: Future<Output = ()>>(
    change: impl FnOnce(&mut ProviderSettings),
    test: impl FnOnce(Actors, Arc<Script>, Arc<FakeProvider>) -> F,
) {
    with_ledger(None, change, test);
}

fn with_ledger<F: Future<Output = ()>>(
    ledger: Option<Arc<dyn UsageLedger>>,
    change: impl FnOnce(&mut ProviderSettings),
    test: impl FnOnce(Actors, Arc<Script>, Arc<FakeProvider>) -> F,
) {
    actix_rt::System::new().block_on(async {
        // Both are kept here as well, because a test that does not mention them would end them.
        let fake = Arc::new(FakeProvider::start().await.unwrap());
        let mut settings = at(fake.base_url());
        change(&mut settings);
        let (factory, script) = scripted();
        let script = Arc::new(script);
        let mut options = options(factory);
        options.providers = vec![settings];
        options.ledger = ledger;
        let actors = boca_actors::start(options);
        test(actors.clone(), Arc::clone(&script), Arc::clone(&fake)).await;
        actors.drain(Duration::ZERO).await;
    });
}

fn cloud(actors: &Actors) -> ProviderStatus {
    actors.providers().remove(0)
}

async fn until_cloud(actors: &Actors, what: &str, is_so: impl Fn(&ProviderStatus) -> bool) -> ProviderStatus {
    let begun = Instant::now();
    loop {
        let status = cloud(actors);
        if is_so(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn until_available(actors: &Actors) -> ProviderStatus {
    until_cloud(actors, "availability", |status| status.availability == Availability::Available).await
}

fn to_cloud(id: &str) -> Ask {
    Ask { mode: Mode::Provider(CLOUD.into()), ..question(id) }
}

async fn cloud_answer(actors: &Actors, id: &str) -> Result<Answer, Failure> {
    read(actors.synthesizer.ask(to_cloud(id), in_time()).await?).await.1
}

#[test]
fn a_check_makes_it_available_without_a_request() {
    with_cloud(
        |_| {},
        |actors, _script, fake| async move {
            let status = until_available(&actors).await;
            assert_eq!((status.state, status.kind), (ActorState::Ready, ProviderKind::Gemini));
            assert_eq!((fake.asks().len(), fake.seen().len()), (0, 1));
            assert_eq!(actors.states()[CLOUD].state, ActorState::Ready);
            fake.set(Behaviour::text("from afar"));
            let answer = cloud_answer(&actors, "a").await.unwrap();
            assert_eq!((answer.text.as_str(), answer.model_used.as_str()), ("from afar", CLOUD));
        },
    );
}

#[test]
fn while_the_network_is_down_the_local_model_answers_and_the_cloud_comes_back_by_itself() {
    actix_rt::System::new().block_on(async {
        let fake = FakeProvider::start().await.unwrap();
        let base_url = fake.base_url();
        let address: SocketAddr = base_url.strip_prefix("http://").unwrap().parse().unwrap();
        drop(fake);
        // Its listener ends with its task, a moment later.
        while std::net::TcpStream::connect(address).is_ok() {
            tokio::task::yield_now().await;
        }
        let (factory, script) = scripted();
        let mut options = options(factory);
        options.providers = vec![at(base_url)];
        // Longer than the test: only a check that is due because the circuit may be closed finds it again.
        options.providers[0].check_every = PATIENCE * 10;
        let actors = boca_actors::start(options);
        script.loads();
        until_state(&actors, ActorState::Ready).await;
        let down = |status: &ProviderStatus| status.state == ActorState::Degraded;
        let status = until_cloud(&actors, "an open circuit", down).await;
        let figures = status.figures.unwrap();
        assert!(figures.last_failure.unwrap().message.contains("could not be connected to"));

        script.says("near");
        script.finishes();
        let local = answer(&actors, "a").await.unwrap();
        assert_eq!(local.text, "near");

        let fake = FakeProvider::start_on(address).await.unwrap();
        until_available(&actors).await;
        assert!(fake.asks().is_empty());
        cloud_answer(&actors, "b").await.unwrap();
        actors.drain(Duration::ZERO).await;
    });
}

#[test]
fn what_is_switched_off_or_unfit_is_said_and_never_spoken_to() {
    with_cloud(
        |settings| settings.is_enabled = false,
        |actors, _script, fake| async move {
            let status = cloud(&actors);
            assert_eq!(status.state, ActorState::Disabled);
            assert_eq!(actors.states()[CLOUD].state, ActorState::Disabled);
            cloud_answer(&actors, "a").await.unwrap_err();
            assert_eq!(fake.n_connections(), 0);
        },
    );
    with_cloud(
        |settings| settings.requires.system = Some("plan9".into()),
        |actors, _script, fake| async move {
            let status = cloud(&actors);
            assert_eq!(status.state, ActorState::Down);
            let Availability::Unavailable { reason } = status.availability else { panic!("{status:?}") };
            assert!(reason.starts_with("it requires the system plan9, this is "), "{reason}");
            let report = actors.states().remove(CLOUD).unwrap();
            assert_eq!((report.state, report.last_error), (ActorState::Down, Some(reason)));
            cloud_answer(&actors, "a").await.unwrap_err();
            assert_eq!(fake.n_connections(), 0);
        },
    );
}

#[test]
fn a_required_backend_is_found_as_soon_as_the_model_is_loaded() {
    with_cloud(
        |settings| {
            settings.requires.backend = Some("unknown".into());
            settings.check_every = A_LONG_TIME;
        },
        |actors, script, _fake| async move {
            let status = cloud(&actors);
            let Availability::Unavailable { reason } = status.availability else { panic!("{status:?}") };
            assert!(reason.ends_with("no engine runs yet"), "{reason}");
            script.loads();
            until_available(&actors).await;
        },
    );
}

#[test]
fn a_failed_answer_brings_the_next_check_forward() {
    with_cloud(
        |settings| {
            settings.check_every = A_LONG_TIME;
            settings.guard.retry.max_retries = 0;
            settings.guard.breaker.failures_to_open = 1;
        },
        |actors, _script, fake| async move {
            until_available(&actors).await;
            fake.enqueue([Behaviour::fault(Fault::Status(500))]);
            cloud_answer(&actors, "a").await.unwrap_err();
            until_available(&actors).await;
            assert_eq!((fake.asks().len(), fake.seen().len()), (1, 3), "found out by a check");
        },
    );
}

#[test]
fn draining_cuts_a_running_answer_and_closes_its_connection() {
    with_cloud(
        |_| {},
        |actors, _script, fake| async move {
            until_available(&actors).await;
            fake.set(Behaviour::fault(Fault::Stall(2)));
            let mut stream = actors.synthesizer.ask(to_cloud("a"), in_time()).await.unwrap();
            while !matches!(stream.next().await, Some(Ok(AnswerEvent::Text(_)))) {}
            let draining = actors.clone();
            let drained = actix_rt::spawn(async move { draining.drain(Duration::ZERO).await });
            tokio::time::timeout(PATIENCE, fake.wait_for_hang_up()).await.unwrap();
            assert_eq!(drained.await.unwrap().cancelled, 1);
        },
    );
}

#[test]
fn a_question_to_nobody_in_particular_is_counted_under_who_answered() {
    with_cloud(
        |_| {},
        |actors, _script, fake| async move {
            until_available(&actors).await;
            fake.set(Behaviour::text("from afar"));
            let ask = Ask { mode: Mode::Auto, ..question("a") };
            let answer = read(actors.synthesizer.ask(ask, in_time()).await.unwrap()).await.1.unwrap();
            fake.set(Behaviour::fault(Fault::Status(400)));
            let ask = Ask { mode: Mode::Auto, ..question("b") };
            read(actors.synthesizer.ask(ask, in_time()).await.unwrap()).await.1.unwrap_err();
            let counted = actors.metrics.snapshot(in_time()).await.unwrap();
            assert_eq!(answer.trace.mode, CLOUD, "the model here is not loaded");
            let by_mode: Vec<_> = counted.by_mode.iter().map(|(mode, n)| (mode.as_str(), *n)).collect();
            assert_eq!(by_mode, [(CLOUD, 2)]);
        },
    );
}

#[test]
fn the_key_is_in_no_report_and_no_failure() {
    with_cloud(
        |_| {},
        |actors, _script, fake| async move {
            fake.require_key("another");
            let refused = |status: &ProviderStatus| status.state == ActorState::Down;
            until_cloud(&actors, "a refused key", |status| {
                refused(status) || status.state == ActorState::Ready
            })
            .await;
            // The check may have come before the key was required; a request finds out as well.
            let failure = cloud_answer(&actors, "a").await.unwrap_err();
            until_cloud(&actors, "a refused key", refused).await;
            let shown = format!("{actors:?} {:?} {:?} {failure:?}", actors.providers(), actors.states());
            assert!(shown.contains(CLOUD) && !shown.contains(KEY), "{shown}");
        },
    );
}

/// Keeps the books in memory, and fails as often as it is told.
#[derive(Debug, Default)]
struct Books {
    used: Mutex<ProviderUsage>,
    added: Mutex<Vec<(String, ProviderUsage)>>,
    failures_left: Mutex<u32>,
}

impl UsageLedger for Books {
    fn used_on(&self, provider: &str, _: LocalDay) -> BoxFuture<'static, Result<ProviderUsage, Failure>> {
        assert_eq!(provider, CLOUD);
        Box::pin(std::future::ready(Ok(*self.used.lock().unwrap())))
    }

    fn add(
        &self,
        provider: &str,
        _: LocalDay,
        usage: ProviderUsage,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        let mut failures_left = self.failures_left.lock().unwrap();
        let outcome = if *failures_left > 0 {
            *failures_left -= 1;
            Err(Failure::new(ErrorCode::StoreFailed, "the disk is full"))
        } else {
            self.added.lock().unwrap().push((provider.to_owned(), usage));
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }
}

fn paid(settings: &mut ProviderSettings) {
    let base = TokenPrices { input: MicroUsd(1_000_000), cached_input: None, output: MicroUsd(1_000_000) };
    settings.guard.prices = Some(Prices { base, long_context: None });
    settings.guard.daily_budget = Some(MicroUsd(1_000));
}

#[test]
fn a_budget_spent_before_a_restart_stays_spent() {
    let books = Arc::new(Books::default());
    *books.used.lock().unwrap() = ProviderUsage { cost: MicroUsd(1_000), ..Default::default() };
    with_ledger(Some(books), paid, |actors, _script, fake| async move {
        let resting = |status: &ProviderStatus| matches!(status.availability, Availability::Resting { .. });
        let status = until_cloud(&actors, "a spent budget", resting).await;
        assert_eq!(status.state, ActorState::Degraded);
        cloud_answer(&actors, "a").await.unwrap_err();
        assert!(fake.asks().is_empty());
    });
}

#[test]
fn use_is_written_down_once_at_the_latest_at_the_end() {
    let books = Arc::new(Books { failures_left: Mutex::new(1), ..Default::default() });
    let for_test = Arc::clone(&books);
    with_ledger(Some(books), paid, |actors, _script, _fake| async move {
        until_available(&actors).await;
        let used = cloud_answer(&actors, "a").await.unwrap().usage;
        // The first write fails, and the next one would come later than this.
        let begun = Instant::now();
        while *for_test.failures_left.lock().unwrap() > 0 {
            assert!(begun.elapsed() < PATIENCE, "nothing is written");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        actors.drain(Duration::ZERO).await;
        let added = for_test.added.lock().unwrap();
        let [(provider, usage)] = &added[..] else { panic!("{added:?}") };
        assert_eq!((provider.as_str(), usage.requests), (CLOUD, 1));
        assert_eq!(usage.completion_tokens, u64::from(used.completion_tokens));
        assert_eq!(usage.cost, MicroUsd(usage.prompt_tokens + usage.completion_tokens));
    });
}
