//! The answers that a provider gives at the moment: each runs as a task of its own, which ends with its reader.

use crate::provider_io::ProviderIo;
use crate::source::SourceStream;
use boca_core::{ErrorCode, Failure, GenerationUpdate};
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Updates that may wait for their reader. A slow reader slows the provider down and not this machine's memory.
const N_BUFFERED: usize = 64;
/// How long a cancelled answer may take to end.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

type Update = Result<GenerationUpdate, Failure>;

/// The running answers of one provider, and the switch that ends them all.
#[derive(Debug)]
pub(crate) struct Answers {
    running: watch::Sender<usize>,
    draining: watch::Sender<Draining>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    No,
    /// Nothing new is taken.
    Refusing,
    /// What still runs ends.
    Cancelling,
}

impl Default for Answers {
    fn default() -> Self {
        Self { running: watch::Sender::new(0), draining: watch::Sender::new(Draining::No) }
    }
}

impl Answers {
    /// How many run.
    pub(crate) fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Reads `updates` on the threads of `io` for as long as somebody reads what comes back.
    ///
    /// # Errors
    /// `ShuttingDown`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        io: &Arc<ProviderIo>,
        updates: impl Stream<Item = Update> + Send + 'static,
    ) -> Result<SourceStream, Failure> {
        let stopping = || Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping");
        if *self.draining.borrow() != Draining::No {
            return Err(stopping());
        }
        let (sender, updates_for_reader) = mpsc::channel(N_BUFFERED);
        let running = Running::begin(Arc::clone(self));
        let mut draining = self.draining.subscribe();
        let task = async move {
            let _running = running;
            // Boxed, so that it is gone before the answer counts as ended.
            let mut updates = Box::pin(updates);
            tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining == Draining::Cancelling) => {
                    let failure = Failure::new(ErrorCode::ShuttingDown, "the daemon stopped before the answer was complete");
                    // A reader that does not keep up learns it by the end of the stream.
                    sender.try_send(Err(failure)).ok();
                }
                () = pass_on(&mut updates, &sender) => {}
            }
        };
        io.spawn(task).ok_or_else(stopping)?;
        Ok(Box::pin(Reader { updates: updates_for_reader, is_over: false, _io: Arc::clone(io) }))
    }

    /// Takes nothing new, lets what runs go on for `grace`, then ends it. Gives the number of answers that were cut.
    pub(crate) async fn drain(&self, grace: Duration) -> usize {
        self.draining.send_replace(Draining::Refusing);
        let mut running = self.running.subscribe();
        if tokio::time::timeout(grace, running.wait_for(|n| *n == 0)).await.is_ok() {
            return 0;
        }
        let cut = self.running();
        self.draining.send_replace(Draining::Cancelling);
        tokio::time::timeout(CANCEL_PATIENCE, running.wait_for(|n| *n == 0)).await.ok();
        cut
    }
}

async fn pass_on(updates: &mut (impl Stream<Item = Update> + Unpin), sender: &mpsc::Sender<Update>) {
    loop {
        let update = tokio::select! {
            biased;
            () = sender.closed() => return,
            update = updates.next() => update,
        };
        let Some(update) = update else { return };
        if sender.send(update).await.is_err() {
            return;
        }
    }
}

/// One running answer.
struct Running(Arc<Answers>);

impl Running {
    fn begin(answers: Arc<Answers>) -> Self {
        answers.running.send_modify(|n| *n += 1);
        Self(answers)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|n| *n -= 1);
    }
}

/// The reader's end. Dropping it ends the answer.
struct Reader {
    updates: mpsc::Receiver<Update>,
    is_over: bool,
    /// The threads stay for as long as an answer is read.
    _io: Arc<ProviderIo>,
}

impl Stream for Reader {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let update = std::task::ready!(self.updates.poll_recv(context));
        let update = update.unwrap_or_else(|| {
            // The task ended without a last word: it panicked, or was cut off.
            Err(Failure::new(
                ErrorCode::ProviderFailed,
                "the answer was broken off by a defect in the daemon",
            ))
        });
        self.is_over = !matches!(update, Ok(GenerationUpdate::Event(_)));
        Poll::Ready(Some(update))
    }
}

#[cfg(test)]
#[path = "provider_answers_tests.rs"]
mod tests;
