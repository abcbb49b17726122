//! Counters and percentiles of finished requests, in bounded memory.

use crate::cancel_cause::CancelCause;
use boca_core::{ErrorCode, FinishReason, Mode, Timings, Usage};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Two digits: percentiles are within 1 % of the truth, a histogram takes some 30 KB.
const SIGNIFICANT_DIGITS: u8 = 2;
/// The largest time that is told apart from larger ones.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Rates are kept in thousandths of a token per second, up to a million tokens per second.
const RATE_UNITS_PER_TOKEN: f64 = 1000.0;
const HIGHEST_RATE: f64 = 1e6;
/// Names come from configuration, so there are few; this holds if that ever changes.
const MAX_NAMES: usize = 64;
const OTHER_NAMES: &str = "other";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Finished(FinishReason),
    /// With a failure.
    Failed(ErrorCode),
    /// Its reader went away.
    Abandoned,
}

impl Outcome {
    /// The name on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished(reason) => reason.as_str(),
            Self::Failed(code) => code.as_str(),
            Self::Abandoned => "abandoned",
        }
    }
}

/// One finished request.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRecord {
    /// How it ended.
    pub outcome: Outcome,
    /// Who answered: a model's or a provider's name; `None` when nobody did.
    pub answered_by: Option<String>,
    /// The kind of request: `/api/chat` and so on.
    pub route: &'static str,
    /// Who was asked in the end: not `auto`, but what that came to. Where a question failed before that was known, the
    /// mode that it named; `None` for one that named somebody who may not exist.
    pub mode: Option<Mode>,
    /// Why it ended early, when it did.
    pub cancelled: Option<CancelCause>,
    /// How many of those who worked on it were cut off because the answer did not need them.
    pub n_not_needed: u64,
    /// Tokens counted.
    pub usage: Usage,
    /// Where the time went; `None` when nothing was generated.
    pub timings: Option<Timings>,
    /// From the arrival of the request to its end.
    pub total: Duration,
}

/// A distribution in figures; the unit stands in the name of the field that holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distribution {
    /// How many samples.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// All figures at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsSnapshot {
    /// When counting began: the start of the daemon or the last restart of the metrics actor.
    pub since: SystemTime,
    /// How long ago that was.
    pub counting_for: Duration,
    /// Requests by [`Outcome::as_str`].
    pub by_outcome: BTreeMap<String, u64>,
    /// What was ended early, by [`CancelCause::as_str`]: requests, and for `not_needed` single sources of one.
    pub by_cancellation: BTreeMap<String, u64>,
    /// Requests by the mode that held in the end; a provider by its name.
    pub by_mode: BTreeMap<String, u64>,
    /// Requests by route.
    pub by_route: BTreeMap<String, u64>,
    /// Answers by who wrote them.
    pub by_model: BTreeMap<String, u64>,
    /// Tokens of prompts, reused ones included.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were reused.
    pub cached_tokens: u64,
    /// Tokens generated, thinking included.
    pub completion_tokens: u64,
    /// Tokens of thinking.
    pub reasoning_tokens: u64,
    /// From arrival to end, of requests that ended with an answer.
    pub total_ms: Distribution,
    /// From arrival to the first token.
    pub time_to_first_token_ms: Distribution,
    /// Between the hand-over to the model and the first step.
    pub queue_ms: Distribution,
    /// Prompt tokens per second.
    pub prefill_tokens_per_s: Distribution,
    /// Generated tokens per second after the first.
    pub decode_tokens_per_s: Distribution,
    /// Samples that found the mailbox full or the actor away.
    pub lost_samples: u64,
}

/// The state behind a snapshot.
#[derive(Debug)]
pub(crate) struct Measurements {
    since: SystemTime,
    began: Instant,
    by_outcome: BTreeMap<String, u64>,
    by_cancellation: BTreeMap<String, u64>,
    by_mode: BTreeMap<String, u64>,
    by_route: BTreeMap<String, u64>,
    by_model: BTreeMap<String, u64>,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    total: Histogram<u64>,
    time_to_first_token: Histogram<u64>,
    queue: Histogram<u64>,
    prefill: Histogram<u64>,
    decode: Histogram<u64>,
}

