//! Inference on the CPU, written for it: weights are read in place, quantised, by all cores.
//!
//! From the bottom up: `lanes` is one vector of an instruction set, `kernels` the arithmetic over it, `pool` the
//! threads, `linear` splits matrix products among them, `attention`, `router`, `experts` and `forward` are the model,
//! [`CpuBackend`] is what the rest of the engine sees.
//!
//! All arithmetic is in f32. Keys and values are rounded to the format of the KV cache when they are written. A sequence
//! gets the same logits, bit for bit, however its tokens are cut into chunks, and whoever shares its steps.
#![allow(unsafe_code)]

mod attention;
mod backend;
mod experts;
mod forward;
mod isa;
mod kernels;
mod kv_cache;
mod kv_image;
mod lanes;
mod linear;
mod pool;
mod rope;
mod router;
mod scratch;
#[cfg(test)]
mod tests;

pub use backend::{CpuBackend, CpuOptions};
pub use isa::Isa;
pub(crate) use kernels::KV_BLOCK_TOKENS as KV_GRANULE_TOKENS;

use crate::backend::BackendError;
use linear::Compute;
use pool::WorkerPanic;

/// Why a step failed.
#[derive(Debug)]
enum StepError {
    /// A buffer could not grow.
    Memory(BackendError),
    /// A unit of work panicked.
    Worker(WorkerPanic),
}

impl StepError {
    fn out_of_memory(n_tokens: usize, n_floats: usize) -> Self {
        Self::Memory(BackendError::OutOfMemory { n_tokens, bytes: 4 * n_floats as u64 })
    }
}

impl From<BackendError> for StepError {
    fn from(error: BackendError) -> Self {
        Self::Memory(error)
    }
}

impl From<WorkerPanic> for StepError {
    fn from(panic: WorkerPanic) -> Self {
        Self::Worker(panic)
    }
}

/// `out = rms_norm(x)` row by row. Both are `[n_rows, weight.len()]`.
fn norm_rows(
    compute: &mut Compute,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) -> Result<(), WorkerPanic> {
    let (kernels, width) = (compute.kernels, weight.len());
    assert_eq!(x.len(), out.len(), "norm of different lengths");
    compute.for_rows(out, width, 4 * width, |row, out| {
        out.copy_from_slice(&x[row * width..][..width]);
        kernels.rms_norm(out, weight, epsilon);
    })
}
