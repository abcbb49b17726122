//! What happens between matrix products: norms, activations, sums.

use super::super::lanes::Lanes;
use super::tile::load_part;

/// `x = x / sqrt(mean(x²) + epsilon) * weight`
///
/// # Safety
/// The instruction set of `V` exists; both slices are equally long.
pub(super) unsafe fn rms_norm<V: Lanes>(x: &mut [f32], weight: &[f32], epsilon: f32) {
    // SAFETY: as the caller vouches.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                let square_sum = sum_of_squares::<V>(x);
                let factor = 1.0 / (square_sum / x.len() as f32 + epsilon).sqrt();
                for (x, weight) in x.iter_mut().zip(weight) {
                    *x = *x * factor * weight;
                }
            },
        )
    }
}

/// `gate = gate / (1 + exp(-gate)) * up`
///
/// # Safety
/// The instruction set of `V` exists; both slices are equally long.
pub(super) unsafe fn silu_mul<V: Lanes>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: as the caller vouches.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate = *gate / (1.0 + exp(-*gate)) * up;
                }
            },
        )
    }
}

/// `out += x * factor`
///
/// # Safety
/// The instruction set of `V` exists; both slices are equally long.
pub(super) unsafe fn add_scaled<V: Lanes>(out: &mut [f32], x: &[f32], factor: f32) {
    // SAFETY: as the caller vouches.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                for (out, x) in out.iter_mut().zip(x) {
                    *out += x * factor;
                }
            },
        )
    }
}

/// # Safety
/// Inside `V::vectorize`.
#[inline(always)]
unsafe fn sum_of_squares<V: Lanes>(x: &[f32]) -> f32 {
    let chunks = x.chunks_exact(V::N);
    let rest = chunks.remainder();
    // SAFETY: every chunk has `V::N` floats, the remainder fewer.
    unsafe {
        let mut sum = V::splat(0.0);
        for chunk in chunks {
            let x = V::load(chunk.as_ptr());
            sum = x.mul_add(x, sum);
        }
        let x = load_part::<V>(rest.as_ptr(), rest.len());
        x.mul_add(x, sum).sum()
    }
}

/// e to the power of x to within 2 units in the last place; arguments are clamped to where that is a normal number.
///
/// Branch-free, so that loops over it become vector code: x = n ln 2 + r with |r| ≤ ln 2 / 2, and the Taylor
/// polynomial of degree 7 is exact to 5e-9 there.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the mantissa's low bits.
    const ROUND: f32 = 12_582_912.0;
    /// 355 / 512: few enough bits that its product with n is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    /// ln 2 - 355 / 512
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    // Only meaningful for numbers; a NaN passes through the polynomial and stays one.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    sum * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in 0..=1_750_000 {
            let x = -87.0 + step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let error = ((f64::from(exp(x)) - exact) / exact).abs();
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }
}
