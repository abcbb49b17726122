//! The answer as its reader gets it.

use crate::cancel_cause::{CancelCause, n_not_needed};
use crate::measurements::{GenerationRecord, Outcome};
use crate::metrics::MetricsHandle;
use boca_core::{Answer, AnswerEvent, Failure, Mode};
use futures_util::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::sync::watch;

/// The events of one answer: sources and text as they come, then [`AnswerEvent::Done`] or a failure, then the end.
/// Dropping it cancels everything that still works on the answer.
pub struct AnswerStream {
    events: Pin<Box<dyn Stream<Item = Result<AnswerEvent, Failure>> + Send>>,
    /// Taken when the outcome has been recorded.
    recorder: Option<Recorder>,
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream").finish_non_exhaustive()
    }
}

impl AnswerStream {
    pub(crate) fn new(events: impl Stream<Item = Result<AnswerEvent, Failure>> + Send + 'static) -> Self {
        Self { events: Box::pin(events), recorder: None }
    }

    pub(crate) fn recorded_by(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }
}

impl Stream for AnswerStream {
    type Item = Result<AnswerEvent, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.events.as_mut().poll_next(cx));
        let outcome = match &event {
            Some(Ok(AnswerEvent::Done(answer))) => {
                Some((Outcome::Finished(answer.finish_reason), Some(answer.as_ref())))
            }
            Some(Err(failure)) => Some((Outcome::Failed(failure.code), None)),
            _ => None,
        };
        if let Some((outcome, answer)) = outcome
            && let Some(recorder) = self.recorder.take()
        {
            recorder.record(outcome, answer);
        }
        Poll::Ready(event)
    }
}

/// Records the outcome of one question, once: what it is told, or that nobody waited for it.
#[derive(Debug)]
pub(crate) struct Recorder {
    metrics: MetricsHandle,
    route: &'static str,
    /// See [`GenerationRecord::mode`].
    mode: Option<Mode>,
    arrived: Instant,
    /// Whether somebody asked for its end; `None` while nobody has taken it on.
    accepted: Option<Accepted>,
    is_recorded: bool,
}

/// A question that somebody has taken on.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Turns true when somebody asks for its end; `None` when it ended at once.
    pub(crate) cancelled: Option<watch::Receiver<bool>>,
}

impl Recorder {
    pub(crate) fn new(metrics: MetricsHandle, route: &'static str, asked: Mode, arrived: Instant) -> Self {
        // A name that nobody has stands in the request alone and must not become a series of its own.
        let mode = (!matches!(asked, Mode::Provider(_))).then_some(asked);
        Self { metrics, route, mode, arrived, accepted: None, is_recorded: false }
    }

    /// From now on it is known who is really asked: what stood for nobody in particular has been resolved.
    pub(crate) fn resolved(&mut self, mode: &str) {
        self.mode = Some(Mode::from_name(mode));
    }

    /// From now on an early end is a cancellation, and not a refusal.
    pub(crate) fn accepted(&mut self, accepted: Accepted) {
        self.accepted = Some(accepted);
    }

    pub(crate) fn record(mut self, outcome: Outcome, answer: Option<&Answer>) {
        self.write(outcome, answer);
    }

    fn write(&mut self, outcome: Outcome, answer: Option<&Answer>) {
        self.is_recorded = true;
        let record = GenerationRecord {
            outcome,
            answered_by: answer.map(|answer| answer.model_used.clone()),
            route: self.route,
            mode: self.mode.clone(),
            cancelled: self.accepted.as_ref().and_then(|accepted| {
                let was_requested = accepted.cancelled.as_ref().is_some_and(|cancelled| *cancelled.borrow());
                CancelCause::of(outcome, was_requested)
            }),
            n_not_needed: answer.map_or(0, n_not_needed),
            usage: answer.map(|answer| answer.usage).unwrap_or_default(),
            timings: answer.map(|answer| answer.timings),
            total: self.arrived.elapsed(),
        };
        let (outcome, total_ms) = (outcome.as_str(), record.total.as_millis() as u64);
        tracing::debug!(outcome, route = record.route, total_ms, "a question ended");
        self.metrics.record(record);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.write(Outcome::Abandoned, None);
        }
    }
}
