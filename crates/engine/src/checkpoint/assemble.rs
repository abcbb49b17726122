//! From names to [`Weights`]: every tensor that the config asks for is found, held against its shape, and viewed in
//! place.
//!
//! Source: names and shapes of mlx-lm `models/glm4_moe.py`, including what its `sanitize` renames and drops.

use super::ModelConfig;
use super::error::{CheckpointError, shown};
use super::files::CheckpointFiles;
use super::quantization::{Override, QuantizationMap, by_shape};
use super::safetensors::{DType, TensorEntry};
use super::shards::TensorTable;
use super::tensor::{FloatType, Linear, Matrix, MatrixData, TensorBytes, Vector};
use super::weights::{AttentionWeights, GatedMlp, LayerWeights, MlpWeights, MoeWeights, Weights};
use std::collections::HashSet;

/// How many names an error lists.
const NAMES_IN_ERRORS: usize = 3;

/// All weights, and which tensors they are made of.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) weights: Weights,
    /// Names of the tensors in use.
    pub(super) used: HashSet<String>,
}

/// Finds every tensor of the model.
pub(super) fn assemble(
    files: &CheckpointFiles,
    config: &ModelConfig,
    quantization: &QuantizationMap,
    table: &TensorTable,
) -> Result<Assembled, CheckpointError> {
    let mut finder = Finder {
        files,
        config,
        quantization,
        table,
        used: HashSet::with_capacity(table.tensors.len()),
        missing: Vec::new(),
        wrong: None,
    };
    let weights = finder.weights();
    finder.finish(weights)
}

/// Looks tensors up. A tensor that is missing or wrong is noted and an empty one returned in its place, so that one
/// pass finds all that is missing; [`Finder::finish`] lets no empty one out.
struct Finder<'a> {
    files: &'a CheckpointFiles,
    config: &'a ModelConfig,
    quantization: &'a QuantizationMap,
    table: &'a TensorTable,
    used: HashSet<String>,
    missing: Vec<String>,
    wrong: Option<CheckpointError>,
}

impl<'a> Finder<'a> {
    fn weights(&mut self) -> Weights {
        let (vocab, hidden) = (self.config.vocab_size, self.config.hidden_size);
        let embed_tokens = self.linear("model.embed_tokens", vocab, hidden, false);
        let layers = (0..self.config.n_layers).map(|layer| self.layer(layer)).collect();
        let norm = self.vector("model.norm.weight", hidden);
        // mlx-lm always has a head, also when the config says that embeddings are tied: one that is there is used.
        let is_tied = self.config.tie_word_embeddings && !self.has("lm_head.weight");
        let lm_head = (!is_tied).then(|| self.linear("lm_head", vocab, hidden, false));
        Weights { embed_tokens, layers, norm, lm_head }
    }

    fn layer(&mut self, layer: usize) -> LayerWeights {
        let (hidden, path) = (self.config.hidden_size, format!("model.layers.{layer}"));
        LayerWeights {
            input_layernorm: self.vector(&format!("{path}.input_layernorm.weight"), hidden),
            self_attn: self.attention(&format!("{path}.self_attn")),
            post_attention_layernorm: self.vector(&format!("{path}.post_attention_layernorm.weight"), hidden),
            mlp: if self.config.is_dense(layer) {
                MlpWeights::Dense(Box::new(
                    self.gated_mlp(&format!("{path}.mlp"), self.config.intermediate_size),
                ))
            } else {
                MlpWeights::Moe(Box::new(self.moe(&format!("{path}.mlp"))))
            },
        }
    }

    fn attention(&mut self, path: &str) -> AttentionWeights {
        let config = self.config;
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let (q, kv) = (config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim);
        let mut norm = |name: &str| {
            config.use_qk_norm.then(|| self.vector(&format!("{path}.{name}.weight"), config.head_dim))
        };
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        AttentionWeights {
            q_proj: self.linear(&format!("{path}.q_proj"), q, hidden, bias),
            k_proj: self.linear(&format!("{path}.k_proj"), kv, hidden, bias),
            v_proj: self.linear(&format!("{path}.v_proj"), kv, hidden, bias),
            o_proj: self.linear(&format!("{path}.o_proj"), hidden, q, false),
            q_norm,
            k_norm,
        }
    }

