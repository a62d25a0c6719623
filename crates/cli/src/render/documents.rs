//! What `--json` prints: the published documents. Their schemas come from these types (`mizzen schema NAME`) and stand
//! under `docs/reference/`. Keys are only ever added; times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use mizzen_core::model::{Cause, Failure, JobState, Usage};
use mizzen_core::store::{AttemptView, ExperimentSummary, ExperimentView, JobView};
use schemars::JsonSchema;
use serde::Serialize;

/// `mizzen status --json`, and what run, launch, wait, cancel and retry print under `--json`: an experiment with all of
/// its jobs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct StatusDocument {
    /// The experiment's id.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
    /// Its state.
    pub(crate) state: JobState,
    /// When it was created.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created: String,
    /// Its jobs, in the order of the experiment file.
    pub(crate) jobs: Vec<JobDocument>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct JobDocument {
    /// Its name, unique in the experiment.
    pub(crate) name: String,
    /// Its state.
    pub(crate) state: JobState,
    /// Why it is in its state; null where that is plain.
    pub(crate) cause: Option<Cause>,
    /// What its place said of its end, or why it was not started, in words for people; null where there is nothing to add.
    pub(crate) message: Option<String>,
    /// The name of its executor.
    pub(crate) executor: String,
    /// What names its last attempt at its place; null before the place has it.
    pub(crate) handle: Option<String>,
    /// Every try of it, oldest first.
    pub(crate) attempts: Vec<AttemptDocument>,
}

/// One try of a job.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AttemptDocument {
    /// Counts from 1.
    pub(crate) number: u32,
    /// Its state.
    pub(crate) state: JobState,
    /// Why it is in its state; null where that is plain.
    pub(crate) cause: Option<Cause>,
    /// The exit status of the rank that failed first, else 0 once it succeeded; 128 + the signal's number for one that
    /// was ended by a signal; null before it ended and where no record was left.
    pub(crate) exit_code: Option<i32>,
    /// When its processes were started.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) started: Option<String>,
    /// When it ended.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) ended: Option<String>,
    /// The machines that it ran on.
    pub(crate) nodes: Vec<String>,
    /// The path of its log on this machine: of the rank that failed first, else of rank 0.
    pub(crate) log: Option<String>,
    /// Who failed first, and why; null if no rank failed.
    pub(crate) failure: Option<Failure>,
    /// What it used, so far or in all; null where that is not known.
    pub(crate) usage: Option<Usage>,
}

impl StatusDocument {
    /// From what the store says.
    pub(crate) fn of(view: &ExperimentView) -> StatusDocument {
        StatusDocument {
            id: view.summary.id.to_string(),
            title: view.summary.title.clone(),
            state: view.summary.state,
            created: view.summary.created.to_text(),
            jobs: view
                .jobs
                .iter()
                .map(|job| JobDocument::of(view, job))
                .collect(),
        }
    }
}

impl JobDocument {
    fn of(view: &ExperimentView, job: &JobView) -> JobDocument {
        JobDocument {
            name: job.name.clone(),
            state: job.state,
            cause: job.cause,
            message: job.message.clone(),
            executor: job.executor.to_string(),
            handle: job
                .attempts
                .last()
                .and_then(|attempt| attempt.handle.as_ref())
                .map(|handle| handle.0.clone()),
            attempts: job
                .attempts
                .iter()
                .map(|attempt| AttemptDocument::of(view, job, attempt))
                .collect(),
        }
    }
}

impl AttemptDocument {
    fn of(view: &ExperimentView, job: &JobView, attempt: &AttemptView) -> AttemptDocument {
        let failed_first = attempt
            .record
            .as_ref()
            .and_then(|record| record.first_failure.as_ref());
        let rank = failed_first.map_or(0, |failure| failure.rank);
        let log = mizzen_core::logs::attempt_dir(view, job, attempt.number)
            .join(format!("rank-{rank}.log"));
        AttemptDocument {
            number: attempt.number,
            state: attempt.state,
            cause: attempt.cause,
            exit_code: attempt.exit_code,
            started: attempt.started.map(|time| time.to_text()),
            ended: attempt.ended.map(|time| time.to_text()),
            nodes: attempt.nodes.to_vec(),
            log: (attempt.started.is_some() || attempt.record.is_some()).then(|| log.into_string()),
            failure: attempt.record.as_ref().and_then(Failure::of),
            usage: attempt.usage.as_deref().cloned(),
        }
    }
}

/// `mizzen ls --json`: experiments, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct ListDocument(pub(crate) Vec<ListedExperiment>);

