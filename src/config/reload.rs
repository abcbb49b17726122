//! Reading the configuration again while the daemon runs (SIGHUP).

use super::{ConfigChange, ConfigError, Environment, Flags, Loaded, SharedSettings, diff, load};

/// What a reload starts from.
#[derive(Debug)]
pub(crate) struct Reloader {
    flags: Flags,
    environment: Environment,
    /// Holds for the keys that need a restart.
    started_with: Loaded,
    /// Holds for the live keys.
    last: Loaded,
    shared: SharedSettings,
}

impl Reloader {
    /// `loaded` is what the daemon starts with. Also yields what its parts read.
    pub(crate) fn new(flags: Flags, environment: Environment, loaded: Loaded) -> (Self, SharedSettings) {
        let shared = SharedSettings::new(loaded.settings.clone());
        let last = loaded.clone();
        (Self { flags, environment, started_with: loaded, last, shared: shared.clone() }, shared)
    }

    /// Reads everything again and puts into force what can change in a running daemon. Keys that need a restart are
    /// named at every reload until they are taken back.
    ///
    /// # Errors
    /// When the new configuration is wrong; the old one stays in force then.
    pub(crate) fn reload(&mut self) -> Result<ConfigChange, ConfigError> {
        let new = load(&self.flags, &self.environment)?;
        self.shared.apply(&new.settings);
        let change = ConfigChange {
            live: diff(&self.last, &new).live,
            needs_restart: diff(&self.started_with, &new).needs_restart,
        };
        self.last = new;
        Ok(change)
    }
}
