//! One host's part of a model that several hosts compute together.
//!
//! Projections into a layer's inside (queries, keys, values, gate, up) are cut by rows, those out of it (attention's
//! output, down) by columns, so that the sum of what all hosts get is what one would. Embeddings, norms, routers and the
//! head stay whole. Rows are views of the file; columns are copied, so a layer is cut when it is about to be used.
//!
//! Parts need not be equal: a quantised row can be cut only between two groups that share a scale, and the 10,944 numbers
//! of GLM-4.5-Air's dense layer are 171 groups. The first hosts get what is left over.
//!
//! Source: `Model.shard` in mlx-lm `models/glm4_moe.py` and `shard_linear` in mlx `nn/layers/distributed.py`, which cut
//! the same matrices along the same axes, but into equal parts alone.

use super::config::ModelConfig;
use super::tensor::{Linear, LowRank, Matrix, MatrixData, TensorBytes, Vector};
use super::weights::{AttentionWeights, GatedMlp, LayerWeights, MlpWeights, MoeWeights, Weights};
use std::ops::Range;

/// Which part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Whose, from 0.
    pub rank: usize,
    /// How many parts there are.
    pub size: usize,
}

/// A model that so many hosts cannot share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` must be at least {least} to be shared by {n_hosts} hosts, got {found}{why}")]
pub struct CutError {
    /// The field of `config.json`.
    pub field: &'static str,
    /// The least that would do.
    pub least: usize,
    /// How many hosts there are.
    pub n_hosts: usize,
    /// What it is.
    pub found: usize,
    /// What makes it so much, if it is not plain.
    pub why: String,
}

/// How one host's part is cut out of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    share: Share,
    head_dim: usize,
    queries_per_key: usize,
    kv_heads: Range<usize>,
}

impl Share {
    /// Its part of so many things; those of the first hosts are the larger ones.
    fn of(self, n: usize) -> Range<usize> {
        let (each, left) = (n / self.size, n % self.size);
        let start = self.rank * each + self.rank.min(left);
        start..start + each + usize::from(self.rank < left)
    }

    /// Its part of `n` numbers that cannot be cut but between units.
    fn of_units(self, n: usize, unit: usize) -> Range<usize> {
        let units = self.of(n / unit);
        units.start * unit..units.end * unit
    }
}

impl Cut {
    /// Checks that every matrix can be cut.
    ///
    /// # Errors
    /// [`CutError`]
    pub fn new(config: &ModelConfig, weights: &Weights, share: Share) -> Result<Self, CutError> {
        let queries_per_key = config.n_heads / config.n_kv_heads;
        // Keys and values of all layers have one shape, so that the coarsest layer decides.
        let unit = weights.layers.iter().map(|layer| unit_of(&layer.self_attn.o_proj)).max().unwrap_or(1);
        let numbers_per_key = queries_per_key * config.head_dim;
        let heads_unit = (1..=config.n_kv_heads).find(|n| (n * numbers_per_key).is_multiple_of(unit));
        let heads_unit = heads_unit.unwrap_or(config.n_kv_heads);
        share.check("num_key_value_heads", config.n_kv_heads, heads_unit, unit)?;
        for layer in &weights.layers {
            match &layer.mlp {
                MlpWeights::Dense(mlp) => {
                    share.check_mlp("intermediate_size", std::iter::once(&**mlp))?;
                }
                MlpWeights::Moe(moe) => {
                    share.check_mlp("moe_intermediate_size", moe.experts.iter())?;
                    share.check_mlp("moe_intermediate_size", moe.shared_experts.iter())?;
                }
            }
        }
        Ok(Self {
            share,
            head_dim: config.head_dim,
            queries_per_key,
            kv_heads: share.of_units(config.n_kv_heads, heads_unit),
        })
    }

    /// Whose part it is.
    pub fn share(&self) -> Share {
        self.share
    }

    /// The config with the heads that are left.
    pub fn config(&self, whole: &ModelConfig) -> ModelConfig {
        let n_kv_heads = self.kv_heads.len();
        ModelConfig { n_kv_heads, n_heads: n_kv_heads * self.queries_per_key, ..whole.clone() }
    }

    /// Its part of a layer.
    pub fn layer(&self, layer: &LayerWeights) -> LayerWeights {
        LayerWeights {
            input_layernorm: layer.input_layernorm.clone(),
            self_attn: self.attention(&layer.self_attn),
            post_attention_layernorm: layer.post_attention_layernorm.clone(),
            mlp: match &layer.mlp {
                MlpWeights::Dense(mlp) => MlpWeights::Dense(Box::new(self.mlp(mlp, unit_of(&mlp.down_proj)))),
                MlpWeights::Moe(moe) => MlpWeights::Moe(Box::new(self.mixture(moe))),
            },
        }
    }

    fn attention(&self, whole: &AttentionWeights) -> AttentionWeights {
        let keys = self.kv_heads.start * self.head_dim..self.kv_heads.end * self.head_dim;
        let queries = keys.start * self.queries_per_key..keys.end * self.queries_per_key;
        AttentionWeights {
            q_proj: whole.q_proj.rows(&queries),
            k_proj: whole.k_proj.rows(&keys),
            v_proj: whole.v_proj.rows(&keys),
            o_proj: self.columns(&whole.o_proj, &queries),
            q_norm: whole.q_norm.clone(),
            k_norm: whole.k_norm.clone(),
        }
    }

