//! From an ask to the body of a request.

use super::wire::{ChatRequest, Message, Options, PastCall, PastFunction};
use crate::chat_protocol;
use crate::conversation::{Ask, Thinking, Turn};
use crate::float::decimal;

/// Seeds are 32-bit numbers in llama.cpp, which does the sampling.
const SEED_MASK: u64 = u32::MAX as u64;

/// Whether `think` may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendThink {
    /// As the ask says.
    AsAsked,
    /// The model does not think, and a request that says `think: true` is refused.
    Never,
}

/// The body for this ask. `logit_bias` and log-probabilities have no counterpart here and are left out.
pub(crate) fn encode<'a>(
    ask: &'a Ask<'a>,
    model: &'a str,
    think: SendThink,
    stream: bool,
) -> ChatRequest<'a> {
    let sampling = &ask.sampling;
    ChatRequest {
        model,
        messages: messages(ask),
        stream,
        truncate: false,
        shift: false,
        think: match (think, ask.thinking()) {
            (SendThink::Never, _) | (_, Thinking::Unsaid) => None,
            (_, thinking) => Some(matches!(thinking, Thinking::On(_))),
        },
        format: ask.options.json_schema.as_ref(),
        tools: chat_protocol::tools(ask),
        options: Options {
            num_predict: ask.max_tokens(0),
            temperature: sampling.temperature.map(decimal),
            top_p: sampling.top_p.map(decimal),
            top_k: sampling.top_k,
            min_p: sampling.min_p.map(decimal),
            repeat_penalty: sampling.repetition_penalty.map(decimal),
            presence_penalty: sampling.presence_penalty.map(decimal),
            frequency_penalty: sampling.frequency_penalty.map(decimal),
            seed: sampling.seed.map(|seed| seed & SEED_MASK),
            stop: &ask.request.stop,
        },
    }
}

fn messages<'a>(ask: &'a Ask<'a>) -> Vec<Message<'a>> {
    let text = |role, content| Message { role, content, ..Message::default() };
    chat_protocol::messages(ask, text, |turn| match turn {
        Turn::User(content) => text("user", content),
        Turn::Assistant { text, reasoning, calls } => Message {
            role: "assistant",
            content: text,
            thinking: *reasoning,
            tool_calls: calls
                .iter()
                .map(|call| PastCall {
                    function: PastFunction { name: call.name, arguments: &call.arguments },
                })
                .collect(),
            ..Message::default()
        },
        Turn::ToolResult { name, content, .. } => Message { tool_name: Some(name), ..text("tool", content) },
    })
}
