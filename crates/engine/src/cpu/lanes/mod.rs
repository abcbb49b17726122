//! One vector of f32 lanes, for each instruction set. Kernels are written once over this trait.

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
pub(super) use portable::Portable;

/// The widest vector of any instruction set, in f32 lanes: what a tail is padded in.
pub(super) const MAX_LANES: usize = 16;

/// A vector of `N` f32 lanes.
///
/// Every method is inlined into its caller, so that a whole kernel becomes one function of the right instruction set.
///
/// # Safety
/// Of every method: the processor has the instruction set, and the call sits inside [`Lanes::vectorize`] of the same
/// type (elsewhere it would be correct but slow). Pointers need no alignment; each method says what it reads or writes.
pub(super) trait Lanes: Copy + 'static {
    /// How many lanes: 8 or 16.
    const N: usize;

    /// Runs `work` compiled for the instruction set.
    unsafe fn vectorize<R>(work: impl FnOnce() -> R) -> R;

    /// All lanes equal.
    unsafe fn splat(value: f32) -> Self;

    /// Reads `N` floats.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes `N` floats.
    unsafe fn store(self, to: *mut f32);

    /// `self + other`
    unsafe fn add(self, other: Self) -> Self;

    /// `self * factor + addend`, rounded once where the instruction set can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// Sum of all lanes, always in the same order.
    unsafe fn sum(self) -> f32;

    /// Reads `N` unsigned numbers of `BITS` bits from `N * BITS / 8` bytes, little end first.
    unsafe fn unpack<const BITS: usize>(from: *const u8) -> Self;

    /// Reads `N` bfloat16 numbers from `2 * N` bytes.
    unsafe fn widen_bf16(from: *const u8) -> Self;

    /// Reads `N` IEEE half numbers from `2 * N` bytes.
    unsafe fn widen_f16(from: *const u8) -> Self;
}

/// Reads exactly `BYTES` bytes (at most 8) as a little-endian number.
///
/// # Safety
/// `from` is valid for reads of `BYTES` bytes.
#[inline(always)]
pub(super) unsafe fn read_bits<const BYTES: usize>(from: *const u8) -> u64 {
    const { assert!(BYTES <= 8) };
    let mut bytes = [0u8; 8];
    // SAFETY: the caller vouches for `BYTES` readable bytes, and `bytes` holds at least that many.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), BYTES) };
    u64::from_le_bytes(bytes)
}
