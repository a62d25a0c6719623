//! Where and how a job runs: the executors, one folder each, and the table that names them.
//!
//! ```text
//! ExecutorConfig ─ registry ─▶ Executor ── render(Unit) ──▶ Request      a value: pure, printed by `mizzen plan`
//!                                 └─ scheduler(Context) ─▶ Scheduler     a connection: submit · find · observe · cancel
//! ```
//!
//! An [`Executor`] is a plain value that serialises, compares and clones; a [`Scheduler`] is the live connection to its
//! place. The supervisor (`watch`) drives schedulers through this trait alone.
//!
//! Adding an executor: a folder here with its settings (serde and schemars), its [`Executor`] and its [`Scheduler`], and
//! one line in `REGISTRY`. Its name stands nowhere else (`tests/architecture.rs`). Pitfall: a scheduler must answer
//! "not seen" and "could not ask" differently; the first is `Ok(None)` or a missing observation, the second an error.

mod base;
mod direct;
pub mod docker;
mod import;
mod interactive;
pub mod local;
mod macros;
mod registry;
mod request;
mod scheduler;
mod secret;
pub mod slurm;

use std::fmt::Debug;

use camino::{Utf8Path, Utf8PathBuf};

pub use base::Base;
pub use import::{ImportError, import_executor, import_executor_config};
pub use interactive::Interactive;
pub use macros::{ExecutorMacros, safe_substitute};
pub use registry::{Entry, ExecutorError, build, check, find_kind, registry, vocabulary};
pub use request::{
    After, RenderError, RenderedCode, RenderedMember, Request, SecretUse, Unit, UnitMember,
};
pub use scheduler::{
    CancelError, ConnectError, MemberEnd, Observation, ObserveError, Observed, Scheduler,
    SubmitError, end_from_record,
};
pub use secret::{SecretError, resolve as resolve_secret};

use crate::context::Context;
use crate::launcher::{Launcher, LauncherError, Starter};
use crate::model::Handle;
use crate::tunnel::{Cmd, TunnelSettings};

/// Where and how a task runs: a value that serialises, compares and clones; it holds no connection (the seed's
/// `Executor`, method by method; its attributes are [`Base`]'s fields).
pub trait Executor: Debug + Send + Sync {
    /// The kind's name in the registry.
    fn kind(&self) -> &'static str;

    /// The attributes that every executor has.
    fn base(&self) -> &Base;

    /// The attributes that every executor has, to be changed.
    fn base_mut(&mut self) -> &mut Base;

    /// The settings as a document.
    fn to_config(&self) -> serde_json::Value;

    /// One line for people.
    fn info(&self) -> String {
        format!(
            "{} executor: {} node(s) with {} process(es) each",
            self.kind(),
            self.nnodes(),
            self.nproc_per_node()
        )
    }

    /// Tells the executor which experiment and which job it is for. `task_dir` is relative to `exp_dir`.
    fn assign(&mut self, exp_id: &str, exp_dir: &str, task_id: &str, task_dir: &str) {
        let _ = task_id;
        let base = self.base_mut();
        base.experiment_id = Some(exp_id.to_owned());
        base.experiment_dir = exp_dir.to_owned();
        base.job_dir = format!("{}/{task_dir}", exp_dir.trim_end_matches('/'));
    }

    /// An executor like this one (the seed's `clone`; that name is Rust's own).
    fn clone_boxed(&self) -> Box<dyn Executor>;

    /// How many nodes.
    fn nnodes(&self) -> u32;

    /// How many processes a node.
    fn nproc_per_node(&self) -> u32;

    /// How many ranks a job has under a launcher (the executor's own if `None`): each has a log of its own.
    fn ranks(&self, launcher: Option<&serde_json::Value>) -> u32 {
        let launcher = launcher.map_or_else(|| self.get_launcher(), Launcher::from_value);
        match launcher.map(|launcher| launcher.starter()) {
            Ok(Starter::Itself) => self.nnodes(),
            _ => self.nnodes().saturating_mul(self.nproc_per_node()),
        }
    }

    /// What stands for the macros here; `None`: they are left as they are.
    fn macro_values(&self) -> Option<ExecutorMacros> {
        None
    }

    /// The launcher, by its name or settings; `none` if there is none.
    ///
    /// # Errors
    /// No launcher has the name, or the settings are not a launcher's.
    fn get_launcher(&self) -> Result<Launcher, LauncherError> {
        self.base()
            .launcher
            .as_ref()
            .map_or_else(|| Ok(Launcher::default()), Launcher::from_value)
    }

    /// The words before every rank's command, without the program; `None` when nothing goes before it.
    ///
    /// # Errors
    /// As [`Executor::get_launcher`].
    fn get_launcher_prefix(&self) -> Result<Option<Vec<String>>, LauncherError> {
        Ok(self.get_launcher()?.nsys_prefix(&self.base().job_dir))
    }

    /// The profiler's program.
    fn get_nsys_entrypoint(&self) -> String {
        "nsys".to_owned()
    }

