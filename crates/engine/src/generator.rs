//! What the thread that owns an engine sees of it.

use crate::EngineError;
use boca_core::{GenerateRequest, GenerationEvent, GenerationSummary, LoadProgress, ModelInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Tells a running generation to stop at its next step. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the generation to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether someone asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A loaded model that answers one request at a time. Not `Send`: it lives and dies on the thread that built it.
pub trait Generator {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// Answers `request`, reporting through `emit` as it goes. `accepted_at` is when the request was handed over:
    /// queue time and deadline count from there. A generation that is cancelled, or that meets its deadline after
    /// the first token, ends well, with what it has; its summary says so.
    ///
    /// # Errors
    /// See [`EngineError`]. After an error the generator is ready for the next request.
    fn generate(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError>;
}

/// Builds a generator on the thread that will use it, reporting progress.
pub type GeneratorFactory =
    Arc<dyn Fn(&mut dyn FnMut(LoadProgress)) -> Result<Box<dyn Generator>, EngineError> + Send + Sync>;
