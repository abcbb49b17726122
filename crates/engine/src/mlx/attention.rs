//! Grouped-query attention over the keys and values of many sequences.
//!
//! Source: `Attention` in mlx-lm `models/glm4_moe.py`, `quantized_scaled_dot_product_attention` in `models/base.py`.

use super::arrays::{Projection, Uploader};
use super::kv::{KvSequence, Planes};
use super::model::StepArrays;
use super::{Result, int};
use crate::checkpoint::{AttentionWeights, ModelConfig};
use mlx_rs::fast::{
    ScaledDotProductAttentionMask as Mask, rms_norm, rope, rope_dynamic, scaled_dot_product_attention,
};
use mlx_rs::ops::{arange, concatenate, quantized_matmul, select, softmax_axis};
use mlx_rs::{Array, Dtype};

#[derive(Debug)]
pub(super) struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: Option<Array>,
    k_norm: Option<Array>,
    heads: Heads,
}

#[derive(Debug, Clone, Copy)]
struct Heads {
    n_heads: i32,
    n_kv_heads: i32,
    head_dim: i32,
    rotary_dim: i32,
    rope_theta: f32,
    norm_eps: f32,
    scale: f32,
}

impl Attention {
    pub(super) fn new(uploader: Uploader, config: &ModelConfig, weights: &AttentionWeights) -> Result<Self> {
        let norm = |norm: &Option<_>| norm.as_ref().map(|norm| uploader.vector(norm)).transpose();
        Ok(Self {
            q_proj: uploader.projection(&weights.q_proj)?,
            k_proj: uploader.projection(&weights.k_proj)?,
            v_proj: uploader.projection(&weights.v_proj)?,
            o_proj: uploader.projection(&weights.o_proj)?,
            q_norm: norm(&weights.q_norm)?,
            k_norm: norm(&weights.k_norm)?,
            heads: Heads {
                n_heads: int(config.n_heads),
                n_kv_heads: int(config.n_kv_heads),
                head_dim: int(config.head_dim),
                rotary_dim: int(config.rotary_dim),
                rope_theta: config.rope_theta,
                norm_eps: config.rms_norm_eps,
                scale: (config.head_dim as f32).powf(-0.5),
            },
        })
    }

    /// `x`: `[n_rows, hidden_size]`; `sequences` are those of the step's chunks.
    pub(super) fn forward(
        &self,
        x: &Array,
        step: &StepArrays,
        layer: usize,
        sequences: &mut [KvSequence],
    ) -> Result<Array> {
        let heads = self.heads;
        let split = |x: Array, n_heads| x.reshape(&[-1, n_heads, 1, heads.head_dim]);
        let norm = |x: Array, norm: &Option<Array>| match norm {
            Some(norm) => rms_norm(&x, Some(norm), heads.norm_eps),
            None => Ok(x),
        };
        let queries = norm(split(self.q_proj.forward(x)?, heads.n_heads)?, &self.q_norm)?;
        let keys = norm(split(self.k_proj.forward(x)?, heads.n_kv_heads)?, &self.k_norm)?;
        let values = split(self.v_proj.forward(x)?, heads.n_kv_heads)?;
        let attended = match (step.chunks(), sequences) {
            ([chunk], [sequence]) => {
                let rotate = |x: Array| heads.rope(&by_head(x)?, chunk.position);
                by_row(heads.attend(
                    &rotate(queries)?,
                    &rotate(keys)?,
                    &by_head(values)?,
                    layer,
                    sequence,
                )?)?
            }
            (chunks, sequences) => {
                // All chunks begin there but the first.
                let begins: Vec<i32> = chunks[1..].iter().map(|chunk| chunk.first_row).collect();
                let each = |x: Array| x.split_at_indices(&begins, 0);
                let queries = each(heads.rope_rows(&queries, step)?)?;
                let keys = each(heads.rope_rows(&keys, step)?)?;
                let values = each(values)?;
                let mut attended = Vec::with_capacity(chunks.len());
                for (((queries, keys), values), sequence) in
                    queries.into_iter().zip(keys).zip(values).zip(sequences)
                {
                    let (queries, keys, values) = (by_head(queries)?, by_head(keys)?, by_head(values)?);
                    attended.push(by_row(heads.attend(&queries, &keys, &values, layer, sequence)?)?);
                }
                concatenate(&attended, 0)?
            }
        };
        let attended = attended.reshape(&[-1, heads.n_heads * heads.head_dim])?;
        self.o_proj.forward(&attended)
    }
}

