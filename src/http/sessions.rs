//! `/api/sessions`: stored conversations and their settings.

use super::body;
use super::context::RequestContext;
use super::convert;
use super::error::ApiError;
use super::query;
use super::server::Parts;
use crate::chat::{check_session_id, check_settings, now_unix_ms, parse_preset};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use boca_api::{
    CreateSessionRequest, DeleteSessionResponse, SessionListResponse, SessionMessage, SessionResponse,
    SessionSummary, UpdateSessionRequest, millis,
};
use boca_core::{ErrorCode, Failure, FieldError, SessionId, check_message_text};
use boca_store::{NewSession, Session, SessionCursor, SessionSettings, SessionUpdate, StoredMessage};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
const MAX_TITLE_BYTES: usize = 400;

pub(super) async fn list(
    request: HttpRequest,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let (limit, before) = list_query(request.query_string()).map_err(|failure| context.fail(failure))?;
    let page = parts.store.list_sessions(limit, before).await.map_err(|error| context.fail(error))?;
    let summary = |session: Session| SessionSummary {
        id: session.id.to_string(),
        title: session.title,
        created_unix_ms: session.created_unix_ms,
        updated_unix_ms: session.updated_unix_ms,
        n_messages: u64::from(session.n_messages),
    };
    Ok(HttpResponse::Ok().json(SessionListResponse {
        sessions: page.sessions.into_iter().map(summary).collect(),
        next_before: page.next.map(|cursor| cursor.to_string()),
    }))
}

fn list_query(query: &str) -> Result<(usize, Option<SessionCursor>), Failure> {
    let [limit, before] = query::values(query, ["limit", "before"])?;
    let limit = limit.map(|limit| query::number("limit", &limit, 1, MAX_LIMIT)).transpose()?;
    let before = before.map(|before| {
        before.parse().map_err(|error| Failure::invalid("before", format!("`before` {error}")))
    });
    Ok((limit.unwrap_or(DEFAULT_LIMIT) as usize, before.transpose()?))
}

pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let wire: CreateSessionRequest = body::json(&request, payload, parts.body_limits(), &context).await?;
    let most = parts.settings.current().chat.max_message_bytes;
    let new = new_session(wire, most).map_err(|failure| context.fail(failure))?;
    let session =
        parts.store.create_session(new, now_unix_ms()).await.map_err(|error| context.fail(error))?;
    Ok(HttpResponse::Created().json(session_response(session, Vec::new())))
}

fn new_session(wire: CreateSessionRequest, max_system_bytes: usize) -> Result<NewSession, Failure> {
    let settings = SessionSettings {
        system: wire.system,
        preset: wire.preset.as_deref().map(parse_preset).transpose()?,
        sampling: wire.sampling.map(|fields| convert::sampling_overrides(fields.0)).unwrap_or_default(),
        private: wire.private.unwrap_or(false),
    };
    check_settings(settings.system.as_deref(), &settings.sampling, "sampling.", max_system_bytes)?;
    wire.title.as_deref().map(check_title).transpose()?;
    let id = match wire.id {
        Some(id) => check_session_id("id", &id)?,
        None => SessionId::from_uuid(uuid::Uuid::now_v7()),
    };
    Ok(NewSession { id, title: wire.title, settings })
}

pub(super) async fn show(
    id: Path<String>,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let id = check_session_id("id", &id).map_err(|failure| context.fail(failure))?;
    let session = parts.store.session(&id).await.map_err(|error| context.fail(error))?;
    let messages = parts.store.messages(&id).await.map_err(|error| context.fail(error))?;
    Ok(HttpResponse::Ok().json(session_response(session, messages)))
}

pub(super) async fn update(
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let id = check_session_id("id", &id).map_err(|failure| context.fail(failure))?;
    let wire: UpdateSessionRequest = body::json(&request, payload, parts.body_limits(), &context).await?;
    let most = parts.settings.current().chat.max_message_bytes;
    let session = parts.store.session(&id).await.map_err(|error| context.fail(error))?;
    let update = session_update(wire, session, most).map_err(|failure| context.fail(failure))?;
    let session =
        parts.store.update_session(&id, update, now_unix_ms()).await.map_err(|error| context.fail(error))?;
    let messages = parts.store.messages(&id).await.map_err(|error| context.fail(error))?;
    Ok(HttpResponse::Ok().json(session_response(session, messages)))
}

