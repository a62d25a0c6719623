//! Containers of one engine (Docker, Podman, nerdctl) on this machine or on another by ssh.
//!
//! ```text
//! Unit ─ render ─▶ Launch: containers, their options, what the agent in each does ─ scheduler ─▶ docker run, events, kill, rm
//!                    │  settings.rs   what users write
//!                    │  options.rs    settings → words of the engine's `run`; kwargs.rs: Docker's Python library's arguments
//!                    │  payload.rs    what is sent; the layout of files at the place
//!                    │  interactive.rs  a session at a terminal; by_hand.rs: the line that `mizzen plan` shows
//!                    │  engine.rs     the program: its words, its answers, its refusals
//!                    └─ hosts.rs      the machines of a job over several
//! ```
//!
//! The agent is a container's init. It sees the experiment's folder where it is outside, and leaves claim, logs and record there as
//! on this machine; the engine says when a container has ended, and explains what left no record.
//!
//! Pitfalls, each tried with Docker 20.10:
//! - `docker start` of a container that has ended starts it again, whatever it was. The agent's claim keeps the job from running
//!   twice, not the engine.
//! - `--rm` and a restart policy both take the evidence away: containers are removed when their end is written down.
//! - The engine makes folders for volumes that aren't there, and they are root's. So sources are looked for first.

mod bare;
mod by_hand;
mod check;
mod engine;
#[doc(hidden)]
pub mod fake;
mod hosts;
mod interactive;
mod kwargs;
mod options;
pub mod payload;
mod render;
mod scheduler;
mod settings;

pub use hosts::HostEntry;
pub use payload::{Container, Launch};
pub use settings::{DockerSettings, Entrypoint, Healthcheck, Nanoseconds, OneOrMany, Pull};

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Base, Capabilities, Check, ConnectError, Entry, Executor, ExecutorMacros, Interactive,
    RenderError, Request, Scheduler, Unit,
};
use crate::context::Context;
use crate::tunnel::{Cmd, TunnelSettings};

/// This kind's name.
const KIND: &str = "docker";

/// Jobs at once where the machine is not this one.
const SLOTS_ELSEWHERE: u32 = 8;

/// The registry's line.
pub(super) const ENTRY: Entry = Entry {
    kind: KIND,
    summary: "containers of Docker, Podman or nerdctl, here or on a host by ssh",
    mixed_groups: true,
    schema: || serde_json::to_value(schemars::schema_for!(DockerSettings)).unwrap_or_default(),
    build: |settings| {
        Ok(Box::new(DockerExecutor::new(serde_json::from_value(
            settings,
        )?)))
    },
};

/// Runs jobs in containers.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerExecutor {
    settings: DockerSettings,
    base: Base,
    /// The way to each host.
    ways: Vec<TunnelSettings>,
}

impl DockerExecutor {
    /// From its settings.
    #[must_use]
    pub fn new(settings: DockerSettings) -> DockerExecutor {
        let base = Base {
            packager: settings.packager.clone(),
            launcher: settings.launcher.clone(),
            env_vars: settings.env_vars.clone(),
            retries: settings.retries,
            ..Base::default()
        };
        let ways = match settings.hosts.as_slice() {
            [] => vec![settings.tunnel.clone()],
            hosts => hosts
                .iter()
                .map(|host| host.tunnel(&settings.tunnel))
                .collect(),
        };
        DockerExecutor {
            settings,
            base,
            ways,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &DockerSettings {
        &self.settings
    }

    /// The way to each host.
    fn host_tunnels(&self) -> &[TunnelSettings] {
        &self.ways
    }

    /// The experiment's folder at each host.
    fn directories(&self, here: &Utf8Path) -> Vec<Utf8PathBuf> {
        self.host_tunnels()
            .iter()
            .map(|tunnel| tunnel.experiment_dir(here))
            .collect()
    }

    /// The folder of trees at a host.
    fn bundles_at(&self, host: usize, home: &Utf8Path) -> Utf8PathBuf {
        match self.ways.get(host).and_then(TunnelSettings::job_dir) {
            Some(folder) => folder.join(".mizzen/bundles"),
            None => home.join(crate::packager::TREES),
        }
    }
}

impl Executor for DockerExecutor {
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
        format!(
            "{KIND} executor ({}) on {}: {}",
            self.settings.engine,
            self.ways
                .iter()
                .map(TunnelSettings::place)
                .collect::<Vec<_>>()
                .join(", "),
            self.settings
                .container_image
                .as_deref()
                .unwrap_or("no image")
        )
    }

    fn nnodes(&self) -> u32 {
        self.settings.nodes()
    }

    fn nproc_per_node(&self) -> u32 {
        self.settings.ntasks_per_node
    }

    fn macro_values(&self) -> Option<ExecutorMacros> {
        Some(super::direct::macros())
    }

    fn capabilities(&self) -> Capabilities {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let slots = self
            .settings
            .slots
            .unwrap_or_else(|| match self.shares_files() {
                true => cores(),
                false => SLOTS_ELSEWHERE,
            });
        Capabilities {
            slots: Some(slots.max(1)),
            idempotent: false,
            groups: true,
            arrays: false,
            dependencies: false,
            attached: false,
        }
    }

    fn experiment_dir(&self, here: &Utf8Path) -> Utf8PathBuf {
        let first = self.directories(here).into_iter().next();
        first.unwrap_or_else(|| here.to_owned())
    }

    fn shares_files(&self) -> bool {
        self.host_tunnels()
            .iter()
            .all(|tunnel| matches!(tunnel, TunnelSettings::Local(_)))
    }

    fn bundles_dir(&self, home: &Utf8Path) -> Utf8PathBuf {
        self.bundles_at(0, home)
    }

    fn tunnel(&self) -> Option<&TunnelSettings> {
        self.ways.first()
    }

    fn tunnels(&self) -> Vec<&TunnelSettings> {
        self.ways.iter().collect()
    }

    fn experiment_dirs(&self, here: &Utf8Path) -> Vec<Utf8PathBuf> {
        self.directories(here)
    }

    fn bundles_dirs(&self, home: &Utf8Path) -> Vec<Utf8PathBuf> {
        (0..self.ways.len())
            .map(|host| self.bundles_at(host, home))
            .collect()
    }

    fn interactive(&self, request: &Interactive<'_>) -> Option<Result<Cmd, String>> {
        Some(interactive::command(self, request))
    }

    fn settled(&self, context: &Context) -> Option<serde_json::Map<String, serde_json::Value>> {
        hosts::settled(&self.settings, context)
    }

    fn render(&self, unit: &Unit<'_>) -> Result<Request, RenderError> {
        render::request(self, unit)
    }

    fn scheduler(&self, context: &Context) -> Result<Box<dyn Scheduler>, ConnectError> {
        Ok(Box::new(scheduler::connect(self, context)))
    }

    fn check(&self, context: &Context) -> Vec<Check> {
        check::check(self, context)
    }
}
