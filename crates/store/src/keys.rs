//! Keys. Numbers are big-endian, so that the order of keys is the order of numbers; identifiers hold no NUL, so one
//! ends them.

use boca_core::rollup::{Grain, Period};
use boca_core::{BatchId, SessionId};

/// Which tree a part of a large record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordTree {
    Sessions,
    Messages,
    Answers,
    DayUsage,
    Batches,
    BatchLines,
    BatchResults,
    Slots,
    Summaries,
    Alerts,
    AlertNotices,
    Measured,
}

impl RecordTree {
    /// The first byte of keys in the trees `parts` and `damaged`.
    fn tag(self) -> u8 {
        match self {
            Self::Sessions => b's',
            Self::Messages => b'm',
            Self::Answers => b'a',
            Self::DayUsage => b'u',
            Self::Batches => b'b',
            Self::BatchLines => b'l',
            Self::BatchResults => b'r',
            Self::Slots => b't',
            Self::Summaries => b'y',
            Self::Alerts => b'w',
            Self::AlertNotices => b'n',
            Self::Measured => b'g',
        }
    }
}

/// Key of a session's record.
pub(crate) fn session(id: &SessionId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

/// What the keys of all messages of a session begin with.
pub(crate) fn messages_of(id: &SessionId) -> Vec<u8> {
    let mut key = session(id);
    key.push(0);
    key
}

/// Key of one message.
pub(crate) fn message(id: &SessionId, index: u32) -> Vec<u8> {
    let mut key = messages_of(id);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index of a message from its key.
pub(crate) fn message_index(key: &[u8]) -> Option<u32> {
    let (_, index) = key.split_last_chunk::<4>()?;
    Some(u32::from_be_bytes(*index))
}

/// Key in the index by time.
pub(crate) fn by_updated(updated_unix_ms: u64, id: &SessionId) -> Vec<u8> {
    let mut key = updated_unix_ms.to_be_bytes().to_vec();
    key.extend_from_slice(id.as_str().as_bytes());
    key
}

/// Time and session from a key in the index by time.
pub(crate) fn parse_by_updated(key: &[u8]) -> Option<(u64, SessionId)> {
    let (time, id) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), std::str::from_utf8(id).ok()?.parse().ok()?))
}

/// Key of a provider's usage of one day.
pub(crate) fn day_usage(day: u32, provider: &str) -> Vec<u8> {
    let mut key = day.to_be_bytes().to_vec();
    key.extend_from_slice(provider.as_bytes());
    key
}

/// The provider from such a key.
pub(crate) fn provider_of_day_usage(key: &[u8]) -> Option<String> {
    let (_, provider) = key.split_first_chunk::<4>()?;
    Some(std::str::from_utf8(provider).ok()?.to_owned())
}

/// Key of a batch's record.
pub(crate) fn batch(id: &BatchId) -> Vec<u8> {
    id.as_str().as_bytes().to_vec()
}

/// What the keys of all lines, or results, of a batch begin with.
pub(crate) fn lines_of(id: &BatchId) -> Vec<u8> {
    let mut key = batch(id);
    key.push(0);
    key
}

/// Key of one line, or of its result.
pub(crate) fn line(id: &BatchId, number: u32) -> Vec<u8> {
    let mut key = lines_of(id);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// What the keys of all slots of a job begin with.
pub(crate) fn slots_of(job: &str) -> Vec<u8> {
    let mut key = job.as_bytes().to_vec();
    key.push(0);
    key
}

/// Key of a slot.
pub(crate) fn slot(job: &str, at_unix_ms: u64) -> Vec<u8> {
    let mut key = slots_of(job);
    key.extend_from_slice(&at_unix_ms.to_be_bytes());
    key
}

/// Key of slots that were let go, of which this is the last. What becomes of that one itself is kept beside it.
pub(crate) fn passed_slots(job: &str, at_unix_ms: u64) -> Vec<u8> {
    let mut key = slot(job, at_unix_ms);
    key.push(b'p');
    key
}

/// The time of a slot from its key, or of the last of several.
pub(crate) fn time_of_slot(job: &str, key: &[u8]) -> Option<u64> {
    let time = key.get(slots_of(job).len()..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*time))
}

