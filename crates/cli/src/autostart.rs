//! Starts a daemon in the background when none listens.

use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::interrupts::Interrupts;
use boca_api::Client;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a daemon that lives may take until it listens. Opening a large store is what takes longest.
const LISTEN_WITHIN: Duration = Duration::from_secs(60);
/// How long to look on after the daemon that was started has ended: when two clients start one at the same time, the
/// second daemon sees the first and leaves, possibly before the first one listens.
const OTHER_STARTER: Duration = Duration::from_secs(3);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Exit codes that have nothing to do with another daemon: a wrong command line, a bad configuration.
const HOPELESS: [i32; 2] = [2, 78];
/// What a service manager told this process alone; a daemon would take it for itself.
const NOT_FOR_THE_DAEMON: [&str; 5] =
    ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC"];
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// Starts a daemon and waits until it listens.
///
/// # Errors
/// When it cannot be started, ends at once, or does not listen in time; with the end of its log.
pub(crate) async fn start(
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Client, Ended> {
    let log = &context.daemon_log;
    let program = context.daemon_command.program.display();
    let (child, log_start) = spawn(context).map_err(|error| {
        let hint = "start it yourself with `boca serve`".to_owned();
        let message = format!("cannot start a daemon with {program} and the log {}: {error}", log.display());
        Ended::Told { exit: Exit::Unavailable, message, hint: Some(hint) }
    })?;
    console.note(&format!(
        "no daemon is running: starting one in the background (log: {}); `boca stop` ends it",
        log.display()
    ));
    let waiting = console.waiting();
    waiting.set_message("starting the daemon");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let listening = tokio::select! {
        biased;
        () = interrupts.next() => Err(Ended::Interrupted),
        listening = wait_until_it_listens(context, child) => listening,
    };
    waiting.finish_and_clear();
    if let Err(Ended::Told { .. }) = &listening {
        show_log_tail(log, log_start, console);
    }
    listening
}

/// Starts the daemon with its output in the log. Yields the place where its part of the log begins.
fn spawn(context: &ClientContext) -> io::Result<(Child, u64)> {
    if let Some(dir) = context.daemon_log.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&context.daemon_log)?;
    let log_start = log.metadata()?.len();
    let mut command = Command::new(&context.daemon_command.program);
    for name in NOT_FOR_THE_DAEMON {
        command.env_remove(name);
    }
    let child = command
        .args(&context.daemon_command.args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A process group of its own: Ctrl-C and the end of the terminal reach the group in the foreground only.
        .process_group(0)
        .spawn()?;
    Ok((child, log_start))
}

async fn wait_until_it_listens(context: &ClientContext, mut child: Child) -> Result<Client, Ended> {
    let unavailable = |message: String| Ended::Told { exit: Exit::Unavailable, message, hint: None };
    let mut give_up = Instant::now() + LISTEN_WITHIN;
    let mut ended: Option<ExitStatus> = None;
    loop {
        if let Some(client) = connect::find(context).await? {
            if ended.is_none() {
                reap_when_it_ends(child);
            }
            return Ok(client);
        }
        if ended.is_none()
            && let Ok(Some(status)) = child.try_wait()
        {
            ended = Some(status);
            let hopeless = status.code().is_some_and(|code| HOPELESS.contains(&code));
            give_up = if hopeless { Instant::now() } else { Instant::now() + OTHER_STARTER };
        }
        if Instant::now() >= give_up {
            return Err(unavailable(match ended {
                Some(status) => format!("the daemon ended before it was ready ({status})"),
                None => format!(
                    "the daemon does not listen after {} s; it goes on starting (process {})",
                    LISTEN_WITHIN.as_secs(),
                    child.id()
                ),
            }));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// While this client lives the daemon is its child, and a child that ends stays a zombie until someone asks for it.
fn reap_when_it_ends(mut child: Child) {
    let waiter = std::thread::Builder::new().name("daemon-waiter".to_owned());
    // Without the thread there may be a zombie until this client ends, which harms nobody.
    drop(waiter.spawn(move || child.wait()));
}

fn show_log_tail(log: &Path, log_start: u64, console: &mut Console) {
    match log_tail(log, log_start) {
        Ok(tail) if tail.is_empty() => {
            console.note(&format!("the daemon wrote nothing to its log {}", log.display()));
        }
        Ok(tail) => {
            console.note(&format!("the end of its log {}:", log.display()));
            console.err_text(&tail);
        }
        Err(error) => console.note(&format!("its log {} cannot be read: {error}", log.display())),
    }
}

/// The last lines that were written after `log_start`.
fn log_tail(log: &Path, log_start: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(log_start.max(end.saturating_sub(LOG_TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(LOG_TAIL_LINES);
    Ok(lines[skip..].iter().map(|line| format!("  {line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_new_part_and_short() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "old\nnew 1\nnew 2\n").unwrap();
        assert_eq!(log_tail(&log, 4).unwrap(), "  new 1\n  new 2\n");
        let many: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&log, many).unwrap();
        let tail = log_tail(&log, 0).unwrap();
        assert_eq!(tail.lines().count(), LOG_TAIL_LINES);
        assert!(tail.ends_with("  line 9999\n"));
    }
}
