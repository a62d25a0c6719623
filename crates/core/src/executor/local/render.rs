//! A unit as the agent's job: argv, environment and folder of every rank.
//!
//! There is no shell between the request and the ranks, so the macros' variables are put in here, rank by rank: what a
//! shell elsewhere would make of `$MIZZEN_NODE_RANK`, this does.

use std::collections::BTreeMap;

use mizzen_agent::protocol::{Code, Job, Member, Rank, World};

use super::LocalExecutor;
use crate::executor::{
    Executor, ExecutorMacros, RenderError, RenderedCode, RenderedMember, Request, SecretUse, Unit,
    UnitMember,
};
use crate::launcher::{Launcher, Site};
use crate::model::Env;

/// Seconds between two signs of life of an agent.
const HEARTBEAT: f64 = 10.0;
/// The first node's address: this machine is all of them.
const HEAD_NODE: &str = "127.0.0.1";

/// The names of this executor's variables.
pub(super) fn macros() -> ExecutorMacros {
    ExecutorMacros {
        head_node_ip_var: "MIZZEN_HEAD_NODE_IP".to_owned(),
        nproc_per_node_var: "MIZZEN_NPROC_PER_NODE".to_owned(),
        num_nodes_var: "MIZZEN_NUM_NODES".to_owned(),
        node_rank_var: "MIZZEN_NODE_RANK".to_owned(),
        het_group_host_var: "MIZZEN_GROUP_HOST".to_owned(),
        ft_launcher_cfg_path_var: "FAULT_TOL_CFG_PATH".to_owned(),
    }
}

pub(super) fn request(executor: &LocalExecutor, unit: &Unit<'_>) -> Result<Request, RenderError> {
    let mut members = Vec::with_capacity(unit.members.len());
    let mut rendered = Vec::with_capacity(unit.members.len());
    let mut secrets = Vec::new();
    for (number, member) in unit.members.iter().enumerate() {
        let (agents, shown) = render_member(executor, unit, member)?;
        for (variable, reference) in &member.job.secrets {
            secrets.push(SecretUse {
                member: number,
                variable: variable.clone(),
                reference: reference.clone(),
            });
        }
        members.push(agents);
        rendered.push(shown);
    }
    let longest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let job = Job {
        key: unit.key.as_str().to_owned(),
        members,
        // A group has one end: the first of its members' timeouts, the longest of their graces.
        timeout: unit
            .members
            .iter()
            .filter_map(|member| member.job.timeout)
            .reduce(f64::min),
        grace: longest(&mut unit.members.iter().map(|member| member.job.grace)),
        devices: None,
        heartbeat: HEARTBEAT,
    };
    let payload = serde_json::to_string(&job).map_err(|error| RenderError::Unsupported {
        job: unit.members[0].job.name.clone(),
        reason: error.to_string(),
    })?;
    Ok(Request {
        key: unit.key.clone(),
        payload,
        secrets,
        after: Vec::new(),
        members: rendered,
    })
}

fn render_member(
    executor: &LocalExecutor,
    unit: &Unit<'_>,
    member: &UnitMember<'_>,
) -> Result<(Member, RenderedMember), RenderError> {
    let job = member.job;
    let job_dir = unit.experiment_dir.join(&job.name);
    let launcher = match &job.launcher {
        Some(value) => Launcher::from_value(value)?,
        None => executor.get_launcher()?,
    };
    let nodes = executor.nnodes();
    let mut env = executor.base().env_vars.clone();
    env.extend(&job.role.env);
    let nsys = executor.get_nsys_entrypoint();
    let launched = launcher.launch(
        &job.role,
        &Site {
            nodes,
            per_node: executor.nproc_per_node(),
            job: &job.name,
            job_dir: job_dir.as_str(),
            run_id: unit.key.as_str(),
            address: HEAD_NODE,
            port: &port(unit.key.as_str()).to_string(),
            node: &format!("$${}", ExecutorMacros::NODE_RANK_VAR),
            metrics: &format!("$${}", ExecutorMacros::METRICS_VAR),
            nsys: &nsys,
            quote: None,
            agents: true,
        },
        &env,
    )?;
    let command = launched.argv;
    let per_node = launched.processes;
    let world = nodes.saturating_mul(per_node);
    for (name, value) in launched.env {
        if env.get(&name).is_none() {
            env.insert(name, value);
        }
    }
    if env.get("PYTHONUNBUFFERED").is_none() {
        // Lines are seen when they are written, not when a buffer is full.
        env.insert("PYTHONUNBUFFERED", "1");
    }
    env.insert("MIZZEN_EXPERIMENT_ID", unit.experiment.as_str());
    env.insert("MIZZEN_EXPERIMENT_DIR", unit.experiment_dir.as_str());
    env.insert("MIZZEN_JOB_NAME", &*job.name);
    env.insert("MIZZEN_JOB_DIR", job_dir.as_str());
    env.insert("MIZZEN_ATTEMPT", unit.attempt.to_string());

    let uses_macros = command.iter().any(|text| ExecutorMacros::is_used_in(text))
        || env
            .iter()
            .any(|(_, value)| ExecutorMacros::is_used_in(value));
    let mut ranks = Vec::with_capacity(world as usize);
    for rank in 0..world {
        let mut rank_env = Vec::new();
        // Of a world the agent says more.
        if world > 1 && launched.world.is_none() {
            rank_env = rank_variables(rank, per_node, world);
        }
        let argv = if uses_macros {
            let node = rank / per_node;
            let mut values = variables(node, executor.nproc_per_node(), nodes);
            let metrics = launched.metrics.as_ref().is_none_or(|metrics| {
                rank % per_node == 0
                    && metrics
                        .nodes
                        .as_ref()
                        .is_none_or(|nodes| nodes.contains(&node))
            });
            let metrics = if metrics { "all" } else { "none" };
            values.insert("MIZZEN_GPU_METRICS".to_owned(), metrics.to_owned());
            for (name, value) in env
                .iter()
                .filter(|(_, value)| ExecutorMacros::is_used_in(value))
            {
                rank_env.push((name.to_owned(), expand(value, &values)));
            }
            command.iter().map(|text| expand(text, &values)).collect()
        } else {
            command.clone()
        };
        ranks.push(Rank {
            argv,
            env: rank_env,
        });
    }
    let env = pairs(&env);
    let mut argv: Vec<Vec<String>> = ranks.iter().map(|rank| rank.argv.clone()).collect();
    argv.dedup();
    let attempt_dir = format!("{job_dir}/attempts/{}", unit.attempt);
    let code = RenderedCode::of(member, &executor.bundles_dir(unit.home()), &job_dir);
    let shown = RenderedMember {
        name: job.name.clone(),
        job_dir: job_dir.to_string(),
        attempt_dir: attempt_dir.clone(),
        argv,
        ranks: world,
        env: env.clone(),
        workdir: job.workdir.clone(),
        files: job.files.iter().cloned().chain(launched.files).collect(),
        code: code.clone(),
    };
    let agents = Member {
        name: job.name.clone(),
        attempt_dir,
        log_dir: None,
        first_rank: 0,
        workdir: job.workdir.clone(),
        env,
        inherit: true,
        code: code.map(|code| Code {
            as_link: code.tree.is_none(),
            from: code.from,
            to: code.to,
        }),
        leader: member.leader,
        world: launched.world.map(|world| World {
            address: HEAD_NODE.to_owned(),
            ..world
        }),
        ranks,
    };
    Ok((agents, shown))
}

