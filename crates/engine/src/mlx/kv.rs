//! Keys and values of sequences.
//!
//! Each layer has its keys and its values in arrays of `[n_kv_heads, capacity, ..]` that grow by
//! [`KV_GRANULE_TOKENS`]. A fork shares its parent's arrays; the first of them that goes on writing copies what it holds.
//! An array that nobody else has is written in place, which is MLX's own rule.
//!
//! Source: `KVCache` and `QuantizedKVCache` in mlx-lm `models/cache.py`.

use super::{Result, int};
use crate::backend::BackendError;
use crate::checkpoint::ModelConfig;
pub(super) use crate::memory::MLX_KV_GRANULE_TOKENS as KV_GRANULE_TOKENS;
use crate::memory::mlx_kv_group_size;
use crate::sequences::{Extent, Held};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, quantize, zeros_dtype};
use mlx_rs::{Array, Dtype};
use std::cell::Cell;
use std::rc::Rc;

/// Sizes and format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct KvShape {
    pub(super) n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// The model's own number format.
    dtype: Dtype,
    /// Numbers that share a scale, where they are kept in 8 bits.
    group_size: Option<usize>,
}

/// Bytes that all arrays of one backend take.
pub(super) type ReservedBytes = Rc<Cell<u64>>;

/// The bytes of the arrays that sequences share.
#[derive(Debug)]
struct Reserved {
    bytes: u64,
    all: ReservedBytes,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.bytes);
    }
}

/// Keys or values of one layer.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    /// Numbers in the model's format, or packed words, scales and biases.
    pub(super) parts: Vec<Array>,
    /// Numbers that share a scale, where they are kept in 8 bits.
    pub(super) group_size: Option<i32>,
}

/// One sequence.
#[derive(Debug)]
pub(super) struct KvSequence {
    shape: KvShape,
    /// Keys and values of each layer; empty until the first token comes.
    layers: Vec<(Planes, Planes)>,
    capacity: usize,
    n_tokens: usize,
    max_tokens: usize,
    reserved: Rc<Reserved>,
}

impl KvShape {
    pub(super) fn new(config: &ModelConfig, dtype: Dtype, eight_bits: bool) -> Result<Self> {
        let group_size = mlx_kv_group_size(config.head_dim);
        if eight_bits && group_size.is_none() {
            let message = "keys and values of 8 bits need heads of a multiple of 32 numbers";
            return Err(mlx_rs::error::Exception::custom(message));
        }
        Ok(Self {
            n_layers: config.n_layers,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            dtype,
            group_size: group_size.filter(|_| eight_bits),
        })
    }

    /// Bytes of one token.
    pub(super) fn bytes_per_token(&self) -> u64 {
        (self.n_layers * 2 * self.n_kv_heads * self.row_bytes()) as u64
    }

    fn row_bytes(&self) -> usize {
        self.parts().iter().map(|(width, dtype)| width * bytes_of(*dtype)).sum()
    }

    /// Width and format of the arrays that keys, and values, are kept in.
    pub(super) fn parts(&self) -> Vec<(usize, Dtype)> {
        match self.group_size {
            None => vec![(self.head_dim, self.dtype)],
            Some(group_size) => {
                let n_groups = self.head_dim / group_size;
                vec![(self.head_dim / 4, Dtype::Uint32), (n_groups, self.dtype), (n_groups, self.dtype)]
            }
        }
    }

    pub(super) fn array_shape(&self, n_tokens: usize, width: usize) -> [i32; 3] {
        [int(self.n_kv_heads), int(n_tokens), int(width)]
    }

    fn empty(&self, capacity: usize) -> Result<Planes> {
        let parts = self.parts().into_iter();
        let parts = parts.map(|(width, dtype)| zeros_dtype(&self.array_shape(capacity, width), dtype));
        Ok(self.planes(parts.collect::<Result<_>>()?))
    }

    pub(super) fn planes(&self, parts: Vec<Array>) -> Planes {
        Planes { parts, group_size: self.group_size.map(int) }
    }

    /// What keys or values of `[n_kv_heads, n_tokens, head_dim]` are written as.
    fn to_planes(self, numbers: &Array) -> Result<Planes> {
        Ok(self.planes(match self.group_size {
            None => vec![numbers.as_dtype(self.dtype)?],
            Some(size) => {
                let (packed, scales, biases) = quantize(numbers, int(size), 8)?;
                vec![packed, scales, biases]
            }
        }))
    }

    /// Whether they are kept in 8 bits.
    pub(super) fn is_quantized(&self) -> bool {
        self.group_size.is_some()
    }

    fn out_of_memory(&self, n_tokens: usize) -> BackendError {
        let bytes = self.bytes_per_token().saturating_mul(n_tokens as u64);
        BackendError::OutOfMemory { n_tokens, bytes }
    }
}

impl Planes {
    /// Those that are not quantised.
    pub(super) fn numbers(&self) -> &Array {
        &self.parts[0]
    }

    fn map(&self, change: impl FnMut(&Array) -> Result<Array>) -> Result<Self> {
        let parts = self.parts.iter().map(change).collect::<Result<_>>()?;
        Ok(Self { parts, group_size: self.group_size })
    }

    /// The first tokens.
    pub(super) fn first(&self, n_tokens: usize) -> Result<Self> {
        self.map(|part| part.try_index((.., ..int(n_tokens), ..)))
    }

