//! The batches of the daemon: taken on, gone on with after a restart, shown, cancelled.

use super::line::StoredLine;
use super::{results, runner};
use crate::config::SharedSettings;
use boca_actors::SynthesizerHandle;
use boca_core::{BatchId, ErrorCode, Failure};
use boca_store::{Batch, BatchResult, NewBatch, Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

/// The most batches that are kept; the oldest that have ended go.
const MAX_BATCHES: usize = 100;
/// Results that are read at a time.
const RESULTS_AT_A_TIME: u32 = 64;

/// All batches. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct BatchService(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) synthesizer: SynthesizerHandle,
    pub(super) settings: SharedSettings,
    /// For lines that are being answered, of all batches together.
    pub(super) places: Semaphore,
    pub(super) places_in_all: usize,
    running: Mutex<Running>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct Running {
    batches: HashMap<BatchId, (AbortHandle, watch::Receiver<u32>)>,
    is_stopping: bool,
}

impl BatchService {
    /// A service that works on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(store: Store, synthesizer: SynthesizerHandle, settings: SharedSettings) -> Self {
        // As many as the engine takes, so that one always waits when a place is free: the last place is kept for people.
        let places_in_all = settings.current().model.max_running.max(1);
        Self(Arc::new(Shared {
            store,
            synthesizer,
            settings,
            places: Semaphore::new(places_in_all),
            places_in_all,
            running: Mutex::default(),
            runtime: Handle::current(),
        }))
    }

    /// Goes on with what was not done when the daemon stopped.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        for batch in self.0.store.batches().await? {
            if batch.ended_unix_ms.is_none() {
                tracing::info!(batch = %batch.id, done = batch.n_done, of = batch.n_lines, "a batch goes on");
                self.begin(batch);
            }
        }
        Ok(())
    }

    /// Takes a batch on. It is stored when this returns.
    ///
    /// # Errors
    /// `Conflict` for an id that is in use, `Overloaded` when too many have not ended, `ShuttingDown`.
    pub(crate) async fn create(
        &self,
        id: BatchId,
        lines: Vec<(String, Option<BatchResult>)>,
    ) -> Result<Batch, Failure> {
        if self.running().is_stopping {
            return Err(Failure::new(ErrorCode::ShuttingDown, "the daemon is stopping"));
        }
        let new = NewBatch { id, lines };
        let batch = self.0.store.create_batch(new, MAX_BATCHES, crate::chat::now_unix_ms()).await?;
        if batch.ended_unix_ms.is_none() {
            self.begin(batch.clone());
        }
        Ok(batch)
    }

    /// Every batch, oldest first.
    ///
    /// # Errors
    /// A failure of the store.
    pub(crate) async fn list(&self) -> Result<Vec<Batch>, Failure> {
        Ok(self.0.store.batches().await?)
    }

    /// One batch.
    ///
    /// # Errors
    /// `NotFound`, or a failure of the store.
    pub(crate) async fn show(&self, id: &BatchId) -> Result<Batch, Failure> {
        self.0.store.batch(id).await?.ok_or_else(|| not_found(id))
    }

    /// Ends a batch: what runs of it is cancelled, what waits is not asked. One that has ended stays as it is.
    ///
    /// # Errors
    /// `NotFound`, or a failure of the store.
    pub(crate) async fn cancel(&self, id: &BatchId) -> Result<Batch, Failure> {
        let cancelled = self.0.store.cancel_batch(id, crate::chat::now_unix_ms()).await?;
        if let Some((task, _)) = self.running().batches.remove(id) {
            task.abort();
        }
        cancelled.ok_or_else(|| not_found(id))
    }

    /// Lines of results from `from` on, as many as there are and fit. Of a batch that was cancelled, those that were
    /// never asked come as errors.
    ///
    /// # Errors
    /// A failure of the store.
    pub(crate) async fn results(&self, batch: &Batch, from: u32) -> Result<Vec<String>, Failure> {
        let store = &self.0.store;
        let found = store.batch_results(&batch.id, from, RESULTS_AT_A_TIME).await?;
        let mut lines: Vec<String> = found.into_iter().map(|result| result.text).collect();
        if lines.is_empty() && batch.is_cancelled && from < batch.n_lines {
            let stored = store.batch_line(&batch.id, from).await?;
            if let Some(stored) = stored.and_then(|text| serde_json::from_str::<StoredLine>(&text).ok()) {
                let failure = Failure::new(ErrorCode::Cancelled, "the batch was cancelled");
                lines.push(results::of_failure(&stored, &failure).text);
            }
        }
        Ok(lines)
    }

    /// Waits until a batch has more results than a moment ago, at most for `patience`. False: the daemon stops.
    pub(crate) async fn changed(&self, id: &BatchId, seen: u32, patience: Duration) -> bool {
        let progress = {
            let running = self.running();
            if running.is_stopping {
                return false;
            }
            running.batches.get(id).map(|(_, progress)| progress.clone())
        };
        match progress {
            Some(mut progress) => {
                // An end of the sender is news as well: the batch is done, or was cancelled.
                drop(tokio::time::timeout(patience, progress.wait_for(|n| *n != seen)).await);
            }
            None => tokio::time::sleep(Duration::from_millis(100).min(patience)).await,
        }
        true
    }

    /// A mark for [`Self::changed`].
    pub(crate) fn mark(&self, id: &BatchId) -> u32 {
        self.running().batches.get(id).map_or(0, |(_, progress)| *progress.borrow())
    }

    /// Ends all work; what has no result is asked after the next start.
    pub(crate) fn stop(&self) {
        let mut running = self.running();
        running.is_stopping = true;
        for (_, (task, _)) in running.batches.drain() {
            task.abort();
        }
    }

    fn begin(&self, batch: Batch) {
        let mut running = self.running();
        if running.is_stopping {
            return;
        }
        let (sender, progress) = watch::channel(0);
        let (service, id) = (self.clone(), batch.id.clone());
        let shared = Arc::clone(&self.0);
        let task = self.0.runtime.spawn(async move {
            let id = batch.id.clone();
            if let Err(error) = runner::run(shared, batch, sender).await {
                tracing::error!(batch = %id, %error, "a batch stopped; it goes on after the next start");
            }
            service.running().batches.remove(&id);
        });
        running.batches.insert(id, (task.abort_handle(), progress));
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(id: &BatchId) -> Failure {
    let message = format!("there is no batch `{id}`");
    Failure { param: Some("id".into()), ..Failure::new(ErrorCode::NotFound, message) }
}
