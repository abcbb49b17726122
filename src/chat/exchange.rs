//! One question on its way to a stored answer. Runs as a task of its own, so that what was generated is stored even
//! when the client is gone.

use super::history;
use super::merge::{Merged, merge};
use super::now_unix_ms;
use super::question::CheckedQuestion;
use super::records;
use super::registry::Registration;
use super::service::ChatService;
use super::session_locks::SessionGuard;
use crate::config::Settings;
use boca_actors::AnswerStream;
use boca_core::{
    Answer, AnswerEvent, Ask, ContextPlan, ContextPolicy, ErrorCode, Failure, GenerateRequest, Mode,
    RequestId, Role, SessionId, SourceTrace,
};
use boca_store::{Message, NewSession, Session, SessionSettings, StoreError, StoredMessage};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

/// How long after its deadline a stream may take to say that it is over. Only a defect takes longer.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);
/// A reader that takes nothing for this long after its deadline is taken for gone.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// One thing that happened to a question.
#[derive(Debug)]
pub(crate) enum ExchangeEvent {
    /// It is in the queue of whoever answers.
    Accepted,
    /// A provider changed its state.
    Source(SourceTrace),
    /// More thinking.
    Reasoning(String),
    /// More text.
    Text(String),
    /// The answer begins anew; says why.
    Restart(String),
    /// The answer is complete and stored.
    Finished(Box<Reply>),
    /// There is no answer, or not all of it.
    Failed(Failure),
}

/// An answer that is stored.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The answer.
    pub(crate) answer: Answer,
    /// Whether the demo model wrote it.
    pub(crate) is_demo: bool,
    /// Whether it stayed on this machine.
    pub(crate) is_private: bool,
}

/// Everything that one exchange needs.
pub(super) struct Run {
    pub(super) service: ChatService,
    pub(super) settings: Arc<Settings>,
    pub(super) question: CheckedQuestion,
    pub(super) request_id: RequestId,
    pub(super) session_id: SessionId,
    pub(super) deadline: Instant,
    pub(super) registration: Registration,
    pub(super) events: mpsc::Sender<ExchangeEvent>,
}

/// What comes next while an answer is followed.
enum Next {
    Event(Option<Result<AnswerEvent, Failure>>),
    /// Somebody asked for its end by its id.
    Cancel,
    /// It is over without an end of its own.
    End(Failure),
}

/// What came of a question that was accepted.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) reasoning: String,
    /// Everyone who was asked, as last heard of.
    pub(super) sources: Vec<SourceTrace>,
    pub(super) answer: Option<Box<Answer>>,
    pub(super) failure: Option<Failure>,
}

impl Run {
    /// Answers, stores, tells.
    pub(super) async fn complete(mut self) {
        let outcome = self.answer().await;
        if let Err(failure) = &outcome {
            tracing::debug!(
                request_id = %self.request_id, session_id = %self.session_id, code = %failure.code,
                error = %failure, "a question was not answered"
            );
        }
        let event = match outcome {
            Ok(reply) => ExchangeEvent::Finished(Box::new(reply)),
            Err(failure) => ExchangeEvent::Failed(failure),
        };
        let Self { events, registration, .. } = self;
        // Whoever reads that it is over may use the id again.
        drop(registration);
        drop(tokio::time::timeout(READER_PATIENCE, events.send(event)).await);
    }

    async fn answer(&mut self) -> Result<Reply, Failure> {
        let session = self.wait_for_session().await?;
        let asked_unix_ms = now_unix_ms();
        let (stored, history) = self.load().await?;
        let session_settings = stored.as_ref().map(|session| session.settings.clone()).unwrap_or_default();
        let merged = merge(&self.question, &session_settings, &self.settings.chat);
        let is_private = merged.private;
        self.registration.update(|exchange| exchange.private = is_private);
        let ask = self.ask(merged, stored, history);
        let asked = (ask.generate.context.policy == ContextPolicy::Summarise).then(|| ask.generate.clone());
        let stream = self.be_taken_on(ask).await?;
        self.tell(ExchangeEvent::Accepted).await;
        let outcome = self.follow(stream).await;
        let reply = self.store(outcome, is_private, asked_unix_ms).await;
        if let (Some(asked), Ok(reply)) = (asked, &reply) {
            self.service.summarise_ahead(&self.session_id, asked, &reply.answer);
        }
        drop(session);
        reply
    }

