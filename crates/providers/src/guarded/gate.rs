//! Everything that decides whether a provider is asked, and what is known of it.
//!
//! The rules are [`boca_core::resilience`]; this holds their state behind one short lock, and publishes what others
//! want to know without waiting.

use super::calendar::Calendar;
use super::settings::GuardSettings;
use super::snapshot::{PastCheck, PastFailure};
use crate::AttemptError;
use arc_swap::ArcSwap;
use boca_core::resilience::{
    CircuitBreaker, CircuitState, DailyBudget, Evidence, FailedAttempt, Permit, RateLimits, RetryBudget,
    RetryDecision,
};
use boca_core::{Availability, ErrorCode, Failure, LocalDay, MicroUsd, ProviderUsage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A wait that a request may well take: a provider that asks for no more is still available.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// When to check a provider that may refuse us, whatever we ask.
const SUSPICION: Duration = Duration::from_secs(1);
/// When to ask again about a trial that is under way.
const TRIAL_WAIT: Duration = Duration::from_secs(1);

/// The gate of one provider.
#[derive(Debug)]
pub(super) struct Gate {
    name: String,
    settings: GuardSettings,
    calendar: Arc<dyn Calendar>,
    origin: Instant,
    inner: Mutex<Inner>,
    published: ArcSwap<Published>,
    /// Rings when there is use to be written down.
    pub(super) used: Notify,
    /// Rings when a health check should come early.
    pub(super) doubted: Notify,
}

#[derive(Debug)]
struct Inner {
    breaker: CircuitBreaker,
    limits: RateLimits,
    retries: RetryBudget,
    budget: DailyBudget,
    today: (LocalDay, ProviderUsage),
    /// What no ledger has heard of yet.
    unrecorded: BTreeMap<LocalDay, ProviderUsage>,
    /// A requirement that does not hold.
    unmet: Option<String>,
    /// Why it refuses us, whatever we ask.
    refused: Option<String>,
    /// Whether a refused request may have been refused because of us, which a check finds out.
    is_suspected: bool,
    /// Why it is left alone, when it is.
    held_because: Option<String>,
    last_failure: Option<PastFailure>,
    last_success: Option<SystemTime>,
    last_check: Option<PastCheck>,
    lists_model: Option<bool>,
}

/// What can be read without waiting.
#[derive(Debug, Clone, Default)]
struct Published {
    unavailable: Option<String>,
    circuit: Circuit,
    held_until: Option<(Instant, String)>,
    /// The day whose budget is spent.
    rests_on: Option<LocalDay>,
}

#[derive(Debug, Clone, Default)]
enum Circuit {
    #[default]
    Unknown,
    Well,
    OpenUntil(Instant, String),
    BeingTriedUntil(Instant, String),
}

impl Gate {
    pub(super) fn new(name: String, settings: GuardSettings, calendar: Arc<dyn Calendar>) -> Self {
        let day = calendar.today().day;
        let start = Duration::ZERO;
        let (requests, tokens) = (settings.requests_per_minute, settings.tokens_per_minute);
        let inner = Inner {
            breaker: CircuitBreaker::new(settings.breaker, start),
            limits: RateLimits::new(requests, tokens, start),
            retries: RetryBudget::new(settings.retry_share, start),
            budget: DailyBudget::new(settings.daily_budget, day),
            today: (day, ProviderUsage::default()),
            unrecorded: BTreeMap::new(),
            unmet: None,
            refused: None,
            is_suspected: false,
            held_because: None,
            last_failure: None,
            last_success: None,
            last_check: None,
            lists_model: None,
        };
        let gate = Self {
            name,
            settings,
            calendar,
            origin: Instant::now(),
            inner: Mutex::new(inner),
            published: ArcSwap::default(),
            used: Notify::new(),
            doubted: Notify::new(),
        };
        // A budget of nothing is spent from the start.
        gate.change(|_, _| ());
        gate
    }

    /// Whether the provider can be asked. Never waits.
    pub(super) fn availability(&self) -> Availability {
        let published = self.published.load();
        if published.unavailable.is_none()
            && let Some((until, reason)) = &published.held_until
            && let Some(retry_in) = until.checked_duration_since(Instant::now())
            && retry_in > SHORT_WAIT
        {
            return Availability::CircuitOpen { retry_in, reason: reason.clone() };
        }
        self.availability_after_waiting(&published)
    }

    /// The same for who is ready to wait for as long as the provider wants to be left alone.
    fn availability_after_waiting(&self, published: &Published) -> Availability {
        if let Some(reason) = &published.unavailable {
            return Availability::Unavailable { reason: reason.clone() };
        }
        if let Some(day) = published.rests_on {
            let today = self.calendar.today();
            if today.day == day {
                return Availability::Resting { resumes_in: today.until_midnight };
            }
        }
        let now = Instant::now();
        match &published.circuit {
            Circuit::Unknown => Availability::Unknown,
            Circuit::Well => Availability::Available,
            Circuit::OpenUntil(until, reason) if *until > now => {
                Availability::CircuitOpen { retry_in: *until - now, reason: reason.clone() }
            }
            Circuit::BeingTriedUntil(until, reason) if *until > now => {
                let retry_in = TRIAL_WAIT.min(*until - now);
                Availability::CircuitOpen { retry_in, reason: reason.clone() }
            }
            // Its time is over, and whoever asks now is the trial.
            Circuit::OpenUntil(..) | Circuit::BeingTriedUntil(..) => Availability::Unknown,
        }
    }

    /// The failure that a request meets when the provider cannot be asked now. Time for which it wants to be left alone
    /// is not among the reasons: a request may have the patience for it, which [`Self::reserve`] finds out.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let name = &self.name;
        let unavailable = |message| Failure::new(ErrorCode::ProviderUnavailable, message);
        match self.availability_after_waiting(&self.published.load()) {
            Availability::Unknown | Availability::Available => None,
            Availability::Unavailable { reason } => {
                Some(unavailable(format!("{name} cannot be asked: {reason}")))
            }
            Availability::CircuitOpen { retry_in, reason } => {
                let message =
                    format!("{name} is left alone for {:.1} s more: {reason}", retry_in.as_secs_f64());
                Some(unavailable(message).retry_after(retry_in))
            }
            Availability::Resting { resumes_in } => {
                let limit = self.settings.daily_budget.unwrap_or_default();
                let message = format!("{name} rests until midnight: its daily budget of {limit} is spent");
                Some(unavailable(message).retry_after(resumes_in))
            }
        }
    }

    pub(super) fn admit(self: &Arc<Self>, evidence: Evidence) -> Result<Pass, Duration> {
        let permit = self.change(|inner, now| inner.breaker.admit(evidence, now))?;
        Ok(Pass { gate: Arc::clone(self), permit: Some(permit) })
    }

    /// Counts a request, as what retries are a share of.
    pub(super) fn count_request(&self) {
        self.change(|inner, now| inner.retries.request(now));
    }

    /// Takes room in the rate limit; gives the time to wait for it. Who would have to wait for a provider that wants to be
    /// left alone for longer than a request may sleep is refused at once.
    pub(super) fn reserve(&self, tokens: u32, at_most: Duration) -> Result<Duration, Failure> {
        let name = &self.name;
        self.change(|inner, now| {
            let held_for = inner.limits.held_for(now);
            let outcome = if held_for > self.settings.retry.longest_pause {
                Err(held_for)
            } else {
                inner.limits.reserve(tokens, now, at_most)
            };
            outcome.map_err(|wait| {
                let seconds = wait.as_secs_f64();
                let message = match &inner.held_because {
                    Some(reason) if !held_for.is_zero() => {
                        format!("{name} is left alone for {seconds:.1} s more: {reason}")
                    }
                    _ => format!(
                        "the rate limit of {name} has no room before the deadline; it has in {seconds:.1} s"
                    ),
                };
                Failure::new(ErrorCode::ProviderUnavailable, message).retry_after(wait)
            })
        })
    }

    pub(super) fn settle(&self, reserved: u32, real: u32) {
        self.change(|inner, now| inner.limits.settle(reserved, real, now));
    }

    pub(super) fn give_back(&self, reserved: u32) {
        self.change(|inner, now| inner.limits.give_back(reserved, now));
    }

    pub(super) fn decide_retry(&self, attempt: FailedAttempt) -> RetryDecision {
        let policy = self.settings.retry;
        self.change(|inner, now| policy.decide(attempt, &mut inner.retries, now))
    }

    /// Leaves the provider alone, because it says so.
    pub(super) fn hold_off(&self, time: Duration, reason: String) {
        let time = time.min(self.settings.longest_hold_off);
        self.change(|inner, now| {
            inner.limits.hold_off(time, now);
            inner.held_because = Some(reason);
        });
    }

    pub(super) fn note_failure(&self, error: &AttemptError) {
        let failure = PastFailure { message: error.failure.message.clone(), at: SystemTime::now() };
        self.change(|inner, _| inner.last_failure = Some(failure));
    }

    /// A request was refused. Whether it was bad or we are not welcome, a check finds out soon.
    pub(super) fn suspect(&self) {
        self.change(|inner, _| inner.is_suspected = true);
        self.doubted.notify_one();
    }

    /// A check is made.
    pub(super) fn settle_suspicion(&self) {
        self.change(|inner, _| inner.is_suspected = false);
    }

    /// Notes what a check that took this long has found.
    pub(super) fn note_check(&self, took: Duration, error: Option<String>) {
        let check = PastCheck { at: SystemTime::now(), took, error };
        self.change(|inner, _| inner.last_check = Some(check));
    }

    /// Notes whether the provider refuses whatever we ask.
    pub(super) fn note_refusal(&self, reason: Option<String>) {
        self.change(|inner, _| inner.refused = reason);
    }

    pub(super) fn note_requirements(&self, unmet: Option<String>) {
        self.change(|inner, _| inner.unmet = unmet);
    }

    pub(super) fn note_models(&self, lists_model: Option<bool>) {
        self.change(|inner, _| inner.lists_model = lists_model);
    }

    /// Counts what a request used, on the day on which it ended.
    pub(super) fn count_use(&self, usage: &ProviderUsage) {
        let day = self.calendar.today().day;
        self.change(|inner, _| {
            inner.add_to_day(day, usage);
            inner.unrecorded.entry(day).or_default().add(usage);
        });
        self.used.notify_one();
    }

    /// Adds what an earlier process used on this day.
    pub(super) fn restore_use(&self, day: LocalDay, usage: &ProviderUsage) {
        self.change(|inner, _| inner.add_to_day(day, usage));
    }

    pub(super) fn take_unrecorded(&self) -> Option<(LocalDay, ProviderUsage)> {
        self.lock().unrecorded.pop_first()
    }

    pub(super) fn put_back_unrecorded(&self, day: LocalDay, usage: &ProviderUsage) {
        self.lock().unrecorded.entry(day).or_default().add(usage);
    }

    pub(super) fn next_check_in(&self, every: Duration, draw: f64) -> Duration {
        let now = self.origin.elapsed();
        let inner = self.lock();
        let told = inner.limits.held_for(now).min(every);
        let due_in = inner.breaker.next_check_in(every, now, draw).max(told);
        if inner.is_suspected { due_in.min(SUSPICION) } else { due_in }
    }

    pub(super) fn circuit(&self) -> CircuitState {
        let now = self.origin.elapsed();
        self.lock().breaker.state(now)
    }

    pub(super) fn figures(&self) -> Figures {
        let day = self.calendar.today().day;
        let inner = self.lock();
        Figures {
            last_failure: inner.last_failure.clone(),
            last_success: inner.last_success,
            last_check: inner.last_check.clone(),
            lists_model: inner.lists_model,
            today: inner.used_on(day),
        }
    }

    pub(super) fn today(&self) -> LocalDay {
        self.calendar.today().day
    }

    pub(super) fn spent_today(&self) -> MicroUsd {
        let day = self.calendar.today().day;
        self.lock().budget.spent(day)
    }

    /// Changes the state and publishes it.
    fn change<T>(&self, edit: impl FnOnce(&mut Inner, Duration) -> T) -> T {
        let now = self.origin.elapsed();
        let mut inner = self.lock();
        let outcome = edit(&mut inner, now);
        let published = self.publish(&inner, now);
        // Inside the lock, so that a later change is not overtaken by this one.
        self.published.store(Arc::new(published));
        outcome
    }

    fn publish(&self, inner: &Inner, now: Duration) -> Published {
        let because = |reason: &Option<String>| reason.clone().unwrap_or_else(|| "it failed".into());
        let last_failure = inner.last_failure.as_ref().map(|failure| failure.message.clone());
        let circuit = match inner.breaker.state(now) {
            CircuitState::Closed if inner.breaker.was_ever_well() => Circuit::Well,
            CircuitState::Closed => Circuit::Unknown,
            CircuitState::Open { retry_in } => {
                Circuit::OpenUntil(self.origin + now + retry_in, because(&last_failure))
            }
            CircuitState::HalfOpen { is_being_tried: true } => {
                let lost_at = self.origin + now + self.settings.breaker.trial_limit;
                Circuit::BeingTriedUntil(lost_at, because(&last_failure))
            }
            CircuitState::HalfOpen { is_being_tried: false } => Circuit::Unknown,
        };
        let held_for = inner.limits.held_for(now);
        let (day, _) = inner.today;
        Published {
            unavailable: inner.unmet.clone().or_else(|| inner.refused.clone()),
            circuit,
            held_until: (!held_for.is_zero())
                .then(|| (self.origin + now + held_for, because(&inner.held_because))),
            rests_on: inner.budget.rests_for(day, Duration::ZERO).map(|_| day),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add_to_day(&mut self, day: LocalDay, usage: &ProviderUsage) {
        let mut sum = self.used_on(day);
        sum.add(usage);
        self.today = (day, sum);
        self.budget.spend(usage.cost, day);
    }

    fn used_on(&self, day: LocalDay) -> ProviderUsage {
        if self.today.0 == day { self.today.1 } else { ProviderUsage::default() }
    }
}

/// The part of a snapshot that the gate knows.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) last_failure: Option<PastFailure>,
    pub(super) last_success: Option<SystemTime>,
    pub(super) last_check: Option<PastCheck>,
    pub(super) lists_model: Option<bool>,
    pub(super) today: ProviderUsage,
}

/// Leave to try once. Dropped without a result, it gives the place of a trial back.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    /// `None` once the result is told.
    permit: Option<Permit>,
}

impl Pass {
    /// A trial has shown that the provider answers: others may ask again, and this one goes on as one of them.
    pub(super) fn answers(&mut self) {
        if self.permit.as_ref().is_some_and(Permit::is_trial)
            && let Some(trial) = self.permit.take()
        {
            self.permit = self.gate.change(|inner, now| {
                inner.breaker.succeeded(trial, now);
                inner.last_success = Some(SystemTime::now());
                inner.breaker.admit(Evidence::Answer, now).ok()
            });
        }
    }

    pub(super) fn succeeded(mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.change(|inner, now| {
                inner.breaker.succeeded(permit, now);
                inner.last_success = Some(SystemTime::now());
                inner.refused = None;
            });
        }
    }

    /// It answered, though nothing good: somebody is there.
    pub(super) fn note_alive(mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.change(|inner, now| inner.breaker.succeeded(permit, now));
        }
    }

    pub(super) fn failed(mut self) {
        if let Some(permit) = self.permit.take() {
            let draw = fastrand::f64();
            self.gate.change(|inner, now| inner.breaker.failed(permit, now, draw));
            self.gate.doubted.notify_one();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.change(|inner, _| inner.breaker.abandoned(permit));
        }
    }
}
