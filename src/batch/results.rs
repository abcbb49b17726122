//! What became of a line, as its reader gets it.

use super::line::StoredLine;
use crate::http::{wire_context_cut, wire_error, wire_usage};
use boca_api::BatchResult as Wire;
use boca_core::{Answer, ContextCut, Failure};
use boca_store::BatchResult;

pub(super) fn of_answer(line: &StoredLine, answer: &Answer) -> BatchResult {
    let wire = Wire {
        id: Some(line.id.clone()),
        line: line.number,
        response: Some(answer.text.clone()),
        reasoning: answer.reasoning.clone(),
        model_used: Some(answer.model_used.clone()),
        finish_reason: Some(answer.finish_reason.as_str().to_owned()),
        usage: Some(wire_usage(&answer.usage)),
        context_cut: cut_of(answer).map(wire_context_cut),
        error: None,
    };
    BatchResult { text: text_of(&wire), is_error: false }
}

/// What the writer of the answer was not given; of a merged one, any of those who wrote it.
fn cut_of(answer: &Answer) -> Option<&ContextCut> {
    let chosen = answer.trace.chosen.as_ref();
    let mut sources =
        answer.sources.iter().filter(|source| chosen.is_none_or(|name| *name == source.provider));
    sources.find_map(|source| source.context_cut.as_deref())
}

pub(super) fn of_failure(line: &StoredLine, failure: &Failure) -> BatchResult {
    let wire = Wire {
        id: Some(line.id.clone()),
        line: line.number,
        error: Some(wire_error(failure)),
        ..Wire::default()
    };
    BatchResult { text: text_of(&wire), is_error: true }
}

fn text_of(wire: &Wire) -> String {
    serde_json::to_string(wire).unwrap_or_else(|error| {
        tracing::error!(%error, "a result cannot be written as JSON");
        format!("{{\"line\":{}}}", wire.line)
    })
}
