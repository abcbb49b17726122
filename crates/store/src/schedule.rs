//! Slots of scheduled jobs, and the summaries that were written in them. A slot is claimed before its job runs, and its
//! summary is stored together with the end of the claim: so there is at most one summary for a slot, and a word for each.

use crate::changes::Changes;
use crate::keys::{self, RecordTree};
use crate::reads::{self, Found};
use crate::store::Store;
use crate::trees::{TreeName, Trees};
use crate::writes::Planned;
use crate::{StoreError, codec};
use std::ops::Bound;

/// The most bytes of a job's name.
const MAX_JOB_BYTES: usize = 64;

/// What became of a slot, or of several in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRecord {
    /// When it was to run, in milliseconds since 1970; of several the last.
    pub at_unix_ms: u64,
    /// What became of it.
    pub state: SlotState,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// Somebody runs it, or did when the process ended.
    Claimed {
        /// Who: one name for each run of the daemon.
        owner: String,
        /// How often it was begun.
        attempt: u32,
        /// Since when.
        since_unix_ms: u64,
    },
    /// Its summary is stored, under this number.
    Stored {
        /// The number.
        summary: u64,
    },
    /// It was given up.
    Failed {
        /// Why.
        reason: String,
    },
    /// These were not run, because they were missed.
    Passed {
        /// The first of them.
        first_unix_ms: u64,
        /// How many they are.
        n: u64,
        /// Whether there are more than `n`.
        is_more: bool,
    },
}

/// Slots in a row that are not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassedSlots {
    /// The first of them, in milliseconds since 1970.
    pub first_unix_ms: u64,
    /// The last of them.
    pub last_unix_ms: u64,
    /// How many they are.
    pub n: u64,
    /// Whether there are more than `n`.
    pub is_more: bool,
}

/// What came of claiming a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's, who begins it for the so-manieth time.
    Granted {
        /// From 1.
        attempt: u32,
    },
    /// It was begun as often as allowed, and is given up.
    Spent,
    /// The caller has it already, or it has come to its end.
    Taken,
}

/// A summary that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its number, from 0.
    pub number: u64,
    /// When it was stored, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// What it says.
    pub new: NewSummary,
}

/// A summary that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSummary {
    /// The job that wrote it.
    pub job: String,
    /// The slot that it was written in; `None` is out of turn.
    pub slot_unix_ms: Option<u64>,
    /// What it is about, from when, in milliseconds since 1970.
    pub from_unix_ms: u64,
    /// Until when.
    pub until_unix_ms: u64,
    /// Its figures, as its writer keeps them.
    pub table: String,
    /// What it says.
    pub text: String,
    /// Who wrote the text; `None` is no model.
    pub written_by: Option<String>,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
}

impl Store {
    /// Claims a slot for `owner`, so that nobody else runs it. What an earlier run of the daemon has left is taken over, until it
    /// was begun `most_attempts` times.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a job's name of more than 64 bytes; or a failure of the store.
    pub async fn claim_slot(
        &self,
        job: &str,
        at_unix_ms: u64,
        owner: &str,
        most_attempts: u32,
        now_unix_ms: u64,
    ) -> Result<Claim, StoreError> {
        check_job(job)?;
        let (job, owner) = (job.to_owned(), owner.to_owned());
        self.write(move |trees| claim(trees, &job, at_unix_ms, owner, most_attempts, now_unix_ms)).await
    }

    /// Stores a summary and yields its number. One that was written in a slot ends the claim of `owner`, in the same
    /// transaction; without that claim nothing is stored, which is `None`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a job's name of more than 64 bytes; or a failure of the store.
    pub async fn store_summary(
        &self,
        new: NewSummary,
        owner: &str,
        now_unix_ms: u64,
    ) -> Result<Option<u64>, StoreError> {
        check_job(&new.job)?;
        let owner = owner.to_owned();
        self.write(move |trees| store_summary(trees, new, &owner, now_unix_ms)).await
    }

