//! From frames of a response to events.

use super::error;
use super::response::{
    Candidate, GenerateContentResponse, LogprobCandidate, LogprobsResult, PromptFeedback, SafetyRating,
    UsageMetadata,
};
use crate::AttemptClass;
use crate::decode::{Decode, Ending, Flow, json, truncated};
use crate::fault::Fault;
use crate::frame::Frame;
use boca_core::{FinishReason, GenerationEvent, TokenLogprob, TopLogprob, Usage};

/// Reads the response of one ask, streamed or not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    usage: UsageMetadata,
    finish: Option<Finish>,
    has_tool_calls: bool,
}

#[derive(Debug)]
struct Finish {
    reason: String,
    /// The provider's own sentence, and the categories that blocked.
    details: String,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame, events: &mut Vec<GenerationEvent>) -> Result<Flow, Fault> {
        match frame {
            Frame::Stray(text) => return Err(stray(&text)),
            Frame::Event(data) | Frame::Line(data) => self.chunk(json(&data)?, events)?,
            // Without `alt=sse` a stream is one array of chunks.
            Frame::Whole(text) if text.trim_start().starts_with('[') => {
                for chunk in json::<Vec<GenerateContentResponse>>(&text)? {
                    self.chunk(chunk, events)?;
                }
            }
            Frame::Whole(text) => self.chunk(json(&text)?, events)?,
        }
        // The last chunk is not marked as such: usage may follow the reason. The end of the stream is the end.
        Ok(Flow::More)
    }

    fn usage(&self) -> Usage {
        let counted = &self.usage;
        Usage {
            prompt_tokens: counted.prompt_token_count.saturating_add(counted.tool_use_prompt_token_count),
            cached_tokens: counted.cached_content_token_count,
            completion_tokens: counted.candidates_token_count.saturating_add(counted.thoughts_token_count),
            reasoning_tokens: counted.thoughts_token_count,
        }
    }

    fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, _events: &mut Vec<GenerationEvent>) -> Result<Ending, Fault> {
        let Some(finish) = self.finish.take() else { return Err(truncated()) };
        let reason = match finish.details.as_str() {
            "" => finish.reason.clone(),
            details => format!("{} ({details})", finish.reason),
        };
        let ended = |class, problem: &str| Err(Fault::new(class, format!("{problem}: {reason}")));
        let finish_reason = match &*finish.reason {
            "STOP" if self.has_tool_calls => FinishReason::ToolCalls,
            "STOP" | "FINISH_REASON_UNSPECIFIED" => FinishReason::Stop,
            // A continuation would have to be asked for: the text is not complete, like at the limit of tokens.
            "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
            "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "MODEL_ARMOR"
            | "ESCALATION"
            | "PUP_LIMITED_DISABLED"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => FinishReason::ContentFilter,
            "LANGUAGE" => return ended(AttemptClass::Refused, "does not answer in this language"),
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "MISSING_THOUGHT_SIGNATURE"
            | "IMAGE_OTHER"
            | "NO_IMAGE" => return ended(AttemptClass::Malformed, "could not form its answer"),
            "OTHER" => return ended(AttemptClass::Server, "gave up its answer without saying why"),
            unknown => {
                // New reasons come with new models. The text is there, and its reader can judge it.
                tracing::warn!(reason = unknown, "gemini ended an answer for an unknown reason");
                FinishReason::Stop
            }
        };
        Ok(Ending::new(finish_reason, reason))
    }
}

impl Decoder {
    fn chunk(
        &mut self,
        chunk: GenerateContentResponse,
        events: &mut Vec<GenerationEvent>,
    ) -> Result<(), Fault> {
        if let Some(usage) = chunk.usage_metadata {
            self.count(usage);
        }
        if let Some(error) = chunk.error {
            return Err(error::fault(None, None, &serde_json::json!({ "error": error }).to_string()));
        }
        if let Some(PromptFeedback { block_reason: Some(reason), safety_ratings }) = chunk.prompt_feedback {
            let categories = blocking(&safety_ratings);
            let details = if categories.is_empty() { String::new() } else { format!(" ({categories})") };
            return Err(Fault::new(AttemptClass::Blocked, format!("blocked the prompt: {reason}{details}")));
        }
        // Only one candidate is asked for.
        for candidate in chunk.candidates.into_iter().filter(|candidate| candidate.index == 0) {
            self.candidate(candidate, events)?;
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, events: &mut Vec<GenerationEvent>) -> Result<(), Fault> {
        for part in candidate.content.unwrap_or_default().parts {
            if let Some(call) = part.function_call {
                self.has_tool_calls = true;
                events.push(GenerationEvent::ToolCall(call.into_call()?));
            }
            match part.text {
                Some(text) if part.thought => events.push(GenerationEvent::Reasoning(text)),
                Some(text) => events.push(GenerationEvent::Text(text)),
                None => {}
            }
        }
        if let Some(logprobs) = candidate.logprobs_result {
            events.push(GenerationEvent::Logprobs(logprobs.into()));
        }
        if let Some(reason) = candidate.finish_reason {
            let mut details =
                vec![candidate.finish_message.unwrap_or_default(), blocking(&candidate.safety_ratings)];
            details.retain(|detail| !detail.is_empty());
            self.finish = Some(Finish { reason, details: details.join("; ") });
        }
        Ok(())
    }

    /// Every chunk counts anew, and some counts come late or are left out of later chunks.
    fn count(&mut self, chunk: UsageMetadata) {
        let usage = &mut self.usage;
        usage.prompt_token_count = usage.prompt_token_count.max(chunk.prompt_token_count);
        usage.cached_content_token_count =
            usage.cached_content_token_count.max(chunk.cached_content_token_count);
        usage.candidates_token_count = usage.candidates_token_count.max(chunk.candidates_token_count);
        usage.thoughts_token_count = usage.thoughts_token_count.max(chunk.thoughts_token_count);
        usage.tool_use_prompt_token_count =
            usage.tool_use_prompt_token_count.max(chunk.tool_use_prompt_token_count);
    }
}

fn stray(text: &str) -> Fault {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => error::fault(None, None, text),
        Err(_) => Fault::new(AttemptClass::Connect, "broke off in the middle of a message"),
    }
}

/// The categories that blocked, with their probability.
fn blocking(ratings: &[SafetyRating]) -> String {
    let blocked = ratings.iter().filter(|rating| rating.blocked);
    let named = blocked.map(|rating| {
        let category = rating.category.trim_start_matches("HARM_CATEGORY_");
        format!("{category} {}", rating.probability).trim().to_owned()
    });
    named.collect::<Vec<_>>().join(", ")
}

impl From<LogprobsResult> for Vec<TokenLogprob> {
    fn from(result: LogprobsResult) -> Self {
        let mut top = result.top_candidates.into_iter();
        let with_top = |chosen: LogprobCandidate| TokenLogprob {
            chosen: chosen.into(),
            top: top.next().unwrap_or_default().candidates.into_iter().map(TopLogprob::from).collect(),
        };
        result.chosen_candidates.into_iter().map(with_top).collect()
    }
}

impl From<LogprobCandidate> for TopLogprob {
    fn from(candidate: LogprobCandidate) -> Self {
        let bytes = candidate.token.clone().into_bytes();
        Self { token: candidate.token, bytes, logprob: candidate.log_probability }
    }
}
