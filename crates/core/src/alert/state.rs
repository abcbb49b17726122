//! What is remembered of an alert.

use super::AlertRule;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An alert, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AlertState {
    /// Nothing is wrong.
    #[default]
    Quiet,
    /// The figure is bad, but not for long enough yet.
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// It fires.
    Firing {
        /// Since when.
        since: Timestamp,
        /// Since when the figure is good again, if it is.
        good_since: Option<Timestamp>,
    },
}

/// What is said about an alert, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertChange {
    /// It has begun to fire.
    Firing,
    /// It is over.
    Resolved,
}

impl AlertState {
    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        matches!(self, Self::Firing { .. })
    }

    /// How it stands after a look at the figure at `now`, and what there is to say about it.
    ///
    /// A look that comes late counts for the time since the one before, as if the figure had been then what it is now. Of a
    /// clock that was set back the time begins anew.
    #[must_use]
    pub fn after(self, rule: &AlertRule, figure: Option<f64>, now: Timestamp) -> (Self, Option<AlertChange>) {
        let begun = |since: Timestamp| since.min(now);
        match self {
            Self::Quiet | Self::Pending { .. } if !rule.is_bad(figure) => (Self::Quiet, None),
            Self::Quiet | Self::Pending { .. } => {
                let since = if let Self::Pending { since } = self { begun(since) } else { now };
                if has_lasted(since, now, rule.fires_after()) {
                    (Self::Firing { since: now, good_since: None }, Some(AlertChange::Firing))
                } else {
                    (Self::Pending { since }, None)
                }
            }
            Self::Firing { since, .. } if !rule.is_good(figure) => {
                (Self::Firing { since: begun(since), good_since: None }, None)
            }
            Self::Firing { since, good_since } => {
                let good_since = good_since.map_or(now, begun);
                if has_lasted(good_since, now, rule.clears_after()) {
                    (Self::Quiet, Some(AlertChange::Resolved))
                } else {
                    (Self::Firing { since: begun(since), good_since: Some(good_since) }, None)
                }
            }
        }
    }
}

fn has_lasted(since: Timestamp, now: Timestamp, time: Duration) -> bool {
    now.duration_since(since).unsigned_abs() >= time
}
