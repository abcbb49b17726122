//! Everything above a backend: sampling, budgets, cancellation, events.

mod decoding;
mod engine;
mod load;
mod logprobs;
mod random;
mod sampler;
mod seam;
mod speed;

pub use engine::{Engine, EngineConfig};
pub use load::{EngineOptions, load};
