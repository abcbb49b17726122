//! Where engines live: in a thread of the daemon, or in a process of their own.

use crate::engine_host::{EngineHost, EventSink};
use crate::engine_process::{EngineProcess, ProcessPatience, WorkerCommand};
use crate::engine_thread::{EngineThread, EngineTurn};
use boca_engine::GeneratorFactory;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Where engines live.
#[derive(Clone)]
pub enum EngineHosting {
    /// In a thread of the daemon; the factory builds an engine there. A fault that ends the process ends everything.
    Thread(GeneratorFactory),
    /// In a process of their own, which may be lost.
    Process {
        /// How to start it.
        worker: WorkerCommand,
        /// How long it may be silent before it is taken for dead.
        beat_patience: Duration,
        /// How long a step of unknown length may take, and a load between two reports.
        step_patience: Duration,
        /// How long it may take to stop.
        stop_patience: Duration,
    },
}

/// Starts an engine in its place. When there is no thread for that no event comes.
pub(crate) type StartEngine = Box<dyn FnOnce(EngineTurn, EventSink) -> io::Result<()>>;

impl fmt::Debug for EngineHosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(_) => f.write_str("Thread"),
            Self::Process { worker, .. } => f.debug_tuple("Process").field(&worker.program).finish(),
        }
    }
}

impl EngineHosting {
    /// Whether an engine that fails again and again can take the daemon with it, so that only a new one may help.
    pub(crate) fn shares_the_process(&self) -> bool {
        matches!(self, Self::Thread(_))
    }

    /// A place for an engine, and what starts the engine there. What a process says is read on `runtime`.
    pub(crate) fn place(&self, runtime: &Handle) -> (Arc<dyn EngineHost>, StartEngine) {
        match self {
            Self::Thread(factory) => {
                let (host, factory) = (Arc::new(EngineThread::default()), Arc::clone(factory));
                (host.clone(), Box::new(move |turn, sink| host.start(factory, turn, sink)))
            }
            Self::Process { worker, beat_patience, step_patience, stop_patience } => {
                let patience =
                    ProcessPatience { beat: *beat_patience, step: *step_patience, stop: *stop_patience };
                let (host, worker) =
                    (Arc::new(EngineProcess::new(patience, runtime.clone())), worker.clone());
                (host.clone(), Box::new(move |turn, sink| host.start(worker, turn, sink)))
            }
        }
    }
}
