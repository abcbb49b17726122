//! The wire contract of boca: what travels over the Unix socket, and an async client that speaks it.
//!
//! This crate imports none of boca's other crates but the one that cuts a stream into events, so that the contract
//! cannot change by accident when an internal type does. Request bodies refuse unknown fields; response bodies ignore
//! them, so that an older client can read a newer daemon. Every duration is in milliseconds (`_ms`), every size in bytes
//! (`_bytes`), every instant in milliseconds since 1970 UTC (`_unix_ms`), unless the name says otherwise (`_s`).

pub mod batch;
pub mod body;
pub mod chat;
pub mod client;
mod client_error;
pub mod compare;
pub mod context;
pub mod error;
mod event_stream;
pub mod feedback;
pub mod health;
mod line_stream;
pub mod metrics;
pub mod model;
pub mod providers;
pub mod requests;
pub mod routes;
pub mod sessions;
pub mod sse;
pub mod status;

pub use batch::{
    BatchLine, BatchListResponse, BatchResult, BatchResultsQuery, BatchStatus, BatchTurn, LineId,
};
pub use body::{BadBody, decode_body};
pub use chat::{
    ChatRequest, ChatResponse, PromptTokensDetails, Seam, SourceAnswer, SourceTrace, StopTexts, Timings,
    TokenLogprob, TopLogprob, Trace, Usage,
};
pub use client::{Client, Reply};
pub use client_error::ClientError;
pub use compare::{CompareStatsResponse, ProviderRecord, StrategyRecord, StrategyRecords, Verdicts};
pub use context::{ContextCut, TurnSummary};
pub use error::{ErrorBody, ErrorDetail};
pub use event_stream::EventStream;
pub use feedback::{FeedbackRequest, FeedbackResponse};
pub use health::{HealthResponse, ReadyResponse};
pub use line_stream::LineStream;
pub use metrics::MetricsResponse;
pub use model::ModelChangeResponse;
pub use providers::{ProbeStatus, ProviderStatus};
pub use requests::{CancelRequestResponse, RequestListResponse, RunningRequest};
pub use sessions::{
    Change, CreateSessionRequest, DeleteSessionResponse, ListSessionsQuery, SamplingFields,
    SessionListResponse, SessionMessage, SessionResponse, SessionSummary, UpdateSessionRequest,
};
pub use sse::StreamEvent;
pub use status::{AdapterInfo, AgentStatus, LoadProgress, ModelInfo, ModelStatus, StatusResponse};

/// Milliseconds of a duration, to the microsecond, as every `_ms` field carries them.
pub fn millis(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
