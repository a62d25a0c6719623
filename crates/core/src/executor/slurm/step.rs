//! A member's step: what its launcher makes of its command, and what srun is told of where and how often it starts that.
//!
//! ```text
//! none, command       one task a process
//! torchrun, ft, ray   one task a node, with the share of all of its processes
//! ranks               the same, and the task is an agent that starts them
//! ```

use mizzen_agent::protocol::World;

use super::container::RUN_DIR;
use super::render::{Layout, Member};
use super::script::{BatchWorld, word};
use crate::executor::{ExecutorMacros, RenderError, Unit};
use crate::launcher::{Launched, Launcher, Site, Starter};
use crate::tunnel::quote;

/// What a member's launcher makes of its command. The macros are still in it.
pub(super) fn launched(
    unit: &Unit<'_>,
    member: &Member<'_>,
) -> Result<(Starter, Launched), RenderError> {
    let job = member.unit.job;
    let value = job.launcher.as_ref().or(member.settings.launcher.as_ref());
    let launcher = value.map_or_else(|| Ok(Launcher::default()), Launcher::from_value)?;
    let size = member.size;
    let per_node = match launcher.starter() {
        Starter::Executor => size.per_node,
        Starter::Itself | Starter::Agents => member.settings.started_per_node(),
    };
    if launcher.starter() != Starter::Executor
        && size.by_ntasks
        && !size.ranks.is_multiple_of(size.nodes)
    {
        return Err(member.error(format!(
            "the launcher `{}` needs as many processes on each node: {} on {} nodes are not",
            launcher.kind, size.ranks, size.nodes
        )));
    }
    let mut role = job.role.clone();
    if role.entrypoint.starts_with('-') {
        if !role.entrypoint.contains('/') {
            return Err(member.error(format!(
                "no program can have the name `{}`: a shell would take it for an option",
                role.entrypoint
            )));
        }
        role.entrypoint.insert_str(0, "./");
    }
    let mut env = member.settings.env_vars.clone();
    env.extend(&role.env);
    let asked = |name: &str| format!("$${name}");
    let site = Site {
        nodes: size.nodes,
        per_node,
        job: member.name(),
        job_dir: run_dir(member),
        run_id: unit.key.as_str(),
        address: &asked(if member.first_node == 0 {
            ExecutorMacros::HEAD_NODE_IP_VAR
        } else {
            ExecutorMacros::MASTER_ADDR_VAR
        }),
        port: &asked(ExecutorMacros::MASTER_PORT_VAR),
        node: &asked(ExecutorMacros::NODE_RANK_VAR),
        metrics: &asked(ExecutorMacros::METRICS_VAR),
        nsys: "nsys",
        quote: Some(word),
        agents: true,
    };
    Ok((launcher.starter(), launcher.launch(&role, &site, &env)?))
}

/// The job's folder as the job sees it.
pub(super) fn run_dir<'a>(member: &'a Member<'_>) -> &'a str {
    if member.settings.container_image.is_some() {
        RUN_DIR
    } else {
        &member.folder
    }
}

/// The world of a member's ranks, as the agents of its nodes take it: which node is whose, and the first one's address, they find
/// out by themselves.
pub(super) fn world(member: &Member<'_>, number: usize) -> Result<Option<BatchWorld>, RenderError> {
    let Some(world) = &member.launched.world else {
        return Ok(None);
    };
    let port = member.settings.rendezvous_port;
    let world = World {
        port: world
            .port
            .or_else(|| port?.checked_add(u16::try_from(number).ok()?)),
        ..world.clone()
    };
    Ok(Some(BatchWorld {
        json: serde_json::to_string(&world).map_err(|error| member.error(error.to_string()))?,
        per_node: world.per_node,
    }))
}

/// The arguments of srun that say where and how many.
pub(super) fn step_arguments(
    member: &Member<'_>,
    members: &[Member<'_>],
    layout: Layout,
) -> Vec<String> {
    let size = member.size;
    let mut arguments = Vec::new();
    if layout == Layout::Components {
        arguments.push(format!("--het-group={}", member.component));
    }
    arguments.push(format!("--job-name={}", quote(member.name())));
    // Where one task starts all of a node's processes, it gets what they would have had.
    let (tasks, share) = if member.one_a_node() {
        (Some(1), size.per_node)
    } else {
        ((!size.by_ntasks).then_some(size.per_node), 1)
    };
    arguments.push(format!(
        "--nodes={} --ntasks={}{}",
        size.nodes,
        if member.one_a_node() {
            size.nodes
        } else {
            size.ranks
        },
        tasks.map_or_else(String::new, |tasks| format!(" --ntasks-per-node={tasks}"))
    ));
    if layout == Layout::Side {
        arguments.push(format!("--relative={}", member.first_node));
    }
    let together = members
        .iter()
        .filter(|other| other.component == member.component)
        .count();
    if together > 1 && layout != Layout::Side {
        arguments.push("--overlap".to_owned());
    }
    if let Some(cpus) = member.settings.cpus_per_task {
        arguments.push(format!("--cpus-per-task={}", cpus.saturating_mul(share)));
    }
    if let Some(gpus) = &member.settings.gpus_per_task
        && share > 1
        && let Some(gpus) = gpus.times(share)
    {
        arguments.push(format!("--gpus-per-task={}", quote(&gpus)));
    }
    let gpus = |member: &Member<'_>| member.settings.gpus_per_node.clone();
    if layout == Layout::Side && members.iter().any(|other| gpus(other) != gpus(member)) {
        arguments.push(match gpus(member) {
            Some(gpus) => format!("--gpus-per-node={}", quote(&gpus.0)),
            None => "--gres=none".to_owned(),
        });
    }
    // A world's agents end each other, and each writes down what it saw.
    let kill = u8::from(member.launched.world.is_none());
    arguments.push(format!("--kill-on-bad-exit={kill} --wait=60"));
    arguments
}
