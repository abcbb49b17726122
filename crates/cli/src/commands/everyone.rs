//! What everyone who was asked said.

use boca_api::{ChatResponse, SourceTrace};

/// Those who were asked for an answer, each with the text of it where there is one.
pub(super) fn answers(response: &ChatResponse) -> impl Iterator<Item = (&SourceTrace, Option<&str>)> {
    let text_of = |source: &SourceTrace| {
        let answer = response.answers.iter().find(|answer| answer.source == source.provider);
        // The only one who was asked may be listed under its model's name.
        let is_only = response.trace.sources.len() == 1 && source.error.is_none();
        answer.map(|answer| answer.response.as_str()).or(is_only.then_some(response.response.as_str()))
    };
    let asked = response.trace.sources.iter().filter(|source| source.was_asked_to_answer());
    asked.map(move |source| (source, text_of(source)))
}
