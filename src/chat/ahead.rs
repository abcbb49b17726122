//! Summaries of conversations that will soon not fit the context, made when nobody waits for them.

use super::now_unix_ms;
use super::service::ChatService;
use boca_core::{Answer, ChatMessage, GenerateRequest, Mode, Priority, RequestId, SessionId, TurnSummary};
use boca_store::StoreError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long a summary may wait for people, and be written.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The summaries that are being written. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead(Arc<Mutex<Work>>);

#[derive(Debug, Default)]
struct Work {
    is_stopping: bool,
    n_begun: u64,
    running: HashMap<SessionId, (u64, AbortHandle)>,
}

/// One of them; it leaves the list when this is dropped, however it ended.
#[derive(Debug)]
struct Place {
    ahead: Ahead,
    session: SessionId,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut work = self.ahead.lock();
        if work.running.get(&self.session).is_some_and(|(number, _)| *number == self.number) {
            work.running.remove(&self.session);
        }
    }
}

impl Ahead {
    /// Ends the work on a session's summary.
    pub(super) fn abandon(&self, id: &SessionId) {
        let task = self.lock().running.remove(id);
        if let Some((_, task)) = task {
            task.abort();
        }
    }

    /// Ends all of it, and takes on no more.
    pub(super) fn stop(&self) {
        let running = {
            let mut work = self.lock();
            work.is_stopping = true;
            std::mem::take(&mut work.running)
        };
        for (_, task) in running.into_values() {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChatService {
    /// Has the oldest turns of a session summarised, if the next question may not fit any more. `asked` is the question
    /// that was just answered; the session is still locked.
    pub(super) fn summarise_ahead(&self, id: &SessionId, asked: GenerateRequest, answer: &Answer) {
        let was_local = answer.sources.iter().any(|source| source.provider == Mode::Local.as_str());
        if !was_local {
            return;
        }
        let Some(question) = asked.context.turns.last().copied() else { return };
        let Some(mut request) = next_request(asked, answer) else { return };
        let mut work = self.ahead.lock();
        if work.is_stopping || work.running.contains_key(id) {
            return;
        }
        request.context.summary = newest_summary(request.context.summary.take(), answer);
        request.context.turns.extend([question.saturating_add(1), question.saturating_add(2)]);
        let (service, session) = (self.clone(), id.clone());
        work.n_begun += 1;
        let place = Place { ahead: self.ahead.clone(), session, number: work.n_begun };
        let number = place.number;
        let task = self.runtime().spawn(async move {
            service.summarise(&place.session, request).await;
            drop(place);
        });
        work.running.insert(id.clone(), (number, task.abort_handle()));
    }

    async fn summarise(&self, id: &SessionId, request: GenerateRequest) {
        let known = request.context.summary.clone();
        let summary = match self.model.summarise_ahead(request, Instant::now() + PATIENCE).await {
            Ok(Some(summary)) if Some(&summary) != known.as_ref() => summary,
            Ok(_) => return,
            // The next question sees to it itself.
            Err(failure) => {
                tracing::debug!(session_id = %id, %failure, "no summary ahead of its need");
                return;
            }
        };
        let before_turn = summary.before_turn;
        match self.store.put_summary(id, summary, now_unix_ms()).await {
            Ok(()) => tracing::debug!(session_id = %id, before_turn, "older turns were summarised"),
            Err(StoreError::SessionNotFound(_)) => {}
            Err(error) => tracing::warn!(session_id = %id, %error, "a summary could not be stored"),
        }
    }
}

/// What is known of the oldest turns, now that the question is answered.
fn newest_summary(known: Option<TurnSummary>, answer: &Answer) -> Option<TurnSummary> {
    let cuts = answer.sources.iter().filter_map(|source| source.context_cut.as_deref());
    let told = cuts.filter_map(|cut| cut.summary.clone());
    known.into_iter().chain(told).max_by_key(|summary| summary.before_turn)
}

/// The conversation as the next question will find it. How long its answer will be nobody knows.
fn next_request(asked: GenerateRequest, answer: &Answer) -> Option<GenerateRequest> {
    // There are no two of one id, and this one is not the question's.
    let id = RequestId::from_uuid(uuid::Uuid::now_v7());
    let (max_tokens, default_max_tokens, priority) = (None, 1, Priority::Background);
    let mut request =
        GenerateRequest { id, max_tokens, default_max_tokens, priority, time_left: PATIENCE, ..asked };
    let answered =
        ChatMessage { reasoning: answer.reasoning.clone(), ..ChatMessage::assistant(&answer.text) };
    request.messages.extend([answered, ChatMessage::user("?")]);
    (!answer.text.trim().is_empty()).then_some(request)
}
