//! The daemon's end: starts an engine process, passes commands and events, and ends it when it must.

use super::frame::{FrameError, FrameReader, Read, encode};
use super::liveness::Liveness;
pub(crate) use super::liveness::ProcessPatience;
use super::wire::{FromWorker, Greeting, ToWorker, WorkerJob};
use crate::engine_host::{EngineCommand, EngineEnd, EngineEvent, EngineGone, EngineHost, EventSink, Pulse};
use crate::engine_thread::EngineTurn;
use boca_core::{ErrorCode, Failure};
use std::ffi::OsString;
use std::io::{self, ErrorKind, PipeReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How often the host looks at the clock while nothing comes.
const TICK: Duration = Duration::from_millis(100);
/// When the listener comes round this late, it was the daemon that stood still: stopped by hand, or frozen with its
/// container.
const LONGEST_ROUND: Duration = Duration::from_secs(2);
/// The queue before it sends no more than the engine runs at once, and a cancellation for each.
const MAX_UNSENT: usize = 1024;
/// What an engine process may see of the daemon's environment: where libraries lie, and how to tell of a panic. No key.
const ENVIRONMENT: [&str; 12] = [
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    // Which devices MLX connects hosts over, where it is not its ring of TCP connections.
    "MLX_IBV_DEVICES",
    "MLX_JACCL_COORDINATOR",
    "MLX_JACCL_RING",
    "MLX_METAL_FAST_SYNCH",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "TMPDIR",
    "TZ",
];

/// How to start an engine process.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The binary; it must hand its standard input and output to [`super::serve_engine`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What must be in its environment, beside the little that it gets of this one's.
    pub environment: Vec<(OsString, OsString)>,
    /// What it is told in the first message.
    pub job: WorkerJob,
}

/// One engine process.
#[derive(Debug)]
pub(crate) struct EngineProcess {
    patience: ProcessPatience,
    /// Where what it says is read.
    listening: Handle,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Absent before it was started, and once it takes nothing more.
    commands: Option<SyncSender<EngineCommand>>,
    pulse: Pulse,
    process_id: Option<u32>,
    told_to_stop: Option<Instant>,
    /// Why it is to be ended now.
    forced_end: Option<String>,
}

/// How the conversation with a process ended.
enum Talk {
    /// It said so itself.
    Ended(EngineEnd),
    /// It closed its end.
    Closed,
    /// It must be taken for dead, or talks nonsense.
    Broken(String),
    /// It is another build; a new one will be too.
    Foreign(String),
    /// It was told to stop, and has not in time.
    Overdue,
}

impl EngineHost for EngineProcess {
    fn send(&self, command: EngineCommand) -> Result<(), EngineGone> {
        let mut shared = self.lock();
        let is_stop = command == EngineCommand::Stop;
        let sent = shared.commands.as_ref().ok_or(EngineGone)?.try_send(command);
        if let Err(TrySendError::Full(_)) = sent {
            // Its end must come, or those who wait for it would wait for ever.
            shared.forced_end.get_or_insert_with(|| format!("it has not read {MAX_UNSENT} commands"));
        }
        if is_stop {
            shared.told_to_stop.get_or_insert_with(Instant::now);
            shared.commands = None;
        }
        sent.map_err(|_| EngineGone).or(if is_stop { Ok(()) } else { Err(EngineGone) })
    }

    fn pulse(&self) -> Pulse {
        self.lock().pulse.clone()
    }

    fn process_id(&self) -> Option<u32> {
        self.lock().process_id
    }

    fn end_by_force(&self, reason: &str) -> bool {
        self.lock().forced_end.get_or_insert_with(|| reason.into());
        true
    }
}

impl EngineProcess {
    /// Not started yet.
    pub(crate) fn new(patience: ProcessPatience, listening: Handle) -> Self {
        Self { patience, listening, shared: Mutex::default() }
    }

    /// Starts the process and those who speak with it. Events go to `sink` until [`EngineEvent::Ended`], which
    /// comes when the process is gone.
    ///
    /// # Errors
    /// When the system gives no thread; no event comes then.
    pub(crate) fn start(
        self: &Arc<Self>,
        worker: WorkerCommand,
        turn: EngineTurn,
        sink: EventSink,
    ) -> io::Result<()> {
        let (commands, unsent) = mpsc::sync_channel(MAX_UNSENT);
        self.lock().commands = Some(commands);
        let this = Arc::clone(self);
        // The kernel ends the child when the thread ends that started it, so this one lives as long as the child.
        std::thread::Builder::new().name("boca-engine-host".into()).spawn(move || {
            let end = {
                let _turn = turn.hold();
                this.host(worker, unsent, &sink)
            };
            this.lock().commands = None;
            sink(EngineEvent::Ended(end));
        })?;
        Ok(())
    }

