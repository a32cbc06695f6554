//! How much memory there is for a process and for what the system keeps of its files.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of this machine's memory, or the least that a control group around this process allows.
pub fn limit() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram * u64::from(info.mem_unit);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    of_groups(&groups, Path::new("/sys/fs/cgroup")).map_or(machine, |group| group.min(machine))
}

/// `groups` is what `/proc/self/cgroup` says. A container sees its own group as the root, whatever its path here.
fn of_groups(groups: &str, root: &Path) -> Option<u64> {
    let files = |line: &str| -> Option<Vec<PathBuf>> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            of if of.split(',').any(|controller| controller == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        Some(Path::new(path).ancestors().map(|group| root.join(group).join(file)).collect())
    };
    let limit = |file: PathBuf| fs::read_to_string(file).ok()?.trim().parse().ok();
    groups.lines().filter_map(files).flatten().filter_map(limit).min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        put("a/b/memory.max", "max\n");
        put("a/memory.max", "1000\n");
        put("memory/c/memory.limit_in_bytes", "300\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let of = |groups| of_groups(groups, root.path());
        assert_eq!(of("0::/a/b\n"), Some(1000), "of a group above it");
        assert_eq!(of("5:cpu,memory:/c\n4:pids:/a\n"), Some(300), "of the first version");
        assert_eq!(of("5:memory:/elsewhere\n"), Some(9_223_372_036_854_771_712), "a container's own group is the root");
        assert_eq!([of("0::/elsewhere\n"), of("nothing"), of("")], [None; 3]);
        assert!(limit() > 1 << 20);
    }
}
