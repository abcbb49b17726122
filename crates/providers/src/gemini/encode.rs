//! From an ask to the body of a request.

use super::request::{
    Content, FunctionCall, FunctionDeclaration, FunctionResponse, GenerateContentRequest, GenerationConfig,
    Part, ThinkingConfig, Tools,
};
use crate::conversation::{Ask, PastCall, Thinking, Tool, Turn};
use crate::float::decimal;
use serde_json::{Map, Value};

/// Room for thinking when nobody named a budget.
const USUAL_THINKING_TOKENS: u32 = 8192;
/// Stands for the signature of a function call that another model made, which Gemini 3 demands on every call.
///
/// Source: <https://ai.google.dev/gemini-api/docs/thought-signatures>
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";
/// Penalties end just below 2.
const HIGHEST_PENALTY: f64 = 1.99;

/// The body for this ask. `min_p`, `repetition_penalty` and `logit_bias` have no counterpart in this API and are left
/// out; the last one names tokens of the local vocabulary anyway.
pub(crate) fn encode<'a>(ask: &'a Ask<'a>, model: &str) -> GenerateContentRequest<'a> {
    let generation = Generation::of_model(model);
    GenerateContentRequest {
        system_instruction: ask
            .system
            .as_deref()
            .map(|text| Content { role: None, parts: vec![text_part(text)] }),
        contents: contents(&ask.turns, generation),
        tools: tools(&ask.tools),
        generation_config: GenerationConfig {
            temperature: ask.sampling.temperature.map(decimal),
            top_p: ask.sampling.top_p.map(decimal),
            top_k: ask.sampling.top_k.filter(|k| *k > 0),
            max_output_tokens: Some(match generation {
                Generation::WithoutThinking => ask.max_tokens(0),
                _ => ask.max_tokens(USUAL_THINKING_TOKENS),
            }),
            stop_sequences: &ask.request.stop,
            seed: ask.sampling.seed.map(fold_seed),
            presence_penalty: ask.sampling.presence_penalty.map(penalty),
            frequency_penalty: ask.sampling.frequency_penalty.map(penalty),
            response_logprobs: ask.request.top_logprobs.map(|_| true),
            logprobs: ask.request.top_logprobs.filter(|n| *n > 0),
            response_mime_type: ask.options.json_schema.as_ref().map(|_| "application/json"),
            response_json_schema: ask.options.json_schema.as_ref(),
            thinking_config: generation.thinking(ask.thinking(), model),
        },
    }
}

/// What a model's number says about its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// 2.0 and before, and other families.
    WithoutThinking,
    /// 2.5: a budget in tokens.
    Budget,
    /// 3 and later, and names without a number, which stand for the latest: a level.
    Level,
}

impl Generation {
    fn of_model(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let Some(rest) = name.strip_prefix("gemini-") else { return Self::WithoutThinking };
        let number = rest.split('-').next().unwrap_or_default();
        match number.parse::<f32>() {
            Ok(number) if number < 2.5 => Self::WithoutThinking,
            Ok(number) if number < 3.0 => Self::Budget,
            _ => Self::Level,
        }
    }

    fn thinking(self, wanted: Thinking, model: &str) -> Option<ThinkingConfig> {
        let is_pro = model.contains("pro");
        let config = match (self, wanted) {
            (Self::WithoutThinking, _) | (_, Thinking::Unsaid) => return None,
            // A pro model cannot be kept from thinking, only held to little.
            (Self::Budget, Thinking::Off) => {
                ThinkingConfig { thinking_budget: Some(if is_pro { 128 } else { 0 }), ..Default::default() }
            }
            (Self::Budget, Thinking::On(budget)) => {
                let most = if is_pro { 32_768 } else { 24_576 };
                let least = if is_pro { 128 } else { 1 };
                let budget = budget.map_or(-1, |tokens| tokens.clamp(least, most) as i32);
                ThinkingConfig { thinking_budget: Some(budget), ..Default::default() }
            }
            (Self::Level, Thinking::Off) => ThinkingConfig {
                thinking_level: Some(if is_pro { "LOW" } else { "MINIMAL" }),
                ..Default::default()
            },
            (Self::Level, Thinking::On(budget)) => ThinkingConfig {
                thinking_level: budget.map(|tokens| match tokens {
                    0..=1024 => "LOW",
                    1025..=8192 => "MEDIUM",
                    _ => "HIGH",
                }),
                ..Default::default()
            },
        };
        let shows_thoughts = matches!(wanted, Thinking::On(_)).then_some(true);
        Some(ThinkingConfig { include_thoughts: shows_thoughts, ..config })
    }
}

fn contents<'a>(turns: &[Turn<'a>], generation: Generation) -> Vec<Content<'a>> {
    let mut contents: Vec<Content<'a>> = Vec::with_capacity(turns.len());
    for turn in turns {
        let (role, parts) = match turn {
            Turn::User(text) => ("user", vec![text_part(text)]),
            Turn::Assistant { text, calls, .. } => ("model", model_parts(text, calls, generation)),
            Turn::ToolResult { name, content, .. } => {
                let part = Part {
                    function_response: Some(FunctionResponse { name, response: result_object(content) }),
                    ..Part::default()
                };
                ("user", vec![part])
            }
        };
        if parts.is_empty() {
            continue;
        }
        // Results of calls made in one turn must come back in one turn.
        match contents.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.extend(parts),
            _ => contents.push(Content { role: Some(role), parts }),
        }
    }
    contents
}

fn text_part(text: &str) -> Part<'_> {
    Part { text: Some(text), ..Part::default() }
}

/// Thoughts of earlier turns are not sent back: without their signature they mean nothing to the model.
fn model_parts<'a>(text: &'a str, calls: &[PastCall<'a>], generation: Generation) -> Vec<Part<'a>> {
    let text = (!text.is_empty()).then(|| text_part(text));
    let calls = calls.iter().enumerate().map(|(index, call)| Part {
        function_call: Some(FunctionCall { name: call.name, args: call.arguments.clone() }),
        // Of calls made together only the first one carries a signature.
        thought_signature: (generation == Generation::Level && index == 0).then_some(FOREIGN_SIGNATURE),
        ..Part::default()
    });
    text.into_iter().chain(calls).collect()
}

/// The API takes an object; anything else is put into one.
fn result_object(content: &str) -> Map<String, Value> {
    match serde_json::from_str(content) {
        Ok(Value::Object(object)) => object,
        Ok(value) => Map::from_iter([("result".to_owned(), value)]),
        Err(_) => Map::from_iter([("result".to_owned(), Value::String(content.to_owned()))]),
    }
}

fn tools(tools: &[Tool]) -> Vec<Tools> {
    let declare = |tool: &Tool| FunctionDeclaration {
        name: tool.name.clone(),
        description: tool.description.clone().unwrap_or_default(),
        parameters_json_schema: tool.parameters.clone(),
    };
    let function_declarations: Vec<_> = tools.iter().map(declare).collect();
    if function_declarations.is_empty() { Vec::new() } else { vec![Tools { function_declarations }] }
}

/// Seeds are 32 bits wide and positive here: the same long seed still gives the same short one.
fn fold_seed(seed: u64) -> u32 {
    ((seed ^ (seed >> 32)) & 0x7fff_ffff) as u32
}

fn penalty(value: f32) -> f64 {
    decimal(value).min(HIGHEST_PENALTY)
}
