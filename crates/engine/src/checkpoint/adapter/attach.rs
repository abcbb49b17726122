//! Low-rank products at the layers that they are for.

use super::config::{LowRankConfig, in_layer};
use super::{LORA_A, LORA_B, described, wrong_tensor};
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::safetensors::TensorEntry;
use crate::checkpoint::shards::Shard;
use crate::checkpoint::tensor::{FloatType, Linear, LowRank, Matrix, MatrixData, TensorBytes};
use crate::checkpoint::weights::{GatedMlp, MlpWeights, Weights};
use std::collections::BTreeMap;

/// What a module is made of, which decides how its tensors lie.
enum Site<'a> {
    /// `lora_a` `[n_in, rank]`, `lora_b` `[rank, n_out]`
    Linear(&'a mut Linear),
    /// `lora_a` `[vocab_size, rank]`, `lora_b` `[rank, hidden_size]`
    Embedding(&'a mut Linear),
    /// `lora_a` `[n_experts, rank, n_in]`, `lora_b` `[n_experts, n_out, rank]`
    Experts(Vec<&'a mut Linear>),
}

/// The halves of one module's product, as far as they are there.
type Halves<'a> = [Option<&'a TensorEntry>; 2];

/// Adds every product of an adapter to its layer.
pub(super) fn attach(
    config: &LowRankConfig,
    shard: &Shard,
    entries: &[TensorEntry],
    weights: &mut Weights,
) -> Result<(), CheckpointError> {
    for (path, halves) in by_module(config, shard, entries)? {
        let (lora_a, lora_b) = match halves {
            [Some(lora_a), Some(lora_b)] => (lora_a, lora_b),
            // mlx-lm would make up the other half at random.
            [Some(only), None] => return Err(without_its_half(shard, only, path, LORA_B)),
            [None, Some(only)] => return Err(without_its_half(shard, only, path, LORA_A)),
            [None, None] => unreachable!("a module is named by its tensors"),
        };
        let Some(site) = site(weights, path) else {
            let expected = "a linear layer or an embedding of the model".into();
            return Err(wrong_tensor(shard, lora_a, expected, format!("nothing of the kind at `{path}`")));
        };
        let reader = Reader { config, shard };
        match site {
            Site::Linear(linear) => {
                let (n_in, n_out, rank) = (linear.weight.n_in, linear.weight.n_out, config.rank);
                let down = reader.read(lora_a, &[n_in, rank])?.transposed(n_in);
                let up = reader.read(lora_b, &[rank, n_out])?.transposed(rank);
                linear.adapter = Some(reader.low_rank(n_in, n_out, down, up));
            }
            Site::Embedding(linear) => {
                let (n_in, n_out, rank) = (linear.weight.n_in, linear.weight.n_out, config.rank);
                let up = reader.read(lora_a, &[n_out, rank])?;
                let down = reader.read(lora_b, &[rank, n_in])?;
                linear.adapter = Some(reader.low_rank(n_in, n_out, down, up));
            }
            Site::Experts(experts) => {
                let n_experts = experts.len();
                let Some((n_in, n_out)) = experts.first().map(|one| (one.weight.n_in, one.weight.n_out))
                else {
                    continue;
                };
                let down = reader.read(lora_a, &[n_experts, config.rank, n_in])?;
                let up = reader.read(lora_b, &[n_experts, n_out, config.rank])?;
                for (expert, linear) in experts.into_iter().enumerate() {
                    let (down, up) = (down.part(expert, n_experts), up.part(expert, n_experts));
                    linear.adapter = Some(reader.low_rank(n_in, n_out, down, up));
                }
            }
        }
    }
    Ok(())
}

/// The tensors, by the path of their module. Every one must be half of a product that the config asks for.
fn by_module<'a>(
    config: &LowRankConfig,
    shard: &Shard,
    entries: &'a [TensorEntry],
) -> Result<BTreeMap<&'a str, Halves<'a>>, CheckpointError> {
    let mut modules: BTreeMap<&str, Halves<'_>> = BTreeMap::new();
    for entry in entries {
        let a = entry.name.strip_suffix(LORA_A).map(|path| (path, 0));
        let Some((path, half)) = a.or(entry.name.strip_suffix(LORA_B).map(|path| (path, 1))) else {
            let expected = format!("a name that ends with `{LORA_A}` or `{LORA_B}`");
            return Err(wrong_tensor(shard, entry, expected, "another one".into()));
        };
        if !config.asks_for(path) {
            let expected = format!(
                "a module that `num_layers` (from layer {} on) and `keys` of adapter_config.json ask for",
                config.first_layer
            );
            return Err(wrong_tensor(shard, entry, expected, "another one".into()));
        }
        modules.entry(path).or_default()[half] = Some(entry);
    }
    Ok(modules)
}