    /// Waits until no other question of this session is being answered.
    async fn wait_for_session(&mut self) -> Result<SessionGuard, Failure> {
        let locks = self.service.locks.clone();
        let cancelled = self.registration.cancelled.wait_for(|cancelled| *cancelled);
        tokio::select! {
            guard = timeout_at(self.deadline.into(), locks.lock(&self.session_id)) => guard.map_err(|_| {
                let id = &self.session_id;
                let message = format!("another question of session `{id}` was being answered until the deadline");
                Failure { param: Some("session_id".into()), ..Failure::new(ErrorCode::Conflict, message) }
            }),
            _ = cancelled => Err(cancelled_failure()),
            () = self.events.closed() => Err(cancelled_failure()),
        }
    }

    /// Asks. Whoever is asked may have to work before it takes the question on, so it can be cancelled until then, too.
    async fn be_taken_on(&mut self, ask: Ask) -> Result<AnswerStream, Failure> {
        let cancelled = self.registration.cancelled.wait_for(|cancelled| *cancelled);
        tokio::select! {
            stream = self.service.synthesizer.ask(ask, self.deadline) => stream,
            _ = cancelled => Err(cancelled_failure()),
            () = self.events.closed() => Err(cancelled_failure()),
        }
    }

    async fn load(&self) -> Result<(Option<Session>, Vec<StoredMessage>), Failure> {
        let store = &self.service.store;
        match store.session(&self.session_id).await {
            Ok(session) => Ok((Some(session), store.messages(&self.session_id).await?)),
            Err(StoreError::SessionNotFound(_)) => Ok((None, Vec::new())),
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&self, merged: Merged, session: Option<Session>, history: Vec<StoredMessage>) -> Ask {
        let number = session.as_ref().map_or(0, |session| session.n_messages);
        let summary = session.and_then(|session| session.summary).map(|stored| stored.summary);
        let message = self.question.message.clone();
        let (messages, turns) = history::turns(merged.system, history, message, number);
        if self.settings.log.log_prompts {
            tracing::info!(
                request_id = %self.request_id, session_id = %self.session_id, prompt = %self.question.message,
                "a question"
            );
        }
        Ask {
            session_id: self.session_id.clone(),
            mode: self.question.mode.clone(),
            effort: self.question.effort,
            strategy: self.question.strategy,
            private: merged.private,
            generate: GenerateRequest {
                id: self.request_id.clone(),
                messages,
                tools_json: Vec::new(),
                sampling: merged.sampling,
                max_tokens: merged.max_tokens,
                default_max_tokens: merged.default_max_tokens,
                answer_so_far: String::new(),
                stop: self.question.stop.clone(),
                top_logprobs: self.question.top_logprobs,
                time_left: self.deadline.saturating_duration_since(Instant::now()),
                priority: self.question.priority,
                is_read_whole: self.question.is_read_whole,
                prepared: None,
                fairness_key: self.question.fairness_key.clone(),
                context: ContextPlan { policy: self.question.context_policy, turns, summary },
            },
        }
    }

    /// Passes events on until the answer ends. A reader that goes away ends it at once; a cancellation by id lets it
    /// end by itself, with the text that it has.
    async fn follow(&mut self, mut stream: AnswerStream) -> Outcome {
        let mut outcome = Outcome::default();
        let mut may_be_cancelled = true;
        let over = self.deadline + STREAM_PATIENCE;
        loop {
            let next = {
                let cancelled = self.registration.cancelled.wait_for(|cancelled| *cancelled);
                tokio::select! {
                    event = stream.next() => Next::Event(event),
                    () = self.events.closed() => Next::End(cancelled_failure()),
                    _ = cancelled, if may_be_cancelled => Next::Cancel,
                    () = tokio::time::sleep_until(over.into()) => {
                        let message = "the answer did not end at its deadline";
                        Next::End(Failure::new(ErrorCode::DeadlineExceeded, message))
                    }
                }
            };
            let event = match next {
                Next::Event(event) => event,
                Next::Cancel => {
                    may_be_cancelled = false;
                    if self.service.synthesizer.cancel(&self.request_id) {
                        continue;
                    }
                    outcome.failure = Some(cancelled_failure());
                    return outcome;
                }
                Next::End(failure) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            };
            match event {
                Some(Ok(AnswerEvent::Source(trace))) => {
                    outcome.hear_of(&trace);
                    if trace.provider != Mode::Local.as_str() {
                        self.registration.update(|exchange| exchange.is_with_provider = true);
                    }
                    self.tell(ExchangeEvent::Source(trace)).await;
                }
                Some(Ok(AnswerEvent::Reasoning(more))) => {
                    outcome.reasoning.push_str(&more);
                    self.tell(ExchangeEvent::Reasoning(more)).await;
                }
                Some(Ok(AnswerEvent::Text(more))) => {
                    outcome.text.push_str(&more);
                    self.tell(ExchangeEvent::Text(more)).await;
                }
                Some(Ok(AnswerEvent::Restart(reason))) => {
                    outcome.reasoning.clear();
                    outcome.text.clear();
                    self.tell(ExchangeEvent::Restart(reason)).await;
                }
                Some(Ok(AnswerEvent::Done(answer))) => {
                    outcome.answer = Some(answer);
                    return outcome;
                }
                Some(Err(failure)) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
                None => {
                    let message = "the answer ended without saying how";
                    outcome.failure = Some(Failure::new(ErrorCode::Internal, message));
                    return outcome;
                }
            }
        }
    }

    /// Gives an event to the reader. One that does not read until the deadline, and a while longer, is given up: its
    /// absence shows in [`Self::follow`].
    async fn tell(&mut self, event: ExchangeEvent) {
        let give_up = self.deadline.max(Instant::now()) + READER_PATIENCE;
        if timeout_at(give_up.into(), self.events.send(event)).await.is_err() {
            // A channel whose other side is gone stands for a reader that does not read.
            self.events = mpsc::channel(1).0;
        }
    }

    async fn store(&self, outcome: Outcome, is_private: bool, asked_unix_ms: u64) -> Result<Reply, Failure> {
        let now_unix_ms = now_unix_ms();
        let record = records::answer_record(&self.request_id, &outcome, now_unix_ms);
        let note = async {
            if let Some(record) = record
                && let Err(error) = self.service.store.add_answer(record).await
            {
                tracing::warn!(request_id = %self.request_id, %error, "an answer is missing from the comparison");
            }
        };
        if let Some(failure) = outcome.failure.as_ref().filter(|failure| is_refusal(failure, &outcome)) {
            note.await;
            return Err(failure.clone());
        }
        let info = self.service.model.status().info;
        let question = Message {
            request_id: Some(self.request_id.clone()),
            private: is_private,
            ..Message::text(Role::User, self.question.message.clone(), asked_unix_ms)
        };
        let (answer, is_demo) = records::answer_message(&outcome, info.as_ref(), now_unix_ms);
        if self.settings.log.log_prompts {
            tracing::info!(request_id = %self.request_id, answer = %answer.content, "an answer");
        }
        let answer = Message { request_id: Some(self.request_id.clone()), private: is_private, ..answer };
        let new =
            NewSession { id: self.session_id.clone(), title: None, settings: SessionSettings::default() };
        let turns = vec![question, answer];
        // Both at once, so that one sync of the disk makes both durable.
        let append = self.service.store.append_messages(&self.session_id, Some(new), turns, now_unix_ms);
        let (appended, ()) = tokio::join!(append, note);
        appended?;
        match (outcome.answer, outcome.failure) {
            (Some(answer), _) => Ok(Reply { answer: *answer, is_demo, is_private }),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::new(ErrorCode::Internal, "an answer ended without an end")),
        }
    }
}

