//! Systems of every kind, as files in a directory.

use super::*;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const MEMINFO: &str = "MemTotal:       32768 kB\nMemFree:         1000 kB\nMemAvailable:   16384 kB\n";
const V2_MOUNT: &str = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";

struct System(TempDir);

impl System {
    fn new(mounts: &str, cgroup: &str) -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        new.write("proc/meminfo", MEMINFO);
        new.write("proc/self/mountinfo", mounts);
        new.write("proc/self/cgroup", cgroup);
        new
    }

    fn write(&self, path: &str, content: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn v2_group(&self, path: &str, max: &str, current: u64, file: u64) -> &Self {
        self.write(&format!("{path}/memory.max"), max)
            .write(&format!("{path}/memory.current"), &format!("{current}\n"))
            .write(
                &format!("{path}/memory.stat"),
                &format!("anon 5\ninactive_file {file}\nactive_file 1\nfile 9\n"),
            )
    }

    fn v1_group(&self, path: &str, limit: u64, usage: u64, above: u64) -> &Self {
        let stat = format!(
            "cache 7\ninactive_file 3\nhierarchical_memory_limit {above}\ntotal_inactive_file 10\ntotal_active_file 20\n"
        );
        self.write(&format!("{path}/memory.limit_in_bytes"), &limit.to_string())
            .write(&format!("{path}/memory.usage_in_bytes"), &usage.to_string())
            .write(&format!("{path}/memory.stat"), &stat)
    }

    fn read(&self) -> MemoryFacts {
        read(self.0.path())
    }

    fn limits(&self) -> Vec<(u64, u64)> {
        self.read().cgroups.iter().map(|group| (group.limit_bytes, group.used_bytes)).collect()
    }
}

#[test]
fn every_level_of_version_2_counts() {
    let system = System::new(V2_MOUNT, "0::/user.slice/boca.service\n");
    system
        .v2_group("sys/fs/cgroup/user.slice/boca.service", "8388608\n", 3 * MIB, MIB - 1)
        .v2_group("sys/fs/cgroup/user.slice", "max\n", 90 * MIB, 0)
        .write("sys/fs/cgroup/memory.stat", "anon 1\n");
    assert_eq!(system.limits(), [(8 * MIB, 2 * MIB)]);
    assert_eq!(system.read().free_bytes(), Some(6 * MIB));
    // A narrower one above is found too, and one that slows the group down.
    system.v2_group("sys/fs/cgroup/user.slice", "max\n", 4 * MIB, MIB - 1);
    system.write("sys/fs/cgroup/user.slice/memory.high", "5242880\n");
    assert_eq!(system.limits(), [(8 * MIB, 2 * MIB), (5 * MIB, 3 * MIB)]);
    assert_eq!(system.read().free_bytes(), Some(2 * MIB));
}

#[test]
fn without_a_limit_the_machine_alone_counts() {
    let system = System::new(V2_MOUNT, "0::/a\n");
    system.v2_group("sys/fs/cgroup/a", "max\n", MIB, 0);
    let facts = system.read();
    assert_eq!(facts.cgroups, []);
    assert_eq!((facts.total_bytes, facts.free_bytes()), (Some(32 * MIB), Some(16 * MIB)));
    let v1 = System::new(V1_MOUNT, "4:memory:/a\n");
    v1.v1_group("sys/fs/cgroup/memory/a", 9_223_372_036_854_771_712, MIB, 9_223_372_036_854_771_712);
    assert_eq!(v1.limits(), []);
}

#[test]
fn version_1_is_read_and_knows_what_cannot_be_seen_above_it() {
    let system = System::new(V1_MOUNT, "4:cpu,memory:/a/b\n3:cpuset:/\n0::/\n");
    system.v1_group("sys/fs/cgroup/memory/a/b", 9_223_372_036_854_771_712, 3 * MIB + 30, 6 * MIB).v1_group(
        "sys/fs/cgroup/memory/a",
        9 * MIB,
        4 * MIB + 30,
        9_223_372_036_854_771_712,
    );
    assert_eq!(system.limits(), [(6 * MIB, 3 * MIB), (9 * MIB, 4 * MIB)]);
}