    /// Gives up a slot that `owner` has claimed. Whether it had.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn fail_slot(
        &self,
        job: &str,
        at_unix_ms: u64,
        owner: &str,
        reason: String,
    ) -> Result<bool, StoreError> {
        let (job, owner) = (job.to_owned(), owner.to_owned());
        self.write(move |trees| {
            let mut changes = Changes::default();
            let is_own = is_claimed_by(trees, &job, at_unix_ms, &owner)?;
            if is_own {
                let record = SlotRecord { at_unix_ms, state: SlotState::Failed { reason } };
                put_slot(&mut changes, trees, &job, &record)?;
            }
            Ok((changes, is_own))
        })
        .await
    }

    /// Notes the slots that are let go, if any, and until when slots were looked at. Each of them can be claimed all the same: a
    /// clock that was wrong may bring its time again.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a job's name of more than 64 bytes; or a failure of the store.
    pub async fn mark_slots(
        &self,
        job: &str,
        passed: Option<PassedSlots>,
        until_unix_ms: u64,
    ) -> Result<(), StoreError> {
        check_job(job)?;
        let job = job.to_owned();
        self.write(move |trees| {
            let mut changes = Changes::default();
            if let Some(PassedSlots { first_unix_ms, last_unix_ms, n, is_more }) = passed {
                let key = keys::passed_slots(&job, last_unix_ms);
                let record = codec::encode_slot(&SlotState::Passed { first_unix_ms, n, is_more })?;
                changes.put_record(trees, RecordTree::Slots, &key, &record)?;
            }
            changes.put(TreeName::SlotMarks, job.into_bytes(), until_unix_ms.to_be_bytes().to_vec());
            Ok((changes, ()))
        })
        .await
    }

    /// Until when a job's slots were looked at; `None` is never.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn slot_mark(&self, job: &str) -> Result<Option<u64>, StoreError> {
        let job = job.to_owned();
        let found = self.read(move |opened| {
            let mark = opened.trees.get(TreeName::SlotMarks, job.as_bytes())?;
            let value = mark.and_then(|mark| <[u8; 8]>::try_from(&*mark).ok()).map(u64::from_be_bytes);
            Ok(Found { value, damaged: Vec::new() })
        });
        Ok(found.await?.value)
    }

    /// What became of a job's slots, in order. Damaged records are set aside and missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn slots(&self, job: &str) -> Result<Vec<SlotRecord>, StoreError> {
        let job = job.to_owned();
        let found = self.read(move |opened| all_slots(&opened.trees, &job)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// One summary; `None` when there is none of this number, or it is damaged.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn summary(&self, number: u64) -> Result<Option<Summary>, StoreError> {
        let found = self.read(move |opened| {
            let key = keys::of_number(number);
            let read = reads::record(&opened.trees, RecordTree::Summaries, &key, codec::decode_summary)?;
            Ok(Found { value: read.and_then(Result::ok), damaged: Vec::new() })
        });
        Ok(found.await?.value)
    }

    /// The newest summaries, at most `limit`, the newest first; of those with smaller numbers than `before`, if one is named.
    /// Damaged ones are missing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn summaries(&self, limit: usize, before: Option<u64>) -> Result<Vec<Summary>, StoreError> {
        let found = self.read(move |opened| newest_summaries(&opened.trees, limit, before)).await?;
        self.set_aside(found.damaged).await?;
        Ok(found.value)
    }

    /// Forgets the summaries of a job that were stored before this time. What became of its slots stays known, so that none of
    /// them runs again. Yields how many there were.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn forget_summaries(&self, job: &str, before_unix_ms: u64) -> Result<usize, StoreError> {
        let job = job.to_owned();
        self.write(move |trees| {
            let mut changes = Changes::default();
            let old = |summary: &Summary| summary.new.job == job && summary.created_unix_ms < before_unix_ms;
            let old: Vec<Summary> = all_summaries(trees)?.value.into_iter().filter(old).collect();
            for summary in &old {
                changes.remove_record(trees, RecordTree::Summaries, &keys::of_number(summary.number))?;
            }
            Ok((changes, old.len()))
        })
        .await
    }
}

fn check_job(job: &str) -> Result<(), StoreError> {
    match job.len() {
        0..=MAX_JOB_BYTES => Ok(()),
        bytes => Err(StoreError::TooLarge { field: "job", bytes, max_bytes: MAX_JOB_BYTES }),
    }
}

/// What is known of a slot. A damaged record says nothing but that somebody has had it.
fn slot(trees: &Trees, job: &str, at_unix_ms: u64) -> Result<Option<Option<SlotState>>, StoreError> {
    let key = keys::slot(job, at_unix_ms);
    let read = reads::record(trees, RecordTree::Slots, &key, codec::decode_slot)?;
    Ok(read.map(Result::ok))
}

