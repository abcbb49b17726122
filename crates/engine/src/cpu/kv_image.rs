//! A sequence's keys and values outside of it: as bytes that another process reads.
//!
//! Whole blocks, one after the other, as they lie in memory. Full ones are never written again, so an image shares them;
//! the last one is copied.

use super::isa::Isa;
use super::kernels::KV_BLOCK_TOKENS;
use super::kv_cache::{Block, KvSequence, KvShape, ReservedBytes, words_of};
use crate::backend::KvImage;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// What a sequence held.
struct Image {
    full: Vec<Arc<Block>>,
    last: Vec<u32>,
}

impl KvImage for Image {
    fn n_bytes(&self) -> u64 {
        let full: usize = self.full.iter().map(|block| size_of_val(&block.words[..])).sum();
        (full + size_of_val(&self.last[..])) as u64
    }

    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        for block in &self.full {
            to.write_all(bytemuck::cast_slice(&block.words))?;
        }
        to.write_all(bytemuck::cast_slice(&self.last))
    }
}

impl KvShape {
    /// What the bytes of an image depend on.
    pub(super) fn format(&self, isa: Isa) -> String {
        let order = if cfg!(target_endian = "little") { "little" } else { "big" };
        let precision = self.precision.as_str();
        format!("cpu {isa}, {order} end, {precision}, blocks of {KV_BLOCK_TOKENS} tokens, {self:?}")
    }
}

impl KvSequence {
    /// What it holds now.
    pub(super) fn image(&self) -> impl KvImage + use<> {
        let n_full = self.n_tokens / KV_BLOCK_TOKENS;
        let rest = !self.n_tokens.is_multiple_of(KV_BLOCK_TOKENS);
        let last = self.blocks.get(n_full).filter(|_| rest).map(|block| block.words.clone());
        Image { full: self.blocks[..n_full].to_vec(), last: last.unwrap_or_default() }
    }

    /// A sequence of `n_tokens` from the bytes of an image. It has the blocks of another one in common, as far as these
    /// hold the first tokens of both.
    pub(super) fn read(
        shape: KvShape,
        reserved: ReservedBytes,
        shared: Option<(&Self, usize)>,
        n_tokens: usize,
        n_bytes: u64,
        from: &mut dyn Read,
    ) -> io::Result<Self> {
        let no_memory = |error| io::Error::new(ErrorKind::OutOfMemory, error);
        let n_blocks = n_tokens.div_ceil(KV_BLOCK_TOKENS);
        let expected = shape.block_bytes().checked_mul(n_blocks as u64);
        if expected != Some(n_bytes) {
            let message = format!("{n_bytes} bytes are not {n_tokens} tokens");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        let mut sequence = Self::new(shape, n_tokens, reserved).map_err(no_memory)?;
        let shared = shared.map(|(parent, n)| &parent.blocks[..n.min(parent.n_tokens) / KV_BLOCK_TOKENS]);
        for place in 0..n_blocks {
            if let Some(block) = shared.and_then(|blocks| blocks.get(place)) {
                sequence.blocks.push(Arc::clone(block));
                let n = shape.block_bytes();
                if io::copy(&mut from.take(n), &mut io::sink())? != n {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            } else {
                let mut block = sequence.new_block().map_err(no_memory)?;
                from.read_exact(bytemuck::cast_slice_mut(words_of(&mut block)))?;
                sequence.blocks.push(block);
            }
        }
        sequence.n_tokens = n_tokens;
        Ok(sequence)
    }
}
