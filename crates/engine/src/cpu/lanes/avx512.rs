//! Sixteen lanes in one AVX-512 register. Unpacking is AVX2's, twice.

use super::Lanes;
use super::avx2::{sum8, unpack8};
use std::arch::x86_64::*;

/// One 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

impl Lanes for Avx512 {
    const N: usize = 16;

    #[inline(always)]
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx2,fma,f16c")]
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
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for sixteen readable floats; the instruction needs no alignment.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for sixteen writable floats; the instruction needs no alignment.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: a register operation.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: a register operation.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: register operations; the extraction through f64 needs only the foundation subset.
        unsafe {
            let low = _mm512_castps512_ps256(self.0);
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
            sum8(_mm256_add_ps(low, high))
        }
    }

    #[inline(always)]
    unsafe fn unpack<const BITS: usize>(from: *const u8) -> Self {
        // SAFETY: sixteen numbers of `BITS` bits are `2 * BITS` bytes, which the caller vouches for.
        unsafe {
            if BITS == 8 {
                return Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))));
            }
            let low = unpack8::<BITS>(from);
            let high = unpack8::<BITS>(from.add(BITS));
            Self(_mm512_cvtepi32_ps(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)))
        }
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 32 readable bytes; the load needs no alignment.
        unsafe {
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
        }
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 32 readable bytes; the load needs no alignment.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
    }
}
