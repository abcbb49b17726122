//! `/api/batch`: batches of questions and their results.

use super::body;
use super::context::RequestContext;
use super::error::ApiError;
use super::query;
use super::server::Parts;
use super::sse::KEEP_ALIVE_EVERY;
use crate::batch::{BatchService, Format, MAX_BATCH_BYTES, read_lines};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use boca_api::batch::NDJSON;
use boca_api::{BatchListResponse, BatchStatus};
use boca_core::{BatchId, ErrorCode, Failure};
use boca_store::Batch;
use bytes::Bytes;
use futures_util::{Stream, stream};
use std::convert::Infallible;

pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let fail = |failure: Failure| context.fail(failure);
    let [id] = query::values(request.query_string(), ["id"]).map_err(fail)?;
    let id = match id {
        Some(id) => batch_id(&id).map_err(fail)?,
        None => BatchId::from_uuid(uuid::Uuid::now_v7()),
    };
    let limits = body::BodyLimits { max_bytes: MAX_BATCH_BYTES, ..parts.body_limits() };
    let accepted = [NDJSON, "application/jsonl", "application/json"];
    let (media_type, bytes) = body::bytes(&request, payload, &accepted, limits, &context).await?;
    let format = if media_type == "application/json" { Format::List } else { Format::Lines };
    let settings = parts.settings.current();
    // Thousands of lines take a while to read.
    let lines = tokio::task::spawn_blocking(move || read_lines(format, &bytes, &settings.chat)).await;
    let lines = lines.unwrap_or_else(|error| {
        Err(Failure::new(ErrorCode::Internal, format!("the lines could not be read: {error}")))
    });
    let batch = parts.batches.create(id, lines.map_err(fail)?).await.map_err(fail)?;
    Ok(HttpResponse::Accepted().json(status(&batch)))
}

pub(super) async fn list(parts: Data<Parts>, context: RequestContext) -> Result<HttpResponse, ApiError> {
    let batches = parts.batches.list().await.map_err(|failure| context.fail(failure))?;
    Ok(HttpResponse::Ok().json(BatchListResponse { batches: batches.iter().map(status).collect() }))
}

pub(super) async fn show(
    id: Path<String>,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let id = batch_id(&id).map_err(|failure| context.fail(failure))?;
    let batch = parts.batches.show(&id).await.map_err(|failure| context.fail(failure))?;
    Ok(HttpResponse::Ok().json(status(&batch)))
}

pub(super) async fn cancel(
    id: Path<String>,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let id = batch_id(&id).map_err(|failure| context.fail(failure))?;
    let batch = parts.batches.cancel(&id).await.map_err(|failure| context.fail(failure))?;
    Ok(HttpResponse::Ok().json(status(&batch)))
}

pub(super) async fn results(
    id: Path<String>,
    request: HttpRequest,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let fail = |failure: Failure| context.fail(failure);
    let id = batch_id(&id).map_err(fail)?;
    let [offset, follow] = query::values(request.query_string(), ["offset", "follow"]).map_err(fail)?;
    let offset = offset.map(|offset| query::number("offset", &offset, 0, u32::MAX)).transpose();
    let follow = follow.map(|follow| {
        follow.parse::<bool>().map_err(|_| {
            let shown: String = follow.chars().take(60).collect();
            Failure::invalid("follow", format!("`follow` must be `true` or `false`, got {shown:?}"))
        })
    });
    let follow = follow.transpose().map_err(fail)?.unwrap_or(false);
    let next = offset.map_err(fail)?.unwrap_or(0);
    let batch = parts.batches.show(&id).await.map_err(fail)?;
    if next > batch.n_lines {
        let message =
            format!("`offset` must be at most {}, the lines of the batch, got {next}", batch.n_lines);
        return Err(fail(Failure::invalid("offset", message)));
    }
    let reader = Reader { batches: parts.batches.clone(), id, next, follow, _context: context };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, NDJSON))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(lines(reader)))
}

/// Who reads the results of a batch.
struct Reader {
    batches: BatchService,
    id: BatchId,
    /// The next line.
    next: u32,
    follow: bool,
    /// Holds the request's place as long as it is answered.
    _context: RequestContext,
}

/// The results as they come, and an empty line when there are none for a while.
fn lines(reader: Reader) -> impl Stream<Item = Result<Bytes, Infallible>> + 'static {
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        let quiet_until = tokio::time::Instant::now() + KEEP_ALIVE_EVERY;
        loop {
            // Read before the results, so that none can come between unseen.
            let mark = reader.batches.mark(&reader.id);
            let batch = reader.batches.show(&reader.id).await.ok()?;
            let lines = match reader.batches.results(&batch, reader.next).await {
                Ok(lines) => lines,
                Err(failure) => {
                    tracing::error!(batch = %reader.id, %failure, "results cannot be read");
                    return None;
                }
            };
            if !lines.is_empty() {
                reader.next += u32::try_from(lines.len()).unwrap_or(u32::MAX);
                return Some((Ok(Bytes::from(lines.join("\n") + "\n")), Some(reader)));
            }
            if !reader.follow || reader.next >= batch.n_lines || batch.ended_unix_ms.is_some() {
                return None;
            }
            let patience = quiet_until.saturating_duration_since(tokio::time::Instant::now());
            if patience.is_zero() {
                return Some((Ok(Bytes::from_static(b"\n")), Some(reader)));
            }
            if !reader.batches.changed(&reader.id, mark, patience).await {
                return None;
            }
        }
    })
}

fn status(batch: &Batch) -> BatchStatus {
    let state = match (batch.is_cancelled, batch.ended_unix_ms) {
        (true, _) => "cancelled",
        (false, Some(_)) => "done",
        (false, None) => "running",
    };
    BatchStatus {
        id: batch.id.to_string(),
        state: state.to_owned(),
        n_lines: batch.n_lines,
        n_done: batch.n_done,
        n_failed: batch.n_failed,
        created_unix_ms: batch.created_unix_ms,
        ended_unix_ms: batch.ended_unix_ms,
    }
}

fn batch_id(id: &str) -> Result<BatchId, Failure> {
    id.parse().map_err(|error| Failure::invalid("id", format!("`id` {error}")))
}
