//! A job of the virtual cluster, and what it does when it runs.

use std::sync::Arc;

use super::cluster::SECOND;

/// What a job does in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// For how long it runs, unless it is ended.
    pub seconds: f64,
    /// How it ends by itself.
    pub end: WorkEnd,
    /// When its record can be read after its end, in seconds; `None`: it leaves none.
    pub record: Option<f64>,
    /// Its ranks give signs of life now, by this machine's clock; otherwise by the virtual one, which is behind.
    pub beats: bool,
}

impl Default for Work {
    fn default() -> Work {
        Work {
            seconds: 10.0,
            end: WorkEnd::Exits(0),
            record: Some(0.0),
            beats: false,
        }
    }
}

/// How a job ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkEnd {
    /// Its first rank ends with a status.
    Exits(i32),
    /// A signal ends its batch script: no record is written, whatever [`Work::record`] says.
    Killed(i32),
    /// It uses too much memory.
    OutOfMemory,
}

/// What was handed to sbatch, the same for all tasks of an array.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    /// The folder that sbatch was run in.
    pub(super) directory: String,
    pub(super) script: String,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) kill_invalid: bool,
    pub(super) requeue: bool,
    pub(super) limit: Option<i64>,
    pub(super) nodes: u32,
    pub(super) throttle: Option<usize>,
    pub(super) partition: String,
    pub(super) exclude: Vec<String>,
    pub(super) name: String,
}

/// What a job waits for: `afterok:1:2`. All of a job's must come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) kind: DependencyKind,
    pub(super) on: Vec<(u32, Option<u32>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DependencyKind {
    Start,
    Any,
    Ok,
    NotOk,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    /// Its nodes are being cleaned; then it is `Pending` again or `Ended`.
    Completing,
    Ended,
}

/// A run that is over, for the accounting.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) word: String,
    pub(super) start: Option<i64>,
    pub(super) end: i64,
    pub(super) nodes: String,
    pub(super) exit: i32,
    pub(super) reason: String,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its own number; a waiting task of an array has none before it starts (the array's record stands for it).
    pub(super) number: Option<u32>,
    pub(super) array: Option<(u32, u32)>,
    pub(super) het: Option<(u32, u32)>,
    pub(super) unit: Arc<Unit>,
    pub(super) comment: String,
    pub(super) phase: Phase,
    /// How it ends or has ended, in Slurm's word.
    pub(super) word: &'static str,
    /// A word that is shown instead of any other.
    pub(super) shown: Option<String>,
    pub(super) held: bool,
    pub(super) restarts: u32,
    pub(super) reason: String,
    pub(super) nodes: Vec<String>,
    /// What it waited for last: the reason that the accounting keeps.
    pub(super) waited: String,
    /// As wait(2) has it.
    pub(super) exit: i32,
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    /// Not before.
    pub(super) begin: i64,
    /// When it ends by itself, or by its limit.
    pub(super) due: Option<i64>,
    pub(super) work: Work,
    /// Goes back to the queue when its nodes are clean.
    pub(super) back: bool,
    /// It runs another job's attempt: it has seen so, and goes.
    pub(super) taken: bool,
    pub(super) runs: Vec<Run>,
    /// Nothing remembers it (a waiting task of an array that was cancelled alone).
    pub(super) traceless: bool,
    /// When sbatch took it.
    pub(super) submitted: i64,
}

impl Job {
    /// The job as it was at a time; `None`: there was none yet.
    pub(super) fn as_of(&self, then: i64) -> Option<Job> {
        if self.submitted > then {
            return None;
        }
        let mut job = self.clone();
        if job.end.is_some_and(|end| end > then) {
            job.end = None;
            job.exit = 0;
            job.phase = Phase::Running;
        }
        if job.start.is_none_or(|start| start > then) {
            job.start = None;
            job.nodes.clear();
            job.phase = Phase::Pending;
        }
        Some(job)
    }

    /// `12`, `12_3` or `12+1`.
    pub(super) fn id(&self) -> String {
        match (self.array, self.het) {
            (Some((array, index)), _) => format!("{array}_{index}"),
            (None, Some((first, offset))) => format!("{first}+{offset}"),
            (None, None) => self.number.unwrap_or_default().to_string(),
        }
    }

    /// What the batch script calls itself: `12` or `12_3`.
    pub(super) fn claim(&self) -> String {
        match self.array {
            Some((array, index)) => format!("{array}_{index}"),
            None => self.number.unwrap_or_default().to_string(),
        }
    }

    /// The number that people know: the array's, the heterogeneous job's, or its own.
    pub(super) fn family(&self) -> u32 {
        self.array
            .or(self.het)
            .map_or(self.number.unwrap_or_default(), |(first, _)| first)
    }

    /// The state as squeue shows it.
    pub(super) fn state(&self) -> &str {
        if let Some(shown) = &self.shown {
            return shown;
        }
        match self.phase {
            Phase::Pending => "PENDING",
            Phase::Running => "RUNNING",
            Phase::Completing => "COMPLETING",
            Phase::Ended => self.word,
        }
    }

    pub(super) fn is(&self, number: u32, index: Option<u32>) -> bool {
        match index {
            Some(index) => self.array == Some((number, index)),
            None => self.family() == number || self.number == Some(number),
        }
    }

    pub(super) fn has_started(&self) -> bool {
        self.start.is_some_and(|_| self.phase != Phase::Pending) || self.phase == Phase::Ended
    }

    /// When its controller forgets it, with this MinJobAge.
    pub(super) fn forgotten(&self, age: f64) -> Option<i64> {
        let end = self.end.filter(|_| self.phase == Phase::Ended)?;
        Some(end + (age * SECOND as f64) as i64)
    }
}
