//! The memory of the job's own control group, where it has one.
//!
//! A cluster puts each step into a group of its own. Where the agent's group holds the agent and the job's processes and nothing
//! else, the group's numbers are the job's, and what its processes share counts once. Only version 2 is read ([cgroup-v2]).
//!
//! [cgroup-v2]: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The agent's control group.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Group {
    /// `None` on a machine without version 2, and for the group of the whole machine.
    pub(super) fn find() -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own_group(&groups)?;
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .iter()
            .map(|root| Path::new(root).join(own))
            .find(|folder| folder.join("memory.stat").exists())
            .map(|folder| Group { folder })
    }

    /// The bytes of memory that can't be dropped, if the group holds nothing but these processes.
    pub(super) fn memory(&self, processes: &HashSet<i32>) -> Option<u64> {
        let inside = fs::read_to_string(self.folder.join("cgroup.procs")).ok()?;
        let ours = inside
            .lines()
            .all(|line| line.parse().is_ok_and(|pid| processes.contains(&pid)));
        // Processes of groups below it stand in their own lists.
        let entries = fs::read_dir(&self.folder).ok()?;
        let mut entries = entries.flatten();
        if !ours || entries.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            return None;
        }
        let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        needed(&stat)
    }
}

/// The path of version 2 below the root, from the lines `hierarchy:controllers:path`.
fn own_group(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.is_empty()).then_some(path)
}

/// What programs have asked for and what the kernel holds for them; not the cache of files.
fn needed(stat: &str) -> Option<u64> {
    let value = |name: &str| {
        stat.lines().find_map(|line| {
            let (found, value) = line.split_once(' ')?;
            (found == name).then(|| value.parse::<u64>().ok())?
        })
    };
    let kernel = ["shmem", "kernel_stack", "pagetables", "slab_unreclaimable"];
    let kernel: u64 = kernel.iter().filter_map(|name| value(name)).sum();
    Some(value("anon")? + kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_of_the_job_alone_counts() {
        let folder = std::env::temp_dir().join(format!("mizzen-group-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "12\n7\n").unwrap();
        let stat = "anon 1000\nfile 5000\nkernel_stack 10\npagetables 20\nshmem 300\nslab_unreclaimable 4\nanon_thp 9\n";
        fs::write(folder.join("memory.stat"), stat).unwrap();
        let group = Group {
            folder: folder.clone(),
        };
        assert_eq!(group.memory(&HashSet::from([7, 12, 13])), Some(1334));
        assert_eq!(group.memory(&HashSet::from([7])), None);
        fs::create_dir(folder.join("below")).unwrap();
        assert_eq!(group.memory(&HashSet::from([7, 12])), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_machines_group_is_nobodys() {
        assert_eq!(own_group("4:memory:/a\n0::/\n"), None);
        assert_eq!(own_group("0::/job_7/step_0\n"), Some("job_7/step_0"));
        assert_eq!(own_group(""), None);
    }
}
