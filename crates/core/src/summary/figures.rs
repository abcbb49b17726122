//! The figures that a text about a window may name.

use super::facts::{SummaryFacts, WindowFacts};
use super::show;
use crate::figures::{Figure, Figures, Quantity};
use std::fmt::Write;

/// A change by less is none: so few requests say nothing.
const LEAST_CHANGE: f64 = 0.005;

impl SummaryFacts {
    /// All figures, and the names with digits that are none.
    pub fn figures(&self) -> Figures {
        let mut figures = vec![figure("length of the window", Quantity::Seconds, self.window_s as f64)];
        figures.extend(of_window(&self.now, ""));
        if let Some(before) = &self.before {
            figures.extend(of_window(before, "before: "));
        }
        for (name, change) in self.changes() {
            figures.push(figure(&format!("change of {name}"), Quantity::Ratio, change));
        }
        figures.push(figure("changes of alerts", Quantity::Count, self.alerts.len() as f64));
        figures.push(figure("topics", Quantity::Count, self.topics.len() as f64));
        let providers = [Some(&self.now), self.before.as_ref()].into_iter().flatten();
        let names = providers.flat_map(|facts| facts.providers.keys().cloned());
        let alerts = self.alerts.iter().map(|alert| alert.name.clone());
        let times = self.alerts.iter().map(|alert| &alert.at).chain([&self.from, &self.until]);
        // A text may say the day or the time alone.
        let times = times.flat_map(|time| time.split_whitespace().chain([time.as_str()])).map(str::to_owned);
        let mut names: Vec<String> =
            names.chain(alerts).chain(self.topics.iter().cloned()).chain(times).collect();
        names.sort_unstable();
        names.dedup();
        Figures { figures, names }
    }

    /// How much more there was than before, of what can be compared: 0.1 is a tenth more.
    pub(super) fn changes(&self) -> Vec<(&'static str, f64)> {
        let Some(before) = &self.before else { return Vec::new() };
        let now = &self.now;
        let pairs = [
            ("requests", Some(now.requests as f64), Some(before.requests as f64)),
            ("p95 of the time to an answer", now.total_p95_s, before.total_p95_s),
            ("cost", Some(now.cost_usd), Some(before.cost_usd)),
        ];
        let change = |(name, now, before): (&'static str, Option<f64>, Option<f64>)| {
            let (now, before) = (now?, before.filter(|before| *before > 0.0)?);
            Some((name, now / before - 1.0)).filter(|(_, change)| change.abs() >= LEAST_CHANGE)
        };
        pairs.into_iter().filter_map(change).collect()
    }

    /// The figures as a table, for people and for a model that is to write about them.
    pub fn table(&self) -> String {
        let mut table = String::from("| figure | value |\n| --- | --- |\n");
        for Figure { name, quantity, value } in self.figures().figures {
            let shown = match quantity {
                Quantity::Count => show::count(value as u64),
                Quantity::Seconds if value.fract() == 0.0 => show::span(value as u64),
                Quantity::Seconds => show::seconds(value),
                Quantity::Ratio if value < 0.0 => format!("-{}", show::percent(value)),
                Quantity::Ratio => format!("+{}", show::percent(value)),
                Quantity::Usd => show::dollars(value),
                Quantity::Bytes | Quantity::PerSecond => value.to_string(),
            };
            // Writing to a `String` cannot fail.
            writeln!(table, "| {name} | {shown} |").unwrap_or_default();
        }
        table
    }
}

fn figure(name: &str, quantity: Quantity, value: f64) -> Figure {
    Figure { name: name.to_owned(), quantity, value }
}

fn of_window(facts: &WindowFacts, prefix: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add =
        |name: &str, quantity, value| figures.push(figure(&format!("{prefix}{name}"), quantity, value));
    for (name, n) in [
        ("requests", facts.requests),
        ("answered", facts.answered),
        ("ended by who had asked", facts.cancelled),
        ("failed", facts.failed()),
        ("tokens read", facts.prompt_tokens),
        ("of them known from before", facts.cached_tokens),
        ("tokens written", facts.completion_tokens),
    ] {
        add(name, Quantity::Count, n as f64);
    }
    for (cause, n) in &facts.failures {
        add(&format!("failed: {cause}"), Quantity::Count, *n as f64);
    }
    for (name, time) in [
        ("p50 of the time to an answer", facts.total_p50_s),
        ("p95 of the time to an answer", facts.total_p95_s),
        ("p95 of the time to the first token", facts.first_token_p95_s),
    ] {
        if let Some(time) = time {
            add(name, Quantity::Seconds, time);
        }
    }
    add("cost", Quantity::Usd, facts.cost_usd);
    for (provider, part) in &facts.providers {
        add(&format!("{provider}: asked"), Quantity::Count, part.asked as f64);
        add(&format!("{provider}: answers given"), Quantity::Count, part.selected as f64);
        if let Some(time) = part.total_p95_s {
            add(&format!("{provider}: p95 of the time to an answer"), Quantity::Seconds, time);
        }
        if part.cost_usd > 0.0 {
            add(&format!("{provider}: cost"), Quantity::Usd, part.cost_usd);
        }
    }
    figures
}
