//! What each write does, as changes computed from what is there. Runs on the writer's thread alone.

use crate::StoreError;
use crate::changes::Changes;
use crate::codec;
use crate::envelope::Damage;
use crate::keys::{self, RecordTree};
use crate::reads::{self, DamagedRecord};
use crate::trees::{TreeName, Trees};
use crate::types::{
    Message, NewSession, Session, SessionSettings, SessionUpdate, StoredMessage, StoredSummary, session_title,
};
use boca_core::{Role, SessionId, TurnSummary};

/// The changes that a write makes, and what it answers.
pub(crate) type Planned<T> = Result<(Changes, T), StoreError>;

/// Begins a session.
pub(crate) fn create_session(trees: &Trees, new: NewSession, now_unix_ms: u64) -> Planned<Session> {
    if trees.get(TreeName::Sessions, &keys::session(&new.id))?.is_some() {
        return Err(StoreError::SessionExists(new.id));
    }
    let session = fresh(new, now_unix_ms);
    let mut changes = Changes::default();
    put_session(&mut changes, trees, None, &session)?;
    Ok((changes, session))
}

/// Changes a session's title or settings.
pub(crate) fn update_session(
    trees: &Trees,
    id: &SessionId,
    update: SessionUpdate,
    now_unix_ms: u64,
) -> Planned<Session> {
    let mut changes = Changes::default();
    let old = existing(&mut changes, trees, id)?.ok_or_else(|| StoreError::SessionNotFound(id.clone()))?;
    let mut session = old.clone();
    session.updated_unix_ms = now_unix_ms;
    session.title = update.title.or(session.title);
    if let Some(settings) = update.settings {
        session.settings = settings;
    }
    put_session(&mut changes, trees, Some(&old), &session)?;
    Ok((changes, session))
}

/// Notes a summary of a session's oldest turns. One that takes in fewer than the one that is there changes nothing.
pub(crate) fn put_summary(
    trees: &Trees,
    id: &SessionId,
    summary: TurnSummary,
    now_unix_ms: u64,
) -> Planned<()> {
    let mut changes = Changes::default();
    let old = existing(&mut changes, trees, id)?.ok_or_else(|| StoreError::SessionNotFound(id.clone()))?;
    let mut session = old.clone();
    take_summary(&mut session, &summary, now_unix_ms);
    if session != old {
        put_session(&mut changes, trees, Some(&old), &session)?;
    }
    Ok((changes, ()))
}

fn take_summary(session: &mut Session, summary: &TurnSummary, now_unix_ms: u64) {
    let known = session.summary.as_ref().map(|known| &known.summary);
    if known.is_none_or(|known| summary.before_turn >= known.before_turn && summary != known) {
        session.summary = Some(StoredSummary { summary: summary.clone(), created_unix_ms: now_unix_ms });
    }
}

/// Appends turns. A session that does not exist is begun from `otherwise`, in the same transaction.
pub(crate) fn append_messages(
    trees: &Trees,
    id: &SessionId,
    otherwise: Option<NewSession>,
    messages: Vec<Message>,
    now_unix_ms: u64,
) -> Planned<(Session, Vec<StoredMessage>)> {
    let mut changes = Changes::default();
    let old = existing(&mut changes, trees, id)?;
    let mut session = match (&old, otherwise) {
        (Some(old), _) => old.clone(),
        (None, Some(new)) => fresh(new, now_unix_ms),
        (None, None) => return Err(StoreError::SessionNotFound(id.clone())),
    };
    session.updated_unix_ms = now_unix_ms;
    let mut stored = Vec::with_capacity(messages.len());
    for message in messages {
        let index = session.n_messages;
        count(&mut session, &message)?;
        let record = codec::encode_message(&message)?;
        changes.put_record(trees, RecordTree::Messages, &keys::message(id, index), &record)?;
        stored.push(StoredMessage { index, message });
    }
    put_session(&mut changes, trees, old.as_ref(), &session)?;
    Ok((changes, (session, stored)))
}

/// Removes a session, its messages and whatever was set aside of it. False: there was none.
pub(crate) fn delete_session(trees: &Trees, id: &SessionId) -> Planned<bool> {
    let mut changes = Changes::default();
    let key = keys::session(id);
    changes.remove_record(trees, RecordTree::Sessions, &key)?;
    let mut existed = trees.get(TreeName::Sessions, &key)?.is_some();
    for message in trees.keys_with_prefix(TreeName::Messages, &keys::messages_of(id))? {
        changes.remove_record(trees, RecordTree::Messages, &message)?;
        existed = true;
    }
    for entry in index_entries(trees, id)? {
        changes.remove(TreeName::ByUpdated, entry);
    }
    let session_parts = keys::damaged_part(&keys::parts_of(RecordTree::Sessions, &key));
    let messages = keys::damaged(RecordTree::Messages, &keys::messages_of(id));
    let message_parts = keys::damaged_part(&messages);
    changes.remove(TreeName::Damaged, keys::damaged(RecordTree::Sessions, &key));
    for prefix in [session_parts, messages, message_parts] {
        for entry in trees.keys_with_prefix(TreeName::Damaged, &prefix)? {
            changes.remove(TreeName::Damaged, &*entry);
        }
    }
    Ok((changes, existed))
}

