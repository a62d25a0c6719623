//! The settings: names and defaults are NeMo-Run's `DockerExecutor`'s where it has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hosts::HostEntry;
use crate::config::Size;
use crate::config::duration::Timespan;
use crate::model::Env;
use crate::packager::Packager;
use crate::tunnel::TunnelSettings;

/// The settings of [`super::DockerExecutor`]. What is left out is left to the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DockerSettings {
    /// The image that jobs run in, such as "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    /// Processes a node.
    #[schemars(range(min = 1, max = 65536))]
    pub ntasks_per_node: u32,
    /// Nodes: one container each. Without it, as many as there are `hosts`, or 1.
    #[schemars(range(min = 1, max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// The machines that a job runs on, one container each: "user@host", or an ssh tunnel's table. Without it, the machine at
    /// the end of `tunnel`.
    #[serde(deserialize_with = "super::hosts::list")]
    pub hosts: Vec<HostEntry>,
    /// The OCI runtime, such as "nvidia".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// GPUs for each job on each node; -1 for all. Without it, all of `gpus`.
    #[schemars(range(min = -1, max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpus: Option<i32>,
    /// The GPUs that there are for jobs: indexes or UUIDs. Without it, all of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<String>>,
    /// Jobs may use the same GPUs at the same time.
    pub share_gpus: bool,
    /// The size of `/dev/shm`, such as "16g".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    /// Limits of processes, each "name:soft" or "name:soft:hard", such as "memlock:-1:-1".
    pub ulimits: Vec<String>,
    /// The namespace for shared memory: "host", "private", "shareable" and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<String>,
    /// A check of the container's health: `test`, `interval`, `timeout`, `retries`, `start_period`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// All capabilities and devices of the machine.
    pub privileged: bool,
    /// The network. One that is none of the engine's own is made when it isn't there. Without it, jobs of one container have the
    /// engine's default; the containers of a group have one of their own, in which they find each other by their jobs' names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Folders and volumes for the container, `source:there[:options]`. A source that begins with `/$nemo_run` is in the job's
    /// folder; one with a slash is a path of the machine, which must be there; any other is a volume's name.
    pub volumes: Vec<String>,
    /// Ports of the container for the outside, such as "8080:80" or "127.0.0.1:8080:80/tcp".
    pub ports: Vec<String>,
    /// Further arguments by their names in Docker's Python library (`containers.run`), such as `cap_add = ["SYS_PTRACE"]`.
    pub additional_kwargs: Map<String, Value>,
    /// Further words for the engine's `run`, one each, such as "--cap-add=SYS_PTRACE".
    pub engine_args: Vec<String>,
    /// Who the processes are: without it who launches, so that files are theirs; "image" for the image's own user; else a name or
    /// numbers such as "1000:1000".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The most memory, such as "16GiB".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The most processors, such as 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// When the image is pulled: "missing", "always" or "never".
    pub pull: Pull,
    /// The image's platform, such as "linux/amd64".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What becomes of the image's entry point: "replace" (commands are started as they are written), or "keep" (it is started and
    /// gets them, as it must hand over to what it is given).
    pub entrypoint: Entrypoint,
    /// The program: "docker", "podman" or "nerdctl", or a path of one.
    pub engine: String,
    /// The engine's context (`docker context`), or podman's connection. It must be of the same machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where the engine is: this machine, or another by ssh.
    pub tunnel: TunnelSettings,
    /// Jobs that run at once. Without it, as many as this machine has processors; elsewhere 8.
    #[schemars(range(min = 1, max = 65536))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Containers stay when their jobs have ended.
    pub keep_containers: bool,
    /// The port where ranks of several nodes find each other; without it, one that is derived from the job's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rendezvous_port: Option<u16>,
    /// How long one attempt may run, such as "2h".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timespan>,
    /// The working directory of jobs that name none, inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// How code reaches the job.
    pub packager: Packager,
    /// The launcher: a name, or a table with `kind` and settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Value>,
    /// Variables for every job, under the task's own.
    #[schemars(with = "BTreeMap<String, String>")]
    pub env_vars: Env,
    /// How often a failed job is tried again, unless its task says so itself. The engine itself restarts nothing.
    pub retries: u32,
}

impl Default for DockerSettings {
    fn default() -> DockerSettings {
        DockerSettings {
            container_image: None,
            ntasks_per_node: 1,
            nodes: None,
            hosts: Vec::new(),
            runtime: None,
            num_gpus: None,
            gpus: None,
            share_gpus: false,
            shm_size: None,
            ulimits: Vec::new(),
            ipc_mode: None,
            healthcheck: None,
            privileged: false,
            network: None,
            volumes: Vec::new(),
            ports: Vec::new(),
            additional_kwargs: Map::new(),
            engine_args: Vec::new(),
            user: None,
            memory: None,
            cpus: None,
            pull: Pull::Missing,
            platform: None,
            entrypoint: Entrypoint::Replace,
            engine: "docker".to_owned(),
            context: None,
            tunnel: TunnelSettings::default(),
            slots: None,
            keep_containers: false,
            rendezvous_port: None,
            timeout: None,
            workdir: None,
            packager: Packager::default(),
            launcher: None,
            env_vars: Env::new(),
            retries: 0,
        }
    }
}

impl DockerSettings {
    /// How many containers a job has.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.nodes.unwrap_or(hosts).max(1)
    }

    /// A job's containers are on several machines.
    #[must_use]
    pub fn spans_hosts(&self) -> bool {
        self.hosts.len() > 1 && self.nodes() > 1
    }

    /// Jobs have GPUs.
    #[must_use]
    pub fn asks_for_gpus(&self) -> bool {
        match self.num_gpus {
            Some(count) => count != 0,
            None => self.gpus.as_ref().is_some_and(|gpus| !gpus.is_empty()),
        }
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// Before the first job of an experiment that uses it, and again for those that come after a supervisor's death.
    Always,
    /// Never: what is not there is an error.
    Never,
}

impl Pull {
    /// As engines take it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Pull::Missing => "missing",
            Pull::Always => "always",
            Pull::Never => "never",
        }
    }
}

/// What becomes of the image's entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Entrypoint {
    /// It is not started: a job's command is what runs.
    #[default]
    Replace,
    /// It is started once a container and gets what is to run as its arguments.
    Keep,
}

/// A check of a container's health, as Docker's Python library takes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Healthcheck {
    /// The command: a text for a shell, or words of which the first is "CMD", "CMD-SHELL" or "NONE".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<OneOrMany>,
    /// Between two checks: a time such as "30s", or nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Nanoseconds>,
    /// How long one may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Nanoseconds>,
    /// How many failures in a row make the container unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long failures do not count at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Nanoseconds>,
}

/// One text, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A length of time: a text such as "30s", or a number of nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Nanoseconds {
    /// Nanoseconds.
    Number(u64),
    /// As the engine reads it.
    Text(String),
}

impl Nanoseconds {
    /// As the engine's flags take it.
    pub(super) fn to_flag(&self) -> String {
        match self {
            Nanoseconds::Number(number) => format!("{number}ns"),
            Nanoseconds::Text(text) => text.clone(),
        }
    }
}
