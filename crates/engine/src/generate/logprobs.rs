//! Log-probabilities of the unmodified distribution.

use super::random::exp;
use crate::text::Tokenizer;
use boca_core::{TokenLogprob, TopLogprob};

/// The log-probability of `chosen` and the `n_top` most likely tokens, best first, at temperature 1 and without
/// penalties. `logits` are finite.
pub(super) fn logprobs(logits: &[f32], chosen: u32, n_top: usize, tokenizer: &Tokenizer) -> TokenLogprob {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| exp(f64::from(*logit) - f64::from(highest))).sum();
    let log_sum = f64::from(highest) + sum.ln();
    let entry = |id: usize| {
        let bytes = tokenizer.token_bytes(id as u32).to_vec();
        TopLogprob {
            token: String::from_utf8_lossy(&bytes).into_owned(),
            logprob: (f64::from(logits[id]) - log_sum) as f32,
            bytes,
        }
    };
    TokenLogprob {
        chosen: entry(chosen as usize),
        top: most_likely(logits, n_top).into_iter().map(entry).collect(),
    }
}

/// The `n` highest logits, best first, in one pass; the lower id of two equals first.
fn most_likely(logits: &[f32], n: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(n + 1);
    for (id, logit) in logits.iter().enumerate() {
        if best.len() < n || best.last().is_some_and(|last| *logit > logits[*last]) {
            let place = best.partition_point(|other| logits[*other] >= *logit);
            best.insert(place, id);
            best.truncate(n);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equals_by_id() {
        assert_eq!(most_likely(&[1.0, 5.0, 3.0, 5.0, 4.0], 3), [1, 3, 4]);
        assert_eq!(most_likely(&[1.0, 2.0], 5), [1, 0]);
        assert_eq!(most_likely(&[1.0], 0), [0; 0]);
    }
}
