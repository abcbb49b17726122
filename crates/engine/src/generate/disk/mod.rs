//! What is kept of prompts, on disk: it survives a restart.
//!
//! Each sequence of the prefix cache has a file of its own, written when its answer has ended and the writer is free, or
//! when the engine is dropped. Only blocks that nobody writes any more are handed to the writer, so no step waits for the
//! disk. A file that is not whole, not ours or not of this model is removed when it is found; it is never believed.

mod file;
#[cfg(test)]
mod tests;
mod writer;

use super::engine::Engine;
use crate::backend::{Backend, SequenceId};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use writer::{Job, Known, UNFINISHED, Writer, finished_files, remove};

/// While requests come, something is written at most so often.
const BETWEEN_WRITES: Duration = Duration::from_secs(10);

/// Where prompts are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixCacheDisk {
    /// A directory of their own; it is made when it is not there.
    #[serde(with = "crate::path_bytes")]
    pub directory: PathBuf,
    /// The most bytes that its files take.
    pub max_bytes: u64,
}

/// The files of an engine's cache.
#[derive(Debug)]
pub(super) struct Disk {
    writer: Writer,
    /// Sequences that have a file.
    saved: HashSet<SequenceId>,
    last_write: Option<Instant>,
    max_bytes: u64,
}

impl Engine {
    /// Takes in what an engine before has left there, and keeps there what this one computes. `model` tells the
    /// checkpoint from others. What goes wrong is logged: the engine works without.
    pub fn keep_on_disk(&mut self, place: &PrefixCacheDisk, model: u64) {
        let Some(format) = self.backend.kv_format() else { return };
        let mut hasher = DefaultHasher::new();
        (env!("CARGO_PKG_VERSION"), model, self.text.fingerprint(), format).hash(&mut hasher);
        let fingerprint = hasher.finish();
        match self.open_disk(place, fingerprint) {
            Ok(disk) => self.disk = Some(disk),
            Err(error) => {
                let directory = place.directory.display().to_string();
                tracing::warn!(%error, directory, "prompts are not kept on disk");
            }
        }
    }

    fn open_disk(&mut self, place: &PrefixCacheDisk, fingerprint: u64) -> io::Result<Disk> {
        let directory = &place.directory;
        // What people said can be told from what is kept.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        remove_unfinished(directory)?;
        let most = place.max_bytes.min(self.config.prefix_cache_bytes);
        let (mut chosen, mut total, mut on_disk) = (Vec::new(), 0_u64, 0_u64);
        for found in finished_files(directory)? {
            on_disk = on_disk.saturating_add(found.size);
            match file::open(&found.path) {
                Ok((header, _)) if header.fingerprint == fingerprint && on_disk <= place.max_bytes => {
                    total = total.saturating_add(found.size);
                    chosen.extend((total <= most).then_some(found.path));
                }
                Ok(_) => remove(&found.path),
                Err(error) => {
                    tracing::warn!(%error, path = %found.path.display(), "a kept prompt is damaged and removed");
                    remove(&found.path);
                }
            }
        }
        let (mut known, mut saved) = (Vec::new(), HashSet::new());
        // The newest last, so that it counts as used last.
        for path in chosen.into_iter().rev() {
            match self.take_in(&path) {
                Ok((tokens, sequence)) => {
                    saved.insert(sequence);
                    known.push(Known { path, tokens });
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a kept prompt is damaged and removed");
                    remove(&path);
                }
            }
        }
        let n_tokens = self.cache.n_tokens();
        if n_tokens > 0 {
            tracing::info!(
                n_tokens,
                n_files = known.len(),
                "prompts computed before a restart are there again"
            );
        }
        let writer = Writer::start(directory.clone(), fingerprint, place.max_bytes, known)?;
        Ok(Disk { writer, saved, last_write: None, max_bytes: place.max_bytes })
    }

    /// Reads one file into the cache.
    fn take_in(&mut self, path: &Path) -> io::Result<(Vec<u32>, SequenceId)> {
        let (header, open) = file::open(path)?;
        let (tokens, mut bytes) = file::tokens(&header, open)?;
        let vocab_size = self.config.info.vocab_size;
        let context_tokens = self.config.info.context_tokens as usize;
        if tokens.is_empty() || tokens.len() > context_tokens || tokens.iter().any(|id| *id >= vocab_size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its tokens are not of this model"));
        }
        let parent = self.cache.longest(&tokens);
        let parent = parent.map(|found| (found.sequence, found.n_tokens));
        let sequence = self.backend.import(parent, tokens.len(), header.n_bytes, &mut bytes)?;
        self.keep(&tokens, sequence);
        Ok((tokens, sequence))
    }

    /// Hands one sequence that has no file yet to the writer, if it is free. Called between steps.
    pub(super) fn save_now_and_then(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        if disk.last_write.is_some_and(|last| last.elapsed() < BETWEEN_WRITES) {
            return;
        }
        let leaves = self.cache.leaves();
        // Whatever is not in the tree any more needs no mark.
        disk.saved.retain(|saved| leaves.iter().any(|leaf| leaf.sequence == *saved));
        let Some(leaf) = leaves.into_iter().find(|leaf| !disk.saved.contains(&leaf.sequence)) else { return };
        disk.last_write = Some(Instant::now());
        if let Some(job) = job(self.backend.as_ref(), leaf.tokens, leaf.sequence)
            && disk.writer.try_write(job)
        {
            disk.saved.insert(leaf.sequence);
        }
    }

    /// Writes everything that has no file yet.
    pub(super) fn save_all(&mut self) {
        let Some(disk) = self.disk.take() else { return };
        let bytes_per_token = self.backend.kv_bytes_per_token();
        let mut left = disk.max_bytes;
        let mut unsaved = Vec::new();
        for leaf in self.cache.leaves() {
            left = left.saturating_sub(bytes_per_token.saturating_mul(leaf.tokens.len() as u64));
            if left > 0 && !disk.saved.contains(&leaf.sequence) {
                unsaved.push(leaf);
            }
        }
        // The newest last: it is the last that goes when room is made.
        for leaf in unsaved.into_iter().rev() {
            if let Some(job) = job(self.backend.as_ref(), leaf.tokens, leaf.sequence) {
                disk.writer.write(job);
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.save_all();
    }
}

fn job(backend: &dyn Backend, tokens: Vec<u32>, sequence: SequenceId) -> Option<Job> {
    backend.export(sequence).map(|image| Job { tokens, image })
}

/// What a process that was killed has left.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == UNFINISHED) {
            remove(&path);
        }
    }
    Ok(())
}
