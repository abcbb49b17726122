//! From the work on an answer to its reader.
//!
//! The work is a future that the reader drives: it goes on only when everything it said has been read, so a slow
//! reader slows it down and nothing piles up. Dropping the stream drops the work, and with it everything that it asked
//! for, at once.

use boca_core::{Answer, AnswerEvent, Failure, SourceTrace};
use futures_util::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

type Event = Result<AnswerEvent, Failure>;

/// Where the work puts what it has to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    events: VecDeque<Event>,
    /// Somebody took the question on; it will not be refused any more.
    is_accepted: bool,
}

impl Outbox {
    /// Somebody took the question on.
    pub(crate) fn accepted(&self) {
        self.lock().is_accepted = true;
    }

    /// A source changed its state.
    pub(crate) fn source(&self, trace: &SourceTrace) {
        self.lock().events.push_back(Ok(AnswerEvent::Source(trace.clone())));
    }

    /// More of the answer being shown. Neighbours run together.
    pub(crate) fn text(&self, more: &str) {
        let mut said = self.lock();
        match said.events.back_mut() {
            _ if more.is_empty() => {}
            Some(Ok(AnswerEvent::Text(text))) => text.push_str(more),
            _ => said.events.push_back(Ok(AnswerEvent::Text(more.to_owned()))),
        }
    }

    /// More of its thinking. Neighbours run together.
    pub(crate) fn reasoning(&self, more: &str) {
        let mut said = self.lock();
        match said.events.back_mut() {
            _ if more.is_empty() => {}
            Some(Ok(AnswerEvent::Reasoning(text))) => text.push_str(more),
            _ => said.events.push_back(Ok(AnswerEvent::Reasoning(more.to_owned()))),
        }
    }

    /// What was shown so far counts no more.
    pub(crate) fn restart(&self, reason: &str) {
        self.lock().events.push_back(Ok(AnswerEvent::Restart(reason.to_owned())));
    }

    /// The end.
    pub(crate) fn end(&self, end: Result<Answer, Failure>) {
        self.lock().events.push_back(end.map(|answer| AnswerEvent::Done(Box::new(answer))));
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The work, as the stream of what it says.
pub(crate) struct Work {
    outbox: Outbox,
    /// `None` when it is done.
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

impl Work {
    pub(crate) fn new(outbox: Outbox, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { outbox, work: Some(Box::pin(work)) }
    }

    /// Works until the question is taken on, or is refused: then the refusal comes back.
    ///
    /// # Errors
    /// The failure with which the work ended before anybody took the question on.
    pub(crate) async fn until_accepted(&mut self) -> Result<(), Failure> {
        std::future::poll_fn(|cx| {
            let is_done = self.go_on(cx).is_ready();
            if self.outbox.lock().is_accepted || is_done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let said = self.outbox.lock();
        match said.events.back() {
            Some(Err(failure)) if !said.is_accepted => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        let done = work.as_mut().poll(cx);
        if done.is_ready() {
            self.work = None;
        }
        done
    }
}

impl Stream for Work {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if let Some(event) = self.outbox.lock().events.pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.work.is_none() {
                return Poll::Ready(None);
            }
            if self.go_on(cx).is_pending() && self.outbox.lock().events.is_empty() {
                return Poll::Pending;
            }
        }
    }
}
