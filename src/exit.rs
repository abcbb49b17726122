//! How the process ends. The one list of exit codes; `README.md` repeats it, and a test holds the two together.

use std::process::ExitCode;

/// An exit code. Those above 2 are the numbers of `sysexits.h`, which service managers and scripts know; those that a
/// client command can end with have their numbers from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done; for `serve`: stopped as asked, with everything drained and flushed.
    Done = boca_cli::Exit::Done as u8,
    /// Failed, or ended by a second signal before everything was drained.
    Failed = boca_cli::Exit::Failed as u8,
    /// The command line, or a value in it, is wrong.
    Usage = boca_cli::Exit::Usage as u8,
    /// No daemon can be reached; for `serve`: the socket or the state directory belongs to another daemon, or cannot
    /// be had.
    Unavailable = boca_cli::Exit::Unavailable as u8,
    /// An actor failed so often that the supervisor gave up. A service manager should start the daemon again.
    SupervisionGaveUp = 70,
    /// Not now: busy, loading or stopping. The same command may succeed later.
    TryAgain = boca_cli::Exit::TryAgain as u8,
    /// The configuration is wrong. Starting again without changing it is pointless.
    BadConfig = 78,
    /// A client command was ended by Ctrl-C, as shells report it.
    Interrupted = boca_cli::Exit::Interrupted as u8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<boca_cli::Exit> for Exit {
    fn from(exit: boca_cli::Exit) -> Self {
        match exit {
            boca_cli::Exit::Done => Self::Done,
            boca_cli::Exit::Failed => Self::Failed,
            boca_cli::Exit::Usage => Self::Usage,
            boca_cli::Exit::Unavailable => Self::Unavailable,
            boca_cli::Exit::TryAgain => Self::TryAgain,
            boca_cli::Exit::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Unavailable,
        Exit::SupervisionGaveUp,
        Exit::TryAgain,
        Exit::BadConfig,
        Exit::Interrupted,
    ];

    #[test]
    fn the_readme_lists_every_code() {
        let readme = include_str!("../README.md");
        for exit in ALL {
            let row = format!("| {} |", exit as u8);
            assert!(readme.contains(&row), "{exit:?}: no row `{row}…`");
        }
    }

    #[test]
    fn client_codes_keep_their_numbers() {
        use boca_cli::Exit as Client;
        for code in [
            Client::Done,
            Client::Failed,
            Client::Usage,
            Client::Unavailable,
            Client::TryAgain,
            Client::Interrupted,
        ] {
            assert_eq!(Exit::from(code) as u8, code.code());
        }
    }
}
