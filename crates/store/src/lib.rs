//! The only user of sled: durable sessions and messages, the record of answers, and what providers used.
//!
//! What this crate promises:
//! - A write that was acknowledged survives a power cut: it is one transaction, flushed, and the file is synced
//!   before the answer. sled's own `flush` does not sync on Linux, so this crate does it.
//! - One process has the store open at a time.
//! - A damaged record is set aside and counted, the rest is still served. A store that cannot be opened at all is
//!   kept under another name and a fresh one is begun; nothing is ever deleted.
//! - A store of a newer format is refused, one of an older format is migrated step by step.
//!
//! There is no clock in here: every time comes from the caller, as milliseconds since 1970 (UTC).

mod alerts;
mod answers;
mod batches;
mod changes;
mod codec;
mod disk;
mod disk_alerts;
mod disk_answers;
mod disk_batches;
mod disk_context;
mod disk_measured;
mod disk_schedule;
mod envelope;
mod error;
mod keys;
mod lock;
mod migrate;
mod names;
mod open;
mod reads;
mod record_store;
mod record_writes;
mod rollups;
mod schedule;
mod store;
mod trees;
mod types;
mod writer;
mod writes;

pub use alerts::{AlertNotice, MAX_ALERT_CHANGES};
pub use answers::{AnswerRecord, MAX_ANSWER_RECORDS, SourceRecord, USAGE_DAYS, Verdict};
pub use batches::{Batch, BatchResult, NewBatch};
pub use error::StoreError;
pub use open::{OpenReport, StoreOptions};
pub use rollups::Measured;
pub use schedule::{Claim, NewSummary, PassedSlots, SlotRecord, SlotState, Summary};
pub use store::{Store, StoreStatus};
pub use types::{
    AnswerTrace, InvalidCursor, Message, NewSession, Session, SessionCursor, SessionPage, SessionSettings,
    SessionUpdate, StoredMessage, StoredSummary, session_title,
};
