use super::*;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> Timetable {
    Timetable::cron(expression, TimeZone::get(zone).unwrap(), at("2026-01-01T00:00:00Z")).unwrap()
}

fn slots(timetable: &Timetable, after: &str, until: &str) -> Vec<String> {
    timetable.between(at(after), at(until)).map(|slot| slot.to_string()).collect()
}

#[test]
fn clocks_that_go_forward_and_back_lose_no_day_and_repeat_none() {
    let cases: &[(&str, &str, &str, &str, &[&str])] = &[
        // 02:30 does not exist on the 28th.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-03-27T00:00:00Z",
            "2027-03-29T12:00:00Z",
            &["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"],
        ),
        // 02:30 comes twice on the 31st.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2027-10-30T12:00:00Z",
            "2027-11-01T12:00:00Z",
            &["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"],
        ),
        // A list repeats.
        (
            "30 2,14 * * *",
            "Europe/Berlin",
            "2027-03-27T20:00:00Z",
            "2027-03-28T20:00:00Z",
            &["2027-03-28T12:30:00Z"],
        ),
        (
            "30 2,14 * * *",
            "Europe/Berlin",
            "2027-10-30T20:00:00Z",
            "2027-10-31T20:00:00Z",
            &["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z", "2027-10-31T13:30:00Z"],
        ),
        // What repeats goes on at its pace.
        (
            "0 * * * *",
            "Europe/Berlin",
            "2027-10-30T23:00:00Z",
            "2027-10-31T03:00:00Z",
            &["2027-10-31T00:00:00Z", "2027-10-31T01:00:00Z", "2027-10-31T02:00:00Z", "2027-10-31T03:00:00Z"],
        ),
        (
            "0 * * * *",
            "Europe/Berlin",
            "2027-03-28T00:00:00Z",
            "2027-03-28T03:00:00Z",
            &["2027-03-28T01:00:00Z", "2027-03-28T02:00:00Z", "2027-03-28T03:00:00Z"],
        ),
        // A day without midnight.
        (
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T00:00:00Z",
            "2026-09-07T12:00:00Z",
            &["2026-09-05T04:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"],
        ),
        // A clock that goes back by half an hour.
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2027-04-03T00:00:00Z",
            "2027-04-05T00:00:00Z",
            &["2027-04-03T14:45:00Z", "2027-04-04T15:15:00Z"],
        ),
        // The 30th of December 2011 was left out.
        (
            "0 12 30 12 *",
            "Pacific/Apia",
            "2010-01-01T00:00:00Z",
            "2013-01-01T00:00:00Z",
            &["2010-12-30T22:00:00Z", "2012-12-29T22:00:00Z"],
        ),
        (
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            "2012-01-01T00:00:00Z",
            &["2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"],
        ),
        // Leap days.
        (
            "0 8 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            "2033-01-01T00:00:00Z",
            &["2028-02-29T08:00:00Z", "2032-02-29T08:00:00Z"],
        ),
        (
            "0 0 L * *",
            "UTC",
            "2028-01-31T00:00:00Z",
            "2028-03-31T00:00:00Z",
            &["2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"],
        ),
        ("0 9 * * MON", "UTC", "2026-11-23T09:00:00Z", "2026-12-01T00:00:00Z", &["2026-11-30T09:00:00Z"]),
    ];
    for (expression, zone, after, until, expected) in cases {
        assert_eq!(slots(&cron(expression, zone), after, until), *expected, "{expression} in {zone}");
    }
}