/// One experiment of a list.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ListedExperiment {
    /// Its id.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
    /// Its state.
    pub(crate) state: JobState,
    /// When it was created.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created: String,
    /// When it ended; null while it goes on.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) ended: Option<String>,
    /// How many jobs are in each state; states without a job are left out.
    pub(crate) jobs: BTreeMap<JobState, u32>,
}

impl ListedExperiment {
    /// From what the store says.
    pub(crate) fn of(summary: &ExperimentSummary) -> ListedExperiment {
        ListedExperiment {
            id: summary.id.to_string(),
            title: summary.title.clone(),
            state: summary.state,
            created: summary.created.to_text(),
            ended: summary.ended.map(|time| time.to_text()),
            jobs: JobState::ALL
                .into_iter()
                .map(|state| (state, summary.counts.of(state)))
                .filter(|(_, number)| *number > 0)
                .collect(),
        }
    }
}

/// `mizzen show --json`: what an experiment was made from.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ShowDocument {
    /// The experiment's id.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
    /// When it was created.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created: String,
    /// Its folder.
    pub(crate) dir: String,
    /// The command line that created it.
    pub(crate) command: Vec<String>,
    /// Who created it.
    pub(crate) user: String,
    /// On which machine.
    pub(crate) host: String,
    /// In which folder.
    pub(crate) workdir: String,
    /// The version of mizzen that created it.
    pub(crate) version: String,
    /// The hash of its plan: equal plans, equal fingerprints.
    pub(crate) fingerprint: String,
    /// The code of the jobs by executor: packager, hash of the kept tree, the folder it was made of, files and bytes, and whether
    /// jobs ran in that folder itself.
    pub(crate) code: serde_json::Value,
    /// The repository's state, the hashes of lock files, the machine and its Python; null if it is not known.
    pub(crate) surroundings: serde_json::Value,
    /// The machines that jobs ran on elsewhere, as far as their records are here.
    pub(crate) nodes: Vec<serde_json::Value>,
    /// Who failed first in each job that failed, and why; of many jobs the first hundred that failed.
    pub(crate) failures: Vec<JobFailureDocument>,
    /// What the last attempt of each job used, so far or in all, by the job's name.
    pub(crate) usage: BTreeMap<String, Usage>,
    /// The whole configuration, with every layer applied.
    pub(crate) document: serde_json::Value,
    /// For each leaf of the document, by its path: where it was set.
    pub(crate) provenance: serde_json::Value,
    /// The id of the experiment that it repeats; null for those that `mizzen repro` did not make.
    pub(crate) repeats: Option<serde_json::Value>,
    /// Where it came from, if it ran elsewhere and only its history was imported; null for those that ran here.
    pub(crate) imported: Option<serde_json::Value>,
}

/// The failure of a job's last attempt.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct JobFailureDocument {
    /// The job.
    pub(crate) job: String,
    /// Its attempt.
    pub(crate) attempt: u32,
    /// Who failed first, and why.
    pub(crate) failure: Failure,
}

/// `mizzen plan --json`: what would be sent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PlanDocument {
    /// The experiment's title.
    pub(crate) title: String,
    /// What happens to the rest after a job failed for good: `continue`, `finish` or `cancel`.
    pub(crate) on_failure: String,
    /// The hash of the plan: equal plans, equal fingerprints.
    pub(crate) fingerprint: String,
    /// The code of the jobs by executor, as it stands now: nothing of it was kept or sent.
    pub(crate) code: serde_json::Value,
    /// The jobs, in their order.
    pub(crate) jobs: Vec<PlannedJobDocument>,
    /// With `--check`: what the places of the jobs were found to be like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checks: Option<Vec<CheckDocument>>,
}

/// One planned job.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PlannedJobDocument {
    /// Its name.
    pub(crate) name: String,
    /// The name of its executor.
    pub(crate) executor: String,
    /// The executor's kind.
    pub(crate) kind: String,
    /// The command of every rank; one command where all ranks run the same.
    pub(crate) argv: Vec<Vec<String>>,
    /// The environment that is added, secrets masked.
    pub(crate) env: Vec<VariableDocument>,
    /// The working directory.
    pub(crate) workdir: String,
    /// What it waits for, such as `prepare (ok)`.
    pub(crate) after: Vec<String>,
    /// Files written for it before it starts.
    pub(crate) files: Vec<FileDocument>,
    /// Seconds that one attempt may run.
    pub(crate) timeout: Option<f64>,
    /// How often it is tried again after a failure of its own.
    pub(crate) retries: u32,
    /// The exact request, secrets masked; its form is the executor kind's.
    pub(crate) request: serde_json::Value,
    /// A line for a shell that starts the same (its first process) without mizzen, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_hand: Option<String>,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct VariableDocument {
    /// Its name.
    pub(crate) name: String,
    /// Its value, masked for secrets.
    pub(crate) value: String,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FileDocument {
    /// Its path in the job's folder.
    pub(crate) path: String,
    /// Its text.
    pub(crate) contents: String,
    /// It may be executed.
    pub(crate) executable: bool,
}

