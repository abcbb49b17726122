//! Domain types and pure rules of boca.
//!
//! No I/O and no clock of its own: everything here is a value or a function of its arguments, so that every rule
//! can be tested without a daemon. All crates may depend on this one; it depends on none of them.

mod actor_state;
pub mod alert;
mod answer;
mod chat;
mod context;
mod deadline;
mod error;
pub mod figures;
pub mod fusion;
mod generate;
mod generator_load;
mod ids;
mod kv_precision;
mod mode;
mod model;
mod priority;
mod provider;
mod provider_usage;
mod requirements;
pub mod resilience;
pub mod rollup;
mod sampling;
pub mod schedule;
pub mod summary;
mod text_rules;

pub use actor_state::ActorState;
pub use answer::{
    Answer, AnswerEvent, Ask, FusionTrace, Seam, SourceAnswer, SourceRole, SourceState, SourceTrace,
};
pub use chat::{ChatMessage, Role, ToolCall};
pub use context::{ContextCut, ContextPlan, ContextPolicy, TurnSummary};
pub use deadline::token_budget;
pub use error::{ErrorCode, Failure, Retry};
pub use generate::{
    FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, GenerationUpdate, PreparedPrompt,
    ThinkingState, Timings, TokenLogprob, TopLogprob, Usage,
};
pub use generator_load::{AcceleratorMemory, GeneratorLoad};
pub use ids::{BatchId, InvalidId, RequestId, SessionId};
pub use kv_precision::KvPrecision;
pub use mode::{Effort, Mode, Strategy};
pub use model::{AdapterInfo, LoadPhase, LoadProgress, ModelInfo, Quantization};
pub use priority::Priority;
pub use provider::{Availability, EngineLoad, MicroUsd, ProviderKind};
pub use provider_usage::{LocalDay, ProviderUsage};
pub use requirements::{Requirements, Surroundings};
pub use sampling::{Preset, PresetTable, Sampling, SamplingOverrides};
pub use text_rules::{FieldError, check_message_text};
