//! What happens to an experiment, in the order in which it happens. The store's log of events is the truth from which
//! every state can be made again; watching, showing and tests read the same events.

use serde::{Deserialize, Serialize};

use super::{Cause, ExitRecord, Handle, JobState, SubmissionKey, Timestamp};

/// One thing that happened to one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the store's log; grows by at least one from event to event.
    pub sequence: u64,
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened. `job` is the job's number in its experiment, `attempt` counts from 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum EventKind {
    /// A process took the experiment over: from here on only it drives the experiment.
    Supervised {
        /// The lease's number; each take-over counts one up.
        generation: u64,
        /// Who: host and process id.
        holder: String,
    },
    /// The intent to submit: written and on disk before the request is sent.
    Intended {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// The key that the request carries.
        key: SubmissionKey,
    },
    /// The place has the job.
    Submitted {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// What names it there.
        handle: Handle,
    },
    /// The place tells of a state that is not an end.
    Observed {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// `PENDING`, `RUNNING` or `UNKNOWN`.
        state: JobState,
        /// The place's own words, such as a reason to wait.
        detail: String,
    },
    /// Its processes were started.
    Started {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// What names it there (for places where submitting is starting).
        handle: Handle,
        /// The machines it runs on.
        nodes: Vec<String>,
        /// When, by the machine's own clock.
        time: Timestamp,
    },
    /// The attempt is over.
    Ended {
        /// The job.
        job: u32,
        /// The attempt.
        attempt: u32,
        /// `SUCCEEDED`, `FAILED` or `CANCELLED`.
        state: JobState,
        /// Why, unless it succeeded.
        cause: Option<Cause>,
        /// A sentence for people, where the record does not say enough.
        message: Option<String>,
        /// The agent's record, where there is one.
        record: Option<Box<ExitRecord>>,
        /// The job will be tried again; without it this is the job's end too.
        retry: Option<Retry>,
    },
    /// The job will never be started.
    Skipped {
        /// The job.
        job: u32,
        /// `upstream-failed`, `cancelled` or `not-needed`.
        cause: Cause,
        /// A sentence for people: which job was the reason.
        message: String,
    },
    /// The user asked for the job to be run again after its end.
    Reset {
        /// The job.
        job: u32,
    },
    /// Somebody asked for jobs to be ended.
    CancelRequested {
        /// The jobs; empty means all.
        jobs: Vec<u32>,
        /// How.
        mode: CancelMode,
    },
    /// The experiment is over.
    Finished {
        /// `SUCCEEDED`, `FAILED` or `CANCELLED`; `UNKNOWN` only for imported history.
        state: JobState,
    },
}

/// A further attempt to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// The budget that pays for it.
    pub class: FailureClass,
    /// Not before this time.
    pub at: Timestamp,
}

/// How jobs are asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelMode {
    /// SIGTERM, then SIGKILL after the grace period.
    Terminate,
    /// SIGINT, as a Ctrl-C would, then SIGKILL after the grace period.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// The separate budgets for further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The program failed (its own failure, memory, a program that can't be started is never tried again).
    Failure,
    /// The place took the machine back.
    Preempted,
    /// The machine failed, or the attempt was lost with it.
    Node,
    /// It ran too long.
    Timeout,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [FailureClass; 4] = [
        FailureClass::Failure,
        FailureClass::Preempted,
        FailureClass::Node,
        FailureClass::Timeout,
    ];

    /// The budget that pays for a further attempt after an end for this cause; `None`: it is never tried again.
    #[must_use]
    pub const fn of(cause: Cause) -> Option<FailureClass> {
        match cause {
            Cause::AppFailure | Cause::OutOfMemory | Cause::Hung => Some(FailureClass::Failure),
            Cause::Preempted => Some(FailureClass::Preempted),
            Cause::NodeFailure | Cause::Lost => Some(FailureClass::Node),
            Cause::Timeout => Some(FailureClass::Timeout),
            Cause::LaunchFailure | Cause::UpstreamFailed | Cause::Cancelled | Cause::NotNeeded => {
                None
            }
        }
    }
}

impl EventKind {
    /// The word under which the store keeps it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            EventKind::Supervised { .. } => "supervised",
            EventKind::Intended { .. } => "intended",
            EventKind::Submitted { .. } => "submitted",
            EventKind::Observed { .. } => "observed",
            EventKind::Started { .. } => "started",
            EventKind::Ended { .. } => "ended",
            EventKind::Skipped { .. } => "skipped",
            EventKind::Reset { .. } => "reset",
            EventKind::CancelRequested { .. } => "cancel-requested",
            EventKind::Finished { .. } => "finished",
        }
    }

    /// The job that it is about, if it is about one.
    #[must_use]
    pub const fn job(&self) -> Option<u32> {
        match self {
            EventKind::Intended { job, .. }
            | EventKind::Submitted { job, .. }
            | EventKind::Observed { job, .. }
            | EventKind::Started { job, .. }
            | EventKind::Ended { job, .. }
            | EventKind::Skipped { job, .. }
            | EventKind::Reset { job } => Some(*job),
            EventKind::Supervised { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::Finished { .. } => None,
        }
    }
}
