//! One question put to boca, and the one answer it gives.

use crate::{Failure, FinishReason, GenerateRequest, SessionId, Timings, TokenLogprob, Usage};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The default: the one provider there is, or all of them when several are available.
    Auto,
    /// The model on this machine.
    Local,
    /// A provider by its name.
    Provider(String),
}

/// A question with everything that is needed to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The conversation it belongs to.
    pub session_id: SessionId,
    /// Who is asked.
    pub mode: Mode,
    /// Whether only providers on this machine may see it.
    pub private: bool,
    /// The validated generation request.
    pub generate: GenerateRequest,
}

/// What a provider did for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Asked, nothing heard yet.
    Asked,
    /// Sends text.
    Answering,
    /// Its answer is complete.
    Finished,
    /// It gave no usable answer.
    Failed,
    /// It was told to stop because its answer is not needed any more.
    Cancelled,
}

/// The record of one provider's part in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceTrace {
    /// The provider's name.
    pub provider: String,
    /// How it ended.
    pub state: SourceState,
    /// When it was asked, counted from the arrival of the question.
    pub began: Duration,
    /// When its first token came.
    pub first_token: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// Tokens that it counted.
    pub usage: Usage,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// One thing that happened while an answer was made.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// A provider changed its state.
    Source(SourceTrace),
    /// More thinking of the answer being shown.
    Reasoning(String),
    /// More text of the answer being shown.
    Text(String),
    /// The answer is complete; the last event of a good stream.
    Done(Box<Answer>),
}

/// The one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text, without thinking.
    pub text: String,
    /// The thinking, if there was any.
    pub reasoning: Option<String>,
    /// Name of the model or provider that wrote the text.
    pub model_used: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop_sequence: Option<String>,
    /// Log-probabilities, when asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// Tokens counted.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Everyone who was asked.
    pub sources: Vec<SourceTrace>,
}
