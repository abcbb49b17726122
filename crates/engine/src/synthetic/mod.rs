//! Checkpoints of random weights, for benchmarks and tests: the architecture, the layout and (unless they are tiny)
//! the dimensions of GLM-4.5-Air, and an answer that means nothing.
//!
//! Everything in them follows from the seed. A tensor's numbers depend on its own name alone, so they are the same
//! however the tensors are spread over files and threads.

mod error;
mod shape;
mod shards;
mod tokenizer;
mod values;
mod write;

pub use error::SyntheticError;
pub use shape::{SyntheticShape, TensorSpec};
pub use write::{SyntheticCheckpoint, Written};
