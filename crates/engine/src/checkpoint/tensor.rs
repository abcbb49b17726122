//! Views of tensors inside mapped files. Nothing here copies weights.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes that stay where they are for the life of the process or of the mapping.
pub enum Bytes {
    /// A mapped file; its pages are shared with the page cache.
    Mapped(memmap2::Mmap),
    /// Part of the binary.
    Static(&'static [u8]),
    /// Small tensors made while loading (tests, converted vectors).
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Mapped(_) => "mapped",
            Self::Static(_) => "static",
            Self::Owned(_) => "owned",
        };
        write!(f, "{kind} [{} bytes]", self.len())
    }
}

/// The bytes of one tensor. They may begin at any address: MLX does not pad the header, so kernels load unaligned
/// and never cast to a wider slice.
#[derive(Debug, Clone)]
pub struct TensorBytes {
    file: Arc<Bytes>,
    range: Range<usize>,
}

impl TensorBytes {
    /// A range of a file; the caller has checked that it lies inside.
    pub fn new(file: Arc<Bytes>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= file.len(), "tensor range outside its file");
        Self { file, range }
    }

    /// The `i`th of `n` equal parts, in place.
    pub(super) fn part(&self, i: usize, n: usize) -> Self {
        let length = self.range.len() / n;
        let start = self.range.start + i * length;
        Self::new(self.file.clone(), start..start + length)
    }

    /// Some of them, in place.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        Self::new(self.file.clone(), self.range.start + range.start..self.range.start + range.end)
    }

    /// These bytes as one, where each begins where the one before ends.
    #[cfg(any(target_os = "macos", feature = "mlx"))]
    pub(crate) fn joined<'a>(mut parts: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let first = parts.next()?;
        let range = parts.try_fold(first.range.clone(), |whole, part| {
            let follows = Arc::ptr_eq(&part.file, &first.file) && part.range.start == whole.end;
            follows.then_some(whole.start..part.range.end)
        })?;
        Some(Self::new(first.file.clone(), range))
    }

    /// The transpose of a matrix of `n_rows` rows, whose numbers have `number_bytes` each.
    pub(crate) fn transposed(&self, n_rows: usize, number_bytes: usize) -> Self {
        let row_bytes = self.len() / n_rows.max(1);
        let mut bytes = Vec::with_capacity(self.len());
        for column in (0..row_bytes).step_by(number_bytes) {
            for row in 0..n_rows {
                let start = row * row_bytes + column;
                bytes.extend_from_slice(&self[start..start + number_bytes]);
            }
        }
        Self::owned(bytes)
    }

    /// Bytes made while loading.
    pub fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { file: Arc::new(Bytes::Owned(bytes)), range }
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

/// Number formats of unquantised tensors, scales and biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
}

impl FloatType {
    /// Bytes of one number.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// Numbers as f32, from little-endian bytes.
    pub fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (pairs, quads) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        match self {
            Self::Bf16 => pairs.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::F16 => pairs.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Self::F32 => quads.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        }
    }
}

/// A small tensor, widened to f32 while loading, which loses nothing.
#[derive(Debug, Clone)]
pub struct Vector {
    /// Its numbers.
    pub values: Vec<f32>,
    /// The format in which the checkpoint has them.
    pub float: FloatType,
}

impl Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

/// How the rows of a matrix are stored.
#[derive(Debug, Clone)]
pub enum MatrixData {
    /// `[n_out, n_in]` numbers, row after row.
    Dense {
        /// Number format.
        float: FloatType,
        /// Little-endian numbers.
        values: TensorBytes,
    },
    /// MLX affine quantisation: `value = q * scale + bias` for each group along a row.
    Affine {
        /// 2, 3, 4, 5, 6 or 8.
        bits: u8,
        /// 32, 64 or 128.
        group_size: usize,
        /// `[n_out, n_in * bits / 32]` little-endian u32 words, packed little end first.
        packed: TensorBytes,
        /// Number format of `scales` and `biases`.
        float: FloatType,
        /// `[n_out, n_in / group_size]`
        scales: TensorBytes,
        /// `[n_out, n_in / group_size]`
        biases: TensorBytes,
    },
}

impl MatrixData {
    /// The same storage of other bytes.
    pub(super) fn map(&self, change: impl Fn(&TensorBytes) -> TensorBytes) -> Self {
        match self {
            Self::Dense { float, values } => Self::Dense { float: *float, values: change(values) },
            Self::Affine { bits, group_size, packed, float, scales, biases } => Self::Affine {
                bits: *bits,
                group_size: *group_size,
                packed: change(packed),
                float: *float,
                scales: change(scales),
                biases: change(biases),
            },
        }
    }
}

/// A weight matrix: `y = x · Wᵀ (+ bias)`.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Rows.
    pub n_out: usize,
    /// Columns.
    pub n_in: usize,
    /// Storage.
    pub data: MatrixData,
}

impl Matrix {
    /// Bytes that a pass over the whole matrix reads.
    pub fn size_bytes(&self) -> usize {
        match &self.data {
            MatrixData::Dense { values, .. } => values.len(),
            MatrixData::Affine { packed, scales, biases, .. } => packed.len() + scales.len() + biases.len(),
        }
    }
}

/// A linear layer.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[n_out, n_in]`
    pub weight: Matrix,
    /// `[n_out]`, converted to f32 while loading: small, and read in every step.
    pub bias: Option<Vector>,
    /// What a fine-tuning adds.
    pub adapter: Option<Box<LowRank>>,
}

/// What a fine-tuning adds to a linear layer: `scale * (x · downᵀ) · upᵀ`. Both matrices are stored plainly, and as rows
/// like every other one, whichever way round the file has them.
///
/// Source: `LoRALinear`, `LoRASwitchLinear` and `LoRAEmbedding` in mlx-lm `tuner/lora.py`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, n_in]`: an expert's `lora_a`, an embedding's `lora_b`, elsewhere the transpose of `lora_a`.
    pub down: Matrix,
    /// `[n_out, rank]`: an expert's `lora_b`, an embedding's `lora_a`, elsewhere the transpose of `lora_b`.
    pub up: Matrix,
    /// Of the product; `scale` in `adapter_config.json`.
    pub scale: f32,
}
