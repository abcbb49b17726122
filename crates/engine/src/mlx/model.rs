//! The forward pass of GLM-4 MoE, from token ids to logits.
//!
//! Source: mlx-lm `models/glm4_moe.py`.

use super::arrays::{Embedding, Projection, Uploader};
use super::attention::Attention;
use super::backend::Part;
use super::experts::{Mixture, Mlp, Shared};
use super::kv::KvSequence;
use super::{Result, int};
use crate::checkpoint::{LayerWeights, MlpWeights, ModelConfig, Weights};
use crate::step::Step;
use mlx_rs::fast::rms_norm;
use mlx_rs::{Array, Dtype};

/// The model.
#[derive(Debug)]
pub(super) struct Model {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Array,
    head: Option<Projection>,
    norm_eps: f32,
    /// Where other hosts have the other parts of every layer.
    part: Option<Part>,
}

#[derive(Debug)]
struct Layer {
    input_norm: Array,
    attention: Attention,
    post_attention_norm: Array,
    feed_forward: FeedForward,
}

#[derive(Debug)]
enum FeedForward {
    Dense(Box<Mlp>),
    Mixture(Box<Mixture>),
}

/// One chunk's place among the rows of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkRows {
    pub(super) first_row: i32,
    /// Of its first token.
    pub(super) position: i32,
}

/// What a step is about to compute, as MLX needs it.
#[derive(Debug)]
pub(super) struct StepArrays {
    tokens: Array,
    positions: Array,
    chunks: Vec<ChunkRows>,
    /// Rows whose logits somebody reads; `None` is all of them.
    wanted: Option<Array>,
    n_wanted: usize,
}

impl StepArrays {
    /// `tokens` where the host does not know them all.
    pub(super) fn new(step: &Step, tokens: Option<Array>) -> Self {
        let n_rows = step.n_rows();
        let positions: Vec<i32> = step.positions().map(int).collect();
        let wanted = step.wanted_rows();
        let chunks = step
            .chunks()
            .map(|chunk| ChunkRows { first_row: int(chunk.first_row), position: positions[chunk.first_row] });
        Self {
            tokens: tokens.unwrap_or_else(|| Array::from_slice(step.tokens(), &[int(n_rows)])),
            chunks: chunks.collect(),
            wanted: (wanted.len() < n_rows).then(|| {
                let rows: Vec<i32> = wanted.iter().copied().map(int).collect();
                Array::from_slice(&rows, &[int(rows.len())])
            }),
            n_wanted: wanted.len(),
            positions: Array::from_slice(&positions, &[int(n_rows)]),
        }
    }

    pub(super) fn chunks(&self) -> &[ChunkRows] {
        &self.chunks
    }

    /// Whether no chunk has more than one row.
    pub(super) fn is_a_row_each(&self) -> bool {
        self.chunks.len() == self.positions.size()
    }

    /// Position of each row.
    pub(super) fn positions(&self) -> &Array {
        &self.positions
    }
}

impl Model {
    /// Brings the weights, or `part` of them, into MLX's memory; `progress` is told of each layer that is there.
    pub(super) fn new(
        uploader: Uploader,
        config: &ModelConfig,
        weights: &Weights,
        part: Option<Part>,
        progress: &mut dyn FnMut(),
    ) -> Result<Self> {
        let shared = Shared::new(config);
        let embedding = uploader.embedding(&weights.embed_tokens)?;
        progress();
        let mut layers = Vec::with_capacity(weights.layers.len());
        let own_config = part.as_ref().map_or_else(|| config.clone(), |part| part.cut.config(config));
        for layer in &weights.layers {
            layers.push(match &part {
                None => Layer::new(uploader, &shared, config, layer)?,
                Some(part) => Layer::new(uploader, &shared, &own_config, &part.cut.layer(layer))?,
            });
            progress();
        }
        let head = weights.lm_head.as_ref().map(|head| uploader.projection(head)).transpose()?;
        let norm = uploader.vector(&weights.norm)?;
        Ok(Self { embedding, layers, norm, head, norm_eps: config.rms_norm_eps, part })
    }

    /// A layer's result, of what this host has of it.
    fn of_all_hosts(&self, result: Array) -> Result<Array> {
        match &self.part {
            Some(part) => part.group.all_sum(&result),
            None => Ok(result),
        }
    }

    /// In which format it computes.
    pub(super) fn dtype(&self) -> Dtype {
        self.norm.dtype()
    }

    /// Computes a step; `sequences` are those of its chunks, with room for the new tokens. The logits are f32,
    /// `[n_wanted, vocab_size]`, and not computed yet; `None` when nobody wants any.
    pub(super) fn forward(&self, step: &StepArrays, sequences: &mut [KvSequence]) -> Result<Option<Array>> {
        let mut hidden = self.embedding.rows(&step.tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&hidden, Some(&layer.input_norm), self.norm_eps)?;
            hidden =
                hidden.add(self.of_all_hosts(layer.attention.forward(&normed, step, index, sequences)?)?)?;
            let normed = rms_norm(&hidden, Some(&layer.post_attention_norm), self.norm_eps)?;
            hidden = hidden.add(self.of_all_hosts(layer.feed_forward.forward(&normed)?)?)?;
        }
        if step.n_wanted == 0 {
            return Ok(None);
        }
        if let Some(wanted) = &step.wanted {
            hidden = hidden.take_axis(wanted, 0)?;
        }
        let normed = rms_norm(&hidden, Some(&self.norm), self.norm_eps)?;
        let logits = match &self.head {
            Some(head) => head.forward(&normed)?,
            None => self.embedding.as_head(&normed)?,
        };
        Ok(Some(logits.as_dtype(Dtype::Float32)?))
    }
}

impl Layer {
    fn new(
        uploader: Uploader,
        shared: &Shared,
        config: &ModelConfig,
        weights: &LayerWeights,
    ) -> Result<Self> {
        Ok(Self {
            input_norm: uploader.vector(&weights.input_layernorm)?,
            attention: Attention::new(uploader, config, &weights.self_attn)?,
            post_attention_norm: uploader.vector(&weights.post_attention_layernorm)?,
            feed_forward: match &weights.mlp {
                MlpWeights::Dense(mlp) => FeedForward::Dense(Box::new(Mlp::new(uploader, shared, mlp)?)),
                MlpWeights::Moe(moe) => {
                    FeedForward::Mixture(Box::new(Mixture::new(uploader, shared, config, moe)?))
                }
            },
        })
    }
}

impl FeedForward {
    fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Mixture(mixture) => mixture.forward(x),
        }
    }
}
