//! The way to the model from outside.

use crate::generation_queue::{QueueReport, RequestReport};
use crate::generation_stream::GenerationStream;
use crate::handle::ActorHandle;
use crate::memory;
use crate::memory_level::MemoryLevel;
use crate::messages::{
    Cancel, Drain, DrainReport, Generate, Load, Observe, Reload, ReloadOutcome, Unload, UnloadOutcome,
};
use crate::model::{ModelActor, ModelShared};
use crate::model_context::Fitted;
use crate::model_status::{ModelObservation, ModelStatus};
use boca_core::{
    ActorState, ContextCut, EngineLoad, ErrorCode, Failure, GenerateRequest, GeneratorLoad, RequestId,
};
use boca_engine::PromptMaker;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a drain's message may take on top of the work itself.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// A cloneable way to the model that survives restarts of its actor and of its engine.
#[derive(Clone)]
pub struct ModelHandle {
    actor: ActorHandle<ModelActor>,
    shared: Arc<ModelShared>,
}

impl fmt::Debug for ModelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl ModelHandle {
    pub(crate) fn new(actor: ActorHandle<ModelActor>, shared: Arc<ModelShared>) -> Self {
        Self { actor, shared }
    }

    /// What is known of the model. Never waits, never wakes the actor.
    pub fn status(&self) -> ModelStatus {
        let mut status = self.shared.status.get();
        let child = self.actor.child();
        match child.state() {
            // The actor itself is away, so what it published last is out of date.
            state @ (ActorState::Restarting | ActorState::Down) => {
                status.state = state;
                status.progress = None;
                if let (None, Some(reason)) = (&status.failure, child.last_error()) {
                    status.failure = Some(Failure::new(ErrorCode::EngineFailed, reason));
                }
            }
            _ if status.state == ActorState::Ready && self.shared.queue.is_busy() => {
                status.state = ActorState::Busy;
            }
            _ => {}
        }
        status
    }

    /// The process that the engine lives in; `None` while there is none, and when it lives in a thread of this process.
    /// Waits for nobody but a thread that is just changing the queue.
    pub fn engine_process(&self) -> Option<u32> {
        self.shared.queue.engine_process()
    }

    /// What the engine is busy with and has done, as it said last: after its last step, or with its last beat when it lives
    /// in a process of its own. `None` while it is not ready. Never asks the engine.
    pub fn generator_load(&self) -> Option<GeneratorLoad> {
        self.shared.queue.generator_load()
    }

    /// Whether the model is down, and a request should try whether that has changed.
    pub(crate) fn is_worth_a_try(&self) -> bool {
        self.shared.status.is_worth_a_try(Instant::now())
    }

    /// The queue in figures. Waits for nobody but a thread that is just changing the queue.
    pub fn queue(&self) -> QueueReport {
        self.shared.queue.report()
    }

