//! Units to render, and the scripts that come out.

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::executor::slurm::{SlurmExecutor, SlurmSettings, Submission};
use mizzen_core::executor::{Executor, RenderError, Request, Unit, UnitMember};
use mizzen_core::model::{ExperimentId, Role, SubmissionKey};
use mizzen_core::plan::{ExecutorConfig, JobFile, PlannedJob, Retries};
use serde_json::{Value, json};

/// A job and where it runs.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) job: PlannedJob,
    pub(crate) settings: Value,
    pub(crate) leader: bool,
}

/// A job with a command.
pub(crate) fn job(name: &str, command: &[&str], settings: Value) -> Given {
    let mut words = command.iter().map(|word| (*word).to_owned());
    Given {
        job: PlannedJob {
            name: name.to_owned(),
            task: 0,
            role: Role {
                name: name.to_owned(),
                entrypoint: words.next().unwrap(),
                args: words.collect(),
                ..Role::default()
            },
            secrets: Default::default(),
            workdir: "/".to_owned(),
            files: Vec::new(),
            variables: Vec::new(),
            launcher: None,
            retries: Retries::NONE,
            timeout: None,
            grace: 30.0,
        },
        settings,
        leader: false,
    }
}

impl Given {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Given {
        self.job.role.env.insert(name, value);
        self
    }

    pub(crate) fn leader(mut self) -> Given {
        self.leader = true;
        self
    }

    pub(crate) fn file(mut self, path: &str, contents: &str) -> Given {
        self.job.files.push(JobFile {
            path: path.to_owned(),
            contents: contents.to_owned(),
            executable: true,
        });
        self
    }
}

/// What would be sent for the jobs together, with their experiment's folder `here`.
pub(crate) fn request(here: &Utf8Path, given: &[Given]) -> Result<Request, RenderError> {
    let configs: Vec<ExecutorConfig> = given
        .iter()
        .map(|given| ExecutorConfig {
            kind: "slurm".to_owned(),
            settings: given.settings.as_object().unwrap().clone(),
        })
        .collect();
    let experiment = ExperimentId::parse("x1").unwrap();
    let unit = Unit {
        experiment: &experiment,
        experiment_dir: here,
        key: SubmissionKey::new(&experiment, 0, 1),
        attempt: 1,
        members: given
            .iter()
            .zip(&configs)
            .enumerate()
            .map(|(index, (given, executor))| UnitMember {
                code: None,
                index: index as u32,
                job: &given.job,
                executor,
                leader: given.leader,
            })
            .collect(),
    };
    let settings = SlurmSettings::from_value(given[0].settings.clone()).unwrap();
    SlurmExecutor::new(settings).render(&unit)
}

/// The same as a submission.
pub(crate) fn submission(here: &Utf8Path, given: &[Given]) -> Submission {
    let request = request(here, given).unwrap();
    Submission::from_payload(&request.payload).unwrap()
}

/// The folder of the examples.
pub(crate) fn here() -> Utf8PathBuf {
    Utf8PathBuf::from("/home/me/.mizzen/experiments/title/x1")
}

/// The text of one of a submission's files.
pub(crate) fn text<'a>(submission: &'a Submission, path: &str) -> &'a str {
    let file = submission.files.iter().find(|file| file.path == path);
    &file.unwrap_or_else(|| panic!("no file {path}")).contents
}

/// Settings as most clusters want them.
pub(crate) fn settings(more: Value) -> Value {
    let mut settings = json!({"account": "physics", "partition": "gpu", "time": "01:00:00"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    settings
}
