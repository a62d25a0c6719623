//! A unit as the agent's job: argv, environment and folder of every rank.
//!
//! There is no shell between the request and the ranks: `executor::direct` puts the macros' variables in.

use mizzen_agent::protocol::{Code, Job, Member, Rank, World};

use super::LocalExecutor;
use crate::executor::direct::{Direct, port};
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
        peers: Vec::new(),
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
    for (name, value) in &launched.env {
        if env.get(name).is_none() {
            env.insert(&**name, value);
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

    let direct = Direct {
        launched: &launched,
        env: &env,
        nodes,
        per_node: executor.nproc_per_node(),
        head: HEAD_NODE,
        group_host: &|_| Some(HEAD_NODE.to_owned()),
    };
    let world = direct.size();
    let ranks: Vec<Rank> = (0..world).map(|rank| direct.rank(rank)).collect();
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
        by_hand: None,
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
        of_node: false,
        ranks,
    };
    Ok((agents, shown))
}

fn pairs(env: &Env) -> Vec<(String, String)> {
    env.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
