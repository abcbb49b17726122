//! The daemon's own life: health, readiness, status, limits, a second one.

use super::fixture::{TestDaemon, question, settings, until};
use super::scripted::{ENDLESS, Gate, PANIC, missing};
use crate::exit::Exit;
use crate::signals::ShutdownTrigger;
use boca_api::ChatRequest;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SILENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn while_the_model_loads_everything_but_answers_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let daemon = TestDaemon::start_behind(settings(directory.path()), gate.clone()).await;
    until("loading", async || daemon.client.ready().await.is_ok_and(|ready| ready.body.progress.is_some()))
        .await;
    let ready = daemon.client.ready().await.unwrap().body;
    assert!(!ready.ready);
    assert_eq!((ready.status.as_str(), ready.error.unwrap().code.as_str()), ("loading", "model_loading"));
    assert_eq!(ready.progress.unwrap().total_bytes, 1 << 20);
    let raw = daemon.raw(super::fixture::request("GET", "/ready", "", b"")).await;
    assert_eq!(raw.status, 503);
    assert!(raw.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() >= 1));
    let status = daemon.client.status().await.unwrap().body;
    assert_eq!(status.model.state, "loading");

    let hasty = ChatRequest { deadline_ms: Some(100), ..question("s", "hello") };
    assert_eq!(daemon.client.chat(&hasty, SILENCE).await.unwrap_err().code(), Some("model_loading"));
    assert!(daemon.messages("s").await.is_empty(), "nothing happened, so nothing is stored");

    let patient = daemon.chat("s", "hello");
    let open = async {
        until("waiting", async || daemon.n_requests().await == 1).await;
        gate.open();
    };
    assert!(tokio::join!(patient, open).0.is_ok(), "a question waits for the model");
    assert!(daemon.client.ready().await.unwrap().body.ready);
}

#[tokio::test]
async fn without_a_model_the_daemon_stays_up_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start_with(settings(directory.path()), missing()).await;
    until("given up", async || daemon.client.ready().await.is_ok_and(|ready| ready.body.status == "down"))
        .await;
    let ready = daemon.raw(super::fixture::request("GET", "/ready", "", b"")).await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, None));
    let reason = ready.message().to_owned();
    assert!(reason.contains("/models/none: expected a model directory, found nothing"), "{reason}");
    let refused = daemon.post("/api/chat", r#"{"message":"hello","session_id":"s"}"#).await;
    assert_eq!(refused.error(), (503, "model_unavailable", None));
    assert!(daemon.messages("s").await.is_empty());
    assert_eq!(daemon.client.status().await.unwrap().body.model.error.unwrap().code, "model_unavailable");
    assert_eq!(daemon.stop().await, Exit::Done);
}

#[tokio::test]
async fn an_engine_that_fails_again_and_again_ends_the_daemon_with_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.supervision.intensity = 1;
    let socket = settings.daemon.socket.clone();
    let daemon = TestDaemon::start(settings).await;
    until("gone", async || {
        // Whatever it answers: at some point nobody listens any more.
        daemon.chat("s", PANIC).await.ok();
        !socket.exists()
    })
    .await;
    assert_eq!(daemon.ended().await, Exit::SupervisionGaveUp);
}

#[tokio::test]
async fn status_and_metrics_show_the_whole_house() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    daemon.chat("s", "hello").await.unwrap();
    let status = daemon.client.status().await.unwrap().body;
    assert_eq!(status.pid, std::process::id());
    assert_eq!(status.socket, daemon.settings.daemon.socket.display().to_string());
    assert_eq!(status.default_mode, "auto");
    assert_eq!(status.model.info.unwrap().name, "scripted");
    assert_eq!(status.model.tried[0].outcome, "taken");
    let agents: Vec<&str> = status.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(agents, ["metrics", "model", "synthesizer"]);
    assert_eq!((status.store.n_sessions, status.store.n_damaged_records), (1, 0));
    assert!(status.store.size_bytes > 0);
    assert!(!status.stopping);
    until("counted", async || {
        let metrics = daemon.client.metrics().await.unwrap().body;
        metrics.requests.by_outcome.get("stop") == Some(&1) && metrics.tokens.completion_tokens > 0
    })
    .await;
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_told_of_and_the_daemon_answers() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    daemon.chat("s", "hello").await.unwrap();
    assert_eq!(daemon.client.status().await.unwrap().body.store.set_aside, None);
    daemon.stop().await;
    std::fs::write(directory.path().join("state/store/sled/conf"), [0xff; 62]).unwrap();

    let daemon = TestDaemon::start(settings(directory.path())).await;
    let kept = daemon.client.status().await.unwrap().body.store.set_aside.unwrap();
    assert!(std::path::Path::new(&kept).join("db").exists(), "{kept}");
    assert!(daemon.messages("s").await.is_empty());
    daemon.chat("s", "hello again").await.unwrap();
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let second = |settings| async {
        let (_trigger, shutdown) = ShutdownTrigger::new();
        let thread = TestDaemon::run(settings, missing(), shutdown);
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap()
    };
    assert_eq!(second(settings(directory.path())).await, Exit::Unavailable);
    let mut same_state = settings(directory.path());
    same_state.daemon.socket = directory.path().join("other");
    assert_eq!(second(same_state).await, Exit::Unavailable, "the state directory is in use as well");
    assert!(!directory.path().join("other").exists());
    daemon.chat("s", "still here").await.unwrap();
}

#[tokio::test]
async fn the_socket_is_the_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let socket = &daemon.settings.daemon.socket;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    assert_eq!(mode(&daemon.settings.daemon.state_dir), 0o700);
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_back_and_health_answers_still() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.daemon.max_concurrent_requests = 1;
    let daemon = TestDaemon::start(settings).await;
    let mut events = daemon.client.chat_stream(&question("s", ENDLESS), SILENCE, SILENCE).await.unwrap();
    events.next().await.unwrap();
    let refused = daemon.post("/api/chat", r#"{"message":"x"}"#).await;
    assert_eq!(refused.error(), (429, "overloaded", None));
    assert_eq!(refused.header("retry-after"), Some("1"));
    daemon.client.health().await.unwrap();
    daemon.client.status().await.unwrap();
    let running = daemon.client.list_requests().await.unwrap().body.requests.remove(0);
    daemon.client.cancel_request(&running.id).await.unwrap();
    while events.next().await.unwrap().is_some() {}
    drop(events);
    until("free again", async || daemon.chat("t", "hello").await.is_ok()).await;
}
