//! The client against a scripted peer on a real socket: every way in which a daemon can answer, refuse, stall and die.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as loudly as tests do")]

use boca_api::{ChatRequest, Client, ClientError, ListSessionsQuery, StreamEvent};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the peer does after it has sent its bytes.
enum Then {
    Close,
    /// Keeps the connection open; reports that everything is written, then that the client closed it.
    WaitForClose {
        written: Option<oneshot::Sender<()>>,
        closed: oneshot::Sender<()>,
    },
}

/// Serves one connection: reads one request, writes `pieces`, flushing between them. Yields the request as text.
fn peer(pieces: Vec<String>, then: Then) -> (TempDir, Client, JoinHandle<String>) {
    let dir = TempDir::new().unwrap();
    let socket: PathBuf = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        if let Then::WaitForClose { written, closed } = then {
            if let Some(written) = written {
                written.send(()).unwrap();
            }
            while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
            closed.send(()).ok();
        }
        request
    });
    (dir, Client::new(socket), task)
}

async fn read_request(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the client went away in its request");
    }
}

fn json_answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stream_head() -> String {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned()
}

fn question() -> ChatRequest {
    ChatRequest { message: "hi".into(), ..Default::default() }
}

const DONE: &str = r#"{"response":"Hello","model_used":"m","response_time_ms":1,"session_id":"s","request_id":"r","finish_reason":"stop"}"#;

