//! What can go wrong in an engine, by what the caller can do about it.

use crate::backend::BackendError;
use crate::checkpoint::{CheckpointError, CutError};
use crate::memory::MemoryShort;
use crate::shared::GatherError;
use boca_core::{ErrorCode, Failure};

/// An engine that could not be built, or a generation that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The checkpoint is missing, damaged or of another kind: the user must point at another one.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The machine has too little memory: the user must free some, or change the setting that the message names.
    #[error(transparent)]
    Memory(#[from] MemoryShort),
    /// The settings name a backend or a device that is not there.
    #[error("`{setting}` {reason}")]
    Choice {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// So many hosts cannot share the model: the user must name fewer.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The hosts that are to share the model are not together.
    #[error(transparent)]
    Hosts(#[from] GatherError),
    /// The request does not fit the context: the caller must shorten it.
    #[error(
        "the prompt has {prompt_tokens} tokens and `max_tokens` asks for {max_tokens} more, \
         but the context holds {context_tokens}"
    )]
    ContextExceeded {
        /// Tokens of the rendered prompt.
        prompt_tokens: u32,
        /// Tokens asked for (at least 1).
        max_tokens: u32,
        /// The model's (or the configured) context.
        context_tokens: u32,
    },
    /// The request needs more KV memory than there is for all: the caller must shorten it, or `kv_memory` must grow.
    #[error(
        "the prompt has {prompt_tokens} tokens and `max_tokens` asks for {max_tokens} more, \
         but the KV memory (`model.kv_memory`) holds {kv_tokens} tokens"
    )]
    KvExceeded {
        /// Tokens of the rendered prompt.
        prompt_tokens: u32,
        /// Tokens asked for (at least 1).
        max_tokens: u32,
        /// Tokens that the KV memory holds when nothing else is in it.
        kv_tokens: u32,
    },
    /// A field of the request that only the model can judge (a token id, the template's own refusal).
    #[error("{message}")]
    InvalidRequest {
        /// The field.
        param: String,
        /// What is wrong with it.
        message: String,
    },
    /// The device failed in a step.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The deadline had passed before the first token.
    #[error("the deadline passed before the first token")]
    DeadlineBeforeFirstToken,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            // They may still come.
            EngineError::Hosts(GatherError::Missing { .. } | GatherError::Lost(_)) => {
                Self::new(ErrorCode::EngineFailed, message)
            }
            EngineError::Checkpoint(_)
            | EngineError::Memory(_)
            | EngineError::Choice { .. }
            | EngineError::Cut(_)
            | EngineError::Hosts(_) => Self::new(ErrorCode::ModelUnavailable, message),
            EngineError::ContextExceeded { .. } | EngineError::KvExceeded { .. } => Self {
                param: Some("max_tokens".into()),
                ..Self::new(ErrorCode::ContextLengthExceeded, message)
            },
            EngineError::InvalidRequest { param, .. } => Self::invalid(param, message),
            EngineError::Backend(_) => Self::new(ErrorCode::EngineFailed, message),
            EngineError::DeadlineBeforeFirstToken => Self::new(ErrorCode::DeadlineExceeded, message),
        }
    }
}
