//! What the thread that owns an engine sees of it.

use crate::EngineError;
use boca_core::{
    GenerateRequest, GenerationEvent, GenerationSummary, GeneratorLoad, LoadProgress, ModelInfo, RequestId,
};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tells a generation to stop at the next step. Clones share one flag.
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

/// What a generator tells of one request.
#[derive(Debug)]
pub enum Report {
    /// Something happened.
    Event(GenerationEvent),
    /// It is over; nothing more comes for it. After an error the generator goes on with the other requests.
    Ended(Result<GenerationSummary, EngineError>),
}

/// Asked from any thread: why an engine will never take another step, and for how long that has been known. It may be
/// stuck in one.
pub type Doubt = Arc<dyn Fn() -> Option<(String, Duration)> + Send + Sync>;

/// Takes the reports of all requests. Called from within, so it must be quick.
pub type ReportSink<'a> = &'a mut dyn FnMut(&RequestId, Report);

/// A loaded model that answers several requests at once, step by step. Not `Send`: it lives and dies on the thread
/// that built it.
pub trait Generator {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// The most requests that it answers at once.
    fn capacity(&self) -> usize;

    /// Requests that are under way.
    fn n_running(&self) -> usize;

    /// What it is busy with, and what it has done so far. Costs no step, so it may be asked after each one.
    fn load(&self) -> GeneratorLoad {
        let n_running = u32::try_from(self.n_running()).unwrap_or(u32::MAX);
        let kv_bytes_per_token = self.info().kv_bytes_per_token;
        GeneratorLoad { n_running, kv_bytes_per_token, ..GeneratorLoad::default() }
    }

    /// Takes a request on whose id no other one has; there has to be room for it. `accepted_at` is when the request
    /// was handed over: queue time and deadline count from there. Its end may be reported at once.
    fn begin(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        report: ReportSink<'_>,
    );

    /// Takes every request that is under way one step further. A generation that was cancelled, or that meets its
    /// deadline after the first token, ends well, with what it has; its summary says so.
    fn step(&mut self, report: ReportSink<'_>);

    /// Frees what is kept only to make later requests quicker. Nothing under way is touched.
    fn give_up_cache(&mut self) {}

    /// Who knows when this generator is of no use any more; `None` where it is for as long as it lives.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Answers one request to its end, and whatever else is under way beside it as far as it comes.
    ///
    /// # Errors
    /// See [`EngineError`]. After an error the generator is ready for the next request.
    fn generate(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let end = Cell::new(None);
        let mut report = |id: &RequestId, report| match report {
            Report::Event(event) if *id == request.id => emit(event),
            Report::Ended(ended) if *id == request.id => end.set(Some(ended)),
            Report::Event(_) | Report::Ended(_) => {}
        };
        self.begin(request, accepted_at, cancel, &mut report);
        loop {
            if let Some(end) = end.take() {
                return end;
            }
            self.step(&mut report);
        }
    }
}

/// Builds a generator on the thread that will use it, reporting progress.
pub type GeneratorFactory =
    Arc<dyn Fn(&mut dyn FnMut(LoadProgress)) -> Result<Box<dyn Generator>, EngineError> + Send + Sync>;
