//! Why a checkpoint could not be made.

use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint that could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// Another number of layers would do.
    #[error("`layers` must be between 1 and {most}, got {got}")]
    Layers {
        /// The most that can be made.
        most: usize,
        /// What was asked for.
        got: usize,
    },
    /// Another directory would do.
    #[error("{}: there is something already, which is never overwritten", .0.display())]
    Exists(PathBuf),
    /// The path ends in `..` or is a root, so there is nothing to create.
    #[error("{}: this is no name for a new directory", .0.display())]
    Unnamed(PathBuf),
    /// Somebody else writes the same checkpoint.
    #[error("{}: another process is writing this checkpoint", .0.display())]
    Busy(PathBuf),
    /// The disk is too full.
    #[error("{}: the checkpoint takes {needed_bytes} bytes, and {free_bytes} are free there", .path.display())]
    NoSpace {
        /// Where it should go.
        path: PathBuf,
        /// What it takes.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// The system refused.
    #[error("{}: could not {action}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `create`, `write`, `rename` …
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl SyntheticError {
    /// For `map_err`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
