//! Starting, talking to and stopping the daemon.

use super::scripted::{Gate, factory};
use crate::chat::tests::chat_settings;
use crate::config::{
    ClientSettings, DaemonSettings, EngineHome, LogFormat, LogSettings, ModelSettings, Settings,
    SharedSettings, StoreSettings, SupervisionSettings, TriedModel,
};
use crate::daemon;
use crate::engine::LocalModel;
use crate::exit::Exit;
use crate::signals::{Shutdown, ShutdownTrigger};
use boca_actors::EngineHosting;
use boca_api::{ChatRequest, ChatResponse, Client, ClientError, SessionMessage};
use boca_engine::GeneratorFactory;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing here takes nearly as long; only a defect does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon in threads of this process.
pub(super) struct TestDaemon {
    pub(super) client: Client,
    pub(super) settings: Settings,
    trigger: Option<ShutdownTrigger>,
    thread: Option<JoinHandle<Exit>>,
}

/// Settings of a daemon that keeps everything in `directory`.
pub(super) fn settings(directory: &Path) -> Settings {
    Settings {
        daemon: DaemonSettings {
            socket: directory.join("run/s"),
            state_dir: directory.join("state"),
            drain_grace: Duration::from_millis(50),
            max_connections: 64,
            max_concurrent_requests: 16,
            max_body_bytes: 4096,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            allowed_uids: Vec::new(),
        },
        client: ClientSettings { auto_start: false },
        model: ModelSettings {
            named: None,
            context_tokens: None,
            threads: None,
            prefill_chunk_tokens: 64,
            max_running: 1,
            prefix_cache_bytes: 0,
            prefix_cache_disk_bytes: 0,
            kv_precision: boca_core::KvPrecision::default(),
            kv_limit_bytes: None,
            keep_alive: None,
            loop_guard: true,
            home: EngineHome::Thread,
            stuck_after: Duration::from_secs(600),
            probe_every: Duration::from_secs(60),
            queue_limit: 8,
        },
        engine: Default::default(),
        chat: chat_settings(),
        providers: Vec::new(),
        fusion: Default::default(),
        supervision: SupervisionSettings {
            intensity: 100,
            window: Duration::from_secs(60),
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
        },
        store: StoreSettings { cache_bytes: 8 << 20 },
        log: LogSettings { level: "off".into(), format: LogFormat::Json, log_prompts: false },
        config_files: Vec::new(),
        config_dir: None,
    }
}

impl TestDaemon {
    /// A daemon whose model is loaded.
    pub(super) async fn start(settings: Settings) -> Self {
        let gate = Gate::default();
        gate.open();
        let daemon = Self::start_behind(settings, gate).await;
        until("ready", async || daemon.client.ready().await.is_ok_and(|reply| reply.body.ready)).await;
        daemon
    }

    /// A daemon whose model is loaded when the gate opens.
    pub(super) async fn start_behind(settings: Settings, gate: Gate) -> Self {
        Self::start_with(settings, factory(gate)).await
    }

    /// A daemon with any engine.
    pub(super) async fn start_with(settings: Settings, engine: GeneratorFactory) -> Self {
        let (trigger, shutdown) = ShutdownTrigger::new();
        let client = Client::new(settings.daemon.socket.clone());
        let thread = Self::run(settings.clone(), engine, shutdown);
        let daemon = Self { client, settings, trigger: Some(trigger), thread: Some(thread) };
        until("listening", async || daemon.client.health().await.is_ok()).await;
        daemon
    }

    /// The daemon's thread, which yields how it ended.
    pub(super) fn run(settings: Settings, engine: GeneratorFactory, shutdown: Shutdown) -> JoinHandle<Exit> {
        let tried =
            vec![TriedModel { path: "embedded".into(), from: "embedded", outcome: "taken".to_owned() }];
        std::thread::spawn(move || {
            let shared = SharedSettings::new(settings);
            actix_rt::System::new().block_on(daemon::run_with_model(
                shared,
                tried,
                LocalModel { engine: EngineHosting::Thread(engine), prompts: None },
                Vec::new(),
                shutdown,
            ))
        })
    }

    /// Asks it to stop, without waiting.
    pub(super) fn ask_to_stop(&self) {
        self.trigger.as_ref().unwrap().request();
    }

    /// Stops it, and yields how it ended.
    pub(super) async fn stop(self) -> Exit {
        self.ask_to_stop();
        self.ended().await
    }

    /// Waits until it ends, and yields how.
    pub(super) async fn ended(mut self) -> Exit {
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap()
    }

    /// Asks a question in a session.
    pub(super) async fn chat(&self, session: &str, message: &str) -> Result<ChatResponse, ClientError> {
        Ok(self.client.chat(&question(session, message), PATIENCE).await?.body)
    }

    /// What is stored of a session, none when there is no such session.
    pub(super) async fn messages(&self, session: &str) -> Vec<SessionMessage> {
        self.client.session(session).await.map(|reply| reply.body.messages).unwrap_or_default()
    }

    /// How many questions are being answered.
    pub(super) async fn n_requests(&self) -> usize {
        self.client.list_requests().await.unwrap().body.requests.len()
    }

    /// Waits until the engine works on a question.
    pub(super) async fn until_running(&self) {
        until("running", async || {
            let requests = self.client.list_requests().await.unwrap().body.requests;
            requests.iter().any(|request| request.state == "running")
        })
        .await;
    }

    /// Sends bytes and yields the whole answer; the request must ask for the connection to be closed.
    pub(super) async fn raw(&self, request: Vec<u8>) -> RawAnswer {
        let socket = self.settings.daemon.socket.clone();
        tokio::task::spawn_blocking(move || raw(&socket, &request)).await.unwrap()
    }

    /// Posts a body to a path.
    pub(super) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> RawAnswer {
        self.raw(request("POST", path, "content-type: application/json\r\n", body.as_ref())).await
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if let (Some(trigger), Some(thread)) = (&self.trigger, self.thread.take()) {
            trigger.request();
            // A test that failed has its reason already.
            thread.join().ok();
        }
    }
}

/// A question in a session.
pub(super) fn question(session: &str, message: &str) -> ChatRequest {
    ChatRequest { message: message.into(), session_id: Some(session.into()), ..ChatRequest::default() }
}

/// Looks again and again until it is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < give_up, "not {what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An answer as it came over the socket.
#[derive(Debug)]
pub(super) struct RawAnswer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: serde_json::Value,
}

impl RawAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Status, code and blamed field of an error; checks that it has the shape of every error.
    pub(super) fn error(&self) -> (u16, &str, Option<&str>) {
        let error = &self.body["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert!(error["type"].as_str().is_some_and(|kind| kind.ends_with("_error")), "{self:?}");
        assert!(self.body["response_time_ms"].is_number(), "{self:?}");
        assert!(self.header("x-request-id").is_some(), "{self:?}");
        (self.status, error["code"].as_str().unwrap(), error["param"].as_str())
    }

    pub(super) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap()
    }
}

/// The bytes of a request that closes its connection.
pub(super) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A connection that has sent something and not read yet.
pub(super) fn send(socket: &PathBuf, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

fn raw(socket: &PathBuf, request: &[u8]) -> RawAnswer {
    let mut answer = Vec::new();
    send(socket, request).read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or(serde_json::Value::Null);
    RawAnswer { status, head: head.to_owned(), body }
}