impl Outcome {
    /// Keeps the newest that is known of a source.
    fn hear_of(&mut self, trace: &SourceTrace) {
        let known =
            |source: &&mut SourceTrace| source.provider == trace.provider && source.role == trace.role;
        match self.sources.iter_mut().find(known) {
            Some(source) => *source = trace.clone(),
            None => self.sources.push(trace.clone()),
        }
    }
}

/// Whether nothing happened at all, so that there is nothing to keep and the same question may be sent again.
fn is_refusal(failure: &Failure, outcome: &Outcome) -> bool {
    let nothing_was_said = outcome.text.is_empty() && outcome.reasoning.is_empty();
    nothing_was_said
        && matches!(
            failure.code,
            ErrorCode::InvalidRequest
                | ErrorCode::ContextLengthExceeded
                | ErrorCode::Conflict
                | ErrorCode::Overloaded
                | ErrorCode::ModelLoading
                | ErrorCode::ModelUnavailable
                | ErrorCode::Restarting
                | ErrorCode::ShuttingDown
                | ErrorCode::ProviderFailed
                | ErrorCode::ProviderRefused
                | ErrorCode::ProviderUnavailable
                | ErrorCode::NoProviderAnswered
        )
}

fn cancelled_failure() -> Failure {
    Failure::new(ErrorCode::Cancelled, "the request was cancelled")
}
