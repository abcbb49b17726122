//! The engine process's end: one engine on its thread, and a connection to the daemon.
//!
//! It lives for the daemon alone: when the connection closes it ends, whatever it was doing.

use super::frame::{FrameError, FrameReader, encode};
use super::wire::{FromWorker, Greeting, ToWorker, WorkerJob};
use crate::engine_host::{EngineEnd, EngineEvent, EngineHost};
use crate::engine_thread::{EngineThread, EngineTurn};
use boca_engine::GeneratorFactory;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How often it says that it lives.
pub(super) const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How long an engine that is of no use any more has to say so itself. One that is stuck in a step never does.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why an engine process cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nobody to speak with, or the connection broke.
    #[error("the connection to the daemon: {0}")]
    Connection(#[from] io::Error),
    /// What came is no message.
    #[error("the daemon sent {0}")]
    Garbage(String),
    /// The daemon is another build.
    #[error("the daemon does not fit: {0}")]
    Foreign(String),
    /// What is to be done cannot be understood.
    #[error("the job cannot be done: {0}")]
    Job(String),
}

impl From<FrameError> for WorkerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Connection(error),
            other => Self::Garbage(other.to_string()),
        }
    }
}

/// Serves one engine until the connection to the daemon closes; what it has to say goes to `output`. `prepare` is told
/// what is to be done.
///
/// # Errors
/// [`WorkerError`].
pub fn serve_engine(
    connection: OwnedFd,
    output: OwnedFd,
    prepare: impl FnOnce(WorkerJob) -> Result<GeneratorFactory, String>,
) -> Result<(), WorkerError> {
    crate::exit_guard::keep_panic_notes();
    let mut stream = UnixStream::from(connection);
    let out = Arc::new(Mutex::new(PipeWriter::from(output)));
    send(&out, &FromWorker::Hello(Greeting::own()))?;
    let mut reader = FrameReader::default();
    let job = match reader.read_whole(&mut stream)? {
        None => return Ok(()),
        Some(ToWorker::Command(_)) => {
            return Err(WorkerError::Garbage("a command before its greeting".into()));
        }
        Some(ToWorker::Hello { greeting, job }) => match greeting.mismatch(&Greeting::own()) {
            None => job,
            Some(mismatch) => return Err(WorkerError::Foreign(mismatch)),
        },
    };
    let engine = Arc::new(EngineThread::default());
    // Until it is dropped, which is when this function ends.
    let (_beating, stopped) = mpsc::channel::<()>();
    let (beats, heart) = (Arc::clone(&out), Arc::clone(&engine));
    std::thread::Builder::new().name("boca-beat".into()).spawn(move || {
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(BEAT_EVERY) {
            let word = match heart.doubt(LAST_WORDS) {
                None => FromWorker::Beat(heart.pulse()),
                Some(failure) => FromWorker::Event(EngineEvent::Ended(EngineEnd::Crashed(failure))),
            };
            if send(&beats, &word).is_err() || matches!(word, FromWorker::Event(_)) {
                return;
            }
        }
    })?;
    let factory = prepare(job).map_err(WorkerError::Job)?;
    let events = Arc::clone(&out);
    let sink = Arc::new(move |event: EngineEvent| {
        // The daemon is gone; the reader below notices it too, and ends the process.
        send(&events, &FromWorker::Event(event)).ok();
    });
    engine.start(factory, EngineTurn::default(), sink)?;
    loop {
        match reader.read_whole(&mut stream)? {
            None => return Ok(()),
            Some(ToWorker::Hello { .. }) => return Err(WorkerError::Garbage("a second greeting".into())),
            // An engine that has ended has said so.
            Some(ToWorker::Command(command)) => drop(engine.send(command)),
        }
    }
}

fn send(out: &Mutex<PipeWriter>, message: &FromWorker) -> Result<(), WorkerError> {
    let frame = encode(message)?;
    let mut pipe = out.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(pipe.write_all(&frame)?)
}
