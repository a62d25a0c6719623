//! Slurm's words for states, as squeue(1) and sacct(1) write them.

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It has no nodes, or they are not ready.
    Waiting,
    /// Its processes run, or are about to.
    Running,
    /// It runs no longer, and its nodes are being cleaned.
    Ending,
    /// It has ended.
    Ended(End),
}

/// How Slurm says that a job has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Failed,
    Cancelled,
    Timeout,
    NodeFail,
    OutOfMemory,
    Preempted,
    LaunchFailed,
}

/// The meaning of a word; `None` for one that is not known here. sacct adds who cancelled (`CANCELLED by 1000`), and
/// widths that are too small end in `+`.
pub(super) fn meaning(word: &str) -> Option<Word> {
    let word = word.split(' ').next().unwrap_or_default();
    Some(match word.trim_end_matches('+') {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED"
        | "SPECIAL_EXIT" | "RESV_DEL_HOLD" | "SUSPENDED" | "STOPPED" | "POWER_UP_NODE" => {
            Word::Waiting
        }
        "RUNNING" | "RESIZING" | "SIGNALING" | "UPDATE_DB" | "EXPEDITING" => Word::Running,
        "COMPLETING" | "STAGE_OUT" => Word::Ending,
        "COMPLETED" => Word::Ended(End::Completed),
        "FAILED" => Word::Ended(End::Failed),
        "CANCELLED" => Word::Ended(End::Cancelled),
        "TIMEOUT" | "DEADLINE" => Word::Ended(End::Timeout),
        "NODE_FAIL" | "BOOT_FAIL" => Word::Ended(End::NodeFail),
        "OUT_OF_MEMORY" => Word::Ended(End::OutOfMemory),
        "PREEMPTED" => Word::Ended(End::Preempted),
        "LAUNCH_FAILED" | "RECONFIG_FAIL" => Word::Ended(End::LaunchFailed),
        _ => return None,
    })
}

/// What sbatch's refusal means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is wrong, or not allowed.
    ForGood,
    /// There is no room, or nobody to ask, now; nothing was taken.
    ForNow,
    /// The answer was lost on the way: it may have been taken.
    Unknown,
}

/// Reads what sbatch said.
pub(super) fn refusal(said: &str) -> Refusal {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&[
        "Socket timed out",
        "Zero Bytes were transmitted",
        "Unexpected message received",
        "Message receive failure",
        "Transport endpoint is not connected",
    ]) {
        return Refusal::Unknown;
    }
    if has(&[
        "Unable to contact slurm controller",
        "temporarily unable to accept job",
        "Resource temporarily unavailable",
        "Connection refused",
        "Connection reset",
        "SubmitJob",
        "MaxSubmit",
        "SubmitLimit",
        "Job violates accounting/QOS policy (job submit limit",
        "job submit limit",
        "Protocol authentication error",
        "Munge",
        "munge",
        "Slurm backup controller in standby",
        "Insane message length",
        "Maximum number of jobs",
        "configuration source",
    ]) {
        return Refusal::ForNow;
    }
    Refusal::ForGood
}

/// A pending job's reason in words that say what to do, where Slurm's alone do not.
pub(super) fn reason(word: &str) -> String {
    let meaning = match word {
        "None" | "" | "N/A" => return "waits to be looked at by the scheduler".to_owned(),
        "Priority" => "jobs of higher priority come first",
        "Resources" => "waits for free nodes",
        "Dependency" => "waits for another job",
        "DependencyNeverSatisfied" => "what it waits for can't happen any more",
        "BeginTime" => "its time to begin has not come",
        "JobHeldUser" => "held; `scontrol release` lets it go",
        "JobHeldAdmin" => "held by an administrator",
        "PartitionDown" | "PartitionInactive" => "its partition takes no jobs",
        "PartitionTimeLimit" => "asks for more time than its partition gives",
        "PartitionNodeLimit" => "asks for more nodes than its partition gives",
        "QOSMaxJobsPerUserLimit"
        | "AssocMaxJobsLimit"
        | "QOSGrpJobsLimit"
        | "AssocGrpJobsLimit" => "as many of your jobs run as may",
        "JobArrayTaskLimit" => "as many of its array run as may",
        "ReqNodeNotAvail" => "a node that it asks for is not available",
        "Licenses" => "waits for a license",
        "Reservation" => "waits for its reservation",
        "launch failed requeued held" | "JobHoldMaxRequeue" => {
            "held, since it could not be started; `scontrol release` lets it go"
        }
        _ => return word.to_owned(),
    };
    format!("{word}: {meaning}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(meaning("PENDING"), Some(Word::Waiting));
        assert_eq!(
            meaning("CANCELLED by 1000"),
            Some(Word::Ended(End::Cancelled))
        );
        assert_eq!(meaning("CANCELLED+"), Some(Word::Ended(End::Cancelled)));
        assert_eq!(meaning("COMPLETING"), Some(Word::Ending));
        assert_eq!(meaning("NODE_FAIL"), Some(Word::Ended(End::NodeFail)));
        assert_eq!(meaning("HIBERNATED"), None);
        assert_eq!(meaning(""), None);
    }

    #[test]
    fn refusals() {
        for (said, expected) in [
            (
                "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
                Refusal::Unknown,
            ),
            (
                "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
                Refusal::ForNow,
            ),
            (
                "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
                Refusal::ForNow,
            ),
            (
                "sbatch: error: Batch job submission failed: Invalid partition name specified",
                Refusal::ForGood,
            ),
            (
                "sbatch: error: Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying",
                Refusal::ForNow,
            ),
        ] {
            assert_eq!(refusal(said), expected, "{said}");
        }
    }
}
