//! The reader's end of one generation: its events, its deadline, and its cancellation by drop.

use crate::generation_channel::GenerationChannel;
use crate::generation_queue::{Expiry, GenerationQueue, Ticket};
use boca_core::{Failure, GenerationUpdate};
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::Sleep;

/// The events of one generation, then its end. Dropping it cancels the generation, also while it is still queued.
#[derive(Debug)]
pub(crate) struct GenerationStream {
    ticket: Ticket,
    queue: GenerationQueue,
    channel: Arc<GenerationChannel>,
    deadline: Instant,
    /// Made at the first poll, which is where a runtime is sure to be.
    timer: Option<Pin<Box<Sleep>>>,
    is_done: bool,
}

impl GenerationStream {
    pub(crate) fn new(
        ticket: Ticket,
        queue: GenerationQueue,
        channel: Arc<GenerationChannel>,
        deadline: Instant,
    ) -> Self {
        Self { ticket, queue, channel, deadline, timer: None, is_done: false }
    }

    #[cfg(test)]
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Stream for GenerationStream {
    type Item = Result<GenerationUpdate, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_done {
            return Poll::Ready(None);
        }
        loop {
            if let Poll::Ready(update) = this.channel.poll_read(cx) {
                this.is_done = !matches!(update, Ok(GenerationUpdate::Event(_)));
                return Poll::Ready(Some(update));
            }
            let deadline = this.deadline.into();
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            // Past the deadline: either the end is in the channel now, or the generation may wind up until then.
            if let Expiry::WindsUpUntil(until) = this.queue.expire(this.ticket, Instant::now()) {
                timer.as_mut().reset(until.into());
            }
        }
    }
}

impl Drop for GenerationStream {
    fn drop(&mut self) {
        if !self.is_done {
            self.queue.abandon(self.ticket);
        }
    }
}
