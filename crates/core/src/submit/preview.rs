//! What would be sent, for people and as JSON, with everything private masked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use camino::Utf8PathBuf;
use serde::Serialize;

use super::SubmitError;
use crate::context::Context;
use crate::executor::{self, Executor, Request, Unit, UnitMember};
use crate::model::{Env, ExperimentId, SubmissionKey};
use crate::plan::{ExecutorConfig, JobFile, Plan, PlannedJob, Retries};

/// Stands where something private was.
pub(super) const MASK: &str = "********";

/// One job as it would be started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobPreview {
    /// The job's name.
    pub name: String,
    /// The executor's name.
    pub executor: String,
    /// The executor's kind.
    pub kind: String,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// The command of each rank; one if all are the same.
    pub argv: Vec<Vec<String>>,
    /// How many ranks there are.
    pub ranks: u32,
    /// What is added to the environment; private values are masked.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub workdir: String,
    /// The tasks that it comes after, each with its condition, such as `prepare (ok)`.
    pub after: Vec<String>,
    /// The files that are written first.
    pub files: Vec<JobFile>,
    /// Seconds that one attempt may run.
    pub timeout: Option<f64>,
    /// How often it is tried again.
    pub retries: Retries,
    /// Exactly what is sent; private values are masked.
    pub request: serde_json::Value,
    /// A line for a shell that starts the same without us, where there is one.
    pub by_hand: Option<String>,
}

/// Renders every job of a plan, as `send` would send its first attempt. Pure: nothing is written or asked.
///
/// # Errors
/// An executor can't be made, or a job can't run on it.
pub fn preview(
    context: &Context,
    plan: &Plan,
    id: &ExperimentId,
) -> Result<Vec<JobPreview>, SubmitError> {
    let mut previewer = Previewer::new(context, plan, id);
    (0..plan.jobs.len() as u32)
        .map(|index| previewer.job(index))
        .collect()
}

/// Renders the jobs of a plan one by one: who has ten thousand of them may look at a few.
#[derive(Debug)]
pub struct Previewer<'a> {
    dir: Utf8PathBuf,
    plan: &'a Plan,
    id: &'a ExperimentId,
    /// Each with its settings, in which private variables are masked.
    executors: BTreeMap<&'a str, (ExecutorConfig, Box<dyn Executor>)>,
}

impl<'a> Previewer<'a> {
    /// For the jobs of a plan.
    #[must_use]
    pub fn new(context: &Context, plan: &'a Plan, id: &'a ExperimentId) -> Previewer<'a> {
        Previewer {
            dir: context.experiment_dir(&plan.title, id),
            plan,
            id,
            executors: BTreeMap::new(),
        }
    }

    /// Renders every job and keeps nothing: whether all of them could be sent.
    ///
    /// # Errors
    /// As [`preview`].
    pub fn check(&mut self) -> Result<(), SubmitError> {
        for index in 0..self.plan.jobs.len() as u32 {
            if self.members(index)[0] == index {
                self.render(index, false)?;
            }
        }
        Ok(())
    }

    /// The job of that number.
    ///
    /// # Errors
    /// As [`preview`].
    pub fn job(&mut self, index: u32) -> Result<JobPreview, SubmitError> {
        let plan = self.plan;
        let job = &plan.jobs[index as usize];
        let task = &plan.tasks[job.task as usize];
        let mut request = self.render(index, true)?;
        let place = self
            .members(index)
            .iter()
            .position(|member| *member == index);
        let mut shown = request.members.swap_remove(place.unwrap_or(0));
        for (name, value) in &mut shown.env {
            if is_private(name) {
                value.replace_range(.., MASK);
            }
        }
        shown.env.extend(
            job.secrets
                .iter()
                .map(|(name, reference)| (name.clone(), format!("{MASK} (from {reference})"))),
        );
        let mut payload = serde_json::from_str(&request.payload).unwrap_or_default();
        mask(&mut payload);
        Ok(JobPreview {
            name: shown.name,
            executor: task.executor.clone(),
            kind: plan.executors[&task.executor].kind.clone(),
            group: task
                .group
                .map(|group| plan.groups[group as usize].name.clone()),
            argv: shown.argv,
            ranks: shown.ranks,
            env: shown.env,
            workdir: shown.workdir,
            after: after(plan, job),
            files: shown.files,
            timeout: job.timeout,
            retries: job.retries,
            request: payload,
            by_hand: shown.by_hand,
        })
    }

    /// The jobs that start together with a job, itself among them.
    fn members(&self, index: u32) -> Vec<u32> {
        let task = &self.plan.tasks[self.plan.jobs[index as usize].task as usize];
        match task.group {
            Some(group) => self.plan.groups[group as usize].jobs.clone(),
            None => vec![index],
        }
    }

    /// What would be sent for a job's unit. Private variables are masked before anything is rendered: where they stand
    /// in a script, nobody could find them afterwards.
    fn render(&mut self, index: u32, masked: bool) -> Result<Request, SubmitError> {
        let plan = self.plan;
        let task_of = |index: u32| &plan.tasks[plan.jobs[index as usize].task as usize];
        let task = task_of(index);
        let members = self.members(index);
        for member in &members {
            let name = &task_of(*member).executor;
            if let Entry::Vacant(place) = self.executors.entry(name) {
                let config = without_private(&plan.executors[name]);
                let built = executor::build(name, &config)?;
                place.insert((config, built));
            }
        }
        let jobs: Vec<Cow<'_, PlannedJob>> = members
            .iter()
            .map(|member| {
                let job = &plan.jobs[*member as usize];
                let private = masked && job.role.env.iter().any(|(name, _)| is_private(name));
                if private {
                    let mut job = job.clone();
                    job.role.env = hidden(&job.role.env);
                    Cow::Owned(job)
                } else {
                    Cow::Borrowed(job)
                }
            })
            .collect();
        let leader = task
            .group
            .and_then(|group| plan.groups[group as usize].leader);
        let unit = Unit {
            experiment: self.id,
            experiment_dir: &self.dir,
            key: SubmissionKey::new(self.id, members[0], 1),
            attempt: 1,
            members: members
                .iter()
                .zip(&jobs)
                .map(|(index, job)| UnitMember {
                    index: *index,
                    job,
                    executor: &self.executors[task_of(*index).executor.as_str()].0,
                    code: plan.code.get(&task_of(*index).executor),
                    leader: leader == Some(*index),
                })
                .collect(),
        };
        let (_, executor) = &self.executors[task_of(members[0]).executor.as_str()];
        Ok(executor.render(&unit)?)
    }
}

