//! Answers one request at a time over any backend.

use super::decoding::{Decoding, Limits, Next};
use super::sampler::{BadLogit, Sampler};
use super::speed::SpeedMeter;
use crate::backend::{Backend, BackendError, Chunk, Logits, LogitsOf, SequenceId};
use crate::checkpoint::{CheckpointError, GenerationDefaults};
use crate::text::{ContinuedPrompt, Prompt, TextModel, ThinkingState};
use crate::{CancelToken, EngineError, Generator};
use boca_core::{
    FinishReason, GenerateRequest, GenerationEvent, GenerationSummary, ModelInfo, Sampling, Timings, Usage,
    token_budget,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an engine needs to know besides backend and text.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// What is loaded; its `vocab_size` is the width of the logits, its `context_tokens` the bound that holds.
    pub info: ModelInfo,
    /// What the checkpoint recommends.
    pub defaults: GenerationDefaults,
    /// Prompt tokens of one step: smaller reacts faster to a cancellation, larger computes faster.
    pub prefill_chunk_tokens: usize,
}

/// A loaded model over a backend.
pub struct Engine {
    backend: Box<dyn Backend>,
    text: TextModel,
    config: EngineConfig,
    unknown_ids: Arc<[u32]>,
    speed: SpeedMeter,
    logits: Logits,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("backend", &self.backend.describe())
            .field("config", &self.config)
            .finish()
    }
}

/// A request that fits, with everything decided.
struct Plan {
    /// All that is computed before the first token, the answer so far included.
    prompt: Vec<u32>,
    /// How many of its last tokens are the answer so far.
    n_answer: usize,
    sampler: Sampler,
    limits: Limits,
    state: ThinkingState,
}

/// When a generation began and when it has to end.
#[derive(Debug, Clone, Copy)]
struct Clock {
    accepted_at: Instant,
    started_at: Instant,
    deadline: Option<Instant>,
    /// When the last prompt token was computed.
    prefilled_at: Option<Instant>,
    first_token_at: Option<Instant>,
    last_token_at: Option<Instant>,
}

/// An open sequence, closed when it goes out of scope, however that happens.
struct OpenSequence<'a> {
    backend: &'a mut dyn Backend,
    id: SequenceId,
}

impl Drop for OpenSequence<'_> {
    fn drop(&mut self) {
        self.backend.close(self.id);
    }
}

impl OpenSequence<'_> {
    fn step(&mut self, tokens: &[u32], want: LogitsOf, logits: &mut Logits) -> Result<(), BackendError> {
        let ticket = self.backend.launch(&[Chunk { sequence: self.id, tokens, logits: want }])?;
        self.backend.collect(ticket, logits)
    }
}

