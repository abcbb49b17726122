//! Eight lanes in plain Rust: the reference for all other instruction sets, and what runs where none of them exists.

use super::{Lanes, read_bits};

/// Eight f32 in an array; the compiler maps it to whatever the target guarantees.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Lanes for Portable {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight readable floats; the read is unaligned.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight writable floats; the write is unaligned.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    // Not `f32::mul_add`: without the instruction that is a call into the maths library for every lane.
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + addend.0[lane]))
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    #[inline(always)]
    unsafe fn unpack<const BITS: usize>(from: *const u8) -> Self {
        // SAFETY: eight numbers of `BITS` bits are `BITS` bytes, which the caller vouches for.
        let word = unsafe { read_bits::<BITS>(from) };
        let mask = (1u64 << BITS) - 1;
        Self(std::array::from_fn(|lane| ((word >> (lane * BITS)) & mask) as f32))
    }

    #[inline(always)]
    unsafe fn widen_bf16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes; the read is unaligned.
        let halves = unsafe { from.cast::<[[u8; 2]; 8]>().read_unaligned() };
        Self(halves.map(|half| f32::from_bits(u32::from(u16::from_le_bytes(half)) << 16)))
    }

    #[inline(always)]
    unsafe fn widen_f16(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 readable bytes; the read is unaligned.
        let halves = unsafe { from.cast::<[[u8; 2]; 8]>().read_unaligned() };
        Self(halves.map(|half| half::f16::from_le_bytes(half).to_f32()))
    }
}
