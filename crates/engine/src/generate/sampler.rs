//! Picks the next token from the logits.
//!
//! Order, as Hugging Face's `generate` has it: repetition penalty, presence and frequency penalty, logit bias; then
//! either the most likely token (temperature 0) or: temperature, top-k, top-p, min-p, and a draw from what is left.

use super::random::{Random, exp, fresh_seed};
use crate::drawing::Draw;
use boca_core::Sampling;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// A logit that is not a number, or is infinite: the device computed nonsense.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum BadLogit {
    /// This one.
    Of { token: usize, value: f32 },
    /// The device, which drew from them, does not say which.
    Unknown,
}

impl fmt::Display for BadLogit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of { token, value } => write!(f, "the logit of token {token} is {value}"),
            Self::Unknown => f.write_str("a logit is not finite"),
        }
    }
}

/// How many of the most likely candidates are sorted at first, for top-p; each further try takes eight times more.
const FIRST_SORTED: usize = 64;

/// One token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    /// Probability up to a common factor; the most likely token has 1.
    weight: f64,
}

/// Best first; the lower id of two equals.
fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

/// The sampler of one generation.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    seed: u64,
    /// How many tokens were drawn from it.
    n_drawn: u64,
    /// Ids that the head computes and no token has.
    unknown_ids: Arc<[u32]>,
    /// Tokens of the prompt and of the answer so far.
    seen: HashSet<u32>,
    /// How often each token was generated.
    generated: HashMap<u32, u32>,
    /// `[vocab_size]`, reused.
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler for an answer to `prompt`. `unknown_ids` are never picked.
    pub(super) fn new(sampling: Sampling, prompt: &[u32], unknown_ids: Arc<[u32]>) -> Self {
        let seen = if sampling.repetition_penalty == 1.0 {
            HashSet::new()
        } else {
            prompt.iter().copied().collect()
        };
        Self {
            seed: sampling.seed.unwrap_or_else(fresh_seed),
            n_drawn: 0,
            sampling,
            unknown_ids,
            seen,
            generated: HashMap::new(),
            logits: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Counts a token as generated, picked here or fed by force.
    pub(super) fn accept(&mut self, id: u32) {
        *self.generated.entry(id).or_default() += 1;
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.insert(id);
        }
    }

    /// Picks a token.
    pub(super) fn pick(&mut self, logits: &[f32]) -> Result<u32, BadLogit> {
        if let Some(token) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(BadLogit::Of { token, value: logits[token] });
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.penalise();
        let best = self.most_likely();
        if self.rules(0.0).is_greedy() {
            return Ok(best);
        }
        self.weigh(self.logits[best as usize]);
        self.keep_top_k();
        self.keep_top_p();
        let least = f64::from(self.sampling.min_p);
        self.candidates.retain(|candidate| candidate.weight >= least);
        Ok(self.draw_here().unwrap_or(best))
    }

    /// The rules, for this number.
    fn rules(&self, unit: f64) -> Draw {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        Draw { temperature, top_k, top_p, min_p, unit }
    }

    /// Whether temperature, top-k, top-p and min-p are all that there is.
    pub(super) fn is_plain(&self) -> bool {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, logit_bias, .. } =
            &self.sampling;
        *repetition_penalty == 1.0
            && *presence_penalty == 0.0
            && *frequency_penalty == 0.0
            && logit_bias.is_empty()
    }

    /// How a device draws the token that [`Sampler::pick`] would pick after `n_more` others.
    pub(super) fn draw(&self, n_more: usize) -> Draw {
        self.rules(Random::unit_at(self.seed, self.n_drawn + n_more as u64))
    }

    /// A token was drawn as [`Sampler::draw`] said.
    pub(super) fn drawn(&mut self) {
        self.n_drawn += 1;
    }

    fn penalise(&mut self) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, logit_bias, .. } =
            &self.sampling;
        for id in &self.seen {
            if let Some(logit) = self.logits.get_mut(*id as usize) {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            }
        }
        if *presence_penalty != 0.0 || *frequency_penalty != 0.0 {
            for (id, count) in &self.generated {
                if let Some(logit) = self.logits.get_mut(*id as usize) {
                    *logit -= presence_penalty + frequency_penalty * *count as f32;
                }
            }
        }
        for (id, bias) in logit_bias {
            if let Some(logit) = self.logits.get_mut(*id as usize) {
                *logit += bias;
            }
        }
        for id in self.unknown_ids.iter() {
            if let Some(logit) = self.logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// The highest logit; the lowest id of equals.
    fn most_likely(&self) -> u32 {
        let mut best = 0;
        for (id, logit) in self.logits.iter().enumerate() {
            if *logit > self.logits[best] {
                best = id;
            }
        }
        best as u32
    }

    /// Softmax at the temperature, without the division by the sum.
    fn weigh(&mut self, highest: f32) {
        let temperature = f64::from(self.sampling.temperature);
        self.candidates.clear();
        for (id, logit) in self.logits.iter().enumerate() {
            let weight = exp((f64::from(*logit) - f64::from(highest)) / temperature);
            if weight > 0.0 {
                self.candidates.push(Candidate { id: id as u32, weight });
            }
        }
    }

    fn keep_top_k(&mut self) {
        let k = self.sampling.top_k as usize;
        if k == 0 || k >= self.logits.len() {
            return;
        }
        if k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, by_weight);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(by_weight);
    }

    /// Keeps the fewest of the most likely tokens that together reach `top_p`. Sorts only as many as it takes.
    fn keep_top_p(&mut self) {
        let top_p = f64::from(self.sampling.top_p);
        if top_p >= 1.0 || self.candidates.len() < 2 {
            return;
        }
        let total: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut n_sorted = FIRST_SORTED;
        loop {
            let n = n_sorted.min(self.candidates.len());
            if n < self.candidates.len() {
                self.candidates.select_nth_unstable_by(n - 1, by_weight);
            }
            self.candidates[..n].sort_unstable_by(by_weight);
            let mut sum = 0.0;
            let reached = self.candidates[..n].iter().position(|candidate| {
                sum += candidate.weight;
                sum >= top_p * total
            });
            match reached {
                Some(last) => return self.candidates.truncate(last + 1),
                None if n == self.candidates.len() => return,
                None => n_sorted *= 8,
            }
        }
    }

    fn draw_here(&mut self) -> Option<u32> {
        let total: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = Random::unit_at(self.seed, self.n_drawn) * total;
        self.drawn();
        for candidate in &self.candidates {
            left -= candidate.weight;
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        self.candidates.last().map(|candidate| candidate.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(sampling, &[], Arc::from([]))
    }

    fn warm(temperature: f32) -> Sampling {
        Sampling { temperature, seed: Some(7), ..Sampling::greedy() }
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_equals() {
        assert_eq!(sampler(Sampling::greedy()).pick(&[1.0, 3.0, 3.0, 2.0]), Ok(1));
    }

    #[test]
    fn nonsense_is_reported_with_its_place() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bad = sampler(Sampling::greedy()).pick(&[0.0, value]).unwrap_err();
            assert_eq!(bad.to_string(), format!("the logit of token 1 is {value}"));
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        // Weights 1 : 2 : 4 : 8 at temperature 1, and their squares at temperature 0.5.
        let logits: Vec<f32> = (0..4).map(|i| i as f32 * std::f32::consts::LN_2).collect();
        for (temperature, weights) in [(1.0, [1.0, 2.0, 4.0, 8.0]), (0.5, [1.0, 4.0, 16.0, 64.0])] {
            let mut sampler = sampler(warm(temperature));
            let n = 40_000;
            let mut counts = [0u32; 4];
            for _ in 0..n {
                counts[sampler.pick(&logits).unwrap() as usize] += 1;
            }
            let total: f64 = weights.iter().sum();
            let chi_square: f64 = counts
                .iter()
                .zip(weights)
                .map(|(count, weight)| {
                    let expected = f64::from(n) * weight / total;
                    (f64::from(*count) - expected).powi(2) / expected
                })
                .sum();
            // Three degrees of freedom: more than 16.3 happens once in a thousand seeds, and this seed is fixed.
            assert!(chi_square < 16.3, "{counts:?}: {chi_square}");
        }
    }

    #[test]
    fn penalties_touch_what_they_should() {
        let logits = [2.0, 1.9, -1.0];
        let mut repetition =
            Sampler::new(Sampling { repetition_penalty: 1.5, ..Sampling::greedy() }, &[0], Arc::from([]));
        assert_eq!(repetition.pick(&logits), Ok(1), "a token of the prompt is held back");
        let mut presence =
            Sampler::new(Sampling { presence_penalty: 0.5, ..Sampling::greedy() }, &[0], Arc::from([]));
        assert_eq!(presence.pick(&logits), Ok(0), "the prompt does not count");
        presence.accept(0);
        assert_eq!(presence.pick(&logits), Ok(1));
        let mut frequency = sampler(Sampling { frequency_penalty: 0.06, ..Sampling::greedy() });
        frequency.accept(0);
        assert_eq!(frequency.pick(&logits), Ok(0));
        frequency.accept(0);
        assert_eq!(frequency.pick(&logits), Ok(1));
        let mut bias = sampler(Sampling { logit_bias: vec![(2, 100.0)], ..Sampling::greedy() });
        assert_eq!(bias.pick(&logits), Ok(2));
        let mut unknown = Sampler::new(Sampling::greedy(), &[], Arc::from([0, 1]));
        assert_eq!(unknown.pick(&logits), Ok(2), "ids without a token are never picked");
    }

    /// Sorts everything: what the partial selection must agree with.
    fn kept_by_full_sort(logits: &[f32], sampling: &Sampling) -> HashSet<u32> {
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let weight =
            |logit: f32| exp((f64::from(logit) - f64::from(highest)) / f64::from(sampling.temperature));
        let mut all: Vec<Candidate> = logits
            .iter()
            .enumerate()
            .map(|(id, l)| Candidate { id: id as u32, weight: weight(*l) })
            .collect();
        all.sort_by(by_weight);
        if sampling.top_k > 0 {
            all.truncate(sampling.top_k as usize);
        }
        let total: f64 = all.iter().map(|c| c.weight).sum();
        let mut sum = 0.0;
        let mut kept = HashSet::new();
        for candidate in all {
            if candidate.weight >= f64::from(sampling.min_p) {
                kept.insert(candidate.id);
            }
            sum += candidate.weight;
            if sum >= f64::from(sampling.top_p) * total * (1.0 + 1e-12) {
                break;
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn only_kept_tokens_are_drawn(
            logits in proptest::collection::vec(-8.0f32..8.0, 2..400),
            temperature in 0.1f32..2.0,
            top_k in 0u32..90,
            top_p in 0.05f32..1.0,
            min_p in 0.0f32..0.5,
            seed in any::<u64>(),
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, seed: Some(seed), ..Sampling::greedy() };
            let kept = kept_by_full_sort(&logits, &sampling);
            let mut sampler = sampler(sampling.clone());
            for _ in 0..20 {
                let id = sampler.pick(&logits).unwrap();
                prop_assert!(kept.contains(&id), "{} of {:?}", id, kept);
            }
        }

        #[test]
        fn narrow_settings_are_greedy(logits in proptest::collection::vec(-8.0f32..8.0, 2..200), seed in any::<u64>()) {
            let greedy = sampler(Sampling::greedy()).pick(&logits).unwrap();
            for narrow in [
                Sampling { top_k: 1, ..warm(1.5) },
                Sampling { top_p: 0.0, ..warm(1.5) },
                Sampling { temperature: 1e-9, ..warm(1.0) },
            ] {
                let picked = sampler(Sampling { seed: Some(seed), ..narrow }).pick(&logits).unwrap();
                prop_assert_eq!(logits[picked as usize], logits[greedy as usize]);
            }
        }

        #[test]
        fn a_seed_fixes_every_draw(logits in proptest::collection::vec(-4.0f32..4.0, 2..100), seed in any::<u64>()) {
            let draw = || {
                let mut sampler = sampler(Sampling { seed: Some(seed), ..warm(1.0) });
                (0..20).map(|_| sampler.pick(&logits).unwrap()).collect::<Vec<_>>()
            };
            prop_assert_eq!(draw(), draw());
        }
    }
}
