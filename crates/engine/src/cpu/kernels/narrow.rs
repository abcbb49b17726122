//! Keys and values that are kept in fewer bits: how a row is written, and how rows are widened before their use.
//!
//! A block is widened once for all query heads and tokens that read it, into a buffer that fits the nearest caches.

use super::super::lanes::{Lanes, MAX_LANES};
use super::dense::{BF16, F16, widen, widen_part};
use boca_core::KvPrecision;
use half::{bf16, f16};

/// Numbers with a scale of their own.
const GROUP: usize = KvPrecision::GROUP;
/// Codes are unsigned; this one stands for zero.
const ZERO_CODE: f32 = 128.0;
/// The largest code above zero.
const LARGEST: f32 = 127.0;

/// Rows of one head, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NarrowRows<'a> {
    pub(crate) precision: KvPrecision,
    /// Numbers of a row.
    pub(crate) width: usize,
    /// At least the rows that are asked for.
    pub(crate) bytes: &'a [u8],
}

/// Writes a row in fewer bits. What is beyond the range of the format becomes the largest number of it.
///
/// # Panics
/// When `to` is not as long as the row in that format.
pub(crate) fn write_row(precision: KvPrecision, row: &[f32], to: &mut [u8]) {
    assert_eq!(to.len(), precision.bytes_of(row.len()), "a row of another width");
    match precision {
        KvPrecision::F32 => {
            for (number, to) in row.iter().zip(to.chunks_exact_mut(4)) {
                to.copy_from_slice(&number.to_le_bytes());
            }
        }
        KvPrecision::F16 => {
            let most = f16::MAX.to_f32();
            for (number, to) in row.iter().zip(to.chunks_exact_mut(2)) {
                to.copy_from_slice(&f16::from_f32(number.clamp(-most, most)).to_le_bytes());
            }
        }
        KvPrecision::Bf16 => {
            let most = bf16::MAX.to_f32();
            for (number, to) in row.iter().zip(to.chunks_exact_mut(2)) {
                to.copy_from_slice(&bf16::from_f32(number.clamp(-most, most)).to_le_bytes());
            }
        }
        KvPrecision::Q8 => {
            let (codes, scales) = to.split_at_mut(row.len());
            let groups = row.chunks(GROUP).zip(codes.chunks_mut(GROUP)).zip(scales.chunks_exact_mut(4));
            for ((numbers, codes), scale) in groups {
                scale.copy_from_slice(&write_group(numbers, codes).to_le_bytes());
            }
        }
    }
}

/// Writes the codes of a group; gives its scale.
fn write_group(numbers: &[f32], codes: &mut [u8]) -> f32 {
    if numbers.iter().any(|number| !number.is_finite()) {
        // What is no number stays none, so that nonsense is found out.
        return f32::NAN;
    }
    let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let scale = largest / LARGEST;
    let inverse = if scale > f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    for (number, code) in numbers.iter().zip(codes) {
        *code = ((number * inverse).round() + ZERO_CODE) as u8;
    }
    scale
}

/// Widens the first `n_rows` rows into `out`.
///
/// # Safety
/// The instruction set of `V` exists; `rows.bytes` holds `n_rows` rows, `out` has room for them.
pub(super) unsafe fn widen_rows<V: Lanes>(rows: &NarrowRows<'_>, n_rows: usize, out: &mut [f32]) {
    let row_bytes = rows.precision.bytes_of(rows.width);
    // SAFETY: rows `0..n_rows` lie in both slices, as the caller vouches.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                for row in 0..n_rows {
                    let from = rows.bytes.as_ptr().add(row * row_bytes);
                    let to = out.as_mut_ptr().add(row * rows.width);
                    match rows.precision {
                        KvPrecision::F32 => std::ptr::copy_nonoverlapping(from, to.cast(), row_bytes),
                        KvPrecision::F16 => widen_floats::<V, F16>(from, rows.width, to),
                        KvPrecision::Bf16 => widen_floats::<V, BF16>(from, rows.width, to),
                        KvPrecision::Q8 => widen_codes::<V>(from, rows.width, to),
                    }
                }
            },
        )
    }
}

/// # Safety
/// Inside `V::vectorize`; `n` numbers can be read and written.
#[inline(always)]
unsafe fn widen_floats<V: Lanes, const FLOAT: u8>(from: *const u8, n: usize, to: *mut f32) {
    let whole = n - n % V::N;
    // SAFETY: whole vectors lie below `n`; what is left over goes through a buffer.
    unsafe {
        for at in (0..whole).step_by(V::N) {
            widen::<V, FLOAT>(from.add(2 * at)).store(to.add(at));
        }
        if whole < n {
            let rest = widen_part::<V, FLOAT>(from.add(2 * whole), n - whole);
            store_part(rest, to.add(whole), n - whole);
        }
    }
}

/// # Safety
/// As [`widen_floats`], with the scales behind the codes.
#[inline(always)]
unsafe fn widen_codes<V: Lanes>(codes: *const u8, n: usize, to: *mut f32) {
    // SAFETY: each group's codes and scale are inside the row; whole vectors lie inside a group, whose size they
    // divide, and what is left over of the last one goes through a buffer.
    unsafe {
        let scales = codes.add(n).cast::<[u8; 4]>();
        for (group, first) in (0..n).step_by(GROUP).enumerate() {
            let scale = f32::from_le_bytes(scales.add(group).read());
            let (factor, offset) = (V::splat(scale), V::splat(-ZERO_CODE * scale));
            let end = n.min(first + GROUP);
            let whole = end - (end - first) % V::N;
            for at in (first..whole).step_by(V::N) {
                V::unpack::<8>(codes.add(at)).mul_add(factor, offset).store(to.add(at));
            }
            if whole < end {
                let mut part = [0u8; MAX_LANES];
                std::ptr::copy_nonoverlapping(codes.add(whole), part.as_mut_ptr(), end - whole);
                let rest = V::unpack::<8>(part.as_ptr()).mul_add(factor, offset);
                store_part(rest, to.add(whole), end - whole);
            }
        }
    }
}

/// # Safety
/// Inside `V::vectorize`; `n < V::N` numbers can be written.
#[inline(always)]
unsafe fn store_part<V: Lanes>(lanes: V, to: *mut f32, n: usize) {
    let mut part = [0.0f32; MAX_LANES];
    // SAFETY: the buffer is as wide as the widest vector.
    unsafe {
        lanes.store(part.as_mut_ptr());
        std::ptr::copy_nonoverlapping(part.as_ptr(), to, n);
    }
}
