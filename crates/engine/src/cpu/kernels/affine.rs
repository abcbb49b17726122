//! Products with affine-quantised rows.

use super::super::lanes::Lanes;
use super::panel::{AffineRows, MAX_GROUPS, Panel, is_few};
use super::{BLOCK, ROWS, tile};
use crate::checkpoint::FloatType;

/// Scale and bias of each group of one block of one row.
type Factors = [f32; MAX_GROUPS];

/// The whole panel of `BITS`-bit rows.
///
/// # Safety
/// The instruction set of `V` exists, and `rows` are those of `panel`.
pub(super) unsafe fn multiply<V: Lanes, const BITS: usize>(panel: &Panel<'_>, rows: &AffineRows<'_>) {
    // SAFETY: passed on; `R` equals the number of activation rows in the first three cases.
    unsafe {
        match panel.n_rows() {
            1 => V::vectorize(
                #[inline(always)]
                || few::<V, BITS, 1>(panel, rows),
            ),
            2 => V::vectorize(
                #[inline(always)]
                || few::<V, BITS, 2>(panel, rows),
            ),
            3 => V::vectorize(
                #[inline(always)]
                || few::<V, BITS, 3>(panel, rows),
            ),
            n_rows => {
                debug_assert!(!is_few(n_rows));
                V::vectorize(
                    #[inline(always)]
                    || {
                        tile::multiply::<V>(
                            panel,
                            #[inline(always)]
                            |row, column, n, out| unpack::<V, BITS>(rows, panel.n_in(), row, column, n, out),
                        )
                    },
                )
            }
        }
    }
}

/// `R` activation rows: four weight rows at a time, unpacked in registers.
///
/// # Safety
/// Inside `V::vectorize`; `panel` has `R` rows; `rows` are those of `panel`.
#[inline(always)]
unsafe fn few<V: Lanes, const BITS: usize, const R: usize>(panel: &Panel<'_>, rows: &AffineRows<'_>) {
    let n_in = panel.n_in();
    let row_bytes = n_in * BITS / 8;
    let outs = panel.outs();
    for out in outs.clone().step_by(ROWS) {
        // The last rows of a panel may be fewer than four: the last one is then computed again and not written.
        let row_of: [usize; ROWS] = std::array::from_fn(|w| (out + w).min(outs.end - 1));
        for block in (0..n_in).step_by(BLOCK) {
            let n = BLOCK.min(n_in - block);
            // SAFETY: `row_of` are rows of the matrix; columns stay below `n_in`, which is a multiple of the group
            // size and so of the lanes: every unpack reads inside its row, every load inside its activations.
            unsafe {
                let mut scales = [[0.0; MAX_GROUPS]; ROWS];
                let mut biases = [[0.0; MAX_GROUPS]; ROWS];
                for w in 0..ROWS {
                    read_factors(rows, rows.scales, n_in, row_of[w], block, n, &mut scales[w]);
                    read_factors(rows, rows.biases, n_in, row_of[w], block, n, &mut biases[w]);
                }
                let packed: [*const u8; ROWS] = std::array::from_fn(|w| {
                    rows.packed.as_ptr().add(row_of[w] * row_bytes + block * BITS / 8)
                });
                let x: [*const f32; R] = std::array::from_fn(|r| panel.x(r, block));
                let mut sums = [[V::splat(0.0); R]; ROWS];
                for (group, start) in (0..n).step_by(rows.group_size).enumerate() {
                    let scale: [V; ROWS] = std::array::from_fn(|w| V::splat(scales[w][group]));
                    let bias: [V; ROWS] = std::array::from_fn(|w| V::splat(biases[w][group]));
                    for column in (start..start + rows.group_size).step_by(V::N) {
                        let x: [V; R] = std::array::from_fn(|r| V::load(x[r].add(column)));
                        for w in 0..ROWS {
                            let q = V::unpack::<BITS>(packed[w].add(column * BITS / 8));
                            let weight = q.mul_add(scale[w], bias[w]);
                            for r in 0..R {
                                sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                            }
                        }
                    }
                }
                for w in 0..ROWS.min(outs.end - out) {
                    for (r, sum) in sums[w].iter().enumerate() {
                        panel.add(r, out + w, block == 0, sum.sum());
                    }
                }
            }
        }
    }
}

