//! What the tests of several rules need.

use super::{Candidate, SourceFacts};
use crate::{Availability, ProviderKind};

pub(super) fn facts(name: &str) -> SourceFacts {
    SourceFacts {
        name: name.into(),
        kind: if name == "local" { ProviderKind::Engine } else { ProviderKind::Openai },
        model: Some(format!("{name}-model")),
        is_local: name == "local",
        is_demo: false,
        supports_continuing: name == "local",
    }
}

pub(super) fn candidate(name: &str) -> Candidate {
    Candidate { facts: facts(name), availability: Availability::Available, load: None }
}
