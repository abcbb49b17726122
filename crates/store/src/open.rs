//! Opening: what sled does not recover from by itself is recovered from here, and nothing is ever deleted but the
//! leftovers of unfinished snapshots.
//!
//! Order: own lock → remove `snap.*.generating` (sled takes such a leftover of a kill for its newest snapshot and
//! fails for ever) → open, on a thread of its own, because sled panics on some damage → on damage move all snapshots
//! aside (the log alone is enough) and try again → on damage still, rename the whole directory and begin a fresh one.

use crate::StoreError;
use crate::keys;
use crate::lock::{lock_directory, patiently};
use crate::migrate::{STEPS, migrate};
use crate::trees::Trees;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

const DATABASE_DIRECTORY: &str = "sled";
/// The net under the syncs of each write.
const FLUSH_EVERY_MS: u64 = 500;
/// What must be writable before anything is moved: a full disk looks like damage to sled. Two of its segments.
const PROBE_BYTES: usize = 1024 * 1024;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for sled's page cache, in bytes.
    pub cache_bytes: u64,
    /// The most bytes of a message's content and of its thinking, each.
    pub max_message_bytes: usize,
    /// Version of boca, for the store's own record.
    pub app_version: String,
    /// The time now, in milliseconds since 1970: names what is set aside.
    pub now_unix_ms: u64,
}

impl StoreOptions {
    /// Options with the usual bounds.
    pub fn new(app_version: impl Into<String>, now_unix_ms: u64) -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            max_message_bytes: 4 * 1024 * 1024,
            app_version: app_version.into(),
            now_unix_ms,
        }
    }
}

/// What happened while a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The store did not exist before.
    pub created: bool,
    /// Leftovers of unfinished snapshots that were removed. Harmless: a snapshot only saves time.
    pub unfinished_snapshots: u32,
    /// Where snapshots were moved because the store did not open with them. Harmless as well.
    pub snapshots_moved_to: Option<PathBuf>,
    /// Where a store was moved that could not be opened. Everything in it is missing from the new one.
    pub set_aside: Option<PathBuf>,
    /// Why the store did not open at first.
    pub cause: Option<String>,
    /// Records that are set aside in the store, from this and earlier runs.
    pub damaged_records: u64,
    /// The older format that it was migrated from.
    pub migrated_from: Option<u32>,
}

impl OpenReport {
    /// Whether data that was once stored is not served now.
    pub fn degraded(&self) -> bool {
        self.set_aside.is_some() || self.damaged_records > 0
    }
}

/// An open database with everything that has to live as long as it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) trees: Trees,
    pub(crate) db: sled::Db,
    /// The file that holds the log; syncing it is what makes a flush durable.
    pub(crate) log_file: File,
    /// Held shared by readers and exclusively while a transaction is applied, so that nobody sees half a record.
    pub(crate) view: RwLock<()>,
    /// Last, so that it is let go after the database is closed.
    _lock: File,
}

impl Opened {
    /// Puts everything that was applied so far onto the disk.
    pub(crate) fn make_durable(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(StoreError::database("flush"))?;
        self.log_file
            .sync_all()
            .map_err(|source| StoreError::Database { action: "sync", source: source.into() })
    }
}

/// Why one attempt failed.
enum Attempt {
    /// The files are damaged: moving them aside helps.
    Damage(String),
    /// Anything else: moving files aside would not help.
    Environment(StoreError),
}

/// Opens the store in `directory`, recovering as the module says. Blocks.
pub(crate) fn open(directory: &Path, options: &StoreOptions) -> Result<(Opened, OpenReport), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(StoreError::io("create", directory))?;
    let lock = lock_directory(directory)?;
    let database = directory.join(DATABASE_DIRECTORY);
    let mut report = OpenReport {
        created: !database.exists(),
        unfinished_snapshots: remove_unfinished_snapshots(&database)?,
        ..OpenReport::default()
    };
    let (db, trees) = open_or_recover(directory, &database, options, &mut report)?;
    let migration = migrate(&trees, STEPS, &options.app_version, options.now_unix_ms)?;
    report.migrated_from = migration.found.filter(|found| *found != crate::migrate::FORMAT);
    report.damaged_records = count_damaged(&trees)?;
    let log_path = database.join("db");
    let log_file =
        OpenOptions::new().write(true).open(&log_path).map_err(StoreError::io("open", &log_path))?;
    let opened = Opened { trees, db, log_file, view: RwLock::new(()), _lock: lock };
    opened.make_durable()?;
    sync_creation(directory, &database)?;
    Ok((opened, report))
}

