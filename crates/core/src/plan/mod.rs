//! From a checked spec to a plan: every job with its command, environment, folder and dependencies, decided before
//! anything is submitted.
//!
//! ```text
//! ExperimentSpec ─┬─ expand:  sweeps → jobs, ${…} → text, defaults → each job
//!                 ├─          after, groups → dependencies by number
//!                 └─ fingerprint: the plan's hash                        ──→ Plan
//! ```
//!
//! Planning is pure and deterministic: the same spec and the same inputs give the same plan, byte for byte. A plan is
//! one JSON document; the store keeps it, `mizzen plan` prints what it says, and a retry or a take-over reads it again.
//! Pitfall: secrets are references here and stay references; nothing of a plan is private.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Role;

mod expand;
mod fingerprint;

pub use expand::{CODE, Place, PlanError, PlanInputs, plan};

pub use crate::config::spec::{OnFailure, When};

/// Everything decided before submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The experiment's title.
    pub title: String,
    /// What the user wrote about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What happens to the rest after a job failed for good.
    pub on_failure: OnFailure,
    /// The executors that jobs name; none for imported history, whose jobs name what they ran on elsewhere.
    pub executors: BTreeMap<String, ExecutorConfig>,
    /// The code of the jobs by executor; none before it is packed (`submit::package`), and of imported history.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub code: BTreeMap<String, Code>,
    /// The tasks, in the document's order.
    pub tasks: Vec<PlannedTask>,
    /// The job groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<PlannedGroup>,
    /// The jobs: each task's follow each other, in the tasks' order.
    #[serde(default)]
    pub jobs: Vec<PlannedJob>,
    /// Files for all jobs, with paths in the experiment's folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<JobFile>,
}

/// An executor by kind, with its settings as the document gave them (its kind's schema was checked).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorConfig {
    /// The kind: a name of the registry.
    pub kind: String,
    /// The settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// The code that the jobs of an executor run with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// The packager's kind.
    pub packager: String,
    /// The hash of the tree that is kept; empty if none is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tree: String,
    /// The folder on the machine of whoever launched that the tree was made of.
    pub root: String,
    /// Where they stood below it: relative working directories start from there. Empty: at the top.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub inside: String,
    /// How many files the tree has.
    #[serde(default)]
    pub files: u64,
    /// The bytes of these files.
    #[serde(default)]
    pub bytes: u64,
    /// Jobs run in the folder itself; the tree says what it was when they were launched.
    #[serde(default)]
    pub in_place: bool,
    /// Why no tree is kept of a folder that jobs run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
    /// A folder at the place that is the jobs' code (NeMo-Run's `symlink_from_remote_dir`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// A task: one job, or one for each point of its sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedTask {
    /// Its name.
    pub name: String,
    /// The number of its first job.
    pub first_job: u32,
    /// How many jobs it has.
    pub jobs: u32,
    /// The name of its executor in [`Plan::executors`].
    pub executor: String,
    /// What it comes after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Dependency>,
    /// The number of the group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// A dependency on a whole task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The number of the task that comes first.
    pub task: u32,
    /// What must have happened to it.
    pub when: When,
}

/// A job group: its tasks' jobs are started together and end together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedGroup {
    /// Its name.
    pub name: String,
    /// The numbers of its jobs, in order.
    pub jobs: Vec<u32>,
    /// The job whose success ends the group; without one the group lasts until all of its jobs have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u32>,
}

/// One task bound to an executor, with everything filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedJob {
    /// Its name: the task's, with the sweep's values behind it.
    pub name: String,
    /// The number of its task.
    pub task: u32,
    /// Command and environment. Arguments and values may still hold the executor's macros.
    pub role: Role,
    /// Secrets by the names of the variables that carry them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub workdir: String,
    /// Files that are written into the job's folder before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<JobFile>,
    /// The sweep's variables, as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<(String, String)>,
    /// The launcher, if the task names one (else the executor's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<serde_json::Value>,
    /// How often it is tried again, and after what time.
    #[serde(default, skip_serializing_if = "Retries::is_none")]
    pub retries: Retries,
    /// Seconds that one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Seconds between the signal that asks it to end and SIGKILL.
    pub grace: f64,
}

/// A file in the job's folder, or in the experiment's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Its path in that folder, such as `scripts/train.sh`.
    pub path: String,
    /// Its text.
    pub contents: String,
    /// It gets the executable bits (0700, else 0600).
    pub executable: bool,
}

/// Budgets for further attempts: one for each class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// After failures of the program.
    #[serde(default)]
    pub failure: u32,
    /// After preemptions.
    #[serde(default)]
    pub preempted: u32,
    /// After failures of the machine.
    #[serde(default)]
    pub node: u32,
    /// After timeouts.
    #[serde(default)]
    pub timeout: u32,
    /// Seconds before the first further attempt; doubled for each one after it.
    pub backoff: f64,
    /// The most seconds between two attempts.
    pub max_backoff: f64,
}

impl Retries {
    /// No further attempt.
    pub const NONE: Retries = Retries {
        failure: 0,
        preempted: 0,
        node: 0,
        timeout: 0,
        backoff: 1.0,
        max_backoff: 300.0,
    };

    /// No budget holds anything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.failure == 0 && self.preempted == 0 && self.node == 0 && self.timeout == 0
    }
}

impl Default for Retries {
    fn default() -> Retries {
        Retries::NONE
    }
}

impl Plan {
    /// The plan as JSON, its jobs left out: the store keeps those one by one.
    ///
    /// # Errors
    /// Never for a plan that was made here: all of its keys are text.
    pub fn to_json_without_jobs(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.clone_without_jobs())
    }

    fn clone_without_jobs(&self) -> Plan {
        Plan {
            title: self.title.clone(),
            description: self.description.clone(),
            on_failure: self.on_failure,
            executors: self.executors.clone(),
            code: self.code.clone(),
            tasks: self.tasks.clone(),
            groups: self.groups.clone(),
            jobs: Vec::new(),
            files: self.files.clone(),
        }
    }

    /// The hash of the whole plan: equal plans, equal fingerprints, whatever the experiment's folders, here and elsewhere, are.
    #[must_use]
    pub fn fingerprint(&self, experiment_dirs: &[camino::Utf8PathBuf]) -> String {
        fingerprint::of(self, experiment_dirs)
    }
}
