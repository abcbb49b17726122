//! What is kept of an exchange: the answer's message with its trace, and the entry of the running comparison.

use super::exchange::Outcome;
use boca_core::{ErrorCode, FinishReason, FusionTrace, Mode, ModelInfo, RequestId, Role, SourceTrace};
use boca_store::{AnswerRecord, AnswerTrace, Message, SourceRecord};

/// The answer as it is stored, and whether the demo model wrote it.
pub(super) fn answer_message(
    outcome: &Outcome,
    info: Option<&ModelInfo>,
    now_unix_ms: u64,
) -> (Message, bool) {
    let Some(answer) = &outcome.answer else {
        return (broken_off(outcome, now_unix_ms), false);
    };
    let is_local = |info: &&ModelInfo| {
        info.name == answer.model_used || answer.trace.chosen.as_deref() == Some(Mode::Local.as_str())
    };
    let is_demo = info.filter(is_local).is_some_and(|info| info.is_demo);
    let trace = AnswerTrace {
        fusion: answer.trace.clone(),
        sources: answer.sources.clone(),
        answers: answer.answers.clone(),
    };
    let message = Message {
        reasoning: answer.reasoning.clone(),
        model_used: Some(answer.model_used.clone()),
        is_demo,
        finish_reason: Some(answer.finish_reason),
        usage: Some(answer.usage),
        timings: Some(answer.timings),
        trace: Some(Box::new(trace)),
        ..Message::text(Role::Assistant, answer.text.clone(), now_unix_ms)
    };
    (message, is_demo)
}

/// What there is of an answer that did not come to its end.
fn broken_off(outcome: &Outcome, now_unix_ms: u64) -> Message {
    let code = outcome.failure.as_ref().map(|failure| failure.code);
    let writer = writer(&outcome.sources);
    let trace = AnswerTrace { sources: outcome.sources.clone(), ..AnswerTrace::default() };
    Message {
        reasoning: Some(outcome.reasoning.clone()).filter(|text| !text.is_empty()),
        model_used: writer.map(|source| source.model.clone().unwrap_or_else(|| source.provider.clone())),
        finish_reason: (code == Some(ErrorCode::Cancelled)).then_some(FinishReason::Cancelled),
        failure: code,
        trace: (!outcome.sources.is_empty()).then(|| Box::new(trace)),
        ..Message::text(Role::Assistant, outcome.text.clone(), now_unix_ms)
    }
}

/// Whose text was shown, as far as one can tell: the first that gave any.
fn writer(sources: &[SourceTrace]) -> Option<&SourceTrace> {
    sources.iter().find(|source| source.first_token.is_some()).or(sources.first())
}

/// The entry of the running comparison; `None` when nobody was asked.
pub(super) fn answer_record(
    request_id: &RequestId,
    outcome: &Outcome,
    now_unix_ms: u64,
) -> Option<AnswerRecord> {
    let nobody = FusionTrace::default();
    let (fusion, sources) = match &outcome.answer {
        Some(answer) => (&answer.trace, &answer.sources),
        None => (&nobody, &outcome.sources),
    };
    let record = |source: &SourceTrace| SourceRecord {
        provider: source.provider.clone(),
        role: source.role,
        state: source.state,
        failure: source.failure.as_ref().map(|failure| failure.code),
        first_token: source.first_token.map(|at| at.saturating_sub(source.began)),
        total: source.ended.map(|at| at.saturating_sub(source.began)),
        usage: source.usage,
        cost: source.cost,
    };
    (!sources.is_empty()).then(|| AnswerRecord {
        request_id: request_id.clone(),
        created_unix_ms: now_unix_ms,
        mode: fusion.mode.clone(),
        strategy: fusion.strategy,
        chosen: fusion.chosen.clone(),
        sources: sources.iter().map(record).collect(),
        verdict: None,
    })
}
