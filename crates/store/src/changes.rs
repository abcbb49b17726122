//! A write is first computed as a list of changes and then applied in one transaction over all trees.
//!
//! There is one writer, so nothing can change between the two.

use crate::StoreError;
use crate::envelope::{self, Damage};
use crate::keys::{self, RecordTree};
use crate::trees::{TreeName, Trees};
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};
use std::convert::Infallible;

/// The most bytes of one value in sled. A leaf holds up to some sixteen values, and one that outgrows a segment
/// (512 KiB) goes into a file of its own, which sled never syncs. So nothing large is ever given to sled as one value.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// What one write does to the trees.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<(TreeName, Vec<u8>, Option<Vec<u8>>)>);

impl Changes {
    /// Sets one small value.
    pub(crate) fn put(&mut self, tree: TreeName, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((tree, key, Some(value)));
    }

    /// Removes one value.
    pub(crate) fn remove(&mut self, tree: TreeName, key: impl Into<Vec<u8>>) {
        self.0.push((tree, key.into(), None));
    }

    /// Sets a record in its envelope, in as many parts as it needs.
    pub(crate) fn put_record(
        &mut self,
        trees: &Trees,
        tree: RecordTree,
        key: &[u8],
        record: &[u8],
    ) -> Result<(), StoreError> {
        let mut chunks = record.chunks(MAX_VALUE_BYTES);
        let head = chunks.next().unwrap_or_default();
        self.put(tree.into(), key.to_vec(), head.to_vec());
        let mut n_parts = 0;
        for (number, chunk) in (1..).zip(chunks) {
            self.put(TreeName::Parts, keys::part(tree, key, number), chunk.to_vec());
            n_parts = number;
        }
        for old in trees.keys_with_prefix(TreeName::Parts, &keys::parts_of(tree, key))? {
            if *old > *keys::part(tree, key, n_parts) {
                self.remove(TreeName::Parts, &*old);
            }
        }
        Ok(())
    }

    /// Moves a record out of the way, with its parts, as it is.
    pub(crate) fn set_aside(
        &mut self,
        trees: &Trees,
        tree: RecordTree,
        key: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(head) = trees.get(tree.into(), key)? {
            self.put(TreeName::Damaged, keys::damaged(tree, key), head.to_vec());
            self.remove(tree.into(), key);
        }
        for (part, bytes) in trees.entries_with_prefix(TreeName::Parts, &keys::parts_of(tree, key))? {
            self.put(TreeName::Damaged, keys::damaged_part(&part), bytes.to_vec());
            self.remove(TreeName::Parts, &*part);
        }
        Ok(())
    }

    /// Removes a record with its parts.
    pub(crate) fn remove_record(
        &mut self,
        trees: &Trees,
        tree: RecordTree,
        key: &[u8],
    ) -> Result<(), StoreError> {
        self.remove(tree.into(), key);
        for part in trees.keys_with_prefix(TreeName::Parts, &keys::parts_of(tree, key))? {
            self.remove(TreeName::Parts, &*part);
        }
        Ok(())
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does all of it or nothing.
    pub(crate) fn apply(&self, trees: &Trees) -> Result<(), StoreError> {
        let all = trees.all();
        let outcome: Result<(), TransactionError<Infallible>> = all.as_slice().transaction(|views| {
            for (tree, key, value) in &self.0 {
                let view = &views[tree.place()];
                match value {
                    Some(value) => view.insert(key.as_slice(), value.as_slice())?,
                    None => view.remove(key.as_slice())?,
                };
            }
            Ok::<_, ConflictableTransactionError<Infallible>>(())
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(TransactionError::Abort(never)) => match never {},
            Err(TransactionError::Storage(source)) => Err(StoreError::Database { action: "write", source }),
        }
    }
}

impl From<RecordTree> for TreeName {
    fn from(tree: RecordTree) -> Self {
        match tree {
            RecordTree::Sessions => Self::Sessions,
            RecordTree::Messages => Self::Messages,
            RecordTree::Answers => Self::Answers,
            RecordTree::DayUsage => Self::DayUsage,
            RecordTree::Batches => Self::Batches,
            RecordTree::BatchLines => Self::BatchLines,
            RecordTree::BatchResults => Self::BatchResults,
            RecordTree::Slots => Self::Slots,
            RecordTree::Summaries => Self::Summaries,
            RecordTree::Alerts => Self::Alerts,
            RecordTree::AlertNotices => Self::AlertNotices,
            RecordTree::Measured => Self::Measured,
        }
    }
}

/// A whole record, put together from its parts.
pub(crate) fn read_record(
    trees: &Trees,
    tree: RecordTree,
    key: &[u8],
    head: &[u8],
) -> Result<Result<Vec<u8>, Damage>, StoreError> {
    let promised = match envelope::promised_bytes(head) {
        Ok(promised) => promised,
        Err(damage) => return Ok(Err(damage)),
    };
    let mut record = head.to_vec();
    if promised > head.len() {
        for (_, part) in trees.entries_with_prefix(TreeName::Parts, &keys::parts_of(tree, key))? {
            record.extend_from_slice(&part);
        }
    }
    Ok(Ok(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trees() -> Trees {
        Trees::open(&sled::Config::new().temporary(true).open().unwrap()).unwrap()
    }

    fn write(trees: &Trees, key: &[u8], record: &[u8]) {
        let mut changes = Changes::default();
        changes.put_record(trees, RecordTree::Messages, key, record).unwrap();
        changes.apply(trees).unwrap();
    }

    fn read(trees: &Trees, key: &[u8]) -> Vec<u8> {
        let head = trees.get(TreeName::Messages, key).unwrap().unwrap();
        read_record(trees, RecordTree::Messages, key, &head).unwrap().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn records_of_any_size_replace_each_other(sizes in prop::collection::vec(0..5 * MAX_VALUE_BYTES, 1..6)) {
            let trees = trees();
            for (round, size) in sizes.into_iter().enumerate() {
                let record = envelope::wrap(1, &vec![round as u8; size]);
                write(&trees, b"key", &record);
                prop_assert_eq!(read(&trees, b"key"), record);
                for value in trees.messages.iter().values().chain(trees.parts.iter().values()) {
                    prop_assert!(value.unwrap().len() <= MAX_VALUE_BYTES);
                }
            }
            let mut changes = Changes::default();
            changes.remove_record(&trees, RecordTree::Messages, b"key").unwrap();
            changes.apply(&trees).unwrap();
            prop_assert!(trees.messages.is_empty() && trees.parts.is_empty());
        }
    }
}
