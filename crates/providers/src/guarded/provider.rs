//! A provider that can be asked without a second thought.

use super::ask::Ask;
use super::calendar::{Calendar, SystemCalendar};
use super::fault;
use super::gate::Gate;
use super::settings::GuardSettings;
use super::snapshot::ProviderSnapshot;
use crate::{AskOptions, AttemptClass, AttemptError, AttemptStream, Endpoint, HttpProvider};
use boca_core::resilience::{CircuitState, Evidence};
use boca_core::{
    Availability, Failure, GenerateRequest, GenerationUpdate, LocalDay, MicroUsd, ProviderUsage, Usage,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Makes single attempts. [`HttpProvider`] does so in earnest, tests by a script.
pub(super) trait Attempts: fmt::Debug + Send + Sync {
    fn attempt(
        &self,
        request: Arc<GenerateRequest>,
        options: Arc<AskOptions>,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<AttemptStream, AttemptError>>;

    fn probe(&self, limit: Duration) -> BoxFuture<'static, Result<Vec<String>, AttemptError>>;
}

impl Attempts for HttpProvider {
    fn attempt(
        &self,
        request: Arc<GenerateRequest>,
        options: Arc<AskOptions>,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<AttemptStream, AttemptError>> {
        let provider = self.clone();
        async move { provider.attempt(&request, &options, deadline).await }.boxed()
    }

    fn probe(&self, limit: Duration) -> BoxFuture<'static, Result<Vec<String>, AttemptError>> {
        let provider = self.clone();
        async move { provider.probe(limit).await }.boxed()
    }
}

/// A provider with retries, limits, a breaker and a budget around it. Clones share all of them.
#[derive(Debug, Clone)]
pub struct GuardedProvider {
    pub(super) shared: Arc<Shared>,
}

/// What clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    pub(super) settings: GuardSettings,
    pub(super) attempts: Box<dyn Attempts>,
    pub(super) gate: Arc<Gate>,
    pub(super) places: Arc<Semaphore>,
    pub(super) waiting: AtomicUsize,
}

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// It is there.
    Well,
    /// It failed, or refuses us.
    Failed(Failure),
    /// It was not asked, because it is left alone now.
    NotDue,
}

impl GuardedProvider {
    /// Guards `http`.
    pub fn new(http: HttpProvider, settings: GuardSettings) -> Self {
        Self::with_calendar(http, settings, Arc::new(SystemCalendar))
    }

    /// The same with a calendar of the caller's.
    pub fn with_calendar(http: HttpProvider, settings: GuardSettings, calendar: Arc<dyn Calendar>) -> Self {
        let endpoint = http.endpoint().clone();
        Self::over(Box::new(http), endpoint, settings, calendar)
    }

