//! One process at a time: an advisory lock on a file of our own, taken before sled is touched.

use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LOCK_FILE: &str = "store.lock";

/// A lock that was let go is held a moment longer by a process that was forked at that moment and has not become another
/// program yet.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// Tries again, for a moment, what fails because a lock is taken.
pub(crate) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_taken: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let begin = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_taken(&error) && begin.elapsed() < PATIENCE => thread::park_timeout(PAUSE),
            done => return done,
        }
    }
}

/// Takes the lock of a store's directory; it is held until the file is dropped or the process ends.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    match patiently(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock)) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { action: "lock", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_directory(directory.path()).unwrap();
        let second = lock_directory(directory.path()).unwrap_err();
        assert!(matches!(second, StoreError::Locked { .. }), "{second}");
        drop(first);
        let first = lock_directory(directory.path()).unwrap();
        // Whoever holds it for a moment alone is waited for.
        let soon = thread::spawn(move || {
            thread::park_timeout(PATIENCE / 5);
            drop(first);
        });
        lock_directory(directory.path()).unwrap();
        soon.join().unwrap();
    }
}