impl Default for Measurements {
    fn default() -> Self {
        let histogram = |highest: u64| {
            Histogram::new_with_bounds(1, highest, SIGNIFICANT_DIGITS)
                .expect("the bounds are constants in order")
        };
        let times = || histogram(LONGEST.as_micros() as u64);
        let rates = || histogram((HIGHEST_RATE * RATE_UNITS_PER_TOKEN) as u64);
        Self {
            since: SystemTime::now(),
            began: Instant::now(),
            by_outcome: BTreeMap::new(),
            by_cancellation: BTreeMap::new(),
            by_mode: BTreeMap::new(),
            by_route: BTreeMap::new(),
            by_model: BTreeMap::new(),
            prompt_tokens: 0,
            cached_tokens: 0,
            completion_tokens: 0,
            reasoning_tokens: 0,
            total: times(),
            time_to_first_token: times(),
            queue: times(),
            prefill: rates(),
            decode: rates(),
        }
    }
}

impl Measurements {
    /// Counts one finished request.
    pub(crate) fn add(&mut self, record: &GenerationRecord) {
        count(&mut self.by_outcome, record.outcome.as_str());
        if let Some(cause) = record.cancelled {
            count(&mut self.by_cancellation, cause.as_str());
        }
        for _ in 0..record.n_not_needed {
            count(&mut self.by_cancellation, CancelCause::NotNeeded.as_str());
        }
        count(&mut self.by_route, record.route);
        count(&mut self.by_mode, record.mode.as_ref().map_or(OTHER_NAMES, Mode::as_str));
        if let Some(model) = &record.answered_by {
            count(&mut self.by_model, model);
        }
        let usage = &record.usage;
        self.prompt_tokens += u64::from(usage.prompt_tokens);
        self.cached_tokens += u64::from(usage.cached_tokens);
        self.completion_tokens += u64::from(usage.completion_tokens);
        self.reasoning_tokens += u64::from(usage.reasoning_tokens);
        let (Outcome::Finished(_), Some(timings)) = (record.outcome, &record.timings) else { return };
        self.total.saturating_record(micros(record.total));
        self.queue.saturating_record(micros(timings.queue));
        if usage.completion_tokens > 0 {
            self.time_to_first_token.saturating_record(micros(timings.time_to_first_token));
        }
        if let Some(rate) = timings.prefill_tokens_per_s(usage) {
            self.prefill.saturating_record((rate * RATE_UNITS_PER_TOKEN) as u64);
        }
        if let Some(rate) = timings.decode_tokens_per_s(usage) {
            self.decode.saturating_record((rate * RATE_UNITS_PER_TOKEN) as u64);
        }
    }

