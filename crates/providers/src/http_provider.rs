//! A provider behind HTTP.

use crate::{AskOptions, AttemptClass, AttemptError, AttemptStream, Endpoint, EndpointError};
use boca_core::GenerateRequest;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A provider behind HTTP. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    endpoint: Arc<Endpoint>,
}

impl HttpProvider {
    /// A client for this endpoint. Nothing is sent.
    ///
    /// # Errors
    /// [`EndpointError`] when a field cannot be used or no client can be made on this system.
    pub fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        endpoint.check()?;
        Ok(Self { endpoint: Arc::new(endpoint) })
    }

    /// What it was made from.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it goes on with an answer that somebody else began.
    pub fn supports_continuing(&self) -> bool {
        self.endpoint.continues_answers
    }

    /// Makes one attempt, and returns when the head of the response is good.
    ///
    /// # Errors
    /// [`AttemptError`] says what can be done about it.
    pub async fn attempt(
        &self,
        _request: &GenerateRequest,
        _options: &AskOptions,
        _deadline: Instant,
    ) -> Result<AttemptStream, AttemptError> {
        Err(AttemptError::new(AttemptClass::Connect, "the transport is not there yet"))
    }

    /// Asks by the cheapest call whether it is there; gives the names of its models.
    ///
    /// # Errors
    /// [`AttemptError`], also when `limit` passes.
    pub async fn probe(&self, _limit: Duration) -> Result<Vec<String>, AttemptError> {
        Err(AttemptError::new(AttemptClass::Connect, "the transport is not there yet"))
    }

    /// Counts the tokens of a request, where the protocol has a call for that (Gemini, Anthropic).
    ///
    /// # Errors
    /// [`AttemptError`]; `Refused` where the protocol has no such call.
    pub async fn count_tokens(
        &self,
        _request: &GenerateRequest,
        _options: &AskOptions,
        _limit: Duration,
    ) -> Result<u32, AttemptError> {
        Err(AttemptError::new(AttemptClass::Connect, "the transport is not there yet"))
    }
}
