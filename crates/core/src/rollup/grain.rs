//! How fine what was measured is kept, by its age.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// One minute: what comes in.
    Minute,
    /// Ten minutes: what is older than two days.
    TenMinutes,
    /// One hour: what is older than two weeks.
    Hour,
    /// One day (in UTC): what is older than a quarter of a year. The newest 400 of them are kept.
    Day,
}

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// One period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// How long.
    pub grain: Grain,
    /// From when on, in seconds since 1970; a multiple of the grain's length.
    pub begin_s: i64,
}

/// What is to be done to periods that have aged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thinning {
    /// Periods, and those that become each: what they hold is added up.
    pub merge: BTreeMap<Period, BTreeSet<Period>>,
    /// Periods that go.
    pub drop: BTreeSet<Period>,
}

impl Grain {
    /// All of them, the finest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    /// How long, in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::TenMinutes => 600,
            Self::Hour => HOUR_S,
            Self::Day => DAY_S,
        }
    }

    /// Up to which age it is kept, in seconds; of days, how many are kept.
    pub fn kept_s(self) -> i64 {
        match self {
            Self::Minute => 2 * DAY_S,
            Self::TenMinutes => 14 * DAY_S,
            Self::Hour => 90 * DAY_S,
            Self::Day => 400 * DAY_S,
        }
    }

    /// What it becomes then; `None` is nothing.
    fn coarser(self) -> Option<Self> {
        match self {
            Self::Minute => Some(Self::TenMinutes),
            Self::TenMinutes => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// The most periods that are kept when nothing is ever missing.
    pub fn most_periods() -> i64 {
        let mut finer_s = 0;
        let periods = Self::ALL.map(|grain| {
            let kept = (grain.kept_s() - finer_s) / grain.seconds();
            finer_s = grain.kept_s();
            // One coarser period waits until all of it is old enough.
            kept + grain.coarser().map_or(1, |coarser| coarser.seconds() / grain.seconds())
        });
        periods.into_iter().sum()
    }
}

impl Period {
    /// The one that holds this time.
    pub fn of(grain: Grain, at: Timestamp) -> Self {
        let seconds = grain.seconds();
        Self { grain, begin_s: at.as_second().div_euclid(seconds) * seconds }
    }

    /// Where it ends, in seconds since 1970.
    pub fn end_s(self) -> i64 {
        self.begin_s + self.grain.seconds()
    }

    /// The coarser one that it is a part of.
    fn coarser(self) -> Option<Self> {
        let grain = self.grain.coarser()?;
        Some(Self { grain, begin_s: self.begin_s.div_euclid(grain.seconds()) * grain.seconds() })
    }
}

/// The most days that are kept.
const MOST_DAYS: usize = 400;

/// What is to be done at `now` to these periods. A period is merged when all of the coarser one is too old to be kept as it
/// is. What goes is counted and not timed, so that a clock that was set forward for a moment costs detail, and nothing else.
pub fn thinning(periods: impl IntoIterator<Item = Period>, now: Timestamp) -> Thinning {
    let now_s = now.as_second();
    let mut thinning = Thinning::default();
    let mut days = BTreeSet::new();
    for period in periods {
        match period.coarser() {
            Some(coarser) if coarser.end_s() < now_s - period.grain.kept_s() => {
                // As coarse as its age asks for, at once: after a long sleep there are no steps between.
                let mut into = coarser;
                while let Some(next) =
                    into.coarser().filter(|next| next.end_s() < now_s - into.grain.kept_s())
                {
                    into = next;
                }
                thinning.merge.entry(into).or_default().insert(period);
            }
            None => drop(days.insert(period)),
            Some(_) => {}
        }
    }
    days.extend(thinning.merge.keys().filter(|period| period.grain == Grain::Day));
    let n_too_many = days.len().saturating_sub(MOST_DAYS);
    for day in days.iter().take(n_too_many) {
        thinning.drop.insert(*day);
        thinning.drop.extend(thinning.merge.remove(day).unwrap_or_default());
    }
    thinning
}
