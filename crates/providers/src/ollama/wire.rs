//! The bodies that are sent and that come back.

use crate::chat_protocol::FunctionTool;
use crate::decode::{count, or_default};
use crate::tool_call::CalledFunction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `/api/chat`.
#[derive(Debug, Serialize)]
pub(crate) struct ChatRequest<'a> {
    pub(super) model: &'a str,
    pub(super) messages: Vec<Message<'a>>,
    pub(super) stream: bool,
    /// `false`: a prompt that does not fit is an error instead of losing its beginning in silence.
    pub(super) truncate: bool,
    /// `false`: an answer that reaches the end of the context ends there instead of forgetting its beginning.
    pub(super) shift: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) think: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<FunctionTool<'a>>,
    pub(super) options: Options<'a>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<PastCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct PastCall<'a> {
    pub(super) function: PastFunction<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct PastFunction<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a Map<String, Value>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Options<'a> {
    pub(super) num_predict: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeat_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) stop: &'a [String],
}

/// One line of the answer, or the whole of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChatResponse {
    #[serde(deserialize_with = "or_default")]
    pub(super) message: ResponseMessage,
    #[serde(deserialize_with = "or_default")]
    pub(super) done: bool,
    pub(super) done_reason: Option<String>,
    /// In nanoseconds, like all durations here; left out when zero.
    pub(super) load_duration: Option<u64>,
    pub(super) prompt_eval_duration: Option<u64>,
    pub(super) eval_duration: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub(super) prompt_eval_count: u32,
    #[serde(deserialize_with = "count")]
    pub(super) eval_count: u32,
    /// An error in mid-stream; the status was sent long before.
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseMessage {
    #[serde(deserialize_with = "or_default")]
    pub(super) content: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) thinking: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall {
    #[serde(deserialize_with = "or_default")]
    pub(super) function: CalledFunction,
}
