//! What the rules need to know of someone who can be asked.

use crate::ProviderKind;
use serde::{Deserialize, Serialize};

/// What does not change about a source while a question is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// Its name in requests, in status and in traces.
    pub name: String,
    /// The protocol that it speaks.
    pub kind: ProviderKind,
    /// The name of its model, which may be used in requests as well; `None` while nobody knows it.
    pub model: Option<String>,
    /// Whether questions stay on this machine, or on one that the config declares as good as this.
    pub is_local: bool,
    /// Whether it is the built-in demo model, which joins only when it is asked by name or by config.
    pub is_demo: bool,
    /// Whether it can go on from an answer that somebody else began.
    pub supports_continuing: bool,
}
