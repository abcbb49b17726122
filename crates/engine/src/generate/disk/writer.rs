//! The thread that writes what is kept, and holds the directory within its bound.

use super::file;
use crate::backend::KvImage;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// How a file's name ends while it is written, and after.
pub(super) const UNFINISHED: &str = "tmp";
const FINISHED: &str = "kv";

/// A sequence to be written.
pub(super) struct Job {
    pub(super) tokens: Vec<u32>,
    pub(super) image: Box<dyn KvImage>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        directory: PathBuf,
        fingerprint: u64,
        max_bytes: u64,
        known: Vec<Known>,
    ) -> io::Result<Self> {
        // One is written, none waits: what waits would hold memory.
        let (jobs, receiver) = sync_channel(0);
        let work = move || Directory { directory, fingerprint, max_bytes, known }.serve(receiver);
        let thread = std::thread::Builder::new().name("prefix-cache".into()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes it off this thread; false when the writer is busy.
    pub(super) fn try_write(&self, job: Job) -> bool {
        match &self.jobs {
            Some(jobs) => !matches!(jobs.try_send(job), Err(TrySendError::Full(_))),
            None => true,
        }
    }

    /// Waits until the writer is free, and gives it this.
    pub(super) fn write(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            tracing::warn!("the writer of the prefix cache has ended");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the writer of the prefix cache panicked");
        }
    }
}

/// A file that is there.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) path: PathBuf,
    pub(super) tokens: Vec<u32>,
}

struct Directory {
    directory: PathBuf,
    fingerprint: u64,
    max_bytes: u64,
    known: Vec<Known>,
}

impl Directory {
    fn serve(mut self, jobs: Receiver<Job>) {
        for job in jobs {
            if let Err(error) = self.write(job) {
                let directory = self.directory.display().to_string();
                tracing::warn!(%error, directory, "a prompt cannot be kept on disk");
            }
        }
    }

    fn write(&mut self, Job { tokens, image }: Job) -> io::Result<()> {
        let n_bytes = image.n_bytes();
        let header = file::Header { fingerprint: self.fingerprint, n_tokens: tokens.len() as u64, n_bytes };
        let size = header.file_bytes().filter(|size| *size <= self.max_bytes);
        let is_there = self.known.iter().any(|known| known.tokens.starts_with(&tokens));
        let (Some(size), false) = (size, is_there) else { return Ok(()) };
        // What the new one goes on from is superfluous, and goes first so that the bound holds all the time.
        self.known.retain(|known| {
            let stays = !tokens.starts_with(&known.tokens);
            if !stays {
                remove(&known.path);
            }
            stays
        });
        self.make_room_for(size)?;
        let name = format!("{:016x}-{}", self.fingerprint, unique());
        let unfinished = self.directory.join(&name).with_extension(UNFINISHED);
        let path = self.directory.join(&name).with_extension(FINISHED);
        let written = self.write_whole(&unfinished, &tokens, n_bytes, image.as_ref());
        // Renamed only when all of it is on the disk.
        match written.and_then(|()| fs::rename(&unfinished, &path)) {
            Ok(()) => {
                File::open(&self.directory)?.sync_all()?;
                self.known.push(Known { path, tokens });
                Ok(())
            }
            Err(error) => {
                remove(&unfinished);
                Err(error)
            }
        }
    }

    fn write_whole(&self, path: &Path, tokens: &[u32], n_bytes: u64, image: &dyn KvImage) -> io::Result<()> {
        // What people said can be told from it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut to = BufWriter::new(file);
        file::write(&mut to, self.fingerprint, tokens, n_bytes, &mut |to| image.write_to(to))?;
        to.flush()?;
        to.get_ref().sync_all()
    }

    /// Removes what was written longest ago.
    fn make_room_for(&mut self, size: u64) -> io::Result<()> {
        let mut files = finished_files(&self.directory)?;
        let mut total: u64 = files.iter().map(|found| found.size).sum();
        while total.saturating_add(size) > self.max_bytes
            && let Some(oldest) = files.pop()
        {
            remove(&oldest.path);
            self.known.retain(|known| known.path != oldest.path);
            total -= oldest.size;
        }
        Ok(())
    }
}

/// A finished file of the directory.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    written: SystemTime,
}

/// The finished files, the newest first.
pub(super) fn finished_files(directory: &Path) -> io::Result<Vec<Found>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        // One that somebody removes just now is none.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_file() && path.extension().is_some_and(|end| end == FINISHED) {
            files.push(Found { path, size: metadata.len(), written: metadata.modified()? });
        }
    }
    files.sort_by_key(|found| std::cmp::Reverse(found.written));
    Ok(files)
}

/// Removes a file; one that is gone already is as good.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a file of the prefix cache cannot be removed");
    }
}

/// A name that no other file has.
fn unique() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), since.as_nanos())
}
