//! The questions that are being answered: who they are, how to end one, when all are done.

use boca_core::{ErrorCode, Failure, RequestId, SessionId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One question that is being answered.
#[derive(Debug, Clone)]
pub(crate) struct RunningExchange {
    pub(crate) id: RequestId,
    pub(crate) session_id: SessionId,
    /// As the request named it.
    pub(crate) mode: String,
    pub(crate) private: bool,
    /// Whether a provider beside the engine has it.
    pub(crate) is_with_provider: bool,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
}

/// Every question that is being answered. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    running: Mutex<HashMap<RequestId, Entry>>,
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Entry {
    exchange: RunningExchange,
    cancel: watch::Sender<bool>,
}

/// A place in the registry; dropping it leaves.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Registry,
    id: RequestId,
    /// Turns true when somebody wants this question ended.
    pub(super) cancelled: watch::Receiver<bool>,
}

impl Default for Registry {
    fn default() -> Self {
        Self(Arc::new(Shared { running: Mutex::default(), count: watch::Sender::new(0) }))
    }
}

impl Registry {
    /// Enters a question.
    ///
    /// # Errors
    /// `Conflict` when a question with this id is being answered.
    pub(super) fn enter(&self, exchange: RunningExchange) -> Result<Registration, Failure> {
        let id = exchange.id.clone();
        let (cancel, cancelled) = watch::channel(false);
        let mut running = self.running();
        if running.contains_key(&id) {
            let message = format!("a request with the id `{id}` is being answered");
            return Err(Failure::new(ErrorCode::Conflict, message));
        }
        running.insert(id.clone(), Entry { exchange, cancel });
        self.0.count.send_replace(running.len());
        drop(running);
        Ok(Registration { registry: self.clone(), id, cancelled })
    }

    /// Every question, oldest first.
    pub(super) fn list(&self) -> Vec<RunningExchange> {
        let mut all: Vec<_> = self.running().values().map(|entry| entry.exchange.clone()).collect();
        all.sort_by_key(|exchange| exchange.arrived);
        all
    }

    /// Asks for the end of a question; false when there is none with this id.
    pub(super) fn cancel(&self, id: &RequestId) -> bool {
        self.running().get(id).is_some_and(|entry| {
            entry.cancel.send_replace(true);
            true
        })
    }

    /// Waits until no question is being answered, at most for `patience`. Whether that came true.
    pub(super) async fn idle(&self, patience: Duration) -> bool {
        let mut count = self.0.count.subscribe();
        let empty = count.wait_for(|count| *count == 0);
        tokio::time::timeout(patience, empty).await.is_ok()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<RequestId, Entry>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Notes what became known of the question.
    pub(super) fn update(&self, change: impl FnOnce(&mut RunningExchange)) {
        if let Some(entry) = self.registry.running().get_mut(&self.id) {
            change(&mut entry.exchange);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut running = self.registry.running();
        running.remove(&self.id);
        self.registry.0.count.send_replace(running.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(id: &str) -> RunningExchange {
        RunningExchange {
            id: id.parse().unwrap(),
            session_id: "s".parse().unwrap(),
            mode: "auto".into(),
            private: false,
            is_with_provider: false,
            arrived: Instant::now(),
            deadline: Instant::now(),
        }
    }

    #[tokio::test]
    async fn an_id_is_taken_while_its_question_is_answered() {
        let registry = Registry::default();
        let first = registry.enter(exchange("a")).unwrap();
        assert_eq!(registry.enter(exchange("a")).unwrap_err().code, ErrorCode::Conflict);
        assert!(!registry.idle(Duration::ZERO).await);
        assert!(registry.cancel(&"a".parse().unwrap()));
        assert!(*first.cancelled.borrow());
        assert!(!registry.cancel(&"b".parse().unwrap()));
        assert_eq!(registry.list().len(), 1);
        drop(first);
        assert!(registry.idle(Duration::ZERO).await);
        registry.enter(exchange("a")).unwrap();
    }
}
