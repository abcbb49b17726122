//! How short memory is: the rule that turns measurements into one of three levels, without flapping between them.
//!
//! Pure: the clock and the measurements are arguments.

use boca_engine::memory::{MemoryFacts, Pressure};
use std::time::Duration;

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryLevel {
    /// Not at all.
    #[default]
    Normal,
    /// Others should answer; what can be given up is.
    Soft,
    /// The weights have to go.
    Hard,
}

impl MemoryLevel {
    /// The name in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

/// How long something has to last before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPatience {
    /// For so long memory has to be that short before the weights go: loading them again takes longer than a peak.
    pub hard_after: Duration,
    /// For so long it has to be better before a level is left, one level at a time.
    pub better_after: Duration,
}

impl Default for MemoryPatience {
    fn default() -> Self {
        Self { hard_after: Duration::from_secs(5), better_after: Duration::from_secs(15) }
    }
}

/// A level is left at one and a half times the free memory at which it is entered.
const LEAVE_PERCENT: u64 = 150;

/// Follows the level.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MemoryWatch {
    patience: MemoryPatience,
    level: MemoryLevel,
    /// Since when it has looked worse than the level.
    worse_since: Option<Duration>,
    /// Since when it has looked better than the level.
    better_since: Option<Duration>,
}

impl MemoryWatch {
    pub(crate) fn new(patience: MemoryPatience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The level after one more measurement; `now` counts from any fixed origin and never goes back.
    pub(crate) fn observe(&mut self, now: Duration, facts: &MemoryFacts) -> MemoryLevel {
        let entered = level_of(facts, 100);
        // What would not even be left is not better.
        let left = level_of(facts, LEAVE_PERCENT);
        if entered > self.level {
            self.better_since = None;
            let since = *self.worse_since.get_or_insert(now);
            if entered == MemoryLevel::Hard && now.saturating_sub(since) >= self.patience.hard_after {
                self.level = MemoryLevel::Hard;
                self.worse_since = None;
            } else if self.level == MemoryLevel::Normal {
                self.level = MemoryLevel::Soft;
                if entered == MemoryLevel::Soft {
                    self.worse_since = None;
                }
            }
        } else if left < self.level {
            self.worse_since = None;
            let since = *self.better_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.patience.better_after {
                self.level = one_below(self.level);
                self.better_since = Some(now);
            }
        } else {
            self.worse_since = None;
            self.better_since = None;
        }
        self.level
    }
}

fn one_below(level: MemoryLevel) -> MemoryLevel {
    match level {
        MemoryLevel::Hard => MemoryLevel::Soft,
        MemoryLevel::Soft | MemoryLevel::Normal => MemoryLevel::Normal,
    }
}

/// The level that one measurement speaks for, with limits of so many percent.
fn level_of(facts: &MemoryFacts, percent: u64) -> MemoryLevel {
    let groups = facts.cgroups.iter().map(|group| (group.limit_bytes, group.free_bytes()));
    let places = facts.total_bytes.zip(facts.available_bytes).into_iter().chain(groups);
    let by_room = places.map(|(total, free)| level_of_place(total, free, &facts.pressure, percent));
    by_room.chain([level_of_kernel(&facts.pressure)]).max().unwrap_or_default()
}

/// Of the machine or of one group.
///
/// Waiting for memory alone says nothing here: weights that are read from disk again and again, as they are on a
/// machine that is too small for them, make the whole system wait. It counts where little is free as well.
fn level_of_place(total: u64, free: u64, pressure: &Pressure, percent: u64) -> MemoryLevel {
    const MIB: u64 = 1 << 20;
    let soft = (total / 20).clamp(256 * MIB, 2048 * MIB).min(total / 4);
    let hard = (total / 50).clamp(128 * MIB, 768 * MIB).min(total / 10);
    let scaled = |bytes: u64| bytes.saturating_mul(percent) / 100;
    let waits = |percent: Option<f64>, most: f64| percent.is_some_and(|percent| percent > most);
    if free < scaled(hard) || (free < scaled(soft) && waits(pressure.full_percent, 20.0)) {
        MemoryLevel::Hard
    } else if free < scaled(soft) || (free < scaled(soft * 2) && waits(pressure.some_percent, 20.0)) {
        MemoryLevel::Soft
    } else {
        MemoryLevel::Normal
    }
}

/// Source: `kern.memorystatus_vm_pressure_level` is 1 (normal), 2 (warning) or 4 (critical).
fn level_of_kernel(pressure: &Pressure) -> MemoryLevel {
    match pressure.kernel_level {
        Some(4..) => MemoryLevel::Hard,
        Some(2..) => MemoryLevel::Soft,
        Some(_) | None => MemoryLevel::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_engine::memory::CgroupMemory;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn free(bytes: u64) -> MemoryFacts {
        MemoryFacts { total_bytes: Some(20 * GIB), available_bytes: Some(bytes), ..MemoryFacts::default() }
    }

    fn after(watch: &mut MemoryWatch, second: u64, facts: &MemoryFacts) -> MemoryLevel {
        watch.observe(Duration::from_secs(second), facts)
    }

    #[test]
    fn a_short_peak_is_soft_and_a_lasting_one_hard_and_each_step_back_takes_its_time() {
        use MemoryLevel::{Hard, Normal, Soft};
        let mut watch = MemoryWatch::default();
        assert_eq!(after(&mut watch, 0, &free(10 * GIB)), Normal);
        assert_eq!(after(&mut watch, 1, &free(0)), Soft);
        assert_eq!(after(&mut watch, 3, &free(GIB * 9 / 10)), Soft);
        // The peak has to begin anew.
        assert_eq!(after(&mut watch, 6, &free(0)), Soft);
        assert_eq!(after(&mut watch, 10, &free(0)), Soft);
        assert_eq!(after(&mut watch, 11, &free(0)), Hard);
        assert_eq!(after(&mut watch, 20, &free(10 * GIB)), Hard);
        assert_eq!(after(&mut watch, 34, &free(10 * GIB)), Hard);
        assert_eq!(after(&mut watch, 35, &free(10 * GIB)), Soft);
        // Between the limits nothing changes, and the time begins anew.
        assert_eq!(after(&mut watch, 40, &free(GIB * 5 / 4)), Soft);
        assert_eq!(after(&mut watch, 60, &free(10 * GIB)), Soft);
        assert_eq!(after(&mut watch, 75, &free(10 * GIB)), Normal);
    }

    #[test]
    fn waiting_for_memory_counts_only_where_little_is_free() {
        let full = Pressure { some_percent: Some(90.0), full_percent: Some(90.0), kernel_level: None };
        let of = |bytes, pressure| level_of(&MemoryFacts { pressure, ..free(bytes) }, 100);
        assert_eq!(of(10 * GIB, full), MemoryLevel::Normal, "weights stream from disk");
        assert_eq!(of(3 * GIB / 2, full), MemoryLevel::Soft);
        assert_eq!(of(3 * GIB / 2, Pressure::default()), MemoryLevel::Normal);
        assert_eq!(of(GIB / 2, full), MemoryLevel::Hard);
        assert_eq!(of(GIB / 2, Pressure::default()), MemoryLevel::Soft);
        let mac = |level| Pressure { kernel_level: Some(level), ..Pressure::default() };
        assert_eq!(of(10 * GIB, mac(1)), MemoryLevel::Normal);
        assert_eq!(of(10 * GIB, mac(2)), MemoryLevel::Soft);
        assert_eq!(of(10 * GIB, mac(4)), MemoryLevel::Hard);
    }

    #[test]
    fn a_narrow_group_counts_on_a_wide_machine() {
        let mut facts = free(19 * GIB);
        facts.cgroups =
            vec![CgroupMemory { path: "g".into(), limit_bytes: 2 * GIB, used_bytes: 2 * GIB - (200 << 20) }];
        assert_eq!(level_of(&facts, 100), MemoryLevel::Soft);
        facts.cgroups[0].used_bytes = 2 * GIB;
        assert_eq!(level_of(&facts, 100), MemoryLevel::Hard);
        assert_eq!(level_of(&MemoryFacts::default(), 100), MemoryLevel::Normal, "nobody knows anything");
    }

    proptest! {
        #[test]
        fn no_level_is_skipped_on_the_way_back_nor_left_in_a_hurry(
            readings in prop::collection::vec((0u64..4 * GIB, 1u64..20), 1..80),
        ) {
            let (mut watch, mut now, mut level, mut since) = (MemoryWatch::default(), 0, MemoryLevel::Normal, 0);
            for (bytes, seconds) in readings {
                now += seconds;
                let next = after(&mut watch, now, &free(bytes));
                if next < level {
                    prop_assert_eq!(next, one_below(level));
                    prop_assert!(now - since >= MemoryPatience::default().better_after.as_secs(), "left after {} s", now - since);
                }
                if next != level {
                    since = now;
                }
                level = next;
                if bytes > 3 * GIB / 2 {
                    prop_assert!(watch.worse_since.is_none());
                }
            }
            // Enough of good time ends every shortage, enough of bad time is hard.
            for second in 1..=60 {
                after(&mut watch, now + second, &free(10 * GIB));
            }
            prop_assert_eq!(watch.level, MemoryLevel::Normal);
            for second in 61..=80 {
                after(&mut watch, now + second, &free(0));
            }
            prop_assert_eq!(watch.level, MemoryLevel::Hard);
        }
    }
}
