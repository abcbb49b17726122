//! `POST /api/chat`: a question, answered whole or as a stream of events.

use super::body;
use super::context::RequestContext;
use super::convert;
use super::error::ApiError;
use super::peer;
use super::server::Parts;
use super::sse::{self, Encoded};
use crate::chat::{Exchange, ExchangeEvent, Question, Reply};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use boca_api::sse::{StreamEvent, TextDelta};
use boca_api::{ChatRequest, ChatResponse, millis};
use boca_core::{ErrorCode, Failure, Priority, SamplingOverrides};
use std::time::Duration;

/// How long a streamed answer waits for a refusal. After that it comes as an event.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn ask(
    request: HttpRequest,
    payload: Payload,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    if parts.shutdown.is_requested() {
        let failure =
            Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping and takes no more questions");
        return Err(context.fail(failure));
    }
    let wire: ChatRequest = body::json(&request, payload, parts.body_limits(), &context).await?;
    let streamed = wire.stream.unwrap_or(false);
    let exchange = parts
        .chat
        .ask(question(wire, peer::client(&request)), context.id().clone(), context.arrived())
        .map_err(|failure| context.fail(failure))?;
    match streamed {
        true => stream(exchange, parts, context).await,
        false => whole(exchange, &parts, &context).await,
    }
}

fn question(wire: ChatRequest, client: Option<String>) -> Question {
    Question {
        message: wire.message,
        session_id: wire.session_id,
        mode: wire.mode,
        effort: wire.effort,
        strategy: wire.strategy,
        private: wire.private,
        system: wire.system,
        preset: wire.preset,
        sampling: SamplingOverrides {
            temperature: wire.temperature,
            top_p: wire.top_p,
            top_k: wire.top_k,
            min_p: wire.min_p,
            repetition_penalty: wire.repetition_penalty,
            presence_penalty: wire.presence_penalty,
            frequency_penalty: wire.frequency_penalty,
            seed: wire.seed,
            logit_bias: wire.logit_bias,
            max_tokens: wire.max_tokens,
            thinking: wire.thinking,
            thinking_budget_tokens: wire.thinking_budget_tokens,
        },
        stop: wire.stop.map(|stop| stop.0).unwrap_or_default(),
        logprobs: wire.logprobs,
        top_logprobs: wire.top_logprobs,
        context_policy: wire.context_policy,
        deadline: wire.deadline_ms.map(Duration::from_millis),
        priority: Priority::Interactive,
        is_read_whole: !wire.stream.unwrap_or(false),
        client,
    }
}

async fn whole(
    mut exchange: Exchange,
    parts: &Parts,
    context: &RequestContext,
) -> Result<HttpResponse, ApiError> {
    // Dropping this future, as the server does when the client goes away, drops the exchange and so cancels it.
    while let Some(event) = exchange.events.recv().await {
        match event {
            ExchangeEvent::Finished(reply) => {
                let session_id = exchange.session_id.as_str();
                return Ok(HttpResponse::Ok().json(response(*reply, session_id, parts, context)));
            }
            ExchangeEvent::Failed(failure) => return Err(context.fail(failure)),
            ExchangeEvent::Accepted
            | ExchangeEvent::Source(_)
            | ExchangeEvent::Reasoning(_)
            | ExchangeEvent::Text(_)
            | ExchangeEvent::Restart(_) => {}
        }
    }
    Err(context.fail(lost()))
}