/// `mizzen logs --json`: one such object a line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct LogLineDocument {
    /// The job's name.
    pub(crate) job: String,
    /// The attempt's number, from 1.
    pub(crate) attempt: u32,
    /// The rank's number, from 0.
    pub(crate) rank: u32,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub(crate) line: String,
}

/// `mizzen executors --json`: the kinds of executors there are, and the configured ones.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ExecutorsDocument {
    /// The kinds.
    pub(crate) kinds: Vec<KindDocument>,
    /// The configured executors, by name.
    pub(crate) configured: Vec<ConfiguredExecutor>,
}

/// A kind of executor.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct KindDocument {
    /// The word for `kind =`.
    pub(crate) kind: String,
    /// One line about it.
    pub(crate) summary: String,
    /// The JSON schema of its settings.
    pub(crate) settings: serde_json::Value,
}

/// A configured executor.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ConfiguredExecutor {
    /// The name that `-e` takes.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: String,
    /// Its settings, as configured.
    pub(crate) settings: serde_json::Value,
    /// Where it is configured.
    pub(crate) origin: String,
}

/// `mizzen doctor --json`: what was checked.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct DoctorDocument {
    /// No check failed.
    pub(crate) ok: bool,
    /// The checks, in their order.
    pub(crate) checks: Vec<CheckDocument>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct CheckDocument {
    /// What was checked.
    pub(crate) name: String,
    /// How it went.
    pub(crate) status: CheckStatus,
    /// What was found.
    pub(crate) detail: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// `mizzen tunnel … --json`: connections to other machines.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TunnelsDocument {
    /// The connections that were asked about, by name.
    pub(crate) tunnels: Vec<TunnelDocument>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct TunnelDocument {
    /// `[USER@]HOST[:PORT]`.
    pub(crate) name: String,
    /// Whether it is open.
    pub(crate) state: TunnelState,
    /// It is one of mizzen's; false for a master of the user's own.
    pub(crate) ours: bool,
    /// When mizzen opened it.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) opened: Option<String>,
    /// The seconds that a command took which does nothing; null if none was run.
    pub(crate) round_trip: Option<f64>,
    /// Whether mizzen's agent runs there; null if that was not tried. Without it each command takes a session of its own.
    pub(crate) agent: Option<bool>,
    /// Why it does not work.
    pub(crate) error: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// `mizzen devspace --json`: devspaces.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct DevspacesDocument {
    /// The devspaces, by name.
    pub(crate) devspaces: Vec<DevspaceDocument>,
}

/// A devspace.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct DevspaceDocument {
    /// Its name, which is the host for ssh.
    pub(crate) name: String,
    /// Whether it can be used.
    pub(crate) state: DevspaceState,
    /// The executor's name.
    pub(crate) executor: String,
    /// The experiment whose job it is.
    pub(crate) experiment: String,
    /// The node, as it is reached; null until it is there.
    pub(crate) host: Option<String>,
    /// The port there; null until it is there.
    pub(crate) port: Option<u16>,
    /// When it was asked for.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created: String,
    /// The configuration of ssh that it is entered in.
    pub(crate) ssh_config: String,
}

/// Whether a devspace can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DevspaceState {
    /// Its job waits, or its sshd does not listen yet.
    Starting,
    /// It is there.
    Up,
    /// Its job has ended, and it was removed.
    Ended,
}

/// Whether a connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TunnelState {
    /// It can be used.
    Open,
    /// It is gone, or was never there.
    Closed,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CheckStatus {
    /// Well.
    Ok,
    /// It works, but.
    Warning,
    /// It does not work.
    Failed,
}

/// `mizzen rm --json`: what was removed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RemovedDocument {
    /// The ids of the experiments that are gone.
    pub(crate) removed: Vec<String>,
}

