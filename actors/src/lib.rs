//! The actors of boca, their supervision, and the handles by which everything else reaches them.
//!
//! - [`SynthesizerHandle`]: asks a question, gives an [`AnswerStream`].
//! - [`ModelHandle`]: status, queue, cancellation, drain and reload of the model.
//! - [`MetricsHandle`]: counters and percentiles.
//!
//! [`start`] must be called inside an actix system; the handles work from any thread that has a tokio runtime. Every
//! call carries a deadline, and fails with a [`boca_core::Failure`] whose code tells whether a retry is safe.

mod anthropic;
mod cancel_cause;
mod child_status;
mod engine_host;
mod engine_hosting;
mod engine_process;
mod engine_thread;
mod exit_guard;
mod fair_order;
mod fusion;
mod gemini;
mod generation_channel;
mod generation_queue;
mod generation_stream;
mod handle;
mod machine;
mod measurements;
mod memory;
mod memory_level;
mod messages;
mod metrics;
mod model;
mod model_context;
mod model_handle;
mod model_memory;
mod model_residency;
mod model_source;
mod model_status;
mod ollama;
mod openai;
mod prompt_desk;
mod provider;
mod provider_answers;
mod provider_handle;
mod provider_io;
mod provider_settings;
mod provider_shared;
mod provider_status;
mod providers;
mod queue_report;
mod queue_state;
mod restart_policy;
mod service_time;
mod source;
mod stream;
mod supervisor;
mod supervisor_child;
mod supervisor_plan;
mod synthesizer;

pub use cancel_cause::CancelCause;
pub use engine_hosting::EngineHosting;
pub use engine_process::{WorkerCommand, WorkerError, WorkerJob, serve_engine};
pub use generation_queue::{QueueReport, RequestReport};
pub use memory_level::{MemoryLevel, MemoryPatience};
pub use messages::{DrainReport, ReloadOutcome, UnloadOutcome};
pub use metrics::{Distribution, GenerationRecord, MetricsHandle, MetricsSnapshot, Outcome};
pub use model_handle::ModelHandle;
pub use model_memory::MemoryOptions;
pub use model_status::{ModelObservation, ModelStatus, remaining_load_time};
pub use provider_settings::{ProviderSettings, UsageLedger};
pub use provider_status::ProviderStatus;
pub use restart_policy::{Backoff, Decision, EndedRun, Ending, Restart, RestartHistory, RestartPolicy};
pub use stream::AnswerStream;
pub use supervisor::{ActorReport, Escalation, Supervision, SupervisionReport};
pub use supervisor_plan::Strategy;
pub use synthesizer::{SynthesizerHandle, SynthesizerObservation};

use boca_core::fusion::FusionSettings;
use boca_engine::PromptMakerFactory;
use generation_queue::{GenerationQueue, QueueSettings};
use metrics::MetricsActor;
use model::{ModelActor, ModelShared};
use model_status::StatusCell;
use prompt_desk::PromptDesk;
use providers::Providers;
use source::Source;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{ChildSpec, Placement, Supervised, Supervisor};
use synthesizer::{SynthesizerActor, SynthesizerShared};

/// The model actor's name in reports.
pub const MODEL: &str = "model";
/// The synthesizer's name in reports.
pub const SYNTHESIZER: &str = "synthesizer";
/// The metrics actor's name in reports.
pub const METRICS: &str = "metrics";

/// What the actors need to start.
#[derive(Clone)]
pub struct ActorsOptions {
    /// Where the engine lives, and how it is built there.
    pub engine: EngineHosting,
    /// Makes prompts before requests are queued; without one the engine makes them.
    pub prompts: Option<PromptMakerFactory>,
    /// Restarts, heartbeats, time limits.
    pub supervision: Supervision,
    /// The most requests that wait behind the running ones; one more is refused as overloaded.
    pub queue_limit: usize,
    /// The most requests that the engine is given at once; what it was built for.
    pub max_running: usize,
    /// The most unanswered calls of one actor.
    pub mailbox_capacity: usize,
    /// How long after its deadline a generation may take to end with the text that it has.
    pub deadline_grace: Duration,
    /// An engine that has not ended a generation for this long after it had to is given up, and the process with it.
    /// Longer than the longest single step of the slowest machine.
    pub stuck_after: Duration,
    /// How often a request may try whether an engine has recovered whose restarts are spent.
    pub probe_every: Duration,
    /// When the weights of the model are in memory.
    pub memory: MemoryOptions,
    /// The providers that are reached over HTTP, each with a name of its own.
    pub providers: Vec<ProviderSettings>,
    /// Where the use of providers is kept; without one their daily budgets begin anew with each start.
    pub ledger: Option<Arc<dyn UsageLedger>>,
    /// How one answer comes out of several.
    pub fusion: FusionSettings,
}

impl ActorsOptions {
    /// The defaults, with this engine.
    pub fn new(engine: EngineHosting) -> Self {
        Self {
            engine,
            prompts: None,
            supervision: Supervision::default(),
            queue_limit: 16,
            max_running: 1,
            mailbox_capacity: 64,
            deadline_grace: Duration::from_secs(2),
            stuck_after: Duration::from_secs(600),
            probe_every: Duration::from_secs(60),
            memory: MemoryOptions::default(),
            providers: Vec::new(),
            ledger: None,
            fusion: FusionSettings::default(),
        }
    }
}

