//! One request through all guards: a place, the breaker, the rate limit, attempts, and the bill.

use super::bill::Bill;
use super::fault;
use super::gate::Pass;
use super::provider::Shared;
use crate::{AskOptions, AttemptClass, AttemptError, AttemptStream};
use boca_core::resilience::{Evidence, FailedAttempt, RetryDecision};
use boca_core::{
    ErrorCode, Failure, FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, GenerationUpdate,
    Timings,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// One request on its way.
pub(super) struct Ask {
    shared: Arc<Shared>,
    request: Arc<GenerateRequest>,
    options: Arc<AskOptions>,
    deadline: Instant,
    began: Instant,
    /// When the present attempt was made.
    sent: Option<Instant>,
    phase: Phase,
    /// Attempts before the present one.
    retries: u32,
    /// Whether `Started` was passed on; a later attempt does not say it again.
    has_started: bool,
    /// When the first piece of the answer was passed on.
    first_piece: Option<Instant>,
    bill: Bill,
}

enum Phase {
    New,
    /// Between two attempts.
    Pausing(OwnedSemaphorePermit, Duration),
    Reading(Reading),
    Over,
}

/// A response that is being read.
struct Reading {
    // Before the place: the connection is closed when the next request takes it.
    stream: AttemptStream,
    pass: Pass,
    place: OwnedSemaphorePermit,
}

impl Ask {
    pub(super) fn new(
        shared: Arc<Shared>,
        request: GenerateRequest,
        options: AskOptions,
        deadline: Instant,
    ) -> Self {
        let bill = Bill::new(Arc::clone(&shared), &request);
        Self {
            shared,
            request: Arc::new(request),
            options: Arc::new(options),
            deadline,
            began: Instant::now(),
            sent: None,
            phase: Phase::New,
            retries: 0,
            has_started: false,
            first_piece: None,
            bill,
        }
    }

    /// The next thing that the asker learns; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<Result<GenerationUpdate, Failure>> {
        loop {
            let step = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => return None,
                Phase::New => match enter(&self.shared, self.deadline).await {
                    Ok(place) => self.attempt(place).await,
                    Err(failure) => Step::Fail(failure),
                },
                Phase::Pausing(place, pause) => {
                    // The rule has seen to it that this ends before the deadline.
                    tokio::time::sleep(pause).await;
                    self.attempt(place).await
                }
                Phase::Reading(reading) => self.read(reading).await,
            };
            match step {
                Step::Go(phase) => self.phase = phase,
                Step::Say(update, phase) => {
                    self.phase = phase;
                    return Some(Ok(update));
                }
                Step::Fail(failure) => return Some(Err(failure)),
            }
        }
    }

    /// Waits for the rate limit, asks the breaker, and makes one attempt.
    async fn attempt(&mut self, place: OwnedSemaphorePermit) -> Step {
        let Shared { gate, attempts, endpoint, .. } = &*self.shared;
        if let Some(refusal) = gate.refusal() {
            return Step::Fail(refusal);
        }
        let time_left = self.deadline.saturating_duration_since(Instant::now());
        match self.bill.reserve(time_left) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(failure) => return Step::Fail(failure),
        }
        let pass = match gate.admit(Evidence::Answer) {
            Ok(pass) => pass,
            Err(wait) => {
                let failure = gate.refusal().unwrap_or_else(|| {
                    let message = format!("{} is being tried by another request", endpoint.name);
                    Failure::new(ErrorCode::ProviderUnavailable, message).retry_after(wait)
                });
                return Step::Fail(failure);
            }
        };
        self.bill.sent();
        self.sent = Some(Instant::now());
        let (request, options) = (Arc::clone(&self.request), Arc::clone(&self.options));
        let attempt = attempts.attempt(request, options, self.deadline.into_std());
        match timeout_at(self.deadline, attempt).await {
            Ok(Ok(stream)) => Step::Go(Phase::Reading(Reading { stream, pass, place })),
            Ok(Err(error)) if !is_deadline(&error) => self.attempt_failed(error, pass, place),
            Ok(Err(_)) | Err(_) => self.too_late(),
        }
    }

    async fn read(&mut self, mut reading: Reading) -> Step {
        match timeout_at(self.deadline, reading.stream.next()).await {
            Ok(Some(Ok(GenerationUpdate::Event(event)))) => self.event(event, reading),
            Ok(Some(Ok(GenerationUpdate::Finished(summary)))) => self.finished(summary, reading),
            Ok(Some(Err(error))) if is_deadline(&error) => self.deadline_passed(reading),
            Ok(Some(Err(error))) => self.attempt_failed(error, reading.pass, reading.place),
            Ok(None) => {
                let message = format!("{} ended its answer without saying so", self.shared.endpoint.name);
                let error = AttemptError::new(AttemptClass::Connect, message);
                self.attempt_failed(error, reading.pass, reading.place)
            }
            Err(_elapsed) => self.deadline_passed(reading),
        }
    }

    fn event(&mut self, event: GenerationEvent, mut reading: Reading) -> Step {
        reading.pass.answers();
        self.bill.note(&event);
        if matches!(event, GenerationEvent::Started { .. }) {
            if std::mem::replace(&mut self.has_started, true) {
                return Step::Go(Phase::Reading(reading));
            }
        } else if self.first_piece.is_none() {
            self.first_piece = Some(Instant::now());
        }
        Step::Say(GenerationUpdate::Event(event), Phase::Reading(reading))
    }

    fn finished(&mut self, mut summary: GenerationSummary, reading: Reading) -> Step {
        reading.pass.succeeded();
        summary.usage = self.bill.pay(summary.usage);
        summary.timings = self.timings(summary.timings);
        Step::Say(GenerationUpdate::Finished(summary), Phase::Over)
    }

    /// Ends an answer that has begun with what there is of it.
    fn deadline_passed(&mut self, reading: Reading) -> Step {
        if self.first_piece.is_none() {
            return self.too_late();
        }
        reading.pass.succeeded();
        let summary = GenerationSummary {
            finish_reason: FinishReason::Deadline,
            stop_sequence: None,
            usage: self.bill.pay_by_estimate(),
            timings: self.timings(Timings::default()),
        };
        Step::Say(GenerationUpdate::Finished(summary), Phase::Over)
    }

    /// The times of the last attempt, counted from the hand-over.
    fn timings(&self, of_attempt: Timings) -> Timings {
        let since_began = |at: Instant| at.saturating_duration_since(self.began);
        let total = self.began.elapsed();
        Timings {
            queue: self.sent.map_or(total, since_began),
            time_to_first_token: self.first_piece.map_or(total, since_began),
            total,
            ..of_attempt
        }
    }

    fn too_late(&mut self) -> Step {
        let message = format!("{} did not begin to answer before the deadline", self.shared.endpoint.name);
        self.bill.fail_unanswered();
        Step::Fail(Failure::new(ErrorCode::DeadlineExceeded, message))
    }

    fn attempt_failed(&mut self, error: AttemptError, pass: Pass, place: OwnedSemaphorePermit) -> Step {
        let Shared { gate, endpoint, settings, .. } = &*self.shared;
        let name = endpoint.name.as_str();
        let (class, status) = (error.class.as_str(), error.status);
        tracing::debug!(provider = name, class, status, reason = error.failure.message, "an attempt failed");
        gate.note_failure(&error);
        match error.class {
            AttemptClass::QuotaSpent => gate.hold_off(settings.quota_rest, error.failure.message.clone()),
            AttemptClass::RateLimited if let Some(wait) = error.retry_after => {
                gate.hold_off(wait, error.failure.message.clone());
            }
            AttemptClass::Refused => {
                if fault::refuses_us(&error) {
                    gate.note_refusal(Some(error.failure.message.clone()));
                }
                gate.suspect();
            }
            _ => {}
        }
        if fault::counts(&error) {
            pass.failed();
        } else if error.class == AttemptClass::Blocked {
            pass.succeeded();
        }
        let decision = gate.decide_retry(FailedAttempt {
            fault: fault::fault(&error),
            retries_before: self.retries,
            retry_after: error.retry_after,
            has_begun: self.first_piece.is_some(),
            time_left: self.deadline.saturating_duration_since(Instant::now()),
            draw: fastrand::f64(),
        });
        match decision {
            RetryDecision::Retry { after } => {
                self.retries += 1;
                self.bill.retry(error.usage);
                Step::Go(Phase::Pausing(place, after))
            }
            RetryDecision::GiveUp(reason) => {
                tracing::debug!(provider = name, ?reason, retries = self.retries, "a request failed");
                match error.class {
                    AttemptClass::Timeout => self.bill.fail_unanswered(),
                    _ => self.bill.fail(error.usage),
                }
                Step::Fail(error.failure)
            }
        }
    }
}

