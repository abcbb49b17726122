//! A sequence's keys and values outside of it: as bytes that another process reads.
//!
//! Layer by layer, keys before values, part by part, each `[n_kv_heads, n_tokens, width]`.

use super::Result;
use super::arrays::array_of;
use super::kv::{KvSequence, KvShape, Planes, ReservedBytes, bytes_of};
use crate::backend::KvImage;
use bytemuck::cast_slice;
use mlx_rs::{Array, Dtype};
use std::io::{self, ErrorKind, Read, Write};

/// What a sequence held. The bytes are copied when it is made: an array must not be touched by another thread.
struct Image(Vec<u8>);

impl KvImage for Image {
    fn n_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.0)
    }
}

impl KvShape {
    /// What the bytes of an image depend on.
    pub(super) fn format(&self, device: &str) -> String {
        format!("{device}, {self:?}")
    }
}

impl KvSequence {
    /// What it holds now.
    pub(super) fn image(&self) -> Result<Box<dyn KvImage>> {
        let mut bytes = Vec::new();
        for (keys, values) in self.layers() {
            for planes in [keys, values] {
                for part in planes.first(self.len())?.parts {
                    append_bytes(&part.contiguous()?, &mut bytes)?;
                }
            }
        }
        Ok(Box::new(Image(bytes)))
    }

    /// A sequence of `n_tokens` from the bytes of an image.
    pub(super) fn read(
        shape: KvShape,
        all: &ReservedBytes,
        n_tokens: usize,
        n_bytes: u64,
        from: &mut dyn Read,
    ) -> io::Result<Self> {
        if shape.bytes_per_token().checked_mul(n_tokens as u64) != Some(n_bytes) {
            let message = format!("{n_bytes} bytes are not {n_tokens} tokens");
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        let mut planes = || -> io::Result<Planes> {
            let mut arrays = Vec::new();
            for (width, dtype) in shape.parts() {
                let array_shape = shape.array_shape(n_tokens, width);
                let n_numbers: usize = array_shape.iter().map(|n| *n as usize).product();
                let mut bytes = Vec::new();
                let n_bytes = n_numbers * bytes_of(dtype);
                bytes.try_reserve_exact(n_bytes).map_err(|_| ErrorKind::OutOfMemory)?;
                bytes.resize(n_bytes, 0);
                from.read_exact(&mut bytes)?;
                arrays.push(array_of(&bytes, dtype, &array_shape));
            }
            Ok(shape.planes(arrays))
        };
        let layers: io::Result<Vec<_>> = (0..shape.n_layers).map(|_| Ok((planes()?, planes()?))).collect();
        let no_memory = |error| io::Error::new(ErrorKind::OutOfMemory, error);
        Self::of_layers(shape, n_tokens, layers?, all).map_err(no_memory)
    }
}

fn append_bytes(array: &Array, to: &mut Vec<u8>) -> Result<()> {
    let unreadable = |error: mlx_rs::error::AsSliceError| mlx_rs::error::Exception::custom(error.to_string());
    match array.dtype() {
        Dtype::Bfloat16 => {
            to.extend_from_slice(cast_slice(array.try_as_slice::<half::bf16>().map_err(unreadable)?));
        }
        Dtype::Float16 => {
            to.extend_from_slice(cast_slice(array.try_as_slice::<half::f16>().map_err(unreadable)?));
        }
        Dtype::Uint32 => to.extend_from_slice(cast_slice(array.try_as_slice::<u32>().map_err(unreadable)?)),
        _ => to.extend_from_slice(cast_slice(array.try_as_slice::<f32>().map_err(unreadable)?)),
    }
    Ok(())
}