fn is_claimed_by(trees: &Trees, job: &str, at_unix_ms: u64, claimer: &str) -> Result<bool, StoreError> {
    let state = slot(trees, job, at_unix_ms)?.flatten();
    Ok(matches!(state, Some(SlotState::Claimed { owner, .. }) if owner == claimer))
}

fn put_slot(changes: &mut Changes, trees: &Trees, job: &str, record: &SlotRecord) -> Result<(), StoreError> {
    let key = keys::slot(job, record.at_unix_ms);
    changes.put_record(trees, RecordTree::Slots, &key, &codec::encode_slot(&record.state)?)
}

fn claim(
    trees: &Trees,
    job: &str,
    at_unix_ms: u64,
    owner: String,
    most_attempts: u32,
    now_unix_ms: u64,
) -> Planned<Claim> {
    let mut changes = Changes::default();
    let attempt = match slot(trees, job, at_unix_ms)? {
        None => 1,
        Some(Some(SlotState::Claimed { owner: other, attempt, .. })) if other != owner => attempt + 1,
        Some(_) => return Ok((changes, Claim::Taken)),
    };
    let (state, claim) = if attempt > most_attempts {
        let reason = format!("the daemon ended {} times while it ran", attempt - 1);
        (SlotState::Failed { reason }, Claim::Spent)
    } else {
        (SlotState::Claimed { owner, attempt, since_unix_ms: now_unix_ms }, Claim::Granted { attempt })
    };
    put_slot(&mut changes, trees, job, &SlotRecord { at_unix_ms, state })?;
    Ok((changes, claim))
}

fn store_summary(trees: &Trees, new: NewSummary, owner: &str, now_unix_ms: u64) -> Planned<Option<u64>> {
    let mut changes = Changes::default();
    let last = trees.summaries.last().map_err(StoreError::database("read"))?;
    let number = last.and_then(|(key, _)| keys::number(&key)).map_or(0, |last| last.saturating_add(1));
    if let Some(at_unix_ms) = new.slot_unix_ms {
        if !is_claimed_by(trees, &new.job, at_unix_ms, owner)? {
            return Ok((changes, None));
        }
        let record = SlotRecord { at_unix_ms, state: SlotState::Stored { summary: number } };
        put_slot(&mut changes, trees, &new.job, &record)?;
    }
    let summary = Summary { number, created_unix_ms: now_unix_ms, new };
    let record = codec::encode_summary(&summary)?;
    changes.put_record(trees, RecordTree::Summaries, &keys::of_number(number), &record)?;
    Ok((changes, Some(number)))
}

fn all_slots(trees: &Trees, job: &str) -> Result<Found<Vec<SlotRecord>>, StoreError> {
    let mut value = Vec::new();
    let prefix = keys::slots_of(job);
    let damaged = reads::each_record(trees, RecordTree::Slots, &prefix, codec::decode_slot, |key, state| {
        value.extend(keys::time_of_slot(job, key).map(|at_unix_ms| SlotRecord { at_unix_ms, state }));
    })?;
    Ok(Found { value, damaged })
}

fn all_summaries(trees: &Trees) -> Result<Found<Vec<Summary>>, StoreError> {
    let mut value = Vec::new();
    let damaged =
        reads::each_record(trees, RecordTree::Summaries, &[], codec::decode_summary, |_, summary| {
            value.push(summary);
        })?;
    Ok(Found { value, damaged })
}

fn newest_summaries(
    trees: &Trees,
    limit: usize,
    before: Option<u64>,
) -> Result<Found<Vec<Summary>>, StoreError> {
    let end = before.map_or(Bound::Unbounded, |before| Bound::Excluded(keys::of_number(before)));
    let newest = trees.summaries.range::<Vec<u8>, _>((Bound::Unbounded, end)).keys().rev();
    let mut found = Found { value: Vec::new(), damaged: Vec::new() };
    for key in newest {
        if found.value.len() == limit {
            break;
        }
        let key = key.map_err(StoreError::database("read"))?;
        match reads::record(trees, RecordTree::Summaries, &key, codec::decode_summary)? {
            Some(Ok(summary)) => found.value.push(summary),
            Some(Err(damage)) => found.damaged.push(reads::DamagedRecord {
                tree: RecordTree::Summaries,
                key: key.to_vec(),
                damage,
            }),
            None => {}
        }
    }
    Ok(found)
}
