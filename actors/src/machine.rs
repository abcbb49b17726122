//! What can be said of the machine that the daemon runs on.

use boca_core::Surroundings;
use std::sync::OnceLock;

/// The machine, with what computes the engine.
pub(crate) fn surroundings(backend: Option<String>) -> Surroundings {
    static MEMORY: OnceLock<Option<u64>> = OnceLock::new();
    Surroundings {
        system: std::env::consts::OS.into(),
        processor: std::env::consts::ARCH.into(),
        memory_bytes: *MEMORY.get_or_init(memory_bytes),
        backend,
    }
}

#[cfg(target_os = "linux")]
fn memory_bytes() -> Option<u64> {
    total_of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The system's own tool: asking the kernel directly would need unsafe code.
#[cfg(target_os = "macos")]
fn memory_bytes() -> Option<u64> {
    let told = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(told.stdout).ok()?.trim().parse().ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn memory_bytes() -> Option<u64> {
    None
}

/// Source: proc_meminfo(5); its kB are 1024 bytes.
#[cfg(any(target_os = "linux", test))]
fn total_of_meminfo(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_and_nonsense_is_not() {
        let meminfo = "MemTotal:       32795752 kB\nMemFree:        1000 kB\n";
        assert_eq!(total_of_meminfo(meminfo), Some(32_795_752 * 1024));
        for nonsense in ["", "MemTotal: much", "MemTotal: 1 GB", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(total_of_meminfo(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        let here = surroundings(Some("cpu".into()));
        assert_eq!(here.system, std::env::consts::OS);
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        assert!(here.memory_bytes.is_some_and(|bytes| bytes > 1 << 28));
    }
}
