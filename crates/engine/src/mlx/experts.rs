//! The mixture of experts.
//!
//! Source: `MoE` and `group_expert_select` in mlx-lm `models/glm4_moe.py`, `SwitchGLU` in `models/switch_layers.py`.

use super::arrays::{ExpertProjection, Projection, Uploader};
use super::fused::{Group, Swiglu};
use super::{Result, int};
use crate::checkpoint::{GatedMlp, ModelConfig, MoeWeights};
use mlx_rs::error::Exception;
use mlx_rs::ops::indexing::{TryIndexOp, topk_axis};
use mlx_rs::ops::{argpartition_axis, argsort_axis, sigmoid};
use mlx_rs::{Array, Dtype};
use std::rc::Rc;

/// From so many routes on they are sorted by expert, so that the weights of each are met once.
const SORTED_FROM: usize = 64;

/// Up to so many rows the router is one compiled group. MLX keeps what it compiles for each number of rows, and prompts
/// come in all lengths.
const GROUPED_UP_TO: i32 = 16;

/// `down(silu(gate(x)) * up(x))`
#[derive(Debug)]
pub(super) struct Mlp {
    gate: Projection,
    up: Projection,
    down: Projection,
    swiglu: Rc<Swiglu>,
}

/// A mixture.
#[derive(Debug)]
pub(super) struct Mixture {
    router: Router,
    gate: ExpertProjection,
    up: ExpertProjection,
    down: ExpertProjection,
    swiglu: Rc<Swiglu>,
    shared: Option<Mlp>,
}

/// What all layers share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    swiglu: Rc<Swiglu>,
    choice: Choice,
    /// [`Choice::choose`], compiled.
    choose: Rc<Group>,
}

#[derive(Debug)]
struct Router {
    gate: Projection,
    correction_bias: Array,
    scaling: Array,
    choice: Choice,
    choose: Rc<Group>,
}

/// How experts are chosen.
#[derive(Debug, Clone, Copy)]
struct Choice {
    n_experts_per_token: i32,
    n_group: i32,
    topk_group: i32,
    norm_topk_prob: bool,
}

impl Shared {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let choice = Choice {
            n_experts_per_token: int(config.n_experts_per_token),
            n_group: int(config.n_group),
            topk_group: int(config.topk_group),
            norm_topk_prob: config.norm_topk_prob,
        };
        let choose = Group::new(move |arguments| match arguments {
            [logits, correction_bias, scaling] => Ok(choice.choose(logits, correction_bias, scaling)?.into()),
            _ => Err(Exception::custom("a router has three arguments")),
        });
        Self { swiglu: Rc::new(Swiglu::new()), choice, choose: Rc::new(choose) }
    }
}

impl Mlp {
    pub(super) fn new(uploader: Uploader, shared: &Shared, mlp: &GatedMlp) -> Result<Self> {
        Ok(Self {
            swiglu: Rc::clone(&shared.swiglu),
            gate: uploader.projection(&mlp.gate_proj)?,
            up: uploader.projection(&mlp.up_proj)?,
            down: uploader.projection(&mlp.down_proj)?,
        })
    }

    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        self.down.forward(&self.swiglu.forward(&self.gate.forward(x)?, &self.up.forward(x)?)?)
    }
}

impl Mixture {
    pub(super) fn new(
        uploader: Uploader,
        shared: &Shared,
        config: &ModelConfig,
        moe: &MoeWeights,
    ) -> Result<Self> {
        Ok(Self {
            swiglu: Rc::clone(&shared.swiglu),
            router: Router {
                gate: uploader.matrix(&moe.gate)?,
                correction_bias: uploader.vector(&moe.e_score_correction_bias)?,
                scaling: Array::from_f32(config.routed_scaling_factor),
                choice: shared.choice,
                choose: Rc::clone(&shared.choose),
            },
            gate: uploader.experts(moe.experts.iter().map(|expert| &expert.gate_proj))?,
            up: uploader.experts(moe.experts.iter().map(|expert| &expert.up_proj))?,
            down: uploader.experts(moe.experts.iter().map(|expert| &expert.down_proj))?,
            shared: moe.shared_experts.as_ref().map(|mlp| Mlp::new(uploader, shared, mlp)).transpose()?,
        })
    }

