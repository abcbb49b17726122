//! macOS: the kernel's own figures by name, and what a library reads from its virtual-memory statistics.
//!
//! Source: sysctl(3); `iogpu.wired_limit_mb` is 0 as long as nobody has set it, and the system's own limit is then two
//! thirds of the memory, or three quarters of more than 36 GiB (what Metal gives as recommended working set).
#![allow(unsafe_code)]

use super::super::facts::{MemoryFacts, Pressure};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::{Mutex, OnceLock, PoisonError};
use sysinfo::{MemoryRefreshKind, System};

pub(super) fn read() -> MemoryFacts {
    let total_bytes = number::<u64>(c"hw.memsize");
    MemoryFacts {
        total_bytes,
        available_bytes: available_bytes(),
        cgroups: Vec::new(),
        accelerator_bytes: total_bytes.map(working_set_bytes),
        pressure: Pressure {
            kernel_level: number::<u32>(c"kern.memorystatus_vm_pressure_level"),
            ..Pressure::default()
        },
    }
}

fn working_set_bytes(total_bytes: u64) -> u64 {
    const LARGE_BYTES: u64 = 36 << 30;
    match number::<u32>(c"iogpu.wired_limit_mb") {
        Some(mebibytes @ 1..) => u64::from(mebibytes) << 20,
        _ if total_bytes > LARGE_BYTES => total_bytes / 4 * 3,
        _ => total_bytes / 3 * 2,
    }
}

/// A figure of the kernel's, if it has one of this name and size.
fn number<N: Copy + Default>(name: &CStr) -> Option<N> {
    let mut value = MaybeUninit::<N>::zeroed();
    let mut length = size_of::<N>();
    // SAFETY: `name` ends with a zero byte; the kernel writes at most `length` bytes to `value`, which has so many,
    // and says in `length` how many it wrote.
    let status = unsafe {
        libc::sysctlbyname(name.as_ptr(), value.as_mut_ptr().cast(), &raw mut length, std::ptr::null_mut(), 0)
    };
    // SAFETY: it was zeroed, and every bit pattern is an integer; only integers are asked for.
    (status == 0 && length == size_of::<N>()).then(|| unsafe { value.assume_init() })
}

fn available_bytes() -> Option<u64> {
    // One for the whole process: each takes a port of the kernel's.
    static SYSTEM: OnceLock<Option<Mutex<System>>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| System::new().ok().map(Mutex::new)).as_ref()?;
    let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    // What the library calls available counts the pages that programs work with, because they could be compressed.
    // Free for use without that is everything but applications, wired and compressed memory, as on Linux.
    (system.total_memory() > 0).then(|| system.total_memory().saturating_sub(system.used_memory()))
}
