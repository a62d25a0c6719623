//! A unit as a launch: for each member and node a container, its options, its files, and what the agent in it does.

use camino::Utf8PathBuf;
use mizzen_agent::protocol::{Job, Meeting, Member, Rank, World};

use super::by_hand;
use super::options;
use super::payload::{CodePlace, Container, Gpus, LABEL, Launch, LaunchFile, User};
use super::settings::{DockerSettings, Entrypoint};
use super::{DockerExecutor, KIND};
use crate::executor::direct::{Direct, port};
use crate::executor::{
    Executor as _, ExecutorMacros, RenderError, RenderedCode, RenderedMember, Request, SecretUse,
    Unit, UnitMember,
};
use crate::launcher::{Launched, Launcher, Site};
use crate::model::Env;
use crate::tunnel::TunnelSettings;

/// Seconds between two signs of life of an agent.
const HEARTBEAT: f64 = 10.0;
/// A container alone is its own first node.
const ALONE: &str = "127.0.0.1";
/// Engines take names of many characters; a host's name has at most so many.
const HOST_NAME: usize = 63;
/// The longest name that we give a container.
const NAME: usize = 120;

/// A member with what was found out about it.
struct Found<'a> {
    number: usize,
    unit: &'a Unit<'a>,
    member: &'a UnitMember<'a>,
    settings: DockerSettings,
    /// Its folder, the same at each host but for what is before it.
    folders: Vec<Utf8PathBuf>,
    directories: &'a [Utf8PathBuf],
    own_network: Option<&'a str>,
}

pub(super) fn request(executor: &DockerExecutor, unit: &Unit<'_>) -> Result<Request, RenderError> {
    let directories = executor.directories(unit.experiment_dir);
    let first = &unit.members[0];
    for directory in &directories {
        if directory.as_str().contains([',', ':', '"', '\n', '\r']) {
            return Err(refuse(
                first,
                format!(
                    "the folder {directory} can't be mounted into a container: it holds a comma, a colon, a quote or a line end"
                ),
            ));
        }
    }
    let elsewhere = |one: &TunnelSettings| matches!(one, TunnelSettings::Ssh(_));
    let tunnels = executor.host_tunnels();
    if tunnels
        .iter()
        .any(|one| elsewhere(one) && one.job_dir().is_none())
    {
        return Err(refuse(first, JOB_DIR_HINT.to_owned()));
    }
    let found = unit
        .members
        .iter()
        .enumerate()
        .map(|(number, member)| {
            let settings = settings_of(executor, member)?;
            let folders = directories
                .iter()
                .map(|directory| directory.join(&member.job.name))
                .collect();
            Ok(Found {
                number,
                unit,
                member,
                settings,
                folders,
                directories: &directories,
                own_network: None,
            })
        })
        .collect::<Result<Vec<_>, RenderError>>()?;
    if found.len() > 1
        && let Some(wide) = found.iter().find(|one| one.settings.spans_hosts())
    {
        return Err(refuse(
            wide.member,
            "the members of a group run on one machine: a group can't have several `hosts`"
                .to_owned(),
        ));
    }
    let wide = found.iter().any(|one| one.settings.spans_hosts());
    let several = found.len() > 1 || found.iter().any(|one| one.settings.nodes() > 1);
    let alone = found.iter().all(|one| one.settings.network.is_none());
    let own_network = (several && alone && !wide).then(|| unit.key.as_str().to_owned());
    let mut containers = Vec::new();
    let mut members = Vec::new();
    let mut secrets = Vec::new();
    for mut one in found {
        one.own_network = own_network.as_deref();
        let (shown, own) = one.render(executor)?;
        members.push(shown);
        containers.extend(own);
        for (variable, reference) in &one.member.job.secrets {
            secrets.push(SecretUse {
                member: one.number,
                variable: variable.clone(),
                reference: reference.clone(),
            });
        }
    }
    let jobs = || unit.members.iter().map(|member| member.job);
    let launch = Launch {
        key: unit.key.as_str().to_owned(),
        experiment: unit.experiment.as_str().to_owned(),
        directories: directories.iter().map(|one| one.to_string()).collect(),
        attempt: unit.attempt,
        folders: jobs().map(|job| job.name.clone()).collect(),
        own_network,
        containers,
        grace: jobs().map(|job| job.grace).fold(0.0, f64::max),
    };
    let payload =
        serde_json::to_string(&launch).map_err(|error| refuse(first, error.to_string()))?;
    Ok(Request {
        key: unit.key.clone(),
        payload,
        secrets,
        after: Vec::new(),
        members,
    })
}

