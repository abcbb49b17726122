//! What is on record of every provider: how fast, how dear, how good. Kept in memory; the store keeps it for longer.

use super::part::Part;
use boca_core::fusion::TrackRecord;
use boca_core::{MicroUsd, SourceRole};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many of the newest answers the median and the mean are taken of.
const N_REMEMBERED: usize = 64;

/// The records by provider. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrackRecords(Arc<Mutex<BTreeMap<String, Remembered>>>);

#[derive(Debug, Default)]
struct Remembered {
    /// What was known before this process, until there is something newer.
    before: TrackRecord,
    latencies: Vec<Duration>,
    costs: Vec<MicroUsd>,
    /// Where the next answer is written once the lists are full.
    next: usize,
    n_preferred: u64,
    n_decided: u64,
}

impl TrackRecords {
    /// The record of `provider` now.
    pub(crate) fn of(&self, provider: &str) -> TrackRecord {
        self.lock().get(provider).map(Remembered::record).unwrap_or_default()
    }

    /// Tells what was known before this process.
    pub(crate) fn load(&self, provider: &str, record: TrackRecord) {
        self.lock().entry(provider.to_owned()).or_default().before = record;
    }

    /// Notes how long a good answer took and what it cost.
    pub(crate) fn note_answer(&self, part: &Part) {
        let (Some(ended), SourceRole::Answer, true) = (part.trace.ended, part.trace.role, part.is_good())
        else {
            return;
        };
        let mut records = self.lock();
        let record = records.entry(part.facts.name.clone()).or_default();
        let place = record.next % N_REMEMBERED;
        record.next += 1;
        put(&mut record.latencies, place, ended.saturating_sub(part.trace.began));
        if let Some(cost) = part.cost() {
            put(&mut record.costs, place, cost);
        }
    }

    /// Notes a decision by a judge or a person.
    pub(crate) fn note_decision(&self, provider: &str, is_preferred: bool) {
        let mut records = self.lock();
        let record = records.entry(provider.to_owned()).or_default();
        record.n_decided += 1;
        record.n_preferred += u64::from(is_preferred);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<T>(list: &mut Vec<T>, place: usize, value: T) {
    match list.get_mut(place) {
        Some(old) => *old = value,
        None => list.push(value),
    }
}

impl Remembered {
    fn record(&self) -> TrackRecord {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let total_cost: f64 = self.costs.iter().map(|cost| cost.0 as f64).sum();
        let mean_cost = (!self.costs.is_empty()).then(|| total_cost / self.costs.len() as f64);
        TrackRecord {
            median_latency: latencies.get(latencies.len() / 2).copied().or(self.before.median_latency),
            mean_cost_micro_usd: mean_cost.or(self.before.mean_cost_micro_usd),
            n_preferred: self.before.n_preferred + self.n_preferred,
            n_decided: self.before.n_decided + self.n_decided,
        }
    }
}
