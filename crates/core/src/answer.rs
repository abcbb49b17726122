//! One question put to boca, and the one answer it gives.

use crate::{
    ContextCut, Effort, Failure, FinishReason, GenerateRequest, MicroUsd, Mode, SessionId, Strategy, Timings,
    TokenLogprob, ToolCall, Usage,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A question with everything that is needed to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The conversation it belongs to.
    pub session_id: SessionId,
    /// Who is asked.
    pub mode: Mode,
    /// How much the answer may cost.
    pub effort: Option<Effort>,
    /// How one answer comes out of several, when the request or the config says so.
    pub strategy: Option<Strategy>,
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

impl SourceState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Asked, Self::Answering, Self::Finished, Self::Failed, Self::Cancelled];

    /// The name on the wire and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Answering => "answering",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a provider was asked to do for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRole {
    /// To answer the question.
    #[default]
    Answer,
    /// To say which answer is the best.
    Judge,
    /// To write one answer from several.
    Synthesizer,
    /// To go on where another broke off.
    Continuation,
}

impl SourceRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Answer, Self::Judge, Self::Synthesizer, Self::Continuation];

    /// The name on the wire and in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Judge => "judge",
            Self::Synthesizer => "synthesizer",
            Self::Continuation => "continuation",
        }
    }
}

/// The record of one provider's part in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceTrace {
    /// The provider's name.
    pub provider: String,
    /// Its model, as far as that is known.
    pub model: Option<String>,
    /// What it was asked to do.
    #[serde(default)]
    pub role: SourceRole,
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
    /// What it cost, where prices are known.
    pub cost: Option<MicroUsd>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it answered without.
    #[serde(default)]
    pub context_cut: Option<Box<ContextCut>>,
}

impl SourceTrace {
    /// A provider that was asked `began` after the question arrived.
    pub fn asked(provider: impl Into<String>, began: Duration) -> Self {
        Self {
            provider: provider.into(),
            model: None,
            role: SourceRole::Answer,
            state: SourceState::Asked,
            began,
            first_token: None,
            ended: None,
            usage: Usage::default(),
            cost: None,
            failure: None,
            context_cut: None,
        }
    }
}

/// One provider's whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceAnswer {
    /// The provider's name.
    pub provider: String,
    /// Its text, without thinking.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens that it counted.
    pub usage: Usage,
}

/// Where one provider's text ends and another's begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    /// Bytes of the answer's text before it.
    pub at_byte: u64,
    /// Who wrote what comes before.
    pub from: String,
    /// Who wrote the rest.
    pub to: String,
}

/// How one answer came out of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FusionTrace {
    /// The mode that held in the end, by its name.
    pub mode: String,
    /// `select` or `merge`, where there was something to decide.
    pub strategy: Option<Strategy>,
    /// The provider whose text is the answer; `None` for merged text.
    pub chosen: Option<String>,
    /// Who judged or merged, if anybody did.
    pub judged_by: Option<String>,
    /// How much the answers agree, 0 to 1; `None` with fewer than two.
    pub agreement: Option<f32>,
    /// Every decision in the order in which it was made, in one sentence each.
    pub reasons: Vec<String>,
    /// Where the writer changed in mid-answer.
    pub seam: Option<Seam>,
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
    /// What was shown so far, thinking and text, is not the answer: its writer broke off, and somebody else's answer
    /// takes its place from the beginning. Says why.
    Restart(String),
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
    /// Tools that the model wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Everyone who was asked.
    pub sources: Vec<SourceTrace>,
    /// The whole answers, in the order in which they were complete.
    pub answers: Vec<SourceAnswer>,
    /// How the answer came about.
    pub trace: FusionTrace,
}
