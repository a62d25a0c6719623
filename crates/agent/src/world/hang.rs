//! Signs of life: what ranks write, and the heartbeat files that they may touch. And what their stacks were when there were none.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process;

/// No two looks are nearer to each other, and none farther.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(5));
/// How long the tool that shows stacks may take.
const STACKS_LIMIT: Duration = Duration::from_secs(10);
/// The tool, looked for in the agent's PATH.
const TOOL: &str = "py-spy";

/// When each rank last gave a sign of life.
#[derive(Debug)]
pub(super) struct Activity {
    ranks: Vec<Sign>,
    next: Instant,
}

#[derive(Debug)]
struct Sign {
    files: [PathBuf; 2],
    seen: [Option<(u64, i64, i64)>; 2],
    last: Instant,
}

impl Activity {
    /// Of ranks with these logs and heartbeat files.
    pub(super) fn new(files: Vec<(PathBuf, PathBuf)>, now: Instant) -> Activity {
        let sign = |(log, beat): (PathBuf, PathBuf)| {
            let files = [log, beat];
            Sign {
                seen: files.each_ref().map(|file| state(file)),
                files,
                last: now,
            }
        };
        Activity {
            ranks: files.into_iter().map(sign).collect(),
            next: now,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// Looks at all files. `period`: silence that is too long.
    pub(super) fn look(&mut self, now: Instant, period: Duration) {
        for sign in &mut self.ranks {
            let seen = sign.files.each_ref().map(|file| state(file));
            if seen != sign.seen {
                sign.seen = seen;
                sign.last = now;
            }
        }
        self.next = now + (period / 8).clamp(PAUSES.0, PAUSES.1);
    }

    /// For how long none has given one, and the rank (by its place) that is silent longest.
    pub(super) fn quiet(&self, now: Instant) -> (Duration, usize) {
        let latest = self.ranks.iter().map(|sign| sign.last).max();
        let oldest = self
            .ranks
            .iter()
            .enumerate()
            .min_by_key(|(_, sign)| sign.last);
        (
            latest.map_or(Duration::ZERO, |latest| now.duration_since(latest)),
            oldest.map_or(0, |(place, _)| place),
        )
    }
}

fn state(file: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::metadata(file).ok()?;
    Some((found.len(), found.mtime(), found.mtime_nsec()))
}

/// The tool's processes, one for each Python process of the ranks.
#[derive(Debug)]
pub(crate) struct Stacks {
    running: HashSet<i32>,
    until: Instant,
}

impl Stacks {
    /// Starts the tool for ranks given by number and pid; nothing where it is not installed.
    pub(super) fn new(attempt: &Path, ranks: Vec<(u32, i32)>, now: Instant) -> Stacks {
        let mut running = HashSet::new();
        if let Some(tool) = process::in_path(TOOL) {
            let folder = attempt.join("stacks");
            let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
            for (rank, pid) in ranks {
                let output = fs::File::options()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(folder.join(format!("rank-{rank}.txt")));
                let Ok(output) = output else { continue };
                for python in process::pythons_of_session(pid) {
                    let words = ["dump".to_owned(), "--pid".to_owned(), python.to_string()];
                    running.extend(process::start(&tool, &words, &output));
                }
            }
        }
        Stacks {
            running,
            until: now + STACKS_LIMIT,
        }
    }

    /// A child ended; true if it was one of these.
    pub(crate) fn child_ended(&mut self, pid: i32) -> bool {
        self.running.remove(&pid)
    }

    pub(crate) fn are_done(&self, now: Instant) -> bool {
        self.running.is_empty() || now >= self.until
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.until
    }
}
