//! The part of ModelActor that lets the weights go and brings them back: when memory runs short, when nobody has used
//! them for `keep_alive`, and when somebody says so. What is decided is decided in [`crate::model_residency`] and
//! [`crate::memory_level`]; here it is done.

use crate::engine_host::EngineCommand;
use crate::handle::Call;
use crate::memory_level::{MemoryLevel, MemoryPatience, MemoryWatch};
use crate::messages::{Load, ReloadOutcome, Unload, UnloadOutcome};
use crate::model::ModelActor;
use crate::model_residency::{Admission, Look, Residence, Residency, Unloaded};
use actix::{Context, Handler};
use arc_swap::ArcSwap;
use boca_core::{ActorState, ErrorCode, Failure};
use boca_engine::memory::MemoryFacts;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// When somebody who was refused because memory is short may try again: a level is not left sooner.
const SHORT_RETRY_AFTER: Duration = Duration::from_secs(15);

/// When the weights of the model are in memory.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Asks the system for its memory; a test may say what it likes.
    pub read: Arc<dyn Fn() -> MemoryFacts + Send + Sync>,
    /// How often that is done.
    pub look_every: Duration,
    /// How long a shortage, and its end, have to last.
    pub patience: MemoryPatience,
    /// The model is unloaded when nobody has asked it for so long; `None` keeps it for ever.
    pub keep_alive: Option<Duration>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            read: Arc::new(MemoryFacts::read),
            look_every: Duration::from_secs(1),
            patience: MemoryPatience::default(),
            keep_alive: None,
        }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("look_every", &self.look_every)
            .field("patience", &self.patience)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// How short memory is, as the model's actor saw it last. Reading it never waits.
#[derive(Debug, Default)]
pub(crate) struct LevelCell(ArcSwap<MemoryLevel>);

impl LevelCell {
    pub(crate) fn get(&self) -> MemoryLevel {
        **self.0.load()
    }
}

/// What the actor keeps of all this. A restart of the actor loads the model anew, so nothing is lost with it.
#[derive(Debug)]
pub(crate) struct ModelMemory {
    watch: MemoryWatch,
    residency: Residency,
    /// Whether requests are refused because of what is decided here.
    refuses: bool,
}

impl ModelMemory {
    pub(crate) fn new(options: &MemoryOptions) -> Self {
        Self {
            watch: MemoryWatch::new(options.patience),
            residency: Residency::new(options.keep_alive),
            refuses: false,
        }
    }

    /// Why there is no engine, if there is none because of what was decided here.
    pub(crate) fn away(&self) -> Option<Unloaded> {
        self.residency.away()
    }
}

impl Handler<Call<Load>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Load>, ctx: &mut Self::Context) {
        let outcome = self.load(ctx);
        call.reply(|Load| outcome);
    }
}

impl Handler<Call<Unload>> for ModelActor {
    type Result = ();

    fn handle(&mut self, call: Call<Unload>, ctx: &mut Self::Context) {
        let was_away = self.memory.away().is_some();
        self.memory.residency.unload();
        // At once, when nothing runs.
        self.look_at_memory(ctx);
        if let Some(why) = self.memory.away() {
            self.shared.status.unloaded(absence(why));
        }
        call.reply(|Unload| if was_away { UnloadOutcome::AlreadyUnloaded } else { UnloadOutcome::Started });
    }
}

impl ModelActor {
    /// Looks how short memory is and how long nobody has asked, and does what follows. A look is no use of the model.
    pub(crate) fn look_at_memory(&mut self, ctx: &mut Context<Self>) {
        if self.is_ending() {
            return;
        }
        let now = self.origin.elapsed();
        let before = self.shared.level.get();
        let level = self.memory.watch.observe(now, &(self.shared.memory.read)());
        if level != before {
            self.shared.level.0.store(Arc::new(level));
            self.level_changed(before, level);
        }
        let is_loaded = self.engine.is_some() && self.shared.status.state() == ActorState::Ready;
        let n_requests = self.shared.queue.n_accepted() as usize;
        let residence = self.memory.residency.look(Look { now, n_requests, is_loaded, level });
        self.reside(residence, ctx);
    }

