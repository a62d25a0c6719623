//! Sweeps become jobs, `${…}` becomes text, defaults become each job's own.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Dependency, ExecutorConfig, JobFile, Plan, PlannedGroup, PlannedJob, PlannedTask, Retries,
};
use crate::config::duration::Timespan;
use crate::config::interpolate::{self, ExpandError, Resolver};
use crate::config::spec::{self, Command, TaskSpec};
use crate::config::{self, ExperimentSpec};
use crate::model::{Env, Role};

/// Seconds between the signal that asks a job to end and SIGKILL, unless the document says otherwise. Slurm's
/// `KillWait` is the same (slurm.conf(5)).
const GRACE: f64 = 30.0;
/// Seconds before the first further attempt.
const BACKOFF: f64 = 1.0;
/// The most seconds between two attempts.
const MAX_BACKOFF: f64 = 300.0;

/// The folder, in a job's own, in which its code is, unless it runs where that is written.
pub const CODE: &str = "code";

/// What planning needs beside the spec.
pub struct PlanInputs<'a> {
    /// The experiment's title.
    pub title: &'a str,
    /// What is where for an executor.
    pub place: &'a dyn Fn(&ExecutorConfig) -> Place,
    /// The folder that relative paths start from (absolute): the experiment file's, or the working directory.
    pub base: &'a Utf8Path,
    /// The environment of whoever launches.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The names of the executors' macros.
    pub macros: &'a [String],
}

/// What jobs find where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The experiment's folder there (absolute); it need not be there yet.
    pub experiment_dir: Utf8PathBuf,
    /// Jobs have their code in the folder [`CODE`] of their own, and relative working directories start from there, below
    /// this folder of it (empty: at its top). `None`: they start from [`PlanInputs::base`], which is there as it is here.
    pub code: Option<String>,
}

/// The spec can't be planned. `config` finds all of these beforehand, with their places.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A text of a task can't be filled in.
    #[error("task `{task}`: {source}")]
    Text {
        /// The task.
        task: String,
        /// Why.
        source: ExpandError,
    },
    /// A task holds something that can't be.
    #[error("task `{task}`: {reason}")]
    Task {
        /// The task.
        task: String,
        /// Why.
        reason: String,
    },
}

/// Plans an experiment.
///
/// # Errors
/// The spec was not checked by `config::load`, or the environment changed since.
pub fn plan(spec: &ExperimentSpec, inputs: &PlanInputs<'_>) -> Result<Plan, PlanError> {
    let names = job_names(spec);
    let mut plan = Plan {
        title: inputs.title.to_owned(),
        description: spec.description.clone().unwrap_or_default(),
        on_failure: spec.on_failure,
        executors: BTreeMap::new(),
        code: BTreeMap::new(),
        tasks: Vec::with_capacity(spec.tasks.len()),
        groups: Vec::new(),
        jobs: Vec::with_capacity(names.iter().map(Vec::len).sum()),
        files: spec
            .files
            .iter()
            .map(|(name, text)| file(format!("files/{name}"), text))
            .collect(),
    };
    let numbers: BTreeMap<&str, u32> = spec
        .tasks
        .iter()
        .enumerate()
        .map(|(number, task)| (task.name.as_str(), number as u32))
        .collect();
    let places = |number: u32| {
        let (_, executor) = spec.executor_of(spec.tasks.get(number as usize)?)?;
        Some((inputs.place)(&ExecutorConfig {
            kind: executor.kind.clone(),
            settings: executor.settings.clone(),
        }))
    };
    for (number, task) in spec.tasks.iter().enumerate() {
        let error = |reason: String| PlanError::Task {
            task: task.name.clone(),
            reason,
        };
        let (executor_name, executor) = spec
            .executor_of(task)
            .ok_or_else(|| error("its executor is not there".to_owned()))?;
        let config = ExecutorConfig {
            kind: executor.kind.clone(),
            settings: executor.settings.clone(),
        };
        let executor_name = register(
            &mut plan.executors,
            executor_name,
            &task.name,
            config.clone(),
        );
        let first_job = plan.jobs.len() as u32;
        let task = spec.with_defaults(task);
        let points = task
            .sweep
            .as_ref()
            .map_or_else(|| vec![Vec::new()], config::sweep::expand);
        for (variables, name) in points.into_iter().zip(&names[number]) {
            let variables = variables
                .into_iter()
                .map(|(name, value)| (name, value.to_string()))
                .collect();
            let place = (inputs.place)(&config);
            let job = TaskExpansion {
                inputs,
                place: &place,
                places: &places,
                names: &names,
                numbers: &numbers,
                job: name,
                variables,
            };
            plan.jobs
                .push(job.job(&task, number as u32, name, &config)?);
        }
        let mut after = Vec::new();
        for dependency in task.after.iter() {
            let first = *numbers.get(dependency.task.as_str()).ok_or_else(|| {
                error(format!(
                    "there is no task `{}` to come after",
                    dependency.task
                ))
            })?;
            after.push(Dependency {
                task: first,
                when: dependency.when,
            });
        }
        let group = task
            .group
            .as_ref()
            .map(|name| group_number(&mut plan.groups, name));
        if let Some(group) = group {
            let jobs = first_job..plan.jobs.len() as u32;
            let leads = spec
                .groups
                .get(&plan.groups[group as usize].name)
                .and_then(|group| group.leader.as_deref());
            if leads == Some(task.name.as_str()) {
                plan.groups[group as usize].leader = Some(first_job);
            }
            plan.groups[group as usize].jobs.extend(jobs);
        }
        plan.tasks.push(PlannedTask {
            name: task.name.clone(),
            first_job,
            jobs: plan.jobs.len() as u32 - first_job,
            executor: executor_name,
            after,
            group,
        });
    }
    Ok(plan)
}

