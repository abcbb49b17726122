//! A distribution, as counts of like values.

use serde::{Deserialize, Serialize};

/// How often which values were seen. Values that a histogram holds to be the same have come here as one value, so that there
/// are few of them; two spreads from histograms of one precision add up to what one histogram would have held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Values and how often each was seen, in order of the values.
    counts: Vec<(u64, u64)>,
    /// Of all values, as exact as they came.
    sum: u64,
}

impl Spread {
    /// A spread of these values and counts, in any order, and the sum of the exact values.
    pub fn new(counts: impl IntoIterator<Item = (u64, u64)>, sum: u64) -> Self {
        let mut spread = Self { counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(), sum };
        spread.settle();
        spread
    }

    /// Sorts, and makes one of equal values.
    fn settle(&mut self) {
        self.counts.sort_unstable_by_key(|(value, _)| *value);
        self.counts.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            is_same
        });
    }

    /// Adds another one's values.
    pub fn add(&mut self, other: &Self) {
        self.counts.extend_from_slice(&other.counts);
        self.sum = self.sum.saturating_add(other.sum);
        self.settle();
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// How many values are at most this one.
    pub fn count_up_to(&self, value: u64) -> u64 {
        let within = self.counts.partition_point(|(one, _)| *one <= value);
        self.counts[..within].iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The mean; `None` of no values.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The smallest value that so large a part of all, from 0 to 1, are at most; `None` of no values.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let wanted = ((self.count() as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0u64;
        let reached = self.counts.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        reached.or(self.counts.last()).map(|(value, _)| *value)
    }

    /// The largest value; `None` of no values.
    pub fn max(&self) -> Option<u64> {
        self.counts.last().map(|(value, _)| *value)
    }

    /// How many different values it holds.
    pub fn n_values(&self) -> usize {
        self.counts.len()
    }
}
