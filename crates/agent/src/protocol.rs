//! What a supervisor says to an agent and hears from it: one JSON object a line, on the agent's standard input and output.
//!
//! ```text
//! supervisor ── Command ──▶ agent        run a job (one at a time) · signal it · end it
//! supervisor ◀── Report ─── agent        ready · started · ended · taken · refused
//! ```
//!
//! The channel is a convenience, the files are the truth: everything that a report says stands in the job's attempt
//! folder too (`agent`, `exit.json`), so that a supervisor which was killed loses nothing. When the channel closes, the
//! agent finishes the job in hand, writes its record and ends; it never starts a job that it had not yet claimed.
//! Pitfall: a line holds the environment of the job, secrets included; it must never be logged.

use serde::{Deserialize, Serialize};

use crate::record::ExitRecord;

/// The file inside an attempt's folder that names the agent which claimed it: a symbolic link (made atomically, it
/// can't be half written) whose target is [`Identity::to_text`].
pub const CLAIM: &str = "agent";
/// The file inside an attempt's folder, written by rename, that says how the attempt ended.
pub const EXIT_RECORD: &str = "exit.json";
/// The file inside an attempt's folder whose modification time says when the agent was last seen alive.
pub const HEARTBEAT: &str = "heartbeat";
/// The file inside an attempt's folder by which somebody wants the attempt to end: an [`EndOrder`] as JSON, written by rename. It is
/// read when the agent gets SIGTERM, and when it appears.
pub const END_FILE: &str = "end.json";
/// The file inside an attempt's folder that tells the agents of a world's other nodes where the first one's listens.
pub const MEETING_FILE: &str = "meeting.json";
/// Each process of a job finds its submission key under this name; what outlives its agent is found by it.
pub const KEY_VARIABLE: &str = "MIZZEN_SUBMISSION_KEY";

/// From the supervisor to the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Claim the job and start it. Sent only to an agent that has nothing in hand.
    Run(Box<Job>),
    /// Pass a signal to every process group of the job with this key; unknown keys are ignored.
    Signal {
        /// The submission key.
        key: String,
        /// The signal's number.
        signal: i32,
    },
    /// End the job: `signal` now, SIGKILL after its grace period (`immediately`: SIGKILL now).
    Cancel {
        /// The submission key.
        key: String,
        /// The first signal's number (SIGTERM, or SIGINT after a Ctrl-C).
        signal: i32,
        /// Skip the grace period.
        immediately: bool,
    },
}

/// From the agent to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// The agent is up and has nothing in hand.
    Ready(Identity),
    /// The job was claimed and all of its ranks were started.
    Started {
        /// The submission key.
        key: String,
        /// When, in microseconds since the epoch.
        time: i64,
        /// The devices that the job was given (`CUDA_VISIBLE_DEVICES`), empty when it asked for none.
        devices: Vec<String>,
    },
    /// The job ended, nothing of it is left, and its records are written (one a member, in the job's order).
    Ended {
        /// The submission key.
        key: String,
        /// One record for each member.
        records: Vec<ExitRecord>,
    },
    /// Somebody else has claimed this attempt; nothing was started.
    Taken {
        /// The submission key.
        key: String,
        /// The claim's text ([`Identity::to_text`]).
        by: String,
    },
    /// The job can't be started now or ever; nothing was started and nothing is claimed.
    Refused {
        /// The submission key.
        key: String,
        /// Why.
        reason: Refusal,
    },
}

/// Why an agent refused a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// Too few devices are free on this machine now: ask again later.
    DevicesBusy {
        /// How many are free.
        free: u32,
    },
    /// The attempt's folder could not be made or written (a full disk, a vanished home): ask again later, or give up.
    Storage(String),
    /// The agent has a job in hand already (a mistake of the supervisor's).
    Busy,
}

/// One job for an agent: one member for a plain job, several for a job group.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The submission key; also in each process's environment as [`KEY_VARIABLE`].
    pub key: String,
    /// The members, started in this order.
    pub members: Vec<Member>,
    /// Seconds of wall time after which the job is ended with the cause `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Seconds between the first signal and SIGKILL when the job is ended.
    pub grace: f64,
    /// Devices to give to the job, none shared with another job on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Devices>,
    /// Seconds between two touches of the heartbeat file.
    pub heartbeat: f64,
    /// The attempts' folders of a group's other members, where each has an agent of its own: they are told to end
    /// ([`END_FILE`]) when this job fails, or when it ends well and leads the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
}

/// What stands in [`END_FILE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOrder {
    /// Why.
    pub how: EndHow,
    /// Without a grace period.
    #[serde(default)]
    pub immediately: bool,
}

/// Why an attempt is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndHow {
    /// Somebody asked for it.
    Cancelled,
    /// Another member of its group failed.
    GroupFailed,
    /// Its group's leader has ended well.
    GroupEnded,
}

