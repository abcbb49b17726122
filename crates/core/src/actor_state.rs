//! What an actor is doing, in the words that `/api/status` and `agent_states` use.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of one actor, as a user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// Created by the supervisor, not ready for messages that need its resources.
    Starting,
    /// Reading or paging in model weights.
    Loading,
    /// Idle, and able to take work at once.
    Ready,
    /// Working; further work waits in a bounded queue.
    Busy,
    /// Answers, but with less than it was configured for.
    Degraded,
    /// Failed, and waiting for its next start.
    Restarting,
    /// Will not come back without a change from outside (bad model path, restart limit spent).
    Down,
    /// Holds no weights now, and comes back when somebody asks or the reason is gone.
    Unloaded,
    /// Switched off by the configuration.
    Disabled,
}

impl ActorState {
    /// Whether a request sent now has a chance to be answered without a restart in between.
    pub fn can_answer(self) -> bool {
        matches!(self, Self::Ready | Self::Busy | Self::Degraded)
    }

    /// The name used on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Degraded => "degraded",
            Self::Restarting => "restarting",
            Self::Down => "down",
            Self::Unloaded => "unloaded",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
