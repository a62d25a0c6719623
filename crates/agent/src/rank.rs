//! `mizzen-agent rank`: one task of a step that a cluster's own launcher has started, as a job of one rank.
//!
//! ```text
//! <attempt>/ranks/<r>/{agent, heartbeat, exit.json}   claim, sign of life, record: of this rank alone (as its rank 0)
//! <attempt>/rank-<r>.log                              its output, where those of all ranks are
//! ```
//!
//! `mizzen-agent node`: the same of a step with one task a node, whose ranks this agent starts as its part of one world:
//!
//! ```text
//! <attempt>/nodes/<n>/{agent, heartbeat, exit.json}   claim, sign of life, record: of this node's ranks
//! ```
//!
//! The ranks of a step know nothing of each other: the launcher ends the others when one fails, and `conclude` makes one
//! record of all.

#![expect(
    clippy::disallowed_methods,
    reason = "this binary's environment is what it is told by"
)]

use std::env;
use std::ffi::OsString;
use std::path::Path;

use mizzen_agent::node::Node;
use mizzen_agent::protocol::{Job, Meeting, Member, Rank, World};

use crate::options::Options;

/// Seconds between two signs of life.
const HEARTBEAT: f64 = 10.0;
/// Seconds between the first signal and SIGKILL, unless it is said otherwise: Slurm's KillWait (slurm.conf(5)).
const GRACE: f64 = 30.0;

/// The folder of a rank in an attempt's folder.
pub(crate) fn rank_folder(attempt: &str, rank: u32) -> String {
    format!("{attempt}/ranks/{rank}")
}

/// The folder of a node in an attempt's folder.
pub(crate) fn node_folder(attempt: &str, node: u32) -> String {
    format!("{attempt}/nodes/{node}")
}

/// Reads the arguments of `node`.
pub(crate) fn node_job(arguments: &[OsString]) -> Result<Job, String> {
    let known = [
        "attempt", "key", "name", "grace", "timeout", "world", "node",
    ];
    let options = Options::read("node", arguments, &known)?;
    if options.rest.is_empty() {
        return Err("`node` needs a command behind --".to_owned());
    }
    let mut world: World = serde_json::from_str(options.get("world")?)
        .map_err(|error| format!("--world: not the description of a world: {error}"))?;
    let node = match options.number("node")? {
        Some(node) => node,
        // One task a node: the task's number in the step is the node's.
        None => variable("SLURM_PROCID").unwrap_or(0),
    };
    if node >= world.nodes || world.per_node == 0 {
        return Err(format!(
            "--world: node {node} is none of {} with {} ranks each",
            world.nodes, world.per_node
        ));
    }
    let attempt = options.get("attempt")?.to_owned();
    if world.address.is_empty() {
        world.address = env::var("MASTER_ADDR").unwrap_or_else(|_| "127.0.0.1".to_owned());
    }
    world.meeting = Some(Meeting {
        node,
        attempt_dir: attempt.clone(),
        port: None,
        token: None,
    });
    let (per_node, first_rank) = (world.per_node, node * world.per_node);
    let size = world.nodes * world.per_node;
    let in_step = env::var_os("SLURM_PROCID").is_some();
    let rank = |local| Rank {
        argv: options.rest.clone(),
        // Slurm knows one task a node; for programs each rank is a task.
        env: if in_step {
            task_variables(first_rank + local, local, size, per_node)
        } else {
            Vec::new()
        },
    };
    let member = Member {
        name: options.get("name")?.to_owned(),
        attempt_dir: node_folder(&attempt, node),
        log_dir: Some(attempt),
        first_rank,
        workdir: workdir()?,
        env: Vec::new(),
        inherit: true,
        code: None,
        leader: false,
        world: Some(world),
        of_node: true,
        ranks: (0..per_node).map(rank).collect(),
    };
    of_task(&options, member)
}

/// The job of one task: all that its options say of it beside its member.
fn of_task(options: &Options, member: Member) -> Result<Job, String> {
    Ok(Job {
        key: options.get("key")?.to_owned(),
        members: vec![member],
        timeout: options.number("timeout")?,
        grace: options.number("grace")?.unwrap_or(GRACE),
        devices: None,
        heartbeat: HEARTBEAT,
        peers: Vec::new(),
    })
}

