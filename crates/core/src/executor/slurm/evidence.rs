//! What the agent's records and Slurm's word say together of how an attempt has ended.
//!
//! The record knows which rank failed first, and how; Slurm knows why it ended a job itself. So a record of an end of the
//! job's own is believed whatever Slurm says, and a record that says "told to end" is explained by Slurm's word.

use mizzen_agent::record::{ExitRecord, Outcome};

use super::queue::Row;
use super::words::End;
use crate::executor::{MemberEnd, end_from_record};
use crate::model::{Cause, JobState};

/// How each member of a unit has ended.
pub(super) fn ends(end: End, row: &Row, records: Vec<Option<ExitRecord>>) -> Vec<MemberEnd> {
    records
        .into_iter()
        .map(|record| match record {
            Some(record) => with_record(end, row, record),
            None => by_word(end, row),
        })
        .collect()
}

fn with_record(end: End, row: &Row, record: ExitRecord) -> MemberEnd {
    let outcome = record.outcome;
    let signal = ending_signal(&record);
    let signalled = signal == Some(libc::SIGKILL);
    let mut told = end_from_record(record);
    let explained = match (outcome, end) {
        (Outcome::Interrupted, _) => true,
        // The kernel's or Slurm's killing looks like any other from beside the job.
        (Outcome::Failed, End::OutOfMemory) => signalled,
        // Slurm's signals reach all processes of a step, a rank sometimes before the agent beside it.
        (Outcome::Failed, End::Cancelled | End::Preempted | End::Timeout) => signal.is_some(),
        // What the ranks of the other nodes make of a lost one is no failure of theirs.
        (Outcome::Failed | Outcome::LaunchFailed, End::NodeFail) => true,
        _ => false,
    };
    if explained {
        let word = by_word(end, row);
        let says_something = !matches!(end, End::Completed | End::Failed);
        if says_something {
            told.state = word.state;
            told.cause = word.cause;
            told.message = word.message;
        }
    }
    told
}

/// All members have ended well; Slurm's word would change nothing.
pub(super) fn ended_well(records: &[&ExitRecord]) -> bool {
    records
        .iter()
        .all(|record| matches!(record.outcome, Outcome::Succeeded | Outcome::GroupEnded))
}

/// What the members have come to is known without Slurm's word.
pub(super) fn ended_by_itself(records: &[&ExitRecord]) -> bool {
    records.iter().all(|record| match record.outcome {
        Outcome::Failed => ending_signal(record).is_none(),
        Outcome::Interrupted | Outcome::Cancelled | Outcome::LaunchFailed => false,
        _ => true,
    })
}

/// The signal by which Slurm may have ended the rank that failed first: SIGTERM, or after its KillWait SIGKILL.
fn ending_signal(record: &ExitRecord) -> Option<i32> {
    let first = record.first_failure.as_ref()?.rank;
    let rank = record.ranks.get(first as usize)?;
    let shells = |code: i32| code.checked_sub(128);
    rank.signal
        .or_else(|| rank.code.and_then(shells))
        .filter(|signal| matches!(*signal, libc::SIGTERM | libc::SIGKILL))
}

/// What Slurm's word means where no record is.
fn by_word(end: End, row: &Row) -> MemberEnd {
    let failed = |cause| (JobState::Failed, Some(cause));
    let ((state, cause), message) = match end {
        End::Completed => (
            (JobState::Succeeded, None),
            Some("Slurm says that it has completed; it left no record".to_owned()),
        ),
        End::Failed => (failed(Cause::AppFailure), Some(exit_words(row.exit))),
        End::Cancelled => (
            (JobState::Cancelled, Some(Cause::Cancelled)),
            Some(match row.state.split_once(" by ") {
                Some((_, user)) => format!("cancelled in Slurm by user {user}"),
                None => "cancelled in Slurm".to_owned(),
            }),
        ),
        End::Timeout => (
            failed(Cause::Timeout),
            Some("its time limit in Slurm was over".to_owned()),
        ),
        End::NodeFail => (
            failed(Cause::NodeFailure),
            Some(match row.nodes.as_str() {
                "" => "a node failed".to_owned(),
                nodes => format!("a node failed, one of {nodes}"),
            }),
        ),
        End::OutOfMemory => (
            failed(Cause::OutOfMemory),
            Some("it used more memory than it had asked Slurm for".to_owned()),
        ),
        End::Preempted => (
            failed(Cause::Preempted),
            Some("Slurm gave its nodes to a job of higher priority".to_owned()),
        ),
        End::LaunchFailed => (
            failed(Cause::LaunchFailure),
            Some("Slurm could not start it".to_owned()),
        ),
    };
    MemberEnd {
        state,
        cause,
        message,
        record: None,
    }
}

fn exit_words(status: i32) -> String {
    match (status & 0x7f, status >> 8) {
        (0, code) => format!("it ended with status {code} and left no record"),
        (signal, _) => format!("it was ended by signal {signal} and left no record"),
    }
}

/// A job that never began and is not in the queue any more.
pub(super) fn cancelled(members: usize, words: Option<&str>) -> Vec<MemberEnd> {
    let end = MemberEnd {
        state: JobState::Cancelled,
        cause: Some(Cause::Cancelled),
        message: words.map(str::to_owned),
        record: None,
    };
    vec![end; members]
}

/// A place that has been asked and knows nothing of a job, and a folder without a record.
pub(super) fn lost(members: usize) -> Vec<MemberEnd> {
    let end = MemberEnd {
        state: JobState::Failed,
        cause: Some(Cause::Lost),
        message: Some(
            "Slurm has forgotten it, the accounting does not have it, and it left no record"
                .to_owned(),
        ),
        record: None,
    };
    vec![end; members]
}

/// An attempt that Slurm took back to its queue: by itself, or because somebody said so.
pub(super) fn restarted(row: Option<&Row>, records: Vec<Option<ExitRecord>>) -> Vec<MemberEnd> {
    let word = row.and_then(|row| match super::words::meaning(&row.state) {
        Some(super::words::Word::Ended(end)) => Some((end, row)),
        _ => None,
    });
    records
        .into_iter()
        .map(|record| match (record, word) {
            (Some(record), Some((end, row))) => with_record(end, row, record),
            (None, Some((end @ (End::NodeFail | End::Preempted), row))) => by_word(end, row),
            (Some(record), None)
                if record.outcome != Outcome::Interrupted && ending_signal(&record).is_none() =>
            {
                end_from_record(record)
            }
            (record, _) => MemberEnd {
                state: JobState::Failed,
                cause: Some(Cause::Preempted),
                message: Some("Slurm put it back into the queue".to_owned()),
                record,
            },
        })
        .collect()
}
