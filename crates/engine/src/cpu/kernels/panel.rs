//! What a matrix kernel works on, checked once, and the choice of the way through it.

use super::super::lanes::Lanes;
use super::{BLOCK, MAX_ACTIVATIONS, ROWS, affine, dense, tile};
use crate::checkpoint::{FloatType, Matrix, MatrixData};
use std::ops::Range;

/// Rows of a weight matrix, with every slice as long as the shape says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    n_out: usize,
    n_in: usize,
    pub(super) storage: Storage<'a>,
}

/// How rows are stored. The bytes may begin at any address.
#[derive(Debug, Clone, Copy)]
pub(super) enum Storage<'a> {
    /// `[n_out, n_in]`
    Dense { float: FloatType, values: &'a [u8] },
    /// `value = q * scale + bias`
    Affine { bits: u8, rows: AffineRows<'a> },
}

/// Packed numbers and their factors.
#[derive(Debug, Clone, Copy)]
pub(super) struct AffineRows<'a> {
    /// Binary logarithm of the group size, which is 32, 64 or 128.
    pub(super) group_shift: u32,
    /// `[n_out, n_in * bits / 8]`
    pub(super) packed: &'a [u8],
    /// Format of both factors.
    pub(super) float: FloatType,
    /// `[n_out, n_in / group_size]`
    pub(super) scales: &'a [u8],
    /// `[n_out, n_in / group_size]`
    pub(super) biases: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Views a matrix, checking that its bytes are as many as its shape says.
    ///
    /// # Panics
    /// When they are not: opening a checkpoint has to have refused it.
    pub(crate) fn new(matrix: &'a Matrix) -> Self {
        let (n_out, n_in) = (matrix.n_out, matrix.n_in);
        let n_values = n_out.checked_mul(n_in).expect("matrices have fewer than 2^64 numbers");
        let storage = match &matrix.data {
            MatrixData::Dense { float, values } => {
                let values: &[u8] = values;
                assert_eq!(Some(values.len()), n_values.checked_mul(float.size_bytes()), "dense matrix");
                Storage::Dense { float: *float, values }
            }
            MatrixData::Affine { bits, group_size, packed, float, scales, biases } => {
                let (packed, scales, biases): (&[u8], &[u8], &[u8]) = (packed, scales, biases);
                let group_size = *group_size;
                assert!(matches!(bits, 2 | 3 | 4 | 5 | 6 | 8), "{bits} bits");
                assert!(
                    matches!(group_size, 32 | 64 | 128) && n_in.is_multiple_of(group_size),
                    "group {group_size}"
                );
                assert_eq!(
                    Some(packed.len()),
                    n_values.checked_mul(usize::from(*bits)).map(|n| n / 8),
                    "packed"
                );
                let factor_bytes = n_values / group_size * float.size_bytes();
                assert!(scales.len() == factor_bytes && biases.len() == factor_bytes, "scales and biases");
                let group_shift = group_size.trailing_zeros();
                let rows = AffineRows { group_shift, packed, float: *float, scales, biases };
                Storage::Affine { bits: *bits, rows }
            }
        };
        Self { n_out, n_in, storage }
    }

    /// Rows.
    pub(crate) fn n_out(&self) -> usize {
        self.n_out
    }

    /// Columns.
    pub(crate) fn n_in(&self) -> usize {
        self.n_in
    }
}

/// What the outputs of a product are added to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Nothing.
    Zero,
    /// `[n_out]`
    Bias(&'a [f32]),
    /// What is there already.
    Output,
}

/// A product of some rows of a matrix with all activation rows.
#[derive(Debug)]
pub(crate) struct Panel<'a> {
    rows: Rows<'a>,
    outs: Range<usize>,
    start: Start<'a>,
    x: &'a [f32],
    n_rows: usize,
    y: *mut f32,
}

impl<'a> Panel<'a> {
    /// `y[row, out] = x[row, ..] · W[out, ..] + start[out]` for every row of `x` and every `out` in `outs`.
    ///
    /// # Safety
    /// `y` is valid for writes of `[n_rows, n_out]` floats while the panel lives, and nobody else touches the
    /// columns `outs` of it; they hold numbers where these are what is started from.
    ///
    /// # Panics
    /// When `outs`, a bias or `x` do not fit the matrix.
    pub(crate) unsafe fn new(
        rows: Rows<'a>,
        outs: Range<usize>,
        start: Start<'a>,
        x: &'a [f32],
        n_rows: usize,
        y: *mut f32,
    ) -> Self {
        assert!(outs.start <= outs.end && outs.end <= rows.n_out, "rows outside their matrix");
        assert_eq!(Some(x.len()), n_rows.checked_mul(rows.n_in), "activations that do not fit");
        if let Start::Bias(bias) = start {
            assert_eq!(bias.len(), rows.n_out, "bias that does not fit");
        }
        Self { rows, outs, start, x, n_rows, y }
    }

