//! Control groups of the tests' own, version 1 or 2, as a container has them. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/sys/fs/cgroup";
/// The kernel's default period of a CPU quota, in microseconds.
const PERIOD: u64 = 100_000;

/// A group with limits. Removed when dropped; its processes have to be gone by then.
#[derive(Debug)]
pub struct Cgroup {
    /// One folder, or one per controller with version 1.
    folders: Vec<PathBuf>,
    version_2: bool,
}

impl Cgroup {
    /// A group whose processes may use so many bytes of memory and so many CPUs together.
    ///
    /// # Panics
    /// Without root, or where the system lets nobody make groups.
    #[track_caller]
    pub fn new(memory: u64, cpus: u64) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-test-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let root = Path::new(ROOT);
        let version_2 = root.join("cgroup.controllers").exists();
        let folders: Vec<_> = if version_2 { vec![root.join(name)] } else { ["memory", "cpu"].map(|c| root.join(c).join(&name)).into() };
        for folder in &folders {
            fs::create_dir(folder).unwrap_or_else(|e| panic!("no control group at {}: {e}", folder.display()));
        }
        let group = Self { folders, version_2 };
        if version_2 {
            group.set("memory.max", &memory.to_string());
            group.set("cpu.max", &format!("{} {PERIOD}", cpus * PERIOD));
        } else {
            group.set("memory.limit_in_bytes", &memory.to_string());
            group.set("cpu.cfs_period_us", &PERIOD.to_string());
            group.set("cpu.cfs_quota_us", &(cpus * PERIOD).to_string());
        }
        group
    }

    /// The files that a process writes its pid into to join.
    pub fn joined_by(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn killed(&self) -> u64 {
        let file = if self.version_2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folders[0].join(file)).expect("the group's events");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).expect("a count of kills");
        line.trim().parse().expect("a number")
    }

    #[track_caller]
    fn set(&self, file: &str, value: &str) {
        let path = self.folders.iter().map(|folder| folder.join(file)).find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("the system has no {file}"));
        fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Only a process that outlived its test keeps it.
            let _ = fs::remove_dir(folder);
        }
    }
}
