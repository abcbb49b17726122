//! Which experts a token goes to, and with what weight.
//!
//! Source: the router of DeepSeek-V3 (2024) as GLM-4.5 uses it: sigmoid scores, a bias that only the choice sees,
//! and a choice that is limited to the best groups.

use crate::checkpoint::ModelConfig;

/// What the rule needs of the config.
#[derive(Debug, Clone, Copy)]
pub(super) struct Router {
    n_experts: usize,
    n_experts_per_token: usize,
    n_group: usize,
    topk_group: usize,
    norm_topk_prob: bool,
    routed_scaling_factor: f32,
}

/// One expert of one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Route {
    pub(super) expert: usize,
    pub(super) weight: f32,
}

/// Reused memory.
#[derive(Debug, Default)]
pub(super) struct RouterScratch {
    scores: Vec<f32>,
    biased: Vec<f32>,
    group_scores: Vec<f32>,
}

impl Router {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self {
            n_experts: config.n_experts,
            n_experts_per_token: config.n_experts_per_token,
            n_group: config.n_group.max(1),
            topk_group: config.topk_group,
            norm_topk_prob: config.norm_topk_prob,
            routed_scaling_factor: config.routed_scaling_factor,
        }
    }

    /// Appends the experts of one token to `routes`, best first; of equal ones the first.
    pub(super) fn choose(
        &self,
        logits: &[f32],
        correction_bias: &[f32],
        scratch: &mut RouterScratch,
        routes: &mut Vec<Route>,
    ) {
        let RouterScratch { scores, biased, group_scores } = scratch;
        scores.clear();
        scores.extend(logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())));
        biased.clear();
        biased.extend(scores.iter().zip(correction_bias).map(|(score, bias)| score + bias));
        if self.n_group > 1 {
            let group_size = self.n_experts / self.n_group;
            group_scores.clear();
            group_scores.extend(biased.chunks_exact(group_size).map(sum_of_top_two));
            for _ in self.topk_group..self.n_group {
                let worst = index_of_best(group_scores, |a, b| a < b);
                group_scores[worst] = f32::INFINITY;
                // Zero, not minus infinity: that is what the reference does, and it matters when biases are negative.
                biased[worst * group_size..(worst + 1) * group_size].fill(0.0);
            }
        }
        let first = routes.len();
        for _ in 0..self.n_experts_per_token {
            let expert = index_of_best(biased, |a, b| a > b);
            biased[expert] = f32::NEG_INFINITY;
            routes.push(Route { expert, weight: scores[expert] });
        }
        let chosen = &mut routes[first..];
        if self.norm_topk_prob && self.n_experts_per_token > 1 {
            // The small number only keeps a sum of zeros from making NaN.
            let sum = chosen.iter().map(|route| route.weight).sum::<f32>() + 1e-20;
            chosen.iter_mut().for_each(|route| route.weight /= sum);
        }
        chosen.iter_mut().for_each(|route| route.weight *= self.routed_scaling_factor);
    }
}

/// The first index whose score no other one beats.
fn index_of_best(scores: &[f32], beats: impl Fn(f32, f32) -> bool) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if beats(*score, scores[best]) {
            best = index;
        }
    }
    best
}

fn sum_of_top_two(scores: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &score in scores {
        if score > first {
            (first, second) = (score, first);
        } else if score > second {
            second = score;
        }
    }
    if second == f32::NEG_INFINITY { first } else { first + second }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(router: Router, logits: &[f32], bias: &[f32]) -> Vec<Route> {
        let mut routes = Vec::new();
        router.choose(logits, bias, &mut RouterScratch::default(), &mut routes);
        routes
    }

    fn router(n_experts: usize, n_experts_per_token: usize) -> Router {
        Router {
            n_experts,
            n_experts_per_token,
            n_group: 1,
            topk_group: 1,
            norm_topk_prob: false,
            routed_scaling_factor: 1.0,
        }
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn bias_changes_the_choice_and_not_the_weight() {
        let routes = choose(router(4, 2), &[1.0, 2.0, 0.0, -1.0], &[0.0, 0.0, 0.9, 0.0]);
        let expected = [Route { expert: 2, weight: sigmoid(0.0) }, Route { expert: 1, weight: sigmoid(2.0) }];
        assert_eq!(routes, expected);
    }

    #[test]
    fn weights_are_normalised_then_scaled() {
        let router = Router { norm_topk_prob: true, routed_scaling_factor: 2.5, ..router(3, 2) };
        let routes = choose(router, &[3.0, 1.0, 0.0], &[0.0; 3]);
        let sum = sigmoid(3.0) + sigmoid(1.0);
        assert!((routes[0].weight - 2.5 * sigmoid(3.0) / sum).abs() < 1e-6);
        assert!((routes.iter().map(|route| route.weight).sum::<f32>() - 2.5).abs() < 1e-6);
    }

    #[test]
    fn a_single_expert_is_not_normalised() {
        let router = Router { norm_topk_prob: true, ..router(3, 1) };
        assert_eq!(choose(router, &[0.0, 1.0, 0.5], &[0.0; 3]), [Route { expert: 1, weight: sigmoid(1.0) }]);
    }

    #[test]
    fn only_the_best_groups_are_open() {
        // Group 0 has the single best expert, group 1 the better pair.
        let router = Router { n_group: 2, topk_group: 1, ..router(4, 2) };
        let routes = choose(router, &[2.0, -5.0, 1.5, 1.0], &[0.0; 4]);
        assert_eq!(routes.iter().map(|route| route.expert).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_closed_group_counts_as_zero_so_it_beats_a_negative_score() {
        let router = Router { n_group: 2, topk_group: 1, ..router(4, 2) };
        let routes = choose(router, &[0.0, 0.0, 0.0, 0.0], &[1.0, -0.9, -0.5, -0.5]);
        assert_eq!(routes.iter().map(|route| route.expert).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn scores_that_are_not_numbers_still_give_as_many_experts() {
        let routes = choose(router(3, 3), &[f32::NAN; 3], &[0.0; 3]);
        assert_eq!(routes.len(), 3);
    }
}
