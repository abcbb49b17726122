//! SynthesizerActor: gives the one answer to a question.
//!
//! Knows everyone who can be asked, and decides who is: who may see the question, in which mode, in which order. The
//! work on the answer itself ([`crate::fusion`]) runs with its reader, so this actor is never busy for long, and it
//! fails only by a defect of its own. A restart loses no answer: streams that were handed out go on, and what is on
//! record of the providers is kept outside of the actor.

use crate::exit_guard::ExitGuard;
use crate::fusion::{Conductor, Outbox, Question, Running, TrackRecords, Work, candidate, now};
use crate::handle::{ActorHandle, Call};
use crate::measurements::Outcome;
use crate::messages::{Observe, Synthesize};
use crate::metrics::MetricsHandle;
use crate::source::Source;
use crate::stream::{Accepted, AnswerStream, Recorder};
use crate::supervisor::Control;
use actix::{Actor, Context, Handler};
use boca_core::fusion::{Admitted, FusionSettings, Manner, TrackRecord, effort_sampling, resolve};
use boca_core::{Ask, Failure, ProviderKind, RequestId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a caller waits for somebody to take the question on before it is given the stream all the same. Within it
/// a refusal comes as a refusal; after it, as the end of the stream.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(1);

/// What the synthesizer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynthesizerObservation {
    /// Questions taken since the actor started.
    pub asked: u64,
    /// Answers that are being worked on.
    pub running: usize,
    /// The providers that it can ask.
    pub providers: Vec<String>,
}

/// What every incarnation of the actor has.
#[derive(Debug, Clone)]
pub(crate) struct SynthesizerShared {
    /// Everyone who can be asked, in the order of the config.
    pub(crate) sources: Arc<[Arc<dyn Source>]>,
    /// What a person can set.
    pub(crate) settings: Arc<FusionSettings>,
    /// What is known of them.
    pub(crate) records: TrackRecords,
    /// What is being worked on.
    pub(crate) running: Running,
}

impl SynthesizerShared {
    pub(crate) fn new(sources: Vec<Arc<dyn Source>>, settings: FusionSettings) -> Self {
        Self {
            sources: sources.into(),
            settings: Arc::new(settings),
            records: TrackRecords::default(),
            running: Running::default(),
        }
    }

    /// Decides who is asked.
    ///
    /// # Errors
    /// `InvalidRequest` that names `mode` or `private`.
    pub(crate) fn prepare(
        &self,
        mut ask: Ask,
        arrived: Instant,
        deadline: Instant,
    ) -> Result<Question, Failure> {
        let by_request = arrived.checked_add(ask.generate.time_left).unwrap_or(deadline);
        let deadline = deadline.min(by_request);
        let manner = Manner::of(&ask.mode, ask.strategy, ask.effort, &self.settings);
        ask.generate.sampling = ask.generate.sampling.over(&effort_sampling(ask.effort));
        // Everything after this line knows only those who may see the question.
        let sources = Admitted::new(self.sources.iter().cloned(), ask.private, |source| source.facts());
        let candidates = sources.map(|source| candidate(source.as_ref()));
        let time_left = deadline.saturating_duration_since(now());
        let plan = resolve(&manner.mode, &candidates, &self.settings, time_left)?;
        Ok(Question {
            ask,
            manner,
            plan,
            sources,
            settings: Arc::clone(&self.settings),
            records: self.records.clone(),
            arrived,
            deadline,
            seed: fastrand::u64(..),
        })
    }

    /// Begins the work on an answer. The stream comes as soon as somebody has taken the question on.
    ///
    /// # Errors
    /// Why nobody takes it on; `Conflict` for an id that is in use.
    pub(crate) async fn begin(&self, question: Question) -> Result<AnswerStream, Failure> {
        let registration = self.running.register(&question.ask.generate.id)?;
        let sources = question.sources.sources();
        let is_engine = |place: &usize| sources[*place].facts().kind == ProviderKind::Engine;
        let engine_alone = question.plan.asked.iter().all(is_engine);
        let outbox = Outbox::default();
        let conductor = Conductor::new(question, registration, outbox.clone());
        let mut work = Work::new(outbox, conductor.run());
        if engine_alone {
            // It says at once whether there is a place in its queue.
            work.until_accepted().await?;
        } else if let Ok(accepted) = tokio::time::timeout(ACCEPT_PATIENCE, work.until_accepted()).await {
            accepted?;
        }
        Ok(AnswerStream::new(work))
    }
}

/// The actor.
pub(crate) struct SynthesizerActor {
    shared: SynthesizerShared,
    asked: u64,
    /// Tells the supervisor when this value is dropped.
    _exit: ExitGuard,
}

