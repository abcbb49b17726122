//! Linear layers, split over the threads.

use super::StepError;
use super::kernels::{Kernels, Panel, Rows, Start};
use super::pool::{Pool, WorkerPanic};
use super::scratch::Buffer;
use crate::checkpoint::{Linear, LowRank, Matrix};
use std::marker::PhantomData;

/// Multiplications below which a second thread costs more than it brings: about 10 µs of one core.
const MIN_UNIT_PRODUCTS: usize = 64 * 1024;
/// Units for each thread: more of them even out threads that are slow or late.
const UNITS_PER_THREAD: usize = 4;
/// Units begin at a multiple of this many outputs, so that two threads rarely write one cache line.
const UNIT_OUTPUTS: usize = 16;
/// Activation rows that an adapter's narrow side takes at a time at least: it has too few outputs to be split by them.
const NARROW_ROWS: usize = 16;

/// The kernels and the threads that run them.
#[derive(Debug)]
pub(super) struct Compute {
    pub(super) kernels: Kernels,
    pub(super) pool: Pool,
    /// What adapters make of the activations: `[n_rows, rank]` for each, one after the other.
    narrow: Buffer,
}

/// One product `y = x · Wᵀ (+ bias) (+ what an adapter adds)`.
#[derive(Debug)]
pub(super) struct Product<'a> {
    rows: Rows<'a>,
    start: Start<'a>,
    adapter: Option<&'a LowRank>,
    x: &'a [f32],
    n_rows: usize,
    y: *mut f32,
    outputs: PhantomData<&'a mut [f32]>,
}

/// The second half of an adapter: `y += narrow · upᵀ`.
struct Widening<'a> {
    up: Rows<'a>,
    /// `[n_rows, rank]`, times the adapter's scale.
    narrow: &'a [f32],
}

impl<'a> Product<'a> {
    /// A linear layer. `x`: `[n_rows, n_in]`, `y`: `[n_rows, n_out]`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub(super) fn linear(linear: &'a Linear, x: &'a [f32], y: &'a mut [f32]) -> Self {
        let start = linear.bias.as_deref().map_or(Start::Zero, Start::Bias);
        Self { start, adapter: linear.adapter.as_deref(), ..Self::matrix(&linear.weight, x, y) }
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
        let y = y.as_mut_ptr();
        Self { rows, start: Start::Zero, adapter: None, x, n_rows, y, outputs: PhantomData }
    }

    fn n_products(&self) -> usize {
        self.n_rows * self.rows.n_in() * self.rows.n_out()
    }
}

/// Where the units of one product begin.
struct Split<'p, 'a> {
    product: &'p Product<'a>,
    widening: Option<&'p Widening<'p>>,
    first_unit: usize,
    outputs_per_unit: usize,
}

// SAFETY: the pointer inside is only written through by units, which have disjoint ranges of outputs.
unsafe impl Sync for Split<'_, '_> {}

impl Compute {
    pub(super) fn new(kernels: Kernels, pool: Pool) -> Self {
        Self { kernels, pool, narrow: Buffer::default() }
    }

    /// Runs all products at once: their units share the threads.
    ///
    /// # Errors
    /// [`StepError`].
    pub(super) fn multiply(&mut self, products: &[Product<'_>]) -> Result<(), StepError> {
        if products.iter().all(|product| product.adapter.is_none()) {
            return self.run(products, &[]);
        }
        // Taken out for as long as products read it.
        let mut buffer = std::mem::take(&mut self.narrow);
        let done = self.multiply_adapted(products, &mut buffer);
        self.narrow = buffer;
        done
    }

    /// The narrow sides of all adapters first, which are then added to the products.
    fn multiply_adapted(&mut self, products: &[Product<'_>], buffer: &mut Buffer) -> Result<(), StepError> {
        let width =
            |product: &Product<'_>| product.adapter.map_or(0, |adapter| product.n_rows * adapter.down.n_out);
        let narrow = buffer.rows(1, products.iter().map(width).sum())?;
        let mut narrowing = Vec::with_capacity(products.len());
        let mut left = &mut *narrow;
        for product in products {
            let (own, rest) = left.split_at_mut(width(product));
            left = rest;
            let Some(LowRank { down, .. }) = product.adapter else { continue };
            let n_rows = (MIN_UNIT_PRODUCTS / (down.n_in * down.n_out).max(1)).max(NARROW_ROWS);
            let parts = product.x.chunks(n_rows * down.n_in).zip(own.chunks_mut(n_rows * down.n_out));
            narrowing.extend(parts.map(|(x, own)| Product::matrix(down, x, own)));
        }
        self.run(&narrowing, &[])?;
        drop(narrowing);
        let mut widenings = Vec::with_capacity(products.len());
        let mut left = &mut *narrow;
        for product in products {
            let (own, rest) = left.split_at_mut(width(product));
            left = rest;
            widenings.push(product.adapter.map(|LowRank { up, scale, .. }| {
                own.iter_mut().for_each(|number| *number *= scale);
                Widening { up: Rows::new(up), narrow: own }
            }));
        }
        self.run(products, &widenings)
    }

    /// Runs products; `widenings`, where there are any, has one entry for each.
    fn run(&mut self, products: &[Product<'_>], widenings: &[Option<Widening<'_>>]) -> Result<(), StepError> {
        let total: usize = products.iter().map(Product::n_products).sum();
        let unit_products = (total / (self.pool.threads() * UNITS_PER_THREAD)).max(MIN_UNIT_PRODUCTS);
        let mut n_units = 0;
        let mut splits = Vec::with_capacity(products.len());
        for (index, product) in products.iter().enumerate() {
            let products_per_output = (product.n_rows * product.rows.n_in()).max(1);
            let outputs = unit_products.div_ceil(products_per_output);
            let outputs_per_unit = outputs.next_multiple_of(UNIT_OUTPUTS);
            let widening = widenings.get(index).and_then(Option::as_ref);
            splits.push(Split { product, widening, first_unit: n_units, outputs_per_unit });
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
                Panel::new(product.rows, first..last, product.start, product.x, product.n_rows, product.y)
            };
            kernels.multiply(&panel);
            if let Some(Widening { up, narrow }) = split.widening {
                assert_eq!(up.n_out(), product.rows.n_out(), "an adapter that does not fit");
                // SAFETY: as above: the same outputs of the same `y`, which were just written.
                let panel =
                    unsafe { Panel::new(*up, first..last, Start::Output, narrow, product.n_rows, product.y) };
                kernels.multiply(&panel);
            }
        })?;
        Ok(())
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
