//! Which files hold the weights, and where in them each tensor is.

use super::error::{CheckpointError, shown};
use super::files::CheckpointFiles;
use super::safetensors::{TensorEntry, read_header};
use super::tensor::Bytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const INDEX_LIMIT_BYTES: u64 = 64 << 20;

/// One mapped file of weights.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    /// Where it is.
    pub(super) files: CheckpointFiles,
    pub(super) name: String,
    pub(super) bytes: Arc<Bytes>,
}

impl Shard {
    /// The file, for messages.
    pub(super) fn shown_path(&self) -> String {
        self.files.shown_path(&self.name)
    }
}

/// Every tensor of a checkpoint by its name.
#[derive(Debug)]
pub(super) struct TensorTable {
    pub(super) shards: Vec<Shard>,
    /// Index of the shard, and the entry in its header.
    pub(super) tensors: HashMap<String, (usize, TensorEntry)>,
    /// The index's own map of tensors to files, to tell which file should have held a missing one.
    pub(super) weight_map: BTreeMap<String, String>,
}

impl TensorTable {
    /// Maps every shard and reads its header; no byte of a weight is touched.
    pub(super) fn open(files: &CheckpointFiles) -> Result<Self, CheckpointError> {
        let (names, weight_map) = shard_names(files)?;
        let mut table = Self { shards: Vec::new(), tensors: HashMap::new(), weight_map };
        for (index, name) in names.iter().enumerate() {
            let Some(bytes) = files.map(name)? else { return Err(missing_shards(files, &names)) };
            for entry in read_header(&files.shown_path(name), &bytes)? {
                if let Some((other, _)) = table.tensors.get(&entry.name) {
                    return Err(CheckpointError::Damaged {
                        file: files.shown_path(name),
                        tensor: Some(shown(&entry.name)),
                        expected: "one file with this tensor".into(),
                        found: format!("another copy in {}", names[*other]),
                    });
                }
                table.tensors.insert(entry.name.clone(), (index, entry));
            }
            table.shards.push(Shard { files: files.clone(), name: name.clone(), bytes });
        }
        Ok(table)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The index decides which files are read. Without one it is every `model*.safetensors`, as mlx-lm reads them.
fn shard_names(files: &CheckpointFiles) -> Result<(Vec<String>, BTreeMap<String, String>), CheckpointError> {
    let Some(text) = files.read_small(INDEX, INDEX_LIMIT_BYTES)? else {
        return Ok((without_index(files)?, BTreeMap::new()));
    };
    let damaged = |expected: &str, found: String| CheckpointError::Damaged {
        file: files.shown_path(INDEX),
        tensor: None,
        expected: expected.into(),
        found,
    };
    let index: Index = serde_json::from_slice(&text)
        .map_err(|e| damaged("JSON with a `weight_map` of tensors to files", shown(&e.to_string())))?;
    let names: BTreeSet<String> = index.weight_map.values().cloned().collect();
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['/', '\\', '\0'])) {
        return Err(damaged("plain file names in `weight_map`", format!("{:?}", shown(name))));
    }
    if names.is_empty() {
        return Err(damaged("at least one file in `weight_map`", "an empty map".into()));
    }
    let names: Vec<String> = names.into_iter().collect();
    if names.iter().all(|name| files.contains(name)) {
        return Ok((names, index.weight_map));
    }
    // Converted models are often uploaded with the index of the original beside one whole file.
    if names.iter().all(|name| !files.contains(name)) && files.contains(SINGLE) {
        tracing::warn!(index = %files.shown_path(INDEX), "none of the index's files exist; reading {SINGLE} alone");
        return Ok((vec![SINGLE.into()], BTreeMap::new()));
    }
    Err(missing_shards(files, &names))
}

fn without_index(files: &CheckpointFiles) -> Result<Vec<String>, CheckpointError> {
    let found = files.weight_files()?;
    if found.is_empty() {
        return Err(files.missing(SINGLE, "the weights"));
    }
    // `model-00002-of-00005.safetensors` tells how many there should be.
    let numbered = found.iter().find_map(|name| {
        let (_, total) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        Some((total.len(), total.parse::<usize>().ok()?))
    });
    if let Some((digits, total)) = numbered.filter(|(_, total)| (1..=100_000).contains(total)) {
        let all: Vec<String> =
            (1..=total).map(|i| format!("model-{i:0digits$}-of-{total:0digits$}.safetensors")).collect();
        if all.iter().any(|name| !files.contains(name)) {
            return Err(missing_shards(files, &all));
        }
    }
    Ok(found)
}

fn missing_shards(files: &CheckpointFiles, names: &[String]) -> CheckpointError {
    let missing: Vec<_> = names.iter().filter(|name| !files.contains(name)).collect();
    CheckpointError::MissingShards {
        file: files.shown_path(missing.first().map_or(SINGLE, |name| name.as_str())),
        n_missing: missing.len(),
        n_shards: names.len(),
    }
}
