//! The answers that are being worked on, by the id of their request, so that they can be cancelled by it.

use boca_core::{ErrorCode, Failure, RequestId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// All of them. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<RequestId, watch::Sender<bool>>>>);

/// One of them; it leaves the list when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    running: Running,
    id: RequestId,
    cancelled: watch::Receiver<bool>,
}

impl Running {
    /// Puts an answer on the list.
    ///
    /// # Errors
    /// `Conflict` when there is one with this id.
    pub(crate) fn register(&self, id: &RequestId) -> Result<Registration, Failure> {
        let (sender, cancelled) = watch::channel(false);
        let mut running = self.lock();
        if running.contains_key(id) {
            let message = format!("a request with the id {id} is running");
            return Err(Failure::new(ErrorCode::Conflict, message));
        }
        running.insert(id.clone(), sender);
        Ok(Registration { running: self.clone(), id: id.clone(), cancelled })
    }

    /// Tells an answer to end with what it has; false when there is none of this id.
    pub(crate) fn cancel(&self, id: &RequestId) -> bool {
        self.lock().get(id).is_some_and(|sender| sender.send(true).is_ok())
    }

    /// Whether an answer has been told to end; `None` when there is none of this id.
    pub(crate) fn watch(&self, id: &RequestId) -> Option<watch::Receiver<bool>> {
        self.lock().get(id).map(watch::Sender::subscribe)
    }

    /// How many there are.
    pub(crate) fn n_running(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Waits until somebody cancels it; for ever when nobody does.
    pub(crate) async fn cancelled(&mut self) {
        if self.cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}
