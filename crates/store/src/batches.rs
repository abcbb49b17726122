//! Batches: many questions that were taken on together, and what became of each. What a question and a result say is
//! their owner's; here they are texts.

use crate::changes::Changes;
use crate::envelope::Damage;
use crate::keys::{self, RecordTree};
use crate::reads::{self, Found};
use crate::store::Store;
use crate::trees::{TreeName, Trees};
use crate::writes::Planned;
use crate::{StoreError, codec};
use boca_core::BatchId;

/// A batch that was taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name in requests.
    pub id: BatchId,
    /// When it came, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// When its last line ended, or it was cancelled.
    pub ended_unix_ms: Option<u64>,
    /// Lines, numbered from 0 in the order in which they came.
    pub n_lines: u32,
    /// Lines that have a result.
    pub n_done: u32,
    /// Those of them whose result is an error.
    pub n_failed: u32,
    /// Whether somebody does not want the rest any more.
    pub is_cancelled: bool,
}

/// What a batch is begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// Its name in requests.
    pub id: BatchId,
    /// Each line: its question, and its result when that is known already.
    pub lines: Vec<(String, Option<BatchResult>)>,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchResult {
    /// What it says.
    pub text: String,
    /// Whether it is an error.
    pub is_error: bool,
}

impl Store {
    /// Takes a batch on, with all its lines. The oldest that have ended go, so that at most `most` are kept.
    ///
    /// # Errors
    /// [`StoreError::BatchExists`]; [`StoreError::TooManyBatches`] when `most` have not ended; or a failure of the store.
    pub async fn create_batch(
        &self,
        new: NewBatch,
        most: usize,
        now_unix_ms: u64,
    ) -> Result<Batch, StoreError> {
        self.write(move |trees| create(trees, new, most, now_unix_ms)).await
    }

    /// One batch; `None` when there is none of this id.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError> {
        Ok(self.batches().await?.into_iter().find(|batch| batch.id == *id))
    }

    /// Every batch, oldest first. Damaged ones are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn batches(&self) -> Result<Vec<Batch>, StoreError> {
        let found = self.read(|opened| all(&opened.trees)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// The numbers of the lines that have no result.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn pending_lines(&self, batch: &Batch) -> Result<Vec<u32>, StoreError> {
        let (id, n_lines) = (batch.id.clone(), batch.n_lines);
        let found = self.read(move |opened| {
            let done = opened.trees.keys_with_prefix(TreeName::BatchResults, &keys::lines_of(&id))?;
            let done: std::collections::HashSet<u32> =
                done.iter().filter_map(|key| keys::message_index(key)).collect();
            Ok(Found {
                value: (0..n_lines).filter(|line| !done.contains(line)).collect(),
                damaged: Vec::new(),
            })
        });
        Ok(found.await?.value)
    }

    /// The question of a line; `None` when it cannot be read any more.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn batch_line(&self, id: &BatchId, line: u32) -> Result<Option<String>, StoreError> {
        let key = keys::line(id, line);
        let found = self.read(move |opened| {
            let read = reads::record(&opened.trees, RecordTree::BatchLines, &key, codec::decode_text)?;
            Ok(Found { value: read.and_then(Result::ok), damaged: Vec::new() })
        });
        Ok(found.await?.value)
    }

    /// The results from line `from` on, at most `limit`, up to the first that is missing or cannot be read.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn batch_results(
        &self,
        id: &BatchId,
        from: u32,
        limit: u32,
    ) -> Result<Vec<BatchResult>, StoreError> {
        let id = id.clone();
        let found = self.read(move |opened| {
            let mut value = Vec::new();
            for line in from..from.saturating_add(limit) {
                let key = keys::line(&id, line);
                let read =
                    reads::record(&opened.trees, RecordTree::BatchResults, &key, codec::decode_result)?;
                match read {
                    Some(Ok(result)) => value.push(result),
                    // Set aside when the batch goes; until then the reader is told.
                    Some(Err(damage)) => value.push(unreadable(&damage)),
                    None => break,
                }
            }
            Ok(Found { value, damaged: Vec::new() })
        });
        Ok(found.await?.value)
    }

    /// Keeps the result of a line; the first one counts. Yields the batch as it is then, `None` when it is gone.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn add_batch_result(
        &self,
        id: &BatchId,
        line: u32,
        result: BatchResult,
        now_unix_ms: u64,
    ) -> Result<Option<Batch>, StoreError> {
        let id = id.clone();
        self.write(move |trees| add_result(trees, &id, line, &result, now_unix_ms)).await
    }

    /// Notes that the rest of a batch is not wanted. Yields the batch as it is then, `None` when there is none.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn cancel_batch(&self, id: &BatchId, now_unix_ms: u64) -> Result<Option<Batch>, StoreError> {
        let id = id.clone();
        self.write(move |trees| cancel(trees, &id, now_unix_ms)).await
    }
}

