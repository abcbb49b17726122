//! Attention of some query heads over one block of keys and values, with a running softmax.

use super::super::lanes::Lanes;
use super::elementwise::exp;
use super::tile::dot;
use super::{MAX_ACTIVATIONS, ROWS};

/// Tokens in a block of the KV cache.
pub(crate) const KV_BLOCK_TOKENS: usize = 32;
/// Query heads of one call.
pub(crate) const MAX_HEADS: usize = 16;

/// One query token's heads of one group, and the block of keys and values that they share.
#[derive(Debug)]
pub(crate) struct AttentionBlock<'a> {
    /// `[n_heads, head_dim]`, already scaled by `1 / sqrt(head_dim)`.
    pub(crate) queries: &'a [f32],
    /// `[KV_BLOCK_TOKENS, head_dim]`
    pub(crate) keys: &'a [f32],
    /// `[KV_BLOCK_TOKENS, head_dim]`
    pub(crate) values: &'a [f32],
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// How many of the block's tokens the query may see: at least one.
    pub(crate) n_tokens: usize,
    /// `[n_heads]`: the largest score so far; minus infinity before the first block.
    pub(crate) largest: &'a mut [f32],
    /// `[n_heads]`: sum of `exp(score - largest)`; zero before the first block.
    pub(crate) weight_sums: &'a mut [f32],
    /// `[n_heads, head_dim]`: sum of `exp(score - largest) * value`; zero before the first block.
    pub(crate) outputs: &'a mut [f32],
}

impl AttentionBlock<'_> {
    /// # Panics
    /// When a slice does not fit.
    #[inline]
    pub(super) fn check(&self) {
        let n_heads = self.largest.len();
        assert!((1..=MAX_HEADS).contains(&n_heads) && self.weight_sums.len() == n_heads, "heads");
        assert!((1..=KV_BLOCK_TOKENS).contains(&self.n_tokens), "tokens");
        let block = KV_BLOCK_TOKENS * self.head_dim;
        assert!(self.keys.len() == block && self.values.len() == block, "keys and values");
        let width = n_heads * self.head_dim;
        assert!(self.queries.len() == width && self.outputs.len() == width, "queries and outputs");
    }
}

/// Adds the block to the running sums.
///
/// # Safety
/// The instruction set of `V` exists, and `block.check()` has passed.
pub(super) unsafe fn attend<V: Lanes>(block: &mut AttentionBlock<'_>) {
    // SAFETY: as the caller vouches.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                let n_heads = block.largest.len();
                let mut first = 0;
                while first < n_heads {
                    match n_heads - first {
                        1 => heads::<V, 1>(block, first),
                        2 => heads::<V, 2>(block, first),
                        _ => heads::<V, MAX_ACTIVATIONS>(block, first),
                    }
                    first += MAX_ACTIVATIONS;
                }
            },
        )
    }
}

/// `R` heads from `first` on.
///
/// # Safety
/// Inside `V::vectorize`; the heads exist, and `block.check()` has passed.
#[inline(always)]
unsafe fn heads<V: Lanes, const R: usize>(block: &mut AttentionBlock<'_>, first: usize) {
    let (head_dim, n_tokens) = (block.head_dim, block.n_tokens);
    // What the query may not see keeps a score whose weight vanishes.
    let mut weights = [[f32::NEG_INFINITY; KV_BLOCK_TOKENS]; R];
    // SAFETY: heads and tokens are inside the slices, whose lengths were checked; tokens are clamped to those seen.
    unsafe {
        let queries: [*const f32; R] =
            std::array::from_fn(|r| block.queries.as_ptr().add((first + r) * head_dim));
        for token in (0..n_tokens).step_by(ROWS) {
            let keys: [*const f32; ROWS] =
                std::array::from_fn(|t| block.keys.as_ptr().add((token + t).min(n_tokens - 1) * head_dim));
            let scores = dot::<V, R>(keys, queries, head_dim);
            for (t, scores) in scores.iter().enumerate().take(n_tokens - token) {
                for r in 0..R {
                    weights[r][token + t] = scores[r].sum();
                }
            }
        }
        for (r, weights) in weights.iter_mut().enumerate() {
            let largest = weights.iter().copied().fold(block.largest[first + r], f32::max);
            let rescale = exp(block.largest[first + r] - largest);
            for weight in weights.iter_mut() {
                *weight = exp(*weight - largest);
            }
            let mut sum = V::splat(0.0);
            for lanes in weights.chunks_exact(V::N) {
                sum = sum.add(V::load(lanes.as_ptr()));
            }
            block.largest[first + r] = largest;
            block.weight_sums[first + r] = block.weight_sums[first + r] * rescale + sum.sum();
            let outputs = &mut block.outputs[(first + r) * head_dim..][..head_dim];
            for output in outputs {
                *output *= rescale;
            }
        }
        add_values::<V, R>(block, first, &weights);
    }
}

/// `outputs += weights · values`
///
/// # Safety
/// As [`heads`].
#[inline(always)]
unsafe fn add_values<V: Lanes, const R: usize>(
    block: &mut AttentionBlock<'_>,
    first: usize,
    weights: &[[f32; KV_BLOCK_TOKENS]; R],
) {
    let (head_dim, n_tokens) = (block.head_dim, block.n_tokens);
    let outputs = block.outputs[first * head_dim..(first + R) * head_dim].as_mut_ptr();
    let whole = head_dim - head_dim % V::N;
    // SAFETY: columns below `whole` are whole vectors inside a head; the rest is done number by number.
    unsafe {
        for column in (0..whole).step_by(V::N) {
            let mut sums: [V; R] = std::array::from_fn(|r| V::load(outputs.add(r * head_dim + column)));
            for (token, value) in block.values.chunks_exact(head_dim).enumerate().take(n_tokens) {
                let value = V::load(value.as_ptr().add(column));
                for r in 0..R {
                    sums[r] = V::splat(weights[r][token]).mul_add(value, sums[r]);
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                sum.store(outputs.add(r * head_dim + column));
            }
        }
        for column in whole..head_dim {
            for (r, weights) in weights.iter().enumerate() {
                let output = outputs.add(r * head_dim + column);
                for (token, weight) in weights.iter().enumerate().take(n_tokens) {
                    *output += weight * block.values[token * head_dim + column];
                }
            }
        }
    }
}
