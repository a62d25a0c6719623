//! `mizzen-agent rank`: one task of a step that a cluster's own launcher has started, as a job of one rank.
//!
//! ```text
//! <attempt>/ranks/<r>/{agent, heartbeat, exit.json}   claim, sign of life, record: of this rank alone (as its rank 0)
//! <attempt>/rank-<r>.log                              its output, where those of all ranks are
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
use mizzen_agent::protocol::{Job, Member, Rank};

use crate::options::Options;

/// Seconds between two signs of life.
const HEARTBEAT: f64 = 10.0;
/// Seconds between the first signal and SIGKILL, unless it is said otherwise: Slurm's KillWait (slurm.conf(5)).
const GRACE: f64 = 30.0;

/// The folder of a rank in an attempt's folder.
pub(crate) fn rank_folder(attempt: &str, rank: u32) -> String {
    format!("{attempt}/ranks/{rank}")
}

/// Reads the mode's arguments.
pub(crate) fn job(arguments: &[OsString]) -> Result<Job, String> {
    let known = ["attempt", "key", "name", "grace", "timeout", "rank"];
    let options = Options::read("rank", arguments, &known)?;
    if options.rest.is_empty() {
        return Err("`rank` needs a command behind --".to_owned());
    }
    let variable = |name: &str| env::var(name).ok()?.parse::<u32>().ok();
    let rank = match options.number("rank")? {
        Some(rank) => rank,
        None => variable("SLURM_PROCID").unwrap_or(0),
    };
    let attempt = options.get("attempt")?;
    let workdir = env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let member = Member {
        name: options.get("name")?.to_owned(),
        attempt_dir: rank_folder(attempt, rank),
        log_dir: Some(attempt.to_owned()),
        first_rank: rank,
        workdir: workdir
            .into_os_string()
            .into_string()
            .map_err(|path| format!("{path:?} is not UTF-8"))?,
        env: rank_variables(rank, &variable),
        inherit: true,
        code: None,
        leader: false,
        world: None,
        ranks: vec![Rank {
            argv: options.rest.clone(),
            env: Vec::new(),
        }],
    };
    Ok(Job {
        key: options.get("key")?.to_owned(),
        members: vec![member],
        timeout: options.number("timeout")?,
        grace: options.number("grace")?.unwrap_or(GRACE),
        devices: None,
        heartbeat: HEARTBEAT,
    })
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