    fn mixture(&self, whole: &MoeWeights) -> MoeWeights {
        // All experts are one stack, cut in one place.
        let unit = whole.experts.iter().map(|expert| unit_of(&expert.down_proj)).max().unwrap_or(1);
        MoeWeights {
            gate: whole.gate.clone(),
            e_score_correction_bias: whole.e_score_correction_bias.clone(),
            experts: whole.experts.iter().map(|expert| self.mlp(expert, unit)).collect(),
            shared_experts: whole.shared_experts.as_ref().map(|mlp| self.mlp(mlp, unit_of(&mlp.down_proj))),
        }
    }

    fn mlp(&self, whole: &GatedMlp, unit: usize) -> GatedMlp {
        let inside = self.share.of_units(whole.down_proj.weight.n_in, unit);
        GatedMlp {
            gate_proj: whole.gate_proj.rows(&inside),
            up_proj: whole.up_proj.rows(&inside),
            down_proj: self.columns(&whole.down_proj, &inside),
        }
    }

    /// A bias is added by one host, since all their results are.
    fn columns(&self, whole: &Linear, columns: &Range<usize>) -> Linear {
        Linear {
            weight: whole.weight.columns(columns),
            bias: whole.bias.clone().filter(|_| self.share.rank == 0),
            adapter: whole.adapter.as_deref().map(|LowRank { down, up, scale }| {
                Box::new(LowRank { down: down.columns(columns), up: up.clone(), scale: *scale })
            }),
        }
    }

    /// Bytes of the part, of a model that takes `whole_bytes`.
    pub fn weights_bytes(&self, weights: &Weights, whole_bytes: u64) -> u64 {
        let saved: u64 = weights.layers.iter().map(|layer| self.saved_bytes(layer)).sum();
        whole_bytes.saturating_sub(saved)
    }

    /// Bytes of a layer that other hosts have.
    fn saved_bytes(&self, layer: &LayerWeights) -> u64 {
        let without = |linears: &[&Linear], part: usize, whole: usize| {
            let bytes: usize = linears.iter().map(|linear| linear.weight.size_bytes()).sum();
            bytes as u64 - bytes as u64 * part as u64 / whole as u64
        };
        let of_mlp = |mlp: &GatedMlp, unit: usize| {
            let n = mlp.down_proj.weight.n_in;
            without(&[&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj], self.share.of_units(n, unit).len(), n)
        };
        let AttentionWeights { q_proj, k_proj, v_proj, o_proj, .. } = &layer.self_attn;
        let n_kv_heads = k_proj.weight.n_out / self.head_dim;
        let attention = without(&[q_proj, k_proj, v_proj, o_proj], self.kv_heads.len(), n_kv_heads);
        attention
            + match &layer.mlp {
                MlpWeights::Dense(mlp) => of_mlp(mlp, unit_of(&mlp.down_proj)),
                MlpWeights::Moe(moe) => {
                    let all = moe.experts.iter().chain(&moe.shared_experts);
                    all.map(|mlp| of_mlp(mlp, unit_of(&mlp.down_proj))).sum()
                }
            }
    }
}

impl Share {
    fn check_mlp<'a>(
        self,
        field: &'static str,
        mlps: impl Iterator<Item = &'a GatedMlp> + Clone,
    ) -> Result<(), CutError> {
        let unit = mlps.clone().map(|mlp| unit_of(&mlp.down_proj)).max().unwrap_or(1);
        let inside = mlps.map(|mlp| mlp.down_proj.weight.n_in).min();
        inside.map_or(Ok(()), |inside| self.check(field, inside, unit, unit))
    }

    /// That there is a unit of `field` for everyone; `group` numbers have one scale.
    fn check(self, field: &'static str, found: usize, unit: usize, group: usize) -> Result<(), CutError> {
        if found / unit >= self.size {
            return Ok(());
        }
        let why = if unit > 1 { format!(", since {group} weights share a scale") } else { String::new() };
        Err(CutError { field, least: self.size * unit, n_hosts: self.size, found, why })
    }
}

/// Columns of a matrix that cannot be parted.
fn unit_of(linear: &Linear) -> usize {
    match linear.weight.data {
        MatrixData::Dense { .. } => 1,
        MatrixData::Affine { group_size, .. } => group_size,
    }
}

impl Linear {
    fn rows(&self, rows: &Range<usize>) -> Self {
        let bias = self.bias.as_ref();
        Self {
            weight: self.weight.rows(rows),
            bias: bias.map(|bias| Vector { values: bias[rows.clone()].to_vec(), float: bias.float }),
            adapter: self.adapter.as_deref().map(|LowRank { down, up, scale }| {
                Box::new(LowRank { down: down.clone(), up: up.rows(rows), scale: *scale })
            }),
        }
    }
}

impl Matrix {
    /// Some of its rows, in place.
    fn rows(&self, rows: &Range<usize>) -> Self {
        let part = |bytes: &TensorBytes| {
            let row_bytes = bytes.len() / self.n_out;
            bytes.slice(rows.start * row_bytes..rows.end * row_bytes)
        };
        Self { n_out: rows.len(), n_in: self.n_in, data: self.data.map(part) }
    }

    /// Some of its columns, copied. They begin and end between two groups.
    fn columns(&self, columns: &Range<usize>) -> Self {
        let part = |bytes: &TensorBytes| {
            let row_bytes = bytes.len() / self.n_out;
            let at = |column: usize| column * row_bytes / self.n_in;
            let kept = at(columns.start)..at(columns.end);
            // Row by row: byte by byte, a checkpoint of 60 GB would take minutes.
            let mut part = Vec::with_capacity(self.n_out * kept.len());
            for row in 0..self.n_out {
                part.extend_from_slice(&bytes[row * row_bytes..][kept.clone()]);
            }
            TensorBytes::owned(part)
        };
        Self { n_out: self.n_out, n_in: columns.len(), data: self.data.map(part) }
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
