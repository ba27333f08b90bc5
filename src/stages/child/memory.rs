//! How much memory this process may have.

use std::fs;
use std::path::Path;

/// Returns the memory that this process may have: that of its machine, or of the control group that it is in, as a container's
/// or a job's; `None` where nobody says.
#[must_use]
pub fn memory_of_this_process() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    [
        of_machine(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        of_groups(&groups, Path::new("/sys/fs/cgroup")),
    ]
    .into_iter()
    .flatten()
    .min()
}

/// Reads `MemTotal` of `/proc/meminfo`, which is in KiB (proc(5)).
fn of_machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads the least limit of the group and of those that it is in (cgroups(7)), of either version.
fn of_groups(groups: &str, mounted: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some((mounted.to_owned(), "memory.max", group)),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some((mounted.join("memory"), "memory.limit_in_bytes", group))
            }
            _ => None,
        }
    });
    let least = |(root, file, group): (std::path::PathBuf, &str, &str)| {
        let folder = root.join(group.trim_start_matches('/'));
        // In a container the path is that of the host, and its own group is at the root.
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(&root));
        folders
            .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok())
            .min()
    };
    limits.filter_map(least).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_groups_counts() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = mounted.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("job/task/memory.max", "max\n");
        write("job/memory.max", "2147483648\n");
        write("memory/job/memory.limit_in_bytes", "1073741824\n");
        let of = |groups: &str| of_groups(groups, mounted.path());
        assert_eq!(of("0::/job/task\n"), Some(2 << 30));
        assert_eq!(of("0::/\n"), None, "nothing is limited");
        assert_eq!(of("5:cpu,memory:/job\n0::/job\n"), Some(1 << 30));
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn a_machine_has_what_it_says() {
        assert_eq!(of_machine("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(of_machine(""), None);
        assert!(!cfg!(target_os = "linux") || memory_of_this_process().is_some());
    }
}