    fn gated_mlp(&mut self, path: &str, intermediate: usize) -> GatedMlp {
        let hidden = self.config.hidden_size;
        GatedMlp {
            gate_proj: self.linear(&format!("{path}.gate_proj"), intermediate, hidden, false),
            up_proj: self.linear(&format!("{path}.up_proj"), intermediate, hidden, false),
            down_proj: self.linear(&format!("{path}.down_proj"), hidden, intermediate, false),
        }
    }

    fn moe(&mut self, path: &str) -> MoeWeights {
        let config = self.config;
        let shared = config.moe_intermediate_size * config.n_shared_experts;
        MoeWeights {
            gate: self.matrix(&format!("{path}.gate"), config.n_experts, config.hidden_size),
            e_score_correction_bias: self
                .vector(&format!("{path}.gate.e_score_correction_bias"), config.n_experts),
            experts: if self.has(&format!("{path}.experts.0.gate_proj.weight")) {
                self.separate_experts(path)
            } else {
                self.stacked_experts(path)
            },
            shared_experts: (config.n_shared_experts > 0)
                .then(|| self.gated_mlp(&format!("{path}.shared_experts"), shared)),
        }
    }

    fn separate_experts(&mut self, path: &str) -> Vec<GatedMlp> {
        let (hidden, inner) = (self.config.hidden_size, self.config.moe_intermediate_size);
        let n_experts = self.config.n_experts;
        // mlx-lm stacks them before it looks at the overrides, so those name the stacked module.
        let mut one = |expert: usize, name: &str, n_out, n_in| {
            let own_path = format!("{path}.experts.{expert}.{name}");
            let stacked_path = format!("{path}.switch_mlp.{name}");
            let weight = self.matrices(&own_path, &stacked_path, None, n_out, n_in).swap_remove(0);
            plain(weight)
        };
        (0..n_experts)
            .map(|expert| GatedMlp {
                gate_proj: one(expert, "gate_proj", inner, hidden),
                up_proj: one(expert, "up_proj", inner, hidden),
                down_proj: one(expert, "down_proj", hidden, inner),
            })
            .collect()
    }

    fn stacked_experts(&mut self, path: &str) -> Vec<GatedMlp> {
        let (hidden, inner) = (self.config.hidden_size, self.config.moe_intermediate_size);
        let n_experts = self.config.n_experts;
        let mut all = |name: &str, n_out, n_in| {
            let path = format!("{path}.switch_mlp.{name}");
            self.matrices(&path, &path, Some(n_experts), n_out, n_in)
        };
        let gates = all("gate_proj", inner, hidden);
        let ups = all("up_proj", inner, hidden);
        let downs = all("down_proj", hidden, inner);
        gates
            .into_iter()
            .zip(ups)
            .zip(downs)
            .map(|((gate, up), down)| GatedMlp {
                gate_proj: plain(gate),
                up_proj: plain(up),
                down_proj: plain(down),
            })
            .collect()
    }

    fn linear(&mut self, path: &str, n_out: usize, n_in: usize, has_bias: bool) -> Linear {
        let bias = has_bias.then(|| self.vector(&format!("{path}.bias"), n_out));
        Linear { bias, ..plain(self.matrix(path, n_out, n_in)) }
    }

    fn matrix(&mut self, path: &str, n_out: usize, n_in: usize) -> Matrix {
        self.matrices(path, path, None, n_out, n_in).swap_remove(0)
    }

