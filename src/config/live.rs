//! Settings that change while the daemon runs.

use super::{Loaded, Settings};
use arc_swap::ArcSwap;
use boca_core::Mode;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The settings in force. Readers take a snapshot for each request; a reload replaces it.
#[derive(Debug, Clone)]
pub(crate) struct SharedSettings(Arc<ArcSwap<Settings>>);

impl SharedSettings {
    /// The settings that the daemon starts with.
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// The settings in force now.
    pub(crate) fn current(&self) -> Arc<Settings> {
        self.0.load_full()
    }

    /// Takes over what may change in a running daemon, and leaves the rest as it is.
    pub(crate) fn apply(&self, new: &Settings) {
        let old = self.current();
        let daemon = super::DaemonSettings {
            drain_grace: new.daemon.drain_grace,
            allowed_uids: new.daemon.allowed_uids.clone(),
            ..old.daemon.clone()
        };
        let log = super::LogSettings { format: old.log.format, ..new.log.clone() };
        // A message that fits may be larger than the body limit, which stays: the smaller one holds.
        // Who can be asked stays as it was, so a mode that names somebody new has to wait for him.
        let mode = match &new.chat.mode {
            Mode::Provider(name) if !old.providers.iter().any(|provider| provider.name() == name) => {
                &old.chat.mode
            }
            mode => mode,
        };
        let max_message_bytes = new.chat.max_message_bytes.min(old.daemon.max_body_bytes);
        self.0.store(Arc::new(Settings {
            daemon,
            client: new.client.clone(),
            chat: super::ChatSettings { max_message_bytes, mode: mode.clone(), ..new.chat.clone() },
            log,
            config_files: new.config_files.clone(),
            ..old.as_ref().clone()
        }));
    }
}

/// Whether a key takes effect by a reload (SIGHUP). The others are read once, at the start.
pub(crate) fn is_live(key: &str) -> bool {
    const LIVE_SECTIONS: [&str; 5] = ["client.", "chat.", "sampling.", "preset.", "thinking."];
    const LIVE_KEYS: [&str; 4] =
        ["daemon.drain_grace", "daemon.allowed_uids", "log.level", "log.log_prompts"];
    LIVE_KEYS.contains(&key) || LIVE_SECTIONS.iter().any(|section| key.starts_with(section))
}

/// The keys whose values differ, by what a reload can do about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    /// These hold from now on.
    pub live: Vec<String>,
    /// These hold after the next start.
    pub needs_restart: Vec<String>,
}

/// Compares two configurations key by key.
pub(crate) fn diff(old: &Loaded, new: &Loaded) -> ConfigChange {
    let (old, new) = (old.values.values(), new.values.values());
    let keys = super::ConfigFile::keys().into_iter();
    let of_providers: BTreeSet<&String> =
        old.keys().chain(new.keys()).filter(|key| key.starts_with("provider.")).collect();
    let changed = keys.chain(of_providers.into_iter().cloned()).filter(|key| old.get(key) != new.get(key));
    let (live, needs_restart) = changed.partition(|key| is_live(key));
    ConfigChange { live, needs_restart }
}
