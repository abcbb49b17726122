//! Writing a checkpoint: into a directory beside its place, a piece of a tensor at a time, and then under its name.

use super::SyntheticError;
use super::shape::SyntheticShape;
use super::shards::{Shard, index, spread};
use super::tokenizer::{generation_config, tokenizer_config, write_tokenizer};
use super::values::Values;
use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bytes that are made and written at a time.
const PIECE_BYTES: usize = 4 << 20;
/// Room for everything but the tensors, most of it the tokenizer's.
const TEXT_BYTES: u64 = 48 << 20;
/// More threads than this wait for the disk.
const MOST_THREADS: usize = 8;

/// A checkpoint that can be made.
#[derive(Debug, Clone)]
pub struct SyntheticCheckpoint {
    /// Its dimensions.
    pub shape: SyntheticShape,
    /// The same seed makes the same bytes.
    pub seed: u64,
    /// The chat template, in a form that knows the special tokens of GLM-4.5.
    pub chat_template: String,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Files of weights.
    pub n_shards: usize,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

/// What fills the files of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Numbers,
    /// Nothing: all of it reads as zero, and takes no room on disk.
    Holes,
}

impl SyntheticCheckpoint {
    /// Makes the checkpoint in `directory`, which must not exist yet and does not until all is written. `progress`
    /// hears of tensor bytes done and in all, from several threads.
    ///
    /// # Errors
    /// [`SyntheticError`]; nothing is left behind.
    pub fn write(
        &self,
        directory: &Path,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Written, SyntheticError> {
        self.make(directory, Content::Numbers, progress)
    }

    /// The same with weights that are all zero and take no room on disk, for who looks at headers only.
    ///
    /// # Errors
    /// [`SyntheticError`]; nothing is left behind.
    pub fn write_hollow(&self, directory: &Path) -> Result<Written, SyntheticError> {
        self.make(directory, Content::Holes, &|_, _| {})
    }

    fn make(
        &self,
        directory: &Path,
        content: Content,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Written, SyntheticError> {
        let building = Building::begin(directory)?;
        let tensor_bytes = self.shape.tensor_bytes();
        let needed_bytes = TEXT_BYTES + if content == Content::Numbers { tensor_bytes } else { 0 };
        let free_bytes = free_bytes(&building.path)?;
        if needed_bytes > free_bytes {
            let path = directory.to_owned();
            return Err(SyntheticError::NoSpace { path, needed_bytes, free_bytes });
        }
        self.write_text(&building.path)?;
        let shards = spread(self.shape.tensors(), self.shape.shard_bytes);
        write_json(&building.path, "model.safetensors.index.json", &index(&shards))?;
        let job = Job {
            directory: &building.path,
            shards: &shards,
            seed: self.seed,
            content,
            tensor_bytes,
            progress,
            next: AtomicUsize::new(0),
            done_bytes: AtomicU64::new(0),
            is_failed: AtomicBool::new(false),
        };
        job.run()?;
        building.finish(directory)?;
        Ok(Written { n_shards: shards.len(), tensor_bytes })
    }

    fn write_text(&self, directory: &Path) -> Result<(), SyntheticError> {
        write_json(directory, "config.json", &self.shape.config())?;
        write_json(directory, "generation_config.json", &generation_config(&self.shape))?;
        write_json(directory, "tokenizer_config.json", &tokenizer_config(&self.shape))?;
        write_file(directory, "chat_template.jinja", |out| out.write_all(self.chat_template.as_bytes()))?;
        write_file(directory, "tokenizer.json", |out| write_tokenizer(&self.shape, out))
    }
}

/// The directory that becomes the checkpoint; it is removed when it does not.
struct Building {
    path: PathBuf,
    /// Held for as long as this process writes, so that what a killed one left behind can be told from it.
    lock: File,
    is_finished: bool,
}

impl Building {
    fn begin(directory: &Path) -> Result<Self, SyntheticError> {
        let name = directory.file_name().ok_or_else(|| SyntheticError::Unnamed(directory.to_owned()))?;
        if fs::symlink_metadata(directory).is_ok() {
            return Err(SyntheticError::Exists(directory.to_owned()));
        }
        let path = directory.with_file_name(format!(".{}.unfinished", name.to_string_lossy()));
        fs::create_dir(&path)
            .or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })
            .map_err(SyntheticError::io(&path, "create"))?;
        let lock = File::open(&path).map_err(SyntheticError::io(&path, "open"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SyntheticError::Busy(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(SyntheticError::io(&path, "lock")(error)),
        }
        let building = Self { path, lock, is_finished: false };
        building.empty()?;
        Ok(building)
    }

    /// Removes what an earlier writer left behind.
    fn empty(&self) -> Result<(), SyntheticError> {
        let empty = || fs::read_dir(&self.path)?.try_for_each(|entry| fs::remove_file(entry?.path()));
        empty().map_err(SyntheticError::io(&self.path, "empty"))
    }

    fn finish(mut self, directory: &Path) -> Result<(), SyntheticError> {
        self.lock.sync_all().map_err(SyntheticError::io(&self.path, "sync"))?;
        if fs::symlink_metadata(directory).is_ok() {
            return Err(SyntheticError::Exists(directory.to_owned()));
        }
        fs::rename(&self.path, directory).map_err(SyntheticError::io(directory, "create"))?;
        self.is_finished = true;
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let sync = File::open(parent).and_then(|parent| parent.sync_all());
        sync.map_err(SyntheticError::io(parent, "sync"))
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if !self.is_finished {
            // Who gave up has an error to tell already; the next writer empties what stays.
            fs::remove_dir_all(&self.path).unwrap_or_default();
        }
    }
}

/// Writing all files of weights, several at a time.
struct Job<'a> {
    directory: &'a Path,
    shards: &'a [Shard],
    seed: u64,
    content: Content,
    tensor_bytes: u64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    next: AtomicUsize,
    done_bytes: AtomicU64,
    is_failed: AtomicBool,
}

impl Job<'_> {
    fn run(&self) -> Result<(), SyntheticError> {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_threads = n_cores.min(MOST_THREADS).min(self.shards.len());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(|| self.work())).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .fold(Ok(()), Result::and)
        })
    }

    fn work(&self) -> Result<(), SyntheticError> {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(shard) = self.shards.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.is_failed.load(Ordering::Relaxed) {
                break;
            }
            self.write_shard(shard, &mut buffer)
                .inspect_err(|_| self.is_failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn write_shard(&self, shard: &Shard, buffer: &mut [u8]) -> Result<(), SyntheticError> {
        let path = self.directory.join(&shard.name);
        let failed = |error| SyntheticError::io(&path, "write")(error);
        let mut file = File::create_new(&path).map_err(failed)?;
        let header = shard.header();
        file.write_all(&header).map_err(failed)?;
        if self.content == Content::Holes {
            return file.set_len(header.len() as u64 + shard.tensor_bytes()).map_err(failed);
        }
        for tensor in &shard.tensors {
            let mut values = Values::new(tensor, self.seed);
            loop {
                let n = values.next(buffer);
                if n == 0 || self.is_failed.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(&buffer[..n]).map_err(failed)?;
                let done = self.done_bytes.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
                (self.progress)(done, self.tensor_bytes);
            }
        }
        file.sync_all().map_err(failed)
    }
}

fn write_json(directory: &Path, name: &str, value: &serde_json::Value) -> Result<(), SyntheticError> {
    write_file(directory, name, |out| writeln!(out, "{value:#}"))
}

fn write_file(
    directory: &Path,
    name: &str,
    content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), SyntheticError> {
    let path = directory.join(name);
    let write = || {
        let mut out = BufWriter::new(File::create_new(&path)?);
        content(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    };
    write().map_err(SyntheticError::io(&path, "write"))
}

fn free_bytes(path: &Path) -> Result<u64, SyntheticError> {
    let disk =
        rustix::fs::statvfs(path).map_err(|error| SyntheticError::io(path, "look at")(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
