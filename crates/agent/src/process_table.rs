//! What the kernel tells about processes: the few fields of `/proc/<pid>/stat` that the agent and its heirs need.
//!
//! Pitfall: a pid alone names nobody, it may have been reused since; `(pid, start)` does, within one boot.

use std::fs;

/// One process, as [proc_pid_stat(5)] has it.
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// The state's letter (field 3): `R`unning, `S`leeping, `D`isk sleep, s`T`opped, `Z`ombie, …
    pub state: char,
    /// The parent's pid (field 4).
    pub parent: i32,
    /// The process group (field 5).
    pub group: i32,
    /// The start time in clock ticks since boot (field 22).
    pub start: u64,
}

impl ProcessStat {
    /// Reads the entry of a process; `None` if there is none, or it may not be read.
    #[must_use]
    pub fn read(pid: i32) -> Option<ProcessStat> {
        ProcessStat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The process has ended, and only its parent's question is still open.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// The name (field 2) stands in parentheses and may itself hold any byte, so the fields are counted from the last `)`.
    fn parse(stat: &[u8]) -> Option<ProcessStat> {
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        // Fields 6 to 21 lie between the group and the start time.
        let start = fields.nth(16)?.parse().ok()?;
        Some(ProcessStat {
            state,
            parent,
            group,
            start,
        })
    }
}

/// Whether a process has a handler of its own for a signal (`SigCgt` of [proc_pid_status(5)]); false if it can't be known.
///
/// [proc_pid_status(5)]: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
#[must_use]
pub fn catches(pid: i32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let set = set
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    (1..=64).contains(&signal) && set >> (signal - 1) & 1 == 1
}

/// The pids of all processes that this process may see, in no order; empty without a `/proc`.
#[must_use]
pub fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat =
            b"42 (a) R 9 (b c) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 2 3\n";
        let parsed = ProcessStat::parse(stat).unwrap();
        assert_eq!(
            parsed,
            ProcessStat {
                state: 'S',
                parent: 7,
                group: 8,
                start: 123_456
            }
        );
        assert_eq!(ProcessStat::parse(b""), None);
        assert_eq!(ProcessStat::parse(b"1 (x) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_in_the_table() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(pids().contains(&own));
        assert!(!ProcessStat::read(own).unwrap().is_dead());
    }
}
