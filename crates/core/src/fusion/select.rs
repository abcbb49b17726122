//! Which answer `select` takes when nobody judges, and whether anybody has to.

use super::{FusionSettings, SelectBy, SelectWeights, is_open_question, least_agreement};
use crate::Strategy;
use std::time::Duration;

/// What is on record of one provider.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrackRecord {
    /// The median time to a whole answer; `None` before the first.
    pub median_latency: Option<Duration>,
    /// The mean cost of an answer in millionths of a dollar; `None` where prices are unknown.
    pub mean_cost_micro_usd: Option<f64>,
    /// How often its answer was chosen by a judge or praised by a person.
    pub n_preferred: u64,
    /// How often that was decided.
    pub n_decided: u64,
}

impl TrackRecord {
    /// The share of decisions in its favour; one half before the first, and near it after few.
    pub fn quality(&self) -> f64 {
        (self.n_preferred as f64 + 1.0) / (self.n_decided as f64 + 2.0)
    }
}

/// The places of `records`, best first: by the weighted sum of latency, cost and quality, each between 0 and 1. What
/// is not known counts as the middle; equals stay in the given order.
pub fn rank_by_record(records: &[TrackRecord], weights: &SelectWeights) -> Vec<usize> {
    const UNKNOWN: f64 = 0.5;
    let best = |values: Vec<f64>| values.into_iter().fold(f64::INFINITY, f64::min);
    let seconds = |record: &TrackRecord| record.median_latency.map(|latency| latency.as_secs_f64());
    let fastest = best(records.iter().filter_map(seconds).collect());
    let cheapest = best(records.iter().filter_map(|record| record.mean_cost_micro_usd).collect());
    // The best has 1, one twice as slow or dear has one half; what costs nothing has 1 as well.
    let share = |best: f64, value: Option<f64>| match value {
        Some(value) if value > 0.0 => best.max(0.0) / value,
        Some(_) => 1.0,
        None => UNKNOWN,
    };
    let score = |record: &TrackRecord| {
        f64::from(weights.latency) * share(fastest, seconds(record))
            + f64::from(weights.cost) * share(cheapest, record.mean_cost_micro_usd)
            + f64::from(weights.quality) * record.quality()
    };
    let mut places: Vec<usize> = (0..records.len()).collect();
    places.sort_by(|a, b| score(&records[*b]).total_cmp(&score(&records[*a])));
    places
}

/// What happens with the answers that are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The first in the order of preference is taken.
    TakeFirst,
    /// A judge says which is best.
    Judge,
    /// A synthesizer writes one answer from all of them.
    Merge,
}

/// A decision with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// The least agreement of any two answers; `None` with fewer than two.
    pub agreement: Option<f32>,
    /// Why, in one sentence.
    pub reason: String,
}

/// Decides what happens with `texts`, the good answers to `question`, in the order of preference.
pub fn decide(
    question: &str,
    texts: &[&str],
    strategy: Option<Strategy>,
    select_by: SelectBy,
    settings: &FusionSettings,
) -> Decision {
    let Some(agreement) = least_agreement(texts.iter().copied()) else {
        let reason = "there is one answer, so there is nothing to decide".into();
        return Decision { verdict: Verdict::TakeFirst, agreement: None, reason };
    };
    let threshold = settings.agreement_threshold;
    let (verdict, reason) = if strategy == Some(Strategy::Merge) {
        (Verdict::Merge, "the answers are merged, as asked for".to_owned())
    } else if agreement >= threshold {
        let reason =
            format!("the answers agree ({agreement:.2}, at least {threshold:.2}), so nobody judges them");
        (Verdict::TakeFirst, reason)
    } else if select_by != SelectBy::Judge {
        (Verdict::TakeFirst, format!("the answers differ ({agreement:.2}); the preferred one is taken"))
    } else if strategy.is_none() && is_open_question(question) {
        let reason = format!(
            "the answers differ ({agreement:.2}) and the question is an open one, so they are merged"
        );
        (Verdict::Merge, reason)
    } else {
        (
            Verdict::Judge,
            format!("the answers differ ({agreement:.2}, below {threshold:.2}), so a judge reads them"),
        )
    };
    Decision { verdict, agreement: Some(agreement), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_ranks_by_weight() {
        let record = |ms, cost, n_preferred| TrackRecord {
            median_latency: Some(Duration::from_millis(ms)),
            mean_cost_micro_usd: Some(cost),
            n_preferred,
            n_decided: 10,
        };
        let records = [record(1000, 0.0, 2), record(200, 500.0, 4), record(900, 100.0, 9)];
        let only = |latency, cost, quality| SelectWeights { latency, cost, quality };
        assert_eq!(rank_by_record(&records, &only(1.0, 0.0, 0.0)), [1, 2, 0]);
        assert_eq!(rank_by_record(&records, &only(0.0, 1.0, 0.0))[0], 0);
        assert_eq!(rank_by_record(&records, &only(0.0, 0.0, 1.0)), [2, 1, 0]);
        assert_eq!(rank_by_record(&[TrackRecord::default(); 3], &SelectWeights::default()), [0, 1, 2]);
    }

    #[test]
    fn answers_that_agree_are_not_judged() {
        let settings = FusionSettings::default();
        let same = ["The capital is Canberra.", "The capital is Canberra."];
        let other = ["The capital is Canberra.", "The capital is Sydney."];
        let verdict = |texts: &[&str], strategy, by, question: &str| {
            decide(question, texts, strategy, by, &settings).verdict
        };
        let closed = "What is the capital of Australia?";
        let open = "How should I plan a trip to Australia?";
        assert_eq!(verdict(&same, None, SelectBy::Judge, open), Verdict::TakeFirst);
        assert_eq!(verdict(&other, None, SelectBy::Judge, closed), Verdict::Judge);
        assert_eq!(verdict(&other, None, SelectBy::Judge, open), Verdict::Merge);
        assert_eq!(verdict(&other, Some(Strategy::Select), SelectBy::Judge, open), Verdict::Judge);
        assert_eq!(verdict(&other, None, SelectBy::Record, open), Verdict::TakeFirst);
        assert_eq!(verdict(&same, Some(Strategy::Merge), SelectBy::Judge, closed), Verdict::Merge);
        assert_eq!(verdict(&same[..1], Some(Strategy::Merge), SelectBy::Judge, open), Verdict::TakeFirst);
        assert_eq!(decide(closed, &other, None, SelectBy::Judge, &settings).agreement, Some(0.0));
    }
}
