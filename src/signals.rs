//! What the signals of the operating system mean: SIGTERM and SIGINT ask for a drained stop, a second one ends at
//! once, SIGHUP reads the configuration again.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal};
use tokio::sync::watch;

/// Tells that the daemon is to stop. Clones see the same request.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// Asks the daemon to stop.
#[derive(Debug)]
pub(crate) struct ShutdownTrigger(watch::Sender<bool>);

impl ShutdownTrigger {
    /// A request not made yet, and the side that waits for it.
    pub(crate) fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Shutdown(receiver))
    }

    /// Asks. Yields whether somebody had asked before.
    pub(crate) fn request(&self) -> bool {
        self.0.send_replace(true)
    }
}

impl Shutdown {
    /// Whether somebody asked.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when somebody asks, at once if that has happened. Without anyone left who could ask it stays pending.
    pub(crate) async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the signals lead to.
pub(crate) struct Reactions {
    /// SIGTERM, SIGINT.
    pub(crate) shutdown: ShutdownTrigger,
    /// SIGHUP. Runs on the signals' own thread.
    pub(crate) reload: Box<dyn FnMut() + Send>,
    /// A second SIGTERM or SIGINT; expected not to return.
    pub(crate) end_now: fn(),
}

/// Listens for signals from now on, on a thread of its own.
///
/// # Errors
/// When the handlers cannot be installed.
pub(crate) fn listen(mut reactions: Reactions) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let had_terminal = io::stderr().is_terminal();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            // The kernel also sends SIGHUP when the terminal of a daemon in the foreground is closed: then it is
            // not a wish to reload but the end of the person's session.
            let lost_terminal = had_terminal && !io::stderr().is_terminal();
            if signal == SIGHUP && !lost_terminal {
                (reactions.reload)();
                continue;
            }
            tracing::info!(signal = name_of(signal), "asked to stop");
            if reactions.shutdown.request() {
                tracing::warn!("asked a second time: ending at once, without draining");
                (reactions.end_now)();
            }
        }
    })?;
    Ok(())
}

fn name_of(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn everyone_hears_the_request_once_it_is_made() {
        let (trigger, shutdown) = ShutdownTrigger::new();
        let other = shutdown.clone();
        let waiting = tokio::time::timeout(Duration::from_secs(1), shutdown.requested());
        assert!(waiting.await.is_err(), "nobody asked yet");
        assert!(!trigger.request());
        assert!(trigger.request(), "the second request is told apart");
        shutdown.requested().await;
        other.requested().await;
        assert!(other.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_trigger_is_no_request() {
        let (trigger, shutdown) = ShutdownTrigger::new();
        drop(trigger);
        assert!(tokio::time::timeout(Duration::from_secs(1), shutdown.requested()).await.is_err());
    }
}
