//! What each write to the record of answers and of usage does, as changes computed from what is there. Runs on the
//! writer's thread alone.

use crate::StoreError;
use crate::answers::{self, AnswerRecord, Verdict};
use crate::changes::{Changes, read_record};
use crate::codec;
use crate::keys::{self, RecordTree};
use crate::reads;
use crate::trees::{TreeName, Trees};
use crate::writes::Planned;
use boca_core::{LocalDay, ProviderUsage, RequestId};

/// Adds an answer to the record; the oldest beyond `most` go.
pub(crate) fn add_answer(trees: &Trees, answer: &AnswerRecord, most: u64) -> Planned<()> {
    let mut changes = Changes::default();
    let last = trees.answers.last().map_err(StoreError::database("read"))?;
    let number = last.and_then(|(key, _)| keys::number(&key)).map_or(0, |last| last.saturating_add(1));
    let record = codec::encode_answer(answer)?;
    changes.put_record(trees, RecordTree::Answers, &keys::of_number(number), &record)?;
    let request_key = answer.request_id.as_str().as_bytes().to_vec();
    changes.put(TreeName::AnswersByRequest, request_key, number.to_be_bytes().to_vec());
    let first_kept = (number + 1).saturating_sub(most);
    for entry in trees.answers.range(..keys::of_number(first_kept)) {
        let (key, head) = entry.map_err(StoreError::database("read"))?;
        let old = read_record(trees, RecordTree::Answers, &key, &head)?;
        if let Ok(old) = old.and_then(|record| codec::decode_answer(&record)) {
            let request_key = old.request_id.as_str().as_bytes();
            let points_here = trees.get(TreeName::AnswersByRequest, request_key)?.is_some_and(|at| at == key);
            if points_here && old.request_id != answer.request_id {
                changes.remove(TreeName::AnswersByRequest, request_key);
            }
        }
        changes.remove_record(trees, RecordTree::Answers, &key)?;
    }
    Ok((changes, ()))
}

/// Notes what a person thinks of an answer. Yields the answer as it was; `None`: there is no such answer.
pub(crate) fn judge(trees: &Trees, id: &RequestId, verdict: Verdict) -> Planned<Option<AnswerRecord>> {
    let mut changes = Changes::default();
    let Some(key) = trees.get(TreeName::AnswersByRequest, id.as_str().as_bytes())? else {
        return Ok((changes, None));
    };
    // A damaged one is set aside by the next one who reads the whole record.
    let Some(Ok(answer)) = reads::record(trees, RecordTree::Answers, &key, codec::decode_answer)? else {
        return Ok((changes, None));
    };
    let judged = AnswerRecord { verdict: Some(verdict), ..answer.clone() };
    changes.put_record(trees, RecordTree::Answers, &key, &codec::encode_answer(&judged)?)?;
    Ok((changes, Some(answer)))
}

/// Adds to what a provider used on a day. Days that are too old to be kept go.
pub(crate) fn add_usage(
    trees: &Trees,
    provider: &str,
    day: LocalDay,
    more: &ProviderUsage,
) -> Planned<ProviderUsage> {
    let mut changes = Changes::default();
    let key = keys::day_usage(answers::day_number(day), provider);
    let mut sum = ProviderUsage::default();
    match reads::record(trees, RecordTree::DayUsage, &key, codec::decode_day_usage)? {
        None => {}
        Some(Ok(before)) => sum = before,
        Some(Err(_)) => changes.set_aside(trees, RecordTree::DayUsage, &key)?,
    }
    sum.add(more);
    changes.put_record(trees, RecordTree::DayUsage, &key, &codec::encode_day_usage(&sum)?)?;
    for entry in trees.day_usage.range(..answers::oldest_kept(day).to_be_bytes().to_vec()).keys() {
        let old = entry.map_err(StoreError::database("read"))?;
        changes.remove_record(trees, RecordTree::DayUsage, &old)?;
    }
    Ok((changes, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees() -> Trees {
        Trees::open(&sled::Config::new().temporary(true).open().unwrap()).unwrap()
    }

    fn answer(id: &str) -> AnswerRecord {
        AnswerRecord {
            request_id: id.parse().unwrap(),
            created_unix_ms: 1,
            mode: "local".into(),
            strategy: None,
            chosen: None,
            sources: Vec::new(),
            verdict: None,
        }
    }

    fn add(trees: &Trees, id: &str, most: u64) {
        add_answer(trees, &answer(id), most).unwrap().0.apply(trees).unwrap();
    }

    #[test]
    fn the_record_keeps_the_newest_and_forgets_their_ids_with_the_others() {
        let trees = trees();
        for id in ["a", "b", "c", "b", "d"] {
            add(&trees, id, 3);
        }
        let kept: Vec<String> = trees
            .answers
            .iter()
            .keys()
            .map(|key| {
                let read = reads::record(&trees, RecordTree::Answers, &key.unwrap(), codec::decode_answer);
                read.unwrap().unwrap().unwrap().request_id.to_string()
            })
            .collect();
        assert_eq!(kept, ["c", "b", "d"]);
        let ids: Vec<_> = trees.answers_by_request.iter().keys().map(|key| key.unwrap().to_vec()).collect();
        assert_eq!(ids, [b"b", b"c", b"d"], "an id that is used again points to its newest answer");
        assert!(judge(&trees, &"a".parse().unwrap(), Verdict::Good).unwrap().1.is_none());
        let (changes, previous) = judge(&trees, &"b".parse().unwrap(), Verdict::Good).unwrap();
        assert_eq!(previous, Some(answer("b")));
        changes.apply(&trees).unwrap();
        let before = judge(&trees, &"b".parse().unwrap(), Verdict::Bad).unwrap().1.unwrap();
        assert_eq!(before.verdict, Some(Verdict::Good));
    }

    #[test]
    fn usage_adds_up_by_day_and_old_days_go() {
        let trees = trees();
        let one = ProviderUsage { requests: 1, cost: boca_core::MicroUsd(5), ..ProviderUsage::default() };
        let day = |year, month, day| LocalDay { year, month, day };
        let add = |provider, day| {
            let (changes, sum) = add_usage(&trees, provider, day, &one).unwrap();
            changes.apply(&trees).unwrap();
            sum.requests
        };
        assert_eq!(add("a", day(2024, 1, 31)), 1);
        assert_eq!(add("a", day(2025, 1, 31)), 1);
        assert_eq!(add("a", day(2025, 1, 31)), 2);
        assert_eq!(add("b", day(2025, 1, 31)), 1);
        assert_eq!(trees.day_usage.len(), 3, "a year is kept");
        assert_eq!(add("a", day(2025, 6, 1)), 1);
        assert_eq!(trees.day_usage.len(), 3, "more is not");
    }

    #[test]
    fn damaged_usage_is_set_aside_and_counting_goes_on() {
        let trees = trees();
        let day = LocalDay { year: 2026, month: 1, day: 2 };
        let key = keys::day_usage(answers::day_number(day), "a");
        trees.day_usage.insert(key.as_slice(), b"nonsense".as_slice()).unwrap();
        let one = ProviderUsage { requests: 1, ..ProviderUsage::default() };
        let (changes, sum) = add_usage(&trees, "a", day, &one).unwrap();
        changes.apply(&trees).unwrap();
        assert_eq!(sum.requests, 1);
        assert_eq!(trees.damaged.len(), 1);
        let read = reads::record(&trees, RecordTree::DayUsage, &key, codec::decode_day_usage);
        assert_eq!(read.unwrap(), Some(Ok(one)));
    }
}