/// Accelerators for a job. Each device has a lock file; the agent holds the locks while the job runs, so that they are
/// free at once when the agent dies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// How many the job needs.
    pub count: u32,
    /// The devices there are, as written to `CUDA_VISIBLE_DEVICES`.
    pub pool: Vec<String>,
    /// The folder with one lock file a device.
    pub locks: String,
    /// The devices may be used by several jobs at once: no lock is taken and the whole pool is given.
    #[serde(default)]
    pub shared: bool,
}

/// One member of a job: a command with its ranks, its folder and its record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The job's name, for messages.
    pub name: String,
    /// The attempt's folder (absolute); made if it isn't there. Holds `agent`, `rank-<r>.log`, `exit.json`, `heartbeat`.
    pub attempt_dir: String,
    /// Where the ranks' logs are, if not in the attempt's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_dir: Option<String>,
    /// The number of the first rank, for the names of logs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_rank: u32,
    /// The working directory of every rank (absolute).
    pub workdir: String,
    /// The environment of every rank, in order; [`Rank::env`] is added to it.
    pub env: Vec<(String, String)>,
    /// The agent's own environment stands under [`Member::env`], as it is: also what is not UTF-8.
    #[serde(default)]
    pub inherit: bool,
    /// The code to put into the job's folder before its ranks start; what is there already stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// When this member ends well, the group ends well and the others are ended.
    #[serde(default)]
    pub leader: bool,
    /// The ranks are one world: the agent gives them the variables by which they find each other, ends all when one fails, and
    /// may start all again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
    /// This is one node's part of a job over several: ranks in its record are counted over all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub of_node: bool,
    /// The processes; of a world over several nodes, those of this node.
    pub ranks: Vec<Rank>,
}

/// How ranks are run as one world (the `ranks` launcher).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// How many nodes there are. On this machine all of them are this one.
    pub nodes: u32,
    /// Ranks on each node.
    pub per_node: u32,
    /// How often all ranks are started again after a failure, inside the attempt.
    #[serde(default)]
    pub max_restarts: u32,
    /// Seconds without any output and any heartbeat of any rank after which the world counts as hung; none: it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hang_timeout: Option<f64>,
    /// Which processors each rank may use.
    #[serde(default)]
    pub bind: Bind,
    /// How many of the visible GPUs each rank sees, none shared; none: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_rank: Option<u32>,
    /// Threads for each rank's OpenMP, where the environment does not say it; none: the processors that a rank has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omp_num_threads: Option<u32>,
    /// Seconds between the first signal and SIGKILL for the others when a rank has failed.
    pub stop_grace: f64,
    /// Seconds that nodes wait for each other.
    pub join_timeout: f64,
    /// The first node's address, as the others reach it.
    pub address: String,
    /// The rendezvous port; none: a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Names the world (`TORCHELASTIC_RUN_ID`): the same for all its ranks and restarts.
    pub run_id: String,
    /// This agent's part of a world with one agent a node; none: this agent starts all ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<Meeting>,
}

/// How the agents of a world's nodes find each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meeting {
    /// This agent's node, from 0.
    pub node: u32,
    /// The attempt's folder, which all nodes see (absolute).
    pub attempt_dir: String,
    /// Where the nodes share no folder: the port at which node 0 waits for the others, at the world's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// And what makes them believe each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Which processors a rank may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bind {
    /// All that the job has.
    #[default]
    None,
    /// An equal share of them, neighbours together.
    Cores,
    /// Those of one NUMA node: the first ranks the first node's, as GPUs are numbered on most machines.
    Numa,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Code for a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The folder with the code (absolute).
    pub from: String,
    /// The job's own folder for it (absolute).
    pub to: String,
    /// `to` becomes a symbolic link to `from`. Else it is a folder whose files are linked to those of `from`.
    #[serde(default)]
    pub as_link: bool,
}

/// One process of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rank {
    /// The program and its arguments; the program is looked up in the member's `PATH` unless it holds a slash.
    pub argv: Vec<String>,
    /// Added to the member's environment for this rank alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
}

/// Which agent claimed an attempt: enough to tell, later and from another process, whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The machine's name.
    pub host: String,
    /// The kernel's boot id: a pid of another boot is nobody's.
    pub boot: String,
    /// The agent's process id.
    pub pid: i32,
    /// The agent's start time in clock ticks since boot (field 22 of proc(5)'s stat): a reused pid differs here.
    pub start: u64,
}

impl Identity {
    /// `boot:pid:start:host`, the text of a claim. The host comes last because it alone is free text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}:{}:{}:{}", self.boot, self.pid, self.start, self.host)
    }

    /// Reads what [`Identity::to_text`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Identity> {
        let mut parts = text.splitn(4, ':');
        let boot = parts.next()?.to_owned();
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let host = parts.next()?.to_owned();
        Some(Identity {
            host,
            boot,
            pid,
            start,
        })
    }
}
