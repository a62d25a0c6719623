//! The exit record: how one attempt of one job ended, as the agent saw it. Written once, by atomic rename, to
//! `exit.json` in the attempt's folder. It is the best evidence there is (docs/architecture.md, "Evidence before verdict").

use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::samples::UsageSummary;
use crate::why::Why;

/// The version of the record's form that this build writes.
pub const RECORD_VERSION: u32 = 1;
/// At most so many of a rank's last lines are kept in the record.
pub const LAST_LINES: usize = 20;
/// At most so many bytes of a rank's log are read for its last lines.
pub const LAST_LINES_BYTES: u64 = 8192;

/// How one attempt of one job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// The submission key.
    pub key: String,
    /// The job's name.
    pub name: String,
    /// The machine that the agent ran on.
    pub host: String,
    /// The verdict, from the first failure or the reason of the end.
    pub outcome: Outcome,
    /// When the first rank was started, in microseconds since the epoch; equal to `ended` if none could be.
    pub started: i64,
    /// When the last process of the job was gone, in microseconds since the epoch.
    pub ended: i64,
    /// Processor time in user mode of all processes that were waited for, in seconds.
    pub user_seconds: f64,
    /// Processor time in the kernel, in seconds.
    pub system_seconds: f64,
    /// The largest resident set of a single process, in bytes (getrusage(2)'s `ru_maxrss`).
    pub peak_memory: u64,
    /// Every rank, by number.
    pub ranks: Vec<RankExit>,
    /// The rank that failed first, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<FirstFailure>,
    /// The devices that the job had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Processes that outlived the ranks and were ended by the agent.
    #[serde(default)]
    pub stragglers: u32,
    /// The machines that it ran on, where several may have been ([`crate::node`]); of a job of this machine the experiment's
    /// record has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// How often the `ranks` launcher started all ranks again inside this attempt, and why; oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<Restart>,
    /// What it used, by samples; none where none were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageSummary>,
}

/// All ranks were ended and started again inside an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// When they were started again, in microseconds since the epoch.
    pub time: i64,
    /// The failure that made it necessary.
    pub first_failure: FirstFailure,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every rank exited with 0.
    Succeeded,
    /// A rank exited with another status, or by a signal that the agent did not send.
    Failed,
    /// A program could not be started (missing, not executable, no such working directory).
    LaunchFailed,
    /// The kernel's out-of-memory killer ended it.
    OutOfMemory,
    /// Ended because no rank had shown a sign of life for too long ([`crate::protocol::World::hang_timeout`]).
    Hung,
    /// Ended for running longer than its timeout.
    TimedOut,
    /// Ended because the supervisor asked for it.
    Cancelled,
    /// Ended because the group that it belongs to ended well.
    GroupEnded,
    /// Ended because another member of its group failed.
    GroupFailed,
    /// Ended because the agent itself was told to end by a signal (a shutdown, a preemption).
    Interrupted,
}

/// How one rank ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankExit {
    /// Its exit status, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it could not be started, if it couldn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it ended, in microseconds since the epoch.
    pub ended: i64,
    /// The machine that it ran on, where ranks of one attempt ran on several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// The failure that came first: what a person wants to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FirstFailure {
    /// The rank's number.
    pub rank: u32,
    /// Its log's last lines, without their line ends; bytes that are not UTF-8 are replaced.
    pub last_lines: Vec<String>,
    /// The machine that the rank ran on, where ranks of one attempt ran on several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What the rank's end, its error file and its last lines say about the reason, if anything is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
    /// Seconds before the next rank ended badly; none if no other did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<f64>,
}
