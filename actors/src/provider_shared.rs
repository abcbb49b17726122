//! What a provider's actor works with and what outlives it: the client with its guards, the running answers, the
//! books.

use crate::provider_answers::Answers;
use crate::provider_io::ProviderIo;
use crate::provider_settings::{ProviderSettings, UsageLedger};
use crate::source::SourceStream;
use arc_swap::ArcSwap;
use boca_core::{Availability, ErrorCode, Failure, GenerateRequest, MicroUsd, Surroundings, Usage};
use boca_providers::guarded::{GuardedProvider, HealthCheck, ProviderSnapshot};
use boca_providers::{AskOptions, HttpProvider};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;

/// Tells the machine as it is now.
pub(crate) type Machine = Arc<dyn Fn() -> Surroundings + Send + Sync>;

/// One provider.
pub(crate) struct ProviderShared {
    pub(crate) settings: ProviderSettings,
    pub(crate) answers: Arc<Answers>,
    pub(crate) io: Arc<ProviderIo>,
    client: ArcSwap<Client>,
    machine: Machine,
    ledger: Option<Arc<dyn UsageLedger>>,
    /// Whether the use of earlier processes is counted. Held while the books are kept, so that nothing is written
    /// between reading them and counting what they say.
    is_restored: Mutex<bool>,
    was_unsuitable: AtomicBool,
}

impl fmt::Debug for ProviderShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderShared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The way to the provider.
enum Client {
    Ready(GuardedProvider),
    /// It cannot be made, and why. It may be possible later: root certificates can be installed.
    Broken(String),
}

impl Client {
    fn new(settings: &ProviderSettings) -> Self {
        if let Err(reason) = settings.guard.check() {
            return Self::Broken(reason);
        }
        match HttpProvider::new(settings.endpoint.clone()) {
            Ok(http) => Self::Ready(GuardedProvider::new(http, settings.guard.clone())),
            Err(error) => Self::Broken(error.to_string()),
        }
    }
}

impl ProviderShared {
    pub(crate) fn new(
        settings: ProviderSettings,
        io: Arc<ProviderIo>,
        ledger: Option<Arc<dyn UsageLedger>>,
        machine: Machine,
    ) -> Self {
        let client = ArcSwap::from_pointee(Client::new(&settings));
        let (answers, is_restored) = (Arc::default(), Mutex::new(false));
        let shared = Self {
            settings,
            answers,
            io,
            client,
            machine,
            ledger,
            is_restored,
            was_unsuitable: false.into(),
        };
        shared.look_around();
        shared
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.endpoint.name
    }

    /// The guarded client, where it can be made.
    pub(crate) fn provider(&self) -> Option<GuardedProvider> {
        match &**self.client.load() {
            Client::Ready(provider) => Some(provider.clone()),
            Client::Broken(_) => None,
        }
    }

    pub(crate) fn availability(&self) -> Availability {
        match &**self.client.load() {
            Client::Ready(provider) => provider.availability(),
            Client::Broken(reason) => Availability::Unavailable { reason: reason.clone() },
        }
    }

    pub(crate) fn snapshot(&self) -> Option<ProviderSnapshot> {
        self.provider().map(|provider| provider.snapshot())
    }

    pub(crate) fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        self.settings.guard.prices.map(|prices| prices.cost(usage))
    }

    /// Begins an answer, which runs on threads of its own.
    pub(crate) fn begin(&self, request: GenerateRequest, deadline: Instant) -> Result<SourceStream, Failure> {
        let client = self.client.load();
        let provider = match &**client {
            Client::Ready(provider) => provider,
            Client::Broken(reason) => {
                let message = format!("{} cannot be asked: {reason}", self.name());
                return Err(Failure::new(ErrorCode::ProviderUnavailable, message));
            }
        };
        if let Some(refusal) = provider.refusal() {
            return Err(refusal);
        }
        let options = AskOptions { unary: !self.settings.streams, ..AskOptions::default() };
        self.answers.begin(&self.io, provider.ask(request, options, deadline))
    }

    /// Finds out whether the provider could be asked: the client, what it requires, and its cheapest call.
    pub(crate) async fn check(&self) -> HealthCheck {
        if self.provider().is_none() {
            self.client.store(Arc::new(Client::new(&self.settings)));
        }
        let is_suitable = self.look_around();
        match self.provider() {
            Some(provider) if is_suitable => provider.check_health(self.settings.check_limit).await,
            _ => HealthCheck::NotDue,
        }
    }

    /// Whether everything holds that the provider requires.
    fn look_around(&self) -> bool {
        let unmet = self.settings.requires.unmet(&(self.machine)());
        let is_suitable = unmet.is_none();
        self.was_unsuitable.store(!is_suitable, Ordering::Release);
        if let Some(provider) = self.provider() {
            provider.set_unmet_requirement(unmet);
        }
        is_suitable
    }

    /// Whether something did not hold that the provider requires, when that was looked at last. What holds by now is not
    /// known to anybody before the next look.
    pub(crate) fn was_unsuitable(&self) -> bool {
        self.was_unsuitable.load(Ordering::Acquire)
    }

    /// Reads what earlier processes used today, once, and writes down what was used since the last time. False when
    /// something is left to be done.
    pub(crate) async fn keep_books(&self) -> bool {
        let mut is_restored = self.is_restored.lock().await;
        let Some(provider) = self.provider() else { return true };
        let Some(ledger) = &self.ledger else {
            while provider.take_unrecorded().is_some() {}
            return true;
        };
        let name = self.name();
        if !*is_restored {
            let today = provider.today();
            match ledger.used_on(name, today).await {
                Ok(usage) => provider.restore_use(today, &usage),
                Err(failure) => {
                    tracing::warn!(provider = name, reason = %failure, "its use of today cannot be read");
                    return false;
                }
            }
            *is_restored = true;
        }
        while let Some((day, usage)) = provider.take_unrecorded() {
            if let Err(failure) = ledger.add(name, day, usage).await {
                provider.put_back_unrecorded(day, &usage);
                tracing::warn!(provider = name, reason = %failure, "its use cannot be written down");
                return false;
            }
        }
        true
    }
}
