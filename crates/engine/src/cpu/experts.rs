//! The mixture of experts: tokens sorted by expert, so that each expert that anyone needs is read once.

use super::StepError;
use super::linear::{Compute, Product};
use super::router::{Route, Router, RouterScratch};
use super::scratch::Buffer;
use crate::checkpoint::{GatedMlp, ModelConfig, MoeWeights};

/// Multiplications that one `silu` is worth.
const SILU_COST: usize = 8;

/// The dense block and the mixture, with their buffers.
#[derive(Debug)]
pub(super) struct Mlps {
    router: Router,
    n_experts_per_token: usize,
    hidden_size: usize,
    router_scratch: RouterScratch,
    /// `[n_rows, n_experts_per_token]`
    routes: Vec<Route>,
    /// `[n_rows, n_experts_per_token]`: where a route's row is among the rows sorted by expert.
    slots: Vec<usize>,
    /// First slot of each expert, and one past the last.
    first_slots: Vec<usize>,
    router_logits: Buffer,
    gathered: Buffer,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    shared_gate: Buffer,
    shared_up: Buffer,
    shared_down: Buffer,
}

impl Mlps {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self {
            router: Router::new(config),
            n_experts_per_token: config.n_experts_per_token,
            hidden_size: config.hidden_size,
            router_scratch: RouterScratch::default(),
            routes: Vec::new(),
            slots: Vec::new(),
            first_slots: Vec::new(),
            router_logits: Buffer::default(),
            gathered: Buffer::default(),
            gate: Buffer::default(),
            up: Buffer::default(),
            down: Buffer::default(),
            shared_gate: Buffer::default(),
            shared_up: Buffer::default(),
            shared_down: Buffer::default(),
        }
    }

    /// `residual += down(silu(gate(x)) * up(x))`. Both are `[n_rows, hidden_size]`.
    pub(super) fn dense(
        &mut self,
        compute: &mut Compute,
        mlp: &GatedMlp,
        x: &[f32],
        residual: &mut [f32],
    ) -> Result<(), StepError> {
        let n_rows = x.len() / self.hidden_size;
        let width = mlp.gate_proj.weight.n_out;
        let gate = self.gate.rows(n_rows, width)?;
        let up = self.up.rows(n_rows, width)?;
        let down = self.down.rows(n_rows, self.hidden_size)?;
        compute
            .multiply(&[Product::linear(&mlp.gate_proj, x, gate), Product::linear(&mlp.up_proj, x, up)])?;
        activate(compute, gate, up, width)?;
        compute.multiply(&[Product::linear(&mlp.down_proj, gate, down)])?;
        compute.kernels.add_scaled(residual, down, 1.0);
        Ok(())
    }

    /// `residual += sum of weight * expert(x) over the chosen experts + shared(x)`. Both are `[n_rows, hidden_size]`.
    pub(super) fn mixture(
        &mut self,
        compute: &mut Compute,
        moe: &MoeWeights,
        x: &[f32],
        residual: &mut [f32],
    ) -> Result<(), StepError> {
        let hidden_size = self.hidden_size;
        let n_rows = x.len() / hidden_size;
        self.route(compute, moe, x, n_rows)?;
        self.sort_by_expert(moe.experts.len());

        let n_routes = self.routes.len();
        let gathered = self.gathered.rows(n_routes, hidden_size)?;
        for (route, slot) in self.slots.iter().enumerate() {
            let row = route / self.n_experts_per_token;
            gathered[slot * hidden_size..][..hidden_size]
                .copy_from_slice(&x[row * hidden_size..][..hidden_size]);
        }
        let width = moe.experts.first().map_or(0, |expert| expert.gate_proj.weight.n_out);
        let gate = self.gate.rows(n_routes, width)?;
        let up = self.up.rows(n_routes, width)?;
        let down = self.down.rows(n_routes, hidden_size)?;
        let shared_width = moe.shared_experts.as_ref().map_or(0, |shared| shared.gate_proj.weight.n_out);
        let shared_gate = self.shared_gate.rows(n_rows, shared_width)?;
        let shared_up = self.shared_up.rows(n_rows, shared_width)?;
        let n_shared_rows = if moe.shared_experts.is_some() { n_rows } else { 0 };
        let shared_down = self.shared_down.rows(n_shared_rows, hidden_size)?;

        let mut products = Vec::with_capacity(2 * n_routes.min(moe.experts.len()) + 2);
        if let Some(shared) = &moe.shared_experts {
            products.push(Product::linear(&shared.gate_proj, x, shared_gate));
            products.push(Product::linear(&shared.up_proj, x, shared_up));
        }
        let (mut gathered_left, mut gate_left, mut up_left) = (&*gathered, &mut *gate, &mut *up);
        for (expert, n) in chosen(&moe.experts, &self.first_slots) {
            let x = take(&mut gathered_left, n * hidden_size);
            products.push(Product::linear(&expert.gate_proj, x, take_mut(&mut gate_left, n * width)));
            products.push(Product::linear(&expert.up_proj, x, take_mut(&mut up_left, n * width)));
        }
        compute.multiply(&products)?;

        activate(compute, gate, up, width)?;
        activate(compute, shared_gate, shared_up, shared_width)?;

        let mut products = Vec::with_capacity(n_routes.min(moe.experts.len()) + 1);
        if let Some(shared) = &moe.shared_experts {
            products.push(Product::linear(&shared.down_proj, shared_gate, shared_down));
        }
        let (mut gate_left, mut down_left) = (&*gate, &mut *down);
        for (expert, n) in chosen(&moe.experts, &self.first_slots) {
            let x = take(&mut gate_left, n * width);
            products.push(Product::linear(&expert.down_proj, x, take_mut(&mut down_left, n * hidden_size)));
        }
        compute.multiply(&products)?;

        let (down, shared_down) = (&*down, &*shared_down);
        let (routes, slots, k) = (&self.routes, &self.slots, self.n_experts_per_token);
        let kernels = compute.kernels;
        compute.for_rows(residual, hidden_size, (k + 1) * hidden_size, |row, residual| {
            for route in row * k..(row + 1) * k {
                let output = &down[slots[route] * hidden_size..][..hidden_size];
                kernels.add_scaled(residual, output, routes[route].weight);
            }
            if !shared_down.is_empty() {
                kernels.add_scaled(residual, &shared_down[row * hidden_size..][..hidden_size], 1.0);
            }
        })?;
        Ok(())
    }

    fn route(
        &mut self,
        compute: &mut Compute,
        moe: &MoeWeights,
        x: &[f32],
        n_rows: usize,
    ) -> Result<(), StepError> {
        let n_experts = moe.gate.n_out;
        let logits = self.router_logits.rows(n_rows, n_experts)?;
        compute.multiply(&[Product::matrix(&moe.gate, x, logits)])?;
        self.routes.clear();
        for logits in logits.chunks_exact(n_experts) {
            let bias = &moe.e_score_correction_bias;
            self.router.choose(logits, bias, &mut self.router_scratch, &mut self.routes);
        }
        Ok(())
    }

    /// A counting sort: fills `first_slots` and `slots`.
    fn sort_by_expert(&mut self, n_experts: usize) {
        self.first_slots.clear();
        self.first_slots.resize(n_experts + 1, 0);
        for route in &self.routes {
            self.first_slots[route.expert + 1] += 1;
        }
        for expert in 0..n_experts {
            self.first_slots[expert + 1] += self.first_slots[expert];
        }
        self.slots.clear();
        for route in &self.routes {
            let next = &mut self.first_slots[route.expert];
            self.slots.push(*next);
            *next += 1;
        }
        // Every entry now points one past its expert's last slot: where the next expert begins.
        self.first_slots.pop();
        self.first_slots.insert(0, 0);
    }
}

/// The experts that have rows, in order, and how many.
fn chosen<'a>(
    experts: &'a [GatedMlp],
    first_slots: &'a [usize],
) -> impl Iterator<Item = (&'a GatedMlp, usize)> {
    experts
        .iter()
        .zip(first_slots.windows(2))
        .map(|(expert, slots)| (expert, slots[1] - slots[0]))
        .filter(|(_, n)| *n > 0)
}

fn activate(compute: &mut Compute, gate: &mut [f32], up: &[f32], width: usize) -> Result<(), StepError> {
    let kernels = compute.kernels;
    compute.for_rows(gate, width, width * SILU_COST, |row, gate| {
        kernels.silu_mul(gate, &up[row * width..][..width]);
    })?;
    Ok(())
}

fn take<'a>(left: &mut &'a [f32], n: usize) -> &'a [f32] {
    let (first, rest) = left.split_at(n);
    *left = rest;
    first
}

fn take_mut<'a>(left: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(left).split_at_mut(n);
    *left = rest;
    first
}
