//! Random numbers and the exponential that sampling draws from, the same on every platform.

/// What the state grows by.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small generator of well-mixed numbers. Its sequence is part of what "same seed, same text" promises, so it is
/// kept here instead of following a library's versions.
///
/// Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number of 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The number in `0.0..1.0` that comes after `n` others.
    pub(super) fn unit_at(seed: u64, n: u64) -> f64 {
        Self(seed.wrapping_add(GAMMA.wrapping_mul(n))).unit()
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A seed for a request that named none.
pub(super) fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hash keys come from the system's random numbers.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// `e^x` for `x <= 0`, in plain additions and multiplications: `f64::exp` calls the platform's library, and a last
/// bit that differs could pick another token.
pub(super) fn exp(x: f64) -> f64 {
    /// Smaller results are zero for a sampler.
    const LEAST: f64 = -700.0;
    /// ln 2 in two parts: the first times any `n` here is exact.
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < LEAST {
        return 0.0;
    }
    let n = (x * std::f64::consts::LOG2_E).round();
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // Taylor series on |r| <= ln(2)/2; the next term is below 2^-60.
    let mut sum = 1.0;
    for k in (1..=14).rev() {
        sum = 1.0 + sum * r / f64::from(k);
    }
    // n is between -1011 and 0, so the exponent field stays normal.
    sum * f64::from_bits(((1023 + n as i64) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_fixed() {
        let mut random = Random::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        let mut random = Random::new(9);
        assert!((0..100).all(|n| random.unit() == Random::unit_at(9, n)));
        assert!((0..1000).map(|_| random.unit()).all(|u| (0.0..1.0).contains(&u)));
    }

    #[test]
    fn the_exponential_agrees_with_the_library() {
        for i in 0..70_000 {
            let x = -f64::from(i) * 0.01;
            let (ours, library) = (exp(x), x.exp());
            assert!((ours - library).abs() <= library * 1e-14, "exp({x}) = {ours}, expected {library}");
        }
        assert_eq!((exp(0.0), exp(-701.0), exp(f64::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }
}
