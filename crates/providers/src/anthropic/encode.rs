//! From an ask to the body of a request.

use super::generation::Generation;
use super::request::{
    Block, Message, MessagesRequest, OutputConfig, OutputFormat, Prompt, Thinking as ThinkingField, Tool,
};
use crate::conversation::{Ask, Thinking, Turn};
use crate::float::decimal;

/// The least budget of thinking that the API takes.
const LEAST_THINKING_TOKENS: u32 = 1024;
/// Room for thinking when nobody named a budget.
const USUAL_THINKING_TOKENS: u32 = 8192;

/// The body for this ask. `min_p`, the penalties, `seed`, `logit_bias` and log-probabilities have no counterpart in
/// this API and are left out.
pub(crate) fn encode<'a>(ask: &'a Ask<'a>, model: &'a str, stream: bool) -> MessagesRequest<'a> {
    let generation = Generation::of_model(model);
    let wanted = ask.thinking();
    let thinks = matches!(wanted, Thinking::On(_))
        || (generation == Generation::ThinksByDefault && wanted == Thinking::Unsaid);
    let max_tokens = match wanted {
        // The API counts thinking within `max_tokens`, and its least budget is larger than most people's.
        Thinking::On(Some(budget)) if ask.request.max_tokens.is_none() => {
            ask.request.default_max_tokens.saturating_add(budget.max(LEAST_THINKING_TOKENS))
        }
        _ => ask.max_tokens(if thinks { USUAL_THINKING_TOKENS } else { 0 }),
    };
    let thinking = thinking(generation, wanted, max_tokens);
    let is_thinking =
        matches!(thinking, Some(ThinkingField::Enabled { .. } | ThinkingField::Adaptive { .. }));
    // Thinking fixes the temperature, and the two cannot both be set on newer models.
    let takes_sampling = generation < Generation::WithoutSampling && !is_thinking;
    let temperature = ask.sampling.temperature.filter(|_| takes_sampling).map(|t| decimal(t.min(1.0)));
    let effort = match (generation, wanted) {
        (Generation::Budget, _) | (_, Thinking::Unsaid | Thinking::Off) => None,
        (_, Thinking::On(None)) => None,
        (_, Thinking::On(Some(budget))) => Some(match budget {
            0..=1024 => "low",
            1025..=8192 => "medium",
            _ => "high",
        }),
    };
    let format = ask.options.json_schema.as_ref().map(|schema| OutputFormat { kind: "json_schema", schema });
    MessagesRequest {
        max_tokens,
        stream,
        temperature,
        top_p: ask.sampling.top_p.filter(|_| takes_sampling && temperature.is_none()).map(decimal),
        top_k: ask.sampling.top_k.filter(|k| *k > 0 && takes_sampling),
        // Stop sequences of white space alone are refused by the API, and none at all is better than no answer.
        stop_sequences: ask
            .request
            .stop
            .iter()
            .map(String::as_str)
            .filter(|s| !s.trim().is_empty())
            .collect(),
        prompt: Prompt {
            model,
            system: ask.system.as_deref(),
            messages: messages(ask),
            tools: tools(ask),
            thinking,
            output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
        },
    }
}

fn thinking(generation: Generation, wanted: Thinking, max_tokens: u32) -> Option<ThinkingField> {
    match (generation, wanted) {
        (_, Thinking::Unsaid) => None,
        (Generation::ThinksByDefault, Thinking::Off) => Some(ThinkingField::Disabled),
        (_, Thinking::Off) => None,
        (Generation::Budget, Thinking::On(budget)) => {
            let budget = budget.unwrap_or(USUAL_THINKING_TOKENS).max(LEAST_THINKING_TOKENS);
            // A budget must leave room for an answer; where there is none, the model does not think.
            let budget = budget.min(max_tokens.saturating_sub(max_tokens / 4).max(1));
            (budget >= LEAST_THINKING_TOKENS && budget < max_tokens)
                .then_some(ThinkingField::Enabled { budget_tokens: budget })
        }
        (Generation::Adaptive, Thinking::On(_)) => Some(ThinkingField::Adaptive { display: None }),
        (_, Thinking::On(_)) => Some(ThinkingField::Adaptive { display: Some("summarized") }),
    }
}

fn messages<'a>(ask: &'a Ask<'a>) -> Vec<Message<'a>> {
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(ask.turns.len() + 1);
    let mut push = |role, blocks: Vec<Block<'a>>| match messages.last_mut() {
        _ if blocks.is_empty() => {}
        // Results of calls made in one turn must come back in one turn.
        Some(last) if last.role == role => last.content.extend(blocks),
        _ => messages.push(Message { role, content: blocks }),
    };
    for turn in &ask.turns {
        match turn {
            Turn::User(text) => push("user", text_block(text).into_iter().collect()),
            Turn::Assistant { text, calls, .. } => {
                // Thinking of earlier turns is not sent back: without its signature it is refused.
                let calls = calls.iter().map(|call| Block::ToolUse {
                    id: &call.id,
                    name: call.name,
                    input: &call.arguments,
                });
                push("assistant", text_block(text).into_iter().chain(calls).collect());
            }
            Turn::ToolResult { call_id, content, .. } => {
                push("user", vec![Block::ToolResult { tool_use_id: call_id, content }]);
            }
        }
    }
    // A turn that ends in white space is refused; the model writes that space again.
    let begun = ask.request.answer_so_far.trim_end();
    push("assistant", text_block(begun).into_iter().collect());
    messages
}

/// Blank text is refused by the API.
fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text { text })
}

fn tools<'a>(ask: &'a Ask<'a>) -> Vec<Tool<'a>> {
    let written = ask.tools.iter().map(|tool| Tool {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: tool.parameters(),
    });
    written.collect()
}
