//! What is wrong with a configuration, and where.

use super::origin::Origin;
use std::path::PathBuf;

/// A configuration that cannot be used. The daemon does not start on one, and a reload keeps the old settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file that was named, or that exists, cannot be read.
    #[error("cannot read the config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Text, key or value is wrong. The message names key, bound and value.
    #[error("{origin}: {message}")]
    Invalid {
        /// Where the value stands.
        origin: Origin,
        /// What is wrong with it.
        message: String,
    },
}

impl ConfigError {
    /// A wrong value and the place where it stands.
    pub(crate) fn invalid(origin: &Origin, message: impl Into<String>) -> Self {
        Self::Invalid { origin: origin.clone(), message: message.into() }
    }
}