    /// All figures now.
    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        const MICROS_PER_MS: f64 = 1000.0;
        MetricsSnapshot {
            since: self.since,
            counting_for: self.began.elapsed(),
            by_outcome: self.by_outcome.clone(),
            by_cancellation: self.by_cancellation.clone(),
            by_mode: self.by_mode.clone(),
            by_route: self.by_route.clone(),
            by_model: self.by_model.clone(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.completion_tokens,
            reasoning_tokens: self.reasoning_tokens,
            total_ms: distribution(&self.total, MICROS_PER_MS),
            time_to_first_token_ms: distribution(&self.time_to_first_token, MICROS_PER_MS),
            queue_ms: distribution(&self.queue, MICROS_PER_MS),
            prefill_tokens_per_s: distribution(&self.prefill, RATE_UNITS_PER_TOKEN),
            decode_tokens_per_s: distribution(&self.decode, RATE_UNITS_PER_TOKEN),
            lost_samples: 0,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn count(counters: &mut BTreeMap<String, u64>, name: &str) {
    let name = if counters.contains_key(name) || counters.len() < MAX_NAMES { name } else { OTHER_NAMES };
    match counters.get_mut(name) {
        Some(counter) => *counter += 1,
        None => drop(counters.insert(name.to_owned(), 1)),
    }
}

fn distribution(histogram: &Histogram<u64>, units: f64) -> Distribution {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / units;
    if histogram.is_empty() {
        return Distribution::default();
    }
    Distribution {
        count: histogram.len(),
        mean: histogram.mean() / units,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max: histogram.max() as f64 / units,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(total_ms: u64) -> GenerationRecord {
        let total = Duration::from_millis(total_ms);
        GenerationRecord {
            outcome: Outcome::Finished(FinishReason::Stop),
            answered_by: Some("demo".into()),
            route: "/api/chat",
            mode: Some(Mode::Auto),
            cancelled: None,
            n_not_needed: 0,
            usage: Usage { prompt_tokens: 20, cached_tokens: 10, completion_tokens: 11, reasoning_tokens: 3 },
            timings: Some(Timings {
                queue: Duration::from_millis(1),
                prefill: Duration::from_millis(100),
                decode: Duration::from_millis(200),
                time_to_first_token: Duration::from_millis(101),
                total,
            }),
            total,
        }
    }

    fn near(measured: f64, truth: f64) -> bool {
        (measured - truth).abs() <= truth * 0.01
    }

    #[test]
    fn counts_and_percentiles() {
        let mut measurements = Measurements::default();
        for total_ms in 1..=1000 {
            measurements.add(&record(total_ms));
        }
        let failed = GenerationRecord {
            outcome: Outcome::Failed(ErrorCode::Overloaded),
            answered_by: None,
            mode: None,
            usage: Usage::default(),
            timings: None,
            ..record(5)
        };
        measurements.add(&failed);
        let snapshot = measurements.snapshot();
        assert_eq!(snapshot.by_outcome, BTreeMap::from([("stop".into(), 1000), ("overloaded".into(), 1)]));
        assert_eq!(snapshot.by_mode, BTreeMap::from([("auto".into(), 1000), ("other".into(), 1)]));
        assert_eq!(snapshot.by_model, BTreeMap::from([("demo".into(), 1000)]));
        assert_eq!(snapshot.by_route, BTreeMap::from([("/api/chat".into(), 1001)]));
        assert_eq!((snapshot.prompt_tokens, snapshot.completion_tokens), (20_000, 11_000));
        assert_eq!(snapshot.total_ms.count, 1000);
        assert!(near(snapshot.total_ms.p50, 500.0), "{:?}", snapshot.total_ms);
        assert!(near(snapshot.total_ms.p99, 990.0), "{:?}", snapshot.total_ms);
        assert!(near(snapshot.prefill_tokens_per_s.p50, 100.0), "{:?}", snapshot.prefill_tokens_per_s);
        assert!(near(snapshot.decode_tokens_per_s.max, 50.0), "{:?}", snapshot.decode_tokens_per_s);
    }

    #[test]
    fn names_and_extremes_are_bounded() {
        let mut measurements = Measurements::default();
        for n in 0..1000 {
            let answered_by = Some(format!("model-{n}"));
            measurements.add(&GenerationRecord { answered_by, ..record(n) });
        }
        let timings = Some(Timings { prefill: Duration::from_nanos(1), ..record(0).timings.unwrap() });
        measurements.add(&GenerationRecord { timings, total: Duration::MAX, ..record(0) });
        let snapshot = measurements.snapshot();
        assert_eq!(snapshot.by_model.len(), MAX_NAMES + 1);
        assert_eq!(snapshot.by_model[OTHER_NAMES], 1001 - MAX_NAMES as u64);
        assert_eq!(snapshot.by_model.values().sum::<u64>(), 1001);
        assert_eq!(snapshot.total_ms.count, 1001);
    }
}
