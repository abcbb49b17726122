//! From frames of a response to events.

use super::response::{Choice, Completion, Delta, Logprobs, TokenUsage};
use super::tool_calls::ToolCalls;
use crate::AttemptClass;
use crate::decode::{Decode, Ending, Flow, json, truncated};
use crate::error_body;
use crate::fault::Fault;
use crate::frame::Frame;
use boca_core::{FinishReason, GenerationEvent, TokenLogprob, Usage};
use serde_json::Value;

/// Reads the response of one ask, streamed or not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    usage: TokenUsage,
    finish_reason: Option<String>,
    stop_sequence: Option<String>,
    refusal: String,
    tool_calls: ToolCalls,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault> {
        match frame {
            Frame::Event(data) | Frame::Line(data) if data.trim() == "[DONE]" => {
                return Ok(Flow::Done);
            }
            Frame::Event(data) | Frame::Line(data) => self.completion(json(&data)?, events)?,
            Frame::Whole(text) => self.completion(json(&text)?, events)?,
            Frame::Stray(text) => return Err(error_body::stray(&text)),
        }
        Ok(Flow::More)
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: self.usage.prompt_tokens,
            cached_tokens: self.usage.prompt_tokens_details.cached_tokens,
            completion_tokens: self.usage.completion_tokens,
            reasoning_tokens: self.usage.completion_tokens_details.reasoning_tokens,
        }
    }

    fn is_complete(&self) -> bool {
        self.finish_reason.is_some()
    }

    fn end(&mut self, events: &mut Vec<GenerationEvent>) -> Result<Ending, Fault> {
        let Some(reason) = self.finish_reason.take() else { return Err(truncated()) };
        let has_tool_calls = !self.tool_calls.is_empty();
        events.extend(self.tool_calls.finish()?.into_iter().map(GenerationEvent::ToolCall));
        if !self.refusal.is_empty() {
            let message = format!("refused to answer: {}", self.refusal);
            return Err(Fault::new(AttemptClass::Blocked, message));
        }
        let finish_reason = match &*reason {
            "length" | "max_tokens" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            "abort" | "error" => {
                let message = format!("gave up its answer (finish reason {reason})");
                return Err(Fault::new(AttemptClass::Server, message));
            }
            _ if has_tool_calls => FinishReason::ToolCalls,
            "stop" | "tool_calls" | "function_call" | "eos" | "end_turn" => FinishReason::Stop,
            unknown => {
                tracing::warn!(reason = unknown, "an answer ended for an unknown reason");
                FinishReason::Stop
            }
        };
        Ok(Ending { stop_sequence: self.stop_sequence.take(), ..Ending::new(finish_reason, reason) })
    }
}

impl Decoder {
    fn completion(&mut self, completion: Completion, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        if let Some(usage) = completion.usage {
            self.usage = usage;
        }
        if let Some(error) = completion.error {
            return Err(error_body::in_stream(&serde_json::json!({ "error": error })));
        }
        if completion.object == "error" {
            let message = completion.message.unwrap_or_default();
            return Err(error_body::in_stream(&serde_json::json!({ "error": { "message": message } })));
        }
        // Only one choice is asked for.
        for choice in completion.choices.into_iter().filter(|choice| choice.index == 0) {
            self.choice(choice, events)?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        for delta in [choice.delta, choice.message].into_iter().flatten() {
            self.delta(delta, events)?;
        }
        if let Some(logprobs) = choice.logprobs.and_then(logprobs) {
            events.push(GenerationEvent::Logprobs(logprobs));
        }
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(reason);
            if let Some(Value::String(stop)) = choice.stop_reason {
                self.stop_sequence = Some(stop);
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        // A server that fills both names fills them with the same text.
        let reasoning = delta.reasoning.filter(|text| !text.is_empty()).or(delta.reasoning_content);
        events.extend(reasoning.map(GenerationEvent::Reasoning));
        events.extend(delta.content.map(GenerationEvent::Text));
        if let Some(refusal) = delta.refusal {
            self.refusal.push_str(&refusal);
        }
        delta.tool_calls.into_iter().try_for_each(|call| self.tool_calls.add(call))
    }
}

/// The log-probabilities, when they have the form that was asked for.
fn logprobs(value: Value) -> Option<Vec<TokenLogprob>> {
    let logprobs: Logprobs = serde_json::from_value(value).ok()?;
    let tokens = logprobs.content.into_iter().map(|token| TokenLogprob {
        chosen: token.chosen.into(),
        top: token.top_logprobs.into_iter().map(Into::into).collect(),
    });
    Some(tokens.collect()).filter(|tokens: &Vec<_>| !tokens.is_empty())
}
