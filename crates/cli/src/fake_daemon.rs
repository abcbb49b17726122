//! A scripted daemon for tests: a real server on a real socket that replays answers, breaks off, stalls.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as loudly as tests do")]

use crate::console::Console;
use crate::context::{ClientContext, DaemonCommand};
use crate::interrupts::Interrupts;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Long enough for a machine that does ten things at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Method and path, as in `GET /ready`.
    pub(crate) line: String,
    /// The body.
    pub(crate) body: String,
}

/// What the daemon answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A whole answer: status line, further headers, JSON.
    Json(&'static str, &'static str, String),
    /// A stream: its pieces, then the connection is closed.
    Stream(Vec<String>),
    /// A stream: its pieces, then nothing until the client leaves.
    Stalls(Vec<String>),
}

/// A good answer.
pub(crate) fn ok(json: &str) -> Answer {
    Answer::Json("200 OK", "", json.to_owned())
}

/// A refusal.
pub(crate) fn refusal(status: &'static str, headers: &'static str, code: &str, message: &str) -> Answer {
    let json = format!(
        r#"{{"error":{{"message":{message:?},"type":"x","param":null,"code":{code:?}}},"response_time_ms":1.0}}"#
    );
    Answer::Json(status, headers, json)
}

/// An event of a stream.
pub(crate) fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A piece of the answer's text.
pub(crate) fn token(text: &str) -> String {
    event("token", &serde_json::json!({ "text": text }).to_string())
}

/// The first event of a stream.
pub(crate) fn started() -> String {
    event("started", r#"{"request_id":"r-1","session_id":"s-1"}"#)
}

/// The end of a good stream.
pub(crate) fn done(response: &str) -> String {
    event("done", &done_body(response))
}

/// The body of a good answer by the demo model, with a field of a version to come.
pub(crate) fn done_body(response: &str) -> String {
    serde_json::json!({
        "response": response, "model_used": "boca-demo", "model_is_demo": true, "response_time_ms": 1234.5,
        "agent_states": {"model": "ready"}, "session_id": "s-1", "request_id": "r-1", "finish_reason": "stop",
        "answers": [], "usage": {"prompt_tokens": 7, "cached_tokens": 0, "completion_tokens": 2,
        "reasoning_tokens": 0, "total_tokens": 9}, "timings": {"queue_ms": 0.1, "prefill_ms": 20.0,
        "decode_ms": 10.0, "time_to_first_token_ms": 20.1, "total_ms": 30.1, "decode_tokens_per_s": 100.0},
        "trace": {"sources": []}, "of_a_version_to_come": true
    })
    .to_string()
}

const READY: &str = r#"{"ready":true,"status":"ready","model":"boca-demo","model_is_demo":true}"#;

/// The daemon.
pub(crate) struct FakeDaemon {
    dir: TempDir,
    calls: Arc<Mutex<Vec<Call>>>,
    left: Arc<Semaphore>,
}

impl FakeDaemon {
    /// A daemon that is ready, and answers every other call by `answers`.
    pub(crate) fn start(answers: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        let daemon = Self::not_yet();
        daemon.listen(answers);
        daemon
    }

    /// A place for a daemon, where none listens yet.
    pub(crate) fn not_yet() -> Self {
        Self { dir: TempDir::new().unwrap(), calls: Arc::default(), left: Arc::new(Semaphore::new(0)) }
    }

    /// Begins to listen.
    pub(crate) fn listen(&self, answers: impl Fn(&Call) -> Answer + Send + Sync + 'static) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (calls, left, answers) = (self.calls.clone(), self.left.clone(), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (calls, left, answers) = (calls.clone(), left.clone(), answers.clone());
                tokio::spawn(async move { serve(stream, &calls, &left, &*answers).await });
            }
        });
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("boca.sock")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A context that finds this daemon and starts none.
    pub(crate) fn context(&self) -> ClientContext {
        ClientContext {
            socket_candidates: vec![self.dir.path().join("nobody.sock"), self.socket()],
            auto_start: false,
            daemon_command: DaemonCommand { program: "/nonexistent/boca".into(), args: vec!["serve".into()] },
            daemon_log: self.dir.path().join("logs").join("boca.log"),
            history_file: None,
        }
    }

    /// What was asked so far, without `/ready`.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The bodies of the questions so far.
    pub(crate) fn questions(&self) -> Vec<serde_json::Value> {
        let questions = self.calls().into_iter().filter(|call| call.line == "POST /api/chat");
        questions.map(|call| serde_json::from_str(&call.body).unwrap()).collect()
    }

    /// Waits until a client has left a stream that stalls.
    pub(crate) async fn client_left(&self) {
        let left = tokio::time::timeout(PATIENCE, self.left.acquire()).await;
        left.expect("the client leaves in time").unwrap().forget();
    }
}

async fn serve(
    mut stream: UnixStream,
    calls: &Mutex<Vec<Call>>,
    left: &Semaphore,
    answers: &(dyn Fn(&Call) -> Answer + Send + Sync),
) {
    let Some(call) = read_call(&mut stream).await else { return };
    let is_ready_call = call.line == "GET /ready";
    if !is_ready_call {
        calls.lock().unwrap().push(call.clone());
    }
    let stream_head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let (pieces, stalls) = match answers(&call) {
        Answer::Json(status, headers, json) => {
            let length = json.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
            );
            (vec![head, json], false)
        }
        Answer::Stream(pieces) => ([vec![stream_head.to_owned()], pieces].concat(), false),
        Answer::Stalls(pieces) => ([vec![stream_head.to_owned()], pieces].concat(), true),
    };
    for piece in pieces {
        if stream.write_all(piece.as_bytes()).await.is_err() {
            break;
        }
    }
    if stalls {
        while stream.read(&mut [0; 64]).await.is_ok_and(|n| n > 0) {}
        left.add_permits(1);
    }
}

/// Reads a request; `None` when the client only looked whether someone listens.
async fn read_call(stream: &mut UnixStream) -> Option<Call> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                return Some(Call { line, body: body.to_owned() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers `/ready` and everything about a question with this stream.
pub(crate) fn answering(stream: Answer) -> impl Fn(&Call) -> Answer + Send + Sync + 'static {
    move |call| match call.line.as_str() {
        "GET /ready" => ok(READY),
        "POST /api/chat" => stream.clone(),
        other => refusal("404 Not Found", "", "not_found", &format!("nothing at {other}")),
    }
}

/// Text that was written, shared with the test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until the text holds `part`.
    pub(crate) async fn shows(&self, part: &str) {
        let looking = async {
            while !self.text().contains(part) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, looking).await;
        assert!(seen.is_ok(), "{part:?} is not in {:?}", self.text());
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that a command needs of the outside, with the other ends in the test's hands.
pub(crate) struct Desk {
    pub(crate) console: Console,
    pub(crate) interrupts: Interrupts,
    pub(crate) ctrl_c: UnboundedSender<()>,
    pub(crate) out: Written,
    pub(crate) err: Written,
}

impl Desk {
    /// No terminal anywhere, nothing on standard input.
    pub(crate) fn new() -> Self {
        let (ctrl_c, presses) = unbounded_channel();
        let (out, err) = (Written::default(), Written::default());
        let console = Console::scripted(out.clone(), err.clone(), io::empty());
        Self { console, interrupts: Interrupts::Scripted(presses), ctrl_c, out, err }
    }

    /// With paths that change from run to run replaced.
    pub(crate) fn err_without(&self, daemon: &FakeDaemon) -> String {
        self.err.text().replace(&daemon.dir().display().to_string(), "DIR")
    }
}
