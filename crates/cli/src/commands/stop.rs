//! `boca stop`.

use crate::connect;
use crate::console::Console;
use crate::context::ClientContext;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::human;
use crate::interrupts::Interrupts;
use boca_api::Client;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a daemon that hangs may take to say who it is.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// The pause before the second signal of `--now`: two signals of a kind that come at once are one.
const SECOND_SIGNAL: Duration = Duration::from_millis(200);
/// The pause between two looks whether the process is gone.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Options of `boca stop`.
#[derive(Debug, Clone, clap::Args)]
pub struct StopArgs {
    /// How long to wait until the daemon has finished its requests and is gone
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = human::parse_duration)]
    pub timeout: Duration,

    /// End the running requests instead of waiting for them
    #[arg(long)]
    pub now: bool,
}

/// Tells the daemon to stop and waits until its process is gone. That none runs is what was wanted.
pub(crate) async fn run(
    args: &StopArgs,
    context: &ClientContext,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> Result<Exit, Ended> {
    let Some(client) = connect::find(context).await? else {
        console.note("no daemon is running");
        return Ok(Exit::Done);
    };
    let pid = daemon_pid(&client).await?;
    let process = Process::open(pid);
    if !process.signal()? {
        console.note("the daemon is gone already");
        return Ok(Exit::Done);
    }
    let waiting = console.waiting();
    waiting.set_message("waiting until the running requests are finished");
    waiting.enable_steady_tick(Duration::from_millis(100));
    let give_up = Instant::now() + args.timeout;
    // The first signal asks it to finish its requests, the second one not to.
    let mut signal_again = args.now.then(|| Instant::now() + SECOND_SIGNAL);
    let gone = loop {
        if process.is_gone() {
            break Ok(true);
        }
        let now = Instant::now();
        if now >= give_up {
            break Ok(false);
        }
        if signal_again.is_some_and(|at| now >= at) {
            signal_again = None;
            process.signal()?;
        }
        tokio::select! {
            biased;
            () = interrupts.next() => break Err(Ended::Interrupted),
            () = sleep(LOOK_EVERY) => {}
        }
    };
    waiting.finish_and_clear();
    if gone? {
        console.note(&format!("the daemon has stopped (it was process {})", pid.as_raw_nonzero()));
        return Ok(Exit::Done);
    }
    Err(Ended::Told {
        exit: Exit::TryAgain,
        message: format!(
            "the daemon (process {}) was told to stop and still finishes its requests after {}",
            pid.as_raw_nonzero(),
            human::duration(args.timeout)
        ),
        hint: Some("`boca stop --now` ends the requests too".to_owned()),
    })
}

/// The daemon's process: what it says of itself and what the system says of the socket must agree, or the process
/// must at least be a boca. (Under socket activation the socket's owner is the service manager, and in a container
/// the daemon's own number means nothing outside.)
async fn daemon_pid(client: &Client) -> Result<Pid, Ended> {
    let listener = client.listener_pid().await?;
    let said = client.clone().with_call_timeout(ASK_WITHIN).status().await;
    let said = said.ok().and_then(|reply| i32::try_from(reply.body.pid).ok());
    if said.is_some() && said == listener {
        return said.and_then(Pid::from_raw).ok_or_else(|| no_pid(client.socket()));
    }
    let candidates = [listener, said].into_iter().flatten().filter_map(Pid::from_raw);
    let mut bocas = candidates.filter(|pid| process_name(*pid).as_deref() == Some("boca"));
    bocas.next().ok_or_else(|| no_pid(client.socket()))
}

fn no_pid(socket: &Path) -> Ended {
    let hint = "stop it where it was started: by its service manager, or by a signal in its container";
    Ended::failed(format!("cannot tell which process listens on {}", socket.display()), Some(hint.to_owned()))
}

/// The name of a process's program.
#[cfg(target_os = "linux")]
fn process_name(pid: Pid) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    Some(name.trim_end().to_owned())
}

/// The name of a process's program.
#[cfg(not(target_os = "linux"))]
fn process_name(pid: Pid) -> Option<String> {
    let pid = pid.as_raw_nonzero().to_string();
    let listed = std::process::Command::new("/bin/ps").args(["-o", "comm=", "-p", &pid]).output().ok()?;
    let path = String::from_utf8(listed.stdout).ok()?;
    Path::new(path.trim_end()).file_name().map(|name| name.to_string_lossy().into_owned())
}

/// A process that is watched until it is gone.
struct Process {
    pid: Pid,
    /// Tells of the end also while the process's parent has not asked for it, and never of another process that got
    /// the same number.
    #[cfg(target_os = "linux")]
    fd: Option<std::os::fd::OwnedFd>,
}

impl Process {
    fn open(pid: Pid) -> Self {
        Self {
            pid,
            #[cfg(target_os = "linux")]
            fd: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok(),
        }
    }

