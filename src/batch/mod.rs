//! Batches: many questions, answered when nobody waits.
//!
//! All lines of a batch are stored before it is taken on, each result before it is shown. A line that has a result is
//! never asked again; one that has none is asked again after a restart.

mod line;
mod results;
mod runner;
mod service;

pub(crate) use line::{Format, MAX_BATCH_BYTES, read_lines};
pub(crate) use service::BatchService;
