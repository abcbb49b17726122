//! How much memory of the machine is free for use.

/// With less than this a generation would push the machine into swapping.
const LEAST_BYTES: u64 = 256 << 20;

/// Memory that is free for use now; `None` where nobody knows. Reads a file of the kernel's, which takes microseconds.
#[cfg(target_os = "linux")]
pub(crate) fn available_bytes() -> Option<u64> {
    available_of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// Elsewhere only unsafe calls or the start of a process could tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn available_bytes() -> Option<u64> {
    None
}

/// Whether so little is free that routing avoids the engine, where somebody else can answer.
pub(crate) fn is_short(available_bytes: Option<u64>) -> bool {
    available_bytes.is_some_and(|bytes| bytes < LEAST_BYTES)
}

/// Source: proc_meminfo(5); its kB are 1024 bytes.
#[cfg(any(target_os = "linux", test))]
fn available_of_meminfo(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_and_nonsense_is_not() {
        let meminfo = "MemTotal:       32795752 kB\nMemFree:        1000 kB\nMemAvailable:     200000 kB\n";
        assert_eq!(available_of_meminfo(meminfo), Some(200_000 * 1024));
        assert!(is_short(available_of_meminfo(meminfo)) && !is_short(Some(LEAST_BYTES)) && !is_short(None));
        for nonsense in ["", "MemAvailable: much", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(available_of_meminfo(nonsense), None, "{nonsense}");
        }
    }
}