async fn stream(
    mut exchange: Exchange,
    parts: Data<Parts>,
    context: RequestContext,
) -> Result<HttpResponse, ApiError> {
    let early = first_events(&mut exchange, &context).await?;
    let Exchange { session_id, events } = exchange;
    let started = StreamEvent::Started(boca_api::sse::Started {
        request_id: context.id().to_string(),
        session_id: session_id.to_string(),
    });
    let encode = move |event| match event {
        ExchangeEvent::Accepted => Encoded::Nothing,
        ExchangeEvent::Source(trace) => {
            Encoded::Event(text_of(&StreamEvent::Source(convert::source_trace(&trace))))
        }
        ExchangeEvent::Reasoning(text) => {
            Encoded::Event(text_of(&StreamEvent::Reasoning(TextDelta { text })))
        }
        ExchangeEvent::Text(text) => Encoded::Event(text_of(&StreamEvent::Token(TextDelta { text }))),
        ExchangeEvent::Restart(reason) => {
            Encoded::Event(text_of(&StreamEvent::Restart(boca_api::sse::Restart { reason })))
        }
        ExchangeEvent::Finished(reply) => {
            let done = response(*reply, session_id.as_str(), &parts, &context);
            Encoded::Last(text_of(&StreamEvent::Done(Box::new(done))))
        }
        ExchangeEvent::Failed(failure) => {
            Encoded::Last(text_of(&StreamEvent::Error(context.fail(failure).body())))
        }
    };
    let mut first = text_of(&started);
    let mut events = Some(events);
    for event in early {
        match encode(event) {
            Encoded::Nothing => {}
            Encoded::Event(text) => first.push_str(&text),
            Encoded::Last(text) => {
                first.push_str(&text);
                events = None;
            }
        }
    }
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, boca_api::sse::CONTENT_TYPE))
        .insert_header((CACHE_CONTROL, "no-cache"))
        // Proxies that buffer would turn a stream into one late answer.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(sse::body(first, events, encode)))
}

/// What happens until it is clear that the question is not refused, or for as long as that may take: a refusal gets
/// its HTTP status also when the answer was to be streamed.
async fn first_events(
    exchange: &mut Exchange,
    context: &RequestContext,
) -> Result<Vec<ExchangeEvent>, ApiError> {
    let give_up = tokio::time::Instant::now() + REFUSAL_PATIENCE;
    let mut early = Vec::new();
    while let Ok(event) = tokio::time::timeout_at(give_up, exchange.events.recv()).await {
        let is_under_way = match event {
            None => return Err(context.fail(lost())),
            Some(ExchangeEvent::Failed(failure)) => return Err(context.fail(failure)),
            Some(ExchangeEvent::Accepted) => continue,
            // The prompt was read, so it fits.
            Some(ExchangeEvent::Source(ref trace)) => trace.usage.prompt_tokens > 0,
            Some(
                ExchangeEvent::Reasoning(_)
                | ExchangeEvent::Text(_)
                | ExchangeEvent::Restart(_)
                | ExchangeEvent::Finished(_),
            ) => true,
        };
        early.extend(event);
        if is_under_way {
            break;
        }
    }
    Ok(early)
}

fn text_of(event: &StreamEvent) -> String {
    event.encode().unwrap_or_else(|error| {
        tracing::error!(%error, "an event cannot be written as JSON");
        format!(": {error}\n\n")
    })
}

fn response(reply: Reply, session_id: &str, parts: &Parts, context: &RequestContext) -> ChatResponse {
    let Reply { answer, is_demo, is_private } = reply;
    let states = parts.actors.states();
    ChatResponse {
        answers: convert::source_answers(&answer),
        usage: convert::usage(&answer.usage),
        timings: convert::timings(&answer.timings, &answer.usage),
        logprobs: answer.logprobs.map(|tokens| tokens.iter().map(convert::logprob).collect()),
        trace: convert::trace(&answer.trace, &answer.sources, is_private),
        response: answer.text,
        reasoning: answer.reasoning,
        model_used: answer.model_used,
        model_is_demo: is_demo,
        agent_states: states.into_iter().map(|(name, report)| (name, report.state.to_string())).collect(),
        session_id: session_id.to_owned(),
        request_id: context.id().to_string(),
        finish_reason: answer.finish_reason.as_str().to_owned(),
        stop_sequence: answer.stop_sequence,
        response_time_ms: millis(context.arrived().elapsed()),
    }
}

fn lost() -> Failure {
    Failure::new(ErrorCode::Internal, "the answer was lost by a defect of boca's own; see its log")
}