fn open_or_recover(
    directory: &Path,
    database: &Path,
    options: &StoreOptions,
    report: &mut OpenReport,
) -> Result<(sled::Db, Trees), StoreError> {
    let cause = match attempt(database, options.cache_bytes) {
        Ok(opened) => return Ok(opened),
        Err(Attempt::Environment(error)) => return Err(error),
        Err(Attempt::Damage(cause)) => cause,
    };
    probe_writing(directory)?;
    report.cause = Some(cause);
    report.snapshots_moved_to = move_snapshots(directory, database, options.now_unix_ms)?;
    if report.snapshots_moved_to.is_some() {
        match attempt(database, options.cache_bytes) {
            Ok(opened) => return Ok(opened),
            Err(Attempt::Environment(error)) => return Err(error),
            Err(Attempt::Damage(cause)) => report.cause = Some(cause),
        }
    }
    let aside = free_name(directory, &format!("{DATABASE_DIRECTORY}.corrupt-{}", options.now_unix_ms));
    fs::rename(database, &aside).map_err(StoreError::io("set aside", database))?;
    report.set_aside = Some(aside);
    attempt(database, options.cache_bytes).map_err(|failed| match failed {
        Attempt::Environment(error) => error,
        Attempt::Damage(message) => StoreError::Fatal { message },
    })
}

/// sled says it in words.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn attempt(database: &Path, cache_bytes: u64) -> Result<(sled::Db, Trees), Attempt> {
    let config = sled::Config::new()
        .path(database)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .mode(sled::Mode::LowSpace);
    let open = move || {
        let db = patiently(|| config.open(), is_locked)?;
        let trees = Trees::open(&db)?;
        Ok::<_, sled::Error>((db, trees))
    };
    let thread = std::thread::Builder::new()
        .name("boca-store-open".into())
        .spawn(open)
        .map_err(StoreError::io("start a thread to open", database))
        .map_err(Attempt::Environment)?;
    match thread.join() {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(source)) if is_damage(&source) => Err(Attempt::Damage(source.to_string())),
        Ok(Err(source)) => Err(Attempt::Environment(StoreError::Database { action: "open", source })),
        Err(panic) => Err(Attempt::Damage(format!("the database panicked: {}", panic_text(&*panic)))),
    }
}

fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(io) => matches!(
            io.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::NotFound
        ),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => true,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn snapshots(database: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(database) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(StoreError::Io { action: "list", path: database.to_owned(), source });
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", database))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("snap.")) {
            found.push(path);
        }
    }
    Ok(found)
}

fn remove_unfinished_snapshots(database: &Path) -> Result<u32, StoreError> {
    let mut removed = 0;
    for path in snapshots(database)? {
        if path.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&path).map_err(StoreError::io("remove the unfinished snapshot", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn move_snapshots(
    directory: &Path,
    database: &Path,
    now_unix_ms: u64,
) -> Result<Option<PathBuf>, StoreError> {
    let snapshots = snapshots(database)?;
    if snapshots.is_empty() {
        return Ok(None);
    }
    let aside = free_name(directory, &format!("snapshots.aside-{now_unix_ms}"));
    fs::create_dir(&aside).map_err(StoreError::io("create", &aside))?;
    for path in snapshots {
        let name = path.file_name().unwrap_or_default();
        fs::rename(&path, aside.join(name)).map_err(StoreError::io("set aside", &path))?;
    }
    Ok(Some(aside))
}

fn free_name(directory: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|number: u32| directory.join(format!("{name}-{number}")));
    std::iter::once(directory.join(name))
        .chain(numbered)
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_else(|| directory.join(name))
}

/// Tells a full or read-only disk from damage.
fn probe_writing(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join("write-probe");
    let written = (|| -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    })();
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(StoreError::io("write", path))
}

/// sled syncs neither its `conf` file nor the directories, so a power cut soon after creation would lose the store.
fn sync_creation(directory: &Path, database: &Path) -> Result<(), StoreError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let paths = [Some(database.join("conf")), Some(database.to_owned()), Some(directory.to_owned())];
    for path in paths.into_iter().flatten().chain(parent.map(Path::to_owned)) {
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(StoreError::io("sync", path))?;
    }
    Ok(())
}

/// Records set aside, without the parts that came with them.
pub(crate) fn count_damaged(trees: &Trees) -> Result<u64, StoreError> {
    let keys = trees.keys_with_prefix(crate::trees::TreeName::Damaged, &[])?;
    Ok(keys.iter().filter(|key| !keys::is_damaged_part(key)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_told_from_other_files() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["db", "conf", "snap.0000", "snap.0001.generating", "snapshot"] {
            fs::write(directory.path().join(name), b"x").unwrap();
        }
        assert_eq!(remove_unfinished_snapshots(directory.path()).unwrap(), 1);
        assert_eq!(snapshots(directory.path()).unwrap(), [directory.path().join("snap.0000")]);
        assert!(directory.path().join("snapshot").exists());
    }

    #[test]
    fn only_damage_is_taken_for_damage() {
        let io = |kind: ErrorKind| is_damage(&sled::Error::Io(io::Error::from(kind)));
        assert!(io(ErrorKind::UnexpectedEof));
        for kind in [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem] {
            assert!(!io(kind), "{kind}");
        }
        assert!(is_damage(&sled::Error::Corruption { at: None, bt: () }));
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let first = free_name(directory.path(), "a");
        fs::write(&first, b"").unwrap();
        assert_eq!(free_name(directory.path(), "a"), directory.path().join("a-2"));
    }
}
