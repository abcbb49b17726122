//! The forward pass of GLM-4 MoE, from token ids to logits.

use super::attention::{AttentionPlan, LayerAttention};
use super::experts::Mlps;
use super::kernels::Rows;
use super::kv_cache::KvSequence;
use super::linear::{Compute, Product};
use super::rope::{Rope, Rotations};
use super::scratch::Buffer;
use super::{StepError, norm_rows};
use crate::checkpoint::{AttentionWeights, Linear, LowRank, MlpWeights, ModelConfig, Weights};
use crate::step::Step;

/// The model and the buffers of its steps.
#[derive(Debug)]
pub(super) struct Forward {
    config: ModelConfig,
    weights: Weights,
    rope: Rope,
    rotations: Rotations,
    plan: AttentionPlan,
    mlps: Mlps,
    hidden: Buffer,
    normed: Buffer,
    queries: Buffer,
    keys: Buffer,
    values: Buffer,
    attended: Buffer,
    projected: Buffer,
}

impl Forward {
    pub(super) fn new(config: &ModelConfig, weights: Weights) -> Self {
        Self {
            config: config.clone(),
            weights,
            rope: Rope::new(config.rotary_dim, config.rope_theta),
            rotations: Rotations::default(),
            plan: AttentionPlan::default(),
            mlps: Mlps::new(config),
            hidden: Buffer::default(),
            normed: Buffer::default(),
            queries: Buffer::default(),
            keys: Buffer::default(),
            values: Buffer::default(),
            attended: Buffer::default(),
            projected: Buffer::default(),
        }
    }

    /// Computes a step; `sequences` are those of its chunks, with room for the new tokens. `logits` gets one row for
    /// each wanted row.
    pub(super) fn run(
        &mut self,
        compute: &mut Compute,
        step: &Step,
        sequences: &mut [KvSequence],
        logits: &mut Vec<f32>,
    ) -> Result<(), StepError> {
        let Self { config, weights, .. } = self;
        let n_rows = step.n_rows();
        self.rope.prepare(step.positions(), &mut self.rotations);
        self.plan.prepare(step, config, compute.pool.threads());

        // [n_rows, hidden_size]
        let hidden = self.hidden.rows(n_rows, config.hidden_size)?;
        embed(compute, &weights.embed_tokens, step, hidden)?;
        if let Some(adapter) = &weights.embed_tokens.adapter {
            let factors = self.queries.rows(n_rows, adapter.up.n_in)?;
            let row = self.normed.rows(1, config.hidden_size)?;
            let added = self.projected.rows(n_rows, config.hidden_size)?;
            adapt_embeddings(compute, adapter, step, [factors, row, added], hidden)?;
        }

        for (layer, layer_weights) in weights.layers.iter().enumerate() {
            let normed = self.normed.rows(n_rows, config.hidden_size)?;
            norm_rows(compute, hidden, &layer_weights.input_layernorm, config.rms_norm_eps, normed)?;

            let attention = &layer_weights.self_attn;
            let queries = self.queries.rows(n_rows, config.n_heads * config.head_dim)?;
            let keys = self.keys.rows(n_rows, config.n_kv_heads * config.head_dim)?;
            let values = self.values.rows(n_rows, config.n_kv_heads * config.head_dim)?;
            compute.multiply(&[
                Product::linear(&attention.q_proj, normed, queries),
                Product::linear(&attention.k_proj, normed, keys),
                Product::linear(&attention.v_proj, normed, values),
            ])?;
            position_heads(compute, config, attention, &self.rotations, queries, keys)?;
            write_kv(step, sequences, layer, keys, values);

            let attended = self.attended.rows(n_rows, config.n_heads * config.head_dim)?;
            let layer_attention = LayerAttention { step, sequences, layer, config, queries };
            self.plan.run(compute, &layer_attention, attended)?;
            let projected = self.projected.rows(n_rows, config.hidden_size)?;
            compute.multiply(&[Product::linear(&attention.o_proj, attended, projected)])?;
            compute.kernels.add_scaled(hidden, projected, 1.0);

            norm_rows(compute, hidden, &layer_weights.post_attention_layernorm, config.rms_norm_eps, normed)?;
            match &layer_weights.mlp {
                MlpWeights::Dense(mlp) => self.mlps.dense(compute, mlp, normed, hidden)?,
                MlpWeights::Moe(moe) => self.mlps.mixture(compute, moe, normed, hidden)?,
            }
        }
        self.head(compute, step, logits)
    }