#[test]
fn of_a_hybrid_system_both_hierarchies_count() {
    let unified = V2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ");
    let system = System::new(&(V1_MOUNT.to_owned() + &unified), "4:memory:/a\n0::/u\n");
    system.v1_group("sys/fs/cgroup/memory/a", 7 * MIB, MIB + 30, u64::MAX / 2).v2_group(
        "sys/fs/cgroup/unified/u",
        "9437184",
        MIB,
        0,
    );
    assert_eq!(system.limits(), [(7 * MIB, MIB), (9 * MIB, MIB - 1)]);
}

#[test]
fn a_container_sees_its_own_group_as_the_mount() {
    let mount = V1_MOUNT.replace("0:32 / ", "0:32 /docker/abc ");
    let inside = System::new(&mount, "4:memory:/docker/abc/inner\n");
    inside.v1_group("sys/fs/cgroup/memory/inner", 5 * MIB, 30, u64::MAX / 2);
    assert_eq!(inside.limits(), [(5 * MIB, 0)]);
    // A process whose group lies elsewhere, and one that its namespace shows from within.
    for cgroup in ["4:memory:/docker/abcdef\n", "4:memory:/../other\n", "4:memory:/\n"] {
        let system = System::new(&mount, cgroup);
        system.v1_group("sys/fs/cgroup/memory", 4 * MIB, 30, u64::MAX / 2);
        assert_eq!(system.limits(), [(4 * MIB, 0)], "{cgroup}");
    }
}

#[test]
fn blanks_in_a_mount_point_are_understood() {
    let system = System::new(&V2_MOUNT.replace("/sys/fs/cgroup ", "/a\\040b "), "0::/x y\n");
    system.v2_group("a b/x y", "3145728", 2 * MIB, MIB);
    assert_eq!(system.limits(), [(3 * MIB, MIB - 1)]);
}

#[test]
fn nonsense_is_nothing() {
    let system = System::new("", "");
    assert_eq!(system.limits(), []);
    for cgroup in ["garbage", "0::", ":::::", "x:memory", "0::/../../..", "4:memory:\u{0}"] {
        for mounts in ["garbage", " - cgroup2", "1 2 3 - cgroup2 x y", V2_MOUNT] {
            let system = System::new(mounts, cgroup);
            system.v2_group("sys/fs/cgroup", "lots", MIB, 0);
            assert_eq!(system.limits(), [], "{cgroup:?} {mounts:?}");
        }
    }
    let system = System::new(V2_MOUNT, "0::/\n");
    system.v2_group("sys/fs/cgroup", "-5", MIB, 0);
    system.write("proc/meminfo", "MemTotal: much\nMemAvailable: 99999999999999999999 kB\n");
    system.write("proc/pressure/memory", "some avg10=NaN\nfull avg10=-3\n");
    assert_eq!(system.read(), MemoryFacts::default());
    assert_eq!(read(Path::new("/nowhere/at/all")), MemoryFacts::default());
}

#[test]
fn the_pressure_of_the_own_group_counts_more_than_the_machines() {
    let system = System::new(V2_MOUNT, "0::/a\n");
    system
        .write("proc/pressure/memory", "some avg10=1.50 avg60=0 avg300=0 total=1\nfull avg10=0.25 avg60=0\n");
    assert_eq!(
        system.read().pressure,
        Pressure { some_percent: Some(1.5), full_percent: Some(0.25), kernel_level: None }
    );
    system.v2_group("sys/fs/cgroup/a", "8388608", 0, 0);
    system.write("sys/fs/cgroup/a/memory.pressure", "some avg10=40.00 avg60=0 avg300=0 total=1\n");
    assert_eq!(system.read().pressure.some_percent, Some(40.0));
}

#[test]
#[cfg(target_os = "linux")]
fn this_machine_is_known() {
    let facts = MemoryFacts::read();
    let (total, free) = (facts.total_bytes.unwrap(), facts.free_bytes().unwrap());
    assert!(total > 1 << 28 && free > 0 && free <= total, "{facts:?}");
}
