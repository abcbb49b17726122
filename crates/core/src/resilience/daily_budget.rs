//! How much money a provider may cost a day.

use crate::{LocalDay, MicroUsd};
use std::time::Duration;

/// What was spent on one day, and the limit after which the provider rests until the next one.
///
/// Requests are paid when they end, so those that are in flight when the limit is reached are still answered: the
/// limit can be passed by as much as they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyBudget {
    limit: Option<MicroUsd>,
    day: LocalDay,
    spent: MicroUsd,
}

impl DailyBudget {
    /// Nothing spent yet; `None` is no limit.
    pub fn new(limit: Option<MicroUsd>, today: LocalDay) -> Self {
        Self { limit, day: today, spent: MicroUsd(0) }
    }

    /// The limit.
    pub fn limit(&self) -> Option<MicroUsd> {
        self.limit
    }

    /// What was spent on `today`.
    pub fn spent(&self, today: LocalDay) -> MicroUsd {
        if self.day == today { self.spent } else { MicroUsd(0) }
    }

    /// Counts money spent on `today`, or found in the books of that day.
    pub fn spend(&mut self, cost: MicroUsd, today: LocalDay) {
        self.spent = self.spent(today).saturating_add(cost);
        self.day = today;
    }

    /// How long the provider rests, when the limit of `today` is reached and midnight is `until_midnight` away.
    pub fn rests_for(&self, today: LocalDay, until_midnight: Duration) -> Option<Duration> {
        let limit = self.limit?;
        (self.spent(today) >= limit).then_some(until_midnight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(day: u8) -> LocalDay {
        LocalDay { year: 2026, month: 11, day }
    }

    #[test]
    fn rests_from_the_limit_until_midnight() {
        let night = Duration::from_secs(3600);
        let mut budget = DailyBudget::new(Some(MicroUsd(100)), day(1));
        budget.spend(MicroUsd(99), day(1));
        assert_eq!(budget.rests_for(day(1), night), None);
        budget.spend(MicroUsd(1), day(1));
        assert_eq!(budget.rests_for(day(1), night), Some(night));
        assert_eq!(budget.rests_for(day(2), night), None);
        budget.spend(MicroUsd(30), day(2));
        assert_eq!((budget.spent(day(1)), budget.spent(day(2))), (MicroUsd(0), MicroUsd(30)));
    }

    proptest! {
        #[test]
        fn each_day_is_counted_by_itself(spending in prop::collection::vec((1u8..5, 0u64..50), 0..40), limit in 0u64..100) {
            let mut spending = spending;
            spending.sort_by_key(|(on, _)| *on);
            let mut budget = DailyBudget::new(Some(MicroUsd(limit)), day(1));
            for (place, (on, cost)) in spending.iter().enumerate() {
                budget.spend(MicroUsd(*cost), day(*on));
                let sum = spending[..=place].iter().filter(|(other, _)| other == on).map(|(_, cost)| cost).sum();
                prop_assert_eq!(budget.spent(day(*on)), MicroUsd(sum));
                prop_assert_eq!(budget.rests_for(day(*on), Duration::ZERO).is_some(), sum >= limit);
            }
        }
    }
}
