//! The files of a checkpoint, wherever they are: a directory (also one of symbolic links, as the Hugging Face cache
//! has them) or the binary itself.
#![allow(unsafe_code)]

use super::error::CheckpointError;
use super::tensor::Bytes;
use crate::{EmbeddedCheckpoint, ModelSource};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Of each file: the header that names all tensors, or most of it.
const FINGERPRINTED_BYTES: u64 = 256 << 10;

/// Access to the files of one checkpoint by name.
#[derive(Debug, Clone)]
pub(super) enum CheckpointFiles {
    Directory(PathBuf),
    Embedded(EmbeddedCheckpoint),
}

impl CheckpointFiles {
    /// Checks that there is a directory to read from.
    pub(super) fn of(source: &ModelSource) -> Result<Self, CheckpointError> {
        match source {
            ModelSource::Directory(path) => Self::directory(path, |found| CheckpointError::NotADirectory {
                path: path.display().to_string(),
                found,
            }),
            ModelSource::Embedded(embedded) => Ok(Self::Embedded(*embedded)),
        }
    }

    /// Checks that there is a directory to read an adapter from.
    pub(super) fn of_adapter(path: &Path) -> Result<Self, CheckpointError> {
        Self::directory(path, |found| CheckpointError::NotAnAdapter {
            path: path.display().to_string(),
            found,
        })
    }

    fn directory(
        path: &Path,
        not_a_directory: impl Fn(&'static str) -> CheckpointError,
    ) -> Result<Self, CheckpointError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Directory(path.to_owned())),
            Ok(_) => Err(not_a_directory("a file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(not_a_directory(if path.is_symlink() { "a broken symbolic link" } else { "nothing" }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Err(not_a_directory("nothing")),
            Err(source) => {
                Err(CheckpointError::Io { file: path.display().to_string(), action: "open", source })
            }
        }
    }

    /// Tells checkpoints apart by what is cheap to look at. What cannot be read is nobody's.
    pub(super) fn fingerprint(&self) -> u64 {
        let is_looked_at = |name: &Path| {
            matches!(self, Self::Embedded(_))
                || name.extension().is_some_and(|end| end == "safetensors" || end == "json")
        };
        self.hashed(is_looked_at, |metadata| metadata.modified().ok())
    }

    /// The same for copies on different machines, which may differ in age and in files that nobody computes with.
    pub(super) fn portable_fingerprint(&self) -> u64 {
        let is_looked_at = |name: &Path| {
            name.extension().is_some_and(|end| end == "safetensors")
                || name.ends_with("config.json")
                || name.ends_with("adapter_config.json")
        };
        self.hashed(is_looked_at, |_| ())
    }

