//! What every request passes on its way in and out: its id, the peer's right to be here, a place among those served
//! at the same time, and a net under defects.

use super::context::{RequestContext, fresh_request_id, request_id};
use super::peer::{self, Peer};
use super::server::Parts;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage};
use boca_api::routes;
use boca_core::{ErrorCode, Failure};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// These answer at once from what is known, and must answer above all when everything else is busy.
const WITHOUT_A_PLACE: [&str; 4] = [routes::HEALTH, routes::READY, routes::STATUS, routes::METRICS];

/// The one middleware.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let arrived = Instant::now();
    let header = request.headers().get(routes::REQUEST_ID_HEADER).map(|value| value.as_bytes().to_vec());
    let id = request_id(header.as_deref());
    let usable = id.as_ref().cloned().unwrap_or_else(|_| fresh_request_id());
    let context = RequestContext::new(usable, arrived);
    let method = request.method().clone();
    let path = request.path().to_owned();
    let context = match id.and_then(|_| admit(&request, &path, context.clone())) {
        Ok(context) => context,
        Err(failure) => return Err(context.fail(failure).into()),
    };
    request.extensions_mut().insert(context.clone());

    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    let result = match answered {
        Ok(result) => result,
        Err(_) => {
            tracing::error!(request_id = %context.id(), %method, path, "a handler panicked");
            Err(context.fail(Failure::new(ErrorCode::Internal, "a defect of boca's own; see its log")).into())
        }
    };
    let status = result
        .as_ref()
        .map_or_else(|error| error.as_response_error().status_code(), |response| response.status());
    let elapsed_ms = boca_api::millis(arrived.elapsed());
    tracing::debug!(request_id = %context.id(), %method, path, status = status.as_u16(), elapsed_ms, "request");
    let mut response = result?.map_into_boxed_body();
    if let Ok(id) = HeaderValue::from_str(context.id().as_str()) {
        response.headers_mut().insert(HeaderName::from_static(routes::REQUEST_ID_HEADER), id);
    }
    Ok(response)
}

/// Decides whether a request is served, and gives it its place.
fn admit(request: &ServiceRequest, path: &str, context: RequestContext) -> Result<RequestContext, Failure> {
    let Some(parts) = request.app_data::<Data<Parts>>() else {
        return Err(Failure::new(ErrorCode::Internal, "the server has no parts, which is a defect"));
    };
    let settings = parts.settings.current();
    let peer = request.conn_data::<Peer>();
    peer::check(peer, parts.own_uid, &settings.daemon.allowed_uids)?;
    let is_cancellation = path.starts_with(routes::REQUESTS);
    if is_cancellation || WITHOUT_A_PLACE.contains(&path) {
        return Ok(context);
    }
    match Arc::clone(&parts.places).try_acquire_owned() {
        Ok(place) => Ok(context.with_place(place)),
        Err(_) => {
            let most = settings.daemon.max_concurrent_requests;
            let message = format!("{most} requests are being served, which is the most at the same time");
            Err(Failure::new(ErrorCode::Overloaded, message).retry_after(Duration::from_secs(1)))
        }
    }
}
