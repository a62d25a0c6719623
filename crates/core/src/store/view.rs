//! What the store answers: plain values, made for showing. Names that many jobs have in common are shared.

use std::sync::Arc;

use crate::model::{Cause, ExitRecord, ExperimentId, Handle, JobState, Timestamp, Usage};

/// An experiment in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentSummary {
    /// Its id.
    pub id: ExperimentId,
    /// Its title.
    pub title: String,
    /// Its state.
    pub state: JobState,
    /// When it was created.
    pub created: Timestamp,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// How many jobs are in each state.
    pub counts: StateCounts,
}

impl ExperimentSummary {
    /// Nothing follows by itself: it has ended. Of an imported one that may be all that is known, its state is UNKNOWN then.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.state.is_final() || self.ended.is_some()
    }
}

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts(pub [u32; 8]);

impl StateCounts {
    /// All jobs.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }

    /// Jobs in one state.
    #[must_use]
    pub const fn of(&self, state: JobState) -> u32 {
        self.0[state as usize]
    }
}

/// An experiment with all of its jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentView {
    /// The line that stands for it in a list.
    pub summary: ExperimentSummary,
    /// Its folder.
    pub dir: camino::Utf8PathBuf,
    /// The last event's number when this was read: [`super::Store::events_since`] goes on from here.
    pub sequence: u64,
    /// Its jobs in their order.
    pub jobs: Vec<JobView>,
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its number in the experiment.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The task that it came from.
    pub task: Arc<str>,
    /// The group that it belongs to.
    pub group: Option<Arc<str>>,
    /// Its state.
    pub state: JobState,
    /// Why, unless that is plain.
    pub cause: Option<Cause>,
    /// A sentence for people, where the record does not say enough.
    pub message: Option<String>,
    /// The executor's name.
    pub executor: Arc<str>,
    /// How many ranks an attempt has, as its executor's settings say; 0 where they don't (imported history).
    pub ranks: u32,
    /// When the next attempt will start, while it waits for one.
    pub retry_at: Option<Timestamp>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One try of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptView {
    /// Counts from 1.
    pub number: u32,
    /// What names it at its place.
    pub handle: Option<Handle>,
    /// Its state.
    pub state: JobState,
    /// Why, unless that is plain.
    pub cause: Option<Cause>,
    /// When its processes were started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The machines that it ran on.
    pub nodes: Arc<[String]>,
    /// The exit status to show: the first failing rank's, 0 once it succeeded; 128 + the signal's number for one that
    /// was ended by a signal.
    pub exit_code: Option<i32>,
    /// The agent's record of its end; only for attempts that did not succeed (see [`super::Store::record`]).
    pub record: Option<ExitRecord>,
    /// What it used; only where it was asked for ([`crate::logs::add_usage`]).
    pub usage: Option<Box<Usage>>,
}
