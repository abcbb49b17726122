//! Answers many requests at once over any backend: continuous batching with chunked prefill.
//!
//! A step feeds one token of every answer that is being written, and a bounded number of prompt tokens of those that
//! are still being read. Requests join and leave between any two steps.

use super::admission::Waiting;
use super::ahead::InFlight;
use super::answer::{Answer, NewAnswer};
use super::clock::Clock;
use super::counters::Counters;
use super::disk::Disk;
use super::prefill_budget::PrefillBudget;
use super::prefix_cache::PrefixCache;
use super::sampler::BadLogit;
use super::speed::SpeedMeter;
use super::stepping::nonsense;
use crate::backend::{Backend, BackendError, Chunk, Logits, LogitsOf};
use crate::checkpoint::{CheckpointError, GenerationDefaults};
use crate::generator::{Report, ReportSink};
use crate::prompts::PromptMaker;
use crate::text::TextModel;
use crate::{CancelToken, Doubt, EngineError, Generator};
use boca_core::{
    FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, GeneratorLoad, ModelInfo, RequestId,
};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

/// What an engine needs to know besides backend and text.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// What is loaded; its `vocab_size` is the width of the logits, its `context_tokens` the bound that holds.
    pub info: ModelInfo,
    /// What the checkpoint recommends.
    pub defaults: GenerationDefaults,
    /// Prompt tokens of one step: smaller reacts faster to a cancellation, larger computes faster. While answers are
    /// being written a step takes fewer, so that these go on.
    pub prefill_chunk_tokens: usize,
    /// The most requests that are answered at once; at least 1.
    pub max_running: usize,
    /// Bytes of KV that are kept of what was computed, for prompts that begin alike; 0 keeps nothing.
    pub prefix_cache_bytes: u64,
    /// The most bytes of KV that requests under way and what is kept may take; `None` is no bound.
    pub kv_limit_bytes: Option<u64>,
    /// Whether an answer that repeats itself over and over is ended, and thinking that does so is closed.
    pub loop_guard: bool,
}

/// A loaded model over a backend.
pub struct Engine {
    pub(super) backend: Box<dyn Backend>,
    pub(super) text: Arc<TextModel>,
    pub(super) prompts: PromptMaker,
    pub(super) config: EngineConfig,
    pub(super) unknown_ids: Arc<[u32]>,
    pub(super) speed: SpeedMeter,
    pub(super) prefill: PrefillBudget,
    /// What ended answers have left.
    pub(super) cache: PrefixCache,
    /// In the order in which they came.
    pub(super) running: Vec<Answer>,
    /// Those that wait for KV memory, in the order in which they came.
    pub(super) waiting: VecDeque<Waiting>,
    /// KV memory that those under way may come to need.
    pub(super) promised_bytes: u64,
    /// Whether one of those that wait may fit now.
    pub(super) may_admit: bool,
    pub(super) logits: Logits,
    /// Steps that nobody has read, in the order in which they were launched: two at most.
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) counters: Counters,
    /// Where what is kept survives a restart.
    pub(super) disk: Option<Disk>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("backend", &self.backend.describe())
            .field("config", &self.config)
            .finish()
    }
}

/// What became of an answer in a step.
pub(super) type End = Result<GenerationSummary, EngineError>;

