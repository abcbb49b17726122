//! The service that HTTP handlers call.

use super::ahead::Ahead;
use super::exchange::{ExchangeEvent, Run};
use super::question::{CheckedQuestion, Question};
use super::registry::{Registry, RunningExchange};
use super::session_locks::{SessionGuard, SessionLocks};
use crate::config::SharedSettings;
use boca_actors::{ModelHandle, SynthesizerHandle};
use boca_core::{ErrorCode, Failure, RequestId, SessionId};
use boca_store::{Session, Store};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Events that wait for a slow reader. The generation goes on meanwhile, within its own bounds.
const EVENT_QUEUE: usize = 256;

/// Answers questions. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct ChatService {
    pub(super) store: Store,
    pub(super) synthesizer: SynthesizerHandle,
    pub(super) model: ModelHandle,
    pub(super) settings: SharedSettings,
    pub(super) locks: SessionLocks,
    pub(super) ahead: Ahead,
    registry: Registry,
    /// Where exchanges run: they outlive the connection, and the HTTP thread, that brought the question.
    runtime: Handle,
}

/// A question that is being answered.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The session that it belongs to, which exists once the answer is stored.
    pub(crate) session_id: SessionId,
    /// What happens, ending with [`ExchangeEvent::Finished`] or [`ExchangeEvent::Failed`]. Dropping this cancels the
    /// answer; what there is of it is stored.
    pub(crate) events: mpsc::Receiver<ExchangeEvent>,
}

impl ChatService {
    /// A service whose exchanges run on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(
        store: Store,
        synthesizer: SynthesizerHandle,
        model: ModelHandle,
        settings: SharedSettings,
    ) -> Self {
        Self {
            store,
            synthesizer,
            model,
            settings,
            locks: SessionLocks::default(),
            ahead: Ahead::default(),
            registry: Registry::default(),
            runtime: Handle::current(),
        }
    }

    /// Takes a question that arrived at `arrived`.
    ///
    /// # Errors
    /// A bad request, or `Conflict` when the id is in use. Everything else comes as an event.
    pub(crate) fn ask(
        &self,
        question: Question,
        request_id: RequestId,
        arrived: Instant,
    ) -> Result<Exchange, Failure> {
        let settings = self.settings.current();
        let question = CheckedQuestion::new(question, &settings.chat)?;
        let new_session = || SessionId::from_uuid(uuid::Uuid::now_v7());
        let session_id = question.session_id.clone().unwrap_or_else(new_session);
        let deadline = arrived + question.deadline;
        let registration = self.registry.enter(RunningExchange {
            id: request_id.clone(),
            session_id: session_id.clone(),
            mode: question.mode.as_str().to_owned(),
            private: question.private,
            is_with_provider: false,
            arrived,
            deadline,
        })?;
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let run = Run {
            service: self.clone(),
            settings,
            question,
            request_id,
            session_id: session_id.clone(),
            deadline,
            registration,
            events: sender,
        };
        self.runtime.spawn(run.complete());
        Ok(Exchange { session_id, events })
    }

    /// Every question that is being answered, oldest first.
    pub(crate) fn running(&self) -> Vec<RunningExchange> {
        self.registry.list()
    }

    /// Ends a question early; its answer ends with the text that it has. False when there is none with this id.
    pub(crate) fn cancel(&self, id: &RequestId) -> bool {
        self.registry.cancel(id)
    }

    /// Waits until every question is answered and stored, at most for `patience`. Whether that came true.
    pub(crate) async fn idle(&self, patience: Duration) -> bool {
        self.registry.idle(patience).await
    }

    /// Takes on no more work that nobody waits for, and ends what there is of it.
    pub(crate) fn stop_idle_work(&self) {
        self.ahead.stop();
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Deletes a session that nobody uses. Yields what it was.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` while a question of it is being answered, or a failure of the store.
    pub(crate) async fn delete_session(&self, id: &SessionId) -> Result<Session, Failure> {
        let guard = self.take_session(id)?;
        self.ahead.abandon(id);
        let session = self.store.session(id).await?;
        self.store.delete_session(id).await?;
        drop(guard);
        Ok(session)
    }

    fn take_session(&self, id: &SessionId) -> Result<SessionGuard, Failure> {
        self.locks.try_lock(id).ok_or_else(|| {
            let message = format!("a question of session `{id}` is being answered; cancel it first");
            Failure { param: Some("id".into()), ..Failure::new(ErrorCode::Conflict, message) }
        })
    }
}
