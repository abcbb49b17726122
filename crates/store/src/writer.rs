//! The one thread that writes. It takes whatever callers wait for, applies it write by write, makes all of it durable
//! with one flush and one sync, and only then answers.

use crate::StoreError;
use crate::changes::Changes;
use crate::open::Opened;
use crate::trees::Trees;
use crate::writes::Planned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// Writes that share one sync at most. Bounds how long the first of them waits.
const MAX_GROUP: usize = 64;

/// Tells a caller how its write ended. `Err` is a sync that failed, for all writes of the group.
pub(crate) type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// One write: plans, applies, and says whom to tell once it is durable.
pub(crate) type Write = Box<dyn FnOnce(&Opened) -> (Applied, Acknowledge) + Send>;

/// What the writer is asked.
pub(crate) enum Job {
    /// Plan and apply one write.
    Write(Write),
    /// Ends the thread after everything before it.
    Close(oneshot::Sender<()>),
}

/// Whether a write left anything that has to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Changed,
    Nothing,
}

/// The open database, until the store is closed. The one who closes it takes it out, so that its files and its lock
/// are free even while clones of the store are still about.
pub(crate) type Slot = Arc<RwLock<Option<Opened>>>;

/// Applies planned changes while no reader looks.
pub(crate) fn apply(opened: &Opened, changes: &Changes) -> Result<Applied, StoreError> {
    if changes.is_empty() {
        return Ok(Applied::Nothing);
    }
    // A reader or writer that panicked while it held the lock left nothing half done: the transaction is sled's.
    let exclusive = opened.view.write().unwrap_or_else(PoisonError::into_inner);
    changes.apply(&opened.trees)?;
    drop(exclusive);
    Ok(Applied::Changed)
}

/// Plans with `plan`, applies, and turns the outcome into a job for the thread.
pub(crate) fn job<T: Send + 'static>(
    plan: impl FnOnce(&Trees) -> Planned<T> + Send + 'static,
    reply: oneshot::Sender<Result<T, StoreError>>,
) -> Job {
    Job::Write(Box::new(move |opened| {
        let outcome = plan(&opened.trees).and_then(|(changes, value)| Ok((apply(opened, &changes)?, value)));
        let applied = outcome.as_ref().map_or(Applied::Nothing, |(applied, _)| *applied);
        let acknowledge: Acknowledge = Box::new(move |durable| {
            // Nobody listens any more when the caller went away; the write stands all the same.
            reply.send(durable.and(outcome.map(|(_, value)| value))).ok();
        });
        (applied, acknowledge)
    }))
}

/// The thread's loop, until it is told to close or every caller is gone.
pub(crate) fn run(slot: Slot, mut jobs: mpsc::Receiver<Job>, fatal: watch::Sender<Option<String>>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let mut acknowledgements = Vec::with_capacity(group.len());
        let mut changed = false;
        let mut closing = None;
        let place = slot.read().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = &*place else { return };
        for job in group {
            match job {
                Job::Write(_) if fatal.borrow().is_some() => drop(job),
                Job::Write(write) => match catch_unwind(AssertUnwindSafe(|| write(opened))) {
                    Ok((applied, acknowledge)) => {
                        changed |= applied == Applied::Changed;
                        acknowledgements.push(acknowledge);
                    }
                    Err(_) => declare_fatal(&fatal, "the database panicked in a write".into()),
                },
                Job::Close(done) => closing = Some(done),
            }
        }
        if changed && fatal.borrow().is_none() {
            let synced = catch_unwind(AssertUnwindSafe(|| opened.make_durable()));
            match synced {
                Ok(Ok(())) => {}
                Ok(Err(error)) => declare_fatal(&fatal, error.to_string()),
                Err(_) => declare_fatal(&fatal, "the database panicked in a flush".into()),
            }
        }
        drop(place);
        let failed = fatal.borrow().clone();
        for acknowledge in acknowledgements {
            acknowledge(match &failed {
                None => Ok(()),
                Some(message) => Err(StoreError::Fatal { message: message.clone() }),
            });
        }
        if let Some(done) = closing {
            drop(jobs);
            // Waits for readers that are at work; later ones find nothing.
            let opened = slot.write().unwrap_or_else(PoisonError::into_inner).take();
            drop(opened);
            done.send(()).ok();
            return;
        }
    }
}

/// A failed sync is never tried again: the kernel may have dropped the pages that it could not write, and a second
/// sync would report success for data that is gone.
fn declare_fatal(fatal: &watch::Sender<Option<String>>, message: String) {
    tracing::error!(%message, "the store takes no more writes until the daemon is restarted");
    fatal.send_if_modified(|state| {
        let first = state.is_none();
        if first {
            *state = Some(message);
        }
        first
    });
}
