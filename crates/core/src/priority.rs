//! How soon a request wants its turn.

use serde::{Deserialize, Serialize};

/// Whether somebody waits for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person, or a program that stands for one, waits for it.
    #[default]
    Interactive,
    /// It has time: a batch, a summary, scheduled work. It yields to those who wait.
    Background,
}

impl Priority {
    /// Every priority, the first to be served first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Background];
}
