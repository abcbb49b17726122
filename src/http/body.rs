//! Reading a request body: declared as JSON, within the size and the time allowed, every field as it should be.

use super::context::RequestContext;
use super::error::ApiError;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::Payload;
use boca_core::{ErrorCode, Failure};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
}

/// Reads the body of a request that must have one.
///
/// # Errors
/// `UnsupportedMediaType`, `PayloadTooLarge`, `RequestTimeout`, or a bad request that names the field.
pub(super) async fn json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    limits: BodyLimits,
    context: &RequestContext,
) -> Result<T, ApiError> {
    let (_, bytes) = bytes(request, payload, &["application/json"], limits, context).await?;
    boca_api::decode_body(&bytes).map_err(|bad| {
        context.fail(Failure { param: bad.param, ..Failure::new(ErrorCode::InvalidRequest, bad.message) })
    })
}

/// Reads a body of one of these media types, and says which.
///
/// # Errors
/// `UnsupportedMediaType`, `PayloadTooLarge`, `RequestTimeout`.
pub(super) async fn bytes(
    request: &HttpRequest,
    payload: Payload,
    accepted: &[&'static str],
    limits: BodyLimits,
    context: &RequestContext,
) -> Result<(&'static str, Vec<u8>), ApiError> {
    let media_type = check_declared(request, accepted).map_err(|failure| context.fail(failure))?;
    let bytes = tokio::time::timeout(limits.timeout, collect(payload, limits.max_bytes)).await;
    let bytes = bytes.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {} ms", limits.timeout.as_millis());
        Err(Failure::new(ErrorCode::RequestTimeout, message))
    });
    Ok((media_type, bytes.map_err(|failure| context.fail(failure))?))
}

fn check_declared(request: &HttpRequest, accepted: &[&'static str]) -> Result<&'static str, Failure> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(encoding) = header(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let message = format!("the body must not be compressed, got `content-encoding: {encoding}`");
        return Err(Failure::new(ErrorCode::UnsupportedMediaType, message));
    }
    let declared = header(CONTENT_TYPE);
    let essence =
        declared.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match accepted.iter().find(|accepted| essence.as_deref() == Some(accepted)) {
        Some(accepted) => Ok(accepted),
        None => {
            let got = declared.map_or("none".to_owned(), |value| format!("`{value}`"));
            let accepted = accepted.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or ");
            let message = format!("the content type must be {accepted}, got {got}");
            Err(Failure::new(ErrorCode::UnsupportedMediaType, message))
        }
    }
}

async fn collect(mut payload: Payload, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Failure::new(ErrorCode::InvalidRequest, format!("the body did not arrive whole: {error}"))
        })?;
        if body.len() + chunk.len() > max_bytes {
            let message = format!("the body must be at most {max_bytes} bytes");
            return Err(Failure::new(ErrorCode::PayloadTooLarge, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
