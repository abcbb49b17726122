//! MLX as a [`Backend`].

use super::arrays::Uploader;
use super::kv::{KV_GRANULE_TOKENS, KvSequence, KvShape, ReservedBytes};
use super::model::{Model, StepArrays};
use crate::backend::{Backend, BackendError, Chunk, KvImage, Logits, LogitsOf, SequenceId, Ticket};
use crate::checkpoint::{ModelConfig, Weights};
use crate::generate::{DeviceChoice, MlxLimits};
use crate::step::{Extent, Step};
use boca_core::{AcceleratorMemory, KvPrecision};
use mlx_rs::error::Exception;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, Device, DeviceType, Stream, with_stream};
use std::collections::HashMap;
use std::io::{self, Read};
use std::thread::ThreadId;
use std::time::Instant;

/// How MLX is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct MlxOptions {
    /// What computes.
    pub device: DeviceChoice,
    /// In which format keys and values are kept: in 8 bits, or, for every other one, in the model's own.
    pub kv_precision: KvPrecision,
    /// Bounds of its memory.
    pub limits: MlxLimits,
    /// Computes in f32, whatever the checkpoint has: exact, slower, twice the memory of all that is not quantised. What
    /// the reference recordings were made with.
    pub widen: bool,
}

/// Rows of a step, a prompt's, whose buffers are given back at once, as mlx-lm does after each chunk of a prompt.
const LARGE_STEP_ROWS: usize = 256;

/// Inference by MLX.
pub struct MlxBackend {
    model: Model,
    stream: Stream,
    device: String,
    kv_shape: KvShape,
    kv_bytes: ReservedBytes,
    vocab_size: usize,
    sequences: HashMap<SequenceId, KvSequence>,
    next_sequence: u64,
    next_ticket: u64,
    launched: HashMap<u64, Launched>,
    step: Step,
    /// The thread that owns every array.
    owner: ThreadId,
}

/// A step under way.
struct Launched {
    logits: Option<Array>,
    began: Instant,
    n_rows: usize,
    sequences: Vec<SequenceId>,
}

impl std::fmt::Debug for MlxBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MlxBackend").field("device", &self.device).finish_non_exhaustive()
    }
}

impl MlxBackend {
    /// Whether MLX has a graphics processor here.
    pub fn has_gpu() -> bool {
        // MLX takes the graphics processor by default, wherever there is one.
        Device::try_default().and_then(|device| device.get_type()).is_ok_and(is_gpu)
    }

    /// Brings a checked model into MLX's memory; `progress` is told as parts of it arrive.
    ///
    /// # Errors
    /// [`BackendError::Device`], [`BackendError::OutOfMemory`].
    pub fn new(
        config: &ModelConfig,
        weights: &Weights,
        options: MlxOptions,
        progress: &mut dyn FnMut(),
    ) -> Result<Self, BackendError> {
        let began = Instant::now();
        let failed = |error: Exception| failure(began, &error);
        let gpu = match options.device {
            DeviceChoice::Auto => Self::has_gpu(),
            DeviceChoice::Gpu if !Self::has_gpu() => {
                let reason = "MLX has no graphics processor here".into();
                return Err(BackendError::Device { after: began.elapsed(), reason });
            }
            DeviceChoice::Gpu => true,
            DeviceChoice::Cpu => false,
        };
        let device = if gpu { Device::gpu() } else { Device::cpu() };
        let stream = Stream::try_default_on_device(&device).map_err(failed)?;
        super::memory::bound(options.limits).map_err(failed)?;
        let uploader = Uploader { widen: options.widen, on_cpu: !gpu };
        let model =
            with_stream(&stream, || Model::new(uploader, config, weights, progress)).map_err(failed)?;
        let eight_bits = options.kv_precision == KvPrecision::Q8;
        Ok(Self {
            kv_shape: KvShape::new(config, model.dtype(), eight_bits).map_err(failed)?,
            model,
            stream,
            device: describe(gpu),
            kv_bytes: ReservedBytes::default(),
            vocab_size: config.vocab_size,
            sequences: HashMap::new(),
            next_sequence: 0,
            next_ticket: 0,
            launched: HashMap::new(),
            step: Step::default(),
            owner: std::thread::current().id(),
        })
    }

    fn insert(&mut self, sequence: KvSequence) -> SequenceId {
        let id = SequenceId(self.next_sequence);
        self.next_sequence += 1;
        self.sequences.insert(id, sequence);
        id
    }

    fn watch_thread(&self) {
        debug_assert_eq!(self.owner, std::thread::current().id(), "an MLX backend has left its thread");
    }

