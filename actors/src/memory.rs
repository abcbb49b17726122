//! The memory of the machine, and how much of it is free for use.

/// With less than this a generation would push the machine into swapping.
const LEAST_BYTES: u64 = 256 << 20;

/// Memory of the machine; `None` where nobody knows.
pub(crate) fn total_bytes() -> Option<u64> {
    system::total_bytes()
}

/// Memory that is free for use now; `None` where nobody knows. Asks the kernel, which takes microseconds.
pub(crate) fn available_bytes() -> Option<u64> {
    system::available_bytes()
}

/// Whether so little is free that routing avoids the engine, where somebody else can answer.
pub(crate) fn is_short(available_bytes: Option<u64>) -> bool {
    available_bytes.is_some_and(|bytes| bytes < LEAST_BYTES)
}

#[cfg(target_os = "linux")]
mod system {
    pub(super) fn total_bytes() -> Option<u64> {
        super::bytes_of_meminfo(&meminfo()?, "MemTotal:")
    }

    pub(super) fn available_bytes() -> Option<u64> {
        super::bytes_of_meminfo(&meminfo()?, "MemAvailable:")
    }

    fn meminfo() -> Option<String> {
        std::fs::read_to_string("/proc/meminfo").ok()
    }
}

/// A library asks the kernel: its calls would need unsafe code of our own.
#[cfg(target_os = "macos")]
mod system {
    use std::sync::{Mutex, OnceLock, PoisonError};
    use sysinfo::{MemoryRefreshKind, System};

    pub(super) fn total_bytes() -> Option<u64> {
        look(System::total_memory)
    }

    pub(super) fn available_bytes() -> Option<u64> {
        // What the library calls available counts the pages that programs work with, because they could be compressed.
        // Free for use without that is everything but applications, wired and compressed memory, as on Linux.
        look(|system| system.total_memory().saturating_sub(system.used_memory()))
    }

    /// It says 0 where the kernel says nothing.
    fn look(figure: fn(&System) -> u64) -> Option<u64> {
        // One for the whole process: each takes a port of the kernel's.
        static SYSTEM: OnceLock<Option<Mutex<System>>> = OnceLock::new();
        let system = SYSTEM.get_or_init(|| System::new().ok().map(Mutex::new)).as_ref()?;
        let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        (system.total_memory() > 0).then(|| figure(&system))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod system {
    pub(super) fn total_bytes() -> Option<u64> {
        None
    }

    pub(super) fn available_bytes() -> Option<u64> {
        None
    }
}

/// Source: proc_meminfo(5); its kB are 1024 bytes.
#[cfg(any(target_os = "linux", test))]
fn bytes_of_meminfo(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_nonsense_is_not() {
        let meminfo = "MemTotal:       32795752 kB\nMemFree:        1000 kB\nMemAvailable:     200000 kB\n";
        assert_eq!(bytes_of_meminfo(meminfo, "MemTotal:"), Some(32_795_752 * 1024));
        let available = bytes_of_meminfo(meminfo, "MemAvailable:");
        assert_eq!(available, Some(200_000 * 1024));
        assert!(is_short(available) && !is_short(Some(LEAST_BYTES)) && !is_short(None));
        for nonsense in ["", "MemTotal: much", "MemTotal: 1 GB", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(bytes_of_meminfo(nonsense, "MemTotal:"), None, "{nonsense}");
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn the_memory_of_this_machine_is_known() {
        let (total, available) = (total_bytes().unwrap(), available_bytes().unwrap());
        assert!(total > 1 << 28 && available > 0 && available <= total, "{available} of {total}");
    }
}
