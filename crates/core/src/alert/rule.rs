//! What a rule says.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which side of a number is the bad one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More than this is bad.
    Above(f64),
    /// Less than this is bad.
    Below(f64),
}

/// Bounds that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadBounds {
    /// One of them is no number.
    #[error("must be a finite number, got {0}")]
    NotFinite(f64),
    /// The alert would be over while it has every reason to fire.
    #[error("must be at most {fires}, where the alert fires, got {clears}")]
    ClearsAbove {
        /// The first bound.
        fires: f64,
        /// The second.
        clears: f64,
    },
    /// The same for a figure that is bad when it is small.
    #[error("must be at least {fires}, where the alert fires, got {clears}")]
    ClearsBelow {
        /// The first bound.
        fires: f64,
        /// The second.
        clears: f64,
    },
}

/// When an alert fires and when it is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlertRule {
    bound: Bound,
    clears: f64,
    fires_after: Duration,
    clears_after: Duration,
}

impl AlertRule {
    /// An alert that fires when the figure has been beyond `bound` for `fires_after`, and is over when it has been at or behind
    /// `clears` (`None` is the bound itself) for `clears_after`.
    ///
    /// # Errors
    /// [`BadBounds`]: they are of `clears` but where it is `None`.
    pub fn new(
        bound: Bound,
        clears: Option<f64>,
        fires_after: Duration,
        clears_after: Duration,
    ) -> Result<Self, BadBounds> {
        let (Bound::Above(fires) | Bound::Below(fires)) = bound;
        let clears = clears.unwrap_or(fires);
        for number in [fires, clears] {
            if !number.is_finite() {
                return Err(BadBounds::NotFinite(number));
            }
        }
        match bound {
            Bound::Above(_) if clears > fires => Err(BadBounds::ClearsAbove { fires, clears }),
            Bound::Below(_) if clears < fires => Err(BadBounds::ClearsBelow { fires, clears }),
            _ => Ok(Self { bound, clears, fires_after, clears_after }),
        }
    }

    /// Where the bad side begins.
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// How long the figure must be there.
    pub fn fires_after(&self) -> Duration {
        self.fires_after
    }

    /// How long it must be back.
    pub fn clears_after(&self) -> Duration {
        self.clears_after
    }

    /// Whether the figure is on the bad side. One that there is nothing to make of, such as the latency of no requests, is
    /// not.
    pub fn is_bad(&self, figure: Option<f64>) -> bool {
        measured(figure).is_some_and(|figure| match self.bound {
            Bound::Above(bound) => figure > bound,
            Bound::Below(bound) => figure < bound,
        })
    }

    /// Whether the figure is good enough for the alert to be over.
    pub fn is_good(&self, figure: Option<f64>) -> bool {
        measured(figure).is_none_or(|figure| match self.bound {
            Bound::Above(_) => figure <= self.clears,
            Bound::Below(_) => figure >= self.clears,
        })
    }
}

/// Nothing divided by nothing is no figure.
fn measured(figure: Option<f64>) -> Option<f64> {
    figure.filter(|figure| !figure.is_nan())
}
