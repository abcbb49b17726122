//! Questions that end early: by the client's leaving, by request, by the daemon's end.

use super::fixture::{TestDaemon, question, request, send, settings, until};
use super::scripted::{BEGINNING, ENDLESS, SILENT};
use crate::exit::Exit;
use boca_api::ChatRequest;
use boca_api::sse::StreamEvent;
use std::time::Duration;

const SILENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_reader_that_leaves_cancels_its_answer_and_what_there_is_of_it_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let mut events = daemon.client.chat_stream(&question("s", ENDLESS), SILENCE, SILENCE).await.unwrap();
    loop {
        if let StreamEvent::Token(_) = events.next().await.unwrap().unwrap() {
            break;
        }
    }
    drop(events);
    until("cancelled", async || daemon.n_requests().await == 0).await;
    let stored = daemon.messages("s").await;
    assert_eq!((stored[0].content.as_str(), stored[1].content.as_str()), (ENDLESS, BEGINNING));
    assert_eq!(stored[1].finish_reason.as_deref(), Some("cancelled"));
    daemon.chat("t", "the engine is free again").await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_for_a_whole_answer_cancels_it_too() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    for message in [ENDLESS, SILENT] {
        let body = serde_json::to_vec(&question("s", message)).unwrap();
        let bytes = request("POST", "/api/chat", "content-type: application/json\r\n", &body);
        let connection = send(&daemon.settings.daemon.socket, &bytes);
        daemon.until_running().await;
        drop(connection);
        until("cancelled", async || daemon.n_requests().await == 0).await;
    }
    let stored = daemon.messages("s").await;
    assert_eq!(stored.len(), 4, "what was asked is kept, even without an answer");
    daemon.chat("t", "the engine is free again").await.unwrap();
}

#[tokio::test]
async fn a_cancelled_answer_ends_well_with_the_text_that_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let answer = daemon.chat("s", ENDLESS);
    let cancel = async {
        daemon.until_running().await;
        let running = daemon.client.list_requests().await.unwrap().body.requests.remove(0);
        assert_eq!((running.session_id.as_str(), running.mode.as_str()), ("s", "auto"));
        let busy = daemon.client.delete_session("s").await.unwrap_err();
        assert_eq!(busy.code(), Some("conflict"), "a session is not deleted under an answer");
        assert_eq!(daemon.client.cancel_request(&running.id).await.unwrap().body.id, running.id);
    };
    let (answer, ()) = tokio::join!(answer, cancel);
    let answer = answer.unwrap();
    assert_eq!((answer.finish_reason.as_str(), answer.response.as_str()), ("cancelled", BEGINNING));
    assert_eq!(daemon.messages("s").await[1].content, BEGINNING);
    let unknown = daemon.client.cancel_request(&answer.request_id).await.unwrap_err();
    assert_eq!(unknown.code(), Some("not_found"));
}

#[tokio::test]
async fn a_deadline_ends_an_answer_with_what_there_is_or_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let with_deadline = |message| ChatRequest { deadline_ms: Some(100), ..question("s", message) };
    let cut = daemon.client.chat(&with_deadline(ENDLESS), SILENCE).await.unwrap().body;
    assert_eq!((cut.finish_reason.as_str(), cut.response.as_str()), ("deadline", BEGINNING));
    let late = daemon.client.chat(&with_deadline(SILENT), SILENCE).await.unwrap_err();
    assert_eq!(late.code(), Some("deadline_exceeded"));
}

#[tokio::test]
async fn a_stopping_daemon_ends_what_runs_stores_it_and_leaves_no_socket() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.daemon.drain_grace = Duration::from_millis(300);
    let socket = settings.daemon.socket.clone();
    let daemon = TestDaemon::start(settings.clone()).await;
    let mut events = daemon.client.chat_stream(&question("s", ENDLESS), SILENCE, SILENCE).await.unwrap();
    daemon.until_running().await;
    daemon.ask_to_stop();
    until("refusing", async || {
        daemon.client.ready().await.is_ok_and(|ready| ready.body.status == "stopping")
    })
    .await;
    let refused = daemon.chat("t", "too late").await.unwrap_err();
    assert_eq!(refused.code(), Some("shutting_down"));
    let mut last = None;
    while let Some(event) = events.next().await.unwrap() {
        last = Some(event);
    }
    let Some(StreamEvent::Done(answer)) = last else { panic!("{last:?}") };
    assert_eq!(answer.finish_reason, "cancelled");
    drop(events);
    assert_eq!(daemon.stop().await, Exit::Done);
    assert!(!socket.exists());

    let daemon = TestDaemon::start(settings).await;
    assert_eq!(daemon.messages("s").await[1].content, BEGINNING);
}