    /// The matrix at `path`, or the `n_stacked` matrices that lie in it one after the other. `declared_as` is the
    /// path under which the config may have an override.
    fn matrices(
        &mut self,
        path: &str,
        declared_as: &str,
        n_stacked: Option<usize>,
        n_out: usize,
        n_in: usize,
    ) -> Vec<Matrix> {
        let declared = self.quantization.of_module(declared_as).or(self.quantization.of_module(path));
        let is_quantized = match declared {
            Some(Override::Quantized(_)) => true,
            Some(Override::Dense) => false,
            // Scales tell; without them but with packed words, the scales themselves are what is missing.
            None => {
                self.has(&format!("{path}.scales"))
                    || self.table.tensors.get(&format!("{path}.weight")).is_some_and(|(_, entry)| {
                        entry.dtype == DType::U32 && self.quantization.all.is_some()
                    })
            }
        };
        let found = if is_quantized {
            self.affine(path, declared, n_stacked, n_out, n_in)
        } else {
            self.dense(path, n_stacked, n_out, n_in)
        };
        let n = n_stacked.unwrap_or(1);
        match found {
            Ok(Some(whole)) => (0..n).map(|i| Matrix { n_out, n_in, data: nth(&whole, i, n) }).collect(),
            other => {
                if let Err(wrong) = other {
                    self.wrong.get_or_insert(wrong);
                }
                let empty =
                    MatrixData::Dense { float: FloatType::F32, values: TensorBytes::owned(Vec::new()) };
                vec![Matrix { n_out, n_in, data: empty }]
            }
        }
    }

    fn dense(
        &mut self,
        path: &str,
        n_stacked: Option<usize>,
        n_out: usize,
        n_in: usize,
    ) -> Result<Option<MatrixData>, CheckpointError> {
        let Some(weight) = self.find(&format!("{path}.weight")) else { return Ok(None) };
        let shape: Vec<usize> = n_stacked.into_iter().chain([n_out, n_in]).collect();
        let float = self.float_of(weight, &shape)?;
        Ok(Some(MatrixData::Dense { float, values: self.bytes(weight) }))
    }

    fn affine(
        &mut self,
        path: &str,
        declared: Option<Override>,
        n_stacked: Option<usize>,
        n_out: usize,
        n_in: usize,
    ) -> Result<Option<MatrixData>, CheckpointError> {
        let weight = self.find(&format!("{path}.weight"));
        let scales = self.find(&format!("{path}.scales"));
        let biases = self.find(&format!("{path}.biases"));
        let (Some(weight), Some(scales), Some(biases)) = (weight, scales, biases) else { return Ok(None) };

        // The shapes decide, as in mlx-lm: the common values of a config need not hold for tensors that it does not
        // name. What it does say of this very tensor must agree.
        let all = self.quantization.all;
        let (mut bits, mut group_size) = by_shape(n_in, last(weight), last(scales))
            .or(all.map(|q| (q.bits, q.group_size as usize)))
            .unwrap_or((4, 64));
        if let Some(Override::Quantized(declared)) = declared {
            bits = declared.bits.unwrap_or(bits);
            group_size = declared.group_size.unwrap_or(group_size);
        }
        if !n_in.is_multiple_of(group_size) {
            return Err(self.wrong_tensor(
                scales,
                format!("no scales, as rows of {n_in} numbers do not divide into groups of {group_size}"),
            ));
        }
        let shape = |columns: usize| n_stacked.into_iter().chain([n_out, columns]).collect::<Vec<_>>();
        let packed_shape = shape(n_in * usize::from(bits) / 32);
        if weight.dtype != DType::U32 || weight.shape != packed_shape {
            let expected = format!("U32 {packed_shape:?} ({bits} bits in groups of {group_size})");
            return Err(self.wrong_tensor(weight, expected));
        }
        let group_shape = shape(n_in / group_size);
        let float = self.float_of(scales, &group_shape)?;
        if self.float_of(biases, &group_shape)? != float {
            return Err(self.wrong_tensor(biases, format!("{} as the scales", scales.dtype)));
        }
        Ok(Some(MatrixData::Affine {
            bits,
            group_size,
            packed: self.bytes(weight),
            float,
            scales: self.bytes(scales),
            biases: self.bytes(biases),
        }))
    }

