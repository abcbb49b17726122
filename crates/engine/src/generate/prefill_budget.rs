//! How many prompt tokens a step may take while others wait for their next token.
//!
//! A step lasts as long as everything in it. Without a bound, one long prompt would stop the text of everybody else
//! for as long as its chunks take; with too small a bound it would never be read. The bound is found by measuring: a
//! step with prompt tokens in it may last about twice as long as one without.
//!
//! What a prompt token costs depends on how many there are: in a mixture of experts each of the first few needs experts
//! of its own and costs nearly as much as a whole step, while hundreds share theirs. So only steps of this kind are
//! measured, never prompts that are read alone, and the bound grows from one token up, never more than twofold at once.

use super::speed::blend;
use std::time::Duration;

/// How much longer than a step without prompt tokens one with them may last.
const STRETCH: f64 = 2.0;
/// The weight of a new measurement.
const NEW_SHARE: f64 = 0.2;
/// A step counts as at most so much longer than was expected: else the system has let somebody else run.
const MOST_BELIEVED: f64 = 1.5;
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
    /// Seconds that a prompt token adds to a step in which others get their next one.
    token: Option<f64>,
    /// The most prompt tokens of such a step so far, lately.
    n_tried: usize,
}

impl PrefillBudget {
    /// At most `alone` tokens a step.
    pub(super) fn new(alone: usize) -> Self {
        Self { alone: alone.max(1), decode_step: None, measured_with: 0, n_since: 0, token: None, n_tried: 0 }
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
        let Some(token) = self.token else { return 1 };
        let affordable = (STRETCH - 1.0) * decode_step / token.max(f64::MIN_POSITIVE);
        // Saturates. At least one, so that every prompt is read in the end.
        let affordable = affordable.round() as usize;
        affordable.clamp(1, (2 * self.n_tried).clamp(1, self.alone))
    }

    /// A step of so many answers and prompt tokens took this long.
    pub(super) fn record(&mut self, n_decoding: usize, n_prompt: usize, took: Duration) {
        let took = took.as_secs_f64();
        if n_prompt == 0 {
            let comparable = self.decode_step.filter(|_| n_decoding == self.measured_with);
            let believed = comparable.map_or(took, |expected| took.min(MOST_BELIEVED * expected));
            self.decode_step = Some(blend(comparable, believed, NEW_SHARE));
            (self.measured_with, self.n_since) = (n_decoding, 0);
            return;
        }
        let (Some(decode_step), true) = (self.decode_step, n_decoding > 0) else { return };
        self.n_since += 1;
        // What ended prompts leave over is no reason to begin from one token again.
        self.n_tried = n_prompt.max(self.n_tried / 2);
        let expected = self.token.map(|token| decode_step + token * n_prompt as f64);
        let believed = expected.map_or(took, |expected| took.min(MOST_BELIEVED * expected));
        let token = (believed - decode_step).max(0.0) / n_prompt as f64;
        self.token = Some(blend(self.token, token, NEW_SHARE));
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
        assert_eq!(budget.tokens(1), 1, "many tokens at once say nothing about few");
    }

    #[test]
    fn beside_others_a_step_lasts_about_twice_as_long() {
        let mut budget = PrefillBudget::new(256);
        assert_eq!(budget.tokens(3), 0, "a step without prompt tokens is measured first");
        budget.record(3, 0, 20 * MS);
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let n = budget.tokens(3);
            sizes.push(n);
            budget.record(3, n, 20 * MS + n as u32 * MS / 2);
        }
        assert_eq!(sizes[..7], [1, 2, 4, 8, 16, 32, 40], "a token costs half a millisecond");
        for _ in 0..20 {
            budget.record(3, 40, 60 * MS);
        }
        assert_eq!(budget.tokens(3), 0, "now and then it is measured again");
        budget.record(3, 0, 20 * MS);
        assert_eq!(budget.tokens(3), 20, "it follows what is measured");
        assert_eq!(budget.tokens(4), 0, "a step of more answers is measured at once");
        for _ in 0..50 {
            budget.record(3, 0, Duration::from_nanos(1));
        }
        assert_eq!(budget.tokens(3), 1, "every prompt is read in the end");
        let mut free = PrefillBudget::new(2);
        free.record(1, 0, MS);
        for n in [1, 2, 2] {
            assert_eq!(free.tokens(1), n, "never more than alone");
            free.record(1, n, Duration::ZERO);
        }
    }

    #[test]
    fn one_slow_step_is_not_believed() {
        let mut budget = PrefillBudget::new(256);
        budget.record(1, 0, 10 * MS);
        for n in [1, 2, 4, 8, 10, 10] {
            budget.record(1, n, 10 * MS + n as u32 * MS);
        }
        assert_eq!(budget.tokens(1), 10);
        budget.record(1, 10, 1000 * MS);
        assert_eq!(budget.tokens(1), 8);
        budget.record(1, 0, 1000 * MS);
        assert!(budget.tokens(1) <= 10, "{}", budget.tokens(1));
    }
}
