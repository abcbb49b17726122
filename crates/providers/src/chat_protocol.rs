//! What the two chat protocols, OpenAI's and Ollama's, write in the same way.

use crate::conversation::{Ask, Turn};
use serde::Serialize;
use serde_json::Value;

/// A tool that the model may call.
#[derive(Debug, Serialize)]
pub(crate) struct FunctionTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Value,
}

/// The tools of an ask.
pub(crate) fn tools<'a>(ask: &'a Ask<'a>) -> Vec<FunctionTool<'a>> {
    let written = ask.tools.iter().map(|tool| FunctionTool {
        kind: "function",
        function: Function {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.parameters(),
        },
    });
    written.collect()
}

/// The messages of an ask in their order: what the system says, the turns, and the beginning of the answer that shall go
/// on. `text` writes a role and what it says, `turn` a whole turn.
pub(crate) fn messages<'a, M>(
    ask: &'a Ask<'a>,
    text: impl Fn(&'static str, &'a str) -> M,
    turn: impl Fn(&'a Turn<'a>) -> M,
) -> Vec<M> {
    let system = ask.system.as_deref().map(|content| text("system", content));
    let begun = Some(ask.request.answer_so_far.as_str()).filter(|begun| !begun.is_empty());
    let begun = begun.map(|content| text("assistant", content));
    system.into_iter().chain(ask.turns.iter().map(turn)).chain(begun).collect()
}
