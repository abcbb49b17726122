use super::*;
use crate::MicroUsd;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn tally(values: &[u64]) -> Tally {
    let counts = values.iter().map(|value| (*value, 1));
    Tally {
        outcomes: BTreeMap::from([("stop".to_owned(), values.len() as u64)]),
        cost: MicroUsd(values.iter().sum()),
        total_us: Spread::new(counts, values.iter().sum()),
        ..Tally::default()
    }
}

#[test]
fn a_spread_has_the_quantiles_of_its_values() {
    let spread = Spread::new((1..=1000).rev().map(|value| (value, 1)), 500_500);
    assert_eq!(spread.count(), 1000);
    assert_eq!(
        [0.0, 0.5, 0.95, 0.99, 1.0].map(|part| spread.quantile(part)),
        [1, 500, 950, 990, 1000].map(Some)
    );
    assert_eq!((spread.mean(), spread.max(), spread.count_up_to(10)), (Some(500.5), Some(1000), 10));
    let nothing = Spread::new([(7, 0)], 0);
    assert_eq!(
        (nothing.quantile(0.5), nothing.mean(), nothing.max(), nothing.count()),
        (None, None, None, 0)
    );
    let extremes = Spread::new([(1, u64::MAX), (2, u64::MAX)], u64::MAX);
    assert_eq!((extremes.count(), extremes.quantile(1.0)), (u64::MAX, Some(1)));
}

#[test]
fn what_ages_becomes_coarser_and_goes_in_the_end() {
    let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    let minute_before = |days: i64| Period::of(Grain::Minute, now - SignedDuration::from_hours(24 * days));
    let becomes = |period: Period| thinning([period], now).merge.keys().next().map(|period| period.grain);
    assert_eq!(thinning([minute_before(1)], now), Thinning::default());
    assert_eq!(becomes(minute_before(3)), Some(Grain::TenMinutes));
    assert_eq!(becomes(minute_before(15)), Some(Grain::Hour));
    assert_eq!(becomes(minute_before(100)), Some(Grain::Day));
    assert_eq!(becomes(minute_before(500)), Some(Grain::Day), "a clock may be wrong");
    let days: Vec<Period> = (1..=403).map(|n| Period { grain: Grain::Day, begin_s: n * 86_400 }).collect();
    let Thinning { merge, drop } = thinning(days.iter().copied(), now);
    assert_eq!((merge.len(), drop.into_iter().collect::<Vec<_>>()), (0, days[..3].to_vec()));
    // What a clock that was wrong has left in the future stays until its time has come.
    assert_eq!(thinning([minute_before(-400)], now), Thinning::default());
    assert_eq!(Period::of(Grain::Day, "1969-12-31T23:59:59Z".parse().unwrap()).begin_s, -86_400);
}

/// Minutes with what was measured in them, thinned as the days go by.
fn kept(minutes: &BTreeMap<i64, Tally>, looks: &[Timestamp]) -> BTreeMap<Period, Tally> {
    let mut kept: BTreeMap<Period, Tally> = BTreeMap::new();
    for (minute, tally) in minutes {
        kept.insert(Period { grain: Grain::Minute, begin_s: minute * 60 }, tally.clone());
    }
    for now in looks {
        let Thinning { merge, drop } = thinning(kept.keys().copied(), *now);
        for (into, from) in merge {
            let parts: Vec<Tally> = from.iter().filter_map(|period| kept.remove(period)).collect();
            let sum = kept.entry(into).or_default();
            parts.iter().for_each(|part| sum.add(part));
        }
        drop.iter().for_each(|period| std::mem::drop(kept.remove(period)));
    }
    kept
}

proptest! {
    #[test]
    fn thinning_loses_nothing_that_is_young_enough(
        minutes in prop::collection::btree_map(0i64..500 * 1440, prop::collection::vec(1u64..1000, 1..4), 1..200),
        days in prop::collection::vec(0i64..520, 1..8),
    ) {
        let begin = Timestamp::from_second(1_767_225_600).unwrap();
        let minutes: BTreeMap<i64, Tally> =
            minutes.into_iter().map(|(minute, values)| (minute + begin.as_second() / 60, tally(&values))).collect();
        let mut looks: Vec<Timestamp> =
            days.into_iter().map(|days| begin + SignedDuration::from_hours(24 * days)).collect();
        looks.sort_unstable();
        let last = looks.last().unwrap().as_second();
        let kept = kept(&minutes, &looks);
        let sum = |tallies: &mut dyn Iterator<Item = &Tally>| {
            tallies.fold(Tally::default(), |mut sum, tally| {
                sum.add(tally);
                sum
            })
        };
        // There are fewer days than are kept.
        prop_assert_eq!(sum(&mut kept.values()), sum(&mut minutes.values()));
        for period in kept.keys() {
            let age = last - period.end_s();
            let coarsest_s = Grain::ALL.into_iter().map(Grain::seconds).find(|seconds| *seconds > period.grain.seconds());
            let waits_s = coarsest_s.unwrap_or_default();
            let is_young = period.grain == Grain::Day || age <= period.grain.kept_s() + waits_s;
            prop_assert!(is_young, "{period:?} is {age} s old");
        }
        // Once more changes nothing.
        prop_assert_eq!(thinning(kept.keys().copied(), *looks.last().unwrap()), Thinning::default());
    }

    #[test]
    fn it_makes_no_difference_in_what_order_periods_are_added(parts in prop::collection::vec(prop::collection::vec(0u64..50, 0..6), 0..6)) {
        let all: Vec<u64> = parts.concat();
        let mut forward = Tally::default();
        parts.iter().for_each(|part| forward.add(&tally(part)));
        let mut backward = Tally::default();
        parts.iter().rev().for_each(|part| backward.add(&tally(part)));
        prop_assert_eq!(&forward, &backward);
        prop_assert_eq!(&forward.total_us, &tally(&all).total_us);
        prop_assert_eq!(forward.requests(), all.len() as u64);
    }
}

#[test]
fn a_year_has_a_bound() {
    // 2,880 + 10 minutes, 1,728 + 6, 1,824 + 24 and 310 + 1.
    assert_eq!(Grain::most_periods(), 6783);
}

#[test]
fn an_objective_is_kept_or_not() {
    let objective = Objective::new(0.9, Some(std::time::Duration::from_micros(800))).unwrap();
    let mut measured = tally(&(1..=1000).collect::<Vec<_>>());
    measured.outcomes.extend([("abandoned".to_owned(), 7), ("deadline_exceeded".to_owned(), 24)]);
    let Compliance { good, all, ratio, budget_left } = objective.compliance(&measured);
    assert_eq!((good, all), (800, 1024));
    assert!((ratio.unwrap() - 0.781_25).abs() < 1e-12, "{ratio:?}");
    assert!((budget_left.unwrap() + 1.1875).abs() < 1e-9, "{budget_left:?}");
    let answered = Objective::new(0.9, None).unwrap().compliance(&measured);
    assert_eq!((answered.good, answered.all), (1000, 1024));
    assert!(answered.budget_left.is_some_and(|left| (left - 0.765_625).abs() < 1e-9), "{answered:?}");
    let nothing = objective.compliance(&Tally::default());
    assert_eq!((nothing.ratio, nothing.budget_left), (None, None));
    for share in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
        assert!(Objective::new(share, None).unwrap_err().to_string().starts_with("must be more than 0"));
    }
}
