//! What the actors are asked: imperative nouns, each with a typed reply.

use crate::fusion::Question;
use crate::generation_stream::GenerationStream;
use crate::handle::ActorRequest;
use crate::metrics::{GenerationRecord, MetricsSnapshot};
use crate::model_status::ModelObservation;
use boca_core::{Ask, Failure, GenerateRequest, RequestId};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// To any actor: show your state. Answering it never waits and never counts as activity.
pub(crate) struct Observe<A>(PhantomData<fn() -> A>);

impl<A> Default for Observe<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// An actor that answers [`Observe`].
pub(crate) trait Observable: 'static {
    /// Its small, complete state.
    type State: Send + 'static;
}

impl<A: Observable> ActorRequest for Observe<A> {
    type Reply = A::State;
}

/// To the synthesizer: decide who answers a question.
pub(crate) struct Synthesize {
    /// The question.
    pub(crate) ask: Ask,
    /// When the question arrived; every duration of its trace counts from here.
    pub(crate) arrived: Instant,
}

impl ActorRequest for Synthesize {
    type Reply = Result<Box<Question>, Failure>;
}

/// To the model: generate. The reply comes as soon as the request is queued.
pub(crate) struct Generate {
    /// The validated request.
    pub(crate) request: GenerateRequest,
    /// Queue time counts from here.
    pub(crate) accepted_at: Instant,
}

impl ActorRequest for Generate {
    type Reply = Result<GenerationStream, Failure>;
}

/// To the model: end one request, keeping the text it has. The reply tells whether there was such a request.
pub(crate) struct Cancel {
    /// The request.
    pub(crate) id: RequestId,
}

impl ActorRequest for Cancel {
    type Reply = bool;
}

/// To the model: take no new requests, let the accepted ones finish for `grace`, then cancel them.
pub(crate) struct Drain {
    /// How long the accepted ones may take.
    pub(crate) grace: Duration,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Requests that were still unfinished when the grace time was over, and were cancelled.
    pub cancelled: usize,
}

impl ActorRequest for Drain {
    type Reply = DrainReport;
}

/// To the model: load the weights again after a load that failed for good.
pub(crate) struct Reload;

/// What a reload found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Loading began.
    Started,
    /// It is being loaded already.
    AlreadyLoading,
    /// It is loaded.
    AlreadyLoaded,
}

impl ActorRequest for Reload {
    type Reply = Result<ReloadOutcome, Failure>;
}

/// To the model: bring the weights into memory, whyever they are not there.
pub(crate) struct Load;

impl ActorRequest for Load {
    type Reply = Result<ReloadOutcome, Failure>;
}

/// To the model: let the weights go once nothing runs, until somebody wants them back.
pub(crate) struct Unload;

/// What an unloading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnloadOutcome {
    /// They go as soon as nothing runs.
    Started,
    /// They are not there.
    AlreadyUnloaded,
}

impl ActorRequest for Unload {
    type Reply = UnloadOutcome;
}

/// To the metrics: count one finished request.
pub(crate) struct Record(pub(crate) GenerationRecord);

impl ActorRequest for Record {
    /// It would be counted twice.
    const IS_REPEATABLE: bool = false;

    type Reply = ();
}

/// The observation of [`crate::model::ModelActor`].
impl Observable for crate::model::ModelActor {
    type State = ModelObservation;
}

/// The observation of [`crate::metrics::MetricsActor`].
impl Observable for crate::metrics::MetricsActor {
    type State = MetricsSnapshot;
}

/// The observation of [`crate::synthesizer::SynthesizerActor`].
impl Observable for crate::synthesizer::SynthesizerActor {
    type State = crate::synthesizer::SynthesizerObservation;
}
