//! Tokens drawn where the logits are.
//!
//! The same rules in the same order as the host's sampler, in f32: the same number in `0.0..1.0` draws the same token but
//! where it falls on the border between two.

use super::{Result, int};
use crate::drawing::Draw;
use mlx_rs::ops::indexing::{TryIndexOp, argmax_axis};
use mlx_rs::ops::{arange, argsort_axis, exp, select};
use mlx_rs::{Array, Dtype};

/// Parts into which `0.0..1.0` is cut: the last one times any sum is below that sum in f32.
const UNITS: f64 = (1 << 23) as f64;

/// A step's tokens.
#[derive(Debug)]
pub(super) struct Drawn {
    /// `[n_rows]`, u32.
    pub(super) tokens: Array,
    /// `[n_rows]`: finite where all logits of the row are.
    pub(super) sums: Array,
}

/// One token for each row of `logits`, `[n_rows, vocab_size]` in f32; `forbidden` is added to each row.
pub(super) fn draw(logits: &Array, forbidden: Option<&Array>, draws: &[Draw]) -> Result<Drawn> {
    let sums = logits.sum_axis(-1, false)?;
    let allowed = match forbidden {
        Some(forbidden) => &logits.add(forbidden)?,
        None => logits,
    };
    let best = argmax_axis(allowed, -1, false)?;
    if draws.iter().all(is_greedy) {
        return Ok(Drawn { tokens: best, sums });
    }
    let column = |of: &dyn Fn(&Draw) -> f32| {
        let numbers: Vec<f32> = draws.iter().map(of).collect();
        Array::from_slice(&numbers, &[int(draws.len()), 1])
    };
    // A draw without temperature is of no use here: its row takes the most likely token in the end.
    let temperature = column(&|draw| if is_greedy(draw) { 1.0 } else { draw.temperature });
    let highest = allowed.max_axis(-1, true)?;
    let mut weights = exp(allowed.subtract(highest)?.divide(temperature)?)?;
    let n_tokens = weights.dim(-1);
    let ranks = arange::<_, u32>(None, n_tokens, None)?.expand_dims(0)?;
    let mut order = None;
    if draws.iter().any(is_sorted) {
        let by_weight = argsort_axis(weights.negative()?, -1)?;
        let is_sorted = column(&|draw| f32::from(u8::from(is_sorted(draw)))).as_dtype(Dtype::Bool)?;
        let ids = select(is_sorted, by_weight, &ranks)?;
        weights = weights.take_along_axis(&ids, -1)?;
        order = Some(ids);
        let all = n_tokens as f32;
        let most = column(&|draw| if draw.top_k == 0 { all } else { draw.top_k as f32 });
        weights = weights.multiply(ranks.as_dtype(Dtype::Float32)?.lt(most)?)?;
        // Those before it are less likely than asked; the first of them is kept in any case.
        let share = column(&|draw| if draw.top_p < 1.0 { draw.top_p.max(f32::MIN_POSITIVE) } else { 2.0 });
        let before = weights.cumsum(-1, false, false)?;
        weights = weights.multiply(before.lt(weights.sum_axis(-1, true)?.multiply(share)?)?)?;
    }
    let least = column(&|draw| draw.min_p);
    weights = weights.multiply(weights.ge(least)?)?;
    let sum = weights.cumsum(-1, false, true)?;
    let unit = column(&|draw| ((draw.unit * UNITS).floor() / UNITS) as f32);
    let target = sum.try_index((.., -1..))?.multiply(unit)?;
    // The first whose sum is above the target.
    let place = argmax_axis(sum.gt(target)?, -1, true)?;
    let drawn = match order {
        Some(ids) => ids.take_along_axis(&place, -1)?,
        None => place,
    };
    let is_greedy = column(&|draw| f32::from(u8::from(is_greedy(draw)))).as_dtype(Dtype::Bool)?;
    let tokens = select(is_greedy.squeeze_axes(&[-1])?, best, drawn.squeeze_axes(&[-1])?)?;
    Ok(Drawn { tokens: tokens.as_dtype(Dtype::Uint32)?, sums })
}

fn is_greedy(draw: &Draw) -> bool {
    draw.temperature <= 0.0 || draw.top_k == 1
}

/// Whether tokens are counted from the most likely one on.
fn is_sorted(draw: &Draw) -> bool {
    draw.top_k > 0 || draw.top_p < 1.0
}

/// What is added to every row of logits so that these ids are never drawn.
pub(super) fn forbidding(ids: &[u32], vocab_size: usize) -> Array {
    let mut row = vec![0.0; vocab_size];
    for id in ids {
        if let Some(number) = row.get_mut(*id as usize) {
            *number = f32::NEG_INFINITY;
        }
    }
    Array::from_slice(&row, &[1, int(vocab_size)])
}
