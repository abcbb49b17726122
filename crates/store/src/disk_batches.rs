//! Batches as they lie on disk. The same rules as for [`crate::disk`].

use crate::batches::{Batch, BatchResult};
use boca_core::BatchId;
use serde::{Deserialize, Serialize};

/// Schema of [`BatchDiskRecord`].
pub(crate) const BATCH_SCHEMA: u16 = 1;
/// Schema of [`BatchTextRecord`].
pub(crate) const BATCH_TEXT_SCHEMA: u16 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchDiskRecord {
    id: BatchId,
    created_unix_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_unix_ms: Option<u64>,
    n_lines: u32,
    n_done: u32,
    n_failed: u32,
    is_cancelled: bool,
}

/// A question, or a result.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BatchTextRecord {
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) is_error: bool,
}

impl From<&Batch> for BatchDiskRecord {
    fn from(batch: &Batch) -> Self {
        Self {
            id: batch.id.clone(),
            created_unix_ms: batch.created_unix_ms,
            ended_unix_ms: batch.ended_unix_ms,
            n_lines: batch.n_lines,
            n_done: batch.n_done,
            n_failed: batch.n_failed,
            is_cancelled: batch.is_cancelled,
        }
    }
}

impl From<BatchDiskRecord> for Batch {
    fn from(record: BatchDiskRecord) -> Self {
        Self {
            id: record.id,
            created_unix_ms: record.created_unix_ms,
            ended_unix_ms: record.ended_unix_ms,
            n_lines: record.n_lines,
            n_done: record.n_done,
            n_failed: record.n_failed,
            is_cancelled: record.is_cancelled,
        }
    }
}

impl From<&BatchResult> for BatchTextRecord {
    fn from(result: &BatchResult) -> Self {
        Self { text: result.text.clone(), is_error: result.is_error }
    }
}

impl From<BatchTextRecord> for BatchResult {
    fn from(record: BatchTextRecord) -> Self {
        Self { text: record.text, is_error: record.is_error }
    }
}