    /// Everything that the actor shows, its unfinished requests included.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn observe(&self, deadline: Instant) -> Result<ModelObservation, Failure> {
        let observation = self.actor.call(Observe::default(), deadline).await?;
        Ok(ModelObservation { status: self.status(), ..observation })
    }

    /// Ends a request early. A running one keeps the text that it has; false when there is no such request.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn cancel(&self, id: RequestId, deadline: Instant) -> Result<bool, Failure> {
        self.actor.call(Cancel { id }, deadline).await
    }

    /// Takes no new requests from now on, lets the accepted ones finish for `grace`, then cancels them.
    pub async fn drain(&self, grace: Duration) -> DrainReport {
        let began = Instant::now();
        let deadline = began + grace + self.shared.cancel_patience + DRAIN_MARGIN;
        match self.actor.call(Drain { grace }, deadline).await {
            Ok(report) => report,
            // The actor is away, but what was accepted is in the queue all the same.
            Err(_) => {
                let grace = grace.saturating_sub(began.elapsed());
                self.shared.queue.drain(grace, self.shared.cancel_patience).await
            }
        }
    }

    /// Loads the weights again after a load that failed for good, or before the pause between two tries is over.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn reload(&self, deadline: Instant) -> Result<ReloadOutcome, Failure> {
        self.actor.call(Reload, deadline).await?
    }

    /// Brings the weights into memory, whyever they are not there. Does not wait for them.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn load(&self, deadline: Instant) -> Result<ReloadOutcome, Failure> {
        self.actor.call(Load, deadline).await?
    }

    /// Lets the weights go once nothing runs, until somebody wants them back. Does not wait for that.
    ///
    /// # Errors
    /// `Overloaded`, `Restarting`, `ShuttingDown`, `DeadlineExceeded`.
    pub async fn unload(&self, deadline: Instant) -> Result<UnloadOutcome, Failure> {
        self.actor.call(Unload, deadline).await
    }

    /// How short memory is, as it was seen last. Never waits.
    pub fn memory_level(&self) -> MemoryLevel {
        self.shared.level.get()
    }

    /// Whether a request brings back weights that are away now.
    pub fn is_woken_by_requests(&self) -> bool {
        self.shared.queue.takes_requests()
    }

    /// The unfinished requests, oldest first. Waits for nobody but a thread that is just changing the queue.
    pub fn requests(&self) -> Vec<RequestReport> {
        self.shared.queue.requests()
    }

    #[cfg(test)]
    pub(crate) fn actor(&self) -> &ActorHandle<ModelActor> {
        &self.actor
    }

    /// What prompts are made with, to count tokens without asking the engine; `None` when its text files cannot be read,
    /// or have not been by the deadline.
    pub async fn prompts(&self, deadline: Instant) -> Option<Arc<PromptMaker>> {
        self.shared.prompts.maker(deadline).await
    }

    /// Makes the prompt, and queues the generation. What the conversation had to be cut by comes with it.
    pub(crate) async fn generate(
        &self,
        request: GenerateRequest,
        accepted_at: Instant,
        deadline: Instant,
    ) -> Result<(Option<ContextCut>, GenerationStream), Failure> {
        let Fitted { request, cut } = self.fit(request, deadline).await?;
        Ok((cut, self.queue_up(request, accepted_at, deadline).await?))
    }

    /// Queues a generation.
    pub(crate) async fn queue_up(
        &self,
        request: GenerateRequest,
        accepted_at: Instant,
        deadline: Instant,
    ) -> Result<GenerationStream, Failure> {
        self.actor.call(Generate { request, accepted_at }, deadline).await?
    }

    pub(crate) fn shared(&self) -> &ModelShared {
        &self.shared
    }

    /// How busy the engine is, from the queue and the service time measured so far, and what the system says of its
    /// memory.
    pub(crate) fn engine_load(&self) -> EngineLoad {
        let available_memory_bytes = memory::available_bytes();
        EngineLoad {
            n_requests: self.shared.queue.n_accepted(),
            expected_wait: self.shared.queue.expected_wait(Instant::now()),
            kv_headroom_tokens: self.generator_load().as_ref().and_then(headroom_tokens),
            available_memory_bytes,
            is_memory_short: memory::is_short(available_memory_bytes)
                || self.memory_level() >= MemoryLevel::Soft,
        }
    }

    /// Like [`Self::cancel`], past the actor: the queue outlives it.
    pub(crate) fn cancel_now(&self, id: &RequestId) -> bool {
        self.shared.queue.cancel(id)
    }
}

/// Tokens for which there is memory beside the requests under way; `None` where there is no bound.
fn headroom_tokens(load: &GeneratorLoad) -> Option<u64> {
    load.kv_limit_bytes?.saturating_sub(load.kv_bytes_promised).checked_div(load.kv_bytes_per_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_what_nobody_was_promised() {
        let load =
            GeneratorLoad { kv_limit_bytes: Some(1000), kv_bytes_promised: 400, ..GeneratorLoad::default() };
        let of = |kv_bytes_per_token| headroom_tokens(&GeneratorLoad { kv_bytes_per_token, ..load });
        assert_eq!(of(100), Some(6));
        assert_eq!(of(0), None, "nobody knows what a token takes");
        assert_eq!(
            headroom_tokens(&GeneratorLoad { kv_bytes_promised: 2000, kv_bytes_per_token: 1, ..load }),
            Some(0)
        );
        assert_eq!(headroom_tokens(&GeneratorLoad { kv_limit_bytes: None, ..load }), None);
    }
}
