//! What can be said of the machine that the daemon runs on.

use crate::memory;
use boca_core::Surroundings;
use std::sync::OnceLock;

/// The machine, with what computes the engine.
pub(crate) fn surroundings(backend: Option<String>) -> Surroundings {
    static MEMORY: OnceLock<Option<u64>> = OnceLock::new();
    Surroundings {
        system: std::env::consts::OS.into(),
        processor: std::env::consts::ARCH.into(),
        memory_bytes: *MEMORY.get_or_init(memory::total_bytes),
        backend,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let here = surroundings(Some("cpu".into()));
        assert_eq!(here.system, std::env::consts::OS);
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        assert!(here.memory_bytes.is_some_and(|bytes| bytes > 1 << 28));
    }
}
