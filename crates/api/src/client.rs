//! An async client: one HTTP/1.1 connection a call over the Unix socket (a connection costs some 50 µs).
//!
//! Dropping a call, or an [`EventStream`], closes its connection, and that is how a generation is cancelled.

use crate::ModelChangeResponse;
use crate::client_error::ClientError;
use crate::event_stream::EventStream;
use crate::line_stream::LineStream;
use crate::routes::{self, REQUEST_ID_HEADER};
use crate::{
    BatchListResponse, BatchResultsQuery, BatchStatus, CancelRequestResponse, ChatRequest, ChatResponse,
    CompareStatsResponse, CreateSessionRequest, DeleteSessionResponse, ErrorBody, FeedbackRequest,
    FeedbackResponse, HealthResponse, ListSessionsQuery, MetricsResponse, ReadyResponse, RequestListResponse,
    SessionListResponse, SessionResponse, StatusResponse, UpdateSessionRequest, batch, sse,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The largest whole answer that is read. A session of a thousand long messages stays far below it.
const MAX_BODY_BYTES: usize = 256 << 20;
/// How long a busy daemon may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the next try when the socket's queue of connections is full.
const CONNECT_RETRY: Duration = Duration::from_millis(20);
/// How long calls other than chat may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the daemon behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    call_timeout: Duration,
}

/// A good answer: read, and as it came.
#[derive(Debug, Clone)]
pub struct Reply<T> {
    /// The body.
    pub body: T,
    /// The body's JSON text as the daemon sent it, with fields that this version may not know.
    pub json: Bytes,
    /// The request's id, as it stands in the daemon's log.
    pub request_id: Option<String>,
}

