//! Linear layers, split over the threads.

use super::kernels::{Kernels, Panel, Rows};
use super::pool::{Pool, WorkerPanic};
use crate::checkpoint::{Linear, Matrix};
use std::marker::PhantomData;

/// Multiplications below which a second thread costs more than it brings: about 10 µs of one core.
const MIN_UNIT_PRODUCTS: usize = 64 * 1024;
/// Units for each thread: more of them even out threads that are slow or late.
const UNITS_PER_THREAD: usize = 4;
/// Units begin at a multiple of this many outputs, so that two threads rarely write one cache line.
const UNIT_OUTPUTS: usize = 16;

/// The kernels and the threads that run them.
#[derive(Debug)]
pub(super) struct Compute {
    pub(super) kernels: Kernels,
    pub(super) pool: Pool,
}

/// One product `y = x · Wᵀ (+ bias)`.
#[derive(Debug)]
pub(super) struct Product<'a> {
    rows: Rows<'a>,
    bias: Option<&'a [f32]>,
    x: &'a [f32],
    n_rows: usize,
    y: *mut f32,
    outputs: PhantomData<&'a mut [f32]>,
}

impl<'a> Product<'a> {
    /// A linear layer. `x`: `[n_rows, n_in]`, `y`: `[n_rows, n_out]`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub(super) fn linear(linear: &'a Linear, x: &'a [f32], y: &'a mut [f32]) -> Self {
        Self { bias: linear.bias.as_deref(), ..Self::matrix(&linear.weight, x, y) }
    }

    /// A bare matrix.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub(super) fn matrix(matrix: &'a Matrix, x: &'a [f32], y: &'a mut [f32]) -> Self {
        let rows = Rows::new(matrix);
        let n_rows = x.len() / rows.n_in();
        assert_eq!(x.len(), n_rows * rows.n_in(), "activations that are not whole rows");
        assert_eq!(y.len(), n_rows * rows.n_out(), "outputs that are not as many as the activations");
        Self { rows, bias: None, x, n_rows, y: y.as_mut_ptr(), outputs: PhantomData }
    }

    fn n_products(&self) -> usize {
        self.n_rows * self.rows.n_in() * self.rows.n_out()
    }
}

/// Where the units of one product begin.
struct Split<'p, 'a> {
    product: &'p Product<'a>,
    first_unit: usize,
    outputs_per_unit: usize,
}

// SAFETY: the pointer inside is only written through by units, which have disjoint ranges of outputs.
unsafe impl Sync for Split<'_, '_> {}

impl Compute {
    /// Runs all products at once: their units share the threads.
    ///
    /// # Errors
    /// [`WorkerPanic`].
    pub(super) fn multiply(&mut self, products: &[Product<'_>]) -> Result<(), WorkerPanic> {
        let total: usize = products.iter().map(Product::n_products).sum();
        let unit_products = (total / (self.pool.threads() * UNITS_PER_THREAD)).max(MIN_UNIT_PRODUCTS);
        let mut n_units = 0;
        let mut splits = Vec::with_capacity(products.len());
        for product in products {
            let products_per_output = (product.n_rows * product.rows.n_in()).max(1);
            let outputs = unit_products.div_ceil(products_per_output);
            let outputs_per_unit = outputs.next_multiple_of(UNIT_OUTPUTS);
            splits.push(Split { product, first_unit: n_units, outputs_per_unit });
            n_units += product.rows.n_out().div_ceil(outputs_per_unit);
        }
        let kernels = self.kernels;
        let splits = &splits[..];
        self.pool.run(n_units, &move |unit| {
            let split = &splits[splits.partition_point(|split| split.first_unit <= unit) - 1];
            let product = split.product;
            let first = (unit - split.first_unit) * split.outputs_per_unit;
            let last = (first + split.outputs_per_unit).min(product.rows.n_out());
            // SAFETY: `Product` holds the only reference to `y`, which has `n_rows * n_out` floats, for as long as
            // it lives; this unit alone has these outputs.
            let panel = unsafe {
                Panel::new(product.rows, first..last, product.bias, product.x, product.n_rows, product.y)
            };
            kernels.multiply(&panel);
        })
    }

    /// Runs `work` for every row of `out`, in parallel when `cost_per_row` (in multiplications) is worth it.
    ///
    /// # Errors
    /// [`WorkerPanic`].
    pub(super) fn for_rows(
        &mut self,
        out: &mut [f32],
        width: usize,
        cost_per_row: usize,
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), WorkerPanic> {
        let n_rows = out.len() / width.max(1);
        let rows_per_unit = MIN_UNIT_PRODUCTS.div_ceil(cost_per_row.max(1));
        let rows = SharedRows(out.as_mut_ptr());
        let rows = &rows;
        self.pool.run(n_rows.div_ceil(rows_per_unit), &move |unit| {
            for row in unit * rows_per_unit..((unit + 1) * rows_per_unit).min(n_rows) {
                // SAFETY: `row < n_rows`, so the slice lies in `out`, and every row belongs to one unit.
                work(row, unsafe { std::slice::from_raw_parts_mut(rows.0.add(row * width), width) });
            }
        })
    }
}

/// Rows that units share out among themselves.
struct SharedRows(*mut f32);

// SAFETY: used for disjoint rows only.
unsafe impl Sync for SharedRows {}
