//! What the system says of its memory.

use super::system;

/// The memory of this machine and of the groups that this process is in. What nobody knows is `None` or absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryFacts {
    /// Memory of the machine.
    pub total_bytes: Option<u64>,
    /// Memory that programs can have without swapping, caches of files included.
    pub available_bytes: Option<u64>,
    /// Groups with a limit, from this process's own to the outermost.
    pub cgroups: Vec<CgroupMemory>,
    /// What the accelerator may keep resident (macOS); `None` where it shares nothing with the processor.
    pub accelerator_bytes: Option<u64>,
    /// How much programs wait for memory.
    pub pressure: Pressure,
}

/// One group with a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Its directory.
    pub path: String,
    /// The most that it may use.
    pub limit_bytes: u64,
    /// What it uses, without caches of files, which are given up when something else needs the room.
    pub used_bytes: u64,
}

impl CgroupMemory {
    /// What may still be used.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// How much programs wait for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Percent of the last ten seconds in which somebody waited (Linux).
    pub some_percent: Option<f64>,
    /// Percent of the last ten seconds in which everybody waited (Linux).
    pub full_percent: Option<f64>,
    /// The kernel's own word (macOS): 1 is normal, 2 a warning, 4 critical.
    pub kernel_level: Option<u32>,
}

impl MemoryFacts {
    /// Asks the system, which takes well under a millisecond.
    pub fn read() -> Self {
        system::read()
    }

    /// What can be had now: of the machine, and of every group.
    pub fn free_bytes(&self) -> Option<u64> {
        let groups = self.cgroups.iter().map(CgroupMemory::free_bytes);
        self.available_bytes.into_iter().chain(groups).min()
    }

    /// The most that this process could ever have: the machine's memory or the narrowest group's limit.
    pub fn ceiling_bytes(&self) -> Option<u64> {
        self.total_bytes.into_iter().chain(self.cgroups.iter().map(|group| group.limit_bytes)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_place_counts() {
        let group = |limit_bytes, used_bytes| CgroupMemory { path: "g".into(), limit_bytes, used_bytes };
        let mut facts = MemoryFacts {
            total_bytes: Some(100),
            available_bytes: Some(50),
            cgroups: vec![group(90, 20), group(60, 30)],
            ..MemoryFacts::default()
        };
        assert_eq!((facts.free_bytes(), facts.ceiling_bytes()), (Some(30), Some(60)));
        facts.cgroups.push(group(10, 20));
        assert_eq!(facts.free_bytes(), Some(0), "over its limit");
        assert_eq!(MemoryFacts::default().free_bytes(), None);
    }
}
