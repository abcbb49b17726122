//! Products with affine-quantised rows.

use super::super::lanes::Lanes;
use super::panel::{AffineRows, Panel, Rows, Storage};
use super::{BLOCK, MIN_GROUP, ROWS};
use crate::checkpoint::FloatType;

/// Groups of a block at most.
const MAX_GROUPS: usize = BLOCK / MIN_GROUP;

/// Scale or bias of each group of one block of one row.
type Factors = [f32; MAX_GROUPS];

/// A panel of `BITS`-bit rows with one to three activation rows.
///
/// # Safety
/// The instruction set of `V` exists, and `rows` are those of `panel`.
pub(super) unsafe fn multiply_few<V: Lanes, const BITS: usize>(panel: &Panel<'_>, rows: &AffineRows<'_>) {
    // SAFETY: passed on; `R` is the number of activation rows.
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
            _ => V::vectorize(
                #[inline(always)]
                || few::<V, BITS, 3>(panel, rows),
            ),
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
                let (mut column, mut byte) = (0, 0);
                for group in 0..n >> rows.group_shift {
                    let scale: [V; ROWS] = std::array::from_fn(|w| V::splat(scales[w][group]));
                    let bias: [V; ROWS] = std::array::from_fn(|w| V::splat(biases[w][group]));
                    for _ in 0..(1 << rows.group_shift) / V::N {
                        let x: [V; R] = std::array::from_fn(|r| V::load(x[r].add(column)));
                        for w in 0..ROWS {
                            let weight = V::unpack::<BITS>(packed[w].add(byte)).mul_add(scale[w], bias[w]);
                            for r in 0..R {
                                sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                            }
                        }
                        column += V::N;
                        byte += V::N * BITS / 8;
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
/// As there; `rows` are of `BITS` bits.
pub(super) unsafe fn unpack<V: Lanes, const BITS: usize>(
    rows: &Rows<'_>,
    row: usize,
    column: usize,
    n: usize,
    out: *mut f32,
) {
    let n_in = rows.n_in();
    let Storage::Affine { rows, .. } = &rows.storage else { unreachable!("affine rows") };
    // SAFETY: the columns lie in the row, and groups are multiples of the lanes.
    unsafe {
        V::vectorize(
            #[inline(always)]
            || {
                let mut scales = [0.0; MAX_GROUPS];
                let mut biases = [0.0; MAX_GROUPS];
                read_factors(rows, rows.scales, n_in, row, column, n, &mut scales);
                read_factors(rows, rows.biases, n_in, row, column, n, &mut biases);
                let packed = rows.packed.as_ptr().add((row * n_in + column) * BITS / 8);
                let (mut column, mut byte) = (0, 0);
                for group in 0..n >> rows.group_shift {
                    let (scale, bias) = (V::splat(scales[group]), V::splat(biases[group]));
                    for _ in 0..(1 << rows.group_shift) / V::N {
                        V::unpack::<BITS>(packed.add(byte)).mul_add(scale, bias).store(out.add(column));
                        column += V::N;
                        byte += V::N * BITS / 8;
                    }
                }
            },
        )
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
    let first = (row * n_in + column) >> rows.group_shift;
    let n_groups = n >> rows.group_shift;
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
