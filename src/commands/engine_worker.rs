//! `boca engine-worker`: the engine in a process of its own. Started by the daemon, with the connection to it as standard
//! input and output; of no use to anybody else.

use crate::engine::EngineJob;
use crate::exit::Exit;
use crate::telemetry;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Serves until the daemon closes the connection.
pub(crate) fn engine_worker() -> Exit {
    match run() {
        Ok(()) => Exit::Done,
        Err(error) => {
            super::output::error(format_args!("the engine process ends: {error:#}"));
            Exit::Failed
        }
    }
}

fn run() -> anyhow::Result<()> {
    end_with_the_daemon();
    be_the_first_to_go();
    // A service manager tells every process of a service to stop; this one stops when the daemon says so, which lets
    // running answers finish.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let (connection, output) = take_connection()?;
    boca_actors::serve_engine(connection, output, |job| {
        let job = EngineJob::read(job)?;
        drop(telemetry::start(&job.log));
        Ok(job.factory())
    })?;
    Ok(())
}

/// The kernel ends this process when the thread of the daemon that started it ends. Elsewhere, and should the daemon be
/// gone already, the closed connection does.
fn end_with_the_daemon() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        tracing::debug!(%error, "the kernel cannot be asked to end this process with the daemon");
    }
}

/// Where memory runs out, the kernel should take the process that can be started again, and not the daemon.
fn be_the_first_to_go() {
    #[cfg(target_os = "linux")]
    {
        const SCORE: &str = "/proc/self/oom_score_adj";
        const WANTED: i32 = 500;
        let is_lower = std::fs::read_to_string(SCORE)
            .is_ok_and(|score| score.trim().parse().is_ok_and(|score: i32| score < WANTED));
        if is_lower && let Err(error) = std::fs::write(SCORE, WANTED.to_string()) {
            tracing::debug!(%error, "the kernel cannot be told which process to end first");
        }
    }
}

/// The connection that standard input and output are, for nobody else to read from or to write to.
fn take_connection() -> io::Result<(OwnedFd, OwnedFd)> {
    let connection = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::getpeername(&connection).is_err() {
        let reason = "standard input is no socket; the daemon starts this command, nobody else can use it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok((connection, output))
}
