//! What can go wrong between a client and the daemon, by what the client can do about it.

use crate::ErrorBody;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A call that brought no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: there is no socket, or a stale one.
    #[error("no daemon listens on {}", socket.display())]
    NotRunning {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket belongs to someone else.
    #[error("no permission to use {}", socket.display())]
    PermissionDenied {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket cannot be used for another reason.
    #[error("cannot connect to {}", socket.display())]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon took longer than the caller wanted to wait.
    #[error("the daemon did not {what} within {} s", after.as_secs_f64())]
    Timeout {
        /// What was waited for: `answer`, `take the connection`, …
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection ended before the answer did: the daemon stopped or crashed.
    #[error("the daemon closed the connection before its answer was complete")]
    Closed {
        /// What the connection said, if anything.
        source: Option<hyper::Error>,
    },
    /// The peer speaks, but not this protocol.
    #[error("the answer on {} is not one of boca's: {message}", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        message: String,
    },
    /// The daemon refused, in its own words.
    #[error("{}", body.error.message)]
    Api {
        /// The HTTP status.
        status: u16,
        /// The error body.
        body: Box<ErrorBody>,
        /// When to try again, if the daemon knows.
        retry_after: Option<Duration>,
        /// The request's id, as it stands in the daemon's log.
        request_id: Option<String>,
    },
}

impl ClientError {
    /// The error `code` that the daemon gave, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { body, .. } => Some(&body.error.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_temporary(&self) -> bool {
        match self {
            // A model that is down for good is a 503 too.
            Self::Api { status, .. } => {
                matches!(status, 408 | 429 | 503 | 504) && self.code() != Some("model_unavailable")
            }
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn connect(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning { socket, source },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { socket, source },
            _ => Self::Connect { socket, source },
        }
    }
}
