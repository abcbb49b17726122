//! `POST /api/model/load` and `POST /api/model/unload`.

use super::context::RequestContext;
use super::error::ApiError;
use super::server::Parts;
use actix_web::HttpResponse;
use actix_web::web::Data;
use boca_actors::{ReloadOutcome, UnloadOutcome};
use boca_api::{ModelChangeResponse, millis};
use std::time::{Duration, Instant};

/// How long the model's actor may take to begin.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn load(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let outcome = parts.actors.model.load(Instant::now() + PATIENCE).await;
    let outcome = match outcome.map_err(|failure| context.fail(failure))? {
        ReloadOutcome::Started => "started",
        ReloadOutcome::AlreadyLoading => "already_loading",
        ReloadOutcome::AlreadyLoaded => "already_loaded",
    };
    Ok(changed(outcome, &parts, &context))
}

pub(super) async fn unload(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let outcome = parts.actors.model.unload(Instant::now() + PATIENCE).await;
    let outcome = match outcome.map_err(|failure| context.fail(failure))? {
        UnloadOutcome::Started => "unloading",
        UnloadOutcome::AlreadyUnloaded => "already_unloaded",
    };
    Ok(changed(outcome, &parts, &context))
}

fn changed(outcome: &str, parts: &Parts, context: &RequestContext) -> HttpResponse {
    HttpResponse::Ok().json(ModelChangeResponse {
        outcome: outcome.to_owned(),
        state: parts.actors.model.status().state.to_string(),
        response_time_ms: millis(context.arrived().elapsed()),
    })
}
