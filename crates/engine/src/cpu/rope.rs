//! Rotary position embedding of the first `rotary_dim` numbers of a head, in non-interleaved halves.
//!
//! Source: Su et al., RoFormer (2021); `traditional = false` of mlx's `RoPE`.

/// The rotation speeds of a model.
#[derive(Debug)]
pub(super) struct Rope {
    /// Radians a token, `[rotary_dim / 2]`. In f64: an f32 angle at position 100,000 is off by 0.006.
    speeds: Vec<f64>,
}

/// Sines and cosines of the positions of one step: computed once, used by every layer and head.
#[derive(Debug, Default)]
pub(super) struct Rotations {
    /// `[n_rows, rotary_dim / 2]` of (cosine, sine)
    pairs: Vec<(f32, f32)>,
    half: usize,
}

impl Rope {
    /// For heads of which `rotary_dim` numbers are rotated.
    pub(super) fn new(rotary_dim: usize, theta: f32) -> Self {
        let half = rotary_dim / 2;
        let speed = |i: usize| f64::from(theta).powf(-(i as f64) / half as f64);
        Self { speeds: (0..half).map(speed).collect() }
    }

    /// Fills `rotations` for rows at these positions.
    pub(super) fn prepare(&self, positions: impl Iterator<Item = usize>, rotations: &mut Rotations) {
        rotations.half = self.speeds.len();
        rotations.pairs.clear();
        for position in positions {
            rotations.pairs.extend(self.speeds.iter().map(|speed| {
                let (sine, cosine) = (position as f64 * speed).sin_cos();
                (cosine as f32, sine as f32)
            }));
        }
    }
}

impl Rotations {
    /// Rotates a head of a row.
    pub(super) fn apply(&self, row: usize, head: &mut [f32]) {
        let pairs = &self.pairs[row * self.half..(row + 1) * self.half];
        let (first, second) = head[..2 * self.half].split_at_mut(self.half);
        for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(pairs) {
            (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_halves_and_leaves_the_rest() {
        let rope = Rope::new(4, 10_000.0);
        let mut rotations = Rotations::default();
        rope.prepare([0, 3].into_iter(), &mut rotations);
        let head = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut still = head;
        rotations.apply(0, &mut still);
        assert_eq!(still, head);
        let mut turned = head;
        rotations.apply(1, &mut turned);
        let (fast, slow) = (3.0f32, 0.03f32);
        let expected = [
            fast.cos() - 3.0 * fast.sin(),
            2.0 * slow.cos() - 4.0 * slow.sin(),
            fast.sin() + 3.0 * fast.cos(),
            2.0 * slow.sin() + 4.0 * slow.cos(),
            5.0,
            6.0,
        ];
        for (turned, expected) in turned.iter().zip(expected) {
            assert!((turned - expected).abs() < 1e-6, "{turned} is not {expected}");
        }
    }
}