fn job_names(spec: &ExperimentSpec) -> Vec<Vec<String>> {
    spec.tasks
        .iter()
        .map(|task| match &task.sweep {
            None => vec![task.name.clone()],
            Some(sweep) => config::sweep::job_names(&task.name, &config::sweep::expand(sweep)),
        })
        .collect()
}

/// An executor's name in the plan. One written inside a task is named by its kind, and by its task too where that name
/// is taken by another.
fn register(
    executors: &mut BTreeMap<String, ExecutorConfig>,
    name: Option<&str>,
    task: &str,
    config: ExecutorConfig,
) -> String {
    let name = match name {
        Some(name) => name.to_owned(),
        None if executors
            .get(&config.kind)
            .is_none_or(|other| *other == config) =>
        {
            config.kind.clone()
        }
        None => format!("{}:{task}", config.kind),
    };
    executors.entry(name.clone()).or_insert(config);
    name
}

fn group_number(groups: &mut Vec<PlannedGroup>, name: &str) -> u32 {
    let number = groups
        .iter()
        .position(|group| group.name == name)
        .unwrap_or_else(|| {
            groups.push(PlannedGroup {
                name: name.to_owned(),
                jobs: Vec::new(),
                leader: None,
            });
            groups.len() - 1
        });
    number as u32
}

/// One point of one task's sweep.
struct TaskExpansion<'a> {
    inputs: &'a PlanInputs<'a>,
    place: &'a Place,
    /// The place of each task, by its number.
    places: &'a dyn Fn(u32) -> Option<Place>,
    names: &'a [Vec<String>],
    numbers: &'a BTreeMap<&'a str, u32>,
    job: &'a str,
    variables: Vec<(String, String)>,
}

impl Resolver for TaskExpansion<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "experiment_dir" => Some(self.place.experiment_dir.to_string()),
            "job_dir" => Some(self.place.experiment_dir.join(self.job).into_string()),
            _ => self
                .variables
                .iter()
                .find(|(variable, _)| variable == name)
                .map(|(_, value)| value.clone()),
        }
    }

    fn environment(&self, name: &str) -> Option<String> {
        (self.inputs.environment)(name)
    }

    fn directories(&self, task: &str) -> Option<Vec<String>> {
        let number = *self.numbers.get(task)?;
        let folder = (self.places)(number)?.experiment_dir;
        Some(
            self.names[number as usize]
                .iter()
                .map(|name| folder.join(name).into_string())
                .collect(),
        )
    }

    fn macros(&self) -> &[String] {
        self.inputs.macros
    }
}

