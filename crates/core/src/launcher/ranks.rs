//! `ranks`: the agents start the processes themselves, join them to one world, end all when one fails, and may start all again.

use mizzen_agent::protocol::{Bind, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Launched, LauncherError, RANKS, Site, Starter, Starts};
use crate::config::duration::Timespan;

/// The settings of `ranks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ranks {
    /// How often all processes are started again after a failure, inside the attempt.
    pub max_restarts: u32,
    /// How long all processes may be silent, without output and without touching their heartbeat, before they count as hung, such as
    /// "30m"; not given: as long as they like.
    #[schemars(extend("x-mizzen-format" = "positive-timespan"))]
    pub hang_timeout: Option<Timespan>,
    /// The processors of each process: "none" (all of the job's), "cores" (an equal share) or "numa" (those of one NUMA node).
    #[schemars(with = "String", extend("enum" = ["none", "cores", "numa"]))]
    pub bind: Bind,
    /// How many of the node's GPUs each process sees; not given: all of them.
    #[schemars(range(min = 1))]
    pub gpus_per_rank: Option<u32>,
    /// How long the others may take to end when a process has failed, before they are killed.
    #[serde(default = "stop_grace")]
    pub stop_grace: Timespan,
    /// How long nodes wait for each other.
    #[serde(default = "join_timeout")]
    #[schemars(extend("x-mizzen-format" = "positive-timespan"))]
    pub join_timeout: Timespan,
    /// The port on the first node at which the processes meet; one that is free if not given.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Threads of OpenMP for each process, where the environment does not say it; not given: the processors that a process has.
    #[schemars(range(min = 1))]
    pub omp_num_threads: Option<u32>,
}

fn seconds(seconds: f64) -> Timespan {
    Timespan::from_seconds_f64(seconds).unwrap_or_default()
}

fn stop_grace() -> Timespan {
    seconds(0.8)
}

fn join_timeout() -> Timespan {
    seconds(300.0)
}

impl Default for Ranks {
    fn default() -> Ranks {
        Ranks {
            max_restarts: 0,
            hang_timeout: None,
            bind: Bind::None,
            gpus_per_rank: None,
            stop_grace: stop_grace(),
            join_timeout: join_timeout(),
            port: None,
            omp_num_threads: None,
        }
    }
}

impl Starts for Ranks {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        if !site.agents {
            return Err(LauncherError::Place {
                launcher: RANKS.to_owned(),
                lacks: "an agent on every node".to_owned(),
            });
        }
        Ok(Launched {
            world: Some(World {
                nodes: site.nodes,
                per_node: site.per_node,
                max_restarts: self.max_restarts,
                hang_timeout: self.hang_timeout.map(|time| time.duration().as_secs_f64()),
                bind: self.bind,
                gpus_per_rank: self.gpus_per_rank,
                omp_num_threads: self.omp_num_threads,
                stop_grace: self.stop_grace.duration().as_secs_f64(),
                join_timeout: self.join_timeout.duration().as_secs_f64(),
                address: String::new(),
                port: self.port,
                run_id: site.run_id.to_owned(),
                meeting: None,
            }),
            ..command.profiled(command.words.clone(), site, site.per_node)
        })
    }

    fn starter(&self) -> Starter {
        Starter::Agents
    }
}