/// `mizzen diff --json`: how two experiments differ.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct DiffDocument {
    /// The first experiment's id.
    pub(crate) a: String,
    /// The second experiment's id.
    pub(crate) b: String,
    /// They do not differ.
    pub(crate) same: bool,
    /// The files of the code that differ.
    pub(crate) code: Vec<FileChangeDocument>,
    /// Why the code can't be compared, if it can't.
    pub(crate) code_unknown: Option<String>,
    /// Values of the configuration that differ, by JSON pointer.
    pub(crate) config: Vec<ChangeDocument>,
    /// What differs around them: repository, machine, Python, packages.
    pub(crate) environment: Vec<ChangeDocument>,
    /// States, causes and exit codes that differ.
    pub(crate) outcome: Vec<ChangeDocument>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FileChangeDocument {
    /// Its path.
    pub(crate) path: String,
    /// `added`, `removed`, `changed`, or `mode` if only the executable bit differs.
    pub(crate) change: String,
    /// With `--patch`: its changed lines; null for what is no text.
    pub(crate) patch: Option<String>,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ChangeDocument {
    /// What it is.
    pub(crate) path: String,
    /// The first experiment's; null if it has none.
    pub(crate) a: Option<serde_json::Value>,
    /// The second experiment's; null if it has none.
    pub(crate) b: Option<serde_json::Value>,
}

/// `mizzen gc --json`: kept code that was removed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct GcDocument {
    /// Nothing was removed; this is what would be.
    pub(crate) dry_run: bool,
    /// How many trees are no longer kept here.
    pub(crate) trees: u64,
    /// How many packs are gone.
    pub(crate) packs: u64,
    /// The bytes given back here.
    pub(crate) bytes: u64,
    /// What is gone here.
    pub(crate) items: Vec<GcItem>,
    /// What is gone at other places.
    pub(crate) places: Vec<GcPlace>,
}

/// A file or folder that is gone.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct GcItem {
    /// Its path.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) bytes: u64,
}

/// What is gone at a place.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct GcPlace {
    /// The executor.
    pub(crate) executor: String,
    /// The trees' hashes.
    pub(crate) trees: Vec<String>,
}

/// `mizzen import-nemo --json`: what was imported.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ImportDocument {
    /// The home of NeMo-Run.
    pub(crate) home: String,
    /// Nothing was written; `imported` is what would be.
    pub(crate) dry_run: bool,
    /// The experiments that were not there before, oldest first.
    pub(crate) imported: Vec<ImportedExperiment>,
    /// How many were there before.
    pub(crate) known: u32,
    /// What can't be read.
    pub(crate) unreadable: Vec<UnreadableDocument>,
}

/// An imported experiment.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ImportedExperiment {
    /// Its id here.
    pub(crate) id: String,
    /// Its title here.
    pub(crate) title: String,
    /// Its id in NeMo-Run.
    pub(crate) original: String,
    /// Its state.
    pub(crate) state: JobState,
    /// When it was created.
    #[schemars(extend("format" = "date-time"))]
    pub(crate) created: String,
    /// Its folder in the home of NeMo-Run.
    pub(crate) folder: String,
    /// How many jobs are in each state; states without a job are left out.
    pub(crate) jobs: BTreeMap<JobState, u32>,
    /// What could not be read, and what follows from it.
    pub(crate) notes: Vec<String>,
}

/// Something that can't be read.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct UnreadableDocument {
    /// Where.
    pub(crate) path: String,
    /// Why.
    pub(crate) reason: String,
}

/// What `--detach` prints under `--json`: the experiment that was started.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct StartedDocument {
    /// Its id.
    pub(crate) id: String,
    /// Its title.
    pub(crate) title: String,
}

/// How a JSON document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On one line.
    Line,
    /// Indented, for people.
    Indented,
}

/// A document as JSON, with a line end.
pub(crate) fn json(layout: Layout, document: &impl Serialize) -> String {
    let text = match layout {
        Layout::Line => serde_json::to_string(document),
        Layout::Indented => serde_json::to_string_pretty(document),
    };
    match text {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("documents are plain data with text for keys: {error}"),
    }
}

/// The names of the published schemas.
pub(crate) const SCHEMA_NAMES: [&str; 14] = [
    "status",
    "ls",
    "show",
    "plan",
    "logs",
    "executors",
    "doctor",
    "rm",
    "started",
    "diff",
    "gc",
    "import-nemo",
    "tunnel",
    "devspace",
];

/// The schema of a published document.
pub(crate) fn schema(name: &str) -> Option<serde_json::Value> {
    let schema = match name {
        "status" => schemars::schema_for!(StatusDocument),
        "ls" => schemars::schema_for!(ListDocument),
        "show" => schemars::schema_for!(ShowDocument),
        "plan" => schemars::schema_for!(PlanDocument),
        "logs" => schemars::schema_for!(LogLineDocument),
        "executors" => schemars::schema_for!(ExecutorsDocument),
        "doctor" => schemars::schema_for!(DoctorDocument),
        "rm" => schemars::schema_for!(RemovedDocument),
        "diff" => schemars::schema_for!(DiffDocument),
        "gc" => schemars::schema_for!(GcDocument),
        "import-nemo" => schemars::schema_for!(ImportDocument),
        "started" => schemars::schema_for!(StartedDocument),
        "tunnel" => schemars::schema_for!(TunnelsDocument),
        "devspace" => schemars::schema_for!(DevspacesDocument),
        _ => return None,
    };
    Some(schema.to_value())
}
