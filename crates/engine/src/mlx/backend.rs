//! MLX as a [`Backend`].

use super::arrays::Uploader;
use super::draw::{Drawn, draw, forbidding};
use super::group::Group;
use super::kv::{KV_GRANULE_TOKENS, KvSequence, KvShape, ReservedBytes};
use super::model::{Model, StepArrays};
use crate::backend::{Backend, BackendError, Chunk, KvImage, Logits, LogitsOf, SequenceId, Ticket};
use crate::checkpoint::{Cut, ModelConfig, Weights};
use crate::drawing::{Draw, DrawChunk, Drawing, Feed};
use crate::generate::{DeviceChoice, MlxLimits};
use crate::sequences::Sequences;
use crate::step::Step;
use boca_core::{AcceleratorMemory, KvPrecision};
use mlx_rs::error::Exception;
use mlx_rs::ops::concatenate;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, ArrayElement, Device, DeviceType, Stream, with_stream};
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;
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

/// One host's part of a model. The backends of all hosts must be asked for the same steps, in the same order; what they
/// compute of a layer is added up between them.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which part of the weights.
    pub cut: Cut,
    /// The hosts that have the others.
    pub group: Rc<Group>,
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
    sequences: Sequences<KvSequence>,
    next_ticket: u64,
    launched: HashMap<u64, Launched>,
    step: Step,
    /// Added to logits before a token is drawn.
    forbidden: Option<Array>,
    /// The tokens that the step launched last draws, and for which sequences.
    unread: Option<(Array, Vec<SequenceId>)>,
    /// The hosts that compute it together, if it is not this one alone.
    group: Option<Rc<Group>>,
    /// The thread that owns every array.
    owner: ThreadId,
}

/// What is read of a step.
enum Output {
    /// Its keys and values are all that it is for.
    Nothing,
    Logits(Array),
    Drawn(Drawn),
}

