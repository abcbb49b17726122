//! The running comparison of the providers: figures out of the record of answers.

use boca_core::fusion::TrackRecord;
use boca_core::{ErrorCode, MicroUsd, SourceRole, SourceState, Strategy};
use boca_store::{AnswerRecord, SourceRecord, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that the record says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Comparison {
    /// Answers looked at.
    pub(crate) n_answers: u64,
    /// Of those, the ones that came out of two or more sources.
    pub(crate) n_decided: u64,
    /// When the oldest was given, in milliseconds since 1970.
    pub(crate) since_unix_ms: Option<u64>,
    /// By provider.
    pub(crate) providers: BTreeMap<String, ProviderFigures>,
    /// Where two or more sources answered.
    pub(crate) select: StrategyFigures,
    /// Where two or more sources answered.
    pub(crate) merge: StrategyFigures,
}

/// One provider.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProviderFigures {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Failures by the name of their code.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// Times to whole answers, from the moment it was asked; sorted.
    pub(crate) totals: Vec<Duration>,
    /// Times to first tokens; sorted.
    pub(crate) first_tokens: Vec<Duration>,
    /// Answers where one of two or more was taken and it was among them.
    pub(crate) candidate: u64,
    /// Of those, how often its own was taken.
    pub(crate) chosen: u64,
    /// Its answers of which the price is known, and what they cost together with its work as judge or synthesizer.
    pub(crate) n_priced: u64,
    pub(crate) cost: Option<MicroUsd>,
    pub(crate) verdicts: Verdicts,
}

/// One strategy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StrategyFigures {
    pub(crate) answers: u64,
    pub(crate) verdicts: Verdicts,
}

/// What people said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

impl Verdicts {
    fn count(&mut self, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Good) => self.good += 1,
            Some(Verdict::Bad) => self.bad += 1,
            None => {}
        }
    }

    /// The share of good ones; `None` without any.
    pub(crate) fn good_share(self) -> Option<f64> {
        let all = self.good + self.bad;
        (all > 0).then(|| self.good as f64 / all as f64)
    }
}

impl Comparison {
    /// Counts everything.
    pub(crate) fn of(answers: &[AnswerRecord]) -> Self {
        let mut comparison = Self { n_answers: answers.len() as u64, ..Self::default() };
        for answer in answers {
            comparison.count(answer);
        }
        for figures in comparison.providers.values_mut() {
            figures.totals.sort_unstable();
            figures.first_tokens.sort_unstable();
        }
        comparison
    }

    fn count(&mut self, answer: &AnswerRecord) {
        let since = self.since_unix_ms.unwrap_or(u64::MAX);
        self.since_unix_ms = Some(since.min(answer.created_unix_ms));
        for source in &answer.sources {
            self.providers.entry(source.provider.clone()).or_default().count(source);
        }
        if let Some(chosen) = &answer.chosen {
            self.providers.entry(chosen.clone()).or_default().verdicts.count(answer.verdict);
        }
        let candidates: Vec<&SourceRecord> = answer
            .sources
            .iter()
            .filter(|source| source.role == SourceRole::Answer && source.state == SourceState::Finished)
            .collect();
        if candidates.len() < 2 {
            return;
        }
        self.n_decided += 1;
        let strategy = match answer.strategy {
            Some(Strategy::Select) => &mut self.select,
            Some(Strategy::Merge) => &mut self.merge,
            None => return,
        };
        strategy.answers += 1;
        strategy.verdicts.count(answer.verdict);
        if answer.chosen.is_some() {
            for candidate in candidates {
                let is_chosen = answer.chosen.as_ref() == Some(&candidate.provider);
                let figures = self.providers.entry(candidate.provider.clone()).or_default();
                figures.candidate += 1;
                figures.chosen += u64::from(is_chosen);
            }
        }
    }
}

