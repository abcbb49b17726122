//! The HTTP client of one endpoint: limits of time and size, nothing of any dialect.

use crate::AttemptClass;
use crate::dialect::Call;
use crate::fault::Fault;
use crate::frame::too_large;
use crate::retry_after;
use crate::{Endpoint, EndpointError, Timeouts};
use boca_core::ErrorCode;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url, redirect, retry};
use std::error::Error;
use std::future::Future;
use std::sync::Once;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most bytes of an error body that are read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Idle connections that are kept for the next request.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// A client with its limits.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: Client,
    timeouts: Timeouts,
    max_response_bytes: usize,
}

impl Transport {
    /// A client for this endpoint. Nothing is sent.
    pub(crate) fn new(endpoint: &Endpoint, base: &Url) -> Result<Self, EndpointError> {
        static CRYPTO: Once = Once::new();
        // reqwest panics where no provider was chosen. An error here means that somebody else chose one.
        CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let mut builder = Client::builder()
            .user_agent(concat!("boca/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(endpoint.timeouts.connect)
            // A redirect would carry the key to another host.
            .redirect(redirect::Policy::none())
            // Retries are made above, inside a budget.
            .retry(retry::never())
            .referer(false)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .tcp_keepalive(Duration::from_secs(30))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if base.scheme() == "http" {
            // No certificates are needed, and a system without any must not stand in the way.
            builder = builder.tls_certs_only([]);
        }
        if endpoint.is_local || is_loopback(base) || endpoint.unix_socket.is_some() {
            // A proxy from the environment would carry requests off this machine.
            builder = builder.no_proxy();
        }
        if let Some(path) = &endpoint.unix_socket {
            builder = builder.unix_socket(path.as_path());
        }
        let client =
            builder.build().map_err(|error| EndpointError::Client { problem: root_cause(&error) })?;
        let max_response_bytes = usize::try_from(endpoint.max_response_bytes).unwrap_or(usize::MAX);
        Ok(Self { client, timeouts: endpoint.timeouts, max_response_bytes })
    }

    /// The limits of time.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// The most bytes of one response.
    pub(crate) fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// Sends one request and waits for the head of its response, whatever its status is.
    pub(crate) async fn send(&self, call: Call, deadline: Instant) -> Result<Response, Fault> {
        let mut request = self.client.request(call.method, call.url).headers(call.headers);
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let limit = self.timeouts.first_byte;
        let problem = || not_begun(limit);
        let response = within(Instant::now() + limit, deadline, problem, request.send()).await?;
        let response = response.map_err(|error| self.not_sent(&error))?;
        if response.content_length().is_some_and(|length| length > self.max_response_bytes as u64) {
            return Err(too_large(self.max_response_bytes));
        }
        Ok(response)
    }

    /// The whole body of a small response.
    pub(crate) async fn body(&self, mut response: Response, deadline: Instant) -> Result<String, Fault> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next_piece(&mut response, deadline).await? {
            if body.len() + bytes.len() > self.max_response_bytes {
                return Err(too_large(self.max_response_bytes));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The next piece of a body; `None` at its end, an error with `problem` when it has not come until `at`.
    pub(crate) async fn piece(
        &self,
        response: &mut Response,
        at: Instant,
        deadline: Instant,
        problem: impl FnOnce() -> String,
    ) -> Result<Option<bytes::Bytes>, Fault> {
        let piece = within(at, deadline, problem, response.chunk()).await?;
        piece.map_err(|error| {
            let cause = root_cause(&error);
            Fault::new(AttemptClass::Connect, format!("broke off in the middle of its answer: {cause}"))
        })
    }

    async fn next_piece(
        &self,
        response: &mut Response,
        deadline: Instant,
    ) -> Result<Option<bytes::Bytes>, Fault> {
        let limit = self.timeouts.between_bytes;
        self.piece(response, Instant::now() + limit, deadline, || stopped(limit)).await
    }

    /// Status, wait and body of an error response. What cannot be read of the body is left out: the status says
    /// enough.
    pub(crate) async fn error_body(
        &self,
        mut response: Response,
        deadline: Instant,
    ) -> (u16, Option<Duration>, String) {
        let status = response.status().as_u16();
        let wait = retry_after::of_headers(response.headers(), jiff::Timestamp::now());
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES {
            match self.next_piece(&mut response, deadline).await {
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(MAX_ERROR_BYTES);
        (status, wait, String::from_utf8_lossy(&body).into_owned())
    }

    fn not_sent(&self, error: &reqwest::Error) -> Fault {
        if error.is_timeout() {
            let limit = self.timeouts.connect;
            return Fault::new(AttemptClass::Connect, format!("could not be connected to within {limit:?}"));
        }
        let cause = root_cause(error);
        if error.is_connect() {
            return Fault::new(AttemptClass::Connect, format!("could not be connected to: {cause}"));
        }
        Fault::new(AttemptClass::Connect, format!("broke off before it answered: {cause}"))
    }
}

/// The type of a response's content, as it was written, without its parameters.
pub(crate) fn content_type(response: &Response) -> Option<&str> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// Waits for `work` until `at`, and not beyond the deadline.
pub(crate) async fn within<T>(
    at: Instant,
    deadline: Instant,
    problem: impl FnOnce() -> String,
    work: impl Future<Output = T>,
) -> Result<T, Fault> {
    let too_late = || {
        Fault::new(AttemptClass::Timeout, "was not done when the deadline of the request passed")
            .with_code(ErrorCode::DeadlineExceeded)
    };
    // The timer's steps are wide enough for a fast server to answer after the deadline.
    if deadline <= Instant::now() {
        return Err(too_late());
    }
    timeout_at(at.min(deadline), work)
        .await
        .map_err(|_| if deadline <= at { too_late() } else { Fault::new(AttemptClass::Timeout, problem()) })
}

/// What is said when the first byte is late.
pub(crate) fn not_begun(limit: Duration) -> String {
    format!("did not begin to answer within {limit:?}")
}

/// What is said when a stream does not go on.
pub(crate) fn stopped(limit: Duration) -> String {
    format!("stopped in the middle of its answer for {limit:?}")
}

/// The innermost cause. The outer ones only say that a request failed, and name its address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error as &dyn Error) {
        return "the request could not be made".into();
    }
    cause.to_string()
}

fn is_loopback(base: &Url) -> bool {
    // The brackets belong to the address in a URL and to nothing else.
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