/// A step under way.
struct Launched {
    output: Output,
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
        Self::of_part(config, weights, options, None, progress)
    }

    /// The same of one host's part of the model, which `config` and `weights` are all of.
    ///
    /// # Errors
    /// Those of [`MlxBackend::new`].
    pub fn of_part(
        config: &ModelConfig,
        weights: &Weights,
        options: MlxOptions,
        part: Option<Part>,
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
        let group = part.as_ref().map(|part| Rc::clone(&part.group));
        let own_config = part.as_ref().map_or_else(|| config.clone(), |part| part.cut.config(config));
        let model = with_stream(&stream, || Model::new(uploader, config, weights, part, progress));
        let model = model.map_err(failed)?;
        let eight_bits = options.kv_precision == KvPrecision::Q8;
        Ok(Self {
            kv_shape: KvShape::new(&own_config, model.dtype(), eight_bits).map_err(failed)?,
            model,
            stream,
            device: describe(gpu),
            kv_bytes: ReservedBytes::default(),
            vocab_size: config.vocab_size,
            sequences: Sequences::default(),
            next_ticket: 0,
            launched: HashMap::new(),
            step: Step::default(),
            forbidden: None,
            unread: None,
            group,
            owner: std::thread::current().id(),
        })
    }

    fn watch_thread(&self) {
        debug_assert_eq!(self.owner, std::thread::current().id(), "an MLX backend has left its thread");
    }

    /// Starts a step that draws a token for each of `draws`, or gives the logits where there are none.
    fn launch_step(
        &mut self,
        chunks: &[Chunk<'_>],
        tokens: Option<Array>,
        draws: &[Draw],
    ) -> Result<Ticket, BackendError> {
        self.watch_thread();
        let began = Instant::now();
        self.sequences.prepare(&mut self.step, chunks, self.vocab_size)?;
        let mut output = Output::Nothing;
        if !chunks.is_empty() {
            let mut sequences = self.sequences.lend(chunks);
            // What a failed step has left of its sequences is not known: they are gone.
            output =
                self.start(chunks, tokens, draws, &mut sequences).map_err(|error| failure(began, &error))?;
            self.sequences.take_back(chunks, sequences, true);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let (n_rows, sequences) = (self.step.n_rows(), chunks.iter().map(|chunk| chunk.sequence).collect());
        self.launched.insert(ticket, Launched { output, began, n_rows, sequences });
        Ok(Ticket(ticket))
    }

    /// Builds a step's graph and starts it.
    fn start(
        &self,
        chunks: &[Chunk<'_>],
        tokens: Option<Array>,
        draws: &[Draw],
        sequences: &mut [KvSequence],
    ) -> super::Result<Output> {
        with_stream(&self.stream, || {
            for (chunk, sequence) in chunks.iter().zip(&mut *sequences) {
                sequence.reserve(chunk.tokens.len())?;
            }
            let output = match self.model.forward(&StepArrays::new(&self.step, tokens), sequences)? {
                None => Output::Nothing,
                Some(logits) if draws.is_empty() => Output::Logits(logits),
                Some(logits) => {
                    Output::Drawn(self.same_for_all(draw(&logits, self.forbidden.as_ref(), draws)?)?)
                }
            };
            // Logits need all keys and values of their sequence; where nobody wants any, these are what is computed.
            let unread = chunks.iter().zip(&*sequences);
            let unread = unread.filter(|(chunk, _)| chunk.logits == LogitsOf::None);
            async_eval(
                output.arrays().into_iter().chain(unread.flat_map(|(_, sequence)| sequence.arrays())),
            )?;
            Ok(output)
        })
    }

    /// Hosts may round differently; all go on with the tokens of the first.
    fn same_for_all(&self, drawn: Drawn) -> super::Result<Drawn> {
        match &self.group {
            Some(group) => Ok(Drawn { tokens: group.of_the_first(&drawn.tokens)?, sums: drawn.sums }),
            None => Ok(drawn),
        }
    }

    /// The tokens of a step, where some of them are still being drawn.
    fn fed(&self, chunks: &[DrawChunk<'_>]) -> Result<Option<Array>, BackendError> {
        if chunks.iter().all(|chunk| matches!(chunk.feed, Feed::Tokens(_))) {
            return Ok(None);
        }
        let not_drawn = |id| BackendError::bad_sequence(id, "no token is being drawn for it".into());
        let Some((drawn, sequences)) = &self.unread else { return Err(not_drawn(chunks[0].sequence)) };
        // What is drawn comes first, then what the host knows.
        let (mut places, mut known) = (Vec::new(), Vec::new());
        for chunk in chunks {
            match chunk.feed {
                Feed::Drawn => {
                    let place = sequences.iter().position(|id| *id == chunk.sequence);
                    places.push(place.ok_or_else(|| not_drawn(chunk.sequence))?);
                }
                Feed::Tokens(tokens) => {
                    places.extend((0..tokens.len()).map(|i| sequences.len() + known.len() + i));
                    known.extend_from_slice(tokens);
                }
            }
        }
        if known.is_empty() && places.len() == sequences.len() && places.is_sorted() {
            return Ok(Some(drawn.clone()));
        }
        let began = Instant::now();
        let places: Vec<u32> = places.into_iter().map(|place| place as u32).collect();
        let known = Array::from_slice(&known, &[known.len() as i32]);
        let fed = with_stream(&self.stream, || {
            concatenate(&[drawn, &known], 0)?.take_axis(Array::from_slice(&places, &[places.len() as i32]), 0)
        });
        fed.map(Some).map_err(|error| failure(began, &error))
    }

    /// Takes a step's output when it is there; a step that failed is the end of its sequences.
    fn collect_step<T>(
        &mut self,
        ticket: &Ticket,
        read: impl FnOnce(&Output) -> super::Result<T>,
    ) -> Result<T, BackendError> {
        self.watch_thread();
        let step = self.launched.remove(&ticket.0).ok_or_else(|| BackendError::unknown_step(ticket))?;
        let mut output = read(&step.output);
        if output.is_ok() && matches!(step.output, Output::Nothing) {
            let sequences = self.sequences.of(&step.sequences);
            if let Err(error) = sequences.flat_map(KvSequence::arrays).try_for_each(Array::eval) {
                output = Err(error);
            }
        }
        if step.n_rows >= LARGE_STEP_ROWS {
            // Its buffers are of no use to the small steps that follow.
            super::memory::give_back();
        }
        output.map_err(|error| {
            for id in &step.sequences {
                self.sequences.remove(*id);
            }
            failure(step.began, &error)
        })
    }
}

impl Output {
    fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Logits(logits) => vec![logits],
            Self::Drawn(Drawn { tokens, sums }) => vec![tokens, sums],
        }
    }
}

impl Backend for MlxBackend {
    fn describe(&self) -> String {
        match &self.group {
            Some(group) => format!("mlx ({}, {} hosts)", self.device, group.share().size),
            None => format!("mlx ({})", self.device),
        }
    }

    fn open(&mut self, max_tokens: usize) -> Result<SequenceId, BackendError> {
        self.watch_thread();
        let sequence = KvSequence::new(self.kv_shape, max_tokens, &self.kv_bytes)?;
        Ok(self.sequences.insert(sequence))
    }

    fn fork(
        &mut self,
        parent: SequenceId,
        n_tokens: usize,
        max_tokens: usize,
    ) -> Result<SequenceId, BackendError> {
        self.watch_thread();
        self.sequences.fork(parent, n_tokens, max_tokens)
    }

    fn len(&self, sequence: SequenceId) -> Option<usize> {
        self.sequences.len(sequence)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.watch_thread();
        self.sequences.remove(sequence);
    }

    fn launch(&mut self, chunks: &[Chunk<'_>]) -> Result<Ticket, BackendError> {
        self.unread = None;
        self.launch_step(chunks, None, &[])
    }

    fn collect(&mut self, ticket: Ticket, logits: &mut Logits) -> Result<(), BackendError> {
        logits.vocab_size = self.vocab_size;
        logits.values.clear();
        self.collect_step(&ticket, |output| {
            if let Output::Logits(array) = output {
                logits.values.extend_from_slice(read(array)?);
            }
            Ok(())
        })
    }

    fn drawing(&mut self) -> Option<&mut dyn Drawing> {
        Some(self)
    }

    fn kv_bytes_per_token(&self) -> u64 {
        self.kv_shape.bytes_per_token()
    }

    fn kv_granule_tokens(&self) -> usize {
        KV_GRANULE_TOKENS
    }

    fn forks_copy(&self) -> bool {
        true
    }

    fn kv_bytes(&self) -> u64 {
        self.kv_bytes.get()
    }

    fn memory(&self) -> Option<AcceleratorMemory> {
        super::memory::in_use()
    }

    fn kv_format(&self) -> Option<String> {
        // Of a part nothing is exported: the others' would have to come and go with it.
        self.group.is_none().then(|| self.kv_shape.format(&self.describe()))
    }

    fn export(&self, sequence: SequenceId) -> Option<Box<dyn KvImage>> {
        self.watch_thread();
        let image = with_stream(&self.stream, || self.sequences.get(sequence).map(KvSequence::image))?;
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
        Ok(self.sequences.insert(sequence))
    }

    fn kv_bytes_of(&self, sequences: &[SequenceId]) -> u64 {
        let memory = self.sequences.of(sequences).map(KvSequence::memory);
        memory.collect::<HashMap<_, _>>().values().sum()
    }
}

impl Drawing for MlxBackend {
    fn forbid(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        self.watch_thread();
        self.forbidden = (!ids.is_empty()).then(|| forbidding(ids, self.vocab_size));
        Ok(())
    }

    fn launch_drawing(&mut self, chunks: &[DrawChunk<'_>]) -> Result<Ticket, BackendError> {
        self.watch_thread();
        let tokens = self.fed(chunks)?;
        let plain: Vec<Chunk<'_>> = chunks.iter().map(|chunk| chunk.plain(&[0])).collect();
        let draws: Vec<Draw> = chunks.iter().filter_map(|chunk| chunk.draw).collect();
        let ticket = self.launch_step(&plain, tokens, &draws)?;
        self.unread = match &self.launched[&ticket.0].output {
            Output::Drawn(drawn) => {
                let drawing = chunks.iter().filter(|chunk| chunk.draw.is_some());
                Some((drawn.tokens.clone(), drawing.map(|chunk| chunk.sequence).collect()))
            }
            _ => None,
        };
        Ok(ticket)
    }

    fn collect_drawn(&mut self, ticket: Ticket) -> Result<Vec<Option<u32>>, BackendError> {
        self.collect_step(&ticket, |output| {
            let Output::Drawn(drawn) = output else { return Ok(Vec::new()) };
            let (tokens, sums) = (read::<u32>(&drawn.tokens)?, read::<f32>(&drawn.sums)?);
            let drawn = tokens.iter().zip(sums);
            Ok(drawn.map(|(token, sum)| sum.is_finite().then_some(*token)).collect())
        })
    }

    fn forget(&mut self, ticket: Ticket) {
        self.watch_thread();
        self.launched.remove(&ticket.0);
    }

    fn cut(&mut self, sequence: SequenceId, n_tokens: usize) {
        self.watch_thread();
        if let Some(sequence) = self.sequences.get_mut(sequence) {
            sequence.cut(n_tokens);
        }
    }
}

impl Drop for MlxBackend {
    /// Steps that nobody waits for still run, and a process that ends under them falls over. What hosts compute together is
    /// not waited for: another one may be gone, and then it never ends.
    fn drop(&mut self) {
        if self.group.is_none() {
            let last = with_stream(&self.stream, || Array::from_f32(0.0).add(Array::from_f32(0.0))?.eval());
            if let Err(error) = last {
                tracing::warn!(%error, "a step that was under way has failed");
            }
        }
    }
}

/// The numbers of an array, once they are there.
fn read<T: ArrayElement>(array: &Array) -> super::Result<&[T]> {
    array.try_as_slice().map_err(|error| Exception::custom(error.to_string()))
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
