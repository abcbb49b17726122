//! Opening a checkpoint: every file is read and checked before any weight is touched.
//!
//! Weights stay where they are: a directory's shards are mapped, an embedded model's are part of the binary. A
//! checkpoint of 60 GB is open as soon as its headers are read.

mod adapter;
mod assemble;
mod config;
mod contents;
mod count;
mod cut;
mod error;
mod fields;
mod files;
mod quantization;
mod safetensors;
mod shards;
mod tensor;
mod text_files;
mod verify;
mod weights;

pub use config::{ARCHITECTURE, ModelConfig};
pub use count::ParameterCount;
pub use cut::{Cut, CutError, Share};
pub use error::CheckpointError;
pub use tensor::{Bytes, FloatType, Linear, LowRank, Matrix, MatrixData, TensorBytes, Vector};
pub use text_files::{GenerationDefaults, TextFiles};
pub use verify::{FileReport, TensorProblem, VerifyReport};
pub use weights::{AttentionWeights, GatedMlp, LayerWeights, MlpWeights, MoeWeights, Weights};

use crate::ModelSource;
use adapter::Adapter;
use assemble::{Assembled, assemble};
use boca_core::{AdapterInfo, ModelInfo, Quantization};
use contents::Contents;
use count::count_parameters;
use fields::Fields;
use files::CheckpointFiles;
use quantization::QuantizationMap;
use shards::TensorTable;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use text_files::{read_generation_defaults, read_object};

const CONFIG: &str = "config.json";

/// Weights and config of a checkpoint: all that computing takes.
#[derive(Debug)]
pub struct CheckpointWeights {
    /// Name for people and for `model_used`: the directory's name, or the embedded one's; with an adapter `+` and its
    /// directory's name follow.
    pub name: String,
    /// Where it came from: the directory, or `embedded`.
    pub location: String,
    /// Whether it is the demo model that boca carries.
    pub is_demo: bool,
    /// `config.json`.
    pub config: ModelConfig,
    /// Every tensor, in place. A clone copies small vectors only.
    pub weights: Weights,
    /// What the checkpoint recommends for generating.
    pub generation: GenerationDefaults,
    /// What most tensors have; `None` for an unquantised checkpoint.
    pub quantization: Option<Quantization>,
    /// What a fine-tuning has made of it.
    pub adapter: Option<AdapterInfo>,
    /// Bytes of all tensors in use, those of the adapter among them.
    pub weights_bytes: u64,
    contents: Contents,
    adapter_fingerprint: Option<u64>,
    portable_fingerprint: u64,
}

/// A whole checkpoint: weights and text files.
#[derive(Debug)]
pub struct Checkpoint {
    /// Weights and config.
    pub model: CheckpointWeights,
    /// Tokenizer and chat template.
    pub text: TextFiles,
}

impl Checkpoint {
    /// Opens and checks everything that answering takes.
    ///
    /// # Errors
    /// See [`CheckpointError`]: the first thing that is wrong, with file, tensor or field, expected and found.
    pub fn open(source: &ModelSource) -> Result<Self, CheckpointError> {
        Self::open_adapted(source, None)
    }

    /// The same, with the adapter of this directory.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open_adapted(source: &ModelSource, adapter: Option<&Path>) -> Result<Self, CheckpointError> {
        let files = CheckpointFiles::of(source)?;
        let config = read_config(&files)?;
        // Small files first: they fail fast, and mapping hundreds of shards would be in vain.
        let text = TextFiles::open(&files)?;
        Ok(Self { model: CheckpointWeights::of(files, config, adapter)?, text })
    }
}

/// What of a checkpoint it takes to make prompts.
#[derive(Debug)]
pub struct CheckpointText {
    /// Tokenizer and chat template.
    pub text: TextFiles,
    /// What the checkpoint recommends for generating.
    pub defaults: GenerationDefaults,
    /// The longest context that the model knows.
    pub context_tokens: u32,
}

impl CheckpointText {
    /// Opens and checks the small files; the weights need not even be there.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(source: &ModelSource) -> Result<Self, CheckpointError> {
        let files = CheckpointFiles::of(source)?;
        let (config, _) = read_config(&files)?;
        let defaults = read_generation_defaults(&files, &config.eos_token_ids, config.vocab_size)?;
        let context_tokens = u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX);
        Ok(Self { text: TextFiles::open(&files)?, defaults, context_tokens })
    }
}

impl CheckpointWeights {
    /// Opens and checks config and weights; tokenizer and template may be absent (tests, `boca model verify`).
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open(source: &ModelSource) -> Result<Self, CheckpointError> {
        Self::open_adapted(source, None)
    }

