//! Which logs are meant.

use camino::{Utf8Path, Utf8PathBuf};

use crate::store::{ExperimentView, JobView};

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The jobs, by number; none means all.
    pub jobs: Vec<u32>,
    /// Only this rank.
    pub rank: Option<u32>,
    /// Only this attempt; without it the last one, or every one that comes while following.
    pub attempt: Option<u32>,
    /// Only so many of each log's last lines.
    pub tail: Option<usize>,
    /// Only lines in which this is found.
    pub grep: Option<regex::bytes::Regex>,
}

impl Selection {
    pub(super) fn wants(&self, job: &JobView) -> bool {
        self.jobs.is_empty() || self.jobs.contains(&job.index)
    }

    pub(super) fn keeps(&self, line: &[u8]) -> bool {
        self.grep
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(line))
    }
}

/// The folder of an attempt: `<job>/attempts/<n>`.
#[must_use]
pub fn attempt_dir(view: &ExperimentView, job: &JobView, attempt: u32) -> Utf8PathBuf {
    view.dir
        .join(&job.name)
        .join("attempts")
        .join(attempt.to_string())
}

/// The log of a rank.
#[must_use]
pub fn rank_log(attempt_dir: &Utf8Path, rank: u32) -> Utf8PathBuf {
    attempt_dir.join(format!("rank-{rank}.log"))
}

/// The ranks of an attempt that have a log, in order.
pub(super) fn ranks(attempt_dir: &Utf8Path, only: Option<u32>) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(attempt_dir) else {
        return Vec::new();
    };
    let number = |name: &str| {
        name.strip_prefix("rank-")?
            .strip_suffix(".log")?
            .parse::<u32>()
            .ok()
    };
    let mut ranks: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .filter(|rank| only.is_none_or(|only| only == *rank))
        .collect();
    ranks.sort_unstable();
    ranks
}

/// Of how many ranks lines are shown: of one alone, its number need not be told. Logs from elsewhere come one by one, so that those
/// which are here do not tell how many there will be.
pub(super) fn shown_ranks(found: usize, planned: u32, selection: &Selection) -> u32 {
    match selection.rank {
        Some(_) => 1,
        None => planned.max(found as u32),
    }
}

/// The attempts of a job that have a folder, in order, and not those of the store alone: an attempt's files may be there
/// before the store tells of it.
pub(super) fn attempts(view_dir: &Utf8Path, job: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(view_dir.join(job).join("attempts")) else {
        return Vec::new();
    };
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}