/// Sets records aside, and rebuilds a session whose own record is among them from its messages. Returns how many were
/// really damaged: a reader may have looked while its records were replaced.
pub(crate) fn set_aside(trees: &Trees, damaged: &[DamagedRecord]) -> Planned<u64> {
    let mut changes = Changes::default();
    let mut count = 0;
    for record in damaged {
        let is_damaged = match record.tree {
            RecordTree::Messages => is_damaged(trees, record, codec::decode_message)?,
            RecordTree::Answers => is_damaged(trees, record, codec::decode_answer)?,
            RecordTree::DayUsage => is_damaged(trees, record, codec::decode_day_usage)?,
            RecordTree::Batches => is_damaged(trees, record, codec::decode_batch)?,
            RecordTree::BatchLines => is_damaged(trees, record, codec::decode_text)?,
            RecordTree::BatchResults => is_damaged(trees, record, codec::decode_result)?,
            RecordTree::Slots => is_damaged(trees, record, codec::decode_slot)?,
            RecordTree::Summaries => is_damaged(trees, record, codec::decode_summary)?,
            RecordTree::Alerts => is_damaged(trees, record, codec::decode_alert_state)?,
            RecordTree::AlertNotices => is_damaged(trees, record, codec::decode_alert_notice)?,
            RecordTree::Measured => is_damaged(trees, record, codec::decode_measured)?,
            RecordTree::Sessions => {
                let id = std::str::from_utf8(&record.key).ok().and_then(|id| id.parse().ok());
                let Some(id) = id else { continue };
                let before = reads::session(trees, &id)?;
                if before.damaged.is_empty() {
                    continue;
                }
                if let Some(session) = existing(&mut changes, trees, &id)? {
                    put_session(&mut changes, trees, None, &session)?;
                }
                count += 1;
                continue;
            }
        };
        if is_damaged {
            changes.set_aside(trees, record.tree, &record.key)?;
            count += 1;
        }
    }
    Ok((changes, count))
}

fn is_damaged<T>(
    trees: &Trees,
    record: &DamagedRecord,
    decode: fn(&[u8]) -> Result<T, Damage>,
) -> Result<bool, StoreError> {
    Ok(reads::record(trees, record.tree, &record.key, decode)?.is_some_and(|read| read.is_err()))
}

/// The session as it is. One whose record is damaged is set aside and rebuilt from its messages: settings and a title
/// that a person gave are lost with it, the conversation is not.
fn existing(changes: &mut Changes, trees: &Trees, id: &SessionId) -> Result<Option<Session>, StoreError> {
    let found = reads::session(trees, id)?;
    if found.damaged.is_empty() {
        return Ok(found.value);
    }
    changes.set_aside(trees, RecordTree::Sessions, &keys::session(id))?;
    for entry in index_entries(trees, id)? {
        changes.remove(TreeName::ByUpdated, entry);
    }
    let messages = reads::messages(trees, id)?.value;
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(None) };
    let mut session = fresh(
        NewSession { id: id.clone(), title: None, settings: SessionSettings::default() },
        first.message.created_unix_ms,
    );
    session.updated_unix_ms = last.message.created_unix_ms;
    for stored in &messages {
        count(&mut session, &stored.message)?;
    }
    // A damaged last message must not have its place taken by a new one before it is set aside.
    let keys = trees.keys_with_prefix(TreeName::Messages, &keys::messages_of(id))?;
    let last_index = keys.last().and_then(|key| keys::message_index(key)).unwrap_or(last.index);
    session.n_messages = last_index.saturating_add(1);
    Ok(Some(session))
}

fn fresh(new: NewSession, now_unix_ms: u64) -> Session {
    Session {
        id: new.id,
        title: new.title,
        created_unix_ms: now_unix_ms,
        updated_unix_ms: now_unix_ms,
        settings: new.settings,
        n_messages: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        summary: None,
    }
}

/// Takes one more message into a session's title, counts and summary.
fn count(session: &mut Session, message: &Message) -> Result<(), StoreError> {
    session.n_messages = session.n_messages.checked_add(1).ok_or(StoreError::TooLarge {
        field: "messages",
        bytes: u32::MAX as usize,
        max_bytes: u32::MAX as usize,
    })?;
    if session.title.is_none() && message.role == Role::User {
        session.title = Some(session_title(&message.content));
    }
    // What was once private must not be shown to anybody by a later question.
    session.settings.private |= message.private;
    let sources = message.trace.iter().flat_map(|trace| &trace.sources);
    for cut in sources.filter_map(|source| source.context_cut.as_deref()) {
        if let Some(summary) = &cut.summary {
            take_summary(session, summary, message.created_unix_ms);
        }
    }
    let usage = message.usage.unwrap_or_default();
    session.prompt_tokens = session.prompt_tokens.saturating_add(u64::from(usage.prompt_tokens));
    session.completion_tokens = session.completion_tokens.saturating_add(u64::from(usage.completion_tokens));
    Ok(())
}

fn put_session(
    changes: &mut Changes,
    trees: &Trees,
    old: Option<&Session>,
    session: &Session,
) -> Result<(), StoreError> {
    let record = codec::encode_session(session)?;
    changes.put_record(trees, RecordTree::Sessions, &keys::session(&session.id), &record)?;
    if let Some(old) = old {
        changes.remove(TreeName::ByUpdated, keys::by_updated(old.updated_unix_ms, &old.id));
    }
    changes.put(TreeName::ByUpdated, keys::by_updated(session.updated_unix_ms, &session.id), Vec::new());
    Ok(())
}

/// Every entry of a session in the index by time, found by looking at all of them: used only where the session's own
/// record cannot tell.
fn index_entries(trees: &Trees, id: &SessionId) -> Result<Vec<Vec<u8>>, StoreError> {
    let all = trees.keys_with_prefix(TreeName::ByUpdated, &[])?;
    Ok(all
        .into_iter()
        .filter(|key| keys::parse_by_updated(key).is_some_and(|(_, other)| other == *id))
        .map(|key| key.to_vec())
        .collect())
}