impl SynthesizerActor {
    pub(crate) fn new(shared: SynthesizerShared, exit: ExitGuard) -> Self {
        Self { shared, asked: 0, _exit: exit }
    }
}

impl Actor for SynthesizerActor {
    type Context = Context<Self>;
}

impl Handler<Control> for SynthesizerActor {
    type Result = ();

    fn handle(&mut self, control: Control, ctx: &mut Context<Self>) {
        control.obey(ctx);
    }
}

impl Handler<Call<Synthesize>> for SynthesizerActor {
    type Result = ();

    fn handle(&mut self, call: Call<Synthesize>, _: &mut Context<Self>) {
        self.asked += 1;
        let deadline = call.deadline;
        let shared = &self.shared;
        call.reply(|Synthesize { ask, arrived }| shared.prepare(ask, arrived, deadline).map(Box::new));
    }
}

impl Handler<Call<Observe<Self>>> for SynthesizerActor {
    type Result = ();

    fn handle(&mut self, call: Call<Observe<Self>>, _: &mut Context<Self>) {
        call.reply(|_| SynthesizerObservation {
            asked: self.asked,
            running: self.shared.running.n_running(),
            providers: self.shared.sources.iter().map(|source| source.facts().name).collect(),
        });
    }
}

/// A cloneable way to ask, which survives restarts.
#[derive(Debug, Clone)]
pub struct SynthesizerHandle {
    actor: ActorHandle<SynthesizerActor>,
    shared: SynthesizerShared,
    metrics: MetricsHandle,
    route: &'static str,
}

impl SynthesizerHandle {
    pub(crate) fn new(
        actor: ActorHandle<SynthesizerActor>,
        shared: SynthesizerShared,
        metrics: MetricsHandle,
    ) -> Self {
        Self { actor, shared, metrics, route: "unknown" }
    }

    /// The same handle, whose questions are counted under `route` (`/api/chat`).
    pub fn for_route(&self, route: &'static str) -> Self {
        Self { route, ..self.clone() }
    }

    /// Asks a question. The stream comes as soon as somebody has taken the question on; dropping it cancels the answer
    /// with everyone who works on it. The answer is made while the stream is read.
    ///
    /// A `mode` of `auto` stands for none: then the question's effort decides, then the settings.
    ///
    /// The outcome is recorded in the metrics, whatever it is: the caller does not record it again. The deadline
    /// holds for the whole answer; the smaller of it and the request's `time_left` counts. An answer that meets its
    /// deadline after its first token ends well, with [`boca_core::FinishReason::Deadline`].
    ///
    /// # Errors
    /// `InvalidRequest` (an unknown `mode`, a `private` question to somebody who is not local), `Conflict` (the
    /// request's id is in use), `NoProviderAnswered` (names each and its reason), and where one source alone was asked
    /// its own failure: `Overloaded`, `ModelUnavailable`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn ask(&self, ask: Ask, deadline: Instant) -> Result<AnswerStream, Failure> {
        let arrived = now();
        let mut recorder = Recorder::new(self.metrics.clone(), self.route, ask.mode.clone(), arrived);
        let answer = match self.actor.call(Synthesize { ask, arrived }, deadline).await.flatten() {
            Ok(question) => {
                recorder.resolved(&question.plan.mode);
                let id = question.ask.generate.id.clone();
                let begun = self.shared.begin(*question).await;
                if begun.is_ok() {
                    recorder.accepted(Accepted { cancelled: self.shared.running.watch(&id) });
                }
                begun
            }
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(stream) => Ok(stream.recorded_by(recorder)),
            Err(failure) => {
                recorder.record(Outcome::Failed(failure.code), None);
                Err(failure)
            }
        }
    }

    /// Ends the answer to a request early, with everyone who works on it: what was shown is kept, and the stream ends
    /// with it. False when there is no such request. Waits for nobody.
    pub fn cancel(&self, id: &RequestId) -> bool {
        self.shared.running.cancel(id)
    }

    /// What is on record of a provider: what was loaded, and every answer since.
    pub fn track_record(&self, provider: &str) -> TrackRecord {
        self.shared.records.of(provider)
    }

    /// Tells what was known of a provider before this process, for selecting by record.
    pub fn load_track_record(&self, provider: &str, record: TrackRecord) {
        self.shared.records.load(provider, record);
    }

    /// Notes what a person thought of an answer by this provider.
    pub fn note_feedback(&self, provider: &str, is_good: bool) {
        self.shared.records.note_decision(provider, is_good);
    }

    /// What the synthesizer shows.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn observe(&self, deadline: Instant) -> Result<SynthesizerObservation, Failure> {
        self.actor.call(Observe::default(), deadline).await
    }
}
