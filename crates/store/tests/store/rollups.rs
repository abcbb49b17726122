//! What was measured outlives restarts, becomes coarser with age, and stays small.

use crate::open;
use crate::recovery::{flip_last_byte, with_database};
use boca_core::rollup::{Grain, Period, SeriesKey, Spread, Tally};
use boca_store::Measured;
use jiff::{SignedDuration, Timestamp};

fn measured(provider: &str, n: u64) -> Measured {
    let key = SeriesKey {
        provider: provider.into(),
        model: "GLM-4.5-Air".into(),
        route: "/api/chat".into(),
        mode: "local".into(),
    };
    let tally = Tally {
        outcomes: [("stop".to_owned(), n)].into(),
        total_us: Spread::new((0..n).map(|i| (1000 * i, 1)), n),
        ..Tally::default()
    };
    Measured::from([(key, tally)])
}

fn requests(periods: &[(Period, Measured)]) -> u64 {
    periods.iter().flat_map(|(_, measured)| measured.values()).map(Tally::requests).sum()
}

#[tokio::test]
async fn periods_add_up_over_restarts_and_are_thinned_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let minute = |n: i64| Period::of(Grain::Minute, begin + SignedDuration::from_mins(n));
    for n in 0..30 {
        store.add_measured(minute(n), measured("local", 2)).await.unwrap();
    }
    store.add_measured(minute(3), measured("local", 1)).await.unwrap();
    store.add_measured(minute(3), measured("gemini", 40)).await.unwrap();
    store.close().await.unwrap();

    let store = open(directory.path()).await;
    let all = |store: boca_store::Store| async move { store.measured(0, i64::MAX).await.unwrap() };
    assert_eq!(requests(&all(store.clone()).await), 101);
    let third = store.measured(minute(3).begin_s, minute(4).begin_s).await.unwrap();
    assert_eq!((third.len(), third[0].1.len(), requests(&third)), (1, 2, 43));
    for (days, grain, n_periods) in
        [(1, Grain::Minute, 30), (4, Grain::TenMinutes, 3), (20, Grain::Hour, 1), (200, Grain::Day, 1)]
    {
        let now = begin + SignedDuration::from_hours(24 * days);
        while store.thin_measured(now).await.unwrap() > 0 {}
        let kept = all(store.clone()).await;
        assert_eq!((kept.len(), requests(&kept)), (n_periods, 101), "after {days} days");
        assert!(kept.iter().all(|(period, _)| period.grain == grain));
    }
}

#[tokio::test]
async fn a_damaged_period_is_set_aside_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let period = Period { grain: Grain::Minute, begin_s: 60 };
    store.add_measured(period, measured("local", 5)).await.unwrap();
    store.close().await.unwrap();
    with_database(directory.path(), |db| {
        flip_last_byte(&db.open_tree("measured").unwrap(), b"\0\x80\0\0\0\0\0\0\x3c");
    });
    let store = open(directory.path()).await;
    store.add_measured(period, measured("local", 1)).await.unwrap();
    assert_eq!(requests(&store.measured(0, 100).await.unwrap()), 1);
    store.close().await.unwrap();
    let store = open(directory.path()).await;
    assert_eq!(store.status().await.unwrap().damaged_records, 1, "it is kept");
}

/// A year of a busy machine: every minute of a day has requests of two providers.
#[tokio::test]
async fn a_year_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    // What lies within two days is minutes, whatever the year: so many are the most.
    let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    for n in 0..300 {
        let period = Period::of(Grain::Minute, begin + SignedDuration::from_mins(n));
        let mut both = measured("local", 12);
        both.extend(measured("gemini", 12));
        store.add_measured(period, both).await.unwrap();
    }
    store.close().await.unwrap();
    let mut bytes = 0;
    with_database(directory.path(), |db| {
        for tree in ["measured", "parts"] {
            let tree = db.open_tree(tree).unwrap();
            bytes += tree
                .iter()
                .map(|entry| entry.map(|(key, value)| key.len() + value.len()).unwrap())
                .sum::<usize>();
        }
    });
    let of_a_year = bytes as f64 / 300.0 * Grain::most_periods() as f64;
    assert!(of_a_year < 64e6, "{of_a_year} bytes a year");
}
