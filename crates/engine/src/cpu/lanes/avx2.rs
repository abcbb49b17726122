//! Eight lanes in one AVX2 register, with FMA and F16C.

use super::{Lanes, read_bits};
use std::arch::x86_64::*;

/// One 256-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Eight unsigned numbers of `BITS` bits as 32-bit lanes, from `BITS` bytes.
///
/// # Safety
/// AVX2 is there, and `from` is valid for reads of `BITS` bytes.
#[inline(always)]
pub(super) unsafe fn unpack8<const BITS: usize>(from: *const u8) -> __m256i {
    // SAFETY: reads are of exactly `BITS` bytes, as the caller vouches; the rest are register operations.
    unsafe {
        if BITS == 8 {
            return _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
        }
        let word = read_bits::<BITS>(from);
        let step = BITS as i32;
        let mask = _mm256_set1_epi32((1 << BITS) - 1);
        if BITS <= 4 {
            // All eight numbers lie in one 32-bit word.
            let shifts =
                _mm256_setr_epi32(0, step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step, 7 * step);
            let words = _mm256_set1_epi32(word as u32 as i32);
            _mm256_and_si256(_mm256_srlv_epi32(words, shifts), mask)
        } else {
            // Four numbers fit a 32-bit word.
            let low = _mm_set1_epi32(word as u32 as i32);
            let high = _mm_set1_epi32((word >> (4 * BITS)) as u32 as i32);
            let shifts = _mm256_setr_epi32(0, step, 2 * step, 3 * step, 0, step, 2 * step, 3 * step);
            _mm256_and_si256(_mm256_srlv_epi32(_mm256_set_m128i(high, low), shifts), mask)
        }
    }
}

/// Sum of eight lanes.
///
/// # Safety
/// AVX2 is there.
#[inline(always)]
pub(super) unsafe fn sum8(lanes: __m256) -> f32 {
    // SAFETY: register operations only.
    unsafe {
        let fours = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
        _mm_cvtss_f32(_mm_add_ss(twos, _mm_movehdup_ps(twos)))
    }
}

impl Lanes for Avx2 {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline]
        unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the caller vouches for the instruction set.
        unsafe { enter(work) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: a register operation.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight readable floats; the instruction needs no alignment.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight writable floats; the instruction needs no alignment.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: a register operation.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: a register operation.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { sum8(self.0) }
    }

    #[inline(always)]
    unsafe fn unpack<const BITS: usize>(from: *const u8) -> Self {
        // SAFETY: eight numbers of `BITS` bits are `BITS` bytes, which the caller vouches for.
        Self(unsafe { _mm256_cvtepi32_ps(unpack8::<BITS>(from)) })
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes; the load needs no alignment.
        unsafe {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))
        }
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes; the load needs no alignment.
        Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) })
    }
}