/// Key of what is numbered: answers, summaries, changes of alerts.
pub(crate) fn of_number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The number from such a key.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Key of a period. Times before 1970 come first.
pub(crate) fn period(period: Period) -> Vec<u8> {
    let place = Grain::ALL.iter().position(|grain| *grain == period.grain).unwrap_or_default();
    let mut key = vec![place as u8];
    key.extend_from_slice(&(period.begin_s ^ i64::MIN).to_be_bytes());
    key
}

/// The period from its key.
pub(crate) fn parse_period(key: &[u8]) -> Option<Period> {
    let (place, begin_s) = key.split_first()?;
    let begin_s = i64::from_be_bytes(begin_s.try_into().ok()?) ^ i64::MIN;
    Some(Period { grain: *Grain::ALL.get(usize::from(*place))?, begin_s })
}

/// What the keys of all parts of a record begin with. The length keeps one record's parts apart from those of a
/// record whose key merely begins alike.
pub(crate) fn parts_of(tree: RecordTree, key: &[u8]) -> Vec<u8> {
    let mut prefix = vec![tree.tag()];
    prefix.extend_from_slice(key);
    prefix.extend_from_slice(&[0, u8::try_from(key.len()).expect("keys have at most 74 bytes")]);
    prefix
}

/// Key of one part of a large record, from 1 (part 0 is in the record's own tree).
pub(crate) fn part(tree: RecordTree, key: &[u8], number: u32) -> Vec<u8> {
    let mut part = parts_of(tree, key);
    part.extend_from_slice(&number.to_be_bytes());
    part
}

/// Key of a record that was set aside; parts keep their own key behind `p`.
pub(crate) fn damaged(tree: RecordTree, key: &[u8]) -> Vec<u8> {
    let mut damaged = vec![tree.tag()];
    damaged.extend_from_slice(key);
    damaged
}

/// Key of a part of a record that was set aside.
pub(crate) fn damaged_part(part_key: &[u8]) -> Vec<u8> {
    let mut damaged = vec![b'p'];
    damaged.extend_from_slice(part_key);
    damaged
}

/// Whether a key in `damaged` is a part and not a record.
pub(crate) fn is_damaged_part(key: &[u8]) -> bool {
    key.first() == Some(&b'p')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sessions_never_mix(a in "[a-zA-Z0-9_-]{1,64}", b in "[a-zA-Z0-9_-]{1,64}", index: u32) {
            prop_assume!(a != b);
            let (a, b): (SessionId, SessionId) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert!(!message(&a, index).starts_with(&messages_of(&b)));
            let parts = part(RecordTree::Messages, &message(&a, index), 3);
            prop_assert!(!parts.starts_with(&parts_of(RecordTree::Messages, &message(&b, index))));
            prop_assert_eq!(message_index(&message(&a, index)), Some(index));
        }

        #[test]
        fn time_orders_the_periods_of_a_grain(a: i64, b: i64, grain in 0usize..4) {
            let [a, b] = [a, b].map(|begin_s| Period { grain: Grain::ALL[grain], begin_s });
            prop_assert_eq!(period(a).cmp(&period(b)), a.cmp(&b));
            prop_assert_eq!(parse_period(&period(a)), Some(a));
        }

        #[test]
        fn time_orders_the_index(a: u64, b: u64, id in "[a-z]{1,64}") {
            let id: SessionId = id.parse().unwrap();
            prop_assert_eq!(by_updated(a, &id).cmp(&by_updated(b, &id)), a.cmp(&b));
            prop_assert_eq!(parse_by_updated(&by_updated(a, &id)), Some((a, id)));
        }
    }
}
