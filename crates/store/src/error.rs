//! What can go wrong with the store, by what the caller can do about it.

use boca_core::{BatchId, ErrorCode, Failure, SessionId};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A store that could not be opened, or a call that had no effect.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "the store in {} is in use by another process; stop it (`boca stop`) or use another `--state-dir`",
        directory.display()
    )]
    Locked {
        /// The store's directory.
        directory: PathBuf,
    },
    /// The store was written by a newer boca, and reading it with this one could harm it.
    #[error(
        "the store has format {found}, written by boca {written_by}, but this boca reads formats up to {supported}; \
         use that version or another `--state-dir`"
    )]
    NewerFormat {
        /// The store's format.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
        /// Version of the boca that wrote it.
        written_by: String,
    },
    /// There is a session with this id already.
    #[error("session `{0}` exists already")]
    SessionExists(SessionId),
    /// There is no session with this id.
    #[error("there is no session `{0}`")]
    SessionNotFound(SessionId),
    /// There is a batch with this id already.
    #[error("batch `{0}` exists already")]
    BatchExists(BatchId),
    /// As many batches as are kept have not ended.
    #[error("{most} batches have not ended, which is the most at the same time")]
    TooManyBatches {
        /// How many are kept.
        most: usize,
    },
    /// A text is larger than the store takes.
    #[error("`{field}` must be at most {max_bytes} bytes to be stored, got {bytes}")]
    TooLarge {
        /// The field of the record.
        field: &'static str,
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        max_bytes: usize,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot {action} the database: {source}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: sled::Error,
    },
    /// A record could not be put in writing: a defect of boca's own.
    #[error("cannot encode a record: {0}")]
    Encode(#[from] serde_json::Error),
    /// Data could not be made durable. No write is taken any more: what the disk holds is known again only after a
    /// restart.
    #[error("the store takes no more writes until the daemon is restarted: {message}")]
    Fatal {
        /// What happened.
        message: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// For `map_err` on file system calls.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on calls of sled.
    pub(crate) fn database(action: &'static str) -> impl FnOnce(sled::Error) -> Self {
        move |source| Self::Database { action, source }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::TooManyBatches { .. } => {
                Self::new(ErrorCode::Overloaded, message).retry_after(Duration::from_secs(60))
            }
            StoreError::SessionExists(_) | StoreError::BatchExists(_) => {
                Self { param: Some("id".into()), ..Self::new(ErrorCode::Conflict, message) }
            }
            StoreError::SessionNotFound(_) => {
                Self { param: Some("session_id".into()), ..Self::new(ErrorCode::NotFound, message) }
            }
            StoreError::TooLarge { field, .. } => Self::invalid(field, message),
            StoreError::Closed => Self::new(ErrorCode::ShuttingDown, message),
            StoreError::Locked { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::Io { .. }
            | StoreError::Database { .. }
            | StoreError::Encode(_)
            | StoreError::Fatal { .. } => Self::new(ErrorCode::StoreFailed, message),
        }
    }
}