/// Takes one of the places for requests at the same time.
async fn enter(shared: &Shared, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
    let Shared { gate, places, waiting, settings, endpoint, .. } = shared;
    if let Some(refusal) = gate.refusal() {
        return Err(refusal);
    }
    gate.count_request();
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Ok(place);
    }
    let (name, most) = (&endpoint.name, settings.max_concurrency);
    let Some(_waiting) = Waiting::begin(waiting, settings.max_waiting) else {
        let n = settings.max_waiting;
        let message = format!("{name} answers {most} requests already, and {n} more wait");
        return Err(Failure::new(ErrorCode::Overloaded, message).retry_after(Duration::from_secs(1)));
    };
    match timeout_at(deadline, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        // The semaphore is never closed.
        Ok(Err(_)) | Err(_) => {
            let message = format!("{name} was busy with {most} other requests until the deadline");
            Err(Failure::new(ErrorCode::Overloaded, message).retry_after(Duration::from_secs(1)))
        }
    }
}

/// The attempts know the deadline as well, and may be the first to notice.
fn is_deadline(error: &AttemptError) -> bool {
    error.failure.code == ErrorCode::DeadlineExceeded
}

/// What follows.
enum Step {
    Go(Phase),
    Say(GenerationUpdate, Phase),
    Fail(Failure),
}

/// One of those who wait for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1))
            .is_ok()
            .then_some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
