//! Whether so little memory is free that somebody else should answer.

use boca_engine::memory::MemoryFacts;

/// With less than this a generation would push the machine into swapping.
const LEAST_BYTES: u64 = 256 << 20;

/// Memory of the machine; `None` where nobody knows.
pub(crate) fn total_bytes() -> Option<u64> {
    MemoryFacts::read().total_bytes
}

/// Memory that is free for use now, in this process's groups too; `None` where nobody knows. Asks the kernel, which
/// takes microseconds.
pub(crate) fn available_bytes() -> Option<u64> {
    MemoryFacts::read().free_bytes()
}

/// Whether so little is free that routing avoids the engine, where somebody else can answer.
pub(crate) fn is_short(available_bytes: Option<u64>) -> bool {
    available_bytes.is_some_and(|bytes| bytes < LEAST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_not_short() {
        assert!(is_short(Some(LEAST_BYTES - 1)) && !is_short(Some(LEAST_BYTES)) && !is_short(None));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn the_memory_of_this_machine_is_known() {
        let (total, available) = (total_bytes().unwrap(), available_bytes().unwrap());
        assert!(total > 1 << 28 && available > 0 && available <= total, "{available} of {total}");
    }
}
