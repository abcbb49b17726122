//! Weights as MLX has them.

use super::{Result, int};
use crate::checkpoint::{FloatType, Linear, LowRank, Matrix, MatrixData, TensorBytes, Vector};
use bytemuck::{AnyBitPattern, NoUninit, cast_slice_mut, try_cast_slice};
use mlx_rs::error::Exception;
use mlx_rs::ops::{addmm, dequantize, gather_mm, gather_qmm, quantized_matmul};
use mlx_rs::{Array, Dtype};
use std::borrow::Cow;

/// Brings tensors into MLX's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uploader {
    /// Whether every floating-point number is widened to f32, instead of staying as the checkpoint has it.
    pub(super) widen: bool,
    /// MLX's code for processors multiplies by chosen matrices that are not quantised in f32 alone.
    pub(super) on_cpu: bool,
}

/// A matrix, or as many of one shape as there are experts.
#[derive(Debug)]
enum Weight {
    /// `[.., n_in, n_out]`: the transpose of what the checkpoint has.
    Dense(Array),
    Quantized {
        packed: Array,
        scales: Array,
        biases: Array,
        group_size: i32,
        bits: i32,
    },
}

/// What a fine-tuning adds: `scale * (x · A · B)`, in the order and the formats of mlx-lm `tuner/lora.py`.
#[derive(Debug)]
struct Adapter {
    /// `[n_in, rank]`; of experts `[n_experts, n_in, rank]`; of embeddings `[vocab_size, rank]`.
    lora_a: Array,
    /// `[rank, n_out]`; of experts `[n_experts, rank, n_out]`; of embeddings `[rank, hidden_size]`.
    lora_b: Array,
    scale: f32,
}

/// `y = x · Wᵀ (+ bias) (+ what an adapter adds)`
#[derive(Debug)]
pub(super) struct Projection {
    weight: Weight,
    bias: Option<Array>,
    adapter: Option<Adapter>,
}

/// One projection for each expert.
#[derive(Debug)]
pub(super) struct ExpertProjection {
    weight: Weight,
    adapter: Option<Adapter>,
}

/// Token embeddings, which may be the head too.
#[derive(Debug)]
pub(super) struct Embedding {
    /// `[vocab_size, hidden_size]`, not transposed.
    weight: Weight,
    adapter: Option<Adapter>,
}

impl Adapter {
    /// `y + (scale * z).astype(format)`
    fn add(&self, y: &Array, z: Array, format: Dtype) -> Result<Array> {
        // A Python number takes the format of the array that it meets.
        let scale = Array::from_f32(self.scale).as_dtype(z.dtype())?;
        y.add(scale.multiply(z)?.as_dtype(format)?)
    }
}

impl Projection {
    /// `x`: `[n_rows, n_in]`.
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        let y = self.unadapted(x)?;
        match &self.adapter {
            Some(adapter) => {
                let z = x.matmul(&adapter.lora_a)?.matmul(&adapter.lora_b)?;
                adapter.add(&y, z, x.dtype())
            }
            None => Ok(y),
        }
    }

    fn unadapted(&self, x: &Array) -> Result<Array> {
        let product = match (&self.weight, &self.bias) {
            (Weight::Dense(transposed), Some(bias)) => return addmm(bias, x, transposed, None, None),
            (Weight::Dense(transposed), None) => x.matmul(transposed)?,
            (Weight::Quantized { packed, scales, biases, group_size, bits }, _) => {
                quantized_matmul(x, packed, scales, biases, true, *group_size, *bits)?
            }
        };
        match &self.bias {
            Some(bias) => product.add(bias),
            None => Ok(product),
        }
    }
}

impl ExpertProjection {
    /// Each row of `x` by the experts that `indices` names for it.
    pub(super) fn forward(&self, x: &Array, indices: &Array, are_sorted: bool) -> Result<Array> {
        let y = match &self.weight {
            Weight::Dense(transposed) => {
                let wide = x.as_dtype(transposed.dtype())?;
                gather_mm(wide, transposed, None, indices, are_sorted)?.as_dtype(x.dtype())?
            }
            Weight::Quantized { packed, scales, biases, group_size, bits } => {
                gather_qmm(x, packed, scales, biases, None, indices, true, *group_size, *bits, are_sorted)?
            }
        };
        match &self.adapter {
            Some(adapter) => {
                let z = gather_mm(x, &adapter.lora_a, None, indices, are_sorted)?;
                let z = gather_mm(z, &adapter.lora_b, None, indices, are_sorted)?;
                adapter.add(&y, z, x.dtype())
            }
            None => Ok(y),
        }
    }
}

impl Embedding {
    /// The rows of these tokens.
    pub(super) fn rows(&self, tokens: &Array) -> Result<Array> {
        let y = match &self.weight {
            Weight::Dense(rows) => rows.take_axis(tokens, 0)?,
            Weight::Quantized { packed, scales, biases, group_size, bits } => {
                let [packed, scales, biases] = [packed, scales, biases].map(|part| part.take_axis(tokens, 0));
                dequantize(packed?, scales?, &biases?, *group_size, *bits)?
            }
        };
        match &self.adapter {
            Some(adapter) => {
                let z = adapter.lora_a.take_axis(tokens, 0)?.matmul(&adapter.lora_b)?;
                adapter.add(&y, z, y.dtype())
            }
            None => Ok(y),
        }
    }