fn session_update(
    wire: UpdateSessionRequest,
    session: Session,
    max_system_bytes: usize,
) -> Result<SessionUpdate, Failure> {
    let mut title = session.title;
    wire.title.apply(&mut title);
    title.as_deref().map(check_title).transpose()?;
    let mut settings = session.settings;
    wire.system.apply(&mut settings.system);
    let mut preset = settings.preset.map(|preset| preset.as_str().to_owned());
    wire.preset.apply(&mut preset);
    settings.preset = preset.as_deref().map(parse_preset).transpose()?;
    let mut sampling = Some(settings.sampling);
    let change = match wire.sampling {
        boca_api::Change::Keep => boca_api::Change::Keep,
        boca_api::Change::Clear => boca_api::Change::Clear,
        boca_api::Change::Set(fields) => boca_api::Change::Set(convert::sampling_overrides(fields.0)),
    };
    change.apply(&mut sampling);
    settings.sampling = sampling.unwrap_or_default();
    let mut private = Some(settings.private);
    wire.private.apply(&mut private);
    let is_private = private.unwrap_or(false);
    if settings.private && !is_private && session.n_messages > 0 {
        let message = "`private` cannot be taken back from a conversation with messages: the next question would take \
                       them along; begin a new one";
        return Err(Failure { param: Some("private".into()), ..Failure::new(ErrorCode::Conflict, message) });
    }
    settings.private = is_private;
    check_settings(settings.system.as_deref(), &settings.sampling, "sampling.", max_system_bytes)?;
    Ok(SessionUpdate { title, settings: Some(settings) })
}

pub(super) async fn delete(
    id: Path<String>,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let id = check_session_id("id", &id).map_err(|failure| context.fail(failure))?;
    let session = parts.chat.delete_session(&id).await.map_err(|failure| context.fail(failure))?;
    Ok(HttpResponse::Ok().json(DeleteSessionResponse {
        id: session.id.to_string(),
        n_messages: u64::from(session.n_messages),
        response_time_ms: millis(context.arrived().elapsed()),
    }))
}

fn check_title(title: &str) -> Result<(), Failure> {
    check_message_text("title", title, MAX_TITLE_BYTES)
        .map_err(|FieldError { field, message }| Failure::invalid(field, message))
}

fn session_response(session: Session, messages: Vec<StoredMessage>) -> SessionResponse {
    SessionResponse {
        id: session.id.to_string(),
        title: session.title,
        created_unix_ms: session.created_unix_ms,
        updated_unix_ms: session.updated_unix_ms,
        system: session.settings.system,
        preset: session.settings.preset.map(|preset| preset.as_str().to_owned()),
        sampling: convert::sampling_fields(session.settings.sampling),
        private: session.settings.private,
        summary: session
            .summary
            .map(|stored| convert::turn_summary(stored.summary, Some(stored.created_unix_ms))),
        messages: messages.into_iter().map(session_message).collect(),
    }
}

fn session_message(stored: StoredMessage) -> SessionMessage {
    let message = stored.message;
    let usage = message.usage.unwrap_or_default();
    let ended = message.finish_reason.map(|reason| reason.as_str());
    SessionMessage {
        index: stored.index,
        role: message.role.as_str().to_owned(),
        content: message.content,
        reasoning: message.reasoning,
        created_unix_ms: message.created_unix_ms,
        request_id: message.request_id.map(|id| id.to_string()),
        model_used: message.model_used,
        finish_reason: ended.or(message.failure.map(|code| code.as_str())).map(str::to_owned),
        usage: message.usage.map(|usage| convert::usage(&usage)),
        timings: message.timings.map(|timings| convert::timings(&timings, &usage)),
        answers: message
            .trace
            .as_ref()
            .map(|trace| convert::whole_answers(&trace.answers, &trace.sources))
            .unwrap_or_default(),
        trace: message.trace.as_ref().map(|t| convert::trace(&t.fusion, &t.sources, message.private)),
        private: message.private,
    }
}
