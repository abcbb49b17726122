//! Which checkpoint is loaded when the daemon starts, and what was tried to find it.

use super::origin::Origin;
use super::places::Environment;
use super::settings::Settings;
use boca_engine::checkpoint::ARCHITECTURE;
use boca_engine::{EmbeddedCheckpoint, ModelSource};
use std::io::Read;
use std::path::{Path, PathBuf};

const MAX_MODEL_CONFIG_BYTES: u64 = 16 << 20;
const TAKEN: &str = "taken";
const NOT_FOUND: &str = "not found";

/// A place where a model was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TriedModel {
    /// The directory, or `embedded`.
    pub path: String,
    /// What named it: `--model`, `GLM_MODEL_PATH`, `config`, `default` or `embedded`.
    pub from: &'static str,
    /// What came of it: `taken`, `not found`, or why it was not taken.
    pub outcome: String,
}

/// The model to load.
#[derive(Debug, Clone)]
pub(crate) struct ModelChoice {
    /// Where it is. A directory that was named is taken without a look: if it is bad, loading it says why, and
    /// nothing else is loaded in its place.
    pub source: ModelSource,
    /// Every place that was considered, in order; the last one was taken.
    pub tried: Vec<TriedModel>,
}

/// Picks the model: the one that was named, else the first usable one in the usual places, else `demo`.
pub(crate) fn choose_model(
    settings: &Settings,
    environment: &Environment,
    demo: EmbeddedCheckpoint,
) -> ModelChoice {
    let mut tried = Vec::new();
    let mut note = |path: &str, from, outcome: &str| {
        tried.push(TriedModel { path: path.to_owned(), from, outcome: outcome.to_owned() });
    };
    if let Some(named) = &settings.model.named {
        let from = match named.origin {
            Origin::Flag(name) | Origin::Environment(name) => name,
            Origin::File { .. } | Origin::Default => "config",
        };
        note(&named.path.display().to_string(), from, TAKEN);
        return ModelChoice { source: ModelSource::Directory(named.path.clone()), tried };
    }
    let beside = settings.config_dir.iter().map(|dir| dir.join("models/glm4.5-air-mlx-4bit"));
    let models_dir = environment.models_dir();
    let own = models_dir.as_deref().map(directories_in).unwrap_or_default();
    for path in beside.chain(own) {
        let unusable = reason_against(&path);
        note(&path.display().to_string(), "default", unusable.as_deref().unwrap_or(TAKEN));
        if unusable.is_none() {
            return ModelChoice { source: ModelSource::Directory(path), tried };
        }
    }
    if let Some(dir) = models_dir.filter(|dir| directories_in(dir).is_empty()) {
        // Listed all the same, so that a user sees where a model can be put.
        note(&dir.join("*").display().to_string(), "default", NOT_FOUND);
    }
    note("embedded", "embedded", TAKEN);
    ModelChoice { source: ModelSource::Embedded(demo), tried }
}

fn directories_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// `None` when the directory holds a checkpoint of our kind, whether complete or not: a download that was broken off
/// is reported by the loader and never skipped in silence.
fn reason_against(dir: &Path) -> Option<String> {
    if !dir.exists() {
        return Some(NOT_FOUND.to_owned());
    }
    let mut text = String::new();
    let read = std::fs::File::open(dir.join("config.json"))
        .and_then(|file| file.take(MAX_MODEL_CONFIG_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        return Some(format!("no readable config.json ({error})"));
    }
    let json: serde_json::Value = match serde_json::from_str(&text) {
        Ok(json) => json,
        Err(error) => return Some(format!("config.json is no JSON ({error})")),
    };
    match json.get("model_type").and_then(serde_json::Value::as_str) {
        Some(ARCHITECTURE) => None,
        Some(other) => Some(format!("`model_type` is {other:?}, not {ARCHITECTURE:?}")),
        None => Some(format!("config.json names no `model_type`, expected {ARCHITECTURE:?}")),
    }
}