impl fmt::Debug for ActorsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorsOptions")
            .field("supervision", &self.supervision)
            .field("queue_limit", &self.queue_limit)
            .field("max_running", &self.max_running)
            .field("mailbox_capacity", &self.mailbox_capacity)
            .field("deadline_grace", &self.deadline_grace)
            .field("stuck_after", &self.stuck_after)
            .field("probe_every", &self.probe_every)
            .field("engine", &self.engine)
            .field("memory", &self.memory)
            .field("providers", &self.providers)
            .field("fusion", &self.fusion)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

/// The running actors. Clones share them.
#[derive(Debug, Clone)]
pub struct Actors {
    /// Asks questions.
    pub synthesizer: SynthesizerHandle,
    /// The model.
    pub model: ModelHandle,
    /// The figures.
    pub metrics: MetricsHandle,
    providers: Providers,
    supervisor: Arc<Supervisor>,
}

/// Starts every actor; the model begins to load at once.
///
/// # Panics
/// Outside an actix system, and when the system has no thread left.
pub fn start(options: ActorsOptions) -> Actors {
    let ActorsOptions {
        engine,
        prompts,
        supervision,
        queue_limit,
        max_running,
        mailbox_capacity,
        deadline_grace,
        stuck_after,
        probe_every,
        memory,
        ..
    } = options;
    // Handles find the next incarnation of whom they lead to, and what outlives an actor is kept outside of it, so
    // nobody has to be started again because of another.
    let supervisor = Supervisor::new(Strategy::OneForOne);
    let metrics = MetricsHandle::new(supervisor.start(child(
        METRICS,
        &[],
        supervision,
        mailbox_capacity,
        MetricsActor::new,
    )));

    let status = Arc::new(StatusCell::default());
    let settings = QueueSettings { limit: queue_limit, max_running, deadline_grace };
    let queue = GenerationQueue::new(settings, Arc::clone(&status));
    let shared = Arc::new(ModelShared {
        hosting: engine,
        runtime: tokio::runtime::Handle::current(),
        queue,
        prompts: PromptDesk::new(prompts),
        status,
        turn: Default::default(),
        newest_epoch: Default::default(),
        policy: supervision.engine,
        stuck_after,
        probe_every,
        cancel_patience: supervision.shutdown_timeout,
        memory,
        level: Default::default(),
    });
    let for_actor = Arc::clone(&shared);
    let model = supervisor.start(child(MODEL, &[], supervision, mailbox_capacity, move |exit| {
        ModelActor::new(Arc::clone(&for_actor), exit)
    }));
    let model = ModelHandle::new(model, shared);

    let (settings, ledger) = (options.providers, options.ledger);
    let providers = Providers::start(settings, ledger, &model, &supervisor, supervision, mailbox_capacity)
        .expect("a process that cannot start a thread cannot start");

    let mut sources: Vec<Arc<dyn Source>> = vec![Arc::new(model.clone())];
    sources.extend(providers.enabled().map(|provider| Arc::new(provider.clone()) as Arc<dyn Source>));
    let shared = SynthesizerShared::new(sources, options.fusion);
    let for_actor = shared.clone();
    // Its questions go to the model and are counted. Providers are not waited for: each may be away for good.
    let needs = &[METRICS, MODEL];
    let synthesizer =
        supervisor.start(child(SYNTHESIZER, needs, supervision, mailbox_capacity, move |exit| {
            SynthesizerActor::new(for_actor.clone(), exit)
        }));
    let synthesizer = SynthesizerHandle::new(synthesizer, shared, metrics.clone());
    Actors { synthesizer, model, metrics, providers, supervisor: Arc::new(supervisor) }
}

impl Actors {
    /// Every actor by its name. Never waits for an actor.
    pub fn states(&self) -> BTreeMap<String, ActorReport> {
        self.tree().children.into_iter().collect()
    }

    /// The supervisor and every actor in the order in which they were started; providers without an actor come last.
    /// Never waits for an actor.
    pub fn tree(&self) -> SupervisionReport {
        let mut tree = self.supervisor.report();
        if let Some((_, report)) = tree.children.iter_mut().find(|(name, _)| name == MODEL) {
            let status = self.model.status();
            report.state = status.state;
            report.restarts += status.engine_restarts;
            if let Some(failure) = status.failure {
                report.last_error = Some(failure.message);
            }
        }
        self.providers.complete(&mut tree.children);
        tree
    }

    /// Every provider that is reached over HTTP, in the order of the config. Never waits for an actor.
    pub fn providers(&self) -> Vec<ProviderStatus> {
        self.providers.statuses()
    }

    /// Takes no new questions, lets the accepted ones finish for `grace`, cancels the rest, and stops every actor.
    /// Streams that were handed out can still be read to their end.
    pub async fn drain(&self, grace: Duration) -> DrainReport {
        let (report, n_cut) = tokio::join!(self.model.drain(grace), self.providers.drain(grace));
        self.supervisor.stop_all().await;
        DrainReport { cancelled: report.cancelled + n_cut }
    }

    /// Waits until supervision gives up; the process should then drain briefly and end with exit code 70. Never
    /// resolves while all is well.
    pub async fn escalated(&self) -> Escalation {
        self.supervisor.escalated().await
    }
}

fn child<A: Supervised>(
    name: &'static str,
    needs: &'static [&'static str],
    supervision: Supervision,
    mailbox_capacity: usize,
    factory: impl Fn(exit_guard::ExitGuard) -> A + Send + Sync + 'static,
) -> ChildSpec<A> {
    ChildSpec {
        name: name.into(),
        policy: supervision.actors,
        supervision,
        mailbox_capacity,
        placement: Placement::OwnThread,
        is_essential: true,
        needs,
        factory: Arc::new(factory),
    }
}
