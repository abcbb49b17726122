//! Which providers there are, and where their use is written down.

use boca_core::{Failure, LocalDay, ProviderUsage, Requirements};
use boca_providers::Endpoint;
use boca_providers::guarded::GuardSettings;
use futures_util::future::BoxFuture;
use std::fmt;
use std::time::Duration;

/// One provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSettings {
    /// Where it is and how it is spoken to. The name is the actor's name as well.
    pub endpoint: Endpoint,
    /// Retries, limits, the breaker and money.
    pub guard: GuardSettings,
    /// What must hold for it to be asked.
    pub requires: Requirements,
    /// Whether it is used at all; a provider that is switched off is shown in status and never spoken to.
    pub is_enabled: bool,
    /// The pause between two health checks, give or take a fifth. Default: 30 s.
    pub check_every: Duration,
    /// How long a health check may take. Default: 2 s.
    pub check_limit: Duration,
    /// Whether answers are asked for piece by piece. Default: yes; no asks for the whole answer at once.
    pub streams: bool,
}

impl ProviderSettings {
    /// A provider with the usual guards.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            guard: GuardSettings::default(),
            requires: Requirements::default(),
            is_enabled: true,
            check_every: Duration::from_secs(30),
            check_limit: Duration::from_secs(2),
            streams: true,
        }
    }
}

/// Where the use of providers is kept across restarts of the process.
///
/// A failed call loses nothing: what was not written down is offered again.
pub trait UsageLedger: fmt::Debug + Send + Sync {
    /// Everything that was written down for this provider and day.
    fn used_on(&self, provider: &str, day: LocalDay) -> BoxFuture<'static, Result<ProviderUsage, Failure>>;

    /// Adds to it. The reply means that it is durable.
    fn add(
        &self,
        provider: &str,
        day: LocalDay,
        usage: ProviderUsage,
    ) -> BoxFuture<'static, Result<(), Failure>>;
}
