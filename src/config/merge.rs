//! Flags over environment over drop-ins over the config file over the defaults, with the origin of every value.

use super::defaults::defaults;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::keys::usual_variable;
use super::origin::Origin;
use super::places::Environment;
use super::provider_file::ProviderSection;
use super::providers::DEFAULT_GEMINI_MODEL;
use super::read::read_file;
use boca_core::ProviderKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--model`
    pub(crate) model: Option<PathBuf>,
    /// `--adapter`
    pub(crate) adapter: Option<PathBuf>,
    /// `--hosts`
    pub(crate) hosts: Option<Vec<String>>,
    /// `--log-level`
    pub log_level: Option<String>,
}

/// All layers as one, not yet validated.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    /// Every value.
    pub(crate) values: ConfigFile,
    /// Where each value that is set comes from.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The config file, if there is one, and the drop-ins, in the order in which they were read.
    pub(crate) files: Vec<PathBuf>,
    /// The directory that the config file lies in, or would lie in.
    pub(crate) config_dir: Option<PathBuf>,
}

/// One layer: its values and where each comes from.
struct Layer {
    values: ConfigFile,
    origin: Box<dyn Fn(&str) -> Origin>,
}

/// Reads every layer and puts them together.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn merge(flags: &Flags, environment: &Environment) -> Result<Merged, ConfigError> {
    let base = base_file(flags, environment);
    let config_dir = base.as_ref().and_then(|base| Some(base.path.parent()?.to_owned()));
    let files = match base {
        Some(base) => files_of(&base)?,
        None => Vec::new(),
    };
    let mut layers = Vec::new();
    for path in &files {
        let read = read_file(path, environment)?;
        let path = path.clone();
        let origin = move |key: &str| Origin::File { path: path.clone(), line: read.lines.get(key).copied() };
        layers.push(Layer { values: read.values, origin: Box::new(origin) });
    }
    layers.push(from_environment(environment));
    layers.push(from_flags(flags, environment));
    let speaks_gemini = |provider: &ProviderSection| {
        let kind = ProviderKind::Gemini.as_str();
        provider.name() == kind || provider.kind.as_deref() == Some(kind)
    };
    if !layers.iter().flat_map(|layer| &layer.values.provider).any(speaks_gemini) {
        layers.extend(gemini_by_its_key(environment));
    }

    let named_state_dir = layers.iter().rev().find_map(|layer| layer.values.daemon.state_dir.clone());
    let lowest = defaults(environment, named_state_dir.as_deref());
    let mut origins: BTreeMap<_, _> = lowest.values().into_keys().map(|key| (key, Origin::Default)).collect();
    let mut values = lowest;
    for layer in layers {
        for key in layer.values.values().into_keys() {
            origins.insert(key.clone(), (layer.origin)(&key));
        }
        values = layer.values.over(values);
    }
    Ok(Merged { values, origins, files, config_dir })
}

struct BaseFile {
    path: PathBuf,
    /// Somebody asked for this very file, so it has to be there.
    named: bool,
}

fn base_file(flags: &Flags, environment: &Environment) -> Option<BaseFile> {
    let named = flags.config.clone().or_else(|| environment.var("BOCA_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        return Some(BaseFile { path: environment.absolute(&path, &environment.working_dir), named: true });
    }
    let candidates = environment.config_files();
    let first = candidates.iter().find(|path| path.exists() || drop_in_dir(path).exists());
    // Without any file the first place still says where `models/` is looked for.
    Some(BaseFile { path: first.or(candidates.first())?.clone(), named: false })
}

fn drop_in_dir(config: &Path) -> PathBuf {
    let mut name = config.as_os_str().to_owned();
    name.push(".d");
    PathBuf::from(name)
}

fn files_of(base: &BaseFile) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    if base.named || base.path.exists() {
        files.push(base.path.clone());
    }
    let dir = drop_in_dir(&base.path);
    let cannot_read = |source| ConfigError::Read { path: dir.clone(), source };
    let mut drop_ins = match std::fs::read_dir(&dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(cannot_read)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(cannot_read(error)),
    };
    drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    drop_ins.sort();
    files.append(&mut drop_ins);
    Ok(files)
}

/// The provider `gemini` with the defaults, when its key is in the environment.
fn gemini_by_its_key(environment: &Environment) -> Option<Layer> {
    let name = ProviderKind::Gemini.as_str();
    let variable = usual_variable(name)?;
    environment.text(variable).filter(|key| !key.trim().is_empty())?;
    let provider = ProviderSection {
        name: Some(name.to_owned()),
        kind: Some(name.to_owned()),
        model: Some(DEFAULT_GEMINI_MODEL.to_owned()),
        api_key_env: Some(variable.to_owned()),
        ..ProviderSection::default()
    };
    let values = ConfigFile { provider: vec![provider], ..ConfigFile::default() };
    Some(Layer { values, origin: Box::new(move |_| Origin::Environment(variable)) })
}

fn from_environment(environment: &Environment) -> Layer {
    let mut values = ConfigFile::default();
    let path = |name| {
        let value = environment.var(name).map(PathBuf::from)?;
        Some(environment.absolute(&value, &environment.working_dir))
    };
    values.daemon.socket = path("BOCA_SOCKET");
    values.daemon.state_dir = path("BOCA_STATE_DIR");
    values.model.path = path("GLM_MODEL_PATH");
    values.log.level = environment.text("BOCA_LOG").filter(|level| !level.is_empty());
    let origin = |key: &str| {
        Origin::Environment(match key {
            "daemon.socket" => "BOCA_SOCKET",
            "daemon.state_dir" => "BOCA_STATE_DIR",
            "log.level" => "BOCA_LOG",
            _ => "GLM_MODEL_PATH",
        })
    };
    Layer { values, origin: Box::new(origin) }
}

fn from_flags(flags: &Flags, environment: &Environment) -> Layer {
    let mut values = ConfigFile::default();
    let path = |flag: &Option<PathBuf>| {
        flag.as_ref().map(|path| environment.absolute(path, &environment.working_dir))
    };
    values.daemon.socket = path(&flags.socket);
    values.daemon.state_dir = path(&flags.state_dir);
    values.model.path = path(&flags.model);
    values.engine.adapter = path(&flags.adapter);
    values.engine.hosts.clone_from(&flags.hosts);
    values.log.level.clone_from(&flags.log_level);
    let origin = |key: &str| {
        Origin::Flag(match key {
            "daemon.socket" => "--socket",
            "daemon.state_dir" => "--state-dir",
            "engine.adapter" => "--adapter",
            "engine.hosts" => "--hosts",
            "log.level" => "--log-level",
            _ => "--model",
        })
    };
    Layer { values, origin: Box::new(origin) }
}
