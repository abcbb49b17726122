//! The text that code writes.

use super::facts::SummaryFacts;
use super::show::{count, counted, dollars, list, percent, seconds, span};
use crate::alert::AlertChange;
use serde::{Deserialize, Serialize};

/// How a summary is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryStyle {
    /// Sentences.
    #[default]
    Prose,
    /// One line for each thing.
    List,
}

/// How much a summary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SummaryLength {
    /// Volume, time, failures.
    Short,
    /// Everything.
    #[default]
    Full,
}

impl SummaryFacts {
    /// What happened, in words, with no model's help. Every number is one of [`SummaryFacts::figures`].
    pub fn text(&self, style: SummaryStyle, length: SummaryLength) -> String {
        let mut sentences = vec![self.volume()];
        sentences.extend(self.times());
        sentences.extend(self.failures());
        if length == SummaryLength::Full {
            sentences.extend(self.tokens_and_cost());
            sentences.extend(self.providers());
            sentences.push(self.alerts());
            sentences.extend(self.topics());
        }
        match style {
            SummaryStyle::Prose => sentences.join(" "),
            SummaryStyle::List => {
                sentences.iter().map(|sentence| format!("- {sentence}")).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// ", 12 % more than before"
    fn change_of(&self, name: &str, more: &str, less: &str) -> String {
        let change = self.changes().into_iter().find(|(of, _)| *of == name);
        change.map_or_else(String::new, |(_, change)| {
            let word = if change > 0.0 { more } else { less };
            format!(", {} {word} than in the time before", percent(change))
        })
    }

    fn volume(&self) -> String {
        let Self { from, until, now, .. } = self;
        let window = format!("In the {} from {from} to {until}", span(self.window_s));
        if now.requests == 0 {
            return format!("{window} nobody asked anything.");
        }
        let change = self.change_of("requests", "more", "fewer");
        let cancelled = match now.cancelled {
            0 => String::new(),
            n => format!("; {} by who had asked", counted_was(n, "was ended", "were ended")),
        };
        format!(
            "{window} there were {}{change}: {} answered{cancelled}.",
            counted(now.requests, "request"),
            counted_was(now.answered, "was", "were"),
        )
    }

    fn times(&self) -> Option<String> {
        let (p50, p95) = (self.now.total_p50_s?, self.now.total_p95_s?);
        let change = self.change_of("p95 of the time to an answer", "more", "less");
        let first = self.now.first_token_p95_s;
        let first = first.map_or_else(String::new, |time| {
            format!("; the first token came within {} (p95)", seconds(time))
        });
        Some(format!("Answers took {} (p50) and {} (p95{change}){first}.", seconds(p50), seconds(p95)))
    }

    fn failures(&self) -> Option<String> {
        let failed = self.now.failed();
        let before = self.before.as_ref().map(super::WindowFacts::failed).filter(|before| *before != failed);
        let before = before.map_or_else(String::new, |before| format!(" (before: {})", count(before)));
        if failed == 0 {
            return (self.now.requests > 0).then(|| format!("None failed{before}."));
        }
        let mut causes: Vec<(&String, &u64)> = self.now.failures.iter().collect();
        causes.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let causes: Vec<String> =
            causes.into_iter().map(|(cause, n)| format!("{} with {cause}", count(*n))).collect();
        Some(format!("{} failed{before}: {}.", counted(failed, "request"), list(&causes)))
    }

    fn tokens_and_cost(&self) -> Option<String> {
        let now = &self.now;
        let cached = match now.cached_tokens {
            0 => String::new(),
            n => format!(" ({} of them known from before)", count(n)),
        };
        let cost = match now.cost_usd {
            cost if cost > 0.0 => {
                format!(", for {}{}", dollars(cost), self.change_of("cost", "more", "less"))
            }
            _ => String::new(),
        };
        (now.prompt_tokens > 0 || now.completion_tokens > 0 || now.cost_usd > 0.0).then(|| {
            let written = counted(now.completion_tokens, "token");
            format!("{} were read{cached} and {written} written{cost}.", counted(now.prompt_tokens, "token"))
        })
    }

    fn providers(&self) -> Option<String> {
        let mut providers: Vec<_> = self.now.providers.iter().collect();
        providers.sort_by_key(|(_, part)| std::cmp::Reverse(part.selected));
        let won: Vec<String> = providers
            .into_iter()
            .filter(|(_, part)| part.asked > 0)
            .map(|(name, part)| format!("{name} {} of {}", count(part.selected), count(part.asked)))
            .collect();
        (!won.is_empty()).then(|| format!("Answers given, of those asked for: {}.", list(&won)))
    }

    fn alerts(&self) -> String {
        if self.alerts.is_empty() {
            return "No alert fired or was over.".into();
        }
        let told = self.alerts.iter().map(|alert| {
            let what = match alert.change {
                AlertChange::Firing => "fired",
                AlertChange::Resolved => "was over",
            };
            format!("{} {what} at {}", alert.name, alert.at)
        });
        format!("Alerts: {}.", list(&told.collect::<Vec<_>>()))
    }

    fn topics(&self) -> Option<String> {
        (!self.topics.is_empty()).then(|| format!("Conversations were about {}.", list(&self.topics)))
    }
}

/// "1 was", "2 were"
fn counted_was(n: u64, one: &str, several: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { several })
}
