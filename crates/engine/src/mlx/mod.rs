//! Inference by MLX: Metal on a Mac, and the same code over MLX's CPU and CUDA builds on Linux.
//!
//! From the bottom up: `arrays` brings weights into MLX, `attention`, `experts` and `model` are the forward pass as mlx-lm
//! computes it (same operations, same order, same number formats, compiled where it compiles: `fused`), `kv` keeps keys and values, [`MlxBackend`] is what the
//! rest of the engine sees. `group` adds up what several hosts have computed of one layer.
//!
//! All tokens of a step, whoever they belong to, are rows of one matrix, so that every weight is read once for all of
//! them; attention alone is computed sequence by sequence. MLX picks its kernels by the number of rows, and they round
//! differently: the logits of a sequence may differ in their last bits with its company.
//!
//! One thread owns every array: a backend is built, used and dropped there (a debug assertion watches it).

mod arrays;
mod attention;
mod backend;
mod draw;
mod experts;
mod fused;
mod group;
mod kv;
mod kv_image;
mod memory;
mod model;

pub use backend::{MlxBackend, MlxOptions, Part};
pub use group::{Group, Link};

use mlx_rs::error::Exception;

/// What MLX answers.
type Result<T> = std::result::Result<T, Exception>;

/// A length or an index as MLX has them. The config bounds every one of them far below 2^31.
fn int(number: usize) -> i32 {
    i32::try_from(number).expect("lengths are bounded by the config")
}