    /// Notes that a request has come, which brings back a model that is away for want of requests.
    pub(crate) fn asked(&mut self, ctx: &mut Context<Self>) {
        if !self.is_ending() {
            let residence = self.memory.residency.asked(self.origin.elapsed());
            self.reside(residence, ctx);
        }
    }

    /// The engine has stopped because it was told to: it stays away, or somebody wants it back by now.
    pub(crate) fn engine_stopped(&mut self, ctx: &mut Context<Self>) {
        match self.memory.away() {
            Some(why) => self.shared.status.unloaded(absence(why)),
            None => self.start_engine(ctx),
        }
    }

    fn load(&mut self, ctx: &mut Context<Self>) -> Result<ReloadOutcome, Failure> {
        match self.memory.residency.load(self.origin.elapsed()) {
            Residence::Load if !self.is_ending() => {
                self.reside(Residence::Load, ctx);
                Ok(ReloadOutcome::Started)
            }
            _ => {
                self.keep_the_door();
                self.reload(ctx)
            }
        }
    }

    fn reside(&mut self, residence: Residence, ctx: &mut Context<Self>) {
        match residence {
            Residence::Stay => {}
            Residence::Unload(why) => {
                tracing::info!(reason = why.reason(), "the model is unloaded");
                self.shared.status.unloaded(absence(why));
                if let Some(engine) = &self.engine {
                    // Nothing runs in it; what comes from now on waits for the next one.
                    self.shared.queue.engine_gone(engine.epoch, &absence(why));
                    // An error means that it has ended already, which is told as any end.
                    engine.host.send(EngineCommand::Stop).ok();
                }
            }
            Residence::Load => {
                tracing::info!("the model is loaded again");
                self.shared.status.starting();
                // One that is still stopping is followed by the next when it is gone.
                if self.engine.is_none() {
                    self.start_engine(ctx);
                }
            }
        }
        self.keep_the_door();
    }

    /// Takes requests or refuses them, as was decided.
    fn keep_the_door(&mut self) {
        let refusal = match self.memory.residency.admission() {
            Admission::Open => None,
            Admission::Short => {
                let message = "memory is short on this machine, so its model takes no new requests";
                Some(Failure::new(ErrorCode::Overloaded, message).retry_after(SHORT_RETRY_AFTER))
            }
            Admission::Away(why) => Some(absence(why)),
        };
        match refusal {
            Some(refusal) => {
                self.shared.queue.refuse(refusal);
                self.memory.refuses = true;
            }
            // A model that is down refuses for reasons of its own.
            None if self.memory.refuses && self.shared.status.state() != ActorState::Down => {
                self.shared.queue.welcome();
                self.memory.refuses = false;
            }
            None => {}
        }
    }

    fn level_changed(&self, before: MemoryLevel, level: MemoryLevel) {
        let (from, to) = (before.as_str(), level.as_str());
        if level > before {
            tracing::warn!(from, to, "memory is short");
            if let Some(engine) = &self.engine {
                // An error means that it is gone, and everything with it.
                engine.host.send(EngineCommand::GiveUpCache).ok();
            }
        } else {
            tracing::info!(from, to, "memory is less short");
        }
    }
}

/// What a request is told, and status shows, while the weights are away.
fn absence(why: Unloaded) -> Failure {
    match why {
        Unloaded::Idle | Unloaded::Memory => {
            Failure::new(ErrorCode::ModelLoading, why.reason()).retry_after(SHORT_RETRY_AFTER)
        }
        Unloaded::ByHand => Failure::new(ErrorCode::ModelUnavailable, why.reason()),
    }
}