/// What to do where a tunnel has no folder for jobs.
pub(super) const JOB_DIR_HINT: &str = "there is no folder for its files on the other machine: write `tunnel.job_dir`, such as \"/home/me/mizzen-jobs\"";

fn refuse(member: &UnitMember<'_>, reason: String) -> RenderError {
    RenderError::Unsupported {
        job: member.job.name.clone(),
        reason,
    }
}

/// A member's settings: its own executor's.
fn settings_of(
    executor: &DockerExecutor,
    member: &UnitMember<'_>,
) -> Result<DockerSettings, RenderError> {
    if member.executor.kind != KIND {
        return Err(refuse(
            member,
            format!(
                "a group on {KIND} can't have a member on `{}`",
                member.executor.kind
            ),
        ));
    }
    let settings: DockerSettings =
        serde_json::from_value(serde_json::Value::Object(member.executor.settings.clone()))
            .map_err(|error| refuse(member, error.to_string()))?;
    let ours = executor.settings();
    let same = settings.tunnel == ours.tunnel
        && settings.engine == ours.engine
        && settings.context == ours.context
        && settings.hosts == ours.hosts;
    if !same {
        return Err(refuse(
            member,
            "the members of a group must be on the same engine: their `engine`, `context`, `tunnel` or `hosts` differ"
                .to_owned(),
        ));
    }
    if settings
        .container_image
        .as_deref()
        .is_none_or(str::is_empty)
    {
        return Err(refuse(
            member,
            "it has no image: write `container_image`, such as \"python:3.12-slim\"".to_owned(),
        ));
    }
    Ok(settings)
}

