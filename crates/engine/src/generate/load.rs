//! From a checkpoint to a model that answers.

use super::choice::{BackendChoice, Built, Chosen, DeviceChoice, MlxLimits};
use super::disk::PrefixCacheDisk;
use super::engine::{Engine, EngineConfig};
use crate::backend::BackendError;
use crate::checkpoint::{Checkpoint, CheckpointWeights, Cut};
use crate::memory::{MemoryFacts, MemoryPlan, MemoryShort, MemoryWishes, Placement, plan_memory};
use crate::shared::Hosts;
use crate::text::TextModel;
use crate::{EngineError, Generator, ModelSource};
use boca_core::{KvPrecision, LoadPhase, LoadProgress};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// How to load a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineOptions {
    /// Which backend computes.
    pub backend: BackendChoice,
    /// What it computes on.
    pub device: DeviceChoice,
    /// Bounds of MLX's memory.
    pub mlx_limits: MlxLimits,
    /// The directory of an adapter in mlx-lm's layout; `None` takes the model as it is. A path need not be UTF-8, so it
    /// crosses to an engine process as bytes.
    #[serde(with = "crate::path_bytes::optional")]
    pub adapter: Option<PathBuf>,
    /// The hosts that compute the model together, of which this one is the first; `None` is this one alone.
    pub hosts: Option<Hosts>,
    /// A context shorter than the model's, to bound memory; `None` takes the model's.
    pub context_tokens: Option<u32>,
    /// Threads that compute; `None` is one for each core.
    pub threads: Option<usize>,
    /// Prompt tokens of one step.
    pub prefill_chunk_tokens: usize,
    /// The most requests that are answered at once.
    pub max_running: usize,
    /// Bytes of KV that are kept for prompts that begin alike; 0 keeps nothing.
    pub prefix_cache_bytes: u64,
    /// In which format keys and values are kept.
    pub kv_precision: KvPrecision,
    /// The most bytes of KV that requests under way and what is kept may take together; `None` is enough for the whole
    /// context of every request that may run, and for all that may be kept, as far as three quarters of what is free
    /// go.
    pub kv_limit_bytes: Option<u64>,
    /// Whether an answer that repeats itself over and over is ended.
    pub loop_guard: bool,
    /// Where what is kept survives a restart; `None` is nowhere.
    pub prefix_cache_disk: Option<PrefixCacheDisk>,
    /// System prompts that are computed before the model counts as loaded.
    pub system_prompts: Vec<String>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            backend: BackendChoice::default(),
            device: DeviceChoice::default(),
            mlx_limits: MlxLimits::default(),
            adapter: None,
            hosts: None,
            context_tokens: None,
            threads: None,
            prefill_chunk_tokens: 256,
            max_running: 4,
            prefix_cache_bytes: 1 << 30,
            kv_precision: KvPrecision::default(),
            kv_limit_bytes: None,
            loop_guard: true,
            prefix_cache_disk: None,
            system_prompts: Vec::new(),
        }
    }
}

impl EngineOptions {
    /// How the backend that they choose on this machine has its weights.
    ///
    /// # Errors
    /// [`EngineError::Choice`] where there is none.
    pub fn placement(&self) -> Result<Placement, EngineError> {
        Chosen::of(self).map(Chosen::placement)
    }
}