    /// Builds a step's graph and starts it.
    fn start(&mut self, chunks: &[Chunk<'_>], sequences: &mut [KvSequence]) -> super::Result<Option<Array>> {
        let Self { model, stream, step, .. } = self;
        with_stream(stream, || {
            for (chunk, sequence) in chunks.iter().zip(&mut *sequences) {
                sequence.reserve(chunk.tokens.len())?;
            }
            let logits = model.forward(&StepArrays::new(step), sequences)?;
            // Logits need all keys and values of their sequence; where nobody wants any, these are what is computed.
            let unread = chunks.iter().zip(&*sequences);
            let unread = unread.filter(|(chunk, _)| chunk.logits == LogitsOf::None);
            async_eval(logits.iter().chain(unread.flat_map(|(_, sequence)| sequence.arrays())))?;
            Ok(logits)
        })
    }
}

impl Backend for MlxBackend {
    fn describe(&self) -> String {
        format!("mlx ({})", self.device)
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        self.watch_thread();
        let sequence = KvSequence::new(self.kv_shape, max_tokens, &self.kv_bytes)?;
        Ok(self.insert(sequence))
    }

    fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError> {
        self.watch_thread();
        let sequence = self.sequences.get(&parent);
        let sequence = sequence.ok_or_else(|| BackendError::bad_sequence(parent, "it is not open".into()))?;
        if let Some(error) = BackendError::of_fork(parent, sequence.len(), n_tokens, max_tokens) {
            return Err(error);
        }
        let fork = sequence.fork(n_tokens, max_tokens)?;
        Ok(self.insert(fork))
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.sequences.get(&sequence).map(KvSequence::len)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.watch_thread();
        self.sequences.remove(&sequence);
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        self.watch_thread();
        let began = Instant::now();
        let open = &self.sequences;
        self.step.prepare(chunks, self.vocab_size, |id| {
            let sequence = open.get(&id)?;
            Some(Extent { n_tokens: sequence.len(), max_tokens: sequence.max_tokens() })
        })?;
        let ids: Vec<SequenceId> = chunks.iter().map(|chunk| chunk.sequence).collect();
        let mut logits = None;
        if !chunks.is_empty() {
            let mut sequences: Vec<KvSequence> =
                ids.iter().filter_map(|id| self.sequences.remove(id)).collect();
            // What a failed step has left of its sequences is not known: they are gone.
            logits = self.start(chunks, &mut sequences).map_err(|error| failure(began, &error))?;
            for (chunk, mut sequence) in chunks.iter().zip(sequences) {
                sequence.advance(chunk.tokens.len());
                self.sequences.insert(chunk.sequence, sequence);
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.launched.insert(ticket, Launched { logits, began, n_rows: self.step.n_rows(), sequences: ids });
        Ok(Ticket(ticket))
    }

    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        self.watch_thread();
        let Some(step) = self.launched.remove(&ticket.0) else {
            return Err(BackendError::unknown_step(&ticket));
        };
        logits.vocab_size = self.vocab_size;
        logits.values.clear();
        let waited = match &step.logits {
            Some(array) => array
                .try_as_slice::<f32>()
                .map_err(|error| Exception::custom(error.to_string()))
                .map(|numbers| {
                    logits.values.extend_from_slice(numbers);
                }),
            None => step
                .sequences
                .iter()
                .filter_map(|id| self.sequences.get(id))
                .flat_map(KvSequence::arrays)
                .try_for_each(Array::eval),
        };
        if step.n_rows >= LARGE_STEP_ROWS {
            // Its buffers are of no use to the small steps that follow.
            super::memory::give_back();
        }
        waited.map_err(|error| {
            for id in &step.sequences {
                self.sequences.remove(id);
            }
            failure(step.began, &error)
        })
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.kv_shape.bytes_per_token()
    }

    fn kv_granule_tokens(&self) -> usize {
        KV_GRANULE_TOKENS
    }

    fn kv_bytes(&self) -> u64 {
        self.kv_bytes.get()
    }

    fn memory(&self) -> Option<AcceleratorMemory> {
        super::memory::in_use()
    }

    fn kv_format(&self) -> Option<String> {
        Some(self.kv_shape.format(&self.describe()))
    }

    fn export(&self, sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        self.watch_thread();
        let image = with_stream(&self.stream, || self.sequences.get(&sequence).map(KvSequence::image))?;
        image.inspect_err(|error| tracing::warn!(%error, "keys and values cannot be read from MLX")).ok()
    }

    fn import(
        &mut self,
        _parent: Option<(SequenceId, usize)>,
        n_tokens: usize,
        n_bytes: u64,
        from: &mut dyn Read,
    ) -> io::Result<SequenceId> {
        self.watch_thread();
        let sequence = KvSequence::read(self.kv_shape, &self.kv_bytes, n_tokens, n_bytes, from)?;
        Ok(self.insert(sequence))
    }

    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        let memory = sequences.iter().filter_map(|id| self.sequences.get(id)).map(KvSequence::memory);
        memory.collect::<HashMap<_, _>>().values().sum()
    }
}

fn is_gpu(device: DeviceType) -> bool {
    matches!(device, DeviceType::Gpu)
}

fn describe(gpu: bool) -> String {
    match (gpu, cfg!(target_os = "macos")) {
        (true, true) => "metal",
        (true, false) => "cuda",
        (false, _) => "cpu",
    }
    .into()
}

/// MLX tells everything in words.
fn failure(began: Instant, error: &Exception) -> BackendError {
    BackendError::Device { after: began.elapsed(), reason: error.what().to_owned() }
}
