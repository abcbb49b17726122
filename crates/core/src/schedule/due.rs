//! Which slots are run now, and which are let go.

use super::Timetable;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What lies further back is let go in one piece, whatever the policy: nobody wants it any more, and looking at each slot
/// of a machine that was off for years would take too long.
const HORIZON: SignedDuration = SignedDuration::from_hours(31 * 24);

/// What is done about slots that came while nobody could run them: the machine was asleep, the daemon down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MissedPolicy {
    /// They are let go.
    Skip,
    /// The job is run once for all of them.
    #[default]
    Once,
    /// Each of them is run, oldest first, but no more than so many.
    Each {
        /// The latest are run when there are more.
        most: u32,
    },
}

/// Slots in a row that are not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The first of them.
    pub first: Timestamp,
    /// No later one is among them.
    pub last: Timestamp,
    /// How many they are, or at least are: what is very long ago is not counted.
    pub n: u64,
    /// Whether there are more than `n`.
    pub is_more: bool,
}

/// What is to be done at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Slots to run, oldest first.
    pub run: Vec<Timestamp>,
    /// Slots to let go.
    pub passed: Option<Passed>,
    /// From where the next look begins.
    pub until: Timestamp,
}

/// What is to be done at `now` about the slots since the last look, which was at `after`.
///
/// A slot that is older than `patience` was missed. `has_run` says whether a slot was run before: a clock that was set back
/// brings times again that have been. What was merely let go may run when its time comes again: a clock that was wrong for a
/// moment would otherwise silence a job for as long as it was wrong by. Everything in `run` and `passed` is to be recorded before `until` is kept,
/// so that a crash between the two loses nothing.
pub fn due(
    timetable: &Timetable,
    after: Timestamp,
    now: Timestamp,
    patience: Duration,
    policy: MissedPolicy,
    has_run: impl Fn(Timestamp) -> bool,
) -> Due {
    let begin = now.checked_sub(HORIZON).map_or(after, |horizon| after.max(horizon));
    let mut run: Vec<Timestamp> = timetable.between(begin, now).filter(|slot| !has_run(*slot)).collect();
    let is_missed = |slot: &Timestamp| now.duration_since(*slot).unsigned_abs() > patience;
    let n_missed = run.partition_point(is_missed);
    let n_run_late = match policy {
        MissedPolicy::Skip => 0,
        // One that is in time stands for those before it.
        MissedPolicy::Once => usize::from(n_missed == run.len()).min(n_missed),
        MissedPolicy::Each { most } => n_missed.min(most as usize),
    };
    let let_go: Vec<Timestamp> = run.drain(..n_missed - n_run_late).collect();
    let long_ago = timetable.between(after, begin).find(|slot| !has_run(*slot));
    let first = long_ago.or(let_go.first().copied());
    let last = let_go.last().copied().or(long_ago.map(|_| begin));
    let passed = first.zip(last).map(|(first, last)| Passed {
        first,
        last,
        n: let_go.len() as u64 + u64::from(long_ago.is_some()),
        is_more: long_ago.is_some(),
    });
    Due { run, passed, until: now }
}
