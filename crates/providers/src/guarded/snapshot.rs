//! What status shows of a guarded provider.

use boca_core::resilience::CircuitState;
use boca_core::{Availability, MicroUsd, ProviderUsage};
use std::time::{Duration, SystemTime};

/// A failure of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFailure {
    /// What it was, in one sentence.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

/// A health check of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCheck {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What was wrong, in one sentence; `None` when nothing was.
    pub error: Option<String>,
}

/// The figures of one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSnapshot {
    /// Whether it can be asked now.
    pub availability: Availability,
    /// Whether the breaker lets requests pass.
    pub circuit: CircuitState,
    /// Requests that it answers now.
    pub in_flight: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// The most requests that it answers at the same time.
    pub max_concurrency: usize,
    /// What went wrong last.
    pub last_failure: Option<PastFailure>,
    /// When it last answered anything, a health check included.
    pub last_success: Option<SystemTime>,
    /// The last health check.
    pub last_check: Option<PastCheck>,
    /// Whether the configured model is in its list of models; `None` while no list is known.
    pub lists_model: Option<bool>,
    /// What it was used for today.
    pub today: ProviderUsage,
    /// The money after which it rests.
    pub daily_budget: Option<MicroUsd>,
}
