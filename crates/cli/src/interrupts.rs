//! Ctrl-C as an event that a command can wait for.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The stream of Ctrl-C presses.
#[derive(Debug)]
pub(crate) enum Interrupts {
    /// SIGINT of this process.
    Process(Signal),
    /// Scripted ones.
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::UnboundedReceiver<()>),
}

impl Interrupts {
    /// Catches SIGINT from now on.
    pub(crate) fn of_the_process() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self::Process)
    }

    /// Waits for the next press. Safe to drop and call again.
    pub(crate) async fn next(&mut self) {
        let more = match self {
            Self::Process(signal) => signal.recv().await.is_some(),
            #[cfg(test)]
            Self::Scripted(presses) => presses.recv().await.is_some(),
        };
        if !more {
            // Nobody can press any more.
            std::future::pending::<()>().await;
        }
    }
}
