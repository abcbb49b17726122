//! Everything above a backend: sampling, budgets, cancellation, events.

mod admission;
mod ahead;
mod answer;
mod choice;
mod clock;
mod counters;
mod decoding;
mod disk;
mod engine;
mod load;
mod logprobs;
mod loop_guard;
mod plan;
mod prefill_budget;
mod prefix_cache;
mod random;
mod reuse;
mod sampler;
mod seam;
mod speed;
mod stepping;

pub use choice::{BackendChoice, DeviceChoice, MlxLimits};
pub use disk::PrefixCacheDisk;
pub use engine::{Engine, EngineConfig};
pub use load::{EngineOptions, load};
pub(crate) use random::Random;