    fn host(
        self: &Arc<Self>,
        worker: WorkerCommand,
        unsent: Receiver<EngineCommand>,
        sink: &EventSink,
    ) -> EngineEnd {
        if self.lock().told_to_stop.is_some() {
            return EngineEnd::Stopped;
        }
        let Started { mut child, to_child, from_child } = match spawn(&worker) {
            Ok(started) => started,
            Err(error) => {
                let program = worker.program.display();
                return crashed(format!("the engine process {program} cannot be started: {error}"));
            }
        };
        self.lock().process_id = Some(child.id());
        tracing::debug!(pid = child.id(), "an engine process was started");
        // Ends with the connection, which is shut down below.
        let talk = std::thread::scope(|scope| {
            let (writer, job) = (std::thread::Builder::new().name("boca-engine-pipe".into()), worker.job);
            let writer = writer.spawn_scoped(scope, || write_commands(&to_child, job, unsent));
            let talk = match &writer {
                Ok(_) => self.hear_out(from_child, sink),
                Err(error) => Talk::Broken(format!("no thread to speak with it: {error}")),
            };
            self.lock().commands = None;
            to_child.shutdown(std::net::Shutdown::Both).ok();
            talk
        });
        drop(to_child);
        let end = self.end(&mut child, talk);
        self.lock().process_id = None;
        end
    }

    /// Waits until the conversation is over.
    fn hear_out(self: &Arc<Self>, pipe: PipeReader, sink: &EventSink) -> Talk {
        let (end, ended) = mpsc::sync_channel(1);
        let (this, sink) = (Arc::clone(self), Arc::clone(sink));
        self.listening.spawn(async move {
            // Nobody waits for it any more only when the daemon ends.
            end.send(this.listen(pipe, &sink).await).ok();
        });
        // Whatever happens, the child has to be seen to.
        ended.recv().unwrap_or_else(|_| Talk::Broken("the daemon could not take what it said".into()))
    }

