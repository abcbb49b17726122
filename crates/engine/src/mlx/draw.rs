//! Tokens drawn where the logits are.
//!
//! The same rules in the same order as the host's sampler, with the same number in `0.0..1.0`, but in f32: the same token is
//! drawn but where the number falls on the border between two, which sums of a large vocabulary move by some 1e-5.

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
    if draws.iter().all(Draw::is_greedy) {
        return Ok(Drawn { tokens: best, sums });
    }
    let column = |of: &dyn Fn(&Draw) -> f32| {
        let numbers: Vec<f32> = draws.iter().map(of).collect();
        Array::from_slice(&numbers, &[int(draws.len()), 1])
    };
    let flags =
        |of: &dyn Fn(&Draw) -> bool| column(&|draw| f32::from(u8::from(of(draw)))).as_dtype(Dtype::Bool);
    // A draw without temperature is of no use here: its row takes the most likely token in the end.
    let temperature = column(&|draw| if draw.is_greedy() { 1.0 } else { draw.temperature });
    let highest = allowed.max_axis(-1, true)?;
    let mut weights = exp(allowed.subtract(highest)?.divide(temperature)?)?;
    let n_tokens = weights.dim(-1);
    let ranks = arange::<_, u32>(None, n_tokens, None)?.expand_dims(0)?;
    let mut order = None;
    let is_ranked = |draw: &Draw| draw.is_ranked(n_tokens as usize);
    if draws.iter().any(is_ranked) {
        let by_weight = argsort_axis(weights.negative()?, -1)?;
        let ids = select(flags(&is_ranked)?, by_weight, &ranks)?;
        weights = weights.take_along_axis(&ids, -1)?;
        order = Some(ids);
        let all = n_tokens as f32;
        let most = column(&|draw| if draw.top_k == 0 { all } else { draw.top_k as f32 });
        weights = weights.multiply(ranks.as_dtype(Dtype::Float32)?.lt(most)?)?;
        // Those before it are less likely than asked; the first of them is kept in any case.
        let share = column(&|draw| if draw.top_p < 1.0 { draw.top_p.max(f32::MIN_POSITIVE) } else { 2.0 });
        let sum = weights.cumsum(-1, false, true)?;
        let before = sum.subtract(&weights)?;
        weights = weights.multiply(before.lt(last_of(&sum)?.multiply(share)?)?)?;
    }
    let least = column(&|draw| draw.min_p);
    weights = weights.multiply(weights.ge(least)?)?;
    let sum = weights.cumsum(-1, false, true)?;
    let unit = column(&|draw| ((draw.unit * UNITS).floor() / UNITS) as f32);
    let target = last_of(&sum)?.multiply(unit)?;
    // The first whose sum is above the target. A graphics processor adds in another order at each place, so that the sum may
    // rise where nothing is added: what has no weight is left out in so many words.
    let is_above = sum.gt(target)?.logical_and(weights.gt(Array::from_f32(0.0))?)?;
    let place = argmax_axis(&is_above, -1, true)?;
    let drawn = match order {
        Some(ids) => ids.take_along_axis(&place, -1)?,
        None => place,
    };
    let is_drawn = is_above.any_axis(-1, true)?.logical_and(flags(&|draw| !draw.is_greedy())?)?;
    let tokens = select(is_drawn.squeeze_axes(&[-1])?, drawn.squeeze_axes(&[-1])?, best)?;
    Ok(Drawn { tokens: tokens.as_dtype(Dtype::Uint32)?, sums })
}

/// `[n_rows, 1]`
fn last_of(sums: &Array) -> Result<Array> {
    sums.try_index((.., -1..))
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
