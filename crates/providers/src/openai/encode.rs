//! From an ask to the body of a request.

use super::request::{
    ChatCompletionRequest, ChatTemplateArguments, FunctionCall, Message, NamedSchema, ResponseFormat,
    StreamOptions, ToolCall,
};
use crate::chat_protocol;
use crate::conversation::{Ask, Thinking, Turn};
use crate::float::decimal;

/// Whose rules hold: OpenAI refuses fields that it does not know, everybody else ignores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// api.openai.com and Azure.
    Openai,
    /// Every other server.
    Compatible,
}

/// Room for thinking when nobody named a budget, for models that think.
const USUAL_THINKING_TOKENS: u32 = 8192;
/// Seeds are signed 64-bit numbers in most servers.
const SEED_MASK: u64 = i64::MAX as u64;

impl Flavour {
    /// The flavour of a server at this host.
    pub(crate) fn of_host(host: &str) -> Self {
        let is_openai = ["openai.com", "azure.com"]
            .iter()
            .any(|domain| host == *domain || host.ends_with(&format!(".{domain}")));
        if is_openai { Self::Openai } else { Self::Compatible }
    }
}

/// The body for this ask. `logit_bias` is left out: it names tokens of the local vocabulary.
pub(crate) fn encode<'a>(
    ask: &'a Ask<'a>,
    model: &'a str,
    flavour: Flavour,
    stream: bool,
) -> ChatCompletionRequest<'a> {
    let sampling = &ask.sampling;
    let is_openai = flavour == Flavour::Openai;
    let thinks = is_openai && is_reasoning_model(model);
    let max_tokens = ask.max_tokens(if thinks { USUAL_THINKING_TOKENS } else { 0 });
    let continues = !ask.request.answer_so_far.is_empty();
    let repetition_penalty = sampling.repetition_penalty.filter(|p| *p != 1.0 && !is_openai).map(decimal);
    ChatCompletionRequest {
        model,
        messages: messages(ask),
        stream,
        stream_options: stream.then_some(StreamOptions { include_usage: true }),
        max_tokens: (!is_openai).then_some(max_tokens),
        max_completion_tokens: is_openai.then_some(max_tokens),
        // OpenAI's reasoning models take no sampling at all.
        temperature: sampling.temperature.filter(|_| !thinks).map(decimal),
        top_p: sampling.top_p.filter(|_| !thinks).map(decimal),
        top_k: sampling.top_k.filter(|k| *k > 0 && !is_openai),
        min_p: sampling.min_p.filter(|p| *p > 0.0 && !is_openai).map(decimal),
        repetition_penalty,
        repeat_penalty: repetition_penalty,
        presence_penalty: sampling.presence_penalty.filter(|_| !thinks).map(decimal),
        frequency_penalty: sampling.frequency_penalty.filter(|_| !thinks).map(decimal),
        seed: sampling.seed.map(|seed| seed & SEED_MASK),
        stop: &ask.request.stop,
        logprobs: ask.request.top_logprobs.map(|_| true),
        top_logprobs: ask.request.top_logprobs.filter(|n| *n > 0),
        response_format: ask.options.json_schema.as_ref().map(|schema| ResponseFormat {
            kind: "json_schema",
            json_schema: NamedSchema { name: "answer", schema },
        }),
        tools: chat_protocol::tools(ask),
        reasoning_effort: if thinks { effort(ask.thinking()) } else { None },
        chat_template_kwargs: match (flavour, ask.thinking()) {
            (Flavour::Openai, _) | (_, Thinking::Unsaid) => None,
            (_, thinking) => {
                Some(ChatTemplateArguments { enable_thinking: matches!(thinking, Thinking::On(_)) })
            }
        },
        add_generation_prompt: continues.then_some(false),
        continue_final_message: continues.then_some(true),
    }
}

/// OpenAI's own names: `o1`, `o3-mini`, `gpt-5` and later.
fn is_reasoning_model(model: &str) -> bool {
    let number =
        |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>();
    let is_o = model.strip_prefix('o').is_some_and(|rest| number(rest).is_ok());
    let is_gpt =
        model.strip_prefix("gpt-").is_some_and(|rest| number(rest).is_ok_and(|version| version >= 5));
    (is_o || is_gpt) && !model.contains("chat")
}

/// `low` is the least that every reasoning model knows.
fn effort(thinking: Thinking) -> Option<&'static str> {
    match thinking {
        Thinking::Unsaid => None,
        Thinking::Off | Thinking::On(Some(0..=1024)) => Some("low"),
        Thinking::On(Some(1025..=8192) | None) => Some("medium"),
        Thinking::On(Some(_)) => Some("high"),
    }
}

fn messages<'a>(ask: &'a Ask<'a>) -> Vec<Message<'a>> {
    let text = |role, content| Message { role, content, ..Message::default() };
    chat_protocol::messages(ask, text, |turn| match turn {
        Turn::User(content) => text("user", content),
        Turn::Assistant { text, calls, .. } => Message {
            role: "assistant",
            content: text,
            tool_calls: calls
                .iter()
                .map(|call| ToolCall {
                    id: &call.id,
                    kind: "function",
                    function: FunctionCall {
                        name: call.name,
                        arguments: serde_json::Value::Object(call.arguments.clone()).to_string(),
                    },
                })
                .collect(),
            ..Message::default()
        },
        Turn::ToolResult { call_id, content, .. } => {
            Message { tool_call_id: Some(call_id), ..text("tool", content) }
        }
    })
}
