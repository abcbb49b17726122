//! What became of a line, as its reader gets it.

use super::line::StoredLine;
use crate::http::{wire_context_cut, wire_error, wire_usage};
use boca_api::BatchResult as Wire;
use boca_core::{Answer, Failure};
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
        context_cut: answer.sources.iter().find_map(|s| s.context_cut.as_deref()).map(wire_context_cut),
        error: None,
    };
    BatchResult { text: text_of(&wire), is_error: false }
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