    /// `x`: `[n_rows, hidden_size]`.
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        let [experts, weights] = self.router.choose(x)?;
        let routed = self.routed(x, &experts)?;
        let weighted = routed.multiply(weights.expand_dims(-1)?)?;
        let sum = weighted.sum_axis(-2, false)?.as_dtype(routed.dtype())?;
        match &self.shared {
            Some(shared) => sum.add(shared.forward(x)?),
            None => Ok(sum),
        }
    }

    /// What each chosen expert makes of each row: `[n_rows, n_experts_per_token, hidden_size]`.
    fn routed(&self, x: &Array, experts: &Array) -> Result<Array> {
        let rows = x.expand_dims_axes(&[-2, -3])?;
        if experts.size() < SORTED_FROM {
            return self.mlp(&rows, experts, false)?.squeeze_axes(&[-2]);
        }
        let per_row = self.router.choice.n_experts_per_token;
        let flat = experts.flatten(None, None)?;
        let order = argsort_axis(&flat, -1)?;
        let back = argsort_axis(&order, -1)?;
        let row_of = order.floor_divide(Array::from_slice(&[per_row as u32], &[]))?;
        let sorted = rows.flatten(0, -3)?.take_axis(&row_of, 0)?;
        let out = self.mlp(&sorted, &flat.take_axis(&order, 0)?, true)?.take_axis(&back, 0)?;
        out.reshape(&[x.dim(0), per_row, -1])
    }

    fn mlp(&self, x: &Array, experts: &Array, are_sorted: bool) -> Result<Array> {
        let up = self.up.forward(x, experts, are_sorted)?;
        let gate = self.gate.forward(x, experts, are_sorted)?;
        self.down.forward(&self.swiglu.forward(&gate, &up)?, experts, are_sorted)
    }
}

impl Router {
    /// The experts of each row and their weights, both `[n_rows, n_experts_per_token]`.
    fn choose(&self, x: &Array) -> Result<[Array; 2]> {
        let logits = self.gate.forward(x)?;
        if logits.dim(0) > GROUPED_UP_TO {
            return self.choice.choose(&logits, &self.correction_bias, &self.scaling);
        }
        let arguments = [logits, self.correction_bias.clone(), self.scaling.clone()];
        let chosen = self.choose.forward(&arguments)?;
        chosen.try_into().map_err(|_| Exception::custom("a router has two results"))
    }
}

impl Choice {
    fn choose(&self, logits: &Array, correction_bias: &Array, scaling: &Array) -> Result<[Array; 2]> {
        let scores = sigmoid(logits.as_dtype(Dtype::Float32)?)?;
        let mut biased = scores.add(correction_bias)?;
        if self.n_group > 1 {
            biased = self.best_groups(&biased)?;
        }
        let k = self.n_experts_per_token;
        let chosen = argpartition_axis(biased.negative()?, k - 1, -1)?.try_index((.., ..k))?;
        let mut weights = scores.take_along_axis(&chosen, -1)?;
        if k > 1 && self.norm_topk_prob {
            weights = weights.divide(weights.sum_axis(-1, true)?)?;
        }
        Ok([chosen, weights.multiply(scaling)?])
    }

    /// Zero for all experts outside the best groups. A group is as good as its best two.
    fn best_groups(&self, biased: &Array) -> Result<Array> {
        let groups = biased.reshape(&[biased.dim(0), self.n_group, -1])?;
        let scores = topk_axis(&groups, 2, -1)?.sum_axis(-1, true)?;
        let n_worst = self.n_group - self.topk_group;
        if n_worst == 0 {
            return Ok(biased.clone());
        }
        let worst = argpartition_axis(&scores, n_worst - 1, -2)?.try_index((.., ..n_worst, ..))?;
        let kept = groups.put_along_axis(&worst, Array::from_f32(0.0), -2)?;
        kept.flatten(-2, -1)
    }
}