    fn vector(&mut self, name: &str, length: usize) -> Vector {
        let found = self.find(name).map(|entry| (entry, self.float_of(entry, &[length])));
        match found {
            Some((entry, Ok(float))) => Vector { values: float.to_f32(&self.bytes(entry)), float },
            Some((_, Err(wrong))) => {
                self.wrong.get_or_insert(wrong);
                Vector { values: Vec::new(), float: FloatType::F32 }
            }
            None => Vector { values: Vec::new(), float: FloatType::F32 },
        }
    }

    fn has(&self, name: &str) -> bool {
        self.table.tensors.contains_key(name)
    }

    fn find(&mut self, name: &str) -> Option<&'a TensorEntry> {
        self.used.insert(name.to_string());
        match self.table.tensors.get(name) {
            Some((_, entry)) => Some(entry),
            None => {
                self.missing.push(name.to_string());
                None
            }
        }
    }

    fn float_of(&self, entry: &TensorEntry, shape: &[usize]) -> Result<FloatType, CheckpointError> {
        entry
            .dtype
            .float()
            .filter(|_| entry.shape == shape)
            .ok_or_else(|| self.wrong_tensor(entry, format!("BF16, F16 or F32 {shape:?}")))
    }

    fn bytes(&self, entry: &TensorEntry) -> TensorBytes {
        let (shard, _) = &self.table.tensors[&entry.name];
        TensorBytes::new(self.table.shards[*shard].bytes.clone(), entry.range.clone())
    }

    fn file_of(&self, name: &str) -> String {
        match self.table.tensors.get(name) {
            Some((shard, _)) => self.files.shown_path(&self.table.shards[*shard].name),
            None => self.files.location(),
        }
    }

    fn wrong_tensor(&self, entry: &TensorEntry, expected: String) -> CheckpointError {
        CheckpointError::WrongTensor {
            file: self.file_of(&entry.name),
            tensor: shown(&entry.name),
            expected,
            found: format!("{} {}", entry.dtype, shown(&format!("{:?}", entry.shape))),
        }
    }

    fn finish(self, weights: Weights) -> Result<Assembled, CheckpointError> {
        if !self.missing.is_empty() {
            return Err(self.missing_tensors());
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let mut extra: Vec<&String> = self
            .table
            .tensors
            .keys()
            .filter(|name| !self.used.contains(*name) && !is_ignored(name, self.config.n_layers))
            .collect();
        extra.sort();
        match extra.first() {
            None => Ok(Assembled { weights, used: self.used }),
            Some(first) => Err(CheckpointError::UnexpectedTensors {
                file: self.file_of(first),
                n_extra: extra.len(),
                first: extra.into_iter().take(NAMES_IN_ERRORS).cloned().collect(),
            }),
        }
    }

    fn missing_tensors(&self) -> CheckpointError {
        // With an index, or with one file, it is known which file should have held them.
        let mut should_hold = self.missing.iter().map(|name| self.table.weight_map.get(name));
        let file = match (&self.table.shards[..], should_hold.next().flatten()) {
            ([only], _) => self.files.shown_path(&only.name),
            (_, Some(file)) if should_hold.all(|other| other == Some(file)) => self.files.shown_path(file),
            _ => self.files.location(),
        };
        CheckpointError::MissingTensors {
            file,
            n_missing: self.missing.len(),
            n_expected: self.used.len(),
            first: self.missing.iter().take(NAMES_IN_ERRORS).cloned().collect(),
        }
    }
}

/// Tensors that a checkpoint may hold without harm: next-token-prediction layers, which follow the real ones, and
/// the tables of positions that old converters wrote.
pub(super) fn is_ignored(name: &str, n_layers: usize) -> bool {
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
    layer.is_some_and(|layer: usize| layer >= n_layers) || name.ends_with(".rotary_emb.inv_freq")
}

fn plain(weight: Matrix) -> Linear {
    Linear { weight, bias: None, adapter: None }
}

fn last(entry: &TensorEntry) -> usize {
    entry.shape.last().copied().unwrap_or(0)
}

/// The `i`th of `n` equal parts of stacked matrices.
fn nth(whole: &MatrixData, i: usize, n: usize) -> MatrixData {
    whole.map(|bytes| bytes.part(i, n))
}
