//! TorchX's role: what a launcher transforms and what the executors' macros are applied to.
//! Source of the names: `torchx.specs.Role`, `torchx.specs.Resource`.

use std::collections::BTreeMap;

use super::Env;
use serde::{Deserialize, Serialize};

/// One command and how often it is started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The role's name; the job's.
    pub name: String,
    /// The container image, empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables added to its environment, in the order given.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// How many processes (or nodes, under a launcher that starts its own).
    #[serde(default = "one")]
    pub num_replicas: u32,
    /// How often it may be tried again after a failure of its own.
    #[serde(default)]
    pub max_retries: u32,
    /// What one replica needs.
    #[serde(default, skip_serializing_if = "Resource::is_default")]
    pub resource: Resource,
    /// Folders bound into the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Names of ports and their numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub port_map: BTreeMap<String, u16>,
}

const fn one() -> u32 {
    1
}

/// What one replica needs; `None` leaves it to the place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_mb: Option<u64>,
}

impl Resource {
    fn is_default(&self) -> bool {
        *self == Resource::default()
    }
}

/// A folder bound into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Outside.
    pub src_path: String,
    /// Inside.
    pub dst_path: String,
    /// Not writable inside.
    #[serde(default)]
    pub read_only: bool,
}
