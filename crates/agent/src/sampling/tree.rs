//! The processes of a job, and what `/proc` says of each.
//!
//! ```text
//! agent ─ children ─▶ ranks, orphans ─ children of each thread ─▶ … ─▶ stat, io, smaps_rollup
//! ```
//!
//! The agent is a subreaper: everything of the job is below it, whatever session or group it fled to. What has ended and was waited for
//! is in the numbers of whoever waited for it, so that the sums over those that are there never lose it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;

use mizzen_agent::process_table::{ProcessStat, pids};

/// No more than so many processes are looked at: beyond that something has gone wild.
const MOST: usize = 20_000;

/// A process of the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// The number of the member that it is counted for.
    pub(super) member: usize,
    /// Processor time, its own and that of its children that have been waited for.
    pub(super) cpu_seconds: f64,
    /// Bytes of its memory that are resident.
    pub(super) resident: u64,
}

/// What a process has read and written, and its children that have been waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Io {
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) disk_read: u64,
    pub(super) disk_written: u64,
}

impl Io {
    pub(super) fn add(&mut self, other: Io) {
        self.read += other.read;
        self.written += other.written;
        self.disk_read += other.disk_read;
        self.disk_written += other.disk_written;
    }

    /// Reads [proc_pid_io(5)]; `None` for another user's process.
    ///
    /// [proc_pid_io(5)]: https://man7.org/linux/man-pages/man5/proc_pid_io.5.html
    pub(super) fn of(pid: i32) -> Option<Io> {
        let mut text = [0; 512];
        Some(Io::parse(read(&format!("/proc/{pid}/io"), &mut text)?))
    }

    fn parse(text: &str) -> Io {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Io {
            read: value("rchar:"),
            written: value("wchar:"),
            disk_read: value("read_bytes:"),
            disk_written: value("write_bytes:"),
        }
    }
}

/// The kernel's units.
#[derive(Debug, Clone, Copy)]
struct Units {
    tick: f64,
    page: u64,
}

/// Looks at processes.
#[derive(Debug)]
pub(super) struct Tree {
    units: Units,
    /// Each thread's children stand in a file.
    has_children_files: bool,
    /// For which member what is there was counted last: an orphan's parent can't be asked any more.
    owners: HashMap<i32, usize>,
}

impl Units {
    fn ask() -> Units {
        let value = |name, default: u64| {
            // SAFETY: sysconf(3) takes an integer.
            let value = unsafe { libc::sysconf(name) };
            u64::try_from(value).map_or(default, |value| value.max(1))
        };
        Units {
            tick: 1.0 / value(libc::_SC_CLK_TCK, 100) as f64,
            page: value(libc::_SC_PAGESIZE, 4096),
        }
    }
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            units: Units::ask(),
            has_children_files: fs::metadata("/proc/thread-self/children").is_ok(),
            owners: HashMap::new(),
        }
    }

    /// All processes below the agent's children `roots`. `ranks`: those that are a member's rank, with its number. What no rank is
    /// known to have started is counted for the first member.
    pub(super) fn look(&mut self, roots: &[i32], ranks: &HashMap<i32, usize>) -> Vec<Process> {
        let everybody = (!self.has_children_files).then(by_parent);
        let mut found = Vec::new();
        let mut seen: HashSet<i32> = HashSet::new();
        let owner = |pid: &i32| {
            let owner = ranks.get(pid).or_else(|| self.owners.get(pid));
            (*pid, owner.copied().unwrap_or(0))
        };
        let mut waiting: Vec<(i32, usize)> = roots.iter().map(owner).collect();
        while let Some((pid, member)) = waiting.pop() {
            if found.len() >= MOST || !seen.insert(pid) {
                continue;
            }
            let mut text = [0; 1024];
            let stat = read(&format!("/proc/{pid}/stat"), &mut text)
                .and_then(|text| parse(text, self.units));
            let Some((cpu_seconds, resident, threads)) = stat else {
                continue;
            };
            found.push(Process {
                pid,
                member,
                cpu_seconds,
                resident,
            });
            let children = match &everybody {
                Some(everybody) => everybody.get(&pid).cloned().unwrap_or_default(),
                None => children(pid, threads),
            };
            waiting.extend(children.into_iter().map(|child| (child, member)));
        }
        self.owners.clear();
        let several = found.iter().any(|process| process.member != 0);
        if several {
            let owners = found.iter().map(|process| (process.pid, process.member));
            self.owners.extend(owners);
        }
        found
    }
}

