//! Attention of a step: which thread does what.

use super::kernels::{AttentionBlock, KV_BLOCK_TOKENS, Kernels, MAX_HEADS, NarrowRows};
use super::kv_cache::KvSequence;
use super::linear::Compute;
use super::pool::WorkerPanic;
use crate::checkpoint::ModelConfig;
use crate::step::Step;
use boca_core::KvPrecision;
use std::cell::RefCell;
use std::ops::Range;

/// Query tokens that share the blocks of keys and values while these are in the cache.
const UNIT_ROWS: usize = 8;

thread_local! {
    /// One head's keys and values of one block, widened.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Some heads of one key-value head, for some tokens of one chunk.
#[derive(Debug, Clone, Copy)]
struct Unit {
    chunk: usize,
    first_row: usize,
    n_rows: usize,
    kv_head: usize,
    first_head: usize,
    n_heads: usize,
}

/// How a step's attention is split; the same in every layer.
#[derive(Debug, Default)]
pub(super) struct AttentionPlan {
    units: Vec<Unit>,
}

impl AttentionPlan {
    /// Splits a step so that every thread has something to do. How it is split never changes a result.
    pub(super) fn prepare(&mut self, step: &Step, config: &ModelConfig, threads: usize) {
        let group = config.n_heads / config.n_kv_heads;
        let n_row_blocks: usize = step.chunks().map(|chunk| chunk.n_rows.div_ceil(UNIT_ROWS)).sum();
        let mut heads_per_unit = group.min(MAX_HEADS);
        while heads_per_unit > 1
            && n_row_blocks * config.n_kv_heads * group.div_ceil(heads_per_unit) < 2 * threads
        {
            heads_per_unit = heads_per_unit.div_ceil(2);
        }
        self.units.clear();
        for (index, chunk) in step.chunks().enumerate() {
            for row in (0..chunk.n_rows).step_by(UNIT_ROWS) {
                for kv_head in 0..config.n_kv_heads {
                    for head in (0..group).step_by(heads_per_unit) {
                        self.units.push(Unit {
                            chunk: index,
                            first_row: chunk.first_row + row,
                            n_rows: UNIT_ROWS.min(chunk.n_rows - row),
                            kv_head,
                            first_head: kv_head * group + head,
                            n_heads: heads_per_unit.min(group - head),
                        });
                    }
                }
            }
        }
    }

    /// `out = softmax(queries · keysᵀ) · values`, causal: `[n_rows, n_heads * head_dim]`.
    ///
    /// # Errors
    /// [`WorkerPanic`].
    pub(super) fn run(
        &self,
        compute: &mut Compute,
        layer: &LayerAttention<'_>,
        out: &mut [f32],
    ) -> Result<(), WorkerPanic> {
        assert_eq!(layer.queries.len(), layer.step.n_rows() * layer.width(), "queries");
        assert_eq!(out.len(), layer.queries.len(), "outputs");
        out.fill(0.0);
        let out = Heads(out.as_mut_ptr());
        let out = &out;
        let kernels = compute.kernels;
        compute.pool.run(self.units.len(), &move |index| {
            let unit = &self.units[index];
            layer.run_unit(&kernels, unit, |row| {
                let range = layer.heads_of(unit, row);
                assert!(range.end <= layer.queries.len(), "heads outside their row");
                // SAFETY: the range lies in `out`, which is as long as `queries`, and no other unit has these heads
                // of this row; the slice of one row is gone before the next is asked for.
                unsafe { std::slice::from_raw_parts_mut(out.0.add(range.start), range.len()) }
            });
        })
    }
}

/// What the attention of one layer reads.
#[derive(Debug)]
pub(super) struct LayerAttention<'a> {
    pub(super) step: &'a Step,
    /// Those of the step's chunks, with the step's own keys and values.
    pub(super) sequences: &'a [KvSequence],
    pub(super) layer: usize,
    pub(super) config: &'a ModelConfig,
    /// `[n_rows, n_heads * head_dim]`
    pub(super) queries: &'a [f32],
}

impl LayerAttention<'_> {
    fn width(&self) -> usize {
        self.config.n_heads * self.config.head_dim
    }

    /// Where a unit's heads of a row are, in queries and outputs.
    fn heads_of(&self, unit: &Unit, row: usize) -> Range<usize> {
        let start = row * self.width() + unit.first_head * self.config.head_dim;
        start..start + unit.n_heads * self.config.head_dim
    }

    fn run_unit<'o>(&self, kernels: &Kernels, unit: &Unit, outputs_of: impl Fn(usize) -> &'o mut [f32]) {
        let (step, head_dim) = (self.step, self.config.head_dim);
        let sequence = &self.sequences[unit.chunk];
        let mut largest = [[f32::NEG_INFINITY; MAX_HEADS]; UNIT_ROWS];
        let mut weight_sums = [[0.0f32; MAX_HEADS]; UNIT_ROWS];
        let rows = unit.first_row..unit.first_row + unit.n_rows;
        let n_seen = step.position(rows.end - 1) + 1;
        for block in 0..n_seen.div_ceil(KV_BLOCK_TOKENS) {
            let n_rows = (n_seen - block * KV_BLOCK_TOKENS).min(KV_BLOCK_TOKENS);
            self.with_numbers(kernels, sequence, block, unit.kv_head, n_rows, |keys, values| {
                for (i, row) in rows.clone().enumerate() {
                    let n_visible = (step.position(row) + 1).saturating_sub(block * KV_BLOCK_TOKENS);
                    if n_visible == 0 {
                        continue;
                    }
                    kernels.attend(&mut AttentionBlock {
                        queries: &self.queries[self.heads_of(unit, row)],
                        keys,
                        values,
                        head_dim,
                        n_tokens: n_visible.min(KV_BLOCK_TOKENS),
                        largest: &mut largest[i][..unit.n_heads],
                        weight_sums: &mut weight_sums[i][..unit.n_heads],
                        outputs: outputs_of(row),
                    });
                }
            });
        }
        for (i, row) in rows.enumerate() {
            for (head, output) in outputs_of(row).chunks_exact_mut(head_dim).enumerate() {
                let factor = 1.0 / weight_sums[i][head];
                output.iter_mut().for_each(|number| *number *= factor);
            }
        }
    }
}

impl LayerAttention<'_> {
    /// Hands out the first `n_rows` keys and values of a block as floats.
    fn with_numbers(
        &self,
        kernels: &Kernels,
        sequence: &KvSequence,
        block: usize,
        kv_head: usize,
        n_rows: usize,
        work: impl FnOnce(&[f32], &[f32]),
    ) {
        let (keys, values) = sequence.block(self.layer, block, kv_head);
        let (precision, width) = (sequence.precision(), self.config.head_dim);
        if precision == KvPrecision::F32 {
            return work(bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
        }
        WIDENED.with_borrow_mut(|widened| {
            let size = KV_BLOCK_TOKENS * width;
            widened.resize(2 * size, 0.0);
            let (wide_keys, wide_values) = widened.split_at_mut(size);
            for (bytes, wide) in [(keys, &mut *wide_keys), (values, &mut *wide_values)] {
                kernels.widen_rows(&NarrowRows { precision, width, bytes }, n_rows, wide);
            }
            work(wide_keys, wide_values);
        });
    }
}

/// The output of all heads, shared out among units.
struct Heads(*mut f32);

// SAFETY: units write disjoint heads of disjoint rows.
unsafe impl Sync for Heads {}
