//! From frames of a response to events.

use super::response::{Block, Delta, Message, StreamEvent, TokenUsage};
use crate::decode::{Decode, Ending, Flow, json, truncated};
use crate::error_body;
use crate::fault::Fault;
use crate::frame::Frame;
use crate::tool_call;
use boca_core::{FinishReason, GenerationEvent, Usage};
use std::collections::BTreeMap;

/// Reads the response of one ask, streamed or not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// White space that the text so far ended with and that was not sent, because the API refuses it: the model
    /// writes it again, and it must not be shown twice.
    unsent_space: String,
    usage: TokenUsage,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    open_calls: BTreeMap<u32, OpenCall>,
    has_tool_calls: bool,
}

#[derive(Debug)]
struct OpenCall {
    name: String,
    arguments: String,
}

impl Decoder {
    /// A decoder for an answer that goes on from `answer_so_far`.
    pub(crate) fn going_on_from(answer_so_far: &str) -> Self {
        let unsent_space = answer_so_far[answer_so_far.trim_end().len()..].to_owned();
        Self { unsent_space, ..Self::default() }
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault> {
        match frame {
            Frame::Event(data) | Frame::Line(data) => self.event(json(&data)?, events),
            Frame::Whole(text) => {
                self.whole(json(&text)?, events)?;
                Ok(Flow::Done)
            }
            Frame::Stray(text) => Err(error_body::stray(&text)),
        }
    }

    fn usage(&self) -> Usage {
        let counted = &self.usage;
        Usage {
            prompt_tokens: counted
                .input_tokens
                .saturating_add(counted.cache_creation_input_tokens)
                .saturating_add(counted.cache_read_input_tokens),
            cached_tokens: counted.cache_read_input_tokens,
            completion_tokens: counted.output_tokens,
            reasoning_tokens: counted.output_tokens_details.thinking_tokens,
        }
    }

    fn is_complete(&self) -> bool {
        self.stop_reason.is_some()
    }

    fn end(&mut self, _events: &mut Vec<GenerationEvent>) -> Result<Ending, Fault> {
        let Some(reason) = self.stop_reason.take() else { return Err(truncated()) };
        if !self.open_calls.is_empty() {
            return Err(Fault::malformed("ended its answer in the middle of a tool call"));
        }
        let finish_reason = match &*reason {
            "max_tokens" | "model_context_window_exceeded" | "pause_turn" => FinishReason::Length,
            "refusal" => FinishReason::ContentFilter,
            "tool_use" if self.has_tool_calls => FinishReason::ToolCalls,
            "end_turn" | "stop_sequence" | "tool_use" => FinishReason::Stop,
            unknown => {
                tracing::warn!(reason = unknown, "anthropic ended an answer for an unknown reason");
                FinishReason::Stop
            }
        };
        Ok(Ending { stop_sequence: self.stop_sequence.take(), ..Ending::new(finish_reason, reason) })
    }
}

impl Decoder {
    fn event(&mut self, event: StreamEvent, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault> {
        if let Some(usage) = event.usage {
            self.count(usage);
        }
        match &*event.kind {
            "message_start" => {
                if let Some(usage) = event.message.and_then(|message| message.usage) {
                    self.count(usage);
                }
            }
            "content_block_start" => {
                self.begin(event.index, event.content_block.unwrap_or_default(), events)?
            }
            "content_block_delta" => self.delta(event.index, event.delta.unwrap_or_default(), events)?,
            "content_block_stop" => self.close(event.index, events)?,
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.stop_sequence = delta.stop_sequence.or(self.stop_sequence.take());
            }
            "message_stop" => return Ok(Flow::Done),
            "error" => {
                return Err(error_body::in_stream(&serde_json::json!({ "error": event.error })));
            }
            // `ping`, and whatever is added later.
            _ => {}
        }
        Ok(Flow::More)
    }

    fn whole(&mut self, message: Message, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        if let Some(error) = message.error {
            return Err(error_body::in_stream(&serde_json::json!({ "error": error })));
        }
        for (index, block) in (0..).zip(message.content) {
            self.begin(index, block, events)?;
            self.close(index, events)?;
        }
        self.count(message.usage.unwrap_or_default());
        self.stop_reason = message.stop_reason;
        self.stop_sequence = message.stop_sequence;
        Ok(())
    }

    fn begin(&mut self, index: u32, block: Block, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        match &*block.kind {
            "tool_use" => {
                tool_call::check_room(self.open_calls.len())?;
                // A streamed block begins with an empty object, which its pieces replace.
                let arguments = block.input.filter(|input| input.as_object().is_none_or(|o| !o.is_empty()));
                let arguments = arguments.map(|input| input.to_string()).unwrap_or_default();
                self.open_calls.insert(index, OpenCall { name: block.name, arguments });
                Ok(())
            }
            _ => {
                self.text(block.text, events);
                events.push(GenerationEvent::Reasoning(block.thinking));
                Ok(())
            }
        }
    }

    fn delta(&mut self, index: u32, delta: Delta, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        match &*delta.kind {
            "text_delta" => self.text(delta.text, events),
            "thinking_delta" => events.push(GenerationEvent::Reasoning(delta.thinking)),
            "input_json_delta" => {
                let call = self.open_calls.get_mut(&index);
                let call =
                    call.ok_or_else(|| Fault::malformed("sent a piece of a tool call that never began"))?;
                call.arguments.push_str(&delta.partial_json);
            }
            // Signatures and citations say nothing here.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, index: u32, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        let Some(call) = self.open_calls.remove(&index) else { return Ok(()) };
        self.has_tool_calls = true;
        events.push(GenerationEvent::ToolCall(tool_call::from_pieces(call.name, &call.arguments)?));
        Ok(())
    }

    fn text(&mut self, text: String, events: &mut Vec<GenerationEvent>) {
        let mut text = text.as_str();
        while let Some(space) = self.unsent_space.chars().next() {
            let Some(rest) = text.strip_prefix(space) else {
                if !text.is_empty() {
                    self.unsent_space.clear();
                }
                break;
            };
            text = rest;
            self.unsent_space.remove(0);
        }
        events.push(GenerationEvent::Text(text.to_owned()));
    }

    /// Counts are running totals; a later event leaves out what does not change.
    fn count(&mut self, usage: TokenUsage) {
        let counted = &mut self.usage;
        counted.input_tokens = counted.input_tokens.max(usage.input_tokens);
        counted.cache_creation_input_tokens =
            counted.cache_creation_input_tokens.max(usage.cache_creation_input_tokens);
        counted.cache_read_input_tokens = counted.cache_read_input_tokens.max(usage.cache_read_input_tokens);
        counted.output_tokens = counted.output_tokens.max(usage.output_tokens);
        let thinking = &mut counted.output_tokens_details.thinking_tokens;
        *thinking = (*thinking).max(usage.output_tokens_details.thinking_tokens);
    }
}
