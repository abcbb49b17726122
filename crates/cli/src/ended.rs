//! Why a command ended before it was done, and what a person is told about it.

use crate::console::Console;
use crate::exit::Exit;
use boca_api::ClientError;
use std::error::Error as _;
use std::io;
use std::path::PathBuf;

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The reader of standard output went away; there is nobody to tell.
    OutputClosed,
    /// Standard output cannot be written.
    OutputFailed(io::Error),
    /// Ctrl-C.
    Interrupted,
    /// A call of the daemon failed.
    Client(ClientError),
    /// No daemon, at any of these sockets.
    NoDaemon(Vec<PathBuf>),
    /// Anything else, in words.
    Told {
        /// How to exit.
        exit: Exit,
        /// What went wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl Ended {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Told { exit: Exit::Usage, message: message.into(), hint: None }
    }

    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>, hint: Option<String>) -> Self {
        Self::Told { exit: Exit::Failed, message: message.into(), hint }
    }

    /// Tells the person on standard error, and the exit code to the caller.
    pub(crate) fn report(self, console: &mut Console) -> Exit {
        match self {
            Self::OutputClosed => Exit::Done,
            Self::OutputFailed(error) => {
                console.error(&format!("cannot write to standard output: {error}"), None);
                Exit::Failed
            }
            Self::Interrupted => Exit::Interrupted,
            Self::Client(error) => report_client_error(&error, console),
            Self::NoDaemon(sockets) => {
                let places: Vec<String> = sockets.iter().map(|path| path.display().to_string()).collect();
                console.error(
                    &format!("no daemon is running (looked at {})", places.join(", ")),
                    Some("start one with `boca serve`, or name the socket of another with `--socket PATH`"),
                );
                Exit::Unavailable
            }
            Self::Told { exit, message, hint } => {
                console.error(&message, hint.as_deref());
                exit
            }
        }
    }
}

fn report_client_error(error: &ClientError, console: &mut Console) -> Exit {
    let text = match (error, error.source()) {
        // Which call of the connection noticed that it is gone helps nobody.
        (ClientError::Closed { .. }, _) | (_, None) => error.to_string(),
        (_, Some(source)) => format!("{error}: {source}"),
    };
    match error {
        ClientError::NotRunning { socket, .. } => Ended::NoDaemon(vec![socket.clone()]).report(console),
        ClientError::PermissionDenied { .. } => {
            let hint = "that daemon belongs to another user; run your own with `boca serve`, or name its socket with \
                        `--socket PATH`";
            console.error(&text, Some(hint));
            Exit::Unavailable
        }
        ClientError::Connect { .. } => {
            console.error(&text, Some("name the daemon's socket with `--socket PATH`"));
            Exit::Unavailable
        }
        ClientError::Timeout { .. } => {
            console.error(&text, Some("`boca status` tells what it is busy with"));
            Exit::TryAgain
        }
        ClientError::Closed { .. } => {
            console
                .error(&text, Some("it was stopped or it crashed; `boca status` tells whether it is back"));
            Exit::Failed
        }
        ClientError::Protocol { .. } => {
            console.error(&text, Some("another program, or another version of boca, may own that socket"));
            Exit::Failed
        }
        ClientError::Api { body, retry_after, request_id, .. } => {
            let code = body.error.code.as_str();
            let hint = match (code, retry_after) {
                ("cancelled", _) => None,
                (_, Some(wait)) => Some(format!("try again in {} s", wait.as_secs())),
                (
                    "no_provider_answered" | "provider_failed" | "provider_refused" | "provider_unavailable",
                    None,
                ) => Some("`boca status` shows every provider and why it cannot be asked".to_owned()),
                ("model_unavailable", _) => Some("`boca status` shows which models were tried".to_owned()),
                ("internal" | "engine_failed" | "store_failed", _) => {
                    request_id.as_ref().map(|id| format!("the daemon's log tells more under request {id}"))
                }
                _ => None,
            };
            console.error(&error.to_string(), hint.as_deref());
            if error.is_temporary() {
                Exit::TryAgain
            } else if code == "invalid_request" {
                Exit::Usage
            } else {
                Exit::Failed
            }
        }
    }
}
