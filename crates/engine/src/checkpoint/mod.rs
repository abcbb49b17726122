//! Opening a checkpoint: every file is read and checked before any weight is touched.

mod config;
mod tensor;
mod weights;

pub use config::ModelConfig;
pub use tensor::{Bytes, FloatType, Linear, Matrix, MatrixData, TensorBytes};
pub use weights::{AttentionWeights, GatedMlp, LayerWeights, MlpWeights, MoeWeights, Weights};

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {}
