//! How fast the model has been, for planning the next generation.

use boca_core::{Timings, Usage};
use std::time::Duration;

/// The weight of a new measurement.
const NEW_SHARE: f64 = 0.3;
/// Fewer generated tokens measure the clock more than the model.
const MIN_DECODED_TOKENS: u32 = 4;
/// Fewer prompt tokens take as long as a step does, however few they are.
const MIN_READ_TOKENS: u32 = 16;

/// Moving averages of the speeds of past generations.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SpeedMeter {
    prefill_tokens_per_s: Option<f64>,
    decode_tokens_per_s: Option<f64>,
}

impl SpeedMeter {
    /// Takes a finished generation into account; the time of its prompt only when it was read alone and long enough.
    pub(super) fn record(&mut self, usage: &Usage, timings: &Timings, was_read_alone: bool) {
        let n_read = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        if was_read_alone
            && n_read >= MIN_READ_TOKENS
            && let Some(rate) = timings.prefill_tokens_per_s(usage)
        {
            self.prefill_tokens_per_s = Some(blend(self.prefill_tokens_per_s, rate, NEW_SHARE));
        }
        if usage.completion_tokens >= MIN_DECODED_TOKENS
            && let Some(rate) = timings.decode_tokens_per_s(usage)
        {
            self.decode_tokens_per_s = Some(blend(self.decode_tokens_per_s, rate, NEW_SHARE));
        }
    }

    /// Generated tokens per second, once known.
    pub(super) fn decode_tokens_per_s(&self) -> Option<f64> {
        self.decode_tokens_per_s
    }

    /// Prompt tokens per second, once known.
    pub(super) fn prefill_tokens_per_s(&self) -> Option<f64> {
        self.prefill_tokens_per_s
    }

    /// How long a prompt will probably take; nothing before the first measurement.
    pub(super) fn expected_prefill(&self, n_tokens: usize) -> Duration {
        match self.prefill_tokens_per_s {
            Some(rate) if rate > 0.0 => {
                Duration::try_from_secs_f64(n_tokens as f64 / rate).unwrap_or(Duration::MAX)
            }
            _ => Duration::ZERO,
        }
    }
}

/// A moving average that takes in a new value with this weight.
pub(super) fn blend(old: Option<f64>, new: f64, share: f64) -> f64 {
    old.map_or(new, |old| old + share * (new - old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_follow_what_was_measured() {
        let mut meter = SpeedMeter::default();
        assert_eq!((meter.decode_tokens_per_s(), meter.expected_prefill(100)), (None, Duration::ZERO));
        let usage = Usage { prompt_tokens: 100, completion_tokens: 11, ..Usage::default() };
        let timings =
            Timings { prefill: Duration::from_secs(1), decode: Duration::from_secs(2), ..Timings::default() };
        meter.record(&usage, &timings, true);
        assert_eq!(meter.decode_tokens_per_s(), Some(5.0));
        assert_eq!(meter.expected_prefill(200), Duration::from_secs(2));
        let faster = Timings { decode: Duration::from_secs(1), ..timings };
        meter.record(&usage, &faster, true);
        assert_eq!(meter.decode_tokens_per_s(), Some(6.5));
        meter.record(&Usage { completion_tokens: 2, ..usage }, &faster, true);
        assert_eq!(meter.decode_tokens_per_s(), Some(6.5));
        let slow = Timings { prefill: Duration::from_secs(60), ..timings };
        meter.record(&usage, &slow, false);
        meter.record(&Usage { cached_tokens: 99, ..usage }, &slow, true);
        assert_eq!(meter.expected_prefill(200), Duration::from_secs(2), "company and the cache do not show");
    }
}