impl Found<'_> {
    fn name(&self) -> &str {
        &self.member.job.name
    }

    /// What a node is called where containers find each other by name.
    fn alias(&self, node: u32) -> String {
        match self.settings.nodes() {
            1 => host_name(self.name()),
            _ => host_name(&format!("{}-{node}", self.name())),
        }
    }

    /// The first node's address for all of this member's nodes.
    fn head(&self) -> String {
        match self.settings.nodes() {
            1 => ALONE.to_owned(),
            _ if self.settings.spans_hosts() => self
                .settings
                .hosts
                .first()
                .map(super::hosts::HostEntry::address)
                .unwrap_or_default(),
            _ => self.alias(0),
        }
    }

    fn launched(&self, executor: &DockerExecutor, env: &Env) -> Result<Launched, RenderError> {
        let job = self.member.job;
        let value = job.launcher.as_ref().or(self.settings.launcher.as_ref());
        let launcher = value.map_or_else(|| Ok(Launcher::default()), Launcher::from_value)?;
        let nsys = executor.get_nsys_entrypoint();
        Ok(launcher.launch(
            &job.role,
            &Site {
                nodes: self.settings.nodes(),
                per_node: self.settings.ntasks_per_node,
                job: self.name(),
                job_dir: self.folders[0].as_str(),
                run_id: self.unit.key.as_str(),
                address: &self.head(),
                port: &self.port().to_string(),
                node: &format!("$${}", ExecutorMacros::NODE_RANK_VAR),
                metrics: &format!("$${}", ExecutorMacros::METRICS_VAR),
                nsys: &nsys,
                quote: None,
                agents: true,
            },
            env,
        )?)
    }

    fn port(&self) -> u16 {
        self.settings
            .rendezvous_port
            .unwrap_or_else(|| port(self.unit.key.as_str()))
    }

    fn render(
        &self,
        executor: &DockerExecutor,
    ) -> Result<(RenderedMember, Vec<Container>), RenderError> {
        let (unit, job) = (self.unit, self.member.job);
        let mut env = self.settings.env_vars.clone();
        env.extend(&job.role.env);
        let launched = self.launched(executor, &env)?;
        let world_size = self.settings.nodes().saturating_mul(launched.processes);
        for (name, value) in &launched.env {
            default(&mut env, name, value);
        }
        // Lines are seen when they are written, not when a buffer is full.
        default(&mut env, "PYTHONUNBUFFERED", "1");
        if world_size > 1 && launched.world.is_none() {
            default(&mut env, "MASTER_ADDR", &self.head());
            default(&mut env, "MASTER_PORT", &self.port().to_string());
        }
        for (number, other) in unit
            .members
            .iter()
            .enumerate()
            .filter(|_| unit.members.len() > 1)
        {
            let host = host_name(&other.job.name);
            default(&mut env, &format!("MIZZEN_GROUP_HOST_{number}"), &host);
        }
        let has_home = env.get("HOME").is_some();
        env.insert("MIZZEN_EXPERIMENT_ID", unit.experiment.as_str());
        env.insert("MIZZEN_JOB_NAME", &*job.name);
        env.insert("MIZZEN_ATTEMPT", unit.attempt.to_string());
        let group_host = |index: &str| {
            let index: usize = index.parse().ok()?;
            Some(host_name(&unit.members.get(index)?.job.name))
        };
        let head = self.head();
        let direct = Direct {
            launched: &launched,
            env: &env,
            nodes: self.settings.nodes(),
            per_node: self.settings.ntasks_per_node,
            head: &head,
            group_host: &group_host,
        };
        let containers = (0..self.settings.nodes())
            .map(|node| self.container(executor, node, &direct, has_home))
            .collect::<Result<Vec<_>, RenderError>>()?;
        let mut argv: Vec<Vec<String>> = (0..direct.size())
            .map(|rank| direct.rank(rank).argv)
            .collect();
        argv.dedup();
        let job_dir = &self.folders[0];
        let shown = RenderedMember {
            name: job.name.clone(),
            job_dir: job_dir.to_string(),
            attempt_dir: format!("{job_dir}/attempts/{}", unit.attempt),
            argv,
            ranks: direct.size(),
            env: env
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            workdir: job.workdir.clone(),
            files: job
                .files
                .iter()
                .cloned()
                .chain(launched.files.iter().cloned())
                .collect(),
            code: self.code(executor, 0),
            by_hand: containers
                .first()
                .filter(|_| executor.shares_files())
                .and_then(|one| {
                    let directory = &self.directories[0];
                    by_hand::line(&self.settings, one, directory, self.member.code)
                }),
        };
        Ok((shown, containers))
    }

    fn code(&self, executor: &DockerExecutor, host: usize) -> Option<RenderedCode> {
        let bundles = executor.bundles_at(host, self.unit.home());
        RenderedCode::of(self.member, &bundles, &self.folders[host])
    }

    /// One container of this member's.
    fn container(
        &self,
        executor: &DockerExecutor,
        node: u32,
        direct: &Direct<'_>,
        has_home: bool,
    ) -> Result<Container, RenderError> {
        let (unit, job, settings) = (self.unit, self.member.job, &self.settings);
        let host = node as usize % self.directories.len();
        let (directory, job_dir) = (&self.directories[host], &self.folders[host]);
        let nodes = settings.nodes();
        let code = self.code(executor, host);
        let attempt_dir = format!("{job_dir}/attempts/{}", unit.attempt);
        let per_node = direct.launched.processes;
        let first_rank = node * per_node;
        let world = direct
            .launched
            .world
            .clone()
            .map(|world| self.world(world, node, &attempt_dir));
        let record_dir = match nodes {
            1 => attempt_dir.clone(),
            _ => format!("{attempt_dir}/nodes/{node}"),
        };
        let member = Member {
            name: job.name.clone(),
            attempt_dir: record_dir,
            log_dir: (nodes > 1).then(|| attempt_dir.clone()),
            first_rank,
            workdir: self.at(host, &job.workdir),
            env: vec![
                ("MIZZEN_EXPERIMENT_DIR".to_owned(), directory.to_string()),
                ("MIZZEN_JOB_DIR".to_owned(), job_dir.to_string()),
            ],
            inherit: true,
            code: None,
            leader: self.member.leader,
            world,
            of_node: nodes > 1,
            ranks: (first_rank..first_rank + per_node)
                .map(|rank| self.rank_at(host, direct.rank(rank)))
                .collect(),
        };
        let image = settings.container_image.clone().unwrap_or_default();
        let name = container_name(unit.key.as_str(), &job.name, (nodes > 1).then_some(node));
        let labels = [
            ("key", unit.key.as_str().to_owned()),
            ("experiment", unit.experiment.as_str().to_owned()),
            ("job", job.name.clone()),
            ("attempt", unit.attempt.to_string()),
            ("member", self.number.to_string()),
            ("node", node.to_string()),
        ];
        let mut words: Vec<String> = labels
            .into_iter()
            .map(|(label, value)| format!("--label={LABEL}.{label}={value}"))
            .collect();
        let network = settings
            .network
            .as_deref()
            .or(self.own_network)
            .or_else(|| {
                // What is on several machines finds each other by their own addresses.
                settings.spans_hosts().then_some("host")
            });
        let networked = options::network(network, &self.alias(node), settings);
        words.extend(networked.map_err(|reason| refuse(self.member, reason))?);
        let in_place = self
            .member
            .code
            .filter(|code| code.in_place && executor.shares_files())
            .map(|code| code.root.clone());
        let mounts = options::Mounts {
            settings,
            directory,
            job_dir,
            code: code.as_ref().filter(|code| code.tree.is_none()),
            in_place: in_place.as_deref(),
        };
        let (mounted, sources) = mounts
            .words()
            .map_err(|reason| refuse(self.member, reason))?;
        words.extend(mounted);
        words.extend(options::of(settings).map_err(|reason| refuse(self.member, reason))?);
        for (name, value) in direct.env.iter() {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(refuse(
                    self.member,
                    format!("{name:?} can't be a variable of a container"),
                ));
            }
            if !ExecutorMacros::is_used_in(value) {
                words.push(format!("--env={name}={}", self.at(host, value)));
            }
        }
        let named = |network: &&str| !options::is_the_engines(network);
        Ok(Container {
            name,
            member: self.number,
            node,
            nodes,
            host,
            options: words,
            image,
            pull: settings.pull,
            platform: settings.platform.clone(),
            user: match settings.user.as_deref() {
                None => User::Me { has_home },
                Some("image") => User::Image,
                Some(name) => User::Named(name.to_owned()),
            },
            gpus: Gpus::of(settings),
            keep_entrypoint: settings.entrypoint == Entrypoint::Keep,
            sources,
            network: settings.network.as_deref().filter(named).map(str::to_owned),
            files: self.files(host, direct.launched),
            code: code.map(|code| CodePlace {
                as_link: code.tree.is_none(),
                from: code.from,
                to: code.to,
            }),
            job: Job {
                key: unit.key.as_str().to_owned(),
                members: vec![member],
                timeout: unit
                    .members
                    .iter()
                    .filter_map(|member| member.job.timeout)
                    .reduce(f64::min),
                grace: unit
                    .members
                    .iter()
                    .map(|member| member.job.grace)
                    .fold(0.0, f64::max),
                devices: None,
                heartbeat: HEARTBEAT,
                peers: match direct.launched.world {
                    // The agents of a world's nodes speak to each other by themselves.
                    Some(_) if nodes > 1 => Vec::new(),
                    _ => self.peers(node),
                },
            },
        })
    }

    /// A text of the plan, which names folders as the first host has them, at another host.
    fn at(&self, host: usize, text: &str) -> String {
        match host {
            0 => text.to_owned(),
            // An experiment's folder has its id in it: nothing else is named like that.
            _ => text.replace(
                self.directories[0].as_str(),
                self.directories[host].as_str(),
            ),
        }
    }

    fn rank_at(&self, host: usize, rank: Rank) -> Rank {
        Rank {
            argv: rank.argv.iter().map(|text| self.at(host, text)).collect(),
            env: rank
                .env
                .into_iter()
                .map(|(name, value)| (name, self.at(host, &value)))
                .collect(),
        }
    }

    /// The files of the job and of its launcher.
    fn files(&self, host: usize, launched: &Launched) -> Vec<LaunchFile> {
        let files = self.member.job.files.iter().chain(&launched.files);
        files
            .map(|file| LaunchFile {
                path: format!("{}/{}", self.name(), file.path),
                contents: self.at(host, &file.contents),
                executable: file.executable,
            })
            .collect()
    }

    /// The attempts' folders of the other containers that see the same files.
    fn peers(&self, node: u32) -> Vec<String> {
        let attempt = self.unit.attempt;
        let nodes = self.settings.nodes();
        if nodes > 1 {
            let hosts = self.directories.len() as u32;
            return (0..nodes)
                .filter(|other| *other != node && other % hosts == node % hosts)
                .map(|other| {
                    let folder = &self.folders[(node % hosts) as usize];
                    format!("{folder}/attempts/{attempt}/nodes/{other}")
                })
                .collect();
        }
        self.unit
            .members
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != self.number)
            .map(|(_, other)| {
                format!(
                    "{}/{}/attempts/{attempt}",
                    self.directories[0], other.job.name
                )
            })
            .collect()
    }

    /// A member's world as the agent of one node takes it.
    fn world(&self, world: World, node: u32, attempt_dir: &str) -> World {
        let nodes = self.settings.nodes();
        let apart = self.settings.spans_hosts();
        World {
            address: self.head(),
            port: world.port.or(self.settings.rendezvous_port),
            meeting: (nodes > 1).then(|| Meeting {
                node,
                attempt_dir: attempt_dir.to_owned(),
                // The token is put in when it is sent: whoever has it is believed.
                port: apart.then(|| self.port()),
                token: None,
            }),
            ..world
        }
    }
}

