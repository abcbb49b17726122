//! Which checkpoint is loaded when the daemon starts, and what was tried to find it.

use super::places::Environment;
use super::settings::Settings;
use boca_engine::{EmbeddedCheckpoint, ModelSource};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The one architecture that the engine runs.
const ARCHITECTURE: &str = "glm4_moe";
const MAX_MODEL_CONFIG_BYTES: u64 = 16 << 20;

/// A place where a model was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TriedModel {
    /// The directory, or `embedded`.
    pub path: String,
    /// Why it was looked at.
    pub from: String,
    /// What was found.
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
    if let Some(named) = &settings.model.named {
        note(
            &mut tried,
            &named.path.display().to_string(),
            &named.origin.to_string(),
            "chosen: it was named",
        );
        return ModelChoice { source: ModelSource::Directory(named.path.clone()), tried };
    }
    for (path, from) in usual_places(settings, environment) {
        let found = look_at(&path);
        let usable = found.is_ok();
        note(&mut tried, &path.display().to_string(), &from, &found.unwrap_or_else(|reason| reason));
        if usable {
            return ModelChoice { source: ModelSource::Directory(path), tried };
        }
    }
    note(&mut tried, "embedded", "the demo model that boca carries", "chosen: no other model was found");
    ModelChoice { source: ModelSource::Embedded(demo), tried }
}

fn note(tried: &mut Vec<TriedModel>, path: &str, from: &str, outcome: &str) {
    tried.push(TriedModel { path: path.to_owned(), from: from.to_owned(), outcome: outcome.to_owned() });
}

fn usual_places(settings: &Settings, environment: &Environment) -> Vec<(PathBuf, String)> {
    let mut places = Vec::new();
    if let Some(dir) = &settings.config_dir {
        places.push((dir.join("models/glm4.5-air-mlx-4bit"), "beside the config file".to_owned()));
    }
    let Some(models) = environment.models_dir() else { return places };
    let from = format!("in {}", models.display());
    let mut found: Vec<PathBuf> = match std::fs::read_dir(&models) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_dir()).collect(),
        Err(_) => Vec::new(),
    };
    found.sort();
    if found.is_empty() {
        // Listed all the same, so that a user sees where a model could be put.
        places.push((models.join("*"), from));
    } else {
        places.extend(found.into_iter().map(|path| (path, from.clone())));
    }
    places
}

/// `Ok` when the directory holds a checkpoint of our kind, whether complete or not: a download that was broken off
/// is reported by the loader and never skipped in silence.
fn look_at(dir: &Path) -> Result<String, String> {
    if dir.ends_with("*") {
        return Err("no directory there".to_owned());
    }
    if !dir.exists() {
        return Err("not there".to_owned());
    }
    let config = dir.join("config.json");
    let mut text = String::new();
    let read = std::fs::File::open(&config)
        .and_then(|file| file.take(MAX_MODEL_CONFIG_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        return Err(format!("skipped: no readable config.json ({error})"));
    }
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("skipped: config.json is no JSON ({error})"))?;
    match json.get("model_type").and_then(serde_json::Value::as_str) {
        Some(ARCHITECTURE) => Ok("chosen: a GLM-4 MoE checkpoint".to_owned()),
        Some(other) => Err(format!("skipped: `model_type` is {other:?}, not {ARCHITECTURE:?}")),
        None => Err(format!("skipped: config.json names no `model_type`, expected {ARCHITECTURE:?}")),
    }
}