    /// Passes on what the process says, until it ends or must be ended.
    async fn listen(&self, pipe: PipeReader, sink: &EventSink) -> Talk {
        let pipe = match pipe::Receiver::from_owned_fd(pipe.into()) {
            Ok(pipe) => pipe,
            Err(error) => return Talk::Broken(error.to_string()),
        };
        let mut reader = FrameReader::default();
        let mut liveness = Liveness::new(self.patience, Instant::now());
        let mut is_greeted = false;
        let mut looked = Instant::now();
        loop {
            let message = match reader.read::<FromWorker>(&mut WhatIsThere(&pipe)) {
                Ok(Read::Message(message)) => Some(message),
                Ok(Read::Part) => None,
                // What follows from its end is told by how it ended.
                Ok(Read::End) | Err(FrameError::CutShort { .. }) => return Talk::Closed,
                Err(FrameError::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    // Whether something came, or only time passed, shows in the next round.
                    drop(timeout(TICK, pipe.readable()).await);
                    None
                }
                Err(FrameError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
                    return Talk::Closed;
                }
                Err(error) => return Talk::Broken(format!("it sent {error}")),
            };
            let now = Instant::now();
            let round = now.saturating_duration_since(looked);
            looked = now;
            if round > LONGEST_ROUND {
                liveness.forgive(round);
            }
            if message.is_some() {
                liveness.spoke(now);
            }
            if let Some(talk) = self.must_end(now) {
                return talk;
            }
            match message {
                None => {}
                Some(FromWorker::Hello(greeting)) => match greeting.mismatch(&Greeting::own()) {
                    None => is_greeted = true,
                    Some(mismatch) => return Talk::Foreign(mismatch),
                },
                Some(_) if !is_greeted => return Talk::Broken("it did not say who it is".into()),
                Some(FromWorker::Beat(pulse)) => {
                    liveness.beat(pulse.clone(), now);
                    self.lock().pulse = pulse;
                }
                Some(FromWorker::Event(EngineEvent::Ended(end))) => return Talk::Ended(end),
                Some(FromWorker::Event(event)) => {
                    match &event {
                        EngineEvent::Loading(_) => liveness.loading(now),
                        EngineEvent::Ready(_) => liveness.loaded(now),
                        _ => {}
                    }
                    sink(event);
                }
            }
            if let Some(reason) = liveness.verdict(now) {
                return Talk::Broken(reason);
            }
            // Also one who never stops talking must let others have their turn.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Whether the daemon wants its end now.
    fn must_end(&self, now: Instant) -> Option<Talk> {
        let shared = self.lock();
        if let Some(reason) = &shared.forced_end {
            return Some(Talk::Broken(reason.clone()));
        }
        let is_overdue = |told| now.saturating_duration_since(told) > self.patience.stop;
        shared.told_to_stop.is_some_and(is_overdue).then_some(Talk::Overdue)
    }

    /// Waits for the end of the process, or brings it about, and says why it came.
    fn end(&self, child: &mut Child, talk: Talk) -> EngineEnd {
        let patience = match &talk {
            // The connection is shut: it ends by itself, its memory is what takes the time.
            Talk::Ended(_) | Talk::Closed => self.patience.stop,
            Talk::Broken(_) | Talk::Foreign(_) | Talk::Overdue => Duration::ZERO,
        };
        let status = wait(child, patience);
        let was_stopped = self.lock().told_to_stop.is_some();
        match talk {
            Talk::Ended(end) => end,
            Talk::Overdue => {
                tracing::warn!("the engine process did not stop in time and was killed");
                EngineEnd::Stopped
            }
            Talk::Closed if was_stopped => EngineEnd::Stopped,
            Talk::Closed => crashed(format!("the engine process {}", told(status))),
            Talk::Broken(reason) => crashed(format!("the engine process was ended: {reason}")),
            Talk::Foreign(mismatch) => {
                let message = format!("the engine process does not fit: {mismatch}");
                EngineEnd::LoadFailed(Failure::new(ErrorCode::ModelUnavailable, message))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child that was started, and what is said to it and by it.
struct Started {
    child: Child,
    to_child: UnixStream,
    from_child: PipeReader,
}

/// A child whose standard input is one end of a socket pair, and whose standard output is a pipe: a pipe wakes who reads
/// it sooner than a socket does, and every token comes that way. It inherits no other open file, and little of the
/// environment.
fn spawn(worker: &WorkerCommand) -> io::Result<Started> {
    let (to_child, input) = UnixStream::pair()?;
    let (from_child, output) = io::pipe()?;
    let mut command = Command::new(&worker.program);
    command
        .args(&worker.arguments)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(worker.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(input)))
        .stdout(output)
        // A Ctrl-C on the terminal is for the daemon, which lets running answers finish.
        .process_group(0);
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    Ok(Started { child: command.spawn()?, to_child, from_child })
}

/// The writer's thread: a full pipe must never hold up who sends a command.
fn write_commands(mut stream: &UnixStream, job: WorkerJob, unsent: Receiver<EngineCommand>) {
    let mut write = |message: &ToWorker| match encode(message) {
        Ok(frame) => stream.write_all(&frame).is_ok(),
        Err(error) => {
            tracing::error!(%error, "a command for the engine process cannot be sent");
            true
        }
    };
    let mut is_open = write(&ToWorker::Hello { greeting: Greeting::own(), job });
    while is_open && let Ok(command) = unsent.recv() {
        is_open = write(&ToWorker::Command(command));
    }
}

/// Waits for the end, and forces it after `patience`.
fn wait(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    // It may have ended meanwhile.
    child.kill().ok();
    child.wait()
}

fn told(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(9), _) => "was killed (signal 9), as the kernel does when memory is short".into(),
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, code) => format!("ended by itself with exit code {}", code.unwrap_or(-1)),
        },
        Err(error) => format!("is gone ({error})"),
    }
}

fn crashed(message: String) -> EngineEnd {
    tracing::error!("{message}");
    EngineEnd::Crashed(Failure::new(ErrorCode::EngineFailed, message).retry_after(Duration::from_secs(1)))
}

/// Reads what has come, and does not wait for more.
struct WhatIsThere<'a>(&'a pipe::Receiver);

impl io::Read for WhatIsThere<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
