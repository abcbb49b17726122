//! An adapter as mlx-lm leaves it after a fine-tuning: `adapter_config.json` and `adapters.safetensors`, checked against
//! the model that it is for.
//!
//! `lora` adds a low-rank product to linear layers, stacked experts and embeddings, `full` replaces tensors. Whatever
//! does not fit is an error; a module for which there are no tensors stays as it is, as in mlx-lm.
//!
//! Source: `load_adapters` in mlx-lm `tuner/utils.py`.

mod attach;
mod config;
mod replace;

use super::error::CheckpointError;
use super::fields::Fields;
use super::files::CheckpointFiles;
use super::safetensors::{TensorEntry, read_header};
use super::shards::{Shard, TensorTable};
use super::text_files::read_object;
use super::weights::Weights;
use boca_core::AdapterInfo;
use config::AdapterConfig;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapters.safetensors";
const LORA_A: &str = ".lora_a";
pub(super) const LORA_B: &str = ".lora_b";

/// An open adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    config: AdapterConfig,
    shard: Shard,
    entries: Vec<TensorEntry>,
}

impl Adapter {
    /// Opens an adapter for a model of `n_layers` layers. Its tensors are not looked at yet.
    pub(super) fn open(directory: &Path, n_layers: usize) -> Result<Self, CheckpointError> {
        let files = CheckpointFiles::of_adapter(directory)?;
        let object =
            read_object(&files, CONFIG)?.ok_or_else(|| files.missing(CONFIG, "the adapter's config"))?;
        let file = files.shown_path(CONFIG);
        let config = AdapterConfig::of(Fields { file: &file, prefix: "", object: &object }, n_layers)?;
        let bytes = files.map(TENSORS)?.ok_or_else(|| files.missing(TENSORS, "the adapter's tensors"))?;
        let file = files.shown_path(TENSORS);
        let mut entries = read_header(&file, &bytes)?;
        // What is wrong first is then the same, in whichever order they were written.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if entries.is_empty() {
            return Err(CheckpointError::Damaged {
                file,
                tensor: None,
                expected: "at least one tensor".into(),
                found: "none".into(),
            });
        }
        Ok(Self { config, shard: Shard { files, name: TENSORS.into(), bytes }, entries })
    }

    /// Puts the tensors of a `full` fine-tuning in the place of the model's own.
    pub(super) fn replace(&self, table: &mut TensorTable, n_layers: usize) -> Result<(), CheckpointError> {
        match self.config {
            AdapterConfig::Full => replace::replace(&self.shard, &self.entries, table, n_layers),
            AdapterConfig::LowRank(_) => Ok(()),
        }
    }

    /// Adds low-rank products to the layers that they are for.
    pub(super) fn attach(&self, weights: &mut Weights) -> Result<(), CheckpointError> {
        match &self.config {
            AdapterConfig::Full => Ok(()),
            AdapterConfig::LowRank(config) => attach::attach(config, &self.shard, &self.entries, weights),
        }
    }

    /// What can be said of it.
    pub(super) fn info(&self) -> AdapterInfo {
        let (kind, rank) = match &self.config {
            AdapterConfig::Full => ("full", None),
            AdapterConfig::LowRank(config) => ("lora", u32::try_from(config.rank).ok()),
        };
        let files = &self.shard.files;
        AdapterInfo { name: files.model_name(), source: files.location(), kind: kind.into(), rank }
    }

    /// Tells adapters that differ apart; see [`CheckpointFiles::fingerprint`].
    pub(super) fn fingerprint(&self) -> u64 {
        self.shard.files.fingerprint()
    }

    /// The same on every machine; see [`CheckpointFiles::portable_fingerprint`].
    pub(super) fn portable_fingerprint(&self) -> u64 {
        self.shard.files.portable_fingerprint()
    }

    /// The file of its tensors and, where those are no part of the model's own table, the tensors.
    pub(super) fn own_tensors(self) -> Option<(Shard, Vec<TensorEntry>)> {
        match self.config {
            AdapterConfig::Full => None,
            AdapterConfig::LowRank(_) => Some((self.shard, self.entries)),
        }
    }
}

fn wrong_tensor(shard: &Shard, entry: &TensorEntry, expected: String, found: String) -> CheckpointError {
    CheckpointError::WrongTensor {
        file: shard.shown_path(),
        tensor: super::error::shown(&entry.name),
        expected,
        found,
    }
}

/// Type and shape, for messages.
fn described(entry: &TensorEntry) -> String {
    format!("{} {}", entry.dtype, super::error::shown(&format!("{:?}", entry.shape)))
}