impl Client {
    /// A client for the daemon at `socket`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), call_timeout: CALL_TIMEOUT }
    }

    /// The same client with another bound on calls other than chat.
    #[must_use]
    pub fn with_call_timeout(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    /// The socket it talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The process that listens on the socket, if the system tells. (Under socket activation that is the service
    /// manager, not the daemon.)
    ///
    /// # Errors
    /// When nothing can be connected to.
    pub async fn listener_pid(&self) -> Result<Option<i32>, ClientError> {
        let stream = connect(&self.socket).await?;
        Ok(stream.peer_cred().ok().and_then(|peer| peer.pid()))
    }

    /// Asks and waits for the whole answer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn chat(
        &self,
        request: &ChatRequest,
        wait: Duration,
    ) -> Result<Reply<ChatResponse>, ClientError> {
        let request = ChatRequest { stream: None, ..request.clone() };
        self.call(Method::POST, routes::CHAT, Some(&request), wait).await
    }

    /// Asks and returns the stream of events once the daemon has accepted the question, for which it has `opening`
    /// (it may wait for the model). `silence` bounds the time without a sign of life after that; the daemon gives one
    /// at least every 10 s.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn chat_stream(
        &self,
        request: &ChatRequest,
        opening: Duration,
        silence: Duration,
    ) -> Result<EventStream, ClientError> {
        let request = ChatRequest { stream: Some(true), ..request.clone() };
        let accepted = async {
            let (response, connection) = self.send(Method::POST, routes::CHAT, Some(&request)).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await);
            }
            let media = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
            if !media.is_some_and(|media| media.starts_with(sse::CONTENT_TYPE)) {
                return Err(self.protocol(format!("expected a stream of events, got {media:?}")));
            }
            Ok(EventStream::new(self.socket.clone(), response.into_body(), connection, silence))
        };
        within(opening, "accept the question", accepted).await
    }

    /// `GET /api/sessions`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn list_sessions(
        &self,
        query: &ListSessionsQuery,
    ) -> Result<Reply<SessionListResponse>, ClientError> {
        let limit = query.limit.map(|limit| format!("limit={limit}"));
        let before = query.before.as_deref().map(|id| format!("before={}", routes::escape_segment(id)));
        let parts: Vec<String> = limit.into_iter().chain(before).collect();
        let path = match parts.is_empty() {
            true => routes::SESSIONS.to_owned(),
            false => format!("{}?{}", routes::SESSIONS, parts.join("&")),
        };
        self.get(&path).await
    }

    /// `GET /api/sessions/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn session(&self, id: &str) -> Result<Reply<SessionResponse>, ClientError> {
        self.get(&routes::session(id)).await
    }

    /// `POST /api/model/load`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn load_model(&self) -> Result<Reply<ModelChangeResponse>, ClientError> {
        self.call(Method::POST, routes::MODEL_LOAD, None::<&()>, self.call_timeout).await
    }

    /// `POST /api/model/unload`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn unload_model(&self) -> Result<Reply<ModelChangeResponse>, ClientError> {
        self.call(Method::POST, routes::MODEL_UNLOAD, None::<&()>, self.call_timeout).await
    }

    /// `POST /api/sessions`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_session(
        &self,
        request: &CreateSessionRequest,
    ) -> Result<Reply<SessionResponse>, ClientError> {
        self.call(Method::POST, routes::SESSIONS, Some(request), self.call_timeout).await
    }

    /// `PATCH /api/sessions/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn update_session(
        &self,
        id: &str,
        request: &UpdateSessionRequest,
    ) -> Result<Reply<SessionResponse>, ClientError> {
        self.call(Method::PATCH, &routes::session(id), Some(request), self.call_timeout).await
    }

    /// `DELETE /api/sessions/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn delete_session(&self, id: &str) -> Result<Reply<DeleteSessionResponse>, ClientError> {
        self.call(Method::DELETE, &routes::session(id), None::<&()>, self.call_timeout).await
    }

    /// `GET /api/requests`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn list_requests(&self) -> Result<Reply<RequestListResponse>, ClientError> {
        self.get(routes::REQUESTS).await
    }

    /// `DELETE /api/requests/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn cancel_request(&self, id: &str) -> Result<Reply<CancelRequestResponse>, ClientError> {
        self.call(Method::DELETE, &routes::request(id), None::<&()>, self.call_timeout).await
    }

    /// `POST /api/batch` with one question a line. `id` names the batch, so that sending it again cannot begin it
    /// twice.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_batch(&self, id: &str, lines: Bytes) -> Result<Reply<BatchStatus>, ClientError> {
        let path = format!("{}?id={}", routes::BATCHES, routes::escape_segment(id));
        within(self.call_timeout, "take the batch on", async {
            let (response, _connection) = self.send_bytes(Method::POST, &path, batch::NDJSON, lines).await?;
            match response.status().is_success() {
                true => self.read(response).await,
                false => Err(self.refusal(response).await),
            }
        })
        .await
    }

    /// `GET /api/batch/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn batch(&self, id: &str) -> Result<Reply<BatchStatus>, ClientError> {
        self.get(&routes::batch(id)).await
    }

    /// `GET /api/batch`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn list_batches(&self) -> Result<Reply<BatchListResponse>, ClientError> {
        self.get(routes::BATCHES).await
    }

    /// `DELETE /api/batch/{id}`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn cancel_batch(&self, id: &str) -> Result<Reply<BatchStatus>, ClientError> {
        self.call(Method::DELETE, &routes::batch(id), None::<&()>, self.call_timeout).await
    }

    /// `GET /api/batch/{id}/results`. `silence` bounds the time without a sign of life; the daemon gives one at least
    /// every 10 s.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn batch_results(
        &self,
        id: &str,
        query: BatchResultsQuery,
        silence: Duration,
    ) -> Result<LineStream, ClientError> {
        let BatchResultsQuery { offset, follow } = query;
        let path = format!("{}/results?offset={offset}&follow={follow}", routes::batch(id));
        let opened = async {
            let (response, connection) = self.send(Method::GET, &path, None::<&()>).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response).await);
            }
            Ok(LineStream::new(self.socket.clone(), response.into_body(), connection, silence))
        };
        within(self.call_timeout, "answer", opened).await
    }

    /// `POST /api/feedback`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn feedback(&self, request: &FeedbackRequest) -> Result<Reply<FeedbackResponse>, ClientError> {
        self.call(Method::POST, routes::FEEDBACK, Some(request), self.call_timeout).await
    }

    /// `GET /api/compare/stats`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn compare_stats(&self) -> Result<Reply<CompareStatsResponse>, ClientError> {
        self.get(routes::COMPARE_STATS).await
    }

    /// `GET /api/status`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn status(&self) -> Result<Reply<StatusResponse>, ClientError> {
        self.get(routes::STATUS).await
    }

    /// `GET /api/metrics`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn metrics(&self) -> Result<Reply<MetricsResponse>, ClientError> {
        self.get(routes::METRICS).await
    }

    /// `GET /health`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn health(&self) -> Result<Reply<HealthResponse>, ClientError> {
        self.get(routes::HEALTH).await
    }

    /// `GET /ready`. That the daemon is not ready is an answer like any other here, not an error.
    ///
    /// # Errors
    /// Any [`ClientError`] that is not a 503 with a [`ReadyResponse`].
    pub async fn ready(&self) -> Result<Reply<ReadyResponse>, ClientError> {
        within(self.call_timeout, "answer", async {
            let (response, _connection) = self.send(Method::GET, routes::READY, None::<&()>).await?;
            match response.status() {
                StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => self.read(response).await,
                _ => Err(self.refusal(response).await),
            }
        })
        .await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>, ClientError> {
        self.call(Method::GET, path, None::<&()>, self.call_timeout).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        wait: Duration,
    ) -> Result<Reply<T>, ClientError> {
        within(wait, "answer", async {
            let (response, _connection) = self.send(method, path, body).await?;
            match response.status().is_success() {
                true => self.read(response).await,
                false => Err(self.refusal(response).await),
            }
        })
        .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let body = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|e| self.protocol(e.to_string()))?),
            None => Bytes::new(),
        };
        self.send_bytes(method, path, "application/json", body).await
    }

    async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "boca");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let request = request.body(Full::new(body)).map_err(|e| self.protocol(e.to_string()))?;
        let stream = connect(&self.socket).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        let connection = Connection(tokio::spawn(async move {
            // Its end shows at the other side of the channel, in the answer that is being read.
            connection.await.ok();
        }));
        let response = sender.send_request(request).await.map_err(|e| self.broken(e))?;
        Ok((response, connection))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<Reply<T>, ClientError> {
        let request_id = text_header(&response, REQUEST_ID_HEADER);
        let json = self.collect(response).await?;
        let body = serde_json::from_slice(&json).map_err(|e| self.protocol(e.to_string()))?;
        Ok(Reply { body, json, request_id })
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status().as_u16();
        let request_id = text_header(&response, REQUEST_ID_HEADER);
        let retry_after = text_header(&response, "retry-after")
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs);
        let json = match self.collect(response).await {
            Ok(json) => json,
            Err(error) => return error,
        };
        match serde_json::from_slice::<ErrorBody>(&json) {
            Ok(body) => ClientError::Api { status, body: Box::new(body), retry_after, request_id },
            Err(_) => self.protocol(format!("HTTP status {status} without an error body")),
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => self.broken(*error),
                Err(_) => self.protocol(format!("it is larger than {MAX_BODY_BYTES} bytes")),
            }),
        }
    }

    fn broken(&self, error: hyper::Error) -> ClientError {
        match error.is_parse() {
            true => self.protocol(error.to_string()),
            false => ClientError::Closed { source: Some(error) },
        }
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), message }
    }
}

/// The task that drives a connection; the connection closes when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    let give_up = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            // Linux answers so when the listener's queue is full, instead of waiting as it does for TCP.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= give_up {
                    return Err(ClientError::Timeout { what: "take the connection", after: CONNECT_TIMEOUT });
                }
                sleep(CONNECT_RETRY).await;
            }
            Err(error) => return Err(ClientError::connect(socket, error)),
        }
    }
}

async fn within<T>(
    wait: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(wait, call).await.unwrap_or(Err(ClientError::Timeout { what, after: wait }))
}

fn text_header<B>(response: &Response<B>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}
