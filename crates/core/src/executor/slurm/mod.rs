//! Clusters under Slurm.
//!
//! ```text
//! Unit ─ render ─▶ Submission: options, batch script, command scripts ─ scheduler ─▶ sbatch, squeue, scancel
//!                    │  settings.rs     what users write
//!                    │  directives.rs   settings → options of sbatch, quoted for `#SBATCH`
//!                    │  script.rs       texts of the scripts (batch.sh.jinja, command.sh.jinja, array.sh.jinja)
//!                    └─ payload.rs      what is sent; the layout of files at the place
//! ```
//!
//! Inside of the job each task of a step is an agent (`mizzen-agent rank`), which starts the command and keeps its log and
//! its record; the batch script starts the steps, ends a group together and merges the records (`conclude`).
//!
//! Pitfalls, each tried with Slurm 22.05:
//! - srun that gets SIGTERM kills its tasks at once. Whoever wants them to have their grace signals the step
//!   (`scancel --signal=TERM JOB.STEP`, or plain `scancel JOB`, which Slurm does by itself at a time limit and a preemption),
//!   never srun and never `scancel --full`, which reaches srun.
//! - srun does not take `--cpus-per-task` over from sbatch since 22.05.
//! - `SLURM_EXPORT_ENV` from `--export=NONE` would empty the environment of the steps as well.

mod directives;
pub mod payload;
mod render;
mod scheduler;
mod script;
mod settings;

pub use payload::{ArraySubmission, Submission, SubmissionFile};
pub use script::array;
pub use settings::{ContainerRuntime, Flag, SlurmJobDetails, SlurmSettings, Text};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Base, Capabilities, Check, CheckStatus, ConnectError, Entry, Executor, ExecutorMacros,
    RenderError, Request, Scheduler, Unit,
};
use crate::context::Context;
use crate::packager::BundleRef;
use crate::tunnel::TunnelSettings;

/// This kind's name.
const KIND: &str = "slurm";

/// The registry's line.
pub(super) const ENTRY: Entry = Entry {
    kind: KIND,
    summary: "a cluster under Slurm, from here or by ssh",
    schema: || serde_json::to_value(schemars::schema_for!(SlurmSettings)).unwrap_or_default(),
    build: |settings| {
        Ok(Box::new(SlurmExecutor::new(SlurmSettings::from_value(
            settings,
        )?)))
    },
};

/// Runs jobs on a cluster under Slurm.
#[derive(Debug, Clone, PartialEq)]
pub struct SlurmExecutor {
    settings: SlurmSettings,
    base: Base,
}

impl SlurmExecutor {
    /// From its settings.
    #[must_use]
    pub fn new(settings: SlurmSettings) -> SlurmExecutor {
        let base = Base {
            packager: settings.packager.clone(),
            launcher: settings.launcher.clone(),
            env_vars: settings.env_vars.clone(),
            retries: settings.retries,
            ..Base::default()
        };
        SlurmExecutor { settings, base }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &SlurmSettings {
        &self.settings
    }

    /// The experiment's folder at the place: in the tunnel's folder for jobs, or where it is here.
    #[must_use]
    pub fn place_dir(&self, unit: &Unit<'_>) -> Utf8PathBuf {
        let mut names = unit.experiment_dir.components().rev().map(|part| part.as_str());
        match (self.settings.tunnel.job_dir(), names.next(), names.next()) {
            (Some(folder), Some(id), Some(title)) => folder.join(title).join(id),
            _ => unit.experiment_dir.to_owned(),
        }
    }
}