fn default(env: &mut Env, name: &str, value: &str) {
    if env.get(name).is_none() {
        env.insert(name, value);
    }
}

/// A text as a host's name: letters, digits and hyphens.
fn host_name(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let short: String = plain.trim_matches('-').chars().take(HOST_NAME).collect();
    match short.trim_end_matches('-') {
        "" => "job".to_owned(),
        name => name.to_owned(),
    }
}

/// What the engine calls a container: the key, which nobody else has, and for people the job.
fn container_name(key: &str, job: &str, node: Option<u32>) -> String {
    let plain: String = job
        .chars()
        .map(|letter| match letter {
            letter if letter.is_ascii_alphanumeric() || "_.-".contains(letter) => letter,
            _ => '-',
        })
        .collect();
    let mut name: String = format!("{key}-{plain}").chars().take(NAME).collect();
    if let Some(node) = node {
        name.push_str(&format!("-n{node}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ones_that_engines_take() {
        assert_eq!(host_name("train-lr=0.1"), "train-lr-0-1");
        assert_eq!(host_name("Ünder_score"), "nder-score");
        assert_eq!(host_name("=="), "job");
        assert_eq!(host_name(&"x".repeat(90)).len(), HOST_NAME);
        assert_eq!(
            container_name("mz-a-0-1", "train-lr=0.1", None),
            "mz-a-0-1-train-lr-0.1"
        );
        assert_eq!(
            container_name("mz-a-0-1", "a/b", Some(2)),
            "mz-a-0-1-a-b-n2"
        );
    }
}
