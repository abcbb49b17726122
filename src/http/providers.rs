//! `providers[]` of `GET /api/status`.

use boca_actors::ProviderStatus;
use boca_api as api;
use boca_api::millis;
use boca_core::resilience::CircuitState;
use boca_core::{Availability, MicroUsd};
use std::time::SystemTime;

/// A provider as the wire shows it.
pub(super) fn status(status: ProviderStatus, knows_prices: bool) -> api::ProviderStatus {
    let (reason, retry_in) = match &status.availability {
        Availability::Unknown | Availability::Available => (None, None),
        Availability::CircuitOpen { retry_in, reason } => (Some(reason.clone()), Some(*retry_in)),
        Availability::Resting { resumes_in } => {
            (Some("its daily budget is spent; it rests until midnight".to_owned()), Some(*resumes_in))
        }
        Availability::Unavailable { reason } => (Some(reason.clone()), None),
    };
    let mut wire = api::ProviderStatus {
        name: status.name,
        kind: status.kind.as_str().to_owned(),
        model: Some(status.model),
        local: status.is_local,
        availability: status.availability.as_str().to_owned(),
        reason,
        retry_in_ms: retry_in.map(millis),
        ..api::ProviderStatus::default()
    };
    if let Some(figures) = status.figures {
        let today = figures.today;
        wire.circuit = circuit(figures.circuit).to_owned();
        wire.running = figures.in_flight as u64;
        wire.spent_today_usd = knows_prices.then(|| today.cost.usd());
        wire.daily_budget_usd = figures.daily_budget.map(MicroUsd::usd);
        wire.requests_today = today.requests;
        wire.tokens_today = today.prompt_tokens.saturating_add(today.completion_tokens);
        wire.last_probe = figures.last_check.map(|check| api::ProbeStatus {
            age_ms: SystemTime::now().duration_since(check.at).map(millis).unwrap_or_default(),
            ok: check.error.is_none(),
            took_ms: Some(millis(check.took)),
            error: check.error,
        });
    }
    wire
}

fn circuit(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open { .. } => "open",
        CircuitState::HalfOpen { .. } => "half_open",
    }
}