    /// The embeddings as the head.
    pub(super) fn as_head(&self, x: &Array) -> Result<Array> {
        let y = match &self.weight {
            Weight::Dense(rows) => x.matmul(rows.transpose()?)?,
            Weight::Quantized { packed, scales, biases, group_size, bits } => {
                quantized_matmul(x, packed, scales, biases, true, *group_size, *bits)?
            }
        };
        match &self.adapter {
            Some(adapter) => {
                let z = x.matmul(adapter.lora_b.transpose()?)?.matmul(adapter.lora_a.transpose()?)?;
                adapter.add(&y, z, x.dtype())
            }
            None => Ok(y),
        }
    }
}

impl Uploader {
    pub(super) fn vector(self, vector: &Vector) -> Result<Array> {
        let array = Array::from_slice(&vector.values, &[int(vector.len())]);
        // Every number came from that format, so nothing is lost on the way back.
        array.as_dtype(self.float(vector.float))
    }

    pub(super) fn projection(self, linear: &Linear) -> Result<Projection> {
        let bias = linear.bias.as_ref().map(|bias| self.vector(bias)).transpose()?;
        let adapter = linear.adapter.as_deref().map(|adapter| self.adapter(adapter)).transpose()?;
        Ok(Projection { bias, adapter, ..self.matrix(&linear.weight)? })
    }

    pub(super) fn matrix(self, matrix: &Matrix) -> Result<Projection> {
        let weight = self.weight(&[matrix])?.squeezed()?.transposed()?;
        Ok(Projection { weight, bias: None, adapter: None })
    }

    pub(super) fn embedding(self, linear: &Linear) -> Result<Embedding> {
        let adapter = linear.adapter.as_deref().map(|adapter| self.embedding_adapter(adapter)).transpose()?;
        Ok(Embedding { weight: self.weight(&[&linear.weight])?.squeezed()?, adapter })
    }

    fn embedding_adapter(self, LowRank { down, up, scale }: &LowRank) -> Result<Adapter> {
        let rows = |matrix| self.floats_of(&[matrix])?.squeeze_axes(&[0]);
        Ok(Adapter { lora_a: rows(up)?, lora_b: rows(down)?, scale: *scale })
    }

    /// Matrices of one shape and format, one for each expert.
    pub(super) fn experts<'a>(self, linears: impl Iterator<Item = &'a Linear>) -> Result<ExpertProjection> {
        let linears: Vec<&Linear> = linears.collect();
        let matrices: Vec<&Matrix> = linears.iter().map(|linear| &linear.weight).collect();
        let is_dense = matrices.iter().any(|matrix| matches!(matrix.data, MatrixData::Dense { .. }));
        let wide = Self { widen: self.widen || self.on_cpu, ..self };
        let of_weights = if is_dense { wide } else { self };
        let weight = of_weights.weight(&matrices)?.transposed()?;
        Ok(ExpertProjection { weight, adapter: wide.expert_adapters(&linears)? })
    }

    /// Those of one projection in all experts, which have one each or none.
    fn expert_adapters(self, experts: &[&Linear]) -> Result<Option<Adapter>> {
        let adapters = experts.iter().map(|linear| linear.adapter.as_deref());
        let Some(adapters) = adapters.collect::<Option<Vec<&LowRank>>>() else { return Ok(None) };
        let Some(scale) = adapters.first().map(|adapter| adapter.scale) else { return Ok(None) };
        let downs: Vec<&Matrix> = adapters.iter().map(|adapter| &adapter.down).collect();
        let ups: Vec<&Matrix> = adapters.iter().map(|adapter| &adapter.up).collect();
        let [lora_a, lora_b] = [downs, ups].map(|matrices| self.floats_of(&matrices)?.swap_axes(-1, -2));
        Ok(Some(Adapter { lora_a: lora_a?, lora_b: lora_b?, scale }))
    }

    /// That of a linear layer. The file has its matrices the other way round, and MLX's kernels round by how they lie.
    fn adapter(self, LowRank { down, up, scale }: &LowRank) -> Result<Adapter> {
        let [lora_a, lora_b] = [down, up].map(|matrix| match &matrix.data {
            MatrixData::Dense { float, values } => {
                let bytes = values.transposed(matrix.n_out, float.size_bytes());
                self.floats(*float, &bytes, &[int(matrix.n_in), int(matrix.n_out)])
            }
            MatrixData::Affine { .. } => Err(Exception::custom("an adapter that is quantised")),
        });
        Ok(Adapter { lora_a: lora_a?, lora_b: lora_b?, scale: *scale })
    }

    /// `[matrices.len(), n_out, n_in]`, of matrices that are not quantised.
    fn floats_of(self, matrices: &[&Matrix]) -> Result<Array> {
        match self.weight(matrices)? {
            Weight::Dense(rows) => Ok(rows),
            Weight::Quantized { .. } => Err(Exception::custom("an adapter that is quantised")),
        }
    }

    /// `[matrices.len(), n_out, ..]`
    fn weight(self, matrices: &[&Matrix]) -> Result<Weight> {
        let first = matrices.first().ok_or_else(|| Exception::custom("a mixture without experts"))?;
        let shape = |columns: usize| [int(matrices.len()), int(first.n_out), int(columns)];
        match &first.data {
            MatrixData::Dense { float, .. } => {
                let parts = each(matrices, |data| match data {
                    MatrixData::Dense { float: other, values } if other == float => Some(values),
                    _ => None,
                })?;
                Ok(Weight::Dense(self.floats(*float, &joined(parts.into_iter()), &shape(first.n_in))?))
            }
            MatrixData::Affine { bits, group_size, float, .. } => {
                let parts = each(matrices, |data| match data {
                    MatrixData::Affine { bits: b, group_size: g, float: f, packed, scales, biases }
                        if (b, g, f) == (bits, group_size, float) =>
                    {
                        Some([packed, scales, biases])
                    }
                    _ => None,
                })?;
                let [packed, scales, biases] =
                    [0, 1, 2].map(|part| joined(parts.iter().map(|parts| parts[part])));
                let n_groups = first.n_in / group_size;
                Ok(Weight::Quantized {
                    packed: array_of(&packed, Dtype::Uint32, &shape(first.n_in * usize::from(*bits) / 32)),
                    scales: self.floats(*float, &scales, &shape(n_groups))?,
                    biases: self.floats(*float, &biases, &shape(n_groups))?,
                    group_size: int(*group_size),
                    bits: i32::from(*bits),
                })
            }
        }
    }

    fn floats(self, float: FloatType, bytes: &[u8], shape: &[i32]) -> Result<Array> {
        let stored = Self { widen: false, ..self }.float(float);
        array_of(bytes, stored, shape).as_dtype(self.float(float))
    }

    /// In which format numbers of that one are computed with.
    fn float(self, float: FloatType) -> Dtype {
        match float {
            _ if self.widen => Dtype::Float32,
            FloatType::Bf16 => Dtype::Bfloat16,
            FloatType::F16 => Dtype::Float16,
            FloatType::F32 => Dtype::Float32,
        }
    }
}