#[tokio::test]
async fn no_socket_and_a_stale_socket_mean_not_running() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let error = Client::new(&socket).health().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    drop(UnixListener::bind(&socket).unwrap());
    let error = Client::new(&socket).health().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn a_path_that_is_no_socket_or_too_long_is_told_apart() {
    let dir = TempDir::new().unwrap();
    let error = Client::new(dir.path().join("x".repeat(200))).health().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    // A plain file refuses as a dead socket does.
    let error = Client::new(file).health().await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn a_whole_answer_is_read_and_kept_as_it_came() {
    let body = DONE.replace('}', r#","brand_new":7}"#);
    let answer = json_answer("200 OK", "x-request-id: r-1\r\n", &body);
    let (_dir, client, peer) = peer(vec![answer], Then::Close);
    let reply = client.chat(&question(), PATIENCE).await.unwrap();
    assert_eq!(reply.body.response, "Hello");
    assert_eq!(reply.request_id.as_deref(), Some("r-1"));
    assert_eq!(reply.json, body);
    let request = peer.await.unwrap();
    assert!(request.starts_with("POST /api/chat HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json"), "{request}");
    assert!(request.ends_with(r#"{"message":"hi"}"#), "{request}");
}

#[tokio::test]
async fn a_list_is_asked_for_with_an_escaped_query() {
    let (_dir, client, peer) = peer(vec![json_answer("200 OK", "", r#"{"sessions":[]}"#)], Then::Close);
    let query = ListSessionsQuery { limit: Some(5), before: Some("a&b=c".into()) };
    assert!(client.list_sessions(&query).await.unwrap().body.sessions.is_empty());
    let request = peer.await.unwrap();
    assert!(request.starts_with("GET /api/sessions?limit=5&before=a%26b%3Dc HTTP/1.1"), "{request}");
}

#[tokio::test]
async fn a_refusal_carries_the_daemons_words() {
    let body = r#"{"error":{"message":"the queue is full","type":"rate_limit_error","param":null,"code":"overloaded"},"response_time_ms":1}"#;
    let answer = json_answer("429 Too Many Requests", "retry-after: 3\r\nx-request-id: r-9\r\n", body);
    let (_dir, client, _peer) = peer(vec![answer], Then::Close);
    match client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap_err() {
        error @ ClientError::Api { .. } => {
            assert_eq!(error.to_string(), "the queue is full");
            assert_eq!(error.code(), Some("overloaded"));
            assert!(error.is_temporary());
            let ClientError::Api { status, retry_after, request_id, .. } = error else { unreachable!() };
            assert_eq!(status, 429);
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
            assert_eq!(request_id.as_deref(), Some("r-9"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn not_ready_is_an_answer() {
    let body = r#"{"ready":false,"status":"loading","progress":{"phase":"reading","done_bytes":1,"total_bytes":2,"elapsed_ms":3}}"#;
    let (_dir, client, _peer) = peer(vec![json_answer("503 Service Unavailable", "", body)], Then::Close);
    let ready = client.ready().await.unwrap().body;
    assert!(!ready.ready);
    assert_eq!(ready.progress.unwrap().total_bytes, 2);
}

#[tokio::test]
async fn a_stranger_on_the_socket_is_recognised() {
    let html = "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n<html";
    let json = json_answer("200 OK", "", DONE);
    for answer in [html, "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", &json] {
        let (_dir, client, _peer) = peer(vec![answer.to_owned()], Then::Close);
        let error = client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{answer}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_closed_not_protocol() {
    for answer in
        ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"resp"]
    {
        let (_dir, client, _peer) = peer(vec![answer.to_owned()], Then::Close);
        let error = client.chat(&question(), PATIENCE).await.unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn events_arrive_in_order_and_unknown_ones_are_passed_over() {
    let pieces = vec![
        stream_head(),
        "event: started\ndata: {\"request_id\":\"r\",\"session_id\":\"s\"}\n\n: keep-alive\n\nevent: to"
            .into(),
        "ken\ndata: {\"text\":\"Hel\"}\n\nevent: weather\ndata: sunny\n\n".into(),
        "event: token\r\ndata: {\"text\":\"lo\"}\r\n\r\n".into(),
        format!("event: done\ndata: {DONE}\n\n"),
        "event: token\ndata: {\"text\":\"after the end\"}\n\n".into(),
    ];
    let (_dir, client, _peer) = peer(pieces, Then::Close);
    let mut stream = client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await.unwrap() {
        seen.push(match event {
            StreamEvent::Token(delta) => delta.text,
            StreamEvent::Done(done) => format!("done: {}", done.response),
            other => other.name().to_owned(),
        });
    }
    assert_eq!(seen, ["started", "Hel", "lo", "done: Hello"]);
}

#[tokio::test]
async fn a_stream_that_breaks_is_closed_once() {
    let pieces = vec![stream_head(), "event: token\ndata: {\"text\":\"Hel\"}\n\n".into()];
    let (_dir, client, _peer) = peer(pieces, Then::Close);
    let mut stream = client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap();
    assert!(matches!(stream.next().await, Ok(Some(StreamEvent::Token(_)))));
    assert!(matches!(stream.next().await, Err(ClientError::Closed { .. })));
    assert!(matches!(stream.next().await, Ok(None)));
}

#[tokio::test]
async fn nonsense_in_a_stream_is_named() {
    let pieces = vec![stream_head(), "event: token\ndata: {\"text\":\n\n".into()];
    let (_dir, client, _peer) = peer(pieces, Then::Close);
    let mut stream = client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap();
    let error = stream.next().await.unwrap_err();
    assert!(error.to_string().contains("event `token`"), "{error}");
}

#[tokio::test]
async fn a_silent_daemon_is_given_up() {
    let (closed, _when_closed) = oneshot::channel();
    let (_dir, client, _peer) = peer(vec![stream_head()], Then::WaitForClose { written: None, closed });
    let mut stream = client.chat_stream(&question(), PATIENCE, Duration::from_millis(20)).await.unwrap();
    assert!(matches!(stream.next().await, Err(ClientError::Timeout { .. })));
    let (closed, _when_closed) = oneshot::channel();
    let (_dir, client, _peer) = self::peer(vec![], Then::WaitForClose { written: None, closed });
    let answer = client.chat(&question(), Duration::from_millis(20)).await;
    assert!(matches!(answer, Err(ClientError::Timeout { .. })), "{answer:?}");
}

#[tokio::test]
async fn dropping_a_stream_closes_the_connection() {
    let (closed, when_closed) = oneshot::channel();
    let (_dir, client, _peer) = peer(vec![stream_head()], Then::WaitForClose { written: None, closed });
    let stream = client.chat_stream(&question(), PATIENCE, PATIENCE).await.unwrap();
    drop(stream);
    tokio::time::timeout(PATIENCE, when_closed).await.expect("the peer sees the end in time").unwrap();
}

#[tokio::test]
async fn dropping_a_call_closes_the_connection() {
    let (written, when_written) = oneshot::channel();
    let (closed, when_closed) = oneshot::channel();
    // A head without its body: the client is in the middle of the answer when it loses interest.
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned();
    let (_dir, client, peer) = peer(vec![head], Then::WaitForClose { written: Some(written), closed });
    let call = tokio::spawn(async move { client.chat(&question(), PATIENCE).await });
    when_written.await.unwrap();
    call.abort();
    tokio::time::timeout(PATIENCE, when_closed).await.expect("the peer sees the end in time").unwrap();
    assert!(peer.await.unwrap().starts_with("POST /api/chat"));
}

#[tokio::test]
async fn the_listener_tells_who_it_is() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    let pid = Client::new(socket).listener_pid().await.unwrap();
    assert_eq!(pid, Some(std::process::id() as i32));
}
