//! The store as the rest of boca uses it: every call is async, every write is durable when it returns.

use crate::open::{self, OpenReport, Opened, StoreOptions};
use crate::reads::{self, DamagedRecord, Found};
use crate::trees::Trees;
use crate::types::{Message, NewSession, Session, SessionCursor, SessionPage, SessionUpdate, StoredMessage};
use crate::writer::{self, Job, Slot};
use crate::{StoreError, writes};
use boca_core::{SessionId, TurnSummary};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

/// Writes that may wait for the writer; further callers wait to be let in.
const WRITE_QUEUE: usize = 256;

/// What `/api/status` says of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// Where it lies.
    pub directory: PathBuf,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Sessions stored.
    pub n_sessions: u64,
    /// Records set aside because they could not be read.
    pub damaged_records: u64,
    /// Why no write is taken any more, if that is so.
    pub fatal: Option<String>,
}

/// Sessions and messages on disk. Clones share one database.
#[derive(Debug, Clone)]
pub struct Store {
    slot: Slot,
    jobs: mpsc::Sender<Job>,
    fatal: watch::Receiver<Option<String>>,
    directory: Arc<Path>,
    damaged_records: Arc<AtomicU64>,
    max_message_bytes: usize,
}

impl Store {
    /// Opens the store in `directory`, creating it when it is not there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::NewerFormat`], or the file system's own
    /// refusal. Damage is no error: see [`OpenReport`].
    pub async fn open(directory: &Path, options: StoreOptions) -> Result<(Self, OpenReport), StoreError> {
        let path = directory.to_owned();
        let max_message_bytes = options.max_message_bytes;
        let (opened, report) = blocking(move || open::open(&path, &options)).await?;
        let damaged_records = report.damaged_records;
        Ok((Self::start(opened, directory, max_message_bytes, damaged_records)?, report))
    }

    /// Starts the writer of an open database.
    fn start(
        opened: Opened,
        directory: &Path,
        max_message_bytes: usize,
        damaged_records: u64,
    ) -> Result<Self, StoreError> {
        let slot = Arc::new(RwLock::new(Some(opened)));
        let (jobs, queue) = mpsc::channel(WRITE_QUEUE);
        let (fatal_sender, fatal) = watch::channel(None);
        let for_writer = Arc::clone(&slot);
        std::thread::Builder::new()
            .name("boca-store-write".into())
            .spawn(move || writer::run(for_writer, queue, fatal_sender))
            .map_err(StoreError::io("start the writer of", directory))?;
        Ok(Self {
            slot,
            jobs,
            fatal,
            directory: directory.into(),
            damaged_records: Arc::new(AtomicU64::new(damaged_records)),
            max_message_bytes,
        })
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`StoreError::SessionExists`], or a failure of the store.
    pub async fn create_session(&self, new: NewSession, now_unix_ms: u64) -> Result<Session, StoreError> {
        self.check_size("system", new.settings.system.as_deref())?;
        self.write(move |trees| writes::create_session(trees, new, now_unix_ms)).await
    }

    /// Changes a session's title or settings.
    ///
    /// # Errors
    /// [`StoreError::SessionNotFound`], or a failure of the store.
    pub async fn update_session(
        &self,
        id: &SessionId,
        update: SessionUpdate,
        now_unix_ms: u64,
    ) -> Result<Session, StoreError> {
        let system = update.settings.as_ref().and_then(|settings| settings.system.as_deref());
        self.check_size("system", system)?;
        let id = id.clone();
        self.write(move |trees| writes::update_session(trees, &id, update, now_unix_ms)).await
    }