    /// The head, over the wanted rows only.
    fn head(&mut self, compute: &mut Compute, step: &Step, logits: &mut Vec<f32>) -> Result<(), StepError> {
        let Self { config, weights, .. } = self;
        let wanted = step.wanted_rows();
        let width = config.hidden_size;
        let hidden = self.hidden.rows(step.n_rows(), width)?;
        // Wanted rows are in ascending order, so none is overwritten before it is moved.
        for (to, from) in wanted.iter().enumerate() {
            hidden.copy_within(from * width..(from + 1) * width, to * width);
        }
        let last = &hidden[..wanted.len() * width];
        let normed = self.normed.rows(wanted.len(), width)?;
        norm_rows(compute, last, &weights.norm, config.rms_norm_eps, normed)?;

        let n_logits = wanted.len() * config.vocab_size;
        logits.clear();
        logits.try_reserve(n_logits).map_err(|_| StepError::out_of_memory(wanted.len(), n_logits))?;
        logits.resize(n_logits, 0.0);
        let product = match &weights.lm_head {
            Some(head) => Product::linear(head, normed, logits),
            None => Product::linear(&weights.embed_tokens, normed, logits),
        };
        compute.multiply(&[product])?;
        Ok(())
    }
}

fn embed(
    compute: &mut Compute,
    embed_tokens: &Linear,
    step: &Step,
    hidden: &mut [f32],
) -> Result<(), StepError> {
    let rows = Rows::new(&embed_tokens.weight);
    let (kernels, width) = (compute.kernels, rows.n_in());
    compute.for_rows(hidden, width, width, |row, hidden| {
        kernels.unpack_row(&rows, step.token(row), hidden);
    })?;
    Ok(())
}

/// Adds what an adapter adds to embeddings: `scale * (lora_a[token] · lora_b)`, one row of `lora_b` after the other.
/// The buffers are for the tokens' factors `[n_rows, rank]`, for a row, and for all that is added, as large as `hidden`.
fn adapt_embeddings(
    compute: &mut Compute,
    adapter: &LowRank,
    step: &Step,
    [factors, row, added]: [&mut [f32]; 3],
    hidden: &mut [f32],
) -> Result<(), StepError> {
    let (of_tokens, columns) = (Rows::new(&adapter.up), Rows::new(&adapter.down));
    let (kernels, width) = (compute.kernels, columns.n_in());
    for (index, factors) in factors.chunks_exact_mut(of_tokens.n_in()).enumerate() {
        kernels.unpack_row(&of_tokens, step.token(index), factors);
    }
    let factors = &*factors;
    added.fill(0.0);
    for column in 0..columns.n_out() {
        kernels.unpack_row(&columns, column, row);
        let row = &*row;
        compute.for_rows(added, width, width, |index, added| {
            kernels.add_scaled(added, row, factors[index * columns.n_out() + column]);
        })?;
    }
    kernels.add_scaled(hidden, added, adapter.scale);
    Ok(())
}

/// Norms (with `use_qk_norm`) and rotates queries and keys; queries also get the scale of the scores.
fn position_heads(
    compute: &mut Compute,
    config: &ModelConfig,
    attention: &AttentionWeights,
    rotations: &Rotations,
    queries: &mut [f32],
    keys: &mut [f32],
) -> Result<(), StepError> {
    let kernels = compute.kernels;
    let head_dim = config.head_dim;
    let scale = (head_dim as f32).powf(-0.5);
    let mut position = |heads: &mut [f32], n_heads: usize, norm: Option<&[f32]>, scale: f32| {
        let width = n_heads * head_dim;
        compute.for_rows(heads, width, 4 * width, |row, heads| {
            for head in heads.chunks_exact_mut(head_dim) {
                if let Some(norm) = norm {
                    kernels.rms_norm(head, norm, config.rms_norm_eps);
                }
                rotations.apply(row, head);
                head.iter_mut().for_each(|number| *number *= scale);
            }
        })
    };
    position(queries, config.n_heads, attention.q_norm.as_deref(), scale)?;
    position(keys, config.n_kv_heads, attention.k_norm.as_deref(), 1.0)?;
    Ok(())
}

fn write_kv(step: &Step, sequences: &mut [KvSequence], layer: usize, keys: &[f32], values: &[f32]) {
    let width = keys.len() / step.n_rows();
    for (chunk, sequence) in step.chunks().zip(sequences) {
        for row in chunk.first_row..chunk.first_row + chunk.n_rows {
            let columns = row * width..(row + 1) * width;
            sequence.write(layer, step.position(row), &keys[columns.clone()], &values[columns]);
        }
    }
}
