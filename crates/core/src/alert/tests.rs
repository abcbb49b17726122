use super::*;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A latency that is bad above 30 s, for five minutes, and good again at 20 s, for two.
fn slow() -> AlertRule {
    AlertRule::new(Bound::Above(30.0), Some(20.0), 5 * MINUTE, 2 * MINUTE).unwrap()
}

/// What is said, and when, of figures that are looked at once a minute.
fn said(rule: &AlertRule, figures: &[Option<f64>]) -> Vec<(usize, AlertChange)> {
    let mut state = AlertState::default();
    let mut said = Vec::new();
    for (minute, figure) in figures.iter().enumerate() {
        let change;
        (state, change) = state.after(rule, *figure, at(60 * minute as i64));
        said.extend(change.map(|change| (minute, change)));
    }
    said
}

#[test]
fn an_alert_fires_once_and_is_over_once() {
    use AlertChange::{Firing, Resolved};
    let figures =
        |text: &str| -> Vec<Option<f64>> { text.split(' ').map(|word| word.parse().ok()).collect() };
    let cases: &[(&str, &[(usize, AlertChange)])] = &[
        ("10 29 30 10 10 10 10 10", &[]),
        ("31 31 31 31 31 31 31 31", &[(5, Firing)]),
        // A break begins it anew.
        ("31 31 31 31 31 30 31 31 31 31 31 31", &[(11, Firing)]),
        // Between the two bounds nothing changes.
        ("31 31 31 31 31 31 25 25 25 25 25 25 25", &[(5, Firing)]),
        ("31 31 31 31 31 31 20 20 20", &[(5, Firing), (8, Resolved)]),
        ("31 31 31 31 31 31 20 25 20 20 20 31", &[(5, Firing), (10, Resolved)]),
        // Nothing to measure is nothing bad.
        ("31 31 31 NaN 31 31 31 31 31 31 NaN NaN NaN 31", &[(9, Firing), (12, Resolved)]),
        ("31 31 31 - 31 31 31 31 31 31 - - - 31", &[(9, Firing), (12, Resolved)]),
        ("31 31 31 31 31 31 20 20 20 31 31 31 31 31 31", &[(5, Firing), (8, Resolved), (14, Firing)]),
    ];
    for (text, expected) in cases {
        assert_eq!(said(&slow(), &figures(text)), *expected, "{text}");
    }
    let at_once = AlertRule::new(Bound::Below(0.5), None, Duration::ZERO, Duration::ZERO).unwrap();
    assert_eq!(said(&at_once, &figures("0.5 0.4 0.4 0.5 0.4")), [(1, Firing), (3, Resolved), (4, Firing)]);
}

#[test]
fn bounds_that_contradict_each_other_are_refused() {
    let rule = |bound, clears| AlertRule::new(bound, clears, MINUTE, MINUTE).unwrap_err().to_string();
    assert_eq!(rule(Bound::Above(30.0), Some(31.0)), "must be at most 30, where the alert fires, got 31");
    assert_eq!(rule(Bound::Below(0.9), Some(0.8)), "must be at least 0.9, where the alert fires, got 0.8");
    assert_eq!(rule(Bound::Above(f64::NAN), None), "must be a finite number, got NaN");
    assert_eq!(rule(Bound::Above(1.0), Some(f64::NEG_INFINITY)), "must be a finite number, got -inf");
}

#[test]
fn a_restart_neither_forgets_nor_repeats() {
    let (firing, change) = AlertState::Pending { since: at(0) }.after(&slow(), Some(40.0), at(300));
    assert_eq!(change, Some(AlertChange::Firing));
    let stored = serde_json::to_string(&firing).unwrap();
    let restored: AlertState = serde_json::from_str(&stored).unwrap();
    assert_eq!(restored, firing, "{stored}");
    assert_eq!(restored.after(&slow(), Some(40.0), at(9000)), (firing, None));
}

#[test]
fn a_clock_that_is_set_back_begins_the_time_anew() {
    let pending = AlertState::Pending { since: at(1000) };
    let (pending, change) = pending.after(&slow(), Some(40.0), at(-5000));
    assert_eq!((pending, change), (AlertState::Pending { since: at(-5000) }, None));
    assert_eq!(pending.after(&slow(), Some(40.0), at(-4700)).1, Some(AlertChange::Firing));
}

proptest! {
    #[test]
    fn what_is_said_is_paired_and_true(
        steps in prop::collection::vec((-600i64..900, prop::option::weighted(0.9, 0.0..60.0f64)), 1..200),
    ) {
        let rule = slow();
        let mut state = AlertState::default();
        let mut now = at(0);
        let mut said = Vec::new();
        // Since when the figure has been what it is, by the clock of this test.
        let (mut bad_since, mut good_since) = (None, None);
        for (seconds, figure) in steps {
            now += SignedDuration::from_secs(seconds);
            let since = |is_so: bool, since: Option<Timestamp>| is_so.then(|| since.map_or(now, |since| since.min(now)));
            bad_since = since(figure.is_some_and(|figure| figure > 30.0), bad_since);
            good_since = since(figure.is_none_or(|figure| figure <= 20.0), good_since);
            let was_firing = state.is_firing();
            let change;
            (state, change) = state.after(&rule, figure, now);
            let lasted = |since: Option<Timestamp>, seconds| {
                since.is_some_and(|since| now.duration_since(since) >= SignedDuration::from_secs(seconds))
            };
            match change {
                Some(AlertChange::Firing) => prop_assert!(!was_firing && lasted(bad_since, 300)),
                Some(AlertChange::Resolved) => prop_assert!(was_firing && lasted(good_since, 120)),
                // It says so as soon as it may.
                None if was_firing => prop_assert!(!lasted(good_since, 120)),
                None => prop_assert!(!lasted(bad_since, 300)),
            }
            prop_assert_eq!(state.is_firing(), was_firing != change.is_some());
            said.extend(change);
        }
        for (n, change) in said.iter().enumerate() {
            prop_assert_eq!(*change, if n % 2 == 0 { AlertChange::Firing } else { AlertChange::Resolved });
        }
    }
}