impl Heads {
    /// `x`: `[1, n, n_tokens, head_dim]`, the first token at `position`.
    fn rope(self, x: &Array, position: i32) -> Result<Array> {
        rope(x, self.rotary_dim, false, self.rope_theta, 1.0, position, None)
    }

    /// `x`: `[n_rows, n, 1, head_dim]`, each row at its own position.
    fn rope_rows(self, x: &Array, step: &StepArrays) -> Result<Array> {
        rope_dynamic(x, self.rotary_dim, false, self.rope_theta, 1.0, step.positions(), None)
    }

    /// Appends keys and values to the sequence, and attends to all that it has: `[1, n_heads, n_tokens, head_dim]`.
    fn attend(
        self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        layer: usize,
        sequence: &mut KvSequence,
    ) -> Result<Array> {
        let n_tokens = queries.dim(-2);
        let (keys, values) = sequence.append(layer, keys, values)?;
        match (&keys.parts[..], &values.parts[..]) {
            ([keys], [values]) => {
                let mask = (n_tokens > 1).then_some(Mask::Causal);
                scaled_dot_product_attention(queries, keys, values, self.scale, mask, None)
            }
            _ => self.attend_quantized(queries, &keys, &values),
        }
    }

    fn attend_quantized(self, queries: &Array, keys: &Planes, values: &Planes) -> Result<Array> {
        let n_tokens = queries.dim(-2);
        let scaled = queries.multiply(Array::from_f32(self.scale).as_dtype(queries.dtype())?)?;
        // Query heads that share keys stand side by side.
        let grouped = scaled.reshape(&[1, self.n_kv_heads, -1, n_tokens, self.head_dim])?;
        let mut scores = keys.product(&grouped, true)?;
        if n_tokens > 1 {
            let n_keys = scores.dim(-1);
            let of_keys = arange::<_, i32>(0, n_keys, 1)?;
            let of_queries = arange::<_, i32>(n_keys - n_tokens, n_keys, 1)?.expand_dims(-1)?;
            let least = Array::from_f32(least_of(scores.dtype())).as_dtype(scores.dtype())?;
            scores = select(of_queries.ge(&of_keys)?, &scores, &least)?;
        }
        let attended = values.product(&softmax_axis(&scores, -1, true)?, false)?;
        attended.reshape(&[1, self.n_heads, n_tokens, self.head_dim])
    }
}

impl Planes {
    /// `x · Kᵀ` (`transpose`) or `x · V`, with numbers of 8 bits.
    fn product(&self, x: &Array, transpose: bool) -> Result<Array> {
        let [packed, scales, biases] = [0, 1, 2].map(|part| self.parts[part].expand_dims(-3));
        quantized_matmul(x, packed?, scales?, &biases?, transpose, self.group_size, 8)
    }
}

/// `[n_tokens, n, 1, head_dim]` → `[1, n, n_tokens, head_dim]`: of one token that is the same.
fn by_head(x: Array) -> Result<Array> {
    if x.dim(0) == 1 { Ok(x) } else { x.swap_axes(0, 2) }
}

/// `[1, n, n_tokens, head_dim]` → `[n_tokens, n, 1, head_dim]`
fn by_row(x: Array) -> Result<Array> {
    if x.dim(2) == 1 { Ok(x) } else { x.swap_axes(0, 2) }
}

/// The least number of a format that is not infinite.
fn least_of(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Float16 => half::f16::MIN.to_f32(),
        Dtype::Bfloat16 => half::bf16::MIN.to_f32(),
        _ => f32::MIN,
    }
}
