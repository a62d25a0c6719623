//! What is submitted together, and the exact request that is sent for it.

use camino::Utf8Path;
use serde::Serialize;

use crate::model::{ExperimentId, Handle, SubmissionKey};
use crate::plan::{self, Code, ExecutorConfig, JobFile, PlannedJob, When};

/// What is submitted together: one job, or the jobs of a group.
#[derive(Debug, Clone)]
pub struct Unit<'plan> {
    /// The experiment.
    pub experiment: &'plan ExperimentId,
    /// Its folder.
    pub experiment_dir: &'plan camino::Utf8Path,
    /// The key of this attempt.
    pub key: SubmissionKey,
    /// The attempt; it is the same for all jobs of a group.
    pub attempt: u32,
    /// The jobs.
    pub members: Vec<UnitMember<'plan>>,
}

impl Unit<'_> {
    /// The home that the experiment is in.
    #[must_use]
    pub fn home(&self) -> &Utf8Path {
        // <home>/experiments/<title>/<id>
        let above = self.experiment_dir.ancestors().nth(3);
        above.unwrap_or(self.experiment_dir)
    }
}

/// One job of a unit.
#[derive(Debug, Clone)]
pub struct UnitMember<'plan> {
    /// Its number in the experiment.
    pub index: u32,
    /// The job.
    pub job: &'plan PlannedJob,
    /// Where it is to run: in a group, members may differ in their settings.
    pub executor: &'plan ExecutorConfig,
    /// The code that it runs with; `None` where nothing of it was packed.
    pub code: Option<&'plan Code>,
    /// Its success ends the group.
    pub leader: bool,
}

/// The jobs that a unit comes after, by condition.
pub type After = Vec<(When, Vec<Handle>)>;

/// The exact request for one unit. Secrets are references in it; they are resolved when it is sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The key that it carries.
    pub key: SubmissionKey,
    /// What is sent, in the place's own form: one JSON document on one line.
    pub payload: String,
    /// The variables that secrets are put into.
    pub secrets: Vec<SecretUse>,
    /// Jobs at the same place that it comes after, and how: for places that know dependencies. Empty when it is rendered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: After,
    /// The same for people: each member's command, environment and folder.
    pub members: Vec<RenderedMember>,
}

/// A secret for one variable of one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretUse {
    /// The member's place in the unit.
    pub member: usize,
    /// The variable.
    pub variable: String,
    /// `env:NAME`, `file:PATH` or `cmd:…`.
    pub reference: String,
}

/// A member as it will be started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenderedMember {
    /// The job's name.
    pub name: String,
    /// The job's folder.
    pub job_dir: String,
    /// The attempt's folder in it.
    pub attempt_dir: String,
    /// The command of each rank; one command if all are the same.
    pub argv: Vec<Vec<String>>,
    /// How many ranks there are.
    pub ranks: u32,
    /// What is added to the environment.
    pub env: Vec<(String, String)>,
    /// The working directory.
    pub workdir: String,
    /// The files written into the job's folder first.
    pub files: Vec<JobFile>,
    /// The code that is put into the job's folder before it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<RenderedCode>,
    /// A line for a shell that starts the same without us, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<String>,
}

/// How a job gets its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RenderedCode {
    /// The tree's hash; `None` for a folder of the user's that is there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The folder at the place that holds it: the unpacked tree, whose files are linked, or the user's.
    pub from: String,
    /// The job's own folder for it at the place.
    pub to: String,
}

impl RenderedCode {
    /// What a member's code asks for. `bundles`: where trees are unpacked at the place; `job_dir`: the job's folder there.
    /// `None` if it runs where its code was written.
    #[must_use]
    pub fn of(
        member: &UnitMember<'_>,
        bundles: &Utf8Path,
        job_dir: &Utf8Path,
    ) -> Option<RenderedCode> {
        let code = member.code?;
        let to = job_dir.join(plan::CODE).into_string();
        if let Some(remote) = &code.remote {
            return Some(RenderedCode {
                tree: None,
                from: remote.clone(),
                to,
            });
        }
        (!code.in_place && !code.tree.is_empty()).then(|| RenderedCode {
            tree: Some(code.tree.clone()),
            from: bundles.join(&code.tree).join("tree").into_string(),
            to,
        })
    }
}

/// The unit can't run at this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The launcher can't be used.
    #[error(transparent)]
    Launcher(#[from] crate::launcher::LauncherError),
    /// The place has no way to do what the job asks for.
    #[error("job `{job}`: {reason}")]
    Unsupported {
        /// The job's name.
        job: String,
        /// What it asks for.
        reason: String,
    },
}
