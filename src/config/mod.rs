//! The configuration, in three stages: what a file may say ([`file`]), all layers put together ([`merge`]), and the
//! validated [`Settings`] that the rest of the daemon sees. No other part knows TOML or the environment.

mod check;
mod defaults;
mod error;
mod expand;
mod file;
mod fusion;
mod keys;
mod live;
mod merge;
mod model_path;
mod origin;
mod places;
mod provider_file;
mod providers;
mod read;
mod reload;
mod section;
mod settings;
mod units;

#[cfg(test)]
mod provider_tests;
#[cfg(test)]
mod tests;

pub(crate) use error::ConfigError;
pub(crate) use file::ConfigFile;
pub(crate) use keys::{is_here, providers_with_keys};
pub(crate) use live::{ConfigChange, SharedSettings, diff, is_live};
pub(crate) use merge::Flags;
pub(crate) use model_path::{ModelChoice, TriedModel, choose_model};
pub(crate) use origin::Origin;
pub(crate) use places::{Environment, Os};
pub(crate) use reload::Reloader;
pub(crate) use settings::{
    ChatSettings, DaemonSettings, EngineHome, LogFormat, LogSettings, Settings, SupervisionSettings,
};
#[cfg(test)]
pub(crate) use settings::{ClientSettings, ModelSettings, StoreSettings};

use std::collections::BTreeMap;

/// A configuration that was read and found good.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// What the daemon works with.
    pub settings: Settings,
    /// The same as it would stand in a file, for `boca config show` and for comparing.
    pub values: ConfigFile,
    /// Where each value that is set comes from.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads the whole configuration.
///
/// # Errors
/// The first thing that is wrong, with file, line, key, bound and value.
pub(crate) fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, ConfigError> {
    let merged = merge::merge(flags, environment)?;
    let (values, origins) = (merged.values.clone(), merged.origins.clone());
    Ok(Loaded { settings: Settings::new(merged)?, values, origins })
}