    /// The same, with the adapter of this directory: `adapter_config.json` and `adapters.safetensors` in mlx-lm's layout.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn open_adapted(source: &ModelSource, adapter: Option<&Path>) -> Result<Self, CheckpointError> {
        let files = CheckpointFiles::of(source)?;
        let config = read_config(&files)?;
        Self::of(files, config, adapter)
    }

    fn of(
        files: CheckpointFiles,
        (config, quantization): (ModelConfig, QuantizationMap),
        adapter: Option<&Path>,
    ) -> Result<Self, CheckpointError> {
        let generation = read_generation_defaults(&files, &config.eos_token_ids, config.vocab_size)?;
        let mut table = TensorTable::open(&files)?;
        let adapter = adapter.map(|directory| Adapter::open(directory, config.n_layers)).transpose()?;
        if let Some(adapter) = &adapter {
            adapter.replace(&mut table, config.n_layers)?;
        }
        let Assembled { mut weights, used } = assemble(&files, &config, &quantization, &table)?;
        if let Some(adapter) = &adapter {
            adapter.attach(&mut weights)?;
        }
        let mut contents = Contents::of(files, table, &used);
        let mut name = contents.files.model_name();
        let adapter_info = adapter.as_ref().map(Adapter::info);
        if let Some(info) = &adapter_info {
            name = format!("{name}+{}", info.name);
        }
        let adapter_fingerprint = adapter.as_ref().map(Adapter::fingerprint);
        let portable_fingerprint = {
            let mut hasher = DefaultHasher::new();
            contents.files.portable_fingerprint().hash(&mut hasher);
            adapter.as_ref().map(Adapter::portable_fingerprint).hash(&mut hasher);
            hasher.finish()
        };
        if let Some((shard, tensors)) = adapter.and_then(Adapter::own_tensors) {
            contents.add(shard, tensors);
        }
        Ok(Self {
            name,
            location: contents.files.location(),
            is_demo: matches!(contents.files, CheckpointFiles::Embedded(_)),
            config,
            weights,
            generation,
            quantization: quantization.all,
            adapter: adapter_info,
            weights_bytes: contents.tensor_bytes(),
            contents,
            adapter_fingerprint,
            portable_fingerprint,
        })
    }

    /// Tells checkpoints that differ apart, without reading their weights: by the config, and by name, size, time and
    /// beginning of every file of weights, the adapter's as well. Holds for one build of boca.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.contents.files.fingerprint(), self.adapter_fingerprint).hash(&mut hasher);
        hasher.finish()
    }

    /// The same for checkpoints on different machines: by what lies in the files that decide what is computed, and not by
    /// their age. Weights are known by their files' sizes and beginnings, where a file says which tensors it holds.
    pub fn portable_fingerprint(&self) -> u64 {
        self.portable_fingerprint
    }

    /// What can be said of the model; `backend` is what computes, `kv_bytes_per_token` what its cache takes.
    pub fn model_info(&self, backend: impl Into<String>, kv_bytes_per_token: u64) -> ModelInfo {
        let config = &self.config;
        let ParameterCount { all, active } = count_parameters(&self.weights, config);
        // Every bound of the config is far below the end of 32 bits.
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        ModelInfo {
            name: self.name.clone(),
            is_demo: self.is_demo,
            source: if self.is_demo { "embedded".into() } else { self.location.clone() },
            architecture: ARCHITECTURE.into(),
            n_parameters: all,
            n_active_parameters: active,
            weights_bytes: self.weights_bytes,
            quantization: self.quantization,
            n_layers: narrow(config.n_layers),
            n_experts: narrow(config.n_experts),
            n_experts_per_token: narrow(config.n_experts_per_token),
            vocab_size: narrow(config.vocab_size),
            context_tokens: narrow(config.max_position_embeddings),
            kv_bytes_per_token,
            recommended_sampling: self.generation.sampling.clone(),
            backend: backend.into(),
            adapter: self.adapter.clone(),
        }
    }

    /// Brings every weight into memory, reporting bytes done and bytes in all, so that no first request pays for it.
    pub fn page_in(&self, progress: &mut dyn FnMut(u64, u64)) {
        self.contents.page_in(progress);
    }

    /// Reads every byte of every weight file and looks for numbers that cannot be right.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> VerifyReport {
        self.contents.verify(progress)
    }
}

fn read_config(files: &CheckpointFiles) -> Result<(ModelConfig, QuantizationMap), CheckpointError> {
    let object = read_object(files, CONFIG)?.ok_or_else(|| files.missing(CONFIG, "the model's config"))?;
    let file = files.shown_path(CONFIG);
    let fields = Fields { file: &file, prefix: "", object: &object };
    Ok((ModelConfig::of(fields)?, QuantizationMap::of(fields)?))
}