impl Weight {
    /// A single matrix without the axis of the experts.
    fn squeezed(self) -> Result<Self> {
        let squeezed = |array: Array| array.squeeze_axes(&[0]);
        Ok(match self {
            Self::Dense(rows) => Self::Dense(squeezed(rows)?),
            Self::Quantized { packed, scales, biases, group_size, bits } => Self::Quantized {
                packed: squeezed(packed)?,
                scales: squeezed(scales)?,
                biases: squeezed(biases)?,
                group_size,
                bits,
            },
        })
    }

    /// Quantised products transpose by themselves.
    fn transposed(self) -> Result<Self> {
        match self {
            Self::Dense(rows) => Ok(Self::Dense(rows.swap_axes(-1, -2)?)),
            quantized @ Self::Quantized { .. } => Ok(quantized),
        }
    }
}

/// The same part of all matrices.
fn each<'a, Part>(
    matrices: &[&'a Matrix],
    pick: impl Fn(&'a MatrixData) -> Option<Part>,
) -> Result<Vec<Part>> {
    let parts: Option<Vec<_>> = matrices.iter().map(|matrix| pick(&matrix.data)).collect();
    parts.ok_or_else(|| Exception::custom("the experts of one layer are not all quantised alike"))
}

/// Stacked tensors lie one after the other already.
fn joined<'a>(parts: impl Iterator<Item = &'a TensorBytes> + Clone) -> TensorBytes {
    TensorBytes::joined(parts.clone())
        .unwrap_or_else(|| TensorBytes::owned(parts.flat_map(|part| part.iter().copied()).collect()))
}

/// An array of these little-endian numbers.
pub(super) fn array_of(bytes: &[u8], dtype: Dtype, shape: &[i32]) -> Array {
    match dtype {
        Dtype::Bfloat16 => Array::from_slice::<half::bf16>(&numbers(bytes), shape),
        Dtype::Float16 => Array::from_slice::<half::f16>(&numbers(bytes), shape),
        Dtype::Float32 => Array::from_slice::<f32>(&numbers(bytes), shape),
        Dtype::Uint32 => Array::from_slice::<u32>(&numbers(bytes), shape),
        other => unreachable!("tensors have no numbers of {other:?}"),
    }
}

/// In place where the bytes lie right: files do not align their tensors.
fn numbers<T: AnyBitPattern + NoUninit>(bytes: &[u8]) -> Cow<'_, [T]> {
    match try_cast_slice(bytes) {
        Ok(numbers) => Cow::Borrowed(numbers),
        Err(_) => {
            let mut numbers = vec![T::zeroed(); bytes.len() / size_of::<T>()];
            cast_slice_mut(&mut numbers).copy_from_slice(bytes);
            Cow::Owned(numbers)
        }
    }
}
