//! `/api/requests`: questions that are being answered, and their cancellation.

use super::context::RequestContext;
use super::error::ApiError;
use super::server::Parts;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use boca_api::{CancelRequestResponse, RequestListResponse, RunningRequest, millis};
use boca_core::{ErrorCode, Failure, RequestId};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long the model's actor may take to show its queue.
const OBSERVE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn list(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let observation = parts.actors.model.observe(Instant::now() + OBSERVE_PATIENCE).await;
    let requests = observation.map_err(|failure| context.fail(failure))?.requests;
    let in_engine: HashSet<RequestId> =
        requests.into_iter().filter(|request| request.is_running).map(|request| request.id).collect();
    let now = Instant::now();
    let requests = parts.chat.running().into_iter().map(|exchange| RunningRequest {
        state: if exchange.is_with_provider || in_engine.contains(&exchange.id) {
            "running"
        } else {
            "queued"
        }
        .to_owned(),
        id: exchange.id.to_string(),
        session_id: exchange.session_id.to_string(),
        mode: exchange.mode,
        private: exchange.private,
        age_ms: millis(now.saturating_duration_since(exchange.arrived)),
        time_left_ms: Some(millis(exchange.deadline.saturating_duration_since(now))),
    });
    Ok(HttpResponse::Ok().json(RequestListResponse { requests: requests.collect() }))
}

pub(super) async fn cancel(
    id: Path<String>,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let wanted = id
        .parse::<RequestId>()
        .map_err(|error| context.fail(Failure::invalid("id", format!("`id` {error}"))))?;
    if !parts.chat.cancel(&wanted) {
        let message = format!("no request `{wanted}` is being answered");
        let failure = Failure { param: Some("id".into()), ..Failure::new(ErrorCode::NotFound, message) };
        return Err(context.fail(failure));
    }
    Ok(HttpResponse::Ok().json(CancelRequestResponse {
        id: wanted.to_string(),
        response_time_ms: millis(context.arrived().elapsed()),
    }))
}
