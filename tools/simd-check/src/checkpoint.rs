//! Views of tensors.

#[path = "../../../crates/engine/src/checkpoint/tensor.rs"]
mod tensor;

pub use tensor::{Bytes, FloatType, Linear, Matrix, MatrixData, TensorBytes};