    /// Launchers may replace the whole command by a script here.
    fn supports_launcher_transform(&self) -> bool {
        false
    }

    /// Writes named texts into the job's folder, under `configs/`, and answers with their paths as the job sees them.
    ///
    /// # Errors
    /// A file can't be written.
    fn package_configs(&self, cfgs: &[(String, String)]) -> std::io::Result<Vec<String>> {
        base::write_configs(self.base(), cfgs)
    }

    /// Makes the job's folder.
    ///
    /// # Errors
    /// As mkdir(2).
    fn create_job_dir(&self) -> std::io::Result<()> {
        crate::context::create_private_dir(camino::Utf8Path::new(&self.base().job_dir))
    }

    /// The experiment's folder at the place, for the one that is `here`: `<home>/experiments/<title>/<id>`. They are the
    /// same where the place sees our files.
    fn experiment_dir(&self, here: &Utf8Path) -> Utf8PathBuf {
        here.to_owned()
    }

    /// The place sees our working directories under the same paths.
    fn shares_files(&self) -> bool {
        true
    }

    /// Jobs run at once and in the folder that their code is written in, unless the packager says otherwise.
    fn runs_in_place(&self) -> bool {
        false
    }

    /// The folder at the place in which trees of code are unpacked, one folder each. `home`: ours.
    fn bundles_dir(&self, home: &Utf8Path) -> Utf8PathBuf {
        home.join(crate::packager::TREES)
    }

    /// What the handles of all jobs at the place begin with. Jobs of which that is the same may be made to wait for each
    /// other there, if the place knows dependencies.
    fn handle_prefix(&self) -> Option<String> {
        None
    }

    /// The way to the place, where there is one.
    fn tunnel(&self) -> Option<&TunnelSettings> {
        None
    }

    /// The ways to all machines of the place, where there are any; [`Executor::tunnel`] is the first of them.
    fn tunnels(&self) -> Vec<&TunnelSettings> {
        self.tunnel().into_iter().collect()
    }

    /// The experiment's folder at each machine of the place that keeps files of its own, in the order of
    /// [`Executor::tunnels`]; [`Executor::experiment_dir`] is the first of them.
    fn experiment_dirs(&self, here: &Utf8Path) -> Vec<Utf8PathBuf> {
        vec![self.experiment_dir(here)]
    }

    /// The folder of trees at each of these machines.
    fn bundles_dirs(&self, home: &Utf8Path) -> Vec<Utf8PathBuf> {
        vec![self.bundles_dir(home)]
    }

    /// Settings that only the machine which plans can tell, to be put over its own in the plan. Nobody is asked over the network.
    fn settled(&self, context: &Context) -> Option<serde_json::Map<String, serde_json::Value>> {
        let _ = context;
        None
    }

    /// The command for a session at somebody's terminal with this executor's settings, run by way of [`Executor::tunnel`].
    /// `None` where there are no such sessions; an error in words for people where this one can't be.
    fn interactive(&self, request: &Interactive<'_>) -> Option<Result<Cmd, String>> {
        let _ = request;
        None
    }

    /// Removes what a job left at its place, beside its folder. Nothing by default.
    ///
    /// # Errors
    /// The place could not be reached.
    fn cleanup(&self, handle: &Handle) -> std::io::Result<()> {
        let _ = handle;
        Ok(())
    }

    /// What the place can do by itself.
    fn capabilities(&self) -> Capabilities;

    /// What would be sent for one unit. Pure: the same unit gives the same request.
    ///
    /// # Errors
    /// The unit can't run here.
    fn render(&self, unit: &Unit<'_>) -> Result<Request, RenderError>;

    /// Connects to the place.
    ///
    /// # Errors
    /// The place can't be reached.
    fn scheduler(&self, context: &Context) -> Result<Box<dyn Scheduler>, ConnectError>;

    /// Looks at the place without changing anything: what would keep a job from running there.
    fn check(&self, context: &Context) -> Vec<Check> {
        let _ = context;
        Vec::new()
    }
}

/// Executors whose logs can be read after the job's folder is gone (the seed's protocol).
pub trait LogSupportedExecutor {
    /// The lines of a job: from its place, else from the file that stands in for it.
    ///
    /// # Errors
    /// Neither the place nor the file has it.
    fn logs(app_id: &str, fallback_path: Option<&str>) -> std::io::Result<Vec<String>>;
}

/// What a place can do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// So many units run at once; the supervisor holds the rest back. `None`: the place has its own queue.
    pub slots: Option<u32>,
    /// Sending the same key twice starts the job once: no written intent is needed before sending it.
    pub idempotent: bool,
    /// Several jobs can be started together.
    pub groups: bool,
    /// One request can stand for many like jobs.
    pub arrays: bool,
    /// The place itself starts jobs after others.
    pub dependencies: bool,
    /// Attached jobs get a Ctrl-C at once (they run on this machine).
    pub attached: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a checked thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Warning,
    /// Jobs would fail.
    Failed,
}
