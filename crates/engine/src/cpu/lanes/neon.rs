//! Eight lanes in two NEON registers: twice the work for each instruction's latency.

use super::{Lanes, read_bits};
use std::arch::aarch64::*;

/// Two 128-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t, float32x4_t);

/// Four IEEE halves, zero-extended to 32 bits, as floats.
///
/// # Safety
/// NEON is there.
#[inline(always)]
unsafe fn widen_f16_bits(halves: uint32x4_t) -> float32x4_t {
    // SAFETY: register operations only.
    unsafe {
        let sign = vshlq_n_u32::<16>(vandq_u32(halves, vdupq_n_u32(0x8000)));
        let magnitude = vandq_u32(halves, vdupq_n_u32(0x7fff));
        // Exponent and mantissa moved into a float's place are off by 2^112; the product also mends subnormals.
        let scaled = vmulq_f32(
            vreinterpretq_f32_u32(vshlq_n_u32::<13>(magnitude)),
            vdupq_n_f32(f32::from_bits(0x7780_0000)),
        );
        // Infinity and NaN keep the largest exponent.
        let special = vcgeq_u32(magnitude, vdupq_n_u32(0x7c00));
        let exponent = vandq_u32(special, vdupq_n_u32(0x7f80_0000));
        vreinterpretq_f32_u32(vorrq_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), exponent), sign))
    }
}

impl Lanes for Neon {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "neon")]
        #[inline]
        unsafe fn enter<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        // SAFETY: the caller vouches for the instruction set.
        unsafe { enter(work) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: register operations.
        unsafe { Self(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight readable floats; the loads are of bytes, which need no alignment.
        unsafe {
            let bytes = from.cast::<u8>();
            Self(vreinterpretq_f32_u8(vld1q_u8(bytes)), vreinterpretq_f32_u8(vld1q_u8(bytes.add(16))))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight writable floats; the stores are of bytes, which need no alignment.
        unsafe {
            let bytes = to.cast::<u8>();
            vst1q_u8(bytes, vreinterpretq_u8_f32(self.0));
            vst1q_u8(bytes.add(16), vreinterpretq_u8_f32(self.1));
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: register operations.
        unsafe { Self(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: register operations.
        unsafe { Self(vfmaq_f32(addend.0, self.0, factor.0), vfmaq_f32(addend.1, self.1, factor.1)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: register operations.
        unsafe { vaddvq_f32(vaddq_f32(self.0, self.1)) }
    }

    #[inline(always)]
    unsafe fn unpack<const BITS: usize>(from: *const u8) -> Self {
        // SAFETY: eight numbers of `BITS` bits are `BITS` bytes, which the caller vouches for.
        unsafe {
            if BITS == 8 {
                let words = vmovl_u8(vld1_u8(from));
                return Self(
                    vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))),
                    vcvtq_f32_u32(vmovl_u16(vget_high_u16(words))),
                );
            }
            // Four numbers of up to six bits fit a 32-bit word.
            let word = read_bits::<BITS>(from);
            let step = BITS as i32;
            let right_shifts = vld1q_s32([0, -step, -2 * step, -3 * step].as_ptr());
            let mask = vdupq_n_u32((1 << BITS) - 1);
            let low = vshlq_u32(vdupq_n_u32(word as u32), right_shifts);
            let high = vshlq_u32(vdupq_n_u32((word >> (4 * BITS)) as u32), right_shifts);
            Self(vcvtq_f32_u32(vandq_u32(low, mask)), vcvtq_f32_u32(vandq_u32(high, mask)))
        }
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes, loaded as bytes.
        unsafe {
            let halves = vreinterpretq_u16_u8(vld1q_u8(from));
            Self(
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_low_u16(halves)))),
                vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vget_high_u16(halves)))),
            )
        }
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes, loaded as bytes.
        unsafe {
            let halves = vreinterpretq_u16_u8(vld1q_u8(from));
            Self(
                widen_f16_bits(vmovl_u16(vget_low_u16(halves))),
                widen_f16_bits(vmovl_u16(vget_high_u16(halves))),
            )
        }
    }
}
