//! Products with unquantised rows.

use super::super::lanes::{Lanes, MAX_LANES};
use super::panel::{Panel, Rows, Storage};
use super::{BLOCK, ROWS, tile};

/// Const parameter for bfloat16 rows.
pub(super) const BF16: u8 = 0;
/// Const parameter for IEEE half rows.
pub(super) const F16: u8 = 1;
/// Const parameter for IEEE single rows.
pub(super) const F32: u8 = 2;

/// A panel of `FLOAT` rows with one to three activation rows.
///
/// # Safety
/// The instruction set of `V` exists, and `values` are those of `panel`.
pub(super) unsafe fn multiply_few<V: Lanes, const FLOAT: u8>(panel: &Panel<'_>, values: &[u8]) {
    // SAFETY: passed on; `R` is the number of activation rows.
    unsafe {
        match panel.n_rows() {
            1 => V::vectorize(
                #[inline(always)]
                || few::<V, FLOAT, 1>(panel, values),
            ),
            2 => V::vectorize(
                #[inline(always)]
                || few::<V, FLOAT, 2>(panel, values),
            ),
            _ => V::vectorize(
                #[inline(always)]
                || few::<V, FLOAT, 3>(panel, values),
            ),
        }
    }
}

/// `R` activation rows: four weight rows at a time, widened in registers.
///
/// # Safety
/// Inside `V::vectorize`; `panel` has `R` rows; `values` are those of `panel`.
#[inline(always)]
unsafe fn few<V: Lanes, const FLOAT: u8, const R: usize>(panel: &Panel<'_>, values: &[u8]) {
    let n_in = panel.n_in();
    let outs = panel.outs();
    for out in outs.clone().step_by(ROWS) {
        // The last rows of a panel may be fewer than four: the last one is then computed again and not written.
        let row_of: [usize; ROWS] = std::array::from_fn(|w| (out + w).min(outs.end - 1));
        for block in (0..n_in).step_by(BLOCK) {
            let n = BLOCK.min(n_in - block);
            // SAFETY: `row_of` are rows of the matrix and columns stay below `n_in`; what is left over after whole
            // vectors is read number by number.
            unsafe {
                let weights: [*const u8; ROWS] = std::array::from_fn(|w| {
                    values.as_ptr().add((row_of[w] * n_in + block) * size_bytes::<FLOAT>())
                });
                let x: [*const f32; R] = std::array::from_fn(|r| panel.x(r, block));
                let mut sums = [[V::splat(0.0); R]; ROWS];
                let whole = n - n % V::N;
                for column in (0..whole).step_by(V::N) {
                    let x: [V; R] = std::array::from_fn(|r| V::load(x[r].add(column)));
                    for w in 0..ROWS {
                        let weight = widen::<V, FLOAT>(weights[w].add(column * size_bytes::<FLOAT>()));
                        for r in 0..R {
                            sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                        }
                    }
                }
                if whole < n {
                    let x: [V; R] = std::array::from_fn(|r| tile::load_part::<V>(x[r].add(whole), n - whole));
                    for w in 0..ROWS {
                        let from = weights[w].add(whole * size_bytes::<FLOAT>());
                        let weight = widen_part::<V, FLOAT>(from, n - whole);
                        for r in 0..R {
                            sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                        }
                    }
                }
                panel.add_lanes(out, block == 0, &sums);
            }
        }
    }
}

/// The very values that [`few`] uses, as floats; see [`super::panel::Unpack`].
///
/// # Safety
/// As there; `rows` are of format `FLOAT`.
pub(super) unsafe fn unpack<V: Lanes, const FLOAT: u8>(
    rows: &Rows<'_>,
    row: usize,
    column: usize,
    n: usize,
    out: *mut f32,
) {
    let n_in = rows.n_in();
    let Storage::Dense { values, .. } = &rows.storage else { unreachable!("dense rows") };
    // SAFETY: whole vectors lie in the row and in `out`; what is left over is copied number by number.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                let from = values.as_ptr().add((row * n_in + column) * size_bytes::<FLOAT>());
                let whole = n - n % V::N;
                for i in (0..whole).step_by(V::N) {
                    widen::<V, FLOAT>(from.add(i * size_bytes::<FLOAT>())).store(out.add(i));
                }
                if whole < n {
                    let mut part = [0.0; MAX_LANES];
                    let from = from.add(whole * size_bytes::<FLOAT>());
                    widen_part::<V, FLOAT>(from, n - whole).store(part.as_mut_ptr());
                    std::ptr::copy_nonoverlapping(part.as_ptr(), out.add(whole), n - whole);
                }
            },
        )
    }
}

const fn size_bytes<const FLOAT: u8>() -> usize {
    if FLOAT == F32 { 4 } else { 2 }
}

/// One vector of numbers.
///
/// # Safety
/// Inside `V::vectorize`; `from` is valid for reads of `V::N` numbers.
#[inline(always)]
pub(super) unsafe fn widen<V: Lanes, const FLOAT: u8>(from: *const u8) -> V {
    // SAFETY: passed on.
    unsafe {
        match FLOAT {
            BF16 => V::widen_bf16(from),
            F16 => V::widen_f16(from),
            _ => V::load(from.cast()),
        }
    }
}

/// `n` numbers and zeros.
///
/// # Safety
/// Inside `V::vectorize`; `from` is valid for reads of `n < V::N` numbers.
#[inline(always)]
pub(super) unsafe fn widen_part<V: Lanes, const FLOAT: u8>(from: *const u8, n: usize) -> V {
    let mut bytes = [0u8; 4 * MAX_LANES];
    // SAFETY: `n` numbers are readable and fit the buffer, which is as wide as the widest vector.
    unsafe {
        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n * size_bytes::<FLOAT>());
        widen::<V, FLOAT>(bytes.as_ptr())
    }
}
