//! Keys and values of sequences, in blocks that forks share.
//!
//! Numbers are rounded once, when they are written, and never again: f32 is exact against the reference and read by the
//! kernels as it is, narrower formats are widened right before their use. A block holds [`KV_BLOCK_TOKENS`] tokens of all
//! layers; it is allocated when its first token arrives. Full blocks are never written again, so a fork shares them and
//! copies only the block that it will go on writing in.

use super::kernels::{KV_BLOCK_TOKENS, write_row};
use crate::backend::BackendError;
use crate::checkpoint::ModelConfig;
use crate::sequences::{Extent, Held};
use boca_core::KvPrecision;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sizes of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvShape {
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    pub(super) precision: KvPrecision,
}

/// Bytes that all blocks of one backend take.
pub(super) type ReservedBytes = Arc<AtomicU64>;

/// One sequence.
#[derive(Debug)]
pub(super) struct KvSequence {
    pub(super) shape: KvShape,
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) n_tokens: usize,
    max_tokens: usize,
    reserved: ReservedBytes,
}

#[derive(Debug)]
pub(super) struct Block {
    /// `[n_layers, 2, n_kv_heads, KV_BLOCK_TOKENS]` rows of `head_dim` numbers each, keys before values. Words, so that
    /// those of `f32` lie right.
    pub(super) words: Vec<u32>,
    reserved: ReservedBytes,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.reserved.fetch_sub(size_of_val(&self.words[..]) as u64, Ordering::Relaxed);
    }
}

impl KvShape {
    pub(super) fn new(config: &ModelConfig, precision: KvPrecision) -> Self {
        let ModelConfig { n_layers, n_kv_heads, head_dim, .. } = *config;
        Self { n_layers, n_kv_heads, head_dim, precision }
    }

    /// Bytes of one token.
    pub(super) fn bytes_per_token(&self) -> u64 {
        (self.n_layers * 2 * self.n_kv_heads * self.row_bytes()) as u64
    }

    /// Bytes of one block.
    pub(super) fn block_bytes(&self) -> u64 {
        self.bytes_per_token() * KV_BLOCK_TOKENS as u64
    }

    /// Bytes of the keys or values of one token and head.
    fn row_bytes(&self) -> usize {
        self.precision.bytes_of(self.head_dim)
    }

    fn head_bytes(&self) -> usize {
        KV_BLOCK_TOKENS * self.row_bytes()
    }

    fn head_start(&self, layer: usize, values: bool, kv_head: usize) -> usize {
        ((layer * 2 + usize::from(values)) * self.n_kv_heads + kv_head) * self.head_bytes()
    }

    fn out_of_memory(&self, n_tokens: usize) -> BackendError {
        let bytes = self.bytes_per_token().saturating_mul(n_tokens as u64);
        BackendError::OutOfMemory { n_tokens, bytes }
    }
}

impl Held for KvSequence {
    fn extent(&self) -> Extent {
        Extent { n_tokens: self.n_tokens, max_tokens: self.max_tokens }
    }

    /// A sequence that begins like this one.
    fn fork(&self, n_tokens: usize, max_tokens: usize) -> Result<Self, BackendError> {
        let mut fork = Self::new(self.shape, max_tokens, Arc::clone(&self.reserved))?;
        let n_full = n_tokens / KV_BLOCK_TOKENS;
        fork.blocks.extend_from_slice(&self.blocks[..n_full]);
        if !n_tokens.is_multiple_of(KV_BLOCK_TOKENS) {
            let mut block = fork.new_block()?;
            words_of(&mut block).copy_from_slice(&self.blocks[n_full].words);
            fork.blocks.push(block);
        }
        fork.n_tokens = n_tokens;
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
        reserved: ReservedBytes,
    ) -> Result<Self, BackendError> {
        let bytes = shape.bytes_per_token().checked_mul(max_tokens as u64);
        if bytes.is_none_or(|bytes| bytes > isize::MAX as u64) {
            return Err(shape.out_of_memory(max_tokens));
        }
        Ok(Self { shape, blocks: Vec::new(), n_tokens: 0, max_tokens, reserved })
    }

    /// Makes room for `n_new` more tokens, which stay invisible until [`Held::advance`].
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`].
    pub(super) fn reserve(&mut self, n_new: usize) -> Result<(), BackendError> {
        while self.blocks.len() * KV_BLOCK_TOKENS < self.n_tokens + n_new {
            let block = self.new_block()?;
            self.blocks.push(block);
        }
        Ok(())
    }

    /// Writes one token's keys and values of one layer, each `[n_kv_heads, head_dim]`.
    ///
    /// # Panics
    /// When there is no room at `position`, or it lies in what is shared with a fork.
    pub(super) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let block: &mut [u8] =
            bytemuck::cast_slice_mut(words_of(&mut self.blocks[position / KV_BLOCK_TOKENS]));
        let row_bytes = shape.row_bytes();
        let offset = position % KV_BLOCK_TOKENS * row_bytes;
        for (is_value, numbers) in [(false, keys), (true, values)] {
            for (kv_head, numbers) in numbers.chunks_exact(shape.head_dim).enumerate() {
                let start = shape.head_start(layer, is_value, kv_head) + offset;
                write_row(shape.precision, numbers, &mut block[start..start + row_bytes]);
            }
        }
    }

    /// Something that tells its blocks from those that it does not share.
    pub(super) fn block_addresses(&self) -> impl Iterator<Item = usize> + '_ {
        self.blocks.iter().map(|block| Arc::as_ptr(block) as usize)
    }

    /// In which format its numbers are.
    pub(super) fn precision(&self) -> KvPrecision {
        self.shape.precision
    }

    /// Keys and values of one layer and head in one block, each [`KV_BLOCK_TOKENS`] rows.
    pub(super) fn block(&self, layer: usize, block: usize, kv_head: usize) -> (&[u8], &[u8]) {
        let bytes: &[u8] = bytemuck::cast_slice(&self.blocks[block].words);
        let part = |values| {
            let start = self.shape.head_start(layer, values, kv_head);
            &bytes[start..start + self.shape.head_bytes()]
        };
        (part(false), part(true))
    }

    pub(super) fn new_block(&self) -> Result<Arc<Block>, BackendError> {
        // Rows of one format are as many as a block has tokens, so their bytes are whole words.
        let n = self.shape.block_bytes() as usize / size_of::<u32>();
        let mut words = Vec::new();
        words
            .try_reserve_exact(n)
            .map_err(|_| self.shape.out_of_memory((self.blocks.len() + 1) * KV_BLOCK_TOKENS))?;
        words.resize(n, 0);
        self.reserved.fetch_add(size_of_val(&words[..]) as u64, Ordering::Relaxed);
        Ok(Arc::new(Block { words, reserved: Arc::clone(&self.reserved) }))
    }
}

/// The last block of a sequence is its own: full ones are shared, the one being written is copied when forked.
pub(super) fn words_of(block: &mut Arc<Block>) -> &mut [u32] {
    &mut Arc::get_mut(block).expect("only full blocks are shared, and they are never written").words
}