    pub(super) fn over(
        attempts: Box<dyn Attempts>,
        endpoint: Endpoint,
        settings: GuardSettings,
        calendar: Arc<dyn Calendar>,
    ) -> Self {
        let gate = Arc::new(Gate::new(endpoint.name.clone(), settings.clone(), calendar));
        // A semaphore holds no more than this, and nobody asks for more.
        let n_places = settings.max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(n_places));
        let waiting = AtomicUsize::new(0);
        Self { shared: Arc::new(Shared { endpoint, settings, attempts, gate, places, waiting }) }
    }

    /// Where it is and how it is spoken to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Whether it goes on with an answer that somebody else began.
    pub fn supports_continuing(&self) -> bool {
        self.shared.endpoint.continues_answers
    }

    /// Whether it can be asked now. Never waits.
    pub fn availability(&self) -> Availability {
        self.shared.gate.availability()
    }

    /// What these tokens cost, where prices are known.
    pub fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        self.shared.settings.prices.map(|prices| prices.cost(usage))
    }

    /// Asks. Everything happens while the stream is read; dropping it closes the connection, and what the answer has
    /// cost until then is counted by estimate.
    ///
    /// The stream ends with `Finished` or one failure, and not after `deadline`: an answer that has begun by then ends
    /// well, with [`boca_core::FinishReason::Deadline`]. The failures are `Overloaded` (no place before the deadline),
    /// `ProviderUnavailable` (left alone, resting, or no room in its rate limit before the deadline),
    /// `DeadlineExceeded`, and those of the attempts.
    pub fn ask(&self, request: GenerateRequest, options: AskOptions, deadline: Instant) -> GuardedStream {
        let ask = Ask::new(Arc::clone(&self.shared), request, options, deadline.into());
        let updates = futures_util::stream::unfold(ask, |mut ask| async move {
            let update = ask.next().await?;
            Some((update, ask))
        });
        GuardedStream { updates: Box::pin(updates) }
    }

    /// Finds out by the provider's cheapest call whether it is there. An open circuit whose time is over is closed by
    /// a good one.
    pub async fn check_health(&self, limit: Duration) -> HealthCheck {
        let Shared { gate, attempts, endpoint, .. } = &*self.shared;
        let Ok(pass) = gate.admit(Evidence::HealthCheck) else { return HealthCheck::NotDue };
        gate.settle_suspicion();
        let began = tokio::time::Instant::now();
        let found = attempts.probe(limit).await;
        let took = began.elapsed();
        let error = match found {
            Ok(models) => {
                pass.succeeded();
                gate.note_models(lists(&models, &endpoint.model));
                gate.note_check(took, None);
                return HealthCheck::Well;
            }
            Err(error) => error,
        };
        // A server without a list of models is there all the same.
        if error.class == AttemptClass::Refused && matches!(error.status, Some(404 | 405 | 501)) {
            pass.succeeded();
            gate.note_models(None);
            gate.note_check(took, None);
            return HealthCheck::Well;
        }
        gate.note_check(took, Some(error.failure.message.clone()));
        gate.note_failure(&error);
        match error.class {
            AttemptClass::Refused => {
                pass.note_alive();
                gate.note_refusal(Some(error.failure.message.clone()));
            }
            AttemptClass::RateLimited | AttemptClass::QuotaSpent if !fault::counts(&error) => {
                gate.hold_off(error.retry_after.unwrap_or_default(), error.failure.message.clone());
            }
            _ => pass.failed(),
        }
        HealthCheck::Failed(error.failure)
    }

    /// When the next health check is due, where one is made about `every` so often. `draw` is a random number from 0
    /// to 1.
    pub fn next_check_in(&self, every: Duration, draw: f64) -> Duration {
        self.shared.gate.next_check_in(every, draw)
    }

    /// Resolves when something has failed since the last call, so that a health check may be due earlier.
    pub async fn doubted(&self) {
        self.shared.gate.doubted.notified().await;
    }

    /// Says which requirement does not hold; it is not asked until `None` is said.
    pub fn set_unmet_requirement(&self, unmet: Option<String>) {
        self.shared.gate.note_requirements(unmet);
    }

    /// Adds what an earlier process used on this day, so that the daily budget holds across restarts.
    pub fn restore_use(&self, day: LocalDay, usage: &ProviderUsage) {
        self.shared.gate.restore_use(day, usage);
    }

    /// Takes what was used on the earliest day that no ledger has heard of yet.
    pub fn take_unrecorded(&self) -> Option<(LocalDay, ProviderUsage)> {
        self.shared.gate.take_unrecorded()
    }

    /// Gives back what could not be written down.
    pub fn put_back_unrecorded(&self, day: LocalDay, usage: &ProviderUsage) {
        self.shared.gate.put_back_unrecorded(day, usage);
    }

    /// Resolves when something was used since the last call.
    pub async fn used(&self) {
        self.shared.gate.used.notified().await;
    }

    /// The day on which use is counted now.
    pub fn today(&self) -> LocalDay {
        self.shared.gate.today()
    }

    /// The failure that a request would meet now, without being sent; `None` when it can be asked.
    pub fn refusal(&self) -> Option<Failure> {
        self.shared.gate.refusal()
    }

    /// Money spent today.
    pub fn spent_today(&self) -> MicroUsd {
        self.shared.gate.spent_today()
    }

    /// Everything that status shows. Waits for nobody but a thread that is just changing the figures.
    pub fn snapshot(&self) -> ProviderSnapshot {
        let Shared { gate, settings, places, waiting, .. } = &*self.shared;
        let figures = gate.figures();
        ProviderSnapshot {
            availability: gate.availability(),
            circuit: gate.circuit(),
            in_flight: settings.max_concurrency.saturating_sub(places.available_permits()),
            waiting: waiting.load(Ordering::Relaxed),
            max_concurrency: settings.max_concurrency,
            last_failure: figures.last_failure,
            last_success: figures.last_success,
            last_check: figures.last_check,
            lists_model: figures.lists_model,
            today: figures.today,
            daily_budget: settings.daily_budget,
        }
    }

    /// Whether the breaker lets requests pass.
    pub fn circuit(&self) -> CircuitState {
        self.shared.gate.circuit()
    }
}

/// Whether the model is among the names, which some servers write with a prefix (`models/`) or a tag (`:latest`).
fn lists(models: &[String], model: &str) -> Option<bool> {
    let bare = |name: &str| {
        let name = name.strip_prefix("models/").unwrap_or(name);
        name.strip_suffix(":latest").unwrap_or(name).to_owned()
    };
    let wanted = bare(model);
    (!models.is_empty()).then(|| models.iter().any(|name| bare(name) == wanted))
}

/// The updates of one guarded ask. Dropping it closes the connection.
pub struct GuardedStream {
    updates: Pin<Box<dyn Stream<Item = Result<GenerationUpdate, Failure>> + Send>>,
}

impl fmt::Debug for GuardedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").finish_non_exhaustive()
    }
}

impl Stream for GuardedStream {
    type Item = Result<GenerationUpdate, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_under_its_other_names() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(lists(&names(&["models/gemini-3.8-flash"]), "gemini-3.8-flash"), Some(true));
        assert_eq!(lists(&names(&["llama3:latest"]), "llama3"), Some(true));
        assert_eq!(lists(&names(&["llama3:8b"]), "llama3"), Some(false));
        assert_eq!(lists(&[], "any"), None);
    }
}