    pub(super) fn rows(&self) -> &Rows<'a> {
        &self.rows
    }

    pub(super) fn n_in(&self) -> usize {
        self.rows.n_in
    }

    pub(super) fn outs(&self) -> Range<usize> {
        self.outs.clone()
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Activations from a column of a row on.
    ///
    /// # Safety
    /// `row < n_rows`, `column <= n_in`.
    #[inline(always)]
    pub(super) unsafe fn x(&self, row: usize, column: usize) -> *const f32 {
        // SAFETY: `x` holds `n_rows * n_in` floats, so the offset is inside or one past it.
        unsafe { self.x.as_ptr().add(row * self.rows.n_in + column) }
    }

    /// Adds what the lanes of up to four rows of the matrix summed over one block of columns.
    ///
    /// # Safety
    /// `R <= n_rows`, and `out` lies in `outs`. Rows that would lie behind `outs` are not written.
    #[inline(always)]
    pub(super) unsafe fn add_lanes<V: Lanes, const R: usize>(
        &self,
        out: usize,
        first_block: bool,
        sums: &[[V; R]; ROWS],
    ) {
        for (w, sums) in sums.iter().enumerate().take(self.outs.end - out) {
            for (row, sum) in sums.iter().enumerate() {
                // SAFETY: the caller promised the rows and the first output, `take` holds the others inside `outs`;
                // lanes are only used where their instruction set was found.
                unsafe { self.add(row, out + w, first_block, sum.sum()) };
            }
        }
    }

    /// Adds the sum over one block of columns to an output; the first block starts it.
    ///
    /// # Safety
    /// `row < n_rows`, and `out` lies in `outs`.
    #[inline(always)]
    pub(super) unsafe fn add(&self, row: usize, out: usize, first_block: bool, sum: f32) {
        // SAFETY: `new` was promised `n_rows * n_out` writable floats, with these columns for us alone; the bias has
        // `n_out` numbers.
        unsafe {
            let y = self.y.add(row * self.rows.n_out + out);
            let before = match self.start {
                _ if !first_block => *y,
                Start::Output => *y,
                Start::Bias(bias) => *bias.get_unchecked(out),
                Start::Zero => 0.0,
            };
            *y = before + sum;
        }
    }
}

/// Writes `n` weights of a row from a column on as floats: `(rows, row, column, n, out)`.
///
/// # Safety
/// The instruction set that it was made for exists; the columns lie in the row, begin at a multiple of
/// [`super::BLOCK`], and are at most as many; `out` is valid for `n` writes.
pub(super) type Unpack = unsafe fn(&Rows<'_>, usize, usize, usize, *mut f32);

/// The whole panel.
///
/// # Safety
/// The instruction set of `V` exists.
pub(super) unsafe fn multiply<V: Lanes>(panel: &Panel<'_>) {
    if panel.n_rows == 0 || panel.outs.is_empty() {
        return;
    }
    // SAFETY: the slices fit by construction; the const parameters are those of the storage.
    unsafe {
        if panel.n_rows > MAX_ACTIVATIONS {
            return tile::multiply::<V>(panel, unpack_of::<V>(&panel.rows));
        }
        match panel.rows.storage {
            Storage::Dense { float, values } => match float {
                FloatType::Bf16 => dense::multiply_few::<V, { dense::BF16 }>(panel, values),
                FloatType::F16 => dense::multiply_few::<V, { dense::F16 }>(panel, values),
                FloatType::F32 => dense::multiply_few::<V, { dense::F32 }>(panel, values),
            },
            Storage::Affine { bits, rows } => match bits {
                2 => affine::multiply_few::<V, 2>(panel, &rows),
                3 => affine::multiply_few::<V, 3>(panel, &rows),
                4 => affine::multiply_few::<V, 4>(panel, &rows),
                5 => affine::multiply_few::<V, 5>(panel, &rows),
                6 => affine::multiply_few::<V, 6>(panel, &rows),
                _ => affine::multiply_few::<V, 8>(panel, &rows),
            },
        }
    }
}

/// One row as floats.
///
/// # Safety
/// The instruction set of `V` exists, `row < n_out`, `out.len() == n_in`.
pub(super) unsafe fn unpack_row<V: Lanes>(rows: &Rows<'_>, row: usize, out: &mut [f32]) {
    let unpack = unpack_of::<V>(rows);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        // SAFETY: as the caller vouches: all blocks of `out` are columns of the row.
        unsafe { unpack(rows, row, block * BLOCK, out.len(), out.as_mut_ptr()) }
    }
}

fn unpack_of<V: Lanes>(rows: &Rows<'_>) -> Unpack {
    match rows.storage {
        Storage::Dense { float, .. } => match float {
            FloatType::Bf16 => dense::unpack::<V, { dense::BF16 }>,
            FloatType::F16 => dense::unpack::<V, { dense::F16 }>,
            FloatType::F32 => dense::unpack::<V, { dense::F32 }>,
        },
        Storage::Affine { bits, .. } => match bits {
            2 => affine::unpack::<V, 2>,
            3 => affine::unpack::<V, 3>,
            4 => affine::unpack::<V, 4>,
            5 => affine::unpack::<V, 5>,
            6 => affine::unpack::<V, 6>,
            _ => affine::unpack::<V, 8>,
        },
    }
}