    /// Sends SIGTERM. `false`: there is no such process any more.
    fn signal(&self) -> Result<bool, Ended> {
        match self.send(Signal::TERM) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => {
                let message =
                    format!("cannot signal the daemon (process {}): {error}", self.pid.as_raw_nonzero());
                let hint = "it may belong to another user".to_owned();
                Err(Ended::failed(message, Some(hint)))
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        match &self.fd {
            Some(fd) => rustix::process::pidfd_send_signal(fd, signal),
            None => kill_process(self.pid, signal),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, signal: Signal) -> rustix::io::Result<()> {
        kill_process(self.pid, signal)
    }

    fn is_gone(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(fd) = &self.fd {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let mut watched = [PollFd::new(fd, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            return poll(&mut watched, Some(&at_once)).is_ok_and(|n| n > 0);
        }
        test_kill_process(self.pid) == Err(Errno::SRCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_daemon::{Desk, FakeDaemon, PATIENCE, ok};
    use std::process::{Command, Stdio};

    /// Looks until it is so; a test that never sees it fails by its next assertion.
    fn wait_for(mut so: impl FnMut() -> bool) {
        let give_up = std::time::Instant::now() + Duration::from_secs(20);
        while !so() && std::time::Instant::now() < give_up {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_is_watched_until_it_is_gone_also_as_a_zombie() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        // Right after the start it may still bear the name of the thread that started it.
        wait_for(|| process_name(pid).as_deref() == Some("cat"));
        assert_eq!(process_name(pid).as_deref(), Some("cat"));
        let process = Process::open(pid);
        assert!(!process.is_gone());
        assert!(process.signal().unwrap());
        if cfg!(target_os = "linux") {
            // Nobody has waited for the child: it is a zombie now or soon.
            wait_for(|| process.is_gone());
            assert!(process.is_gone());
        }
        child.wait().unwrap();
        assert!(process.is_gone());
        assert!(!process.signal().unwrap());
    }

    async fn stop(daemon: &FakeDaemon, timeout: Duration) -> (Exit, String) {
        stop_by(&StopArgs { timeout, now: false }, daemon).await
    }

    async fn stop_by(args: &StopArgs, daemon: &FakeDaemon) -> (Exit, String) {
        let mut desk = Desk::new();
        let ended = run(args, &daemon.context(), &mut desk.console, &mut desk.interrupts).await;
        let exit = ended.unwrap_or_else(|ended| ended.report(&mut desk.console));
        (exit, desk.err_without(daemon))
    }

    #[tokio::test]
    async fn that_none_runs_is_what_was_wanted() {
        let daemon = FakeDaemon::not_yet();
        assert_eq!(stop(&daemon, PATIENCE).await, (Exit::Done, "no daemon is running\n".to_owned()));
    }

    #[tokio::test]
    async fn a_process_that_is_not_surely_the_daemon_is_left_alone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        // The socket belongs to this test's process, and the daemon says that it is the child: neither is a boca.
        let daemon = FakeDaemon::start(move |_| {
            ok(&format!(r#"{{"version":"0","pid":{pid},"uptime_s":1,"model":{{"state":"ready"}}}}"#))
        });
        let (exit, err) = stop(&daemon, PATIENCE).await;
        assert_eq!(exit, Exit::Failed);
        assert!(err.starts_with("error: cannot tell which process listens on DIR/boca.sock\n"), "{err}");
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A program by the name of boca that this test's daemon claims to be.
    fn boca(dir: &Path, script: &str) -> std::process::Child {
        let program = dir.join("boca");
        // By a process of its own: had this one the copy open for writing while another test forks, the child would
        // hold it open too, and running it would fail ("text file busy").
        assert!(Command::new("cp").arg("/bin/sh").arg(&program).status().unwrap().success());
        let mut child = Command::new(program)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first line: from here on it treats signals as the script says.
        let mut line = [0; 1];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    }

    fn claiming(daemon: &FakeDaemon, pid: u32) {
        daemon.listen(move |_| {
            ok(&format!(r#"{{"version":"0","pid":{pid},"uptime_s":1,"model":{{"state":"ready"}}}}"#))
        });
    }

    #[tokio::test]
    async fn the_daemon_is_stopped_and_waited_for() {
        let daemon = FakeDaemon::not_yet();
        let mut child = boca(daemon.dir(), "trap 'exit 0' TERM; echo; while :; do read x; done");
        let pid = child.id();
        claiming(&daemon, pid);
        let said = format!("the daemon has stopped (it was process {pid})\n");
        if cfg!(target_os = "linux") {
            assert_eq!(stop(&daemon, PATIENCE).await, (Exit::Done, said));
        }
        drop(child.stdin.take());
        child.kill().ok();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn now_means_a_second_signal() {
        let daemon = FakeDaemon::not_yet();
        let script = "n=0; trap 'n=$((n+1)); [ $n -lt 2 ] || exit 0' TERM; echo; while :; do read x; done";
        let mut child = boca(daemon.dir(), script);
        claiming(&daemon, child.id());
        if cfg!(target_os = "linux") {
            let args = StopArgs { timeout: PATIENCE, now: true };
            assert_eq!(stop_by(&args, &daemon).await.0, Exit::Done);
        }
        child.kill().ok();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_stop_in_time_is_told() {
        let daemon = FakeDaemon::not_yet();
        let mut child = boca(daemon.dir(), "trap '' TERM; echo; read x");
        claiming(&daemon, child.id());
        let (exit, err) = stop(&daemon, Duration::from_millis(50)).await;
        assert_eq!(exit, Exit::TryAgain);
        assert!(err.contains("still finishes its requests after 0.1 s"), "{err}");
        assert!(err.contains("help: `boca stop --now`"), "{err}");
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
