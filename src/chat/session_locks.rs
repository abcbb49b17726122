//! One question at a time in one session: the second waits for its turn, in the order of arrival, so that each is
//! answered with the one before it as context.

use boca_core::SessionId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The locks of all sessions that are in use. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct SessionLocks(Arc<Mutex<HashMap<SessionId, Lock>>>);

/// A session that nobody else may append to or delete.
#[derive(Debug)]
pub(super) struct SessionGuard {
    /// Let go before the entry is looked at.
    guard: Option<OwnedMutexGuard<()>>,
    _place: Place,
}

/// Removes the entry of a session that nobody uses or waits for any more.
#[derive(Debug)]
struct Place {
    locks: SessionLocks,
    id: SessionId,
}

impl SessionLocks {
    /// Waits for the session. Dropping the future leaves the line.
    pub(super) async fn lock(&self, id: &SessionId) -> SessionGuard {
        let (lock, place) = self.enter(id);
        SessionGuard { guard: Some(lock.lock_owned().await), _place: place }
    }

    /// Takes the session if nobody has it.
    pub(super) fn try_lock(&self, id: &SessionId) -> Option<SessionGuard> {
        let (lock, place) = self.enter(id);
        let guard = lock.try_lock_owned().ok()?;
        Some(SessionGuard { guard: Some(guard), _place: place })
    }

    fn enter(&self, id: &SessionId) -> (Lock, Place) {
        let lock = Arc::clone(self.entries().entry(id.clone()).or_default());
        (lock, Place { locks: self.clone(), id: id.clone() })
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<SessionId, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        drop(self.guard.take());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.locks.entries();
        if entries.get(&self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            entries.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[tokio::test]
    async fn one_at_a_time_in_order_and_nothing_is_left_behind() {
        let locks = SessionLocks::default();
        let (a, b): (SessionId, SessionId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let first = locks.lock(&a).await;
        assert!(locks.try_lock(&a).is_none());
        let other = locks.try_lock(&b);
        assert!(other.is_some());
        let mut second = Box::pin(locks.lock(&a));
        let poll = std::future::poll_fn(|context| Poll::Ready(second.as_mut().poll(context))).await;
        assert!(poll.is_pending());
        drop(first);
        assert!(locks.try_lock(&a).is_none(), "it is the waiting one's turn");
        drop(second.await);
        drop(other);
        assert!(locks.entries().is_empty());
        let held = locks.lock(&a).await;
        let mut waiting = Box::pin(locks.lock(&a));
        let poll = std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await;
        assert!(poll.is_pending());
        drop(waiting);
        drop(held);
        assert!(locks.entries().is_empty());
    }
}
