//! `POST /api/feedback`: what a person thinks of an answer.

use super::body;
use super::context::RequestContext;
use super::error::ApiError;
use super::server::Parts;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use boca_api::{FeedbackRequest, FeedbackResponse, millis};
use boca_core::{ErrorCode, Failure, RequestId};
use boca_store::Verdict;

pub(super) async fn judge(
    request: HttpRequest,
    payload: Payload,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let wire: FeedbackRequest = body::json(&request, payload, parts.body_limits(), &context).await?;
    let (id, verdict) = checked(&wire).map_err(|failure| context.fail(failure))?;
    let judged = parts.store.judge_answer(&id, verdict).await.map_err(|error| context.fail(error))?;
    let Some(answer) = judged else {
        let message = format!("no answer to a request `{id}` is on record");
        let failure =
            Failure { param: Some("request_id".into()), ..Failure::new(ErrorCode::NotFound, message) };
        return Err(context.fail(failure));
    };
    if let Some(chosen) = answer.chosen.as_ref().filter(|_| answer.verdict != Some(verdict)) {
        parts.actors.synthesizer.note_feedback(chosen, verdict == Verdict::Good);
    }
    Ok(HttpResponse::Ok().json(FeedbackResponse {
        request_id: id.to_string(),
        verdict: verdict.as_str().to_owned(),
        previous: answer.verdict.map(|verdict| verdict.as_str().to_owned()),
        response_time_ms: millis(context.arrived().elapsed()),
    }))
}

fn checked(wire: &FeedbackRequest) -> Result<(RequestId, Verdict), Failure> {
    let id = wire.request_id.parse::<RequestId>();
    let id = id.map_err(|error| Failure::invalid("request_id", format!("`request_id` {error}")))?;
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == wire.verdict);
    let verdict = verdict.ok_or_else(|| {
        let shown: String = wire.verdict.chars().take(60).collect();
        Failure::invalid("verdict", format!("`verdict` must be one of `good`, `bad`, got {shown:?}"))
    });
    Ok((id, verdict?))
}