impl Engine {
    /// Puts backend and text together.
    ///
    /// # Errors
    /// [`CheckpointError::BadField`] when the tokenizer has ids that the model's head does not compute;
    /// [`EngineError::Backend`].
    pub fn new(
        mut backend: Box<dyn Backend>,
        text: TextModel,
        config: EngineConfig,
    ) -> Result<Self, EngineError> {
        let vocab_size = config.info.vocab_size;
        let n_ids = text.tokenizer().n_ids();
        if n_ids > vocab_size as usize {
            return Err(EngineError::Checkpoint(CheckpointError::BadField {
                file: "config.json".into(),
                field: "vocab_size".into(),
                expected: format!("at least the {n_ids} ids of tokenizer.json"),
                found: vocab_size.to_string(),
            }));
        }
        let unknown_ids: Arc<[u32]> = (0..vocab_size).filter(|id| !text.tokenizer().knows(*id)).collect();
        if let Some(drawing) = backend.drawing() {
            drawing.forbid(&unknown_ids)?;
        }
        let cache_tokens = config.prefix_cache_bytes / backend.kv_bytes_per_token().max(1);
        let text = Arc::new(text);
        Ok(Self {
            prompts: PromptMaker::new(Arc::clone(&text), config.defaults.clone(), config.info.context_tokens),
            cache: PrefixCache::new(usize::try_from(cache_tokens).unwrap_or(usize::MAX)),
            backend,
            text,
            prefill: PrefillBudget::new(config.prefill_chunk_tokens),
            config,
            unknown_ids,
            speed: SpeedMeter::default(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            promised_bytes: 0,
            may_admit: false,
            logits: Logits::default(),
            in_flight: VecDeque::new(),
            counters: Counters::default(),
            disk: None,
        })
    }

    /// One step through the whole model, so that no first request pays for cold caches, and a model that computes
    /// nonsense is found out before anyone asks it.
    ///
    /// # Errors
    /// [`EngineError::Backend`].
    pub fn warm_up(&mut self) -> Result<(), EngineError> {
        let begun = Instant::now();
        let first = self.config.defaults.eos_token_ids.first().copied().unwrap_or(0);
        let sequence = self.backend.open(1)?;
        let chunk = Chunk { sequence, tokens: &[first], logits: LogitsOf::Last };
        let computed = self.compute_one(chunk);
        self.backend.close(sequence);
        computed?;
        match self.logits.values.iter().position(|logit| !logit.is_finite()) {
            Some(token) => {
                let value = self.logits.values[token];
                Err(nonsense(BadLogit::Of { token, value }, begun.elapsed()))
            }
            None => Ok(()),
        }
    }

    fn try_begin(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<Option<GenerationSummary>, EngineError> {
        let clock = Clock::start(accepted_at, request.time_left);
        if clock.has_ended() {
            return Err(EngineError::DeadlineBeforeFirstToken);
        }
        let plan = self.plan(request, clock.time_left())?;
        let answer = NewAnswer::new(&self.text, plan, request);
        emit(answer.started());
        let end = answer.end(&clock);
        if end.is_none() {
            let (id, cancel) = (request.id.clone(), cancel.clone());
            self.may_admit |= self.waiting.is_empty();
            self.waiting.push_back(Waiting { id, cancel, clock, answer });
        }
        Ok(end)
    }

    /// Ends those that were cancelled, or whose time is over.
    pub(super) fn end_those_that_must(&mut self, report: ReportSink<'_>) {
        for place in (0..self.running.len()).rev() {
            let answer = &mut self.running[place];
            let reason = if answer.cancel.is_cancelled() {
                FinishReason::Cancelled
            } else if answer.clock.has_ended() {
                FinishReason::Deadline
            } else {
                continue;
            };
            let end = if reason == FinishReason::Deadline && !answer.is_decoding() {
                Err(EngineError::DeadlineBeforeFirstToken)
            } else {
                let id = answer.id.clone();
                Ok(answer.cut(reason, &mut |event| report(&id, Report::Event(event))))
            };
            self.end(place, end, report);
        }
    }

    /// A step of one sequence.
    pub(super) fn compute_one(&mut self, chunk: Chunk<'_>) -> Result<(), BackendError> {
        let ticket = self.backend.launch(&[chunk])?;
        self.backend.collect(ticket, &mut self.logits)
    }

    pub(super) fn end(&mut self, place: usize, end: End, report: ReportSink<'_>) {
        let answer = self.running.remove(place);
        self.counters.count_end(&end);
        match &end {
            Ok(_) => {
                if answer.is_ahead()
                    && let Some(drawing) = self.backend.drawing()
                {
                    drawing.cut(answer.sequence, answer.held().len());
                }
                self.keep(answer.held(), answer.sequence);
            }
            // What a failed step has left in a sequence is not known.
            Err(_) => self.backend.close(answer.sequence),
        }
        if let Ok(summary) = &end
            && answer.clock.was_prefilled()
        {
            self.speed.record(&summary.usage, &summary.timings, answer.was_read_alone());
        }
        self.count_promises();
        report(&answer.id, Report::Ended(end));
    }
}

impl Generator for Engine {
    fn give_up_cache(&mut self) {
        if self.make_room() {
            tracing::info!("what was kept of prompts is given up");
        }
    }

    fn info(&self) -> &ModelInfo {
        &self.config.info
    }

    fn capacity(&self) -> usize {
        self.config.max_running.max(1)
    }

    fn n_running(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    fn load(&self) -> GeneratorLoad {
        self.current_load()
    }

    fn doubt(&self) -> Option<Doubt> {
        self.backend.doubt()
    }

    fn begin(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        report: ReportSink<'_>,
    ) {
        self.counters.requests += 1;
        let id: &RequestId = &request.id;
        let mut emit = |event| report(id, Report::Event(event));
        match self.try_begin(request, accepted_at, cancel, &mut emit) {
            Ok(None) => self.admit(report),
            Ok(Some(summary)) => report(id, Report::Ended(Ok(summary))),
            Err(error) => report(id, Report::Ended(Err(error))),
        }
    }

    fn step(&mut self, report: ReportSink<'_>) {
        let step = catch_unwind(AssertUnwindSafe(|| self.try_step(report)));
        if let Err(panic) = step {
            // Whoever catches it may go on with this engine, but not with what was under way.
            self.forget_flights();
            for answer in std::mem::take(&mut self.running) {
                self.backend.close(answer.sequence);
            }
            self.waiting.clear();
            self.count_promises();
            self.make_room();
            resume_unwind(panic);
        }
    }
}
