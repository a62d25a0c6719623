//! This machine: jobs are processes, started and watched by agents beside them.
//!
//! ```text
//! Unit ─ render ─▶ Request (the agent's Job: argv, env, folder of each rank)
//!                     └─ LocalScheduler ─ socket ─▶ agent (one a slot, many jobs one after another) ─▶ ranks
//! ```
//!
//! The claim in an attempt's folder (a symbolic link that the agent makes) lets one agent start it and no other, so a
//! request may be sent twice without harm. Names and defaults of the settings are NeMo-Run's `LocalExecutor`'s, and
//! those that its users miss: `slots`, `gpus`, `timeout`, `workdir`.

mod agents;
mod devices;
mod render;
mod scheduler;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Base, Capabilities, Check, CheckStatus, ConnectError, Entry, Executor, ExecutorMacros,
    RenderError, Request, Scheduler, Unit,
};
use crate::context::Context;
use crate::model::Env;
use crate::packager::Packager;

/// This kind's name.
const KIND: &str = "local";

/// The registry's line.
pub(super) const ENTRY: Entry = Entry {
    kind: KIND,
    summary: "processes on this machine",
    schema: || serde_json::to_value(schemars::schema_for!(LocalSettings)).unwrap_or_default(),
    mixed_groups: false,
    build: |settings| {
        Ok(Box::new(LocalExecutor::new(serde_json::from_value(
            settings,
        )?)))
    },
};

/// The settings of [`LocalExecutor`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSettings {
    /// Processes a node.
    #[schemars(range(min = 1, max = 65536))]
    pub ntasks_per_node: u32,
    /// Nodes; on one machine they differ by their processes' `NODE_RANK` only.
    #[schemars(range(min = 1, max = 65536))]
    pub nodes: u32,
    /// Jobs that run at once; the number of processors if it is not given.
    #[schemars(range(min = 1, max = 65536))]
    pub slots: Option<u32>,
    /// GPUs for each job. No other job of mizzen's on this machine gets the same ones.
    pub gpus: u32,
    /// The GPUs that there are, as `CUDA_VISIBLE_DEVICES` names them; found by themselves if not given.
    pub devices: Option<Vec<String>>,
    /// Every job may use every GPU.
    pub share_gpus: bool,
    /// How long one attempt may run, such as "2h".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<crate::config::duration::Timespan>,
    /// The working directory of jobs that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// How code reaches the job.
    pub packager: Packager,
    /// The launcher: a name, or a table with `kind` and settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<serde_json::Value>,
    /// Variables for every job, under the task's own.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub env_vars: Env,
    /// How often a failed job is tried again, unless its task says so itself.
    pub retries: u32,
}

impl Default for LocalSettings {
    fn default() -> LocalSettings {
        LocalSettings {
            ntasks_per_node: 1,
            nodes: 1,
            slots: None,
            gpus: 0,
            devices: None,
            share_gpus: false,
            timeout: None,
            workdir: None,
            packager: Packager::default(),
            launcher: None,
            env_vars: Env::new(),
            retries: 0,
        }
    }
}

/// Runs jobs as processes of this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalExecutor {
    settings: LocalSettings,
    base: Base,
}

impl LocalExecutor {
    /// From its settings.
    #[must_use]
    pub fn new(settings: LocalSettings) -> LocalExecutor {
        let base = Base {
            packager: settings.packager.clone(),
            launcher: settings.launcher.clone(),
            env_vars: settings.env_vars.clone(),
            retries: settings.retries,
            ..Base::default()
        };
        LocalExecutor { settings, base }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &LocalSettings {
        &self.settings
    }

    fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.settings.slots.unwrap_or_else(cores).max(1)
    }
}

impl Executor for LocalExecutor {
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

    fn nnodes(&self) -> u32 {
        self.settings.nodes
    }

    fn nproc_per_node(&self) -> u32 {
        self.settings.ntasks_per_node
    }

    fn macro_values(&self) -> Option<ExecutorMacros> {
        Some(super::direct::macros())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            slots: Some(self.slots()),
            idempotent: true,
            groups: true,
            arrays: false,
            dependencies: false,
            attached: true,
        }
    }

    fn runs_in_place(&self) -> bool {
        true
    }

    fn render(&self, unit: &Unit<'_>) -> Result<Request, RenderError> {
        render::request(self, unit)
    }

    fn scheduler(&self, context: &Context) -> Result<Box<dyn Scheduler>, ConnectError> {
        let devices = self.devices(context)?;
        let agent = context
            .agent
            .path(&context.home)
            .map_err(|error| ConnectError(error.to_string()))?;
        Ok(Box::new(scheduler::LocalScheduler::new(
            context.clone(),
            agent,
            devices,
        )))
    }

    fn check(&self, context: &Context) -> Vec<Check> {
        let mut checks = vec![Check {
            name: "slots".to_owned(),
            status: CheckStatus::Ok,
            detail: format!(
                "{} job(s) at once, {} process(es) each",
                self.slots(),
                self.nnodes() * self.nproc_per_node()
            ),
            hint: None,
        }];
        if self.settings.gpus > 0 {
            let (status, detail, hint) = match self.devices(context) {
                Ok(devices) => {
                    let pool = devices
                        .map(|devices| devices.pool.join(", "))
                        .unwrap_or_default();
                    (
                        CheckStatus::Ok,
                        format!("{} for each job, of: {pool}", self.settings.gpus),
                        None,
                    )
                }
                Err(error) => (
                    CheckStatus::Failed,
                    error.0,
                    Some("lower `gpus`, or name the GPUs in `devices`".to_owned()),
                ),
            };
            checks.push(Check {
                name: "gpus".to_owned(),
                status,
                detail,
                hint,
            });
        }
        if let Some(workdir) = &self.settings.workdir {
            let there = std::path::Path::new(workdir).is_dir();
            checks.push(Check {
                name: "workdir".to_owned(),
                status: if there {
                    CheckStatus::Ok
                } else {
                    CheckStatus::Failed
                },
                detail: workdir.clone(),
                hint: (!there).then(|| "make the folder, or correct `workdir`".to_owned()),
            });
        }
        checks
    }
}

impl LocalExecutor {
    /// The devices that jobs draw from; `None` when they ask for none.
    fn devices(
        &self,
        context: &Context,
    ) -> Result<Option<mizzen_agent::protocol::Devices>, ConnectError> {
        if self.settings.gpus == 0 {
            return Ok(None);
        }
        let pool = match &self.settings.devices {
            Some(devices) => devices.clone(),
            None => devices::visible(
                context.variable("CUDA_VISIBLE_DEVICES"),
                std::path::Path::new("/proc/driver/nvidia/gpus"),
            ),
        };
        if pool.len() < self.settings.gpus as usize {
            return Err(ConnectError(format!(
                "a job asks for {} GPU(s) and {} has {}",
                self.settings.gpus,
                context.host,
                pool.len()
            )));
        }
        Ok(Some(mizzen_agent::protocol::Devices {
            count: self.settings.gpus,
            pool,
            locks: context
                .home
                .join("devices")
                .join(&context.host)
                .into_string(),
            shared: self.settings.share_gpus,
        }))
    }
}
