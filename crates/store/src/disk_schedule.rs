//! Slots and summaries as they lie on disk. The same rules as for [`crate::disk`].

use crate::schedule::{NewSummary, SlotState, Summary};
use serde::{Deserialize, Serialize};

/// Schema of [`SlotDiskRecord`].
pub(crate) const SLOT_SCHEMA: u16 = 1;
/// Schema of [`SummaryDiskRecord`].
pub(crate) const SUMMARY_SCHEMA: u16 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum SlotDiskRecord {
    Claimed { owner: String, attempt: u32, since_unix_ms: u64 },
    Stored { summary: u64 },
    Failed { reason: String },
    Passed { first_unix_ms: u64, n: u64, is_more: bool },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SummaryDiskRecord {
    number: u64,
    created_unix_ms: u64,
    job: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot_unix_ms: Option<u64>,
    from_unix_ms: u64,
    until_unix_ms: u64,
    table: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written_by: Option<String>,
    took_ms: u64,
}

impl From<&SlotState> for SlotDiskRecord {
    fn from(state: &SlotState) -> Self {
        match state.clone() {
            SlotState::Claimed { owner, attempt, since_unix_ms } => {
                Self::Claimed { owner, attempt, since_unix_ms }
            }
            SlotState::Stored { summary } => Self::Stored { summary },
            SlotState::Failed { reason } => Self::Failed { reason },
            SlotState::Passed { first_unix_ms, n, is_more } => Self::Passed { first_unix_ms, n, is_more },
        }
    }
}

impl From<SlotDiskRecord> for SlotState {
    fn from(record: SlotDiskRecord) -> Self {
        match record {
            SlotDiskRecord::Claimed { owner, attempt, since_unix_ms } => {
                Self::Claimed { owner, attempt, since_unix_ms }
            }
            SlotDiskRecord::Stored { summary } => Self::Stored { summary },
            SlotDiskRecord::Failed { reason } => Self::Failed { reason },
            SlotDiskRecord::Passed { first_unix_ms, n, is_more } => {
                Self::Passed { first_unix_ms, n, is_more }
            }
        }
    }
}

impl From<&Summary> for SummaryDiskRecord {
    fn from(summary: &Summary) -> Self {
        let NewSummary { job, slot_unix_ms, from_unix_ms, until_unix_ms, table, text, written_by, took_ms } =
            summary.new.clone();
        Self {
            number: summary.number,
            created_unix_ms: summary.created_unix_ms,
            job,
            slot_unix_ms,
            from_unix_ms,
            until_unix_ms,
            table,
            text,
            written_by,
            took_ms,
        }
    }
}

impl From<SummaryDiskRecord> for Summary {
    fn from(record: SummaryDiskRecord) -> Self {
        let SummaryDiskRecord {
            number,
            created_unix_ms,
            job,
            slot_unix_ms,
            from_unix_ms,
            until_unix_ms,
            table,
            text,
            written_by,
            took_ms,
        } = record;
        let new =
            NewSummary { job, slot_unix_ms, from_unix_ms, until_unix_ms, table, text, written_by, took_ms };
        Self { number, created_unix_ms, new }
    }
}
