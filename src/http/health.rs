//! `GET /health` and `GET /ready`. Neither ever waits for an actor.

use super::context::RequestContext;
use super::convert;
use super::error;
use super::server::Parts;
use actix_web::HttpResponse;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Data;
use boca_actors::{ModelStatus, remaining_load_time};
use boca_api::{HealthResponse, ReadyResponse, millis};
use boca_core::{ActorState, ErrorCode, Failure};

pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(HealthResponse { status: "ok".to_owned() })
}

pub(super) async fn ready(parts: Data<Parts>, context: RequestContext) -> HttpResponse {
    let status = parts.actors.model.status();
    let stopping = parts.shutdown.is_requested();
    let failure = match stopping {
        true => Some(Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping")),
        false => reason_against(&status, parts.actors.model.is_woken_by_requests()),
    };
    let mut response = match &failure {
        None => HttpResponse::Ok(),
        Some(failure) => {
            let mut response = HttpResponse::ServiceUnavailable();
            if let Some(seconds) = error::retry_after_s(failure) {
                response.insert_header((RETRY_AFTER, seconds));
            }
            response
        }
    };
    response.json(ReadyResponse {
        ready: failure.is_none(),
        status: if stopping { "stopping".to_owned() } else { status.state.to_string() },
        model: status.info.as_ref().map(|info| info.name.clone()),
        model_is_demo: status.info.as_ref().is_some_and(|info| info.is_demo),
        progress: status.progress.as_ref().map(convert::load_progress),
        error: failure.as_ref().map(error::detail),
        response_time_ms: millis(context.arrived().elapsed()),
    })
}

/// Why a question could not be answered now.
fn reason_against(status: &ModelStatus, is_woken_by_requests: bool) -> Option<Failure> {
    let reason = || status.failure.as_ref().map_or("unknown reason", |failure| &failure.message);
    match status.state {
        ActorState::Ready | ActorState::Busy | ActorState::Degraded => None,
        ActorState::Starting | ActorState::Loading => {
            let wait = remaining_load_time(status.progress.as_ref());
            Some(Failure::new(ErrorCode::ModelLoading, "the model is still being loaded").retry_after(wait))
        }
        // A question brings it back, so it can be answered now.
        ActorState::Unloaded if is_woken_by_requests => None,
        ActorState::Unloaded => {
            let away = || Failure::new(ErrorCode::ModelUnavailable, "the model is unloaded");
            Some(status.failure.clone().unwrap_or_else(away))
        }
        ActorState::Restarting => {
            let message = format!("the engine is being restarted: {}", reason());
            Some(Failure::new(ErrorCode::Restarting, message))
        }
        ActorState::Down | ActorState::Disabled => {
            let message = format!("there is no model: {}", reason());
            Some(Failure::new(ErrorCode::ModelUnavailable, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_model_that_answers_is_ready() {
        let with = |state| ModelStatus {
            state,
            info: None,
            progress: None,
            failure: Some(Failure::new(ErrorCode::ModelUnavailable, "no such directory")),
            engine_restarts: 0,
        };
        for state in [ActorState::Ready, ActorState::Busy, ActorState::Degraded] {
            assert_eq!(reason_against(&with(state), false), None);
        }
        for (state, code) in [
            (ActorState::Starting, ErrorCode::ModelLoading),
            (ActorState::Loading, ErrorCode::ModelLoading),
            (ActorState::Restarting, ErrorCode::Restarting),
            (ActorState::Down, ErrorCode::ModelUnavailable),
        ] {
            assert_eq!(reason_against(&with(state), false).unwrap().code, code);
        }
        assert_eq!(reason_against(&with(ActorState::Unloaded), true), None, "a question brings it back");
        assert!(reason_against(&with(ActorState::Unloaded), false).is_some());
        let down = reason_against(&with(ActorState::Down), false).unwrap();
        assert_eq!(down.message, "there is no model: no such directory");
    }
}
