//! Where a checkpoint comes from.

use std::path::PathBuf;

/// A file that was compiled into the binary.
#[derive(Clone, Copy)]
pub struct EmbeddedFile {
    /// Its name inside the checkpoint directory.
    pub name: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl std::fmt::Debug for EmbeddedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}

/// A whole checkpoint that was compiled into the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedCheckpoint {
    /// Name for people and for `model_used`.
    pub name: &'static str,
    /// The files of the checkpoint directory.
    pub files: &'static [EmbeddedFile],
}

/// Where a checkpoint comes from. Both are read in place: a directory through `mmap`, an embedded one from the
/// binary's own mapped pages.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A directory in the mlx-community layout.
    Directory(PathBuf),
    /// The demo model.
    Embedded(EmbeddedCheckpoint),
}

impl ModelSource {
    /// Whether this is the model that boca carries.
    pub fn is_demo(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }
}