impl Engine {
    /// Puts backend and text together.
    ///
    /// # Errors
    /// [`CheckpointError::BadField`] when the tokenizer has ids that the model's head does not compute.
    pub fn new(
        backend: Box<dyn Backend>,
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
        let unknown_ids = (0..vocab_size).filter(|id| !text.tokenizer().knows(*id)).collect();
        Ok(Self {
            backend,
            text,
            config,
            unknown_ids,
            speed: SpeedMeter::default(),
            logits: Logits::default(),
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
        let id = self.backend.open(1)?;
        let mut sequence = OpenSequence { backend: self.backend.as_mut(), id };
        sequence.step(&[first], LogitsOf::Last, &mut self.logits)?;
        drop(sequence);
        match self.logits.values.iter().position(|logit| !logit.is_finite()) {
            Some(token) => Err(nonsense(BadLogit { token, value: self.logits.values[token] }, begun)),
            None => Ok(()),
        }
    }

    /// Decides everything about a request that does not need the backend.
    fn plan(&self, request: &GenerateRequest, time_left: Option<Duration>) -> Result<Plan, EngineError> {
        request
            .sampling
            .check("")
            .map_err(|error| EngineError::InvalidRequest { param: error.field, message: error.message })?;
        let merged = request.sampling.clone().over(&self.config.defaults.sampling);
        let so_far = request.answer_so_far.as_str();
        // The time for thinking is over when an answer has begun.
        let no_thinking =
            !so_far.is_empty() || merged.thinking == Some(false) || merged.thinking_budget_tokens == Some(0);
        let thinking =
            !no_thinking && merged.thinking.unwrap_or_else(|| self.text.template().knows_thinking());
        let sampling = merged.resolve(thinking);
        self.check_bias(&sampling)?;
        let (prompt, n_answer) = if so_far.is_empty() {
            (self.text.prompt(&request.messages, &request.tools_json, thinking)?, 0)
        } else {
            let ContinuedPrompt { mut before, answer } =
                self.text.prompt_continuing(&request.messages, &request.tools_json, so_far)?;
            before.extend(&answer);
            (Prompt { ids: before, state: ThinkingState::Answer }, answer.len())
        };
        if prompt.ids.is_empty() {
            return Err(EngineError::InvalidRequest {
                param: "messages".into(),
                message: "`messages` must make a prompt of at least one token, got none".into(),
            });
        }
        let max_tokens = self.budget(prompt.ids.len(), n_answer, request, time_left)?;
        let before_answer = &prompt.ids[..prompt.ids.len() - n_answer];
        Ok(Plan {
            sampler: Sampler::new(sampling, before_answer, Arc::clone(&self.unknown_ids)),
            limits: Limits {
                max_tokens,
                thinking_tokens: if no_thinking { Some(0) } else { merged.thinking_budget_tokens },
                eos_ids: self.config.defaults.eos_token_ids.clone(),
                top_logprobs: request.top_logprobs,
            },
            state: prompt.state,
            prompt: prompt.ids,
            n_answer,
        })
    }

    fn check_bias(&self, sampling: &Sampling) -> Result<(), EngineError> {
        match sampling.logit_bias.iter().find(|(id, _)| !self.text.tokenizer().knows(*id)) {
            None => Ok(()),
            Some((id, _)) => Err(EngineError::InvalidRequest {
                param: "logit_bias".into(),
                message: format!(
                    "`logit_bias` must name tokens of the vocabulary, whose ids are below {}, got {id}",
                    self.text.tokenizer().n_ids()
                ),
            }),
        }
    }

    /// The tokens that this generation may take. Those of the answer so far count towards the bound of the answer;
    /// 0 when they have spent it.
    fn budget(
        &self,
        prompt_tokens: usize,
        n_answer: usize,
        request: &GenerateRequest,
        time_left: Option<Duration>,
    ) -> Result<u32, EngineError> {
        let context_tokens = self.config.info.context_tokens;
        let n_answer = u32::try_from(n_answer).unwrap_or(u32::MAX);
        let left_of = |bound: u32| bound.max(1).saturating_sub(n_answer);
        let wanted = request.max_tokens.map_or(1, left_of);
        let n_prompt = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let context_left = context_tokens.saturating_sub(n_prompt);
        if context_left < wanted.max(1) {
            return Err(EngineError::ContextExceeded {
                prompt_tokens: n_prompt,
                max_tokens: wanted.max(1),
                context_tokens,
            });
        }
        Ok(match request.max_tokens {
            Some(max_tokens) => left_of(max_tokens),
            None if left_of(request.default_max_tokens) == 0 => 0,
            None => {
                let for_decode =
                    time_left.map(|left| left.saturating_sub(self.speed.expected_prefill(prompt_tokens)));
                let speed = self.speed.decode_tokens_per_s();
                token_budget(left_of(request.default_max_tokens), context_left, for_decode, speed)
            }
        })
    }

    fn run(
        &mut self,
        plan: Plan,
        request: &GenerateRequest,
        clock: &mut Clock,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let Plan { prompt, n_answer, sampler, limits, state } = plan;
        let n_prompt = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        emit(GenerationEvent::Started { prompt_tokens: n_prompt, max_tokens: limits.max_tokens });
        let max_tokens = limits.max_tokens;
        let mut decoding = Decoding::new(&self.text, limits, sampler, &request.stop, state);
        if n_answer > 0 {
            decoding.resume(&request.answer_so_far, &prompt[prompt.len() - n_answer..]);
            if decoding.stop_sequence().is_some() {
                return Ok(summary(FinishReason::Stop, n_prompt, &decoding, clock));
            }
            if max_tokens == 0 {
                return Ok(summary(FinishReason::Length, n_prompt, &decoding, clock));
            }
        }
        let id = self.backend.open(prompt.len() + max_tokens as usize)?;
        let mut sequence = OpenSequence { backend: self.backend.as_mut(), id };

        let n_chunks = prompt.len().div_ceil(self.config.prefill_chunk_tokens.max(1));
        for (place, tokens) in prompt.chunks(self.config.prefill_chunk_tokens.max(1)).enumerate() {
            if cancel.is_cancelled() {
                return Ok(summary(FinishReason::Cancelled, n_prompt, &decoding, clock));
            }
            if clock.has_ended() {
                return Err(EngineError::DeadlineBeforeFirstToken);
            }
            let want = if place + 1 == n_chunks { LogitsOf::Last } else { LogitsOf::None };
            sequence.step(tokens, want, &mut self.logits)?;
        }
        let prefilled_at = Instant::now();
        clock.prefilled_at = Some(prefilled_at);

        let mut step_began = prefilled_at;
        let finish_reason = loop {
            let logits = last_row(&self.logits, step_began)?;
            let next = decoding.step(logits, emit).map_err(|bad| nonsense(bad, step_began))?;
            clock.count_token();
            let token = match next {
                Next::Done(reason) => break reason,
                Next::Feed(token) => token,
            };
            let ended = if cancel.is_cancelled() {
                Some(FinishReason::Cancelled)
            } else {
                clock.has_ended().then_some(FinishReason::Deadline)
            };
            if let Some(reason) = ended {
                decoding.finish(emit);
                break reason;
            }
            step_began = Instant::now();
            sequence.step(&[token], LogitsOf::Last, &mut self.logits)?;
        };
        Ok(summary(finish_reason, n_prompt, &decoding, clock))
    }
}

impl Generator for Engine {
    fn info(&self) -> &ModelInfo {
        &self.config.info
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        accepted_at: Instant,
        cancel: &CancelToken,
        emit: &mut dyn FnMut(GenerationEvent),
    ) -> Result<GenerationSummary, EngineError> {
        let mut clock = Clock::start(accepted_at, request.time_left);
        if clock.has_ended() {
            return Err(EngineError::DeadlineBeforeFirstToken);
        }
        let plan = self.plan(request, clock.time_left())?;
        let summary = self.run(plan, request, &mut clock, cancel, emit)?;
        // A prompt that was broken off says nothing about the speed of one.
        if clock.prefilled_at.is_some() {
            self.speed.record(&summary.usage, &summary.timings);
        }
        Ok(summary)
    }
}

impl Clock {
    fn start(accepted_at: Instant, time_left: Duration) -> Self {
        Self {
            accepted_at,
            started_at: Instant::now(),
            // A time beyond the clock's range is no deadline.
            deadline: accepted_at.checked_add(time_left),
            prefilled_at: None,
            first_token_at: None,
            last_token_at: None,
        }
    }

    fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn has_ended(&self) -> bool {
        self.time_left() == Some(Duration::ZERO)
    }

    fn count_token(&mut self) {
        let now = Instant::now();
        self.first_token_at.get_or_insert(now);
        self.last_token_at = Some(now);
    }

    fn timings(&self) -> Timings {
        let now = Instant::now();
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from),
            _ => Duration::ZERO,
        };
        let prefill_end = self.prefilled_at.or(Some(now));
        Timings {
            queue: self.started_at.saturating_duration_since(self.accepted_at),
            prefill: between(Some(self.started_at), prefill_end),
            decode: between(self.first_token_at, self.last_token_at),
            time_to_first_token: between(Some(self.accepted_at), self.first_token_at),
            total: now.saturating_duration_since(self.accepted_at),
        }
    }
}

fn summary(
    finish_reason: FinishReason,
    prompt_tokens: u32,
    decoding: &Decoding<'_>,
    clock: &Clock,
) -> GenerationSummary {
    GenerationSummary {
        finish_reason,
        stop_sequence: decoding.stop_sequence(),
        usage: Usage {
            prompt_tokens,
            cached_tokens: 0,
            completion_tokens: decoding.completion_tokens(),
            reasoning_tokens: decoding.reasoning_tokens(),
        },
        timings: clock.timings(),
    }
}

fn last_row(logits: &Logits, step_began: Instant) -> Result<&[f32], EngineError> {
    match logits.n_rows().checked_sub(1) {
        Some(last) => Ok(logits.row(last)),
        None => Err(EngineError::Backend(BackendError::Device {
            after: step_began.elapsed(),
            reason: "a step that asked for logits gave none".into(),
        })),
    }
}

fn nonsense(bad: BadLogit, step_began: Instant) -> EngineError {
    EngineError::Backend(BackendError::Device {
        after: step_began.elapsed(),
        reason: format!("the logit of token {} is {}", bad.token, bad.value),
    })
}