    /// Appends turns to a session, all or none of them. A session that does not exist is begun from `otherwise` in
    /// the same transaction.
    ///
    /// # Errors
    /// [`StoreError::SessionNotFound`] without `otherwise`, [`StoreError::TooLarge`], or a failure of the store.
    pub async fn append_messages(
        &self,
        id: &SessionId,
        otherwise: Option<NewSession>,
        messages: Vec<Message>,
        now_unix_ms: u64,
    ) -> Result<(Session, Vec<StoredMessage>), StoreError> {
        for message in &messages {
            self.check_size("content", Some(&message.content))?;
            self.check_size("reasoning", message.reasoning.as_deref())?;
            for answer in message.trace.iter().flat_map(|trace| &trace.answers) {
                self.check_size("answers", Some(&answer.text))?;
            }
        }
        let id = id.clone();
        self.write(move |trees| writes::append_messages(trees, &id, otherwise, messages, now_unix_ms)).await
    }

    /// Notes a summary of a session's oldest turns. One that takes in fewer turns than the one that is there is ignored.
    ///
    /// # Errors
    /// [`StoreError::SessionNotFound`], [`StoreError::TooLarge`], or a failure of the store.
    pub async fn put_summary(
        &self,
        id: &SessionId,
        summary: TurnSummary,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        self.check_size("summary", Some(&summary.text))?;
        let id = id.clone();
        self.write(move |trees| writes::put_summary(trees, &id, summary, now_unix_ms)).await
    }

    /// Removes a session and everything in it. False: there was none.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn delete_session(&self, id: &SessionId) -> Result<bool, StoreError> {
        let id = id.clone();
        let deleted = self.write(move |trees| writes::delete_session(trees, &id)).await?;
        let damaged = self.look(|opened| open::count_damaged(&opened.trees)).await?;
        self.damaged_records.store(damaged, Ordering::Relaxed);
        Ok(deleted)
    }

    /// One session.
    ///
    /// # Errors
    /// [`StoreError::SessionNotFound`], or a failure of the store.
    pub async fn session(&self, id: &SessionId) -> Result<Session, StoreError> {
        let wanted = id.clone();
        let found = self.read(move |opened| reads::session(&opened.trees, &wanted)).await?;
        let session = if self.set_aside(found.damaged).await? {
            let wanted = id.clone();
            self.read(move |opened| reads::session(&opened.trees, &wanted)).await?.value
        } else {
            found.value
        };
        session.ok_or_else(|| StoreError::SessionNotFound(id.clone()))
    }

    /// Every message of a session, oldest first. Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// [`StoreError::SessionNotFound`], or a failure of the store.
    pub async fn messages(&self, id: &SessionId) -> Result<Vec<StoredMessage>, StoreError> {
        self.session(id).await?;
        let wanted = id.clone();
        let found = self.read(move |opened| reads::messages(&opened.trees, &wanted)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// Sessions, last updated first: at most `limit`, after `before`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn list_sessions(
        &self,
        limit: usize,
        before: Option<SessionCursor>,
    ) -> Result<SessionPage, StoreError> {
        let from = before.clone();
        let list = move |opened: &Opened| reads::list_sessions(&opened.trees, limit, from.as_ref());
        let found = self.read(list).await?;
        if self.set_aside(found.damaged).await? {
            let list = move |opened: &Opened| reads::list_sessions(&opened.trees, limit, before.as_ref());
            return Ok(self.read(list).await?.value);
        }
        Ok(found.value)
    }

    /// How the store is doing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn status(&self) -> Result<StoreStatus, StoreError> {
        let (size_bytes, n_sessions) = self
            .look(|opened| {
                let size = opened.db.size_on_disk().map_err(StoreError::database("measure"))?;
                Ok((size, opened.trees.by_updated.len() as u64))
            })
            .await?;
        Ok(StoreStatus {
            directory: self.directory.to_path_buf(),
            size_bytes,
            n_sessions,
            damaged_records: self.damaged_records.load(Ordering::Relaxed),
            fatal: self.fatal.borrow().clone(),
        })
    }

    /// Resolves to the reason when the store takes no more writes; the process should then end, so that a restart
    /// finds out what the disk really holds. Never resolves otherwise.
    pub async fn wait_until_fatal(&self) -> String {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(message) => message.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Finishes every write before this one and closes the store: its files and its lock are free when this returns.
    /// Other clones get [`StoreError::Closed`] from now on.
    ///
    /// # Errors
    /// [`StoreError::Fatal`] when an earlier write could not be made durable.
    pub async fn close(self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            closed.await.ok();
        }
        match self.fatal.borrow().clone() {
            Some(message) => Err(StoreError::Fatal { message }),
            None => Ok(()),
        }
    }

    fn check_size(&self, field: &'static str, text: Option<&str>) -> Result<(), StoreError> {
        let (bytes, max_bytes) = (text.map_or(0, str::len), self.max_message_bytes);
        if bytes > max_bytes { Err(StoreError::TooLarge { field, bytes, max_bytes }) } else { Ok(()) }
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&Trees) -> writes::Planned<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(writer::job(plan, reply)).await.is_ok()
            && let Ok(outcome) = answer.await
        {
            return outcome;
        }
        // A job is dropped unanswered only when the writer has failed, which it says a moment later, or has ended.
        match self.fatal.clone().wait_for(Option::is_some).await {
            Ok(message) => Err(StoreError::Fatal { message: message.clone().unwrap_or_default() }),
            Err(_) => Err(StoreError::Closed),
        }
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Opened) -> Result<Found<T>, StoreError> + Send + 'static,
    ) -> Result<Found<T>, StoreError> {
        self.look(move |opened| {
            let shared = opened.view.read().unwrap_or_else(PoisonError::into_inner);
            let found = look(opened);
            drop(shared);
            found
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Opened) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot = Arc::clone(&self.slot);
        blocking(move || match &*slot.read().unwrap_or_else(PoisonError::into_inner) {
            Some(opened) => look(opened),
            None => Err(StoreError::Closed),
        })
        .await
    }

    /// Sets damaged records aside; true when there were any.
    pub(crate) async fn set_aside(&self, damaged: Vec<DamagedRecord>) -> Result<bool, StoreError> {
        if damaged.is_empty() {
            return Ok(false);
        }
        for record in &damaged {
            let key = String::from_utf8_lossy(&record.key);
            tracing::warn!(tree = ?record.tree, ?key, damage = %record.damage, "set a damaged record aside");
        }
        let count = self.write(move |trees| writes::set_aside(trees, &damaged)).await?;
        self.damaged_records.fetch_add(count, Ordering::Relaxed);
        Ok(true)
    }
}

