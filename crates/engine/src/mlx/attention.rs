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

#[derive(Debug)]
struct Heads {
    n_heads: i32,
    n_kv_heads: i32,
    head_dim: i32,
    rotary_dim: i32,
    rope_theta: f32,
    norm_eps: f32,
    scale: f32,
    /// Whether MLX has one kernel for attention here.
    is_fused: bool,
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
                is_fused: !uploader.on_cpu,
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
        let heads = &self.heads;
        let norm = |x: Array, n_heads, norm: &Option<Array>| {
            let x = x.reshape(&[-1, n_heads, 1, heads.head_dim])?;
            match norm {
                Some(norm) => rms_norm(&x, Some(norm), heads.norm_eps),
                None => Ok(x),
            }
        };
        let new = Rows {
            queries: norm(self.q_proj.forward(x)?, heads.n_heads, &self.q_norm)?,
            keys: norm(self.k_proj.forward(x)?, heads.n_kv_heads, &self.k_norm)?,
            values: self.v_proj.forward(x)?,
        };
        let attended = if heads.is_fused || !step.is_a_row_each() || sequences[0].shape().is_quantized() {
            heads.attend_chunks(new, step, layer, sequences)?
        } else {
            heads.attend_rows(new, step, layer, sequences)?
        };
        let attended = attended.reshape(&[-1, heads.n_heads * heads.head_dim])?;
        self.o_proj.forward(&attended)
    }
}

/// What the rows of a step ask for and bring.
struct Rows {
    /// `[n_rows, n_heads, 1, head_dim]`
    queries: Array,
    /// `[n_rows, n_kv_heads, 1, head_dim]`
    keys: Array,
    /// `[n_rows, n_kv_heads * head_dim]`
    values: Array,
}

impl Heads {
    /// Each row is its own sequence's, as where all of them decode. This is what MLX makes of its attention where it has
    /// no kernel for it, in as few operations for each sequence as there can be: on small models they are what a step
    /// takes.
    fn attend_rows(
        &self,
        new: Rows,
        step: &StepArrays,
        layer: usize,
        sequences: &mut [KvSequence],
    ) -> Result<Array> {
        let grouped = [-1, self.n_heads / self.n_kv_heads, self.head_dim];
        let single = [-1, 1, self.head_dim];
        // `[n_rows * n_kv_heads, .., head_dim]`
        let queries = self.scaled(&self.rope_rows(&new.queries, step)?)?.reshape(&grouped)?;
        let keys = self.rope_rows(&new.keys, step)?.reshape(&single)?;
        let values = new.values.reshape(&single)?;
        let begins: Vec<i32> = (1..int(sequences.len())).map(|row| row * self.n_kv_heads).collect();
        let each = |x: Array| if begins.is_empty() { Ok(vec![x]) } else { x.split_at_indices(&begins, 0) };
        let rows = each(queries)?.into_iter().zip(each(keys)?).zip(each(values)?);
        let mut attended = Vec::with_capacity(sequences.len());
        for (((queries, keys), values), sequence) in rows.zip(sequences) {
            let (keys, values) = sequence.append(layer, &keys, &values)?;
            let scores = queries.matmul(keys.numbers().swap_axes(-1, -2)?)?;
            attended.push(softmax_axis(&scores, -1, true)?.matmul(values.numbers())?);
        }
        joined(attended)
    }

    fn attend_chunks(
        &self,
        new: Rows,
        step: &StepArrays,
        layer: usize,
        sequences: &mut [KvSequence],
    ) -> Result<Array> {
        let values = new.values.reshape(&[-1, self.n_kv_heads, 1, self.head_dim])?;
        if let ([chunk], [sequence]) = (step.chunks(), &mut *sequences) {
            let rotate = |x: Array| self.rope(&by_head(x)?, chunk.position);
            let (queries, keys) = (rotate(new.queries)?, rotate(new.keys)?);
            return by_row(self.attend(&queries, &keys, &by_head(values)?, layer, sequence)?);
        }
        // All chunks begin there but the first.
        let begins: Vec<i32> = step.chunks()[1..].iter().map(|chunk| chunk.first_row).collect();
        let each = |x: Array| x.split_at_indices(&begins, 0);
        let queries = each(self.rope_rows(&new.queries, step)?)?;
        let keys = each(self.rope_rows(&new.keys, step)?)?;
        let rows = queries.into_iter().zip(keys).zip(each(values)?);
        let mut attended = Vec::with_capacity(sequences.len());
        for (((queries, keys), values), sequence) in rows.zip(sequences) {
            let (queries, keys, values) = (by_head(queries)?, by_head(keys)?, by_head(values)?);
            attended.push(by_row(self.attend(&queries, &keys, &values, layer, sequence)?)?);
        }
        joined(attended)
    }

    /// `x`: `[1, n, n_tokens, head_dim]`, the first token at `position`.
    fn rope(&self, x: &Array, position: i32) -> Result<Array> {
        rope(x, self.rotary_dim, false, self.rope_theta, 1.0, position, None)
    }

    /// `x`: `[n_rows, n, 1, head_dim]`, each row at its own position.
    fn rope_rows(&self, x: &Array, step: &StepArrays) -> Result<Array> {
        rope_dynamic(x, self.rotary_dim, false, self.rope_theta, 1.0, step.positions(), None)
    }

    fn scaled(&self, queries: &Array) -> Result<Array> {
        queries.multiply(Array::from_f32(self.scale).as_dtype(queries.dtype())?)
    }

    /// Appends keys and values to the sequence, and attends to all that it has: `[1, n_heads, n_tokens, head_dim]`.
    fn attend(
        &self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        layer: usize,
        sequence: &mut KvSequence,
    ) -> Result<Array> {
        let n_tokens = queries.dim(-2);
        let (keys, values) =
            sequence.append(layer, &keys.squeeze_axes(&[0])?, &values.squeeze_axes(&[0])?)?;
        if sequence.shape().is_quantized() {
            return self.attend_quantized(queries, &keys, &values);
        }
        let [keys, values] = [keys, values].map(|planes| planes.numbers().expand_dims(0));
        let mask = (n_tokens > 1).then_some(Mask::Causal);
        scaled_dot_product_attention(queries, keys?, values?, self.scale, mask, None)
    }

    fn attend_quantized(&self, queries: &Array, keys: &Planes, values: &Planes) -> Result<Array> {
        let n_tokens = queries.dim(-2);
        let scaled = self.scaled(queries)?;
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

/// What was computed of each sequence, one after the other.
fn joined(mut attended: Vec<Array>) -> Result<Array> {
    match attended.len() {
        1 => Ok(attended.remove(0)),
        _ => concatenate(&attended, 0),
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
