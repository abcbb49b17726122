//! What a person can set about fusion.

use crate::{Mode, Strategy};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How `select` finds the best answer when the answers differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectBy {
    /// A judge reads them, anonymised. Nothing is shown before that, because nothing is decided.
    #[default]
    Judge,
    /// The first good one in the order of [`FusionSettings::preferred`]; its text is shown as it comes.
    Preferred,
    /// The highest sum of the recorded latency, cost and quality, each times its weight. That is known before the
    /// question is asked, so the text is shown as it comes.
    Record,
}

/// How much each recorded property of a provider counts. Only their proportion matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SelectWeights {
    /// The median time to a whole answer: the fastest gets all of it.
    pub latency: f32,
    /// The mean cost of an answer: the cheapest gets all of it.
    pub cost: f32,
    /// How often its answer was chosen by a judge or praised by a person, of the times when that was decided.
    pub quality: f32,
}

impl Default for SelectWeights {
    fn default() -> Self {
        Self { latency: 1.0, cost: 1.0, quality: 2.0 }
    }
}

/// Everything about fusion that stands in the config.
#[derive(Debug, Clone, PartialEq)]
pub struct FusionSettings {
    /// Who is asked when neither the request nor an effort says so. Default: `auto`.
    pub default_mode: Mode,
    /// How one answer comes out of several. Default: `None`, which selects, and merges for open questions where the
    /// answers differ.
    pub strategy: Option<Strategy>,
    /// How `select` decides between answers that differ. Default: a judge.
    pub select_by: SelectBy,
    /// The weights of [`SelectBy::Record`]. Default: quality counts twice.
    pub weights: SelectWeights,
    /// Good answers after which only `grace` is waited for the others; at least 1. Default: 2.
    pub quorum: usize,
    /// How long the others may take after the quorum. Default: 2 s.
    pub grace: Duration,
    /// How long answers are collected at most, as long as there is at least one; without one the request's own
    /// deadline holds. Default: 60 s.
    pub collect_for: Duration,
    /// From this agreement on (0 to 1) two answers are taken to say the same, and nobody judges. Default: what the
    /// labelled pairs gave, see [`FusionSettings::AGREEMENT_THRESHOLD`].
    pub agreement_threshold: f32,
    /// Providers in the order in which their answers are preferred, and asked in `fallback`; those not named follow in
    /// the order of the config, the model of this machine first. Default: empty.
    pub preferred: Vec<String>,
    /// Who judges, by name. Default: `None`, which takes the model of this machine when it is free and no demo, else
    /// the first in the order of preference.
    pub judge: Option<String>,
    /// Who merges, by name. Default: like `judge`.
    pub synthesizer: Option<String>,
    /// How long a judge may take. Default: 20 s.
    pub judge_for: Duration,
    /// Whether the demo model joins in without being named. Default: no.
    pub demo_joins: bool,
    /// Whether the model of this machine finishes what another provider began and broke off. Default: yes.
    pub finish_broken_answers: bool,
}

impl FusionSettings {
    /// The default of `agreement_threshold`: the most cautious one that costs at most 0.03 of the best F1 on the
    /// tuning half of the labelled pairs in
    /// `crates/core/tests/data/agreement.jsonl`. On the other half, which it never saw, it reaches an F1
    /// of 0.77 (precision 0.90, recall 0.67); a test holds that.
    pub const AGREEMENT_THRESHOLD: f32 = 0.74;
}

impl Default for FusionSettings {
    fn default() -> Self {
        Self {
            default_mode: Mode::Auto,
            strategy: None,
            select_by: SelectBy::default(),
            weights: SelectWeights::default(),
            quorum: 2,
            grace: Duration::from_secs(2),
            collect_for: Duration::from_secs(60),
            agreement_threshold: Self::AGREEMENT_THRESHOLD,
            preferred: Vec::new(),
            judge: None,
            synthesizer: None,
            judge_for: Duration::from_secs(20),
            demo_joins: false,
            finish_broken_answers: true,
        }
    }
}
