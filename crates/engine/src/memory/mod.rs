//! Memory: what a model takes, what is free, and whether the one fits the other.
//!
//! [`MemoryFacts::read`] asks the system; everything else is arithmetic over what it said.

mod estimate;
mod facts;
mod room;
mod system;

#[cfg(any(target_os = "macos", feature = "mlx"))]
pub(crate) use estimate::{MLX_KV_GRANULE_TOKENS, mlx_kv_group_size};
pub use estimate::{ModelNeeds, kv_bytes_per_token, scratch_bytes};
pub use facts::{CgroupMemory, MemoryFacts, Pressure};
pub use room::{MemoryPlan, MemoryShort, MemoryWishes, Placement, plan_memory};
