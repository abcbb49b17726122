//! Many activation rows: weight rows are unpacked once into a small buffer, which all of them use.

use super::super::lanes::{Lanes, MAX_LANES};
use super::panel::{Panel, Unpack};
use super::{BLOCK, MAX_ACTIVATIONS, ROWS, TILE_ROWS};

/// The whole panel, whose rows `unpack` unpacks.
///
/// # Safety
/// The instruction set of `V` exists; `unpack` is for it and for the panel's rows.
pub(super) unsafe fn multiply<V: Lanes>(panel: &Panel<'_>, unpack: Unpack) {
    let mut tile = [0.0f32; TILE_ROWS * BLOCK];
    let (n_in, n_rows, outs) = (panel.n_in(), panel.n_rows(), panel.outs());
    for out in outs.clone().step_by(TILE_ROWS) {
        let n_tile = TILE_ROWS.min(outs.end - out);
        for block in (0..n_in).step_by(BLOCK) {
            let n = BLOCK.min(n_in - block);
            // SAFETY: rows `out..out + n_tile` and columns `block..block + n` exist, and a row of the tile holds
            // `BLOCK` floats; activation rows from `first` on exist as counted.
            unsafe {
                for (w, row) in tile.chunks_exact_mut(BLOCK).take(n_tile).enumerate() {
                    unpack(panel.rows(), out + w, block, n, row.as_mut_ptr());
                }
                V::vectorize(
                    #[inline(always)]
                    || {
                        for first in (0..n_rows).step_by(MAX_ACTIVATIONS) {
                            match n_rows - first {
                                1 => multiply_tile::<V, 1>(panel, &tile, out, n_tile, block, n, first),
                                2 => multiply_tile::<V, 2>(panel, &tile, out, n_tile, block, n, first),
                                _ => multiply_tile::<V, MAX_ACTIVATIONS>(
                                    panel, &tile, out, n_tile, block, n, first,
                                ),
                            }
                        }
                    },
                );
            }
        }
    }
}

/// One tile with `R` activation rows.
///
/// # Safety
/// Inside `V::vectorize`; activation rows `first..first + R` exist; columns `block..block + n` exist; the tile holds
/// `n_tile` rows, those from `out` on.
#[inline(always)]
unsafe fn multiply_tile<V: Lanes, const R: usize>(
    panel: &Panel<'_>,
    tile: &[f32; TILE_ROWS * BLOCK],
    out: usize,
    n_tile: usize,
    block: usize,
    n: usize,
    first: usize,
) {
    for w in (0..n_tile).step_by(ROWS) {
        // SAFETY: tile rows are clamped to those that exist, activations and outputs are as the caller vouches.
        unsafe {
            let weights = std::array::from_fn(|i| tile.as_ptr().add((w + i).min(n_tile - 1) * BLOCK));
            let x = std::array::from_fn(|r| panel.x(first + r, block));
            let sums = dot::<V, R>(weights, x, n);
            for (i, sums) in sums.iter().enumerate().take(n_tile - w) {
                for (r, sum) in sums.iter().enumerate() {
                    panel.add(first + r, out + w + i, block == 0, sum.sum());
                }
            }
        }
    }
}

/// Products of four rows with `R` rows, still in lanes.
///
/// # Safety
/// Inside `V::vectorize`; all pointers are valid for reads of `n` floats.
#[inline(always)]
pub(super) unsafe fn dot<V: Lanes, const R: usize>(
    weights: [*const f32; ROWS],
    x: [*const f32; R],
    n: usize,
) -> [[V; R]; ROWS] {
    // SAFETY: whole vectors lie below `n`; what is left over is loaded number by number.
    unsafe {
        let mut sums = [[V::splat(0.0); R]; ROWS];
        let whole = n - n % V::N;
        for column in (0..whole).step_by(V::N) {
            let x: [V; R] = std::array::from_fn(|r| V::load(x[r].add(column)));
            for w in 0..ROWS {
                let weight = V::load(weights[w].add(column));
                for r in 0..R {
                    sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                }
            }
        }
        if whole < n {
            let x: [V; R] = std::array::from_fn(|r| load_part::<V>(x[r].add(whole), n - whole));
            for w in 0..ROWS {
                let weight = load_part::<V>(weights[w].add(whole), n - whole);
                for r in 0..R {
                    sums[w][r] = weight.mul_add(x[r], sums[w][r]);
                }
            }
        }
        sums
    }
}

/// `n` floats and zeros.
///
/// # Safety
/// Inside `V::vectorize`; `from` is valid for reads of `n < V::N` floats.
#[inline(always)]
pub(super) unsafe fn load_part<V: Lanes>(from: *const f32, n: usize) -> V {
    let mut part = [0.0f32; MAX_LANES];
    // SAFETY: `n` floats are readable and fit the buffer, which is as wide as the widest vector.
    unsafe {
        std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), n);
        V::load(part.as_ptr())
    }
}
