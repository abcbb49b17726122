//! What an engine is asked and what it reports: plain serialisable messages, because a backend may live in another
//! process.

use crate::{ChatMessage, ContextCut, ContextPlan, Priority, RequestId, SamplingOverrides, ToolCall};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A validated request for one generation. Nothing in it is optional that the engine would have to decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The request this generation belongs to.
    pub id: RequestId,
    /// The conversation, oldest turn first, the last one to be answered.
    pub messages: Vec<ChatMessage>,
    /// Tool definitions as JSON text, one object each, given to the chat template.
    pub tools_json: Vec<String>,
    /// How to pick tokens, merged from request, preset, session and config. Fields that are still open are filled
    /// from the checkpoint's `generation_config.json`, then from [`crate::Sampling::recommended`]. Its `max_tokens`
    /// is not read: see the two fields below.
    pub sampling: SamplingOverrides,
    /// The most tokens to generate, thinking included, when the request itself names a number: a prompt that does not
    /// fit beside it is refused.
    pub max_tokens: Option<u32>,
    /// The bound of preset, session or config, used when `max_tokens` is `None`: then the budget is the least of
    /// this, the context left and what `time_left` allows at the measured speed.
    pub default_max_tokens: u32,
    /// Text that the answer begins with already, written by somebody else; the generation goes on from exactly here,
    /// without thinking. Empty: a new answer.
    pub answer_so_far: String,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// How many alternatives to report for each token; `None` reports no log-probabilities at all.
    pub top_logprobs: Option<u8>,
    /// How long the whole generation may take, counted from the moment it is handed to the engine.
    pub time_left: Duration,
    /// Whether somebody waits for it.
    pub priority: Priority,
    /// With whom it shares its turns in the queue: its session, or its client. Helpers of an answer have the key of its
    /// question.
    pub fairness_key: String,
    /// Nobody reads along: what was said is given out at the end. Should the engine be lost before that, another one may
    /// begin anew.
    pub is_read_whole: bool,
    /// What may be done when it does not fit the context.
    pub context: ContextPlan,
    /// The prompt, when somebody has rendered and tokenised it already. An engine whose text files are others makes its
    /// own.
    pub prepared: Option<PreparedPrompt>,
}

/// The tokens of a request's messages, made where no weights are needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedPrompt {
    /// All that is computed before the first token, the answer so far included.
    pub ids: Vec<u32>,
    /// How many of the last ids are the answer so far.
    pub n_answer: usize,
    /// Where the generation begins.
    pub state: ThinkingState,
    /// Which tokenizer and template made it.
    pub text_files: u64,
}

/// Where in a model's text a place lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingState {
    /// Nothing but white space yet: either may follow.
    Undecided,
    /// Inside the thinking.
    Reasoning,
    /// In the answer.
    Answer,
}

impl GenerateRequest {
    /// A request for an answer to these messages that leaves everything else open: no tools, no sampling fields, no
    /// bound of its own.
    pub fn new(
        id: RequestId,
        messages: Vec<ChatMessage>,
        default_max_tokens: u32,
        time_left: Duration,
    ) -> Self {
        Self {
            id,
            messages,
            tools_json: Vec::new(),
            sampling: SamplingOverrides::default(),
            max_tokens: None,
            default_max_tokens,
            answer_so_far: String::new(),
            stop: Vec::new(),
            top_logprobs: None,
            time_left,
            priority: Priority::default(),
            is_read_whole: false,
            fairness_key: String::new(),
            context: ContextPlan::default(),
            prepared: None,
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-text token or a stop string.
    Stop,
    /// The token budget was spent.
    Length,
    /// The deadline passed; the text so far is kept.
    Deadline,
    /// The request was cancelled; the text so far is kept.
    Cancelled,
    /// The provider's content rules ended it; the text so far is kept.
    ContentFilter,
    /// The model repeated itself over and over; the text so far is kept.
    Repetition,
    /// The model wants tools called.
    ToolCalls,
}

impl FinishReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Stop,
        Self::Length,
        Self::Deadline,
        Self::Cancelled,
        Self::ContentFilter,
        Self::Repetition,
        Self::ToolCalls,
    ];

    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::ContentFilter => "content_filter",
            Self::Repetition => "repetition",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// Tokens counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the rendered prompt.
    pub prompt_tokens: u32,
    /// Prompt tokens whose KV entries were reused instead of computed.
    pub cached_tokens: u32,
    /// Tokens generated, thinking included.
    pub completion_tokens: u32,
    /// Tokens of the thinking part.
    pub reasoning_tokens: u32,
}

/// Where the time of one generation went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Between the hand-over and the first step.
    pub queue: Duration,
    /// From the first step to the last prompt token.
    pub prefill: Duration,
    /// From the first generated token to the last.
    pub decode: Duration,
    /// From the hand-over to the first generated token.
    pub time_to_first_token: Duration,
    /// From the hand-over to the end.
    pub total: Duration,
}

impl Timings {
    /// Prompt tokens per second, `None` when nothing was computed.
    pub fn prefill_tokens_per_s(&self, usage: &Usage) -> Option<f64> {
        rate(usage.prompt_tokens.saturating_sub(usage.cached_tokens), self.prefill)
    }

    /// Generated tokens per second after the first, `None` when there were fewer than two.
    pub fn decode_tokens_per_s(&self, usage: &Usage) -> Option<f64> {
        rate(usage.completion_tokens.saturating_sub(1), self.decode)
    }
}

fn rate(tokens: u32, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| f64::from(tokens) / time.as_secs_f64())
}

/// An alternative to a sampled token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopLogprob {
    /// The token's text; a token that holds part of a character shows U+FFFD.
    pub token: String,
    /// The token's bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability under the unmodified model (temperature 1, no penalties).
    pub logprob: f32,
}

/// The log-probability of one sampled token and its alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The sampled token.
    pub chosen: TopLogprob,
    /// The most likely tokens at this place, best first.
    pub top: Vec<TopLogprob>,
}

/// One thing that happened in a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GenerationEvent {
    /// The conversation did not fit, and is answered without some of its turns. Before everything else.
    ContextCut(Box<ContextCut>),
    /// The prompt is tokenised and fits.
    Started {
        /// Tokens of the rendered prompt.
        prompt_tokens: u32,
        /// The budget that holds for this generation.
        max_tokens: u32,
    },
    /// More text of the thinking part. Whole characters only.
    Reasoning(String),
    /// More text of the answer. Whole characters only.
    Text(String),
    /// Log-probabilities of tokens sampled since the last event of this kind, in order.
    Logprobs(Vec<TokenLogprob>),
    /// A tool that the model wants called; complete, never in parts.
    ToolCall(ToolCall),
}

/// What a reader of a generation sees, whoever generates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GenerationUpdate {
    /// Something happened.
    Event(GenerationEvent),
    /// The end.
    Finished(GenerationSummary),
}

/// The end of a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerationSummary {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop_sequence: Option<String>,
    /// Tokens counted.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
}