impl TaskExpansion<'_> {
    /// A text as arguments: one, or several for the folders of a swept task.
    fn texts(&self, task: &TaskSpec, text: &str) -> Result<Vec<String>, PlanError> {
        let pieces =
            interpolate::parse(text, self.inputs.macros).map_err(|error| PlanError::Task {
                task: task.name.clone(),
                reason: error.kind.to_string(),
            })?;
        let expanded = interpolate::expand(&pieces, self).map_err(|source| PlanError::Text {
            task: task.name.clone(),
            source,
        })?;
        Ok(expanded.texts.into_iter().map(|text| text.text).collect())
    }

    fn text(&self, task: &TaskSpec, text: &str) -> Result<String, PlanError> {
        let mut texts = self.texts(task, text)?;
        match (texts.pop(), texts.is_empty()) {
            (Some(text), true) => Ok(text),
            _ => Err(PlanError::Task {
                task: task.name.clone(),
                reason: format!("`{text}` stands for several folders and can only be an argument"),
            }),
        }
    }

    fn all_texts<'t>(
        &self,
        task: &TaskSpec,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Vec<String>, PlanError> {
        let mut result = Vec::new();
        for text in texts {
            result.extend(self.texts(task, text)?);
        }
        Ok(result)
    }

    fn job(
        &self,
        task: &TaskSpec,
        number: u32,
        name: &str,
        executor: &ExecutorConfig,
    ) -> Result<PlannedJob, PlanError> {
        let error = |reason: &str| PlanError::Task {
            task: task.name.clone(),
            reason: reason.to_owned(),
        };
        let (command, mut files) = self.command(task, name)?;
        files.extend(
            task.files
                .iter()
                .map(|(path, text)| file(path.clone(), text)),
        );
        let mut command = command.into_iter();
        let entrypoint = command
            .next()
            .ok_or_else(|| error("its command is empty"))?;
        let mut env = Env::new();
        for (variable, value) in &task.env {
            env.insert(variable.clone(), self.text(task, value)?);
        }
        let setting = |key: &str| executor.settings.get(key);
        let workdir = match &task.workdir {
            Some(workdir) => self.text(task, workdir)?,
            None => setting("workdir")
                .and_then(|value| value.as_str())
                .unwrap_or(".")
                .to_owned(),
        };
        let timeout = match task.timeout {
            Some(timeout) => Some(timeout),
            None => setting("timeout")
                .and_then(|value| serde_json::from_value::<Timespan>(value.clone()).ok()),
        };
        let retries = match task.retries {
            Some(retries) => budgets(&retries),
            None => {
                let count = setting("retries")
                    .and_then(serde_json::Value::as_u64)
                    .unwrap_or(0);
                budgets(&spec::Retries {
                    failure: Some(count as u32),
                    ..spec::Retries::default()
                })
            }
        };
        Ok(PlannedJob {
            name: name.to_owned(),
            task: number,
            role: Role {
                name: name.to_owned(),
                entrypoint,
                args: command.collect(),
                env,
                num_replicas: 1,
                max_retries: retries.failure,
                ..Role::default()
            },
            secrets: task
                .secrets
                .iter()
                .map(|(name, reference)| (name.clone(), reference.to_string()))
                .collect(),
            workdir: match &self.place.code {
                None => absolute(self.inputs.base, &workdir).into_string(),
                Some(inside) => {
                    let code = self.place.experiment_dir.join(name).join(CODE);
                    absolute(&code.join(inside), &workdir).into_string()
                }
            },
            files,
            variables: self.variables.clone(),
            launcher: task
                .launcher
                .as_ref()
                .and_then(|launcher| serde_json::to_value(launcher).ok()),
            retries,
            timeout: timeout.map(|timeout| timeout.duration().as_secs_f64()),
            grace: task
                .grace
                .map_or(GRACE, |grace| grace.duration().as_secs_f64()),
        })
    }

    fn command(
        &self,
        task: &TaskSpec,
        job: &str,
    ) -> Result<(Vec<String>, Vec<JobFile>), PlanError> {
        let args = || self.all_texts(task, task.args.iter().map(|text| &**text));
        let interpreter = task.interpreter.as_ref().map(|words| words.to_vec());
        Ok(match task.command() {
            Some(Command::Run(words)) => (
                self.all_texts(task, words.iter().map(String::as_str))?,
                Vec::new(),
            ),
            Some(Command::Script(path)) => {
                let by_name = if path.ends_with(".py") {
                    "python3"
                } else {
                    "bash"
                };
                let mut command = interpreter.unwrap_or_else(|| vec![by_name.to_owned()]);
                command.push(path.to_owned());
                command.extend(args()?);
                (command, Vec::new())
            }
            Some(Command::Inline(text)) => {
                let path = format!("scripts/{}", task.name);
                let mut command = match interpreter {
                    Some(words) => words,
                    // It names its interpreter itself and is a program then.
                    None if text.starts_with("#!") => Vec::new(),
                    None => vec!["bash".to_owned()],
                };
                command.push(
                    self.place
                        .experiment_dir
                        .join(job)
                        .join(&path)
                        .into_string(),
                );
                (
                    command,
                    vec![JobFile {
                        path,
                        contents: text.to_owned(),
                        executable: true,
                    }],
                )
            }
            Some(Command::Module(module)) => {
                let mut command = interpreter.unwrap_or_else(|| vec!["python3".to_owned()]);
                command.extend(["-m".to_owned(), module.to_owned()]);
                command.extend(args()?);
                (command, Vec::new())
            }
            None => {
                return Err(PlanError::Task {
                    task: task.name.clone(),
                    reason: "it has nothing to run".to_owned(),
                });
            }
        })
    }
}

fn file(path: String, text: &str) -> JobFile {
    JobFile {
        path,
        contents: text.to_owned(),
        executable: false,
    }
}

fn absolute(base: &Utf8Path, path: &str) -> Utf8PathBuf {
    let joined = base.join(path);
    // `.` components only make messages longer.
    joined
        .components()
        .filter(|component| *component != camino::Utf8Component::CurDir)
        .collect()
}

/// What the document leaves open: preemptions and failures of machines are paid from budgets as large as the program's,
/// timeouts are not retried, since the next attempt would most likely run out of time as well.
fn budgets(retries: &spec::Retries) -> Retries {
    let failure = retries.failure.unwrap_or(0);
    let seconds = |span: Option<Timespan>, default: f64| {
        span.map_or(default, |span| span.duration().as_secs_f64())
    };
    Retries {
        failure,
        preempted: retries.preempted.unwrap_or(failure),
        node: retries.node.unwrap_or(failure),
        timeout: retries.timeout.unwrap_or(0),
        backoff: seconds(retries.backoff, BACKOFF),
        max_backoff: seconds(retries.max_backoff, MAX_BACKOFF),
    }
}