fn without_its_half(shard: &Shard, only: &TensorEntry, path: &str, half: &str) -> CheckpointError {
    wrong_tensor(shard, only, format!("`{path}{half}` beside it"), "no such tensor".into())
}

fn site<'a>(weights: &'a mut Weights, path: &str) -> Option<Site<'a>> {
    match path {
        "model.embed_tokens" => return Some(Site::Embedding(&mut weights.embed_tokens)),
        "lm_head" => return weights.lm_head.as_mut().map(Site::Linear),
        _ => {}
    }
    let (layer, inner) = in_layer(path)?;
    let layer = weights.layers.get_mut(layer)?;
    let (block, name) = inner.rsplit_once('.')?;
    match (block, &mut layer.mlp) {
        ("self_attn", _) => {
            let attention = &mut layer.self_attn;
            Some(Site::Linear(match name {
                "q_proj" => &mut attention.q_proj,
                "k_proj" => &mut attention.k_proj,
                "v_proj" => &mut attention.v_proj,
                "o_proj" => &mut attention.o_proj,
                _ => return None,
            }))
        }
        ("mlp", MlpWeights::Dense(mlp)) => projection(mlp, name).map(Site::Linear),
        ("mlp.shared_experts", MlpWeights::Moe(moe)) => {
            projection(moe.shared_experts.as_mut()?, name).map(Site::Linear)
        }
        ("mlp.switch_mlp", MlpWeights::Moe(moe)) => {
            let experts: Option<Vec<_>> =
                moe.experts.iter_mut().map(|expert| projection(expert, name)).collect();
            experts.map(Site::Experts)
        }
        _ => None,
    }
}

fn projection<'a>(mlp: &'a mut GatedMlp, name: &str) -> Option<&'a mut Linear> {
    match name {
        "gate_proj" => Some(&mut mlp.gate_proj),
        "up_proj" => Some(&mut mlp.up_proj),
        "down_proj" => Some(&mut mlp.down_proj),
        _ => None,
    }
}

/// Numbers of a checked shape.
struct Numbers {
    float: FloatType,
    values: TensorBytes,
}

impl Numbers {
    fn transposed(&self, n_rows: usize) -> Self {
        Self { float: self.float, values: self.values.transposed(n_rows, self.float.size_bytes()) }
    }

    fn part(&self, i: usize, n: usize) -> Self {
        Self { float: self.float, values: self.values.part(i, n) }
    }

    fn matrix(self, n_out: usize, n_in: usize) -> Matrix {
        Matrix { n_out, n_in, data: MatrixData::Dense { float: self.float, values: self.values } }
    }
}

struct Reader<'a> {
    config: &'a LowRankConfig,
    shard: &'a Shard,
}

impl Reader<'_> {
    fn read(&self, entry: &TensorEntry, shape: &[usize]) -> Result<Numbers, CheckpointError> {
        let float = entry.dtype.float().filter(|_| entry.shape == shape).ok_or_else(|| {
            let expected = format!("BF16, F16 or F32 {shape:?} (`rank` is {})", self.config.rank);
            wrong_tensor(self.shard, entry, expected, described(entry))
        })?;
        Ok(Numbers { float, values: TensorBytes::new(self.shard.bytes.clone(), entry.range.clone()) })
    }

    fn low_rank(&self, n_in: usize, n_out: usize, down: Numbers, up: Numbers) -> Box<LowRank> {
        let rank = self.config.rank;
        let (down, up) = (down.matrix(rank, n_in), up.matrix(n_out, rank));
        Box::new(LowRank { down, up, scale: self.config.scale })
    }
}