fn unreadable(damage: &Damage) -> BatchResult {
    BatchResult { text: format!("the result of this line is damaged in the store: {damage}"), is_error: true }
}

fn all(trees: &Trees) -> Result<Found<Vec<Batch>>, StoreError> {
    let mut value = Vec::new();
    let damaged = reads::each_record(trees, RecordTree::Batches, &[], codec::decode_batch, |_, batch| {
        value.push(batch);
    })?;
    value.sort_by(|a: &Batch, b: &Batch| (a.created_unix_ms, &a.id).cmp(&(b.created_unix_ms, &b.id)));
    Ok(Found { value, damaged })
}

fn read(trees: &Trees, id: &BatchId) -> Result<Option<Batch>, StoreError> {
    let read = reads::record(trees, RecordTree::Batches, &keys::batch(id), codec::decode_batch)?;
    // A damaged one is set aside by the next one who lists them.
    Ok(read.and_then(Result::ok))
}

fn put(changes: &mut Changes, trees: &Trees, batch: &Batch) -> Result<(), StoreError> {
    changes.put_record(trees, RecordTree::Batches, &keys::batch(&batch.id), &codec::encode_batch(batch)?)
}

fn create(trees: &Trees, new: NewBatch, most: usize, now_unix_ms: u64) -> Planned<Batch> {
    let mut changes = Changes::default();
    let kept = all(trees)?.value;
    if trees.get(TreeName::Batches, &keys::batch(&new.id))?.is_some() {
        return Err(StoreError::BatchExists(new.id));
    }
    let n_too_many = (kept.len() + 1).saturating_sub(most);
    let ended: Vec<&Batch> =
        kept.iter().filter(|batch| batch.ended_unix_ms.is_some()).take(n_too_many).collect();
    if ended.len() < n_too_many {
        return Err(StoreError::TooManyBatches { most });
    }
    for old in ended {
        remove(&mut changes, trees, &old.id)?;
    }
    let n_lines = u32::try_from(new.lines.len()).map_err(|_| StoreError::TooManyBatches { most })?;
    let mut batch = Batch {
        id: new.id,
        created_unix_ms: now_unix_ms,
        ended_unix_ms: None,
        n_lines,
        n_done: 0,
        n_failed: 0,
        is_cancelled: false,
    };
    for (number, (line, result)) in (0..).zip(&new.lines) {
        let key = keys::line(&batch.id, number);
        changes.put_record(trees, RecordTree::BatchLines, &key, &codec::encode_text(line)?)?;
        if let Some(result) = result {
            changes.put_record(trees, RecordTree::BatchResults, &key, &codec::encode_result(result)?)?;
            count(&mut batch, result, now_unix_ms);
        }
    }
    put(&mut changes, trees, &batch)?;
    Ok((changes, batch))
}

fn count(batch: &mut Batch, result: &BatchResult, now_unix_ms: u64) {
    batch.n_done += 1;
    batch.n_failed += u32::from(result.is_error);
    if batch.n_done == batch.n_lines {
        batch.ended_unix_ms.get_or_insert(now_unix_ms);
    }
}

fn remove(changes: &mut Changes, trees: &Trees, id: &BatchId) -> Result<(), StoreError> {
    for (tree, name) in
        [(RecordTree::BatchLines, TreeName::BatchLines), (RecordTree::BatchResults, TreeName::BatchResults)]
    {
        for key in trees.keys_with_prefix(name, &keys::lines_of(id))? {
            changes.remove_record(trees, tree, &key)?;
        }
    }
    changes.remove_record(trees, RecordTree::Batches, &keys::batch(id))
}

fn add_result(
    trees: &Trees,
    id: &BatchId,
    line: u32,
    result: &BatchResult,
    now_unix_ms: u64,
) -> Planned<Option<Batch>> {
    let mut changes = Changes::default();
    let Some(mut batch) = read(trees, id)? else { return Ok((changes, None)) };
    let key = keys::line(id, line);
    if line < batch.n_lines && trees.get(TreeName::BatchResults, &key)?.is_none() {
        changes.put_record(trees, RecordTree::BatchResults, &key, &codec::encode_result(result)?)?;
        count(&mut batch, result, now_unix_ms);
        put(&mut changes, trees, &batch)?;
    }
    Ok((changes, Some(batch)))
}

