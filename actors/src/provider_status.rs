//! What status shows of a provider.

use crate::child_status::ChildStatus;
use crate::provider_shared::ProviderShared;
use boca_core::{ActorState, Availability, ProviderKind};
use boca_providers::guarded::ProviderSnapshot;

/// One provider, as status sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// The protocol that it speaks.
    pub kind: ProviderKind,
    /// The model that is asked.
    pub model: String,
    /// Whether questions to it stay on this machine or count as if they did.
    pub is_local: bool,
    /// What its actor is doing.
    pub state: ActorState,
    /// Whether it can be asked now.
    pub availability: Availability,
    /// Its figures; `None` when it is switched off or cannot be reached as it is configured.
    pub figures: Option<ProviderSnapshot>,
}

impl ProviderStatus {
    /// The status of a provider whose actor is `child`, as far as that is known.
    pub(crate) fn of(shared: &ProviderShared, child: Option<&ChildStatus>) -> Self {
        let settings = &shared.settings;
        let endpoint = &settings.endpoint;
        let figures = if settings.is_enabled { shared.snapshot() } else { None };
        let availability = if settings.is_enabled {
            child.and_then(absence).unwrap_or_else(|| shared.availability())
        } else {
            Availability::Unavailable { reason: "it is switched off".into() }
        };
        let is_full = figures.as_ref().is_some_and(|figures| figures.in_flight >= figures.max_concurrency);
        Self {
            name: endpoint.name.clone(),
            kind: endpoint.kind,
            model: endpoint.model.clone(),
            is_local: endpoint.is_local,
            state: state(settings.is_enabled, child.map(ChildStatus::state), &availability, is_full),
            availability,
            figures,
        }
    }
}

/// Why nobody can be asked whose actor is away.
pub(crate) fn absence(child: &ChildStatus) -> Option<Availability> {
    let reason = match child.state() {
        ActorState::Restarting => "its actor is being restarted".to_owned(),
        ActorState::Down => match child.last_error() {
            Some(error) => format!("its actor is down: {error}"),
            None => "its actor has been stopped".to_owned(),
        },
        _ => return None,
    };
    Some(Availability::Unavailable { reason })
}

/// The one word for an actor and its provider.
///
/// `down` is said of what does not come back by itself; a circuit that is open and a budget that is spent come back,
/// and are `degraded`.
fn state(
    is_enabled: bool,
    actor: Option<ActorState>,
    availability: &Availability,
    is_full: bool,
) -> ActorState {
    if !is_enabled {
        return ActorState::Disabled;
    }
    if let Some(away @ (ActorState::Restarting | ActorState::Down)) = actor {
        return away;
    }
    match availability {
        Availability::Unknown => ActorState::Starting,
        Availability::Available if is_full => ActorState::Busy,
        Availability::Available => ActorState::Ready,
        Availability::CircuitOpen { .. } | Availability::Resting { .. } => ActorState::Degraded,
        Availability::Unavailable { .. } => ActorState::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_state_has_its_word() {
        let left_alone = Availability::CircuitOpen { retry_in: Duration::ZERO, reason: String::new() };
        let resting = Availability::Resting { resumes_in: Duration::ZERO };
        let unavailable = Availability::Unavailable { reason: String::new() };
        let ready = Some(ActorState::Ready);
        for (is_enabled, actor, availability, is_full, expected) in [
            (false, None, &Availability::Available, false, ActorState::Disabled),
            (true, Some(ActorState::Down), &Availability::Available, false, ActorState::Down),
            (true, Some(ActorState::Restarting), &Availability::Available, false, ActorState::Restarting),
            (true, ready, &Availability::Unknown, false, ActorState::Starting),
            (true, ready, &Availability::Available, false, ActorState::Ready),
            (true, ready, &Availability::Available, true, ActorState::Busy),
            (true, ready, &left_alone, false, ActorState::Degraded),
            (true, ready, &resting, false, ActorState::Degraded),
            (true, ready, &unavailable, false, ActorState::Down),
        ] {
            assert_eq!(state(is_enabled, actor, availability, is_full), expected, "{availability:?}");
        }
    }
}