/// What Slurm would tell a rank that it had started itself.
fn task_variables(rank: u32, local: u32, size: u32, per_node: u32) -> Vec<(String, String)> {
    [
        ("SLURM_PROCID", rank),
        ("SLURM_LOCALID", local),
        ("SLURM_NTASKS", size),
        ("SLURM_NPROCS", size),
        ("SLURM_STEP_NUM_TASKS", size),
        ("SLURM_NTASKS_PER_NODE", per_node),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_string()))
    .collect()
}

fn variable(name: &str) -> Option<u32> {
    env::var(name).ok()?.parse().ok()
}

fn workdir() -> Result<String, String> {
    let workdir = env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let text = workdir.into_os_string().into_string();
    text.map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// Reads the mode's arguments.
pub(crate) fn job(arguments: &[OsString]) -> Result<Job, String> {
    let known = ["attempt", "key", "name", "grace", "timeout", "rank"];
    let options = Options::read("rank", arguments, &known)?;
    if options.rest.is_empty() {
        return Err("`rank` needs a command behind --".to_owned());
    }
    let rank = match options.number("rank")? {
        Some(rank) => rank,
        None => variable("SLURM_PROCID").unwrap_or(0),
    };
    let attempt = options.get("attempt")?;
    let member = Member {
        name: options.get("name")?.to_owned(),
        attempt_dir: rank_folder(attempt, rank),
        log_dir: Some(attempt.to_owned()),
        first_rank: rank,
        workdir: workdir()?,
        env: rank_variables(rank, &variable),
        inherit: true,
        code: None,
        leader: false,
        world: None,
        of_node: false,
        ranks: vec![Rank {
            argv: options.rest.clone(),
            env: Vec::new(),
        }],
    };
    of_task(&options, member)
}

/// Writes down what the machine is, once a machine. It is for the record alone: what goes wrong is nobody's concern.
pub(crate) fn record_node(job: &Job) {
    let is_another = env::var("SLURM_LOCALID").is_ok_and(|local| local != "0");
    let Some(member) = job.members.first().filter(|_| !is_another) else {
        return;
    };
    let attempt = member.log_dir.as_ref().unwrap_or(&member.attempt_dir);
    let program = member.ranks.first().and_then(|rank| rank.argv.first());
    let host = nix::unistd::gethostname().map_or_else(
        |_| "node".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let node = Node::here(
        &host,
        &|name| env::var(name).ok(),
        program.map(String::as_str),
    );
    let _ = node.write(Path::new(attempt));
}

/// What a program of several ranks reads, where nobody has set it: the names are PyTorch's, the facts Slurm's.
fn rank_variables(rank: u32, variable: &dyn Fn(&str) -> Option<u32>) -> Vec<(String, String)> {
    let world = variable("SLURM_NTASKS").unwrap_or(1);
    if world < 2 {
        return Vec::new();
    }
    let on_node = env::var("SLURM_STEP_TASKS_PER_NODE")
        .or_else(|_| env::var("SLURM_TASKS_PER_NODE"))
        .ok()
        .and_then(|list| tasks_on_node(&list, variable("SLURM_NODEID").unwrap_or(0)));
    [
        ("RANK", Some(rank)),
        ("WORLD_SIZE", Some(world)),
        ("LOCAL_RANK", variable("SLURM_LOCALID")),
        ("LOCAL_WORLD_SIZE", on_node),
        ("NODE_RANK", variable("SLURM_NODEID")),
    ]
    .into_iter()
    .filter(|(name, _)| env::var_os(name).is_none())
    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_string())))
    .collect()
}

/// Reads Slurm's `4(x2),1`: four tasks on each of the first two nodes, one on the third.
fn tasks_on_node(list: &str, node: u32) -> Option<u32> {
    let mut before = 0;
    for part in list.split(',') {
        let (tasks, nodes) = match part.split_once("(x") {
            Some((tasks, nodes)) => (tasks, nodes.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        before += nodes;
        if node < before {
            return tasks.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_list_of_tasks_is_read() {
        let of = |node| tasks_on_node("4(x2),1,3(x2)", node);
        assert_eq!(
            [of(0), of(1), of(2), of(3), of(4), of(5)],
            [Some(4), Some(4), Some(1), Some(3), Some(3), None]
        );
        assert_eq!(tasks_on_node("nonsense", 0), None);
        assert_eq!(tasks_on_node("4(x", 0), None);
    }
}