/// A whole row as floats.
///
/// # Safety
/// Inside `V::vectorize`; `row` is a row of the matrix, `out` is valid for `n_in` writes.
#[inline(always)]
pub(super) unsafe fn unpack_row<V: Lanes, const BITS: usize>(
    rows: &AffineRows<'_>,
    n_in: usize,
    row: usize,
    out: *mut f32,
) {
    for block in (0..n_in).step_by(BLOCK) {
        // SAFETY: blocks lie inside the row and inside `out`.
        unsafe { unpack::<V, BITS>(rows, n_in, row, block, BLOCK.min(n_in - block), out.add(block)) }
    }
}

/// `n` columns of a row from `column` on, as floats: the very values that [`few`] uses.
///
/// # Safety
/// Inside `V::vectorize`; the columns lie in the row, begin at a block, and are at most [`BLOCK`]; `out` is valid for
/// `n` writes.
#[inline(always)]
unsafe fn unpack<V: Lanes, const BITS: usize>(
    rows: &AffineRows<'_>,
    n_in: usize,
    row: usize,
    column: usize,
    n: usize,
    out: *mut f32,
) {
    let mut scales = [0.0; MAX_GROUPS];
    let mut biases = [0.0; MAX_GROUPS];
    // SAFETY: the columns lie in the row, and groups are multiples of the lanes.
    unsafe {
        read_factors(rows, rows.scales, n_in, row, column, n, &mut scales);
        read_factors(rows, rows.biases, n_in, row, column, n, &mut biases);
        let packed = rows.packed.as_ptr().add((row * n_in + column) * BITS / 8);
        for (group, start) in (0..n).step_by(rows.group_size).enumerate() {
            let (scale, bias) = (V::splat(scales[group]), V::splat(biases[group]));
            for i in (start..start + rows.group_size).step_by(V::N) {
                V::unpack::<BITS>(packed.add(i * BITS / 8)).mul_add(scale, bias).store(out.add(i));
            }
        }
    }
}

/// The factors of `n` columns of a row from `column` on.
///
/// # Safety
/// `factors` is `rows.scales` or `rows.biases`; the columns lie in the row, begin at a group, and are at most
/// [`BLOCK`].
#[inline(always)]
unsafe fn read_factors(
    rows: &AffineRows<'_>,
    factors: &[u8],
    n_in: usize,
    row: usize,
    column: usize,
    n: usize,
    out: &mut Factors,
) {
    let first = (row * n_in + column) / rows.group_size;
    let n_groups = n / rows.group_size;
    // SAFETY: there is one factor for each group of the matrix, and these groups lie in the row.
    unsafe {
        match rows.float {
            FloatType::Bf16 => {
                let from = factors.as_ptr().add(first * 2).cast::<[u8; 2]>();
                for (group, out) in out[..n_groups].iter_mut().enumerate() {
                    let half = u16::from_le_bytes(*from.add(group));
                    *out = f32::from_bits(u32::from(half) << 16);
                }
            }
            FloatType::F16 => {
                let from = factors.as_ptr().add(first * 2).cast::<[u8; 2]>();
                for (group, out) in out[..n_groups].iter_mut().enumerate() {
                    *out = half::f16::from_le_bytes(*from.add(group)).to_f32();
                }
            }
            FloatType::F32 => {
                let from = factors.as_ptr().add(first * 4).cast::<[u8; 4]>();
                for (group, out) in out[..n_groups].iter_mut().enumerate() {
                    *out = f32::from_le_bytes(*from.add(group));
                }
            }
        }
    }
}