impl ProviderFigures {
    fn count(&mut self, source: &SourceRecord) {
        if let Some(cost) = source.cost {
            self.cost = Some(self.cost.unwrap_or_default().saturating_add(cost));
        }
        if source.role != SourceRole::Answer {
            return;
        }
        self.asked += 1;
        match source.state {
            SourceState::Finished => {
                self.answered += 1;
                self.n_priced += u64::from(source.cost.is_some());
                self.totals.extend(source.total);
                self.first_tokens.extend(source.first_token);
            }
            SourceState::Failed => {
                self.failed += 1;
                let code = source.failure.unwrap_or(ErrorCode::Internal);
                *self.failures.entry(code.as_str()).or_default() += 1;
            }
            SourceState::Cancelled | SourceState::Asked | SourceState::Answering => self.cancelled += 1,
        }
    }

    /// What selecting by record knows of it.
    pub(crate) fn track_record(&self) -> TrackRecord {
        TrackRecord {
            median_latency: percentile(&self.totals, 50),
            mean_cost_micro_usd: (self.n_priced > 0)
                .then(|| self.cost.unwrap_or_default().0 as f64 / self.n_priced as f64),
            n_preferred: self.chosen + self.verdicts.good,
            n_decided: self.candidate + self.verdicts.good + self.verdicts.bad,
        }
    }
}

/// The smallest of sorted times that `percent` of them do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boca_core::Usage;

    fn source(provider: &str, state: SourceState, millis: u64) -> SourceRecord {
        SourceRecord {
            provider: provider.into(),
            role: SourceRole::Answer,
            state,
            failure: (state == SourceState::Failed).then_some(ErrorCode::ProviderFailed),
            first_token: None,
            total: Some(Duration::from_millis(millis)),
            usage: Usage::default(),
            cost: Some(MicroUsd(millis)),
        }
    }

    fn answer(
        chosen: Option<&str>,
        strategy: Option<Strategy>,
        verdict: Option<Verdict>,
        sources: Vec<SourceRecord>,
    ) -> AnswerRecord {
        AnswerRecord {
            request_id: "r".parse().unwrap(),
            created_unix_ms: 5,
            mode: "collaborative".into(),
            strategy,
            chosen: chosen.map(str::to_owned),
            sources,
            verdict,
        }
    }

    #[test]
    fn answers_are_counted_by_provider_and_strategy() {
        use SourceState::{Cancelled, Failed, Finished};
        let both = |a, b| vec![source("a", a, 10), source("b", b, 30)];
        let mut judged = both(Finished, Finished);
        judged.push(SourceRecord { role: SourceRole::Judge, ..source("a", Finished, 1) });
        let comparison = Comparison::of(&[
            answer(Some("b"), Some(Strategy::Select), Some(Verdict::Good), judged),
            answer(None, Some(Strategy::Merge), Some(Verdict::Bad), both(Finished, Finished)),
            answer(Some("a"), None, None, both(Finished, Failed)),
            answer(Some("a"), None, Some(Verdict::Bad), both(Finished, Cancelled)),
            answer(None, None, None, both(Failed, Failed)),
        ]);
        assert_eq!((comparison.n_answers, comparison.n_decided), (5, 2));
        let (a, b) = (&comparison.providers["a"], &comparison.providers["b"]);
        assert_eq!((a.asked, a.answered, a.failed, a.cancelled), (5, 4, 1, 0));
        assert_eq!((b.asked, b.answered, b.failed, b.cancelled), (5, 2, 2, 1));
        assert_eq!((a.candidate, a.chosen, b.candidate, b.chosen), (1, 0, 1, 1));
        assert_eq!(b.failures["provider_failed"], 2);
        assert_eq!(b.verdicts, Verdicts { good: 1, bad: 0 });
        assert_eq!(comparison.select.verdicts.good_share(), Some(1.0));
        assert_eq!(comparison.merge.verdicts.good_share(), Some(0.0));
        assert_eq!(a.cost, Some(MicroUsd(51)), "the judge's work is paid for too");
        let record = a.track_record();
        assert_eq!(record.median_latency, Some(Duration::from_millis(10)));
        assert_eq!((record.n_preferred, record.n_decided), (0, 2));
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let times: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_millis(10)));
        assert_eq!(percentile(&times, 95), Some(Duration::from_millis(19)));
        assert_eq!(percentile(&times[..1], 95), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }
}
