//! Reading: what is damaged is left out and named, so that the writer can set it aside.

use crate::StoreError;
use crate::changes::read_record;
use crate::codec;
use crate::envelope::Damage;
use crate::keys::{self, RecordTree};
use crate::trees::Trees;
use crate::types::{Session, SessionCursor, SessionPage, StoredMessage};
use boca_core::SessionId;
use std::ops::Bound;

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DamagedRecord {
    pub(crate) tree: RecordTree,
    pub(crate) key: Vec<u8>,
    pub(crate) damage: Damage,
}

/// What was read, and what could not be.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) damaged: Vec<DamagedRecord>,
}

impl<T> Found<T> {
    fn whole(value: T) -> Self {
        Self { value, damaged: Vec::new() }
    }
}

/// What one record says; `None`: there is none.
pub(crate) fn record<T>(
    trees: &Trees,
    tree: RecordTree,
    key: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, Damage>,
) -> Result<Option<Result<T, Damage>>, StoreError> {
    let Some(head) = trees.get(tree.into(), key)? else { return Ok(None) };
    Ok(Some(read_record(trees, tree, key, &head)?.and_then(|record| decode(&record))))
}

/// Takes every record whose key begins with this, in the order of the keys. Yields those that could not be read.
pub(crate) fn each_record<T>(
    trees: &Trees,
    tree: RecordTree,
    prefix: &[u8],
    decode: fn(&[u8]) -> Result<T, Damage>,
    mut take: impl FnMut(&[u8], T),
) -> Result<Vec<DamagedRecord>, StoreError> {
    let mut damaged = Vec::new();
    for (key, head) in trees.entries_with_prefix(tree.into(), prefix)? {
        match read_record(trees, tree, &key, &head)?.and_then(|record| decode(&record)) {
            Ok(value) => take(&key, value),
            Err(damage) => damaged.push(DamagedRecord { tree, key: key.to_vec(), damage }),
        }
    }
    Ok(damaged)
}

/// One session, `None` when there is none that can be read.
pub(crate) fn session(trees: &Trees, id: &SessionId) -> Result<Found<Option<Session>>, StoreError> {
    let key = keys::session(id);
    let read = record(trees, RecordTree::Sessions, &key, |record| codec::decode_session(id, record))?;
    Ok(match read {
        None => Found::whole(None),
        Some(Ok(session)) => Found::whole(Some(session)),
        Some(Err(damage)) => {
            Found { value: None, damaged: vec![DamagedRecord { tree: RecordTree::Sessions, key, damage }] }
        }
    })
}

/// Every message of a session, oldest first.
pub(crate) fn messages(trees: &Trees, id: &SessionId) -> Result<Found<Vec<StoredMessage>>, StoreError> {
    let mut value = Vec::new();
    let prefix = keys::messages_of(id);
    let damaged =
        each_record(trees, RecordTree::Messages, &prefix, codec::decode_message, |key, message| {
            value.extend(keys::message_index(key).map(|index| StoredMessage { index, message }));
        })?;
    Ok(Found { value, damaged })
}

/// Sessions by the time of their last change, newest first, after `before`.
pub(crate) fn list_sessions(
    trees: &Trees,
    limit: usize,
    before: Option<&SessionCursor>,
) -> Result<Found<SessionPage>, StoreError> {
    let end = match before {
        Some(cursor) => Bound::Excluded(keys::by_updated(cursor.updated_unix_ms, &cursor.id)),
        None => Bound::Unbounded,
    };
    let mut found = Found::whole(SessionPage { sessions: Vec::new(), next: None });
    for key in trees.by_updated.range::<Vec<u8>, _>((Bound::Unbounded, end)).keys().rev() {
        let key = key.map_err(StoreError::database("read"))?;
        let Some((updated_unix_ms, id)) = keys::parse_by_updated(&key) else { continue };
        if found.value.sessions.len() == limit {
            let last = found.value.sessions.last();
            found.value.next =
                last.map(|s| SessionCursor { updated_unix_ms: s.updated_unix_ms, id: s.id.clone() });
            break;
        }
        let one = session(trees, &id)?;
        found.damaged.extend(one.damaged);
        found.value.sessions.extend(one.value.filter(|s| s.updated_unix_ms == updated_unix_ms));
    }
    Ok(found)
}