fn cancel(trees: &Trees, id: &BatchId, now_unix_ms: u64) -> Planned<Option<Batch>> {
    let mut changes = Changes::default();
    let Some(mut batch) = read(trees, id)? else { return Ok((changes, None)) };
    if batch.ended_unix_ms.is_none() {
        batch.is_cancelled = true;
        batch.ended_unix_ms = Some(now_unix_ms);
        put(&mut changes, trees, &batch)?;
    }
    Ok((changes, Some(batch)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    async fn store(directory: &std::path::Path) -> Store {
        Store::open(directory, StoreOptions::new("0", 1)).await.unwrap().0
    }

    fn new(id: &str, n_lines: usize) -> NewBatch {
        let lines = (0..n_lines).map(|line| (format!("line {line}"), None)).collect();
        NewBatch { id: id.parse().unwrap(), lines }
    }

    fn said(text: &str) -> BatchResult {
        BatchResult { text: text.into(), is_error: false }
    }

    #[tokio::test]
    async fn results_are_kept_once_counted_and_read_in_the_order_of_the_lines() {
        let directory = tempfile::tempdir().unwrap();
        let store = self::store(directory.path()).await;
        let failed = BatchResult { text: "no".into(), is_error: true };
        let mut begun = new("b", 4);
        begun.lines[2].1 = Some(failed.clone());
        let batch = store.create_batch(begun, 9, 5).await.unwrap();
        assert_eq!((batch.n_lines, batch.n_done, batch.n_failed), (4, 1, 1));
        assert!(matches!(store.create_batch(new("b", 1), 9, 5).await, Err(StoreError::BatchExists(_))));
        let id = batch.id.clone();
        let long = "x".repeat(100_000);
        store.add_batch_result(&id, 1, said(&long), 6).await.unwrap();
        assert!(store.batch_results(&id, 0, 9).await.unwrap().is_empty(), "the first is missing");
        assert_eq!(store.batch_results(&id, 1, 9).await.unwrap(), [said(&long), failed]);
        let batch = store.add_batch_result(&id, 0, said("zero"), 7).await.unwrap().unwrap();
        assert_eq!(store.pending_lines(&batch).await.unwrap(), [3]);
        let again = store.add_batch_result(&id, 0, said("other"), 7).await.unwrap().unwrap();
        assert_eq!((again.n_done, again.ended_unix_ms), (3, None));
        store.close().await.unwrap();

        let store = self::store(directory.path()).await;
        assert_eq!(store.batch_results(&id, 0, 1).await.unwrap(), [said("zero")], "the first result counts");
        assert_eq!(store.batch_line(&id, 3).await.unwrap().as_deref(), Some("line 3"));
        let ended = store.add_batch_result(&id, 3, said("three"), 8).await.unwrap().unwrap();
        assert_eq!((ended.n_done, ended.n_failed, ended.ended_unix_ms), (4, 1, Some(8)));
        assert_eq!(store.batch_results(&id, 0, 9).await.unwrap().len(), 4);
        assert_eq!(store.batch(&id).await.unwrap(), Some(ended));
    }

    #[tokio::test]
    async fn the_oldest_ended_ones_go_and_others_never() {
        let directory = tempfile::tempdir().unwrap();
        let store = self::store(directory.path()).await;
        for (time, id) in [(1, "a"), (2, "b"), (3, "c")] {
            store.create_batch(new(id, 2), 3, time).await.unwrap();
        }
        let refused = store.create_batch(new("d", 1), 3, 4).await.unwrap_err();
        assert!(matches!(refused, StoreError::TooManyBatches { most: 3 }), "{refused}");
        let b = "b".parse().unwrap();
        store.add_batch_result(&b, 0, said("x"), 5).await.unwrap();
        let cancelled = store.cancel_batch(&b, 6).await.unwrap().unwrap();
        assert!(cancelled.is_cancelled && cancelled.ended_unix_ms == Some(6));
        store.create_batch(new("d", 1), 3, 7).await.unwrap();
        let kept: Vec<String> = store.batches().await.unwrap().iter().map(|b| b.id.to_string()).collect();
        assert_eq!(kept, ["a", "c", "d"]);
        assert_eq!(store.batch_line(&b, 0).await.unwrap(), None);
        assert_eq!(store.add_batch_result(&b, 1, said("late"), 8).await.unwrap(), None);
        assert_eq!(store.cancel_batch(&b, 8).await.unwrap(), None);
    }
}
