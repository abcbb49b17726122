//! What the commands are told about this machine.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the commands are told about this machine.
#[derive(Debug, Clone)]
pub struct ClientContext {
    /// Where a daemon may listen. The first one that answers is used; a daemon that is started listens on the first.
    pub socket_candidates: Vec<PathBuf>,
    /// Whether `chat` may start a daemon when none listens.
    pub auto_start: bool,
    /// How to start it.
    pub daemon_command: DaemonCommand,
    /// Where a daemon started in the background writes its log.
    pub daemon_log: PathBuf,
    /// Where the interactive chat keeps what was typed; `None` keeps nothing.
    pub history_file: Option<PathBuf>,
}

/// A command line that runs a daemon in the foreground.
#[derive(Debug, Clone)]
pub struct DaemonCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments: `serve`, and the options that this client was given and the daemon must have too.
    pub args: Vec<OsString>,
}