    fn hashed<Age: Hash>(
        &self,
        is_looked_at: impl Fn(&Path) -> bool,
        age: impl Fn(&fs::Metadata) -> Age,
    ) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Embedded(embedded) => {
                for file in embedded.files.iter().filter(|file| is_looked_at(Path::new(file.name))) {
                    (file.name, file.bytes.len(), crc32fast::hash(file.bytes)).hash(&mut hasher);
                }
            }
            Self::Directory(path) => {
                let entries = fs::read_dir(path).into_iter().flatten().flatten();
                let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
                names.sort();
                for name in names {
                    let file = path.join(&name);
                    if !is_looked_at(&file) {
                        continue;
                    }
                    let Ok(metadata) = fs::metadata(&file) else { continue };
                    (&name, metadata.len(), age(&metadata)).hash(&mut hasher);
                    let mut beginning = Vec::new();
                    let opened = File::open(&file).map(|file| file.take(FINGERPRINTED_BYTES));
                    if opened.and_then(|mut file| file.read_to_end(&mut beginning)).is_ok() {
                        beginning.hash(&mut hasher);
                    }
                }
            }
        }
        hasher.finish()
    }

    /// Name of the model for people: the directory's own, or the embedded one's.
    pub(super) fn model_name(&self) -> String {
        match self {
            Self::Embedded(embedded) => embedded.name.to_string(),
            Self::Directory(path) => {
                if let Some(name) = name_in_cache(path) {
                    return name;
                }
                // `.` and `..` have no name of their own; the resolved path has.
                let named = path.file_name().map(ToOwned::to_owned);
                let name = named.or_else(|| path.canonicalize().ok()?.file_name().map(ToOwned::to_owned));
                name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// Where the checkpoint is, for messages.
    pub(super) fn location(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Embedded(_) => "embedded".into(),
        }
    }

    /// A file, for messages.
    pub(super) fn shown_path(&self, file: &str) -> String {
        match self {
            Self::Directory(path) => path.join(file).display().to_string(),
            Self::Embedded(embedded) => format!("embedded {}/{file}", embedded.name),
        }
    }

    /// Whether a file is there.
    pub(super) fn contains(&self, file: &str) -> bool {
        match self {
            Self::Directory(path) => path.join(file).is_file(),
            Self::Embedded(embedded) => embedded.files.iter().any(|f| f.name == file),
        }
    }

    /// The content of a small file, or `None` when there is no such file.
    pub(super) fn read_small(&self, file: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let too_large = |size: u64| CheckpointError::Damaged {
            file: self.shown_path(file),
            tensor: None,
            expected: format!("at most {most_bytes} bytes"),
            found: format!("{size} bytes"),
        };
        let bytes = match self {
            Self::Embedded(embedded) => {
                let Some(found) = embedded.files.iter().find(|f| f.name == file) else { return Ok(None) };
                found.bytes.to_vec()
            }
            Self::Directory(_) => {
                let Some((open, size)) = self.open(file)? else { return Ok(None) };
                if size > most_bytes {
                    return Err(too_large(size));
                }
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                open.take(most_bytes + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|source| self.io(file, "read", source))?;
                bytes
            }
        };
        if bytes.len() as u64 > most_bytes { Err(too_large(bytes.len() as u64)) } else { Ok(Some(bytes)) }
    }

    /// A whole file in place, or `None` when there is no such file.
    pub(super) fn map(&self, file: &str) -> Result<Option<Arc<Bytes>>, CheckpointError> {
        let bytes = match self {
            Self::Embedded(embedded) => {
                embedded.files.iter().find(|f| f.name == file).map(|f| Bytes::Static(f.bytes))
            }
            Self::Directory(_) => match self.open(file)? {
                None => None,
                Some((open, _)) => {
                    // SAFETY: the mapping is private to this process and only read. If someone truncates the file
                    // while it is mapped, reading the lost pages ends the process with SIGBUS; weights are not
                    // edited in place by any tool that makes them, and copying 60 GB to rule it out is no option.
                    let map = unsafe { memmap2::Mmap::map(&open) };
                    Some(Bytes::Mapped(map.map_err(|source| self.io(file, "map", source))?))
                }
            },
        };
        Ok(bytes.map(Arc::new))
    }

    /// A file for reading from front to end, with its size. `None` for an embedded one: it needs no reading.
    pub(super) fn open_plain(&self, file: &str) -> Result<Option<File>, CheckpointError> {
        Ok(self.open(file)?.map(|(open, _)| open))
    }

    /// Names of files that begin with `model` and end with `.safetensors`, in order. Others (adapters, a
    /// `consolidated.safetensors`) are no part of the layout.
    pub(super) fn weight_files(&self) -> Result<Vec<String>, CheckpointError> {
        let mut names: Vec<String> = match self {
            Self::Embedded(embedded) => embedded.files.iter().map(|f| f.name.to_string()).collect(),
            Self::Directory(path) => fs::read_dir(path)
                .and_then(|entries| {
                    entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect()
                })
                .map_err(|source| CheckpointError::Io {
                    file: path.display().to_string(),
                    action: "list",
                    source,
                })?,
        };
        names.retain(|name| name.starts_with("model") && name.ends_with(".safetensors"));
        names.sort();
        Ok(names)
    }

    /// The error for a file that must be there.
    pub(super) fn missing(&self, file: &str, expected: &'static str) -> CheckpointError {
        let hint = match self {
            Self::Directory(path) => missing_file_hint(path, file),
            Self::Embedded(_) => String::new(),
        };
        CheckpointError::MissingFile { file: self.shown_path(file), expected, hint }
    }

    pub(super) fn io(&self, file: &str, action: &'static str, source: io::Error) -> CheckpointError {
        CheckpointError::Io { file: self.shown_path(file), action, source }
    }

    fn open(&self, file: &str) -> Result<Option<(File, u64)>, CheckpointError> {
        let Self::Directory(directory) = self else { return Ok(None) };
        let path = directory.join(file);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(file, "open", source)),
        };
        // Opening a pipe would wait for a writer for ever.
        if !metadata.is_file() {
            return Err(CheckpointError::Damaged {
                file: self.shown_path(file),
                tensor: None,
                expected: "a file".into(),
                found: if metadata.is_dir() { "a directory".into() } else { "a pipe or device".into() },
            });
        }
        let open = File::open(&path).map_err(|source| self.io(file, "open", source))?;
        Ok(Some((open, metadata.len())))
    }
}

fn missing_file_hint(directory: &Path, file: &str) -> String {
    if directory.join(file).is_symlink() {
        return ": it is a symbolic link to nothing, as an interrupted download leaves it".into();
    }
    if directory.join("snapshots").is_dir() {
        return ": this is a cache folder, point at the directory inside its `snapshots`".into();
    }
    if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none()) {
        return ": the directory is empty".into();
    }
    String::new()
}

/// The Hugging Face cache keeps a model in `models--OWNER--NAME/snapshots/REVISION`, where the directory's own name
/// tells nothing.
fn name_in_cache(path: &Path) -> Option<String> {
    let snapshots = path.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let repository = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    repository.rsplit_once("--").map(|(_, name)| name.to_string())
}
