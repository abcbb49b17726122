use super::*;
use crate::MicroUsd;
use crate::alert::AlertChange;
use crate::rollup::{SeriesKey, Spread, Tally};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn key(provider: &str) -> SeriesKey {
    let (model, route, mode) = ("GLM-4.5-Air".into(), "/api/chat".into(), "collaborative".into());
    SeriesKey { provider: provider.into(), model, route, mode }
}

fn tally(outcomes: &[(&str, u64)], seconds: &[f64], cost: u64) -> Tally {
    let micros: Vec<u64> = seconds.iter().map(|seconds| (seconds * 1e6) as u64).collect();
    let spread = Spread::new(micros.iter().map(|micros| (*micros, 1)), micros.iter().sum());
    Tally {
        outcomes: outcomes.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        prompt_tokens: 20_000,
        cached_tokens: 5000,
        completion_tokens: 4321,
        cost: MicroUsd(cost),
        selected: 2,
        total_us: spread.clone(),
        first_token_us: spread,
        ..Tally::default()
    }
}

fn facts() -> SummaryFacts {
    let now = BTreeMap::from([
        (
            key("local"),
            tally(&[("stop", 1200), ("deadline_exceeded", 2), ("abandoned", 1)], &[3.0, 4.0, 8.26], 0),
        ),
        (key("gemini-2"), tally(&[("stop", 40), ("provider_failed", 5)], &[0.5, 1.25], 425_100)),
    ]);
    let before = BTreeMap::from([(key("local"), tally(&[("stop", 1100)], &[3.0, 4.0], 500_000))]);
    SummaryFacts {
        from: "2026-11-22 08:00".into(),
        until: "2026-11-23 08:00".into(),
        window_s: 86_400,
        now: WindowFacts::of(&now),
        before: Some(WindowFacts::of(&before)),
        alerts: vec![AlertLine {
            name: "slow-7b".into(),
            change: AlertChange::Firing,
            at: "2026-11-22 14:05".into(),
        }],
        topics: vec!["the tax return of 2025".into(), "bread".into()],
    }
}

#[test]
fn the_text_of_a_day() {
    let facts = facts();
    assert_eq!(
        facts.text(SummaryStyle::Prose, SummaryLength::Full),
        "In the 24 hours from 2026-11-22 08:00 to 2026-11-23 08:00 there were 1,248 requests, 13 % more than in the time \
         before: 1,240 were answered; 1 was ended by who had asked. Answers took 3.0 s (p50) and 8.3 s (p95, 106 % more \
         than in the time before); the first token came within 8.3 s (p95). 7 requests failed (before: 0): 5 with \
         provider_failed and 2 with deadline_exceeded. 40,000 tokens were read (10,000 of them known from before) and \
         8,642 tokens written, for $0.43, 15 % less than in the time before. Answers given, of those asked for: gemini-2 2 \
         of 45 and local 2 of 1,203. Alerts: slow-7b fired at 2026-11-22 14:05. Conversations were about the tax return of \
         2025 and bread."
    );
    let short = facts.text(SummaryStyle::List, SummaryLength::Short);
    assert_eq!(short.lines().count(), 3, "{short}");
    assert!(short.lines().all(|line| line.starts_with("- ")), "{short}");
    assert_eq!(
        facts.figures().unknown_numbers(&facts.text(SummaryStyle::Prose, SummaryLength::Full)),
        vec![]
    );
    assert_eq!(facts.figures().unknown_numbers(&facts.table()), vec![]);
    // And a number that somebody made up is found among them.
    for made_up in ["9", "8", "13", "1,250", "seventeen", "six"] {
        let found =
            facts.figures().unknown_numbers(&format!("1,248 requests, of which {made_up} had no luck."));
        assert_eq!(found.into_iter().map(|unknown| unknown.written).collect::<Vec<_>>(), [made_up]);
    }
}

#[test]
fn a_day_on_which_nothing_happened() {
    let facts =
        SummaryFacts { from: "a".into(), until: "b".into(), window_s: 3 * 86_400, ..SummaryFacts::default() };
    assert_eq!(
        facts.text(SummaryStyle::Prose, SummaryLength::Full),
        "In the 3 days from a to b nobody asked anything. No alert fired or was over."
    );
}

fn windows() -> impl Strategy<Value = WindowFacts> {
    let outcome = prop::sample::select(vec!["stop", "length", "abandoned", "internal", "deadline_exceeded"]);
    let parts = (
        prop::collection::vec((outcome, 0u64..2_000_000), 0..5),
        prop::collection::vec(0.0..2000.0f64, 0..9),
        0u64..90_000_000,
        (0u64..3_000_000_000, 0u64..1_000_000, 0u64..20_000_000, 0u64..5000),
    );
    let tallies = parts.prop_map(
        |(outcomes, seconds, cost, (prompt_tokens, cached_tokens, completion_tokens, selected))| Tally {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            selected,
            ..tally(&outcomes, &seconds, cost)
        },
    );
    let provider = prop::sample::select(vec!["local", "gemini", "gpt-5", "ollama-2"]);
    prop::collection::btree_map(provider.prop_map(key), tallies, 0..4)
        .prop_map(|series| WindowFacts::of(&series))
}

proptest! {
    #[test]
    fn every_number_of_the_text_is_a_figure(
        now in windows(), before in prop::option::of(windows()), window_s in 1u64..2_000_000, n_alerts in 0usize..3,
    ) {
        let alert = |n: usize| AlertLine {
            name: format!("alert-{n}"),
            change: if n.is_multiple_of(2) { AlertChange::Firing } else { AlertChange::Resolved },
            at: format!("2026-11-23 0{n}:15"),
        };
        let facts = SummaryFacts {
            from: "2026-11-22 08:00".into(),
            until: "2026-11-23 08:00".into(),
            window_s,
            now,
            before,
            alerts: (0..n_alerts).map(alert).collect(),
            topics: Vec::new(),
        };
        let figures = facts.figures();
        for style in [SummaryStyle::Prose, SummaryStyle::List] {
            for length in [SummaryLength::Short, SummaryLength::Full] {
                let text = facts.text(style, length);
                prop_assert_eq!(figures.unknown_numbers(&text), vec![], "{}", text);
            }
        }
        let table = facts.table();
        prop_assert_eq!(figures.unknown_numbers(&table), vec![], "{}", table);
    }
}
