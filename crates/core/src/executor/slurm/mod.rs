//! Clusters under Slurm.
//!
//! ```text
//! Unit ─ render ─▶ Submission: options, batch script, command scripts ─ scheduler ─▶ sbatch, squeue, scancel
//!                    │  settings.rs     what users write
//!                    │  directives.rs   settings → options of sbatch, quoted for `#SBATCH`
//!                    │  script.rs       texts of the scripts (batch.sh.jinja, command.sh.jinja, array.sh.jinja)
//!                    │  array.rs        many units as one array
//!                    │  container.rs    pyxis, Apptainer
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

mod archive;
mod array;
mod check;
mod container;
mod directives;
mod evidence;
#[doc(hidden)]
pub mod fake;
mod interactive;
pub mod payload;
mod queue;
mod render;
mod scheduler;
mod script;
mod settings;
mod site;
mod snapshot;
mod step;
mod submit;
mod words;

pub use array::array;
pub use payload::{ArraySubmission, Submission, SubmissionFile};
pub use settings::{ContainerRuntime, Flag, SlurmJobDetails, SlurmSettings, Text};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Base, Capabilities, Check, CheckStatus, ConnectError, Entry, Executor, ExecutorMacros,
    Interactive, RenderError, Request, Scheduler, Unit,
};
use crate::context::Context;
use crate::launcher::{Launcher, Starter};
use crate::tunnel::{Cmd, TunnelSettings};

/// This kind's name.
const KIND: &str = "slurm";

/// The registry's line.
pub(super) const ENTRY: Entry = Entry {
    kind: KIND,
    summary: "a cluster under Slurm, from here or by ssh",
    mixed_groups: true,
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
        self.settings.tunnel.experiment_dir(unit.experiment_dir)
    }
}

impl Executor for SlurmExecutor {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn to_config(&self) -> serde_json::Value {
        serde_json::to_value(&self.settings).unwrap_or_default()
    }

    fn clone_boxed(&self) -> Box<dyn Executor> {
        Box::new(self.clone())
    }

    fn info(&self) -> String {
        let size = self.settings.size();
        format!(
            "{KIND} executor on {}: {} node(s), {} task(s)",
            self.settings.tunnel.place(),
            size.nodes,
            size.ranks
        )
    }

    fn nnodes(&self) -> u32 {
        self.settings.size().nodes
    }

    /// How many processes a launcher starts on a node: as many as it has GPUs where Slurm starts one task a node.
    fn nproc_per_node(&self) -> u32 {
        self.settings.processes_per_node()
    }

    fn ranks(&self, launcher: Option<&serde_json::Value>) -> u32 {
        let size = self.settings.size();
        let launcher = launcher.map_or_else(|| self.get_launcher(), Launcher::from_value);
        match launcher.map(|launcher| launcher.starter()) {
            Ok(Starter::Itself) => size.nodes,
            Ok(Starter::Agents) => size.nodes.saturating_mul(self.settings.started_per_node()),
            Ok(Starter::Executor) | Err(_) => size.ranks,
        }
    }

    fn macro_values(&self) -> Option<ExecutorMacros> {
        Some(script::macros())
    }

    fn supports_launcher_transform(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            slots: None,
            idempotent: false,
            groups: true,
            arrays: true,
            dependencies: true,
            attached: false,
        }
    }

    fn experiment_dir(&self, here: &Utf8Path) -> Utf8PathBuf {
        self.settings.tunnel.experiment_dir(here)
    }

    fn shares_files(&self) -> bool {
        matches!(self.settings.tunnel, TunnelSettings::Local(_))
    }

    fn tunnel(&self) -> Option<&TunnelSettings> {
        Some(&self.settings.tunnel)
    }

    fn interactive(&self, request: &Interactive<'_>) -> Option<Result<Cmd, String>> {
        Some(Ok(interactive::command(&self.settings, request)))
    }

    fn handle_prefix(&self) -> Option<String> {
        Some(scheduler::handle_prefix(&self.settings))
    }

    fn bundles_dir(&self, home: &Utf8Path) -> Utf8PathBuf {
        match self.settings.tunnel.job_dir() {
            Some(folder) => folder.join(".mizzen/bundles"),
            None => home.join(crate::packager::TREES),
        }
    }

    fn render(&self, unit: &Unit<'_>) -> Result<Request, RenderError> {
        render::request(self, unit)
    }

    fn scheduler(&self, context: &Context) -> Result<Box<dyn Scheduler>, ConnectError> {
        Ok(Box::new(scheduler::connect(&self.settings, context)))
    }

    fn check(&self, context: &Context) -> Vec<Check> {
        if !self.shares_files() && self.settings.tunnel.job_dir().is_none() {
            return vec![Check {
                name: "tunnel.job_dir".to_owned(),
                status: CheckStatus::Failed,
                detail: "there is no folder for jobs' files on the cluster".to_owned(),
                hint: Some(render::JOB_DIR_HINT.to_owned()),
            }];
        }
        check::check(&self.settings, context)
    }
}