/// Runs blocking work on tokio's threads for it. A panic there is passed on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(failed) if failed.is_panic() => {
            Err(StoreError::Fatal { message: "the database panicked while it was read".into() })
        }
        Err(_) => Err(StoreError::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionSettings;

    fn new(id: &str) -> NewSession {
        NewSession { id: id.parse().unwrap(), title: None, settings: SessionSettings::default() }
    }

    #[tokio::test]
    async fn a_sync_that_fails_is_never_acknowledged_and_ends_all_writing() {
        let directory = tempfile::tempdir().unwrap();
        let (mut opened, _) = open::open(directory.path(), &StoreOptions::new("0", 1)).unwrap();
        // A device takes no sync.
        opened.log_file = std::fs::File::open("/dev/null").unwrap();
        let store = Store::start(opened, directory.path(), 1000, 0).unwrap();
        for id in ["first", "second"] {
            let refused = store.create_session(new(id), 1).await.unwrap_err();
            assert!(matches!(refused, StoreError::Fatal { .. }), "{refused}");
        }
        assert!(store.wait_until_fatal().await.contains("cannot sync"));
        assert!(store.status().await.unwrap().fatal.is_some());
        assert!(matches!(store.close().await, Err(StoreError::Fatal { .. })));
    }

    #[tokio::test]
    async fn a_panic_in_a_write_is_an_error_and_no_hang() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(directory.path(), StoreOptions::new("0", 1)).await.unwrap();
        let refused = store.write::<()>(|_| panic!("as sled does on a full disk")).await.unwrap_err();
        assert!(matches!(refused, StoreError::Fatal { .. }), "{refused}");
        assert!(store.create_session(new("s"), 1).await.is_err());
    }
}
