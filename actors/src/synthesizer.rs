//! SynthesizerActor: gives the one answer to a question.
//!
//! Talks to the providers; with the model alone it passes that one's answer through. Asked by the daemon through
//! [`SynthesizerHandle`]. It holds nothing but counters, so it fails only by a defect of its own, and a restart loses
//! no answer: streams that were handed out go on.

use crate::exit_guard::ExitGuard;
use crate::handle::{ActorHandle, Call};
use crate::measurements::Outcome;
use crate::messages::{Observe, Synthesize};
use crate::metrics::MetricsHandle;
use crate::model_handle::ModelHandle;
use crate::routing::{ProviderFacts, choose};
use crate::single_source::SingleSource;
use crate::stream::{AnswerStream, Recorder};
use crate::supervisor::Control;
use actix::{Actor, Context, Handler};
use boca_core::{Ask, Failure};
use std::time::Instant;

/// The provider's name for the model on this machine.
pub(crate) const LOCAL_PROVIDER: &str = "local";

/// What the synthesizer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynthesizerObservation {
    /// Questions taken since the actor started.
    pub asked: u64,
    /// The providers that it can ask.
    pub providers: Vec<String>,
}

/// The actor.
pub(crate) struct SynthesizerActor {
    model: ModelHandle,
    asked: u64,
    /// Tells the supervisor when this value is dropped.
    _exit: ExitGuard,
}

impl SynthesizerActor {
    pub(crate) fn new(model: ModelHandle, exit: ExitGuard) -> Self {
        Self { model, asked: 0, _exit: exit }
    }

    fn providers(&self) -> Vec<ProviderFacts> {
        let model = self.model.model_name();
        vec![ProviderFacts { name: LOCAL_PROVIDER.into(), model, is_local: true }]
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
        let (Synthesize { ask, arrived }, reply) = call.into_parts();
        let providers = self.providers();
        let provider = match choose(&ask.mode, ask.private, &providers) {
            Ok(place) => providers[place].name.clone(),
            Err(failure) => return reply.send(Err(failure)),
        };
        let model = self.model.clone();
        // A task of its own: the actor stays free, and a defect in here ends one answer and not the actor.
        actix::spawn(async move {
            let began = arrived.elapsed();
            let generation = model.generate(ask.generate, arrived, deadline).await;
            reply.send(generation.map(|generation| {
                AnswerStream::new(SingleSource::new(provider, generation, model, arrived, began))
            }));
        });
    }
}

impl Handler<Call<Observe<Self>>> for SynthesizerActor {
    type Result = ();

    fn handle(&mut self, call: Call<Observe<Self>>, _: &mut Context<Self>) {
        call.reply(|_| SynthesizerObservation {
            asked: self.asked,
            providers: self.providers().into_iter().map(|provider| provider.name).collect(),
        });
    }
}

/// A cloneable way to ask, which survives restarts.
#[derive(Debug, Clone)]
pub struct SynthesizerHandle {
    actor: ActorHandle<SynthesizerActor>,
    metrics: MetricsHandle,
    route: &'static str,
}

impl SynthesizerHandle {
    pub(crate) fn new(actor: ActorHandle<SynthesizerActor>, metrics: MetricsHandle) -> Self {
        Self { actor, metrics, route: "unknown" }
    }

    /// The same handle, whose questions are counted under `route` (`/api/chat`).
    pub fn for_route(&self, route: &'static str) -> Self {
        Self { route, ..self.clone() }
    }

    /// Asks a question. The stream comes as soon as the question is queued; dropping it cancels the answer.
    ///
    /// The outcome is recorded in the metrics, whatever it is: the caller does not record it again. The deadline
    /// holds for the whole answer; the smaller of it and the request's `time_left` counts. An answer that meets its
    /// deadline after its first token ends well, with [`boca_core::FinishReason::Deadline`].
    ///
    /// # Errors
    /// `InvalidRequest` (an unknown `mode`), `Overloaded`, `ModelUnavailable`, `Restarting`, `ShuttingDown`,
    /// `Conflict` (the request's id is in use), `DeadlineExceeded`.
    pub async fn ask(&self, ask: Ask, deadline: Instant) -> Result<AnswerStream, Failure> {
        let arrived = Instant::now();
        let recorder = Recorder::new(self.metrics.clone(), self.route, ask.mode.clone(), arrived);
        let answer = self.actor.call(Synthesize { ask, arrived }, deadline).await.flatten();
        match answer {
            Ok(stream) => Ok(stream.recorded_by(recorder)),
            Err(failure) => {
                recorder.record(Outcome::Failed(failure.code), None);
                Err(failure)
            }
        }
    }

    /// What the synthesizer shows.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn observe(&self, deadline: Instant) -> Result<SynthesizerObservation, Failure> {
        self.actor.call(Observe::default(), deadline).await
    }
}
