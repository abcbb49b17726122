//! When a generation began, how far it has come, and when it has to end.

use boca_core::Timings;
use std::time::{Duration, Instant};

/// The times of one generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    accepted_at: Instant,
    started_at: Instant,
    deadline: Option<Instant>,
    /// When the last prompt token was computed.
    prefilled_at: Option<Instant>,
    first_token_at: Option<Instant>,
    last_token_at: Option<Instant>,
}

impl Clock {
    pub(super) fn start(accepted_at: Instant, time_left: Duration) -> Self {
        Self {
            accepted_at,
            started_at: Instant::now(),
            // A time beyond the clock's range is no deadline.
            deadline: accepted_at.checked_add(time_left),
            prefilled_at: None,
            first_token_at: None,
            last_token_at: None,
        }
    }

    /// Its first step comes now: all before was waiting.
    pub(super) fn begin(&mut self) {
        self.started_at = Instant::now();
    }

    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.time_left() == Some(Duration::ZERO)
    }

    pub(super) fn prefilled(&mut self) {
        self.prefilled_at = Some(Instant::now());
    }

    /// A prompt that was broken off says nothing about the speed of one.
    pub(super) fn was_prefilled(&self) -> bool {
        self.prefilled_at.is_some()
    }

    pub(super) fn count_token(&mut self) {
        let now = Instant::now();
        self.first_token_at.get_or_insert(now);
        self.last_token_at = Some(now);
    }

    pub(super) fn timings(&self) -> Timings {
        let now = Instant::now();
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from),
            _ => Duration::ZERO,
        };
        let prefill_end = self.prefilled_at.or(Some(now));
        Timings {
            queue: self.started_at.saturating_duration_since(self.accepted_at),
            prefill: between(Some(self.started_at), prefill_end),
            decode: between(self.first_token_at, self.last_token_at),
            time_to_first_token: between(Some(self.accepted_at), self.first_token_at),
            total: now.saturating_duration_since(self.accepted_at),
        }
    }
}