#[test]
fn an_interval_has_the_same_slots_after_every_restart() {
    let timetable = Timetable::every(Duration::from_secs(6 * 3600)).unwrap();
    let expected = ["2026-11-23T06:00:00Z", "2026-11-23T12:00:00Z"];
    assert_eq!(slots(&timetable, "2026-11-23T00:00:00Z", "2026-11-23T12:00:00Z"), expected);
    assert_eq!(slots(&timetable, "2026-11-23T05:59:59Z", "2026-11-23T12:00:00Z"), expected);
    assert_eq!(timetable.next_after(Timestamp::MAX), None);
    for seconds in [0.0, 9.0, 10.5, 1e9] {
        let interval = Duration::from_secs_f64(seconds);
        assert_eq!(Timetable::every(interval).unwrap_err(), BadTimetable::Interval(interval));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refusal = |expression: &str| {
        Timetable::cron(expression, TimeZone::UTC, at("2026-01-01T00:00:00Z")).unwrap_err().to_string()
    };
    for expression in ["", "soon", "* * * *", "0 0 0 1 1 * 2030", "61 * * * *", "0 25 * * *", "0 0 * * XYZ"] {
        assert!(refusal(expression).contains("cron expression of five fields"), "{}", refusal(expression));
    }
    assert!(refusal("0 0 31 2 *").contains("never does"));
    for expression in ["* * * * * *", "*/5 * * * * *", "0,58 * * * * *", "0,30,55 0-56/2,59 * * * *"] {
        assert!(refusal(expression).contains("more often than every 10 s"), "{expression}");
    }
    let quarter_minutes =
        Timetable::cron("*/15 * * * * *", TimeZone::UTC, at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(quarter_minutes.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:00Z")).count(), 4);
}

#[test]
fn slots_that_were_missed_follow_the_policy() {
    let hourly = Timetable::every(Duration::from_secs(3600)).unwrap();
    // Slots at 1, 2, 3, 4 and 5 o'clock.
    let (after, late) = (at("2026-11-23T00:30:00Z"), at("2026-11-23T05:30:00Z"));
    let in_time = at("2026-11-23T05:00:20Z");
    let hours = |due: &Due| -> Vec<i64> {
        due.run.iter().map(|slot| slot.duration_since(at("2026-11-23T00:00:00Z")).as_hours()).collect()
    };
    let cases: &[(MissedPolicy, Timestamp, &[i64], u64)] = &[
        (MissedPolicy::Skip, late, &[], 5),
        (MissedPolicy::Skip, in_time, &[5], 4),
        (MissedPolicy::Once, late, &[5], 4),
        (MissedPolicy::Once, in_time, &[5], 4),
        (MissedPolicy::Each { most: 3 }, late, &[3, 4, 5], 2),
        (MissedPolicy::Each { most: 3 }, in_time, &[2, 3, 4, 5], 1),
        (MissedPolicy::Each { most: 100 }, late, &[1, 2, 3, 4, 5], 0),
        (MissedPolicy::Each { most: 0 }, late, &[], 5),
    ];
    for (policy, now, run, n_passed) in cases {
        let due = due(&hourly, after, *now, MINUTE, *policy, |_| false);
        assert_eq!(hours(&due), *run, "{policy:?} at {now}");
        assert_eq!(due.passed.map_or(0, |passed| passed.n), *n_passed, "{policy:?} at {now}");
        assert_eq!((due.until, due.passed.is_some_and(|passed| passed.is_more)), (*now, false));
    }
    let nothing = due(&hourly, after, at("2026-11-23T00:59:59Z"), MINUTE, MissedPolicy::Once, |_| false);
    assert_eq!((nothing.run.len(), nothing.passed), (0, None));
}

#[test]
fn years_of_sleep_are_let_go_in_one_piece() {
    let busy = Timetable::every(Duration::from_secs(10)).unwrap();
    let (after, now) = (at("2020-01-01T00:00:05Z"), at("2026-11-23T00:00:05Z"));
    let due = due(&busy, after, now, MINUTE, MissedPolicy::Each { most: 2 }, |_| false);
    let passed = due.passed.unwrap();
    assert_eq!((passed.first, passed.is_more), (at("2020-01-01T00:00:10Z"), true));
    assert_eq!(due.run.len(), 2 + 6, "two that are late and those of the last minute");
    assert_eq!(passed.last, due.run[0] - SignedDuration::from_secs(10));
}

/// A job and what was recorded of its slots.
struct Job {
    timetable: Timetable,
    policy: MissedPolicy,
    mark: Timestamp,
    run: BTreeSet<Timestamp>,
    passed: Vec<Passed>,
}

impl Job {
    fn look(&mut self, now: Timestamp) -> Result<(), TestCaseError> {
        let due = due(&self.timetable, self.mark, now, MINUTE, self.policy, |slot| self.run.contains(&slot));
        // Whatever the clock did before, what comes in time is run.
        let in_time = self.timetable.between(self.mark.max(now - SignedDuration::from_secs(60)), now);
        for slot in in_time {
            prop_assert!(self.run.contains(&slot) || due.run.contains(&slot), "{slot} is let go at {now}");
        }
        for slot in due.run {
            prop_assert!(slot <= now, "{slot} is run at {now}");
            prop_assert!(self.run.insert(slot), "{slot} runs twice");
        }
        self.passed.extend(due.passed);
        self.mark = due.until;
        Ok(())
    }
}

fn timetables() -> impl Strategy<Value = Timetable> {
    let zones = prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]);
    let expressions = prop::sample::select(vec![
        "30 2 * * *",
        "*/30 * * * *",
        "0 0 * * *",
        "15 1-3 * * *",
        "0 9 * * MON-FRI",
        "0 3 L * *",
        "30 */7 * * *",
        "*/20 0,30 1,2 * * *",
    ]);
    prop_oneof![
        (expressions, zones).prop_map(|(expression, zone)| cron(expression, zone)),
        (60u64..200_000).prop_map(|seconds| Timetable::every(Duration::from_secs(seconds)).unwrap()),
    ]
}

fn policies() -> impl Strategy<Value = MissedPolicy> {
    prop_oneof![
        Just(MissedPolicy::Skip),
        Just(MissedPolicy::Once),
        (0u32..6).prop_map(|most| MissedPolicy::Each { most }),
    ]
}

/// How the clock goes on between two looks: as it should, over a sleep, or by a step in either direction.
fn moves() -> impl Strategy<Value = Vec<i64>> {
    let one = prop_oneof![
        8 => 1i64..90,
        4 => 90i64..7200,
        2 => 7200i64..40 * 86_400,
        2 => -7200i64..0,
        1 => -20 * 86_400i64..-7200,
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_slot_runs_twice_and_none_is_lost_without_a_record(
        timetable in timetables(), policy in policies(), moves in moves(),
        // The year has all kinds of changes of clocks.
        begin in 1_767_225_600i64..1_798_761_600,
    ) {
        let begin = Timestamp::from_second(begin).unwrap();
        let (run, passed) = (BTreeSet::new(), Vec::new());
        let mut job = Job { timetable, policy, mark: begin, run, passed };
        let (mut now, mut latest) = (begin, begin);
        for seconds in moves {
            now += SignedDuration::from_secs(seconds);
            latest = latest.max(now);
            job.look(now)?;
        }
        for slot in job.timetable.between(begin, latest) {
            let passed = job.passed.iter().filter(|passed| (passed.first..=passed.last).contains(&slot)).count();
            prop_assert!(job.run.contains(&slot) || passed > 0, "nobody knows of {slot}");
        }
    }

    #[test]
    fn slots_follow_one_another_whatever_the_clock_does(timetable in timetables(), begin in 0i64..4_000_000_000) {
        let begin = Timestamp::from_second(begin).unwrap();
        let slots: Vec<Timestamp> = std::iter::successors(Some(begin), |at| timetable.next_after(*at)).take(50).collect();
        prop_assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "{slots:?}");
        // From wherever one looks, the next is the same.
        for pair in slots.windows(2) {
            let between = pair[0] + pair[1].duration_since(pair[0]) / 2;
            prop_assert_eq!(timetable.next_after(between), Some(pair[1]));
        }
    }
}
