//! `slurm_ray`: a Ray cluster over the job's nodes, and the command as its driver.
//!
//! ```text
//! node 0:  free ports ─▶ ray start --head ─▶ head ─── all joined? ─▶ driver ─▶ ended ─▶ its status
//! node k:  head there? ─▶ ray start --address ─▶ joined-k ─── ended? ─▶ 0
//! ```
//!
//! The nodes tell each other by files in the attempt's folder. Every wait ends when what it waits for has happened, and has a limit.
//! Nothing calls `ray stop`, which would end every Ray of the user's on the node: the agents end what their job has started. Facts
//! about `ray start`: without `--block` it returns when its node belongs to the cluster, and leaves its processes behind.

use minijinja::context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::template::{fill, line, safe};
use super::{Command, Launched, LauncherError, SCRIPTS, SLURM_RAY, Site, Starter, Starts};
use crate::model::Env;
use crate::plan::JobFile;

/// Ray's program.
const RAY: &str = "ray";
/// The script of every node.
const SCRIPT: &str = include_str!("ray.sh.jinja");

/// The settings of `slurm_ray`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmRay {
    /// The port of Ray's control service on the first node. Of this and all other ports: if it is taken on a node, the next free one
    /// is used; 0 leaves it to Ray.
    pub gcs_server_port: u16,
    /// The dashboard's port on the first node.
    pub dashboard_port: u16,
    /// The port of each node's object manager.
    pub object_manager_port: u16,
    /// The port of each node's manager.
    pub node_manager_port: u16,
    /// The port of each node's dashboard agent.
    pub dashboard_agent_port: u16,
    /// The gRPC port of each node's dashboard agent.
    pub dashboard_agent_grpc_port: u16,
    /// The port of each node's metrics.
    pub metrics_port: u16,
    /// Show what nvidia-smi says of each node first.
    pub display_nvidia_smi_output: bool,
    /// Lines of shell that the first node runs before Ray starts there.
    pub head_setup: Option<String>,
    /// Seconds that the head may take to start.
    #[schemars(range(min = 1))]
    pub head_init_wait_time: u32,
    /// Seconds that the workers may take to join it.
    #[schemars(range(min = 1))]
    pub worker_init_wait_time: u32,
    /// Variables for Ray and the driver.
    #[schemars(with = "Option<std::collections::BTreeMap<String, String>>")]
    pub env_vars: Option<Env>,
}

impl Default for SlurmRay {
    fn default() -> SlurmRay {
        SlurmRay {
            gcs_server_port: 6379,
            dashboard_port: 8265,
            object_manager_port: 8076,
            node_manager_port: 8077,
            dashboard_agent_port: 52365,
            dashboard_agent_grpc_port: 52366,
            metrics_port: 9002,
            display_nvidia_smi_output: false,
            head_setup: None,
            head_init_wait_time: 120,
            worker_init_wait_time: 300,
            env_vars: None,
        }
    }
}

impl Starts for SlurmRay {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        let Some(quote) = site.quote else {
            return Err(LauncherError::Place {
                launcher: SLURM_RAY.to_owned(),
                lacks: "a place where a script can replace the command".to_owned(),
            });
        };
        let launched = command.profiled(command.words.clone(), site, 1);
        let env = self.env_vars.iter().flat_map(|env| env.iter());
        let values = context! {
            job => safe(site.job.replace(char::is_control, " ")),
            nodes => site.nodes,
            gcs_server_port => self.gcs_server_port,
            dashboard_port => self.dashboard_port,
            object_manager_port => self.object_manager_port,
            node_manager_port => self.node_manager_port,
            dashboard_agent_port => self.dashboard_agent_port,
            dashboard_agent_grpc_port => self.dashboard_agent_grpc_port,
            metrics_port => self.metrics_port,
            display_nvidia_smi_output => self.display_nvidia_smi_output,
            head_setup => self.head_setup.clone().map(safe),
            head_init_wait_time => self.head_init_wait_time,
            worker_init_wait_time => self.worker_init_wait_time,
            env_vars => env.map(|(name, value)| vec![name.to_owned(), value.to_owned()]).collect::<Vec<_>>(),
            command => safe(line(&launched.argv, quote)),
        };
        let bad = self.env_vars.iter().flat_map(Env::iter);
        if let Some((name, _)) = { bad }.find(|(name, _)| !is_variable(name)) {
            return Err(LauncherError::Settings {
                launcher: SLURM_RAY.to_owned(),
                reason: format!(
                    "env_vars: `{}` is no name that a shell can give a variable",
                    name.escape_debug()
                ),
            });
        }
        let script =
            fill("ray.sh", SCRIPT, &values, quote).map_err(|reason| LauncherError::Template {
                launcher: SLURM_RAY.to_owned(),
                reason,
            })?;
        let path = format!("{SCRIPTS}/ray.sh");
        Ok(Launched {
            argv: vec!["bash".to_owned(), format!("{}/{path}", site.job_dir)],
            needs: vec![RAY.to_owned()],
            files: vec![JobFile {
                path,
                contents: script,
                executable: true,
            }],
            ..launched
        })
    }

    fn starter(&self) -> Starter {
        Starter::Itself
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    !name.is_empty() && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
}
