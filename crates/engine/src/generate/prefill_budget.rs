//! How many prompt tokens a step may take while others wait for their next token.
//!
//! A step lasts as long as everything in it. Without a bound, one long prompt would stop the text of everybody else
//! for as long as its chunks take; with too small a bound it would never be read. The bound is found by measuring: a
//! step with prompt tokens in it may last about twice as long as one without.

use super::speed::blend;
use std::time::Duration;

/// How much longer than a step without prompt tokens one with them may last.
const STRETCH: f64 = 2.0;
/// The weight of a new measurement.
const NEW_SHARE: f64 = 0.2;
/// The least tokens that a step takes, so that every prompt is read in the end; and the tokens of a step before
/// anything was measured.
const LEAST: usize = 4;
/// After so many steps with prompt tokens one without them is measured again.
const MEASURE_AFTER: u32 = 32;

/// What was measured, and the bound that follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct PrefillBudget {
    /// The bound when nobody waits for a token.
    alone: usize,
    /// Seconds of a step without prompt tokens.
    decode_step: Option<f64>,
    /// Of how many answers that was.
    measured_with: usize,
    /// Steps with prompt tokens since then.
    n_since: u32,
    /// Seconds that a prompt token adds to a step.
    token: Option<f64>,
}

impl PrefillBudget {
    /// At most `alone` tokens a step.
    pub(super) fn new(alone: usize) -> Self {
        Self { alone: alone.max(1), decode_step: None, measured_with: 0, n_since: 0, token: None }
    }

    /// Prompt tokens of the next step, in which so many answers get their next token; now and then none, to measure.
    pub(super) fn tokens(&self, n_decoding: usize) -> usize {
        if n_decoding == 0 {
            return self.alone;
        }
        let Some(decode_step) = self.decode_step else { return 0 };
        if self.n_since >= MEASURE_AFTER || n_decoding > self.measured_with {
            return 0;
        }
        let Some(token) = self.token else { return LEAST.min(self.alone) };
        let affordable = (STRETCH - 1.0) * decode_step / token.max(f64::MIN_POSITIVE);
        // Saturates.
        (affordable as usize).clamp(LEAST.min(self.alone), self.alone)
    }

    /// A step of so many answers and prompt tokens took this long.
    pub(super) fn record(&mut self, n_decoding: usize, n_prompt: usize, took: Duration) {
        let took = took.as_secs_f64();
        if n_prompt == 0 {
            let comparable = self.decode_step.filter(|_| n_decoding == self.measured_with);
            self.decode_step = Some(blend(comparable, took, NEW_SHARE));
            (self.measured_with, self.n_since) = (n_decoding, 0);
            return;
        }
        if n_decoding > 0 {
            self.n_since += 1;
        }
        // Fewer take as long as a step does, however few they are.
        if n_prompt >= LEAST {
            let of_decoding = if n_decoding > 0 { self.decode_step.unwrap_or(0.0) } else { 0.0 };
            let token = (took - of_decoding).max(0.0) / n_prompt as f64;
            self.token = Some(blend(self.token, token, NEW_SHARE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_prompt_alone_takes_whole_chunks() {
        let mut budget = PrefillBudget::new(256);
        assert_eq!(budget.tokens(0), 256);
        budget.record(1, 0, MS);
        budget.record(0, 256, 1000 * MS);
        assert_eq!(budget.tokens(0), 256);
    }

    #[test]
    fn beside_others_a_step_lasts_about_twice_as_long() {
        let mut budget = PrefillBudget::new(256);
        assert_eq!(budget.tokens(3), 0, "a step without prompt tokens is measured first");
        budget.record(3, 0, 20 * MS);
        assert_eq!(budget.tokens(3), 4);
        budget.record(3, 4, 22 * MS);
        assert_eq!(budget.tokens(3), 40, "a token costs half a millisecond");
        for _ in 0..31 {
            budget.record(3, 40, 60 * MS);
        }
        assert_eq!(budget.tokens(3), 0, "now and then it is measured again");
        budget.record(3, 0, 20 * MS);
        assert_eq!(budget.tokens(3), 20, "it follows what is measured");
        assert_eq!(budget.tokens(4), 0, "a step of more answers is measured at once");
        budget.record(3, 0, Duration::ZERO);
        for _ in 0..50 {
            budget.record(3, 0, Duration::from_nanos(1));
        }
        assert_eq!(budget.tokens(3), 4, "every prompt is read in the end");
        let mut free = PrefillBudget::new(2);
        free.record(1, 0, MS);
        free.record(1, 1, Duration::ZERO);
        assert_eq!(free.tokens(1), 2, "never more than alone");
    }
}
