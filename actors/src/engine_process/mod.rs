//! Hosts an engine in a child process of the same binary.
//!
//! A device fault, a kernel that runs out of memory, or a defect in native code ends the process that it hits. So the
//! weights live in a child that can be lost: [`host`] starts it, watches it and says how it ended, [`worker`] is what runs
//! in it. They speak in checksummed messages ([`frame`]): to the child over a socket pair that is its standard input, from it over a
//! pipe that is its standard output. When these close, whichever end is left ends too.

mod frame;
mod host;
mod liveness;
mod wire;
mod worker;

pub use host::WorkerCommand;
pub(crate) use host::{EngineProcess, ProcessPatience};
pub use wire::WorkerJob;
pub use worker::{WorkerError, serve_engine};
