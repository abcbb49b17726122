//! Attention of a step: which thread does what.

use super::kernels::{AttentionBlock, KV_BLOCK_TOKENS, Kernels, MAX_HEADS};
use super::kv_cache::KvSequence;
use super::linear::Compute;
use super::pool::WorkerPanic;
use super::step::Step;
use crate::checkpoint::ModelConfig;

/// Query tokens that share the blocks of keys and values while these are in the cache.
const UNIT_ROWS: usize = 8;

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

    /// `out = softmax(queries · keysᵀ) · values`, causal. Both are `[n_rows, n_heads * head_dim]`.
    ///
    /// # Errors
    /// [`WorkerPanic`].
    pub(super) fn run(
        &self,
        compute: &mut Compute,
        step: &Step,
        sequences: &[KvSequence],
        layer: usize,
        config: &ModelConfig,
        queries: &[f32],
        out: &mut [f32],
    ) -> Result<(), WorkerPanic> {
        let (width, head_dim) = (config.n_heads * config.head_dim, config.head_dim);
        assert!(queries.len() == step.n_rows() * width && out.len() == queries.len(), "attention buffers");
        out.fill(0.0);
        let out = Heads(out.as_mut_ptr());
        let out = &out;
        let kernels = compute.kernels;
        compute.pool.run(self.units.len(), &move |index| {
            let unit = self.units[index];
            let heads_of = |row: usize| {
                let start = row * width + unit.first_head * head_dim;
                start..start + unit.n_heads * head_dim
            };
            run_unit(
                &kernels,
                &unit,
                step,
                &sequences[unit.chunk],
                layer,
                head_dim,
                |row| &queries[heads_of(row)],
                |row| {
                    let range = heads_of(row);
                    assert!(range.end <= queries.len(), "heads outside their row");
                    // SAFETY: the range lies in `out`, which is as long as `queries`, and no other unit has these
                    // heads of this row; the slice of one row is gone before the next is asked for.
                    unsafe { std::slice::from_raw_parts_mut(out.0.add(range.start), range.len()) }
                },
            );
        })
    }
}

fn run_unit<'a>(
    kernels: &Kernels,
    unit: &Unit,
    step: &Step,
    sequence: &KvSequence,
    layer: usize,
    head_dim: usize,
    queries_of: impl Fn(usize) -> &'a [f32],
    outputs_of: impl Fn(usize) -> &'a mut [f32],
) {
    let mut largest = [[f32::NEG_INFINITY; MAX_HEADS]; UNIT_ROWS];
    let mut weight_sums = [[0.0f32; MAX_HEADS]; UNIT_ROWS];
    let rows = unit.first_row..unit.first_row + unit.n_rows;
    let last_position = step.position(rows.end - 1);
    for block in 0..=last_position / KV_BLOCK_TOKENS {
        let (keys, values) = sequence.block(layer, block, unit.kv_head);
        for (i, row) in rows.clone().enumerate() {
            let n_visible = (step.position(row) + 1).saturating_sub(block * KV_BLOCK_TOKENS);
            if n_visible == 0 {
                continue;
            }
            kernels.attend(&mut AttentionBlock {
                queries: queries_of(row),
                keys,
                values,
                head_dim,
                n_tokens: n_visible.min(KV_BLOCK_TOKENS),
                largest: &mut largest[i][..unit.n_heads],
                weight_sums: &mut weight_sums[i][..unit.n_heads],
                outputs: outputs_of(row),
            });
        }
    }
    for (i, row) in rows.enumerate() {
        for (head, output) in outputs_of(row).chunks_exact_mut(head_dim).enumerate() {
            let factor = 1.0 / weight_sums[i][head];
            output.iter_mut().for_each(|number| *number *= factor);
        }
    }
}

/// The output of all heads, shared out among units.
struct Heads(*mut f32);

// SAFETY: units write disjoint heads of disjoint rows.
unsafe impl Sync for Heads {}
