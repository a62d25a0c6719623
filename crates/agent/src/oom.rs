//! Tells the kernel's out-of-memory killer from other senders of SIGKILL.
//!
//! The killer leaves no mark on its victim, but it counts in the victim's control group: `oom_kill` in `memory.events`
//! (cgroup v2) or `memory.oom_control` (v1, since Linux 4.13) of [cgroups(7)]. The count goes up before the signal is
//! sent, so it has risen by the time that the end of the rank is seen.
//! In a container `/proc/self/cgroup` may name the group as the machine has it, while what is mounted below `/sys/fs/cgroup` is the
//! container's own: Docker does so with version 1. Where the named group isn't there, the mounted one is it.
//! Pitfall: the control group may hold more than this job; the count is evidence only beside a SIGKILL of our own rank.
//!
//! [cgroups(7)]: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The count of this agent's control group, kept open: it is read once before each job.
#[derive(Debug)]
pub(crate) struct OomCounter(Option<File>);

impl OomCounter {
    /// Finds the control group of this process; a machine without readable ones gives a counter that knows nothing.
    pub(crate) fn find() -> OomCounter {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        OomCounter(
            candidates(&groups)
                .into_iter()
                .find_map(|path| File::open(path).ok()),
        )
    }

    /// How many processes the killer has ended so far; `None` if that isn't known.
    pub(crate) fn read(&self) -> Option<u64> {
        let mut text = [0; 1024];
        let length = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        parse(std::str::from_utf8(&text[..length]).ok()?)
    }
}

/// The files to try, from the lines `hierarchy:controllers:path` of `/proc/self/cgroup`.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        if controllers.is_empty() {
            files.push(PathBuf::from(format!("/sys/fs/cgroup{path}/memory.events")));
            files.push(PathBuf::from(format!(
                "/sys/fs/cgroup/unified{path}/memory.events"
            )));
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            files.push(PathBuf::from(format!(
                "/sys/fs/cgroup/memory{path}/memory.oom_control"
            )));
        }
    }
    let mounted = ["memory/memory.oom_control", "memory.events"];
    files.extend(mounted.map(|file| Path::new("/sys/fs/cgroup").join(file)));
    files
}

fn parse(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_understood() {
        assert_eq!(
            parse("low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 9\n"),
            Some(2)
        );
        assert_eq!(
            parse("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            Some(5)
        );
        assert_eq!(parse("oom_kill_disable 0\n"), None);
        let files = candidates("4:memory:/a:b\n1:cpu:/\n0::/user.slice\nnonsense\n");
        let texts: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
        assert_eq!(
            texts,
            [
                "/sys/fs/cgroup/memory/a:b/memory.oom_control",
                "/sys/fs/cgroup/user.slice/memory.events",
                "/sys/fs/cgroup/unified/user.slice/memory.events",
                "/sys/fs/cgroup/memory/memory.oom_control",
                "/sys/fs/cgroup/memory.events",
            ]
        );
        // Version 2 with a namespace of its own: the container's group is the root that it sees.
        let files = candidates("0::/\n");
        assert_eq!(
            files[0].components().as_path(),
            Path::new("/sys/fs/cgroup/memory.events")
        );
    }
}
