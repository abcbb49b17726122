//! What was measured of one kind of request in one period.

use super::Spread;
use crate::MicroUsd;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of request. There are few: all of it comes from the configuration and from this program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Who was asked.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// What the request came by.
    pub route: String,
    /// The mode that held in the end.
    pub mode: String,
}

/// How requests end with an answer.
const ANSWERED: [&str; 5] = ["stop", "length", "tool_calls", "repetition", "content_filter"];
/// How they end because whoever asked does not want the answer any more.
const CANCELLED: [&str; 2] = ["cancelled", "abandoned"];

/// What was measured. Everything here is a sum, so that periods add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Requests by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// What was ended early, by cause.
    pub cancellations: BTreeMap<String, u64>,
    /// Tokens of prompts, reused ones included.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were reused.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// What it cost.
    pub cost: MicroUsd,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Answers that said what the others said.
    pub agreed: u64,
    /// Answers that were given.
    pub selected: u64,
    /// From arrival to end, in microseconds, of requests that ended with an answer.
    pub total_us: Spread,
    /// To the first token, in microseconds.
    pub first_token_us: Spread,
    /// Between two tokens, in microseconds.
    pub per_token_us: Spread,
    /// Waiting, in microseconds.
    pub queue_us: Spread,
    /// Prompt tokens in 1,000 seconds.
    pub prefill_milli_rate: Spread,
    /// Tokens written in 1,000 seconds.
    pub decode_milli_rate: Spread,
}

impl Tally {
    /// Adds what was measured in another period, or of another kind.
    pub fn add(&mut self, other: &Self) {
        add_counts(&mut self.outcomes, &other.outcomes);
        add_counts(&mut self.cancellations, &other.cancellations);
        self.cost = MicroUsd(self.cost.0.saturating_add(other.cost.0));
        for (sum, more) in [
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
            (&mut self.retries, other.retries),
            (&mut self.agreed, other.agreed),
            (&mut self.selected, other.selected),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [
            (&mut self.total_us, &other.total_us),
            (&mut self.first_token_us, &other.first_token_us),
            (&mut self.per_token_us, &other.per_token_us),
            (&mut self.queue_us, &other.queue_us),
            (&mut self.prefill_milli_rate, &other.prefill_milli_rate),
            (&mut self.decode_milli_rate, &other.decode_milli_rate),
        ] {
            sum.add(more);
        }
    }

    /// Requests that ended, however they did.
    pub fn requests(&self) -> u64 {
        self.ended(|_| true)
    }

    /// Requests that ended with an answer.
    pub fn answered(&self) -> u64 {
        self.ended(|outcome| ANSWERED.contains(&outcome))
    }

    /// Requests that were ended by who had asked.
    pub fn cancelled(&self) -> u64 {
        self.ended(|outcome| CANCELLED.contains(&outcome))
    }

    /// Requests that failed, by cause.
    pub fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        let failures = self.outcomes.iter().map(|(outcome, n)| (outcome.as_str(), *n));
        failures.filter(|(outcome, _)| !ANSWERED.contains(outcome) && !CANCELLED.contains(outcome))
    }

    fn ended(&self, how: impl Fn(&str) -> bool) -> u64 {
        let these = self.outcomes.iter().filter(|(outcome, _)| how(outcome));
        these.fold(0, |sum: u64, (_, n)| sum.saturating_add(*n))
    }
}

fn add_counts(counts: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, n) in more {
        match counts.get_mut(name) {
            Some(count) => *count = count.saturating_add(*n),
            None => drop(counts.insert(name.clone(), *n)),
        }
    }
}
