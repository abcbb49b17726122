//! The bodies that come back. Everything is optional: every server leaves something out and adds something else.

use crate::decode::{count, or_default};
use serde::Deserialize;
use serde_json::Value;

/// A chunk of a stream, or a whole response: they differ in `delta` and `message` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion {
    #[serde(deserialize_with = "or_default")]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<TokenUsage>,
    /// An error in mid-stream.
    pub(super) error: Option<Value>,
    /// vLLM's older form of an error in mid-stream: the error itself, marked by `"object": "error"`.
    #[serde(deserialize_with = "or_default")]
    pub(super) object: String,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    #[serde(deserialize_with = "count")]
    pub(super) index: u32,
    pub(super) delta: Option<Delta>,
    pub(super) message: Option<Delta>,
    pub(super) finish_reason: Option<String>,
    /// vLLM: the stop string, or a token id.
    pub(super) stop_reason: Option<Value>,
    /// Kept as a value: servers of older forms send other shapes under the same name.
    pub(super) logprobs: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Option<String>,
    /// vLLM's and Ollama's name.
    pub(super) reasoning: Option<String>,
    /// DeepSeek's, SGLang's and llama.cpp's name for the same.
    pub(super) reasoning_content: Option<String>,
    pub(super) refusal: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<ToolCallDelta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCallDelta {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) function: FunctionDelta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionDelta {
    pub(super) name: Option<String>,
    /// JSON text, or the object itself.
    pub(super) arguments: Option<Value>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct TokenUsage {
    #[serde(deserialize_with = "count")]
    pub(super) prompt_tokens: u32,
    #[serde(deserialize_with = "count")]
    pub(super) completion_tokens: u32,
    #[serde(deserialize_with = "or_default")]
    pub(super) prompt_tokens_details: PromptDetails,
    #[serde(deserialize_with = "or_default")]
    pub(super) completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct PromptDetails {
    #[serde(deserialize_with = "count")]
    pub(super) cached_tokens: u32,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct CompletionDetails {
    #[serde(deserialize_with = "count")]
    pub(super) reasoning_tokens: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Logprobs {
    pub(super) content: Vec<TokenLogprob>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TokenLogprob {
    #[serde(flatten)]
    pub(super) chosen: TopLogprob,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) top_logprobs: Vec<TopLogprob>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopLogprob {
    pub(super) token: String,
    pub(super) logprob: f32,
    #[serde(default)]
    pub(super) bytes: Option<Vec<u8>>,
}

impl From<TopLogprob> for boca_core::TopLogprob {
    fn from(top: TopLogprob) -> Self {
        let bytes = top.bytes.unwrap_or_else(|| top.token.clone().into_bytes());
        Self { token: top.token, bytes, logprob: top.logprob }
    }
}
