//! From lines of a response to events.

use super::wire::ChatResponse;
use crate::decode::{Decode, Ending, Flow, json, truncated};
use crate::error_body;
use crate::fault::Fault;
use crate::frame::Frame;
use boca_core::{FinishReason, GenerationEvent, Usage};
use std::time::Duration;

/// Reads the response of one ask, streamed or not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    last: Option<ChatResponse>,
    has_tool_calls: bool,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault> {
        let mut response: ChatResponse = match frame {
            Frame::Line(text) | Frame::Whole(text) | Frame::Event(text) => json(&text)?,
            Frame::Stray(text) => return Err(error_body::stray(&text)),
        };
        if let Some(error) = &response.error {
            return Err(error_body::in_stream(&serde_json::json!({ "error": error })));
        }
        let message = std::mem::take(&mut response.message);
        events.push(GenerationEvent::Reasoning(message.thinking));
        events.push(GenerationEvent::Text(message.content));
        for call in message.tool_calls {
            self.has_tool_calls = true;
            events.push(GenerationEvent::ToolCall(call.function.into_call()?));
        }
        if response.done {
            self.last = Some(response);
            return Ok(Flow::Done);
        }
        Ok(Flow::More)
    }

    fn usage(&self) -> Usage {
        let counted = self.last.as_ref().map(|last| (last.prompt_eval_count, last.eval_count));
        let (prompt_tokens, completion_tokens) = counted.unwrap_or_default();
        Usage { prompt_tokens, completion_tokens, ..Usage::default() }
    }

    fn is_complete(&self) -> bool {
        self.last.is_some()
    }

    fn end(&mut self, _events: &mut Vec<GenerationEvent>) -> Result<Ending, Fault> {
        let Some(last) = &self.last else { return Err(truncated()) };
        let reason = last.done_reason.clone().unwrap_or_default();
        let finish_reason = match &*reason {
            "length" => FinishReason::Length,
            _ if self.has_tool_calls => FinishReason::ToolCalls,
            // Old servers name no reason; `load` and `unload` come without an answer, which is noticed above.
            _ => FinishReason::Stop,
        };
        Ok(Ending {
            prefill: last.prompt_eval_duration.map(Duration::from_nanos),
            decode: last.eval_duration.map(Duration::from_nanos),
            queue: last.load_duration.map(Duration::from_nanos),
            ..Ending::new(finish_reason, reason)
        })
    }
}
