//! What every request carries from its arrival to its answer.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use boca_core::{Failure, RequestId};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;

/// Id, arrival and place of one request.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    id: RequestId,
    arrived: Instant,
    /// Its place among the requests served at the same time; held until the last clone is gone, the body's included.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl RequestContext {
    pub(super) fn new(id: RequestId, arrived: Instant) -> Self {
        Self { id, arrived, _place: None }
    }

    pub(super) fn with_place(self, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(Arc::new(place)), ..self }
    }

    /// Named in the header `x-request-id` and in the log.
    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    /// When its header was read.
    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// This request's failure.
    pub(super) fn fail(&self, failure: impl Into<Failure>) -> ApiError {
        ApiError::new(failure, self)
    }
}

impl FromRequest for RequestContext {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let context = request.extensions().get::<Self>().cloned();
        ready(context.ok_or_else(|| {
            actix_web::error::ErrorInternalServerError("a request came past the guard, which is a defect")
        }))
    }
}

/// The id that a client gave, or a new one.
///
/// # Errors
/// A bad request when the client's id is not one.
pub(super) fn request_id(header: Option<&[u8]>) -> Result<RequestId, Failure> {
    let Some(bytes) = header else { return Ok(fresh_request_id()) };
    let field = boca_api::routes::REQUEST_ID_HEADER;
    let text =
        std::str::from_utf8(bytes).map_err(|_| Failure::invalid(field, format!("`{field}` must be text")))?;
    text.parse().map_err(|error| Failure::invalid(field, format!("`{field}` {error}")))
}

/// A new id, which sorts by time.
pub(super) fn fresh_request_id() -> RequestId {
    RequestId::from_uuid(uuid::Uuid::now_v7())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_taken_if_it_is_one() {
        assert_eq!(request_id(Some(b"abc-1")).unwrap().as_str(), "abc-1");
        assert_ne!(request_id(None).unwrap(), request_id(None).unwrap());
        for bad in [b"".as_slice(), b"a b", b"\xff", &[b'x'; 65]] {
            assert_eq!(request_id(Some(bad)).unwrap_err().param.as_deref(), Some("x-request-id"));
        }
    }
}
