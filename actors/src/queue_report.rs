//! What the queue of generations shows.

use boca_core::RequestId;
use std::time::Duration;

/// The queue in figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueReport {
    /// Requests in the engine.
    pub running: usize,
    /// Requests that wait for it.
    pub queued: usize,
    /// The most that may wait.
    pub queue_limit: usize,
    /// Mean time that the engine spends on a request; `None` before the first.
    pub mean_service_time: Option<Duration>,
}

/// One request that is not finished.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestReport {
    /// Its id.
    pub id: RequestId,
    /// Whether it is in the engine, and not waiting.
    pub is_running: bool,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long until its deadline.
    pub time_left: Duration,
}
