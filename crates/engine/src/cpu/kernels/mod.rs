//! The arithmetic of a step, one table of functions for each instruction set.
//!
//! **A row's result never depends on the rows beside it.** Every output is summed in one order, whatever the number
//! of rows of the call and whichever of the two ways below computes it: lane by lane along [`BLOCK`] columns, then
//! the lanes, then block after block. So a sequence gets the same logits, bit for bit, alone or in a batch, in one
//! chunk or token by token.
//!
//! Two ways through a matrix, both over four weight rows and up to three activation rows at a time:
//! - few rows (a decode step): weights are unpacked in registers, right before their use;
//! - many rows (a prompt): a tile of weight rows is unpacked once into a buffer that fits the first-level cache.

mod affine;
mod attention;
mod dense;
mod elementwise;
mod narrow;
mod panel;
#[cfg(test)]
mod tests;
mod tile;

use super::lanes::Lanes;
pub(crate) use attention::KV_BLOCK_TOKENS;
pub(super) use attention::{AttentionBlock, MAX_HEADS};
pub(super) use narrow::{NarrowRows, write_row};
pub(super) use panel::{Panel, Rows, Start};

/// Columns that are summed in vector lanes before the lanes are added up.
const BLOCK: usize = 512;
/// Weight rows at a time.
const ROWS: usize = 4;
/// Activation rows at a time.
const MAX_ACTIVATIONS: usize = 3;
/// Weight rows that are unpacked into the tile buffer at a time: with [`BLOCK`] columns 16 KiB.
const TILE_ROWS: usize = 8;
/// The smallest quantisation group.
const MIN_GROUP: usize = 32;

/// The kernels of one instruction set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernels {
    panel: unsafe fn(&Panel<'_>),
    unpack_row: unsafe fn(&Rows<'_>, usize, &mut [f32]),
    attend: unsafe fn(&mut AttentionBlock<'_>),
    widen_rows: unsafe fn(&NarrowRows<'_>, usize, &mut [f32]),
    rms_norm: unsafe fn(&mut [f32], &[f32], f32),
    silu_mul: unsafe fn(&mut [f32], &[f32]),
    add_scaled: unsafe fn(&mut [f32], &[f32], f32),
}

impl Kernels {
    /// The table for a vector type.
    ///
    /// # Safety
    /// The processor has the instruction set of `V`.
    pub(super) unsafe fn of<V: Lanes>() -> Self {
        Self {
            panel: panel::multiply::<V>,
            unpack_row: panel::unpack_row::<V>,
            attend: attention::attend::<V>,
            widen_rows: narrow::widen_rows::<V>,
            rms_norm: elementwise::rms_norm::<V>,
            silu_mul: elementwise::silu_mul::<V>,
            add_scaled: elementwise::add_scaled::<V>,
        }
    }

    /// `y = x · Wᵀ (+ bias, or + y)` for a range of W's rows.
    #[inline]
    pub(super) fn multiply(&self, panel: &Panel<'_>) {
        // SAFETY: `of` was given an instruction set that exists, and a `Panel` can only be made with slices that fit.
        unsafe { (self.panel)(panel) }
    }

    /// One row of a matrix as floats.
    ///
    /// # Panics
    /// When `row` is outside the matrix or `out` is not as wide as it.
    pub(super) fn unpack_row(&self, rows: &Rows<'_>, row: usize, out: &mut [f32]) {
        assert!(row < rows.n_out() && out.len() == rows.n_in(), "row outside its matrix");
        // SAFETY: checked above; `Rows` can only be made with slices that fit.
        unsafe { (self.unpack_row)(rows, row, out) }
    }

    /// Adds one block of keys and values to the running attention of some heads.
    #[inline]
    pub(super) fn attend(&self, block: &mut AttentionBlock<'_>) {
        block.check();
        // SAFETY: the slices were just checked.
        unsafe { (self.attend)(block) }
    }

    /// The first `n_rows` rows of keys or values as floats.
    ///
    /// # Panics
    /// When either slice has fewer rows.
    pub(super) fn widen_rows(&self, rows: &NarrowRows<'_>, n_rows: usize, out: &mut [f32]) {
        let row_bytes = rows.precision.bytes_of(rows.width);
        assert!(rows.bytes.len() >= n_rows * row_bytes && out.len() >= n_rows * rows.width, "rows");
        // SAFETY: the slices were just checked.
        unsafe { (self.widen_rows)(rows, n_rows, out) }
    }

    /// `x = x / rms(x) * weight`
    ///
    /// # Panics
    /// When lengths differ.
    pub(super) fn rms_norm(&self, x: &mut [f32], weight: &[f32], epsilon: f32) {
        assert_eq!(x.len(), weight.len(), "rms norm of different lengths");
        // SAFETY: lengths are equal.
        unsafe { (self.rms_norm)(x, weight, epsilon) }
    }

    /// `gate = silu(gate) * up`
    ///
    /// # Panics
    /// When lengths differ.
    pub(super) fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gate and up of different lengths");
        // SAFETY: lengths are equal.
        unsafe { (self.silu_mul)(gate, up) }
    }

    /// `out += x * factor`
    ///
    /// # Panics
    /// When lengths differ.
    pub(super) fn add_scaled(&self, out: &mut [f32], x: &[f32], factor: f32) {
        assert_eq!(out.len(), x.len(), "sum of different lengths");
        // SAFETY: lengths are equal.
        unsafe { (self.add_scaled)(out, x, factor) }
    }
}