    /// The first tokens, with room for as many as `capacity`.
    fn regrown(&self, shape: &KvShape, n_tokens: usize, capacity: usize) -> Result<Self> {
        let room = shape.empty(capacity - n_tokens)?;
        let mut room = room.parts.iter();
        self.first(n_tokens)?.map(|part| {
            let room = room.next().expect("both have the parts of one shape");
            concatenate(&[part, room], 1)
        })
    }

    fn write(&mut self, at: usize, new: &Self) -> Result<()> {
        for (part, new) in self.parts.iter_mut().zip(&new.parts) {
            let end = at + new.dim(1) as usize;
            part.try_index_mut((.., int(at)..int(end), ..), new)?;
        }
        Ok(())
    }
}

impl Held for KvSequence {
    fn extent(&self) -> Extent {
        Extent { n_tokens: self.n_tokens, max_tokens: self.max_tokens }
    }

    fn fork(&self, n_tokens: usize, max_tokens: usize) -> std::result::Result<Self, BackendError> {
        let mut fork = Self::new(self.shape, max_tokens, &self.reserved.all)?;
        if n_tokens > 0 {
            fork.layers.clone_from(&self.layers);
            (fork.capacity, fork.n_tokens) = (self.capacity, n_tokens);
            fork.reserved = Rc::clone(&self.reserved);
        }
        Ok(fork)
    }

    fn advance(&mut self, n_new: usize) {
        self.n_tokens += n_new;
    }
}

impl KvSequence {
    /// An empty sequence.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] when `max_tokens` could never be addressed.
    pub(super) fn new(
        shape: KvShape,
        max_tokens: usize,
        all: &ReservedBytes,
    ) -> std::result::Result<Self, BackendError> {
        let bytes = shape.bytes_per_token().checked_mul(max_tokens as u64);
        if bytes.is_none_or(|bytes| bytes > isize::MAX as u64) || i32::try_from(max_tokens).is_err() {
            return Err(shape.out_of_memory(max_tokens));
        }
        let reserved = Rc::new(Reserved { bytes: 0, all: Rc::clone(all) });
        Ok(Self { shape, layers: Vec::new(), capacity: 0, n_tokens: 0, max_tokens, reserved })
    }

    /// A sequence of `n_tokens` whose arrays hold just these.
    pub(super) fn of_layers(
        shape: KvShape,
        n_tokens: usize,
        layers: Vec<(Planes, Planes)>,
        all: &ReservedBytes,
    ) -> std::result::Result<Self, BackendError> {
        let mut sequence = Self::new(shape, n_tokens, all)?;
        (sequence.layers, sequence.capacity, sequence.n_tokens) = (layers, n_tokens, n_tokens);
        sequence.reserve_bytes();
        Ok(sequence)
    }

    pub(super) fn shape(&self) -> &KvShape {
        &self.shape
    }

    pub(super) fn len(&self) -> usize {
        self.n_tokens
    }

    pub(super) fn layers(&self) -> &[(Planes, Planes)] {
        &self.layers
    }

    /// Bytes of its arrays, and something that tells them from those that it does not share.
    pub(super) fn memory(&self) -> (usize, u64) {
        (Rc::as_ptr(&self.reserved) as usize, self.reserved.bytes)
    }

    /// Makes arrays of its own with room for `n_new` more tokens, which stay invisible until [`Held::advance`].
    pub(super) fn reserve(&mut self, n_new: usize) -> Result<()> {
        let needed = self.n_tokens + n_new;
        let is_own = Rc::strong_count(&self.reserved) == 1;
        if is_own && self.capacity >= needed {
            return Ok(());
        }
        let capacity = needed.next_multiple_of(KV_GRANULE_TOKENS);
        let shape = self.shape;
        let regrown: Result<Vec<_>> = if self.n_tokens == 0 {
            (0..shape.n_layers).map(|_| Ok((shape.empty(capacity)?, shape.empty(capacity)?))).collect()
        } else {
            let regrow = |planes: &Planes| planes.regrown(&shape, self.n_tokens, capacity);
            self.layers.iter().map(|(keys, values)| Ok((regrow(keys)?, regrow(values)?))).collect()
        };
        self.layers = regrown?;
        self.capacity = capacity;
        self.reserve_bytes();
        Ok(())
    }

    fn reserve_bytes(&mut self) {
        let (bytes, all) =
            (self.shape.bytes_per_token() * self.capacity as u64, Rc::clone(&self.reserved.all));
        all.set(all.get() + bytes);
        self.reserved = Rc::new(Reserved { bytes, all });
    }

    /// Writes new keys and values of one layer, each `[n_kv_heads, n_new, head_dim]`, and gives all that there are now.
    pub(super) fn append(&mut self, layer: usize, keys: &Array, values: &Array) -> Result<(Planes, Planes)> {
        let (at, shape) = (self.n_tokens, self.shape);
        let n_tokens = at + keys.dim(1) as usize;
        let (all_keys, all_values) = &mut self.layers[layer];
        all_keys.write(at, &shape.to_planes(keys)?)?;
        all_values.write(at, &shape.to_planes(values)?)?;
        Ok((all_keys.first(n_tokens)?, all_values.first(n_tokens)?))
    }

    /// Forgets all tokens but the first: what comes next is written over them.
    pub(super) fn cut(&mut self, n_tokens: usize) {
        self.n_tokens = self.n_tokens.min(n_tokens);
    }

    /// Every array, to be computed.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.layers.iter().flat_map(|(keys, values)| keys.parts.iter().chain(&values.parts))
    }
}

pub(super) fn bytes_of(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Float16 | Dtype::Bfloat16 => 2,
        _ => 4,
    }
}
