//! A provider with everything around it that makes it fit to be asked: a bound on requests at the same time, rate
//! limits, a circuit breaker, retries, a daily budget, and figures about all of it.
//!
//! The rules themselves are [`boca_core::resilience`], which know no clock and no network.

mod ask;
mod bill;
mod calendar;
mod fault;
mod gate;
mod provider;
mod settings;
mod snapshot;

pub use calendar::{Calendar, SystemCalendar, Today};
pub use provider::{GuardedProvider, GuardedStream, HealthCheck};
pub use settings::GuardSettings;
pub use snapshot::{PastCheck, PastFailure, ProviderSnapshot};

#[cfg(test)]
mod tests;
