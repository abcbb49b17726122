//! The numbers of a tensor, a piece at a time.

use super::shape::{Fill, TensorSpec};
use crate::generate::Random;
use half::bf16;

/// Even numbers from 0 to 15 have this mean and this root of the mean square of their distance from it.
const PACKED_MEAN: f32 = 7.5;
const PACKED_SPREAD: f32 = 4.61;

/// Writes a tensor's bytes from its first to its last.
pub(super) struct Values {
    random: Random,
    fill: Fill,
    is_f32: bool,
    left: u64,
}

impl Values {
    pub(super) fn new(spec: &TensorSpec, seed: u64) -> Self {
        // Scales and biases of one matrix are drawn alike, because they belong together.
        let (path, part) = spec.name.rsplit_once('.').unwrap_or(("", &spec.name));
        let of = match spec.fill {
            Fill::Scales(_) | Fill::Biases(_) => path.bytes().collect(),
            Fill::Packed | Fill::Around { .. } => [path.as_bytes(), part.as_bytes()].concat(),
        };
        Self {
            random: Random::new(seed ^ fnv1a(&of)),
            fill: spec.fill,
            is_f32: spec.dtype == "F32",
            left: spec.n_bytes(),
        }
    }

    /// Fills the beginning of `buffer`, whose length is a multiple of 8, and says how many bytes are there; 0 is
    /// the end.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> usize {
        let n = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..n];
        match self.fill {
            Fill::Packed => {
                for eight in piece.chunks_mut(8) {
                    eight.copy_from_slice(&self.random.next().to_le_bytes()[..eight.len()]);
                }
            }
            Fill::Scales(size) => self.floats(piece, |draw| scale(size, draw)),
            Fill::Biases(size) => self.floats(piece, |draw| -PACKED_MEAN * bf16_of(scale(size, draw))),
            Fill::Around { middle, spread } => {
                self.floats(piece, |draw| middle + spread * (draw * 2.0 - 1.0));
            }
        }
        self.left -= n as u64;
        n
    }

    fn floats(&mut self, piece: &mut [u8], value: impl Fn(f32) -> f32) {
        let mut draw = || value(self.random.unit() as f32);
        if self.is_f32 {
            piece.chunks_exact_mut(4).for_each(|four| four.copy_from_slice(&draw().to_le_bytes()));
        } else {
            piece
                .chunks_exact_mut(2)
                .for_each(|two| two.copy_from_slice(&bf16::from_f32(draw()).to_le_bytes()));
        }
    }
}

/// Groups differ in size by up to three times, as those of trained weights do.
fn scale(size: f32, draw: f32) -> f32 {
    size / PACKED_SPREAD * (0.5 + draw)
}

fn bf16_of(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

/// Source: the FNV-1a hash with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spec: &TensorSpec, seed: u64, buffer: usize) -> Vec<u8> {
        let (mut values, mut buffer, mut all) = (Values::new(spec, seed), vec![0; buffer], Vec::new());
        loop {
            match values.next(&mut buffer) {
                0 => return all,
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn spec(name: &str, dtype: &'static str, shape: &[usize], fill: Fill) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, shape: shape.to_vec(), fill }
    }

    #[test]
    fn a_tensor_is_the_same_in_pieces_of_any_length() {
        for (dtype, fill) in [
            ("U32", Fill::Packed),
            ("BF16", Fill::Scales(0.1)),
            ("F32", Fill::Around { middle: 0.0, spread: 1.0 }),
        ] {
            let spec = spec("a.b", dtype, &[7, 11], fill);
            let whole = all(&spec, 1, 4096);
            assert_eq!(whole.len() as u64, spec.n_bytes());
            assert_eq!(whole, all(&spec, 1, 16));
            assert_ne!(whole, all(&spec, 2, 4096));
        }
    }

    #[test]
    fn a_matrix_has_entries_of_the_size_that_was_asked_for() {
        let (n, size) = (64 * 200, 0.02);
        let packed = all(&spec("m.weight", "U32", &[n / 8], Fill::Packed), 3, 4096);
        let floats = |part, fill| -> Vec<f32> {
            let bytes = all(&spec(part, "BF16", &[n / 64], fill), 3, 4096);
            bytes.chunks_exact(2).map(|two| bf16::from_le_bytes([two[0], two[1]]).to_f32()).collect()
        };
        let scales = floats("m.scales", Fill::Scales(size));
        let biases = floats("m.biases", Fill::Biases(size));
        let values: Vec<f64> = (0..n)
            .map(|i| {
                let q = packed[i / 2] >> (4 * (i % 2)) & 15;
                f64::from(f32::from(q) * scales[i / 64] + biases[i / 64])
            })
            .collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let rms = (values.iter().map(|v| v * v).sum::<f64>() / n as f64).sqrt();
        assert!(mean.abs() < 0.001 && (0.018..0.024).contains(&rms), "{mean} {rms}");
    }
}
