//! A running daemon.

use super::home::Home;
use super::http::{Connection, Reply};
use super::patience::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

/// A daemon that is killed when the test ends.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: Arc<Mutex<String>>,
    log_reader: Option<std::thread::JoinHandle<()>>,
}

/// A daemon that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Daemon {
    /// Starts `boca serve` and waits until it is ready.
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(home: &Home, args: &[&str]) -> Self {
        let daemon = Self::spawn(home, args);
        daemon.wait_until_ready();
        daemon
    }

    /// Starts `boca serve` and waits until it listens, ready or not.
    pub(crate) fn start_listening(home: &Home, args: &[&str]) -> Self {
        let daemon = Self::spawn(home, args);
        daemon.wait_until_listening();
        daemon
    }

    /// Starts `boca serve` and waits for nothing.
    pub(crate) fn spawn(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command(&["serve"]);
        command.args(args);
        Self::spawn_command(command, home.socket())
    }

    /// Runs any command that becomes a daemon on `socket`.
    pub(crate) fn spawn_command(mut command: Command, socket: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, sink) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        let log_reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, socket, log, log_reader: Some(log_reader) }
    }

    pub(crate) fn wait_until_listening(&self) {
        until("the daemon to listen", || {
            Connection::open(&self.socket).ok().or_else(|| {
                assert!(self.is_running(), "the daemon ended before it listened:\n{}", self.log());
                None
            })
        });
    }

    pub(crate) fn wait_until_ready(&self) {
        self.wait_until_listening();
        until("the daemon to be ready", || {
            let reply = self.get("/ready");
            let hopeless = reply.status != 200 && reply.json()["error"]["code"] == "model_unavailable";
            assert!(!hopeless, "the daemon will never be ready: {reply:?}\n{}", self.log());
            (reply.status == 200).then_some(())
        });
    }

    fn is_running(&self) -> bool {
        rustix::process::test_kill_process(self.pid()).is_ok() && !is_zombie(self.child.id())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the daemon has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.socket).unwrap_or_else(|e| panic!("{e}; the log:\n{}", self.log()))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path, Some(&body.to_string()))
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let mut connection = self.connect();
        connection.send(method, path, body);
        connection.read_reply()
    }

    /// A chat that must succeed. Yields the whole answer.
    #[track_caller]
    pub(crate) fn chat(&self, body: &Value) -> Value {
        self.post("/api/chat", body).expect(200).json()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let status = until("the daemon to end", || self.child.try_wait().unwrap());
        if let Some(reader) = self.log_reader.take() {
            reader.join().unwrap();
        }
        Ended { status, log: self.log() }
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// A process that has ended and was not waited for yet.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}
