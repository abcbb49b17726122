//! Everything that can be wrong with a request.

use super::fixture::{TestDaemon, request, send, settings};
use super::scripted::TOO_LONG;
use std::io::{Read, Write};
use std::time::Duration;

#[tokio::test]
async fn every_fault_of_a_question_names_its_field_and_stores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(1001));
    for (body, field) in [
        ("{}", "message"),
        (r#"{"message":null}"#, "message"),
        (r#"{"message":" \n\t "}"#, "message"),
        (r#"{"message":"a\u0000b"}"#, "message"),
        (r#"{"message":"\ud800"}"#, "message"),
        (r#"{"message":["a"]}"#, "message"),
        (long.as_str(), "message"),
        (r#"{"message":"a","mesage":1}"#, "mesage"),
        (r#"{"message":"a","session_id":"../x"}"#, "session_id"),
        (r#"{"message":"a","temperature":3}"#, "temperature"),
        (r#"{"message":"a","temperature":"hot"}"#, "temperature"),
        (r#"{"message":"a","preset":"wild"}"#, "preset"),
        (r#"{"message":"a","mode":"nobody"}"#, "mode"),
        (r#"{"message":"a","deadline_ms":0}"#, "deadline_ms"),
        (r#"{"message":"a","stop":[""]}"#, "stop"),
        (r#"{"message":"a","top_logprobs":21}"#, "top_logprobs"),
        (r#"{"message":"a","stream":true,"max_tokens":0}"#, "max_tokens"),
    ] {
        let refused = daemon.post("/api/chat", body).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some(field)), "{body}");
        assert!(refused.message().contains(field), "{body}: {}", refused.message());
    }
    for body in ["", "[]", "{", "not json", "\"text\""] {
        assert_eq!(daemon.post("/api/chat", body).await.error(), (400, "invalid_request", None), "{body:?}");
    }
    let sessions = daemon.client.list_sessions(&Default::default()).await.unwrap().body.sessions;
    assert!(sessions.is_empty(), "{sessions:?}");
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let refused = daemon.post("/api/chat", format!(r#"{{"message":"{TOO_LONG}","session_id":"s"}}"#)).await;
    assert_eq!(refused.error(), (400, "context_length_exceeded", Some("max_tokens")));
    assert!(refused.message().contains("90") && refused.message().contains("100"), "{}", refused.message());
    let streamed = format!(r#"{{"message":"{TOO_LONG}","session_id":"s","stream":true}}"#);
    let refused = daemon.post("/api/chat", streamed).await;
    assert_eq!(refused.error(), (400, "context_length_exceeded", Some("max_tokens")), "a stream as well");
    assert!(daemon.messages("s").await.is_empty());
}

#[tokio::test]
async fn faults_of_the_envelope_have_their_own_codes() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.daemon.body_timeout = Duration::from_millis(150);
    let daemon = TestDaemon::start(settings).await;

    let nowhere = daemon.raw(request("GET", "/api/nowhere", "", b"")).await;
    assert_eq!(nowhere.error(), (404, "not_found", None));
    let wrong = daemon.raw(request("PUT", "/api/sessions/x", "", b"")).await;
    assert_eq!(wrong.error(), (405, "method_not_allowed", None));
    assert_eq!(wrong.header("allow"), Some("GET, PATCH, DELETE"));
    assert_eq!(daemon.raw(request("GET", "/api/chat", "", b"")).await.header("allow"), Some("POST"));

    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(5000));
    assert_eq!(daemon.post("/api/chat", large).await.error(), (413, "payload_too_large", None));
    let body = br#"{"message":"a"}"#;
    for headers in
        ["", "content-type: text/plain\r\n", "content-type: application/json\r\ncontent-encoding: gzip\r\n"]
    {
        let refused = daemon.raw(request("POST", "/api/chat", headers, body)).await;
        assert_eq!(refused.error(), (415, "unsupported_media_type", None), "{headers}");
    }
    let declared = "content-type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(daemon.raw(request("POST", "/api/chat", declared, body)).await.status, 200);

    let slow = "POST /api/chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"mess";
    assert_eq!(daemon.raw(slow.as_bytes().to_vec()).await.error(), (408, "request_timeout", None));
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.daemon.header_timeout = Duration::from_millis(150);
    let daemon = TestDaemon::start(settings).await;
    let slow = daemon.raw(b"GET /health HTTP/1.1\r\nhost:".to_vec()).await;
    assert_eq!(slow.status, 408);
}

#[tokio::test]
async fn a_request_keeps_the_id_that_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let named = daemon.raw(request("GET", "/health", "x-request-id: mine-1\r\n", b"")).await;
    assert_eq!((named.status, named.header("x-request-id")), (200, Some("mine-1")));
    let bad = daemon.raw(request("GET", "/health", "x-request-id: a b\r\n", b"")).await;
    assert_eq!(bad.error(), (400, "invalid_request", Some("x-request-id")));
}

#[tokio::test]
async fn paths_and_queries_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    for (path, expected) in [
        ("/api/sessions/none", (404, "not_found", Some("session_id"))),
        ("/api/sessions/%2e%2e%2fx", (400, "invalid_request", Some("id"))),
        ("/api/sessions?limit=0", (400, "invalid_request", Some("limit"))),
        ("/api/sessions?limit=1&limit=2", (400, "invalid_request", Some("limit"))),
        ("/api/sessions?before=x", (400, "invalid_request", Some("before"))),
        ("/api/sessions?colour=red", (400, "invalid_request", Some("colour"))),
    ] {
        assert_eq!(daemon.raw(request("GET", path, "", b"")).await.error(), expected, "{path}");
    }
    for (body, field) in [
        (r#"{"id":"a b"}"#, "id"),
        (r#"{"title":" "}"#, "title"),
        (r#"{"preset":"x"}"#, "preset"),
        (r#"{"sampling":{"top_p":2}}"#, "sampling.top_p"),
        (r#"{"colour":1}"#, "colour"),
    ] {
        let refused = daemon.post("/api/sessions", body).await;
        assert_eq!(refused.error(), (400, "invalid_request", Some(field)), "{body}");
    }
    assert_eq!(daemon.post("/api/sessions", r#"{"id":"twice"}"#).await.status, 201);
    assert_eq!(
        daemon.post("/api/sessions", r#"{"id":"twice"}"#).await.error(),
        (409, "conflict", Some("id"))
    );
}

#[tokio::test]
async fn a_defect_in_a_handler_is_an_answer_and_the_daemon_lives() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let failed = daemon.raw(request("GET", super::super::server::PANIC_ROUTE, "", b"")).await;
    assert_eq!(failed.error(), (500, "internal", None));
    daemon.client.health().await.unwrap();
}

#[tokio::test]
async fn nonsense_on_the_wire_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(settings(directory.path())).await;
    let socket = daemon.settings.daemon.socket.clone();
    let answers = tokio::task::spawn_blocking(move || {
        let smuggled = b"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        [b"\x00\xff\xfe\r\n\r\n".as_slice(), b"GET / HTTP/9.9\r\n\r\n", smuggled].map(|bytes| {
            let mut connection = send(&socket, bytes);
            connection.flush().unwrap();
            let mut answer = Vec::new();
            // A connection that is cut instead of answered is fine as well.
            connection.read_to_end(&mut answer).ok();
            String::from_utf8_lossy(&answer).into_owned()
        })
    });
    for answer in answers.await.unwrap() {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    daemon.client.health().await.unwrap();
}
