//! A provider behind HTTP.

use crate::conversation::Ask;
use crate::dialect::{Call, Dialect};
use crate::fault::Fault;
use crate::ollama::SendThink;
use crate::reading::Reading;
use crate::transport::Transport;
use crate::{AskOptions, AttemptClass, AttemptError, AttemptStream, Endpoint, EndpointError};
use boca_core::{GenerateRequest, ProviderKind, Usage};
use reqwest::{Response, Url};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A provider behind HTTP. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    endpoint: Arc<Endpoint>,
    base: Url,
    transport: Transport,
    /// Ollama refuses `think: true` for a model that cannot, and nothing else tells beforehand.
    cannot_think: Arc<AtomicBool>,
}

impl HttpProvider {
    /// A client for this endpoint. Nothing is sent.
    ///
    /// # Errors
    /// [`EndpointError`] when a field cannot be used or no client can be made on this system.
    pub fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        let base = endpoint.check()?;
        let transport = Transport::new(&endpoint, &base)?;
        Ok(Self { endpoint: Arc::new(endpoint), base, transport, cannot_think: Arc::default() })
    }

    /// What it was made from.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it goes on with an answer that somebody else began.
    pub fn supports_continuing(&self) -> bool {
        self.endpoint.continues_answers
    }

    /// Makes one attempt, and returns when the head of the response is good. Nothing is sent twice, except to an
    /// Ollama that refuses to think, which is asked again without.
    ///
    /// # Errors
    /// [`AttemptError`] says what can be done about it.
    pub async fn attempt(
        &self,
        request: &GenerateRequest,
        options: &AskOptions,
        deadline: std::time::Instant,
    ) -> Result<AttemptStream, AttemptError> {
        let reading = self.begin(request, options, deadline.into()).await;
        reading.map(Reading::into_stream).map_err(|fault| self.name(fault))
    }

    /// Asks by the cheapest call whether it is there; gives the names of its models.
    ///
    /// # Errors
    /// [`AttemptError`], also when `limit` passes.
    pub async fn probe(&self, limit: Duration) -> Result<Vec<String>, AttemptError> {
        let dialect = self.dialect();
        let deadline = Instant::now() + limit;
        let names = async {
            let body = self.small_body(dialect.probe()?, deadline).await?;
            dialect.model_names(&body)
        };
        names.await.map_err(|fault| self.name(self.of_limit(fault, limit)))
    }

    /// Counts the tokens of a request, where the protocol has a call for that (Gemini, Anthropic).
    ///
    /// # Errors
    /// [`AttemptError`]; `Refused` where the protocol has no such call.
    pub async fn count_tokens(
        &self,
        request: &GenerateRequest,
        options: &AskOptions,
        limit: Duration,
    ) -> Result<u32, AttemptError> {
        let dialect = self.dialect();
        let deadline = Instant::now() + limit;
        let counted = async {
            let ask = Ask::new(request, options, &self.endpoint.sampling)?;
            let body = self.small_body(dialect.count_tokens(&ask)?, deadline).await?;
            dialect.counted_tokens(&body)
        };
        counted.await.map_err(|fault| self.name(self.of_limit(fault, limit)))
    }

    async fn begin(
        &self,
        request: &GenerateRequest,
        options: &AskOptions,
        deadline: Instant,
    ) -> Result<Reading, Fault> {
        if !request.answer_so_far.is_empty() && !self.supports_continuing() {
            return Err(Fault::new(
                AttemptClass::Refused,
                "cannot go on with an answer that somebody else began",
            ));
        }
        let ask = Ask::new(request, options, &self.endpoint.sampling)?;
        let dialect = self.dialect();
        let sent_at = Instant::now();
        let think =
            if self.cannot_think.load(Ordering::Relaxed) { SendThink::Never } else { SendThink::AsAsked };
        let call = dialect.ask(&ask, think, deadline.duration_since(sent_at))?;
        let response = match self.good_response(call, deadline).await {
            Err(fault) if self.refuses_to_think(&fault) => {
                self.cannot_think.store(true, Ordering::Relaxed);
                let call = dialect.ask(&ask, SendThink::Never, deadline.duration_since(Instant::now()))?;
                self.good_response(call, deadline).await?
            }
            response => response?,
        };
        let decoder = dialect.decoder(&request.answer_so_far);
        let (transport, endpoint) = (self.transport.clone(), Arc::clone(&self.endpoint));
        Reading::new(response, decoder, transport, endpoint, deadline, sent_at)
    }

    fn refuses_to_think(&self, fault: &Fault) -> bool {
        self.endpoint.kind == ProviderKind::Ollama
            && fault.class == AttemptClass::Refused
            && fault.message.contains("does not support thinking")
            && !self.cannot_think.load(Ordering::Relaxed)
    }

    async fn good_response(&self, call: Call, deadline: Instant) -> Result<Response, Fault> {
        let response = self.transport.send(call, deadline).await?;
        let status = response.status();
        tracing::debug!(provider = %self.endpoint.name, status = status.as_u16(), "a provider answered");
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let status = status.as_u16();
            let message = format!("answered with a redirect (status {status}), which is never followed");
            return Err(Fault::new(AttemptClass::Refused, message).with_status(Some(status)));
        }
        let (status, wait, body) = self.transport.error_body(response, deadline).await;
        Err(self.dialect().error(status, wait, &body))
    }

    async fn small_body(&self, call: Call, deadline: Instant) -> Result<String, Fault> {
        let response = self.good_response(call, deadline).await?;
        self.transport.body(response, deadline).await
    }

    fn dialect(&self) -> Dialect<'_> {
        Dialect::new(&self.endpoint, &self.base)
    }

    /// A call with a limit of its own has no request whose deadline could pass.
    fn of_limit(&self, fault: Fault, limit: Duration) -> Fault {
        match fault.code {
            boca_core::ErrorCode::DeadlineExceeded => {
                Fault::new(AttemptClass::Timeout, format!("did not answer within {limit:?}"))
            }
            _ => fault,
        }
    }

    fn name(&self, fault: Fault) -> AttemptError {
        fault.of_provider(&self.endpoint.name, self.endpoint.key.as_ref(), Usage::default())
    }
}