/// Opens a checkpoint, brings its weights into memory, and computes one step with it.
///
/// # Errors
/// See [`EngineError`].
pub fn load(
    source: &ModelSource,
    options: &EngineOptions,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<Box<dyn Generator>, EngineError> {
    let begun = Instant::now();
    let mut report = |phase, done_bytes, total_bytes| {
        progress(LoadProgress { phase, done_bytes, total_bytes, elapsed: begun.elapsed() });
    };
    report(LoadPhase::Checking, 0, 0);
    let Checkpoint { model, text } = Checkpoint::open_adapted(source, options.adapter.as_deref())?;
    let total = model.weights_bytes;
    let chosen = Chosen::of(options)?;
    // Before a byte of the weights is read: what does not fit is said at once.
    let cut = chosen.cut(&model, options)?;
    let room = room(chosen, &model, cut.as_ref(), options, &MemoryFacts::read())?;
    report(LoadPhase::Reading, 0, total);
    // A large vocabulary takes half a second to read, which is time that the disk can use.
    let (text, Built { backend, kv_tokens }) = std::thread::scope(|scope| -> Result<_, EngineError> {
        let reader =
            scope.spawn(|| TextModel::new(&text.tokenizer_json, &text.tokenizer_config, &text.chat_template));
        let mut read = |done, total| report(LoadPhase::Reading, done, total);
        let backend = chosen.backend(&model, options, cut.as_ref(), &mut read);
        let text = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((text, backend?))
    })?;
    let mut info = model.model_info(backend.describe(), backend.kv_bytes_per_token());
    if let Some(context_tokens) = options.context_tokens {
        if context_tokens > info.context_tokens {
            tracing::warn!(
                configured_tokens = context_tokens,
                model_tokens = info.context_tokens,
                "the configured context is longer than the model's; the model's holds"
            );
        }
        info.context_tokens = info.context_tokens.min(context_tokens);
    }
    let fingerprint = model.fingerprint();
    let config = EngineConfig {
        info,
        defaults: model.generation.clone(),
        prefill_chunk_tokens: options.prefill_chunk_tokens,
        max_running: options.max_running,
        prefix_cache_bytes: options.prefix_cache_bytes,
        // Every host has the same sequences.
        kv_limit_bytes: Some(room.kv_limit_bytes.min(kv_tokens.saturating_mul(backend.kv_bytes_per_token()))),
        loop_guard: options.loop_guard,
    };
    let mut engine = Engine::new(backend, text, config)?;
    report(LoadPhase::WarmingUp, total, total);
    engine.warm_up()?;
    if let Some(place) = &options.prefix_cache_disk
        && options.prefix_cache_bytes > 0
    {
        engine.keep_on_disk(place, fingerprint);
    }
    for system in &options.system_prompts {
        match engine.read_ahead(system) {
            Err(EngineError::Backend(error)) if !matches!(error, BackendError::OutOfMemory { .. }) => {
                return Err(error.into());
            }
            // A template that refuses it refuses the questions too, and says so to those who ask them.
            Err(error) => tracing::warn!(%error, "the system prompt cannot be read ahead"),
            Ok(()) => {}
        }
    }
    Ok(Box::new(engine))
}

/// What keys and values get of the memory that is free.
fn room(
    chosen: Chosen,
    model: &CheckpointWeights,
    cut: Option<&Cut>,
    options: &EngineOptions,
    facts: &MemoryFacts,
) -> Result<MemoryPlan, MemoryShort> {
    let (mut needs, placement) = chosen.needs(model, options);
    if let Some(cut) = cut {
        needs = needs.of_part(model, cut);
    }
    let wishes = MemoryWishes {
        context_tokens: options.context_tokens.map(u64::from),
        max_running: options.max_running as u64,
        prefix_cache_bytes: options.prefix_cache_bytes,
        kv_limit_bytes: options.kv_limit_bytes,
    };
    let plan = plan_memory(&needs, &wishes, facts, placement)?;
    let MemoryPlan { kv_limit_bytes, kv_wanted_bytes, free_bytes, .. } = plan;
    if options.kv_limit_bytes.is_none() && kv_limit_bytes < kv_wanted_bytes {
        tracing::info!(
            kv_limit_bytes,
            kv_wanted_bytes,
            free_bytes,
            "keys and values get a share of the free memory; `model.kv_memory` sets another"
        );
    }
    if let Some(room_bytes) = plan.streams_with_bytes {
        let weights_bytes = model.weights_bytes;
        tracing::warn!(
            weights_bytes,
            room_bytes,
            "the weights do not fit the free memory: they are read from disk again and again, which is slow"
        );
    }
    Ok(plan)
}
