//! The states of a job, why it is in them, and the one function that says which change is legal.
//!
//! ```text
//! UNSUBMITTED ─▶ SUBMITTED ─▶ PENDING ─▶ RUNNING ─▶ SUCCEEDED
//!      │  ▲           │          ▲  ▲       │    ├─▶ FAILED      (cause)
//!      │  │           └─────────────┼───────┘    └─▶ CANCELLED   (cause)
//!      │  └── retry by the user ────┼──── from any final state
//!      └─▶ FAILED, CANCELLED        └──── a further attempt within the budget, a requeue
//! UNKNOWN: the place said a word that we don't know; every state but UNSUBMITTED can follow
//! ```

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a job or of an experiment; the words are TorchX's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum JobState {
    /// Not handed to its place yet.
    Unsubmitted = 0,
    /// Handed to its place, which has not said anything about it yet.
    Submitted = 1,
    /// Waiting: in its place's queue, or here for its next attempt.
    Pending = 2,
    /// Its processes run.
    Running = 3,
    /// Ended well.
    Succeeded = 4,
    /// Ended badly; the cause says how.
    Failed = 5,
    /// Ended, or never started, because somebody or something wanted it so; the cause says what.
    Cancelled = 6,
    /// Its place says a word about it that is not known here.
    Unknown = 7,
}

impl JobState {
    /// All of them, in the order in which a job meets them.
    pub const ALL: [JobState; 8] = [
        JobState::Unsubmitted,
        JobState::Submitted,
        JobState::Pending,
        JobState::Running,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Unknown,
    ];

    /// Nothing follows by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            JobState::Succeeded | JobState::Failed | JobState::Cancelled
        )
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            JobState::Unsubmitted => "UNSUBMITTED",
            JobState::Submitted => "SUBMITTED",
            JobState::Pending => "PENDING",
            JobState::Running => "RUNNING",
            JobState::Succeeded => "SUCCEEDED",
            JobState::Failed => "FAILED",
            JobState::Cancelled => "CANCELLED",
            JobState::Unknown => "UNKNOWN",
        }
    }

    /// The state with this number (as in the store).
    #[must_use]
    pub fn from_number(number: u8) -> Option<JobState> {
        JobState::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = ();
    fn from_str(text: &str) -> Result<JobState, ()> {
        JobState::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

/// Why a job is in its state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Cause {
    /// Its program ended with a status other than 0, or by a signal.
    AppFailure = 0,
    /// It was ended for using too much memory.
    OutOfMemory = 1,
    /// It ran longer than it was allowed to.
    Timeout = 2,
    /// Its place took the machine back.
    Preempted = 3,
    /// Its machine failed.
    NodeFailure = 4,
    /// Its program could not be started, or its place refused it.
    LaunchFailure = 5,
    /// A job that it comes after did not end as it needs.
    UpstreamFailed = 6,
    /// Somebody cancelled it.
    Cancelled = 7,
    /// It left no record of its end, and it is certain that it runs no longer.
    Lost = 8,
    /// It was to run only if another job failed, and none did.
    NotNeeded = 9,
    /// None of its ranks showed a sign of life for too long.
    Hung = 10,
}

impl Cause {
    /// All of them, by number.
    pub const ALL: [Cause; 11] = [
        Cause::AppFailure,
        Cause::OutOfMemory,
        Cause::Timeout,
        Cause::Preempted,
        Cause::NodeFailure,
        Cause::LaunchFailure,
        Cause::UpstreamFailed,
        Cause::Cancelled,
        Cause::Lost,
        Cause::NotNeeded,
        Cause::Hung,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::AppFailure => "app-failure",
            Cause::OutOfMemory => "out-of-memory",
            Cause::Timeout => "timeout",
            Cause::Preempted => "preempted",
            Cause::NodeFailure => "node-failure",
            Cause::LaunchFailure => "launch-failure",
            Cause::UpstreamFailed => "upstream-failed",
            Cause::Cancelled => "cancelled",
            Cause::Lost => "lost",
            Cause::NotNeeded => "not-needed",
            Cause::Hung => "hung",
        }
    }

    /// The cause with this number (as in the store).
    #[must_use]
    pub fn from_number(number: u8) -> Option<Cause> {
        Cause::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A change of state that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} can't become {to}")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: JobState,
    /// The state it was to get.
    pub to: JobState,
}

/// Says whether a job in the state `from` may become `to`, and answers with the new state.
///
/// # Errors
/// The change is not one that a job can make.
pub const fn transition(from: JobState, to: JobState) -> Result<JobState, IllegalTransition> {
    use JobState::{
        Cancelled, Failed, Pending, Running, Submitted, Succeeded, Unknown, Unsubmitted,
    };
    let legal = match (from, to) {
        // Handed over; or it could not be handed over; or it was taken back before that.
        (Unsubmitted, Submitted | Pending | Running | Failed | Cancelled)
        // What its place tells of it. A job may be over before we have ever seen it run.
        | (Submitted | Pending | Running, Pending | Running | Succeeded | Failed | Cancelled | Unknown)
        | (Unknown, Submitted | Pending | Running | Succeeded | Failed | Cancelled | Unknown)
        // Handed over once more: for the next attempt, or since it is not known whether the first time arrived.
        | (Submitted | Pending, Submitted)
        // A further attempt that the user asked for.
        | (Succeeded | Failed | Cancelled, Unsubmitted) => true,
        _ => false,
    };
    if legal {
        Ok(to)
    } else {
        Err(IllegalTransition { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_are_left_only_by_a_new_attempt() {
        for from in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            for to in JobState::ALL {
                assert_eq!(
                    transition(from, to).is_ok(),
                    to == JobState::Unsubmitted,
                    "{from} -> {to}"
                );
            }
        }
    }

    #[test]
    fn every_state_but_the_first_can_reach_an_end() {
        for from in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            assert!(transition(from, JobState::Failed).is_ok(), "{from}");
            assert!(transition(from, JobState::Cancelled).is_ok(), "{from}");
        }
        assert!(transition(JobState::Unsubmitted, JobState::Succeeded).is_err());
        assert!(transition(JobState::Unsubmitted, JobState::Unknown).is_err());
    }

    #[test]
    fn words_and_numbers_come_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
            assert_eq!(JobState::from_number(state as u8), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for cause in Cause::ALL {
            assert_eq!(Cause::from_number(cause as u8), Some(cause));
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }
}
