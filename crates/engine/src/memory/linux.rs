//! Linux: `/proc/meminfo`, pressure stall information, and every memory cgroup of this process, of either version.
//!
//! Source: proc_meminfo(5), proc_pid_mountinfo(5), cgroups(7), and the kernel's documents `cgroup-v1/memory`,
//! `cgroup-v2` and `accounting/psi`.

use super::super::facts::{CgroupMemory, MemoryFacts, Pressure};
use std::fs;
use std::path::{Path, PathBuf};

/// A limit of this size or more is none: version 1 writes the largest multiple of a page.
const NO_LIMIT_BYTES: u64 = 1 << 60;
/// No hierarchy is deeper; a path from outside cannot make us walk for ever.
const MOST_LEVELS: usize = 64;

/// Reads the files of a system that lies in `root`.
pub(super) fn read(root: &Path) -> MemoryFacts {
    let meminfo = text(&root.join("proc/meminfo")).unwrap_or_default();
    let groups = groups(root);
    let pressure = groups
        .iter()
        .find_map(|group| group.pressure())
        .or_else(|| text(&root.join("proc/pressure/memory")).and_then(|text| pressure_of(&text)));
    MemoryFacts {
        total_bytes: meminfo_bytes(&meminfo, "MemTotal:"),
        available_bytes: meminfo_bytes(&meminfo, "MemAvailable:"),
        cgroups: groups.iter().filter_map(Group::memory).collect(),
        accelerator_bytes: None,
        pressure: pressure.unwrap_or_default(),
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Its kB are 1024 bytes.
fn meminfo_bytes(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// One level of a hierarchy.
struct Group {
    directory: PathBuf,
    is_v2: bool,
}

impl Group {
    fn number(&self, file: &str) -> Option<u64> {
        // Version 2 writes `max` for no limit, which is no number.
        let number = text(&self.directory.join(file))?.trim().parse().ok()?;
        (number < NO_LIMIT_BYTES).then_some(number)
    }

    fn stat(&self, stat: &str, field: &str) -> u64 {
        let value = stat.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    fn memory(&self) -> Option<CgroupMemory> {
        let stat = text(&self.directory.join("memory.stat")).unwrap_or_default();
        let (limit_bytes, used, caches) = if self.is_v2 {
            // Above `high` a group is slowed down so much that it is a limit to us.
            let limit = self.number("memory.max").into_iter().chain(self.number("memory.high")).min()?;
            (limit, self.number("memory.current")?, ["inactive_file", "active_file"])
        } else {
            // What a level above allows that cannot be seen from here.
            let above = self.stat(&stat, "hierarchical_memory_limit");
            let above = (1..NO_LIMIT_BYTES).contains(&above).then_some(above);
            let limit = self.number("memory.limit_in_bytes").into_iter().chain(above).min()?;
            (limit, self.number("memory.usage_in_bytes")?, ["total_inactive_file", "total_active_file"])
        };
        let caches: u64 =
            caches.into_iter().map(|field| self.stat(&stat, field)).fold(0, u64::saturating_add);
        let path = self.directory.display().to_string();
        Some(CgroupMemory { path, limit_bytes, used_bytes: used.saturating_sub(caches) })
    }

    fn pressure(&self) -> Option<Pressure> {
        // Of the root group it is the machine's, which is read elsewhere.
        self.number("memory.max").filter(|_| self.is_v2)?;
        pressure_of(&text(&self.directory.join("memory.pressure"))?)
    }
}

/// Where a hierarchy is mounted.
struct Mount {
    /// The group that the mount shows.
    group: String,
    directory: PathBuf,
    is_v2: bool,
}

/// Every level of every memory hierarchy, each from this process's own group upwards.
fn groups(root: &Path) -> Vec<Group> {
    let mounts = mounts(root, &text(&root.join("proc/self/mountinfo")).unwrap_or_default());
    let own = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let is_v2 = controllers.is_empty();
        if !is_v2 && !controllers.split(',').any(|controller| controller == "memory") {
            continue;
        }
        let mount = mounts.iter().filter(|mount| mount.is_v2 == is_v2).max_by_key(|mount| {
            // Of several mounts the one that shows this group most closely.
            below(path, &mount.group).map(|_| mount.group.len())
        });
        if let Some(mount) = mount {
            // A group outside of what is mounted is seen as the mount's own (containers).
            let inner = below(path, &mount.group).unwrap_or("");
            groups.extend(levels(mount, inner));
        }
    }
    groups
}

/// What is left of a group's path below another group.
fn below<'a>(path: &'a str, group: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(group.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/'))
}

fn levels(mount: &Mount, inner: &str) -> Vec<Group> {
    let parts: Vec<&str> = inner.split('/').filter(|part| !part.is_empty()).collect();
    // A namespace writes `..` for what lies outside of it.
    let parts = if parts.contains(&"..") { &[][..] } else { &parts[..parts.len().min(MOST_LEVELS)] };
    (0..=parts.len())
        .rev()
        .map(|depth| Group {
            directory: parts[..depth].iter().fold(mount.directory.clone(), |path, part| path.join(part)),
            is_v2: mount.is_v2,
        })
        .collect()
}

fn mounts(root: &Path, mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(|line| mount(root, line)).collect()
}

/// `36 35 98:0 ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE SOURCE SUPER_OPTIONS`
fn mount(root: &Path, line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let is_v2 = match kind.next()? {
        "cgroup2" => true,
        "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => false,
        _ => return None,
    };
    let mut place = place.split(' ').skip(3);
    let (group, mountpoint) = (unescaped(place.next()?), unescaped(place.next()?));
    Some(Mount { group, directory: root.join(mountpoint.trim_start_matches('/')), is_v2 })
}

/// Blanks in paths are written in octal.
fn unescaped(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// `some avg10=0.12 avg60=… avg300=… total=…`
fn pressure_of(text: &str) -> Option<Pressure> {
    let percent = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let average: f64 = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
        (0.0..=100.0).contains(&average).then_some(average)
    };
    let (some_percent, full_percent) = (percent("some"), percent("full"));
    some_percent.or(full_percent).map(|_| Pressure { some_percent, full_percent, kernel_level: None })
}

#[cfg(test)]
#[path = "linux_tests.rs"]
mod tests;
