//! The typed experiment: what a document says once it is known to be right.
//!
//! ```text
//! Node tree ── schema, check ──→ JSON document ── serde ──→ ExperimentSpec { executors, defaults, tasks, groups, … }
//! ```
//!
//! The doc comment of each field is its description in the published schema, so it speaks to users. Shorthands (`retries = 2`,
//! `after = "prepare"`) are taken apart by hand in [`shorthand`](super::shorthand): there is no `flatten` and no `untagged`,
//! because both swallow unknown keys and lose places.
//!
//! To add a key: a field here with its comment; if its text has rules, `x-mizzen-format` (see [`names`](super::names)); if it
//! refers to something else in the document, a rule in [`check`](super::check).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Timespan;
use super::shorthand::{After, ExecutorReference, Text, Words};
use super::sweep::Sweep;

/// An experiment: tasks, where they run, and what depends on what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSpec {
    /// The experiment's title. `--title` wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-mizzen-format" = "title"))]
    pub title: Option<String>,
    /// What the experiment is for, in the author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Places where tasks run, by name. `local`, this machine, is always there.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "name" }))]
    pub executors: BTreeMap<String, ExecutorSpec>,
    /// Launchers of your own, by name: words before the command (`command`), or a `kind` with settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "name" }))]
    pub launchers: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// What holds for every task that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// What happens to the rest once a job has failed for good.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The tasks. Without `after` they run side by side.
    #[serde(default)]
    pub tasks: Vec<TaskSpec>,
    /// Groups of tasks that start together in one allocation. A task joins by `group`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "name" }))]
    pub groups: BTreeMap<String, GroupSpec>,
    /// Files by name, written into the folder `files` of the experiment's folder, where every job finds them
    /// (`${experiment_dir}/files/NAME`). `${…}` in them is left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "file" }))]
    pub files: BTreeMap<String, String>,
    /// Notes of any form that are kept with the experiment. Mizzen itself does not read them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl ExperimentSpec {
    /// The task of that name.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&TaskSpec> {
        self.tasks.iter().find(|task| task.name == name)
    }

    /// The executor that a task runs on, and its name if it has one.
    #[must_use]
    pub fn executor_of<'a>(
        &'a self,
        task: &'a TaskSpec,
    ) -> Option<(Option<&'a str>, &'a ExecutorSpec)> {
        match task.executor.as_ref().or(self.defaults.executor.as_ref()) {
            Some(ExecutorReference::Inline(executor)) => Some((None, executor)),
            Some(ExecutorReference::Name(name)) => Some((Some(name), self.executors.get(name)?)),
            None => None,
        }
    }

    /// A task with the defaults filled in: `env` and `secrets` by key, `retries` by budget, everything else as a whole.
    #[must_use]
    pub fn with_defaults(&self, task: &TaskSpec) -> TaskSpec {
        let defaults = &self.defaults;
        let mut task = task.clone();
        for (name, value) in &defaults.env {
            if !task.secrets.contains_key(name) {
                task.env
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        for (name, value) in &defaults.secrets {
            if !task.env.contains_key(name) {
                task.secrets
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        task.retries = match (task.retries, defaults.retries) {
            (Some(own), Some(default)) => Some(own.or(default)),
            (own, default) => own.or(default),
        };
        task.executor = task.executor.or_else(|| defaults.executor.clone());
        task.timeout = task.timeout.or(defaults.timeout);
        task.workdir = task.workdir.or_else(|| defaults.workdir.clone());
        task.launcher = task.launcher.or_else(|| defaults.launcher.clone());
        task.grace = task.grace.or(defaults.grace);
        task
    }
}

/// Where and how a job runs: a kind and that kind's settings. What it extends has been merged in already.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorSpec {
    /// The kind, one of the vocabulary's.
    pub kind: String,
    /// The settings, checked against the kind's schema.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What holds for every task that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The executor: a name, or a table as under `executors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorReference>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "variable" }))]
    pub env: BTreeMap<String, Text>,
    /// Environment variables that are fetched when a job starts, and never written down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "variable" }))]
    pub secrets: BTreeMap<String, SecretReference>,
    /// How often a job is tried again: a number for failures of the program, or a table of budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// The longest time for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-mizzen-format" = "positive-timespan"))]
    pub timeout: Option<Timespan>,
    /// The directory that the command starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// What starts the ranks: a launcher's name, or a table with `kind` and its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<LauncherSpec>,
    /// The time between asking a job to end and killing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Timespan>,
}

/// What happens to the rest once a job has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Go on with everything that does not depend on the failed job.
    #[default]
    Continue,
    /// Start nothing new and let running jobs finish.
    Finish,
    /// Start nothing new and cancel what runs.
    Cancel,
}

/// One task: a command, and how it is run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// The task's name, unlike all others in the experiment.
    #[schemars(extend("x-mizzen-format" = "name"))]
    pub name: String,
    /// What the task does, in the author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The command: a list of arguments, or a text that is split as a shell would split it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Words>,
    /// A script file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub script: Option<String>,
    /// A script's text. `${…}` in it is left to the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub inline: Option<String>,
    /// A Python module, run as with `python3 -m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub module: Option<String>,
    /// Arguments for `script` or `module`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text>,
    /// What runs `script`, `inline` (otherwise: what `#!` says, else bash) or `module` (otherwise: python3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<Words>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "variable" }))]
    pub env: BTreeMap<String, Text>,
    /// Environment variables that are fetched when the job starts, and never written down.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "variable" }))]
    pub secrets: BTreeMap<String, SecretReference>,
    /// The directory that the command starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Where the task runs: an executor's name, or a table as under `executors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorReference>,
    /// What must have happened before: tasks' names, or tables with `task` and `when`; one of them or a list.
    #[serde(default, skip_serializing_if = "After::is_empty")]
    pub after: After,
    /// What varies: one job for each combination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// How often a job is tried again: a number for failures of the program, or a table of budgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// The longest time for one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-mizzen-format" = "positive-timespan"))]
    pub timeout: Option<Timespan>,
    /// The time between asking a job to end and killing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Timespan>,
    /// What starts the ranks: a launcher's name, or a table with `kind` and its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<LauncherSpec>,
    /// The group, one of `groups`, that the task starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Files by path, written into the job's folder before it starts (`${job_dir}/PATH`). `${…}` in them is left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "x-mizzen-format": "file" }))]
    pub files: BTreeMap<String, String>,
    /// Notes of any form that are kept with the task. Mizzen itself does not read them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// What a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// A command with its arguments.
    Run(&'a [String]),
    /// A script file.
    Script(&'a str),
    /// A script's text.
    Inline(&'a str),
    /// A Python module.
    Module(&'a str),
}

impl TaskSpec {
    /// What the task runs: `run`, `script`, `inline` or `module`. A checked task has exactly one of them.
    #[must_use]
    pub fn command(&self) -> Option<Command<'_>> {
        let run = self
            .run
            .as_ref()
            .map(|words| Command::Run(words.as_slice()));
        run.or_else(|| self.script.as_deref().map(Command::Script))
            .or_else(|| self.inline.as_deref().map(Command::Inline))
            .or_else(|| self.module.as_deref().map(Command::Module))
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// `env:NAME`: a variable of the environment of whoever launches.
    Env(String),
    /// `file:PATH`: a file's content, without the last line feed.
    File(String),
    /// `cmd:COMMAND`: what a command prints, without the last line feed.
    Command(String),
}

/// What must have happened before a task starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// The task that comes first; all of its jobs are meant.
    pub task: String,
    /// What must have become of it.
    pub when: When,
}

/// What must have become of the task that comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// It succeeded.
    #[default]
    Ok,
    /// It ended, well or not.
    Any,
    /// It failed.
    Failed,
    /// It started.
    Start,
}

/// Budgets of retries, one for each cause; what is not given is the planner's to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Retries {
    /// After failures of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<u32>,
    /// After preemption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preempted: Option<u32>,
    /// After the failure of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// After the timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// The wait before the first retry; it doubles with each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Timespan>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<Timespan>,
}

impl Retries {
    /// These budgets, with the other's where there are none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            failure: self.failure.or(other.failure),
            preempted: self.preempted.or(other.preempted),
            node: self.node.or(other.node),
            timeout: self.timeout.or(other.timeout),
            backoff: self.backoff.or(other.backoff),
            max_backoff: self.max_backoff.or(other.max_backoff),
        }
    }
}

/// A launcher and its settings, which only the launcher understands.
#[derive(Debug, Clone, PartialEq)]
pub struct LauncherSpec {
    /// The launcher's name, one of the vocabulary's.
    pub kind: String,
    /// Its settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A group of tasks that start together in one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupSpec {
    /// The member whose end decides for the group; the first one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// What the group is, in the author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