/// A port at which the launchers of several "nodes" meet: below those that systems give out by themselves, another one for each
/// attempt. Nobody can hold it for them, since they are started by others than who renders this.
fn port(key: &str) -> u16 {
    let mixed = key.bytes().fold(0xcbf2_9ce4_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    20_000 + (mixed % 12_000) as u16
}

fn pairs(env: &Env) -> Vec<(String, String)> {
    env.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What a program of several ranks reads; the names are PyTorch's.
fn rank_variables(rank: u32, per_node: u32, world: u32) -> Vec<(String, String)> {
    [
        ("RANK", rank),
        ("LOCAL_RANK", rank % per_node),
        ("NODE_RANK", rank / per_node),
        ("WORLD_SIZE", world),
        ("LOCAL_WORLD_SIZE", per_node),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_string()))
    .collect()
}

fn variables(node: u32, per_node: u32, nodes: u32) -> BTreeMap<String, String> {
    let macros = macros();
    BTreeMap::from([
        (macros.head_node_ip_var, HEAD_NODE.to_owned()),
        (macros.nproc_per_node_var, per_node.to_string()),
        (macros.num_nodes_var, nodes.to_string()),
        (macros.node_rank_var, node.to_string()),
    ])
}

/// The macros' names, then the values of the variables that they name. Text without a macro is left alone.
fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    if !ExecutorMacros::is_used_in(text) {
        return text.to_owned();
    }
    // A dollar that the user doubled must survive the second pass, and a group's host is this machine whatever its number.
    let named = macros().substitute(text);
    let mut result = String::with_capacity(named.len());
    let mut rest = named.as_str();
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position..];
        let bare = rest[1..].strip_prefix('{').unwrap_or(&rest[1..]);
        let braced = bare.len() + 1 < rest.len();
        let length = bare
            .bytes()
            .take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
            .count();
        let name = &bare[..length];
        let value = values
            .get(name)
            .map(String::as_str)
            .or_else(|| name.starts_with("MIZZEN_GROUP_HOST_").then_some(HEAD_NODE));
        let closes = !braced || bare[length..].starts_with('}');
        match value {
            Some(value) if closes => {
                result.push_str(value);
                rest = &bare[length + usize::from(braced)..];
            }
            _ => {
                result.push('$');
                rest = &rest[1..];
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_get_this_machines_values() {
        let values = variables(1, 4, 2);
        let table = [
            ("$$${head_node_ip_var}:29500", "127.0.0.1:29500"),
            (
                "$$${node_rank_var}/$$${num_nodes_var}*$$${nproc_per_node_var}",
                "1/2*4",
            ),
            ("$$${het_group_host_var}_3", "127.0.0.1"),
            ("${node_rank_var}", "MIZZEN_NODE_RANK"),
            ("$$HOME $$${node_rank_var} $", "$HOME 1 $"),
            (
                "echo $$ ${HOME} $MIZZEN_NODE_RANK",
                "echo $$ ${HOME} $MIZZEN_NODE_RANK",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &values), expected, "{text}");
        }
    }
}
