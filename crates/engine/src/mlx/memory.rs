//! MLX's memory, which all of a process share.

use super::Result;
use crate::generate::MlxLimits;
use boca_core::AcceleratorMemory;
use mlx_rs::memory;

/// Freed buffers that are kept to be used again, where nobody says how many: enough for the buffers of a step.
const DEFAULT_CACHE_BYTES: usize = 2 << 30;

/// Sets the bounds. Wired memory is left alone where nobody asks for it: raising it while buffers come and go has hung
/// machines (mlx#3186), and here it is set once, before there are any.
pub(super) fn bound(limits: MlxLimits) -> Result<()> {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    memory::set_cache_limit(limits.cache_bytes.map_or(DEFAULT_CACHE_BYTES, bytes))?;
    if let Some(limit) = limits.memory_bytes {
        memory::set_memory_limit(bytes(limit))?;
    }
    if let Some(limit) = limits.wired_bytes {
        memory::set_wired_limit(bytes(limit))?;
    }
    Ok(())
}

/// What it takes now.
pub(super) fn in_use() -> Option<AcceleratorMemory> {
    Some(AcceleratorMemory {
        active_bytes: memory::active_memory().ok()? as u64,
        cache_bytes: memory::cache_memory().ok()? as u64,
        peak_bytes: memory::peak_memory().ok()? as u64,
    })
}

/// Gives freed buffers back.
pub(super) fn give_back() {
    if let Err(error) = memory::clear_cache() {
        tracing::warn!(%error, "MLX does not give buffers back");
    }
}
