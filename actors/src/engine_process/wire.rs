//! What the daemon and its engine process say to each other.

use crate::engine_host::{EngineCommand, EngineEvent, Pulse};
use serde::{Deserialize, Serialize};

/// What an engine process is to do; only the command that both ends belong to knows what is in it.
pub type WorkerJob = serde_json::Value;

/// Raised with every change of the messages.
pub(super) const PROTOCOL: u32 = 1;

/// Who speaks. Both ends say it first, and go on only when they are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) protocol: u32,
    pub(super) version: String,
}

impl Greeting {
    pub(super) fn own() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() }
    }

    /// What is wrong with the other end, if anything is.
    pub(super) fn mismatch(&self, own: &Self) -> Option<String> {
        let text = |greeting: &Self| format!("boca {} (protocol {})", greeting.version, greeting.protocol);
        (self != own).then(|| format!("the other end is {}, this one is {}", text(self), text(own)))
    }
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The first message.
    Hello { greeting: Greeting, job: WorkerJob },
    /// Any later one.
    Command(EngineCommand),
}

/// From the engine process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// The first message.
    Hello(Greeting),
    /// Something happened.
    Event(EngineEvent),
    /// Every [`super::worker::BEAT_EVERY`], also while weights are being read.
    Beat(Pulse),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_like_ends_go_on() {
        let own = Greeting::own();
        assert_eq!(own.mismatch(&own), None);
        let other = Greeting { protocol: 0, version: "9".into() };
        assert!(other.mismatch(&own).unwrap().contains("boca 9 (protocol 0)"));
    }
}
