//! How each system is asked.

#[cfg(any(target_os = "linux", test))]
#[path = "linux.rs"]
mod linux;

#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod macos;

use super::MemoryFacts;

#[cfg(target_os = "linux")]
pub(super) fn read() -> MemoryFacts {
    linux::read(std::path::Path::new("/"))
}

#[cfg(target_os = "macos")]
pub(super) fn read() -> MemoryFacts {
    macos::read()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(super) fn read() -> MemoryFacts {
    MemoryFacts::default()
}
