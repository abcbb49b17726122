//! The rule by which a device draws, in f64, by sorting everything.

use boca_engine::drawing::Draw;

/// The token that these logits give.
pub(crate) fn draw_of(logits: &[f32], forbidden: &[u32], draw: Draw) -> u32 {
    let mut logits: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
    for id in forbidden {
        logits[*id as usize] = f64::NEG_INFINITY;
    }
    let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    if draw.temperature == 0.0 || draw.top_k == 1 {
        return best as u32;
    }
    let weight = |logit: f64| ((logit - logits[best]) / f64::from(draw.temperature)).exp();
    let mut kept: Vec<(usize, f64)> = logits.iter().map(|logit| weight(*logit)).enumerate().collect();
    let top_k = draw.top_k as usize;
    let is_counted = top_k > 0 && top_k < logits.len();
    if is_counted || draw.top_p < 1.0 {
        kept.sort_by(|a, b| b.1.total_cmp(&a.1));
    }
    if is_counted {
        kept.truncate(top_k);
    }
    if draw.top_p < 1.0 {
        let most = f64::from(draw.top_p) * kept.iter().map(|(_, weight)| weight).sum::<f64>();
        let before = kept.iter().scan(0.0, |sum, (_, weight)| {
            *sum += weight;
            Some(*sum - weight)
        });
        let n = before.take_while(|before| *before < most).count();
        kept.truncate(n.max(1));
    }
    kept.retain(|(_, weight)| *weight >= f64::from(draw.min_p));
    let mut left = draw.unit * kept.iter().map(|(_, weight)| weight).sum::<f64>();
    let place = kept.iter().position(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    kept[place.unwrap_or(kept.len() - 1)].0 as u32
}
