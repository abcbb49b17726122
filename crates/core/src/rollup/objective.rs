//! What was promised of the answers, and how far it was kept.

use super::Tally;
use serde::Serialize;
use std::time::Duration;

/// A promise: so large a part of the requests ends with an answer, and within some time if one is named.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    share: f64,
    within: Option<Duration>,
}

/// How far it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compliance {
    /// Requests that were answered as promised.
    pub good: u64,
    /// All that count: those that were ended by who had asked do not.
    pub all: u64,
    /// The part of them that was good; `None` of no requests.
    pub ratio: Option<f64>,
    /// How much of what may go wrong has not: 1 is all of it, 0 none, less than that a promise that was broken. `None` of no
    /// requests.
    pub budget_left: Option<f64>,
}

/// A share that promises nothing, or what nobody can keep.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("must be more than 0 and less than 100 %, got {} %", .0 * 100.0)]
pub struct BadShare(pub f64);

impl Objective {
    /// A promise of this part of all, between 0 and 1.
    ///
    /// # Errors
    /// [`BadShare`]
    pub fn new(share: f64, within: Option<Duration>) -> Result<Self, BadShare> {
        if share > 0.0 && share < 1.0 { Ok(Self { share, within }) } else { Err(BadShare(share)) }
    }

    /// How far it was kept by the requests that were measured. Times are known as well as the histograms know them.
    pub fn compliance(&self, tally: &Tally) -> Compliance {
        let all = tally.requests().saturating_sub(tally.cancelled());
        let within =
            |time: Duration| tally.total_us.count_up_to(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let good = self.within.map_or_else(|| tally.answered(), within).min(all);
        let ratio = (all > 0).then(|| good as f64 / all as f64);
        let budget_left = ratio.map(|ratio| 1.0 - (1.0 - ratio) / (1.0 - self.share));
        Compliance { good, all, ratio, budget_left }
    }
}