/// Processor time in seconds, resident bytes and threads, from the fields of [proc_pid_stat(5)].
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
fn parse(stat: &str, units: Units) -> Option<(f64, u64, u64)> {
    // The name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of them is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    let resident = u64::try_from(field(24)?).unwrap_or(0);
    Some((
        ticks as f64 * units.tick,
        resident * units.page,
        u64::try_from(field(20)?).unwrap_or(1),
    ))
}

/// The processor time that a process has used.
pub(super) fn cpu_seconds(pid: i32) -> Option<f64> {
    let mut text = [0; 1024];
    let (seconds, ..) = parse(read(&format!("/proc/{pid}/stat"), &mut text)?, Units::ask())?;
    Some(seconds)
}

/// The children of all of its threads.
fn children(pid: i32, threads: u64) -> Vec<i32> {
    let of = |thread: &str| {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
        let list = list.unwrap_or_default();
        list.split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<i32>>()
    };
    if threads <= 1 {
        return of(&pid.to_string());
    }
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Some(of(entry.file_name().to_str()?)))
        .flatten()
        .collect()
}

/// For kernels without CONFIG_PROC_CHILDREN.
fn by_parent() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in pids() {
        if let Some(stat) = ProcessStat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    children
}

/// Bytes of a process's memory, those that it shares divided by how many share them. The kernel walks through all of its pages for
/// that.
pub(super) fn proportional(pid: i32) -> Option<u64> {
    let mut text = [0; 2048];
    let text = read(&format!("/proc/{pid}/smaps_rollup"), &mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether a process has a GPU's device file open.
pub(super) fn has_gpu(pid: i32) -> bool {
    /// Programs with more open files have them behind their first ones.
    const MOST_FILES: usize = 512;
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().take(MOST_FILES).any(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.to_str().is_some_and(is_gpu))
    })
}

/// `/dev/nvidia0`, not `/dev/nvidiactl`.
fn is_gpu(path: &str) -> bool {
    path.strip_prefix("/dev/nvidia").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A small file in one read, as `/proc` gives it.
pub(super) fn read<'a>(path: &str, into: &'a mut [u8]) -> Option<&'a str> {
    let length = File::open(path).ok()?.read(into).ok()?;
    // The name of a process may be no text; what is behind it is.
    let text = &into[..length];
    match std::str::from_utf8(text) {
        Ok(text) => Some(text),
        Err(_) => {
            let end = text.iter().rposition(|byte| *byte == b')')?;
            std::str::from_utf8(&text[end..]).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    const UNITS: Units = Units {
        tick: 0.01,
        page: 4096,
    };

    #[test]
    fn the_fields_of_a_process_are_read() {
        let stat =
            "42 (a) R 9) S 7 8 9 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 5 0 123456 1000 25 3\n";
        assert_eq!(parse(stat, UNITS), Some((2.0, 25 * 4096, 5)));
        assert_eq!(parse("1 (x) S 1", UNITS), None);
        let io = "rchar: 10\nwchar: 20\nsyscr: 1\nsyscw: 1\nread_bytes: 30\nwrite_bytes: 40\ncancelled_write_bytes: 5\n";
        let read = Io {
            read: 10,
            written: 20,
            disk_read: 30,
            disk_written: 40,
        };
        assert_eq!(Io::parse(io), read);
    }

    #[test]
    fn device_files_of_gpus_are_known() {
        assert!(is_gpu("/dev/nvidia0") && is_gpu("/dev/nvidia12"));
        for other in [
            "/dev/nvidiactl",
            "/dev/nvidia-uvm",
            "/dev/nvidia",
            "/tmp/nvidia0",
        ] {
            assert!(!is_gpu(other), "{other}");
        }
    }

    #[test]
    fn children_are_found_and_counted_for_their_member() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .stdin(std::process::Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let ranks = HashMap::from([(pid, 1)]);
        let mut tree = Tree::new();
        let found = loop {
            let found = tree.look(&[pid], &ranks);
            if found.len() == 2 {
                break found;
            }
            assert!(
                child.try_wait().unwrap().is_none(),
                "it has ended: {found:?}"
            );
            std::thread::yield_now();
        };
        assert!(found.iter().all(|process| process.member == 1));
        // Its parent gone, the orphan is still the second member's.
        let orphan = found[1].pid;
        assert_eq!(tree.look(&[orphan], &HashMap::new())[0].member, 1);
        // SAFETY: kill(2) takes two integers; the group is the child's own.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
        child.wait().unwrap();
    }
}