/// The variables, private values masked.
fn hidden(env: &Env) -> Env {
    env.iter()
        .map(|(name, value)| (name, if is_private(name) { MASK } else { value }))
        .collect()
}

/// An executor's settings, private values of its variables masked.
fn without_private(config: &ExecutorConfig) -> ExecutorConfig {
    let mut config = config.clone();
    let variables = config.settings.get_mut("env_vars");
    for (name, value) in variables
        .and_then(serde_json::Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if is_private(name) && value.is_string() {
            *value = MASK.into();
        }
    }
    config
}

fn after(plan: &Plan, job: &PlannedJob) -> Vec<String> {
    plan.tasks[job.task as usize]
        .after
        .iter()
        .map(|dependency| {
            let when = serde_json::to_value(dependency.when).unwrap_or_default();
            format!(
                "{} ({})",
                plan.tasks[dependency.task as usize].name,
                when.as_str().unwrap_or_default()
            )
        })
        .collect()
}

/// The name of a variable says that its value is nobody else's business.
#[must_use]
pub fn is_private(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let last_is = |word: &str| words.last() == Some(&word);
    [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIALS",
        "CREDENTIAL",
        "APIKEY",
    ]
    .iter()
    .any(|private| words.contains(private))
        || last_is("KEY")
        || last_is("PAT")
}

/// Masks private variables wherever the request holds pairs of names and values.
fn mask(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            if let [Value::String(name), Value::String(value)] = items.as_mut_slice() {
                if is_private(name) {
                    MASK.clone_into(value);
                }
                return;
            }
            items.iter_mut().for_each(mask);
        }
        Value::Object(entries) => {
            for (name, value) in entries.iter_mut() {
                match value {
                    // A command's words are no pair, however many there are.
                    Value::Array(_) if name == "argv" => {}
                    Value::String(text) if is_private(name) => MASK.clone_into(text),
                    other => mask(other),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_names() {
        for name in [
            "HF_TOKEN",
            "WANDB_API_KEY",
            "aws_secret_access_key",
            "GITHUB_PAT",
            "DB_PASSWORD",
            "token",
        ] {
            assert!(is_private(name), "{name}");
        }
        for name in [
            "TOKENIZERS_PARALLELISM",
            "KEYBOARD",
            "PATH",
            "MONKEY",
            "PATIENCE",
            "KEY_COUNT",
        ] {
            assert!(!is_private(name), "{name}");
        }
    }

    #[test]
    fn pairs_are_masked_and_commands_are_not() {
        let mut request = serde_json::json!({"env": [["HF_TOKEN", "s3cret"], ["A", "b"]], "argv": ["API_KEY", "x"]});
        mask(&mut request);
        assert_eq!(
            request,
            serde_json::json!({"env": [["HF_TOKEN", MASK], ["A", "b"]], "argv": ["API_KEY", "x"]})
        );
    }
}
