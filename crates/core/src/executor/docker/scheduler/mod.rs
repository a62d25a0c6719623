//! The live connection to the engines of one or several hosts.
//!
//! ```text
//! submit ─ send.rs ─▶ files, code, image, GPUs ─▶ run (one container), create and start (several)
//! listen.rs: one stream of events a host, one list when it begins ─▶ State of each container
//! observe ─▶ all have ended? ─ conclude.rs ─▶ records ─ inspect, for those without ─▶ Ended
//! cancel ─ stop.rs ─▶ end.json, SIGTERM ─ after the grace SIGKILL          forget ─▶ rm
//! ```
//!
//! Evidence, best first: the agent's record, the engine's word on the container, the events that were seen. That nothing is
//! heard of an engine says nothing of its containers.

mod conclude;
mod gpus;
mod host;
mod listen;
mod send;
mod stop;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(super) use self::gpus::FIND;
use self::host::Host;
pub(super) use self::host::missing_of;
use super::engine::{Engine, Status, read_row};
use super::payload::{Container, Launch};
use super::{DockerExecutor, KIND};
use crate::context::Context;
use crate::executor::{
    CancelError, Observation, ObserveError, Observed, Request, Scheduler, SubmitError,
};
use crate::model::{CancelMode, ExperimentId, Handle, SubmissionKey, Timestamp};
use crate::tunnel::Tunnel;

/// Seconds between two looks, if the engine says nothing by itself.
const PACE: f64 = 15.0;
/// So many containers are started at once.
const AT_ONCE: usize = 4;

/// The connection to the engines of one place.
pub(super) struct DockerScheduler {
    shared: Arc<Shared>,
}

/// What the tasks of a connection have in common.
struct Shared {
    context: Context,
    /// What handles begin with.
    prefix: String,
    engine: Engine,
    hosts: Vec<Host>,
    keep_containers: bool,
    news: Notify,
    state: Mutex<State>,
    /// Containers that are to be removed, by host; they go together.
    removing: Vec<stop::Removals>,
    turns: tokio::sync::Semaphore,
    /// By host: somebody wants to know how all containers are.
    ask: Vec<Notify>,
    /// One for each host, when something is watched. They end with the connection.
    listeners: Mutex<JoinSet<()>>,
}

impl Drop for DockerScheduler {
    fn drop(&mut self) {
        let listeners = self.shared.listeners.lock();
        listeners
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

#[derive(Default)]
struct State {
    jobs: HashMap<Handle, Watched>,
    /// The handle of each container that is watched.
    names: HashMap<String, Handle>,
    /// What is known of images that are pulled.
    images: HashMap<send::ImageAt, send::Pulling>,
    /// What happened to containers that nobody watched then: an engine's list may be older than its events.
    early: HashMap<String, Early>,
    /// The experiment whose events are heard.
    experiment: Option<String>,
    /// What kept a job from being sent is over.
    again: bool,
}

/// What was heard of a container.
#[derive(Debug, Clone, Copy, Default)]
struct Early {
    started: Option<Timestamp>,
    exited: Option<Option<i32>>,
    killed: bool,
    out_of_memory: bool,
}

/// A unit that is watched.
#[derive(Debug, Clone)]
struct Watched {
    key: String,
    members: usize,
    grace: f64,
    own_network: Option<String>,
    parts: Vec<Part>,
    /// It is to end: somebody here has said so.
    cancelled: bool,
    /// Its other containers were told to end because of one of them.
    ending: bool,
    told_running: bool,
    /// What is not in an answer that is older says nothing.
    since: Instant,
    /// Nobody has heard of it since this process began: its containers may be gone already.
    found: bool,
}

/// One container of a unit.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    host: usize,
    member: usize,
    node: u32,
    ranks: u32,
    leader: bool,
    /// The folder of its claim and record, absolute.
    record_dir: String,
    /// The job's file, which holds secrets until it was read.
    job_file: String,
    seen: Seen,
    started: Option<Timestamp>,
    /// The engine said that its memory was used up.
    out_of_memory: bool,
    /// A signal was sent to it.
    killed: bool,
}

/// How a container was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Unknown,
    Created,
    Running,
    Exited(Option<i32>),
    Gone,
}

impl Part {
    fn has_ended(&self) -> bool {
        matches!(self.seen, Seen::Exited(_) | Seen::Gone)
    }
}

impl Watched {
    fn new(launch: &Launch, cancelled: bool) -> Watched {
        let parts = launch
            .containers
            .iter()
            .map(|container| {
                let directory = &launch.directories[container.host];
                Part {
                    name: container.name.clone(),
                    host: container.host,
                    member: container.member,
                    node: container.node,
                    ranks: ranks(container),
                    leader: container.job.members.iter().any(|member| member.leader),
                    record_dir: format!("{directory}/{}", container.record_dir(launch)),
                    job_file: format!("{directory}/{}", container.job_file(launch)),
                    seen: Seen::Unknown,
                    started: None,
                    out_of_memory: false,
                    killed: false,
                }
            })
            .collect();
        Watched {
            key: launch.key.clone(),
            members: launch.folders.len(),
            grace: launch.grace,
            own_network: launch.own_network.clone(),
            parts,
            cancelled,
            ending: false,
            told_running: false,
            since: Instant::now(),
            found: false,
        }
    }
}

fn ranks(container: &Container) -> u32 {
    let ranks = container
        .job
        .members
        .iter()
        .map(|member| member.ranks.len());
    u32::try_from(ranks.sum::<usize>()).unwrap_or(u32::MAX)
}

/// Connects when something is asked for the first time.
pub(super) fn connect(executor: &DockerExecutor, context: &Context) -> DockerScheduler {
    let ways = executor.host_tunnels().iter();
    connect_by(
        executor,
        context,
        ways.map(|way| way.open(context)).collect(),
    )
}

/// The same by these connections to its hosts.
pub(super) fn connect_by(
    executor: &DockerExecutor,
    context: &Context,
    connections: Vec<Arc<dyn Tunnel>>,
) -> DockerScheduler {
    let settings = executor.settings();
    let tunnels = executor.host_tunnels();
    let places: Vec<String> = tunnels.iter().map(|tunnel| tunnel.place()).collect();
    let mut place = places.join(",");
    if let Some(name) = &settings.context {
        place = format!("{place},{name}");
    }
    let hosts: Vec<Host> = tunnels
        .iter()
        .zip(connections)
        .map(|(tunnel, connection)| Host::new(tunnel, connection, context))
        .collect();
    let removing = hosts.iter().map(|_| stop::Removals::default()).collect();
    let ask = hosts.iter().map(|_| Notify::new()).collect();
    DockerScheduler {
        shared: Arc::new(Shared {
            context: context.clone(),
            prefix: format!("{KIND}://{}/", place.replace(['/', ' '], "-")),
            engine: Engine::new(settings),
            hosts,
            keep_containers: settings.keep_containers,
            news: Notify::new(),
            state: Mutex::default(),
            removing,
            turns: tokio::sync::Semaphore::new(AT_ONCE),
            ask,
            listeners: Mutex::default(),
        }),
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, key: &SubmissionKey) -> Handle {
        Handle(format!("{}{key}", self.prefix))
    }

    /// Hears of the containers of an experiment from now on.
    fn listen(self: &Arc<Self>, experiment: &str) {
        let mut state = self.lock();
        if state.experiment.is_some() {
            return;
        }
        state.experiment = Some(experiment.to_owned());
        drop(state);
        let listeners = self.listeners.lock();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        for host in 0..self.hosts.len() {
            listeners.spawn(listen::hear(self, host, experiment));
        }
    }

    /// All containers of an experiment at a host.
    async fn list(
        &self,
        host: usize,
        experiment: &str,
    ) -> Result<HashMap<String, Status>, ObserveError> {
        let answer = self.ask(host, &self.engine.list(experiment)).await?;
        Ok(answer.lines().filter_map(read_row).collect())
    }

    /// Asks the engine of a host.
    async fn ask(&self, host: usize, command: &crate::tunnel::Cmd) -> Result<String, ObserveError> {
        let finished = self.hosts[host]
            .tunnel
            .run(command)
            .await
            .map_err(|error| ObserveError(error.to_string()))?;
        if finished.status != 0 {
            return Err(ObserveError(super::engine::words(&finished.stderr)));
        }
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    /// What is seen of one unit now.
    async fn look(self: &Arc<Self>, handle: &Handle) -> Result<Vec<Observed>, ObserveError> {
        let Some(mut job) = self.lock().jobs.get(handle).cloned() else {
            return Ok(Vec::new());
        };
        let mut ended = None;
        if job.parts.iter().all(Part::has_ended) {
            ended = Some(self.conclude(&job).await?);
        } else if job.parts.iter().any(Part::has_ended) && !job.ending {
            job.ending = self.end_the_others(&job).await?;
        }
        let mut told = Vec::new();
        let seen = job.parts.iter().filter_map(|part| part.started).min();
        // What was found when it was over has begun before it was seen.
        let records = ended.iter().flatten().filter_map(|end| end.record.as_ref());
        let recorded = records.map(|record| Timestamp(record.started)).min();
        let started = seen.into_iter().chain(recorded).min();
        let runs = job.parts.iter().any(|part| part.seen == Seen::Running) || started.is_some();
        if runs && !job.told_running {
            let mut nodes: Vec<String> = Vec::new();
            for part in &job.parts {
                let name = self.hosts[part.host].name.clone();
                if !nodes.contains(&name) {
                    nodes.push(name);
                }
            }
            told.push(Observed::Running {
                nodes,
                since: started.unwrap_or_else(|| self.context.clock.now()),
            });
            job.told_running = true;
        }
        told.extend(ended.map(Observed::Ended));
        if let Some(known) = self.lock().jobs.get_mut(handle) {
            known.told_running = job.told_running;
            known.ending |= job.ending;
        }
        Ok(told)
    }
}

#[async_trait]
impl Scheduler for DockerScheduler {
    async fn prepare(&self) {
        for host in &self.shared.hosts {
            let _ = host.facts(&self.shared.engine).await;
        }
    }

    async fn submit(&self, request: &Request) -> Result<Handle, SubmitError> {
        send::send(&self.shared, request).await
    }

    async fn submit_many(&self, requests: &[Request]) -> Vec<Result<Handle, SubmitError>> {
        let mut running = JoinSet::new();
        for (number, request) in requests.iter().enumerate() {
            let (shared, request) = (Arc::clone(&self.shared), request.clone());
            running.spawn(async move { (number, send::send(&shared, &request).await) });
        }
        let lost = || {
            Err(SubmitError::Uncertain(
                "its sending was given up".to_owned(),
            ))
        };
        let mut answers: Vec<_> = requests.iter().map(|_| lost()).collect();
        while let Some(Ok((number, answer))) = running.join_next().await {
            answers[number] = answer;
        }
        answers
    }

    fn watch(&self, handle: &Handle, request: &Request) {
        let Ok(launch) = Launch::from_payload(&request.payload) else {
            return;
        };
        let mut state = self.shared.lock();
        let known = state.jobs.contains_key(handle);
        if !known {
            let mut watched = Watched::new(&launch, false);
            // Not one that this process has sent: what became of it meanwhile is asked.
            watched.found = true;
            self.shared.remember(&mut state, handle, watched);
        }
        drop(state);
        self.shared.listen(&launch.experiment);
        if !known {
            for ask in &self.shared.ask {
                ask.notify_one();
            }
        }
    }

    async fn find(
        &self,
        key: &SubmissionKey,
        request: &Request,
    ) -> Result<Option<Handle>, ObserveError> {
        let mut found = self.find_many(std::slice::from_ref(request)).await?;
        let _ = key;
        Ok(found.pop().flatten())
    }

    async fn find_many(&self, requests: &[Request]) -> Result<Vec<Option<Handle>>, ObserveError> {
        let mut listed: HashMap<(usize, String), HashMap<String, Status>> = HashMap::new();
        let mut found = Vec::with_capacity(requests.len());
        for request in requests {
            let launch = Launch::from_payload(&request.payload)
                .map_err(|error| ObserveError(error.to_string()))?;
            let hosts: HashSet<usize> = launch.containers.iter().map(|one| one.host).collect();
            for host in hosts {
                let place = (host, launch.experiment.clone());
                if let Entry::Vacant(rows) = listed.entry(place) {
                    rows.insert(self.shared.list(host, &launch.experiment).await?);
                }
            }
            let begun = |container: &Container| {
                let place = (container.host, launch.experiment.clone());
                let status = listed
                    .get(&place)
                    .and_then(|rows| rows.get(&container.name));
                status.map(|status| *status != Status::Created)
            };
            // Of a unit that was sent in part the rest is sent once more: what has begun is adopted then.
            let begun: Vec<Option<bool>> = launch.containers.iter().map(begun).collect();
            let all = match begun.contains(&None) {
                // Of those that are gone, what they have left tells.
                true => {
                    let unit = Watched::new(&launch, false);
                    let left = self.shared.left_something(&unit).await?;
                    begun
                        .iter()
                        .zip(left)
                        .all(|(begun, left)| begun.unwrap_or(left))
                }
                false => begun.iter().all(|begun| *begun == Some(true)),
            };
            found.push(all.then(|| self.shared.handle(&request.key)));
        }
        Ok(found)
    }

    async fn observe(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError> {
        let mut observations = Vec::new();
        for handle in handles {
            for observed in self.shared.look(handle).await? {
                observations.push(Observation {
                    handle: handle.clone(),
                    observed,
                });
            }
        }
        for host in &self.shared.hosts {
            // What was seen is told first: silence elsewhere does not change it.
            if observations.is_empty()
                && let Some(words) = host.silence()
            {
                return Err(ObserveError(words));
            }
        }
        Ok(observations)
    }

    async fn changed(&self) {
        self.shared.news.notified().await;
    }

    fn wants_again(&self) -> bool {
        std::mem::take(&mut self.shared.lock().again)
    }

    fn settles_after(&self) -> std::time::Duration {
        // The name makes sending twice harmless.
        std::time::Duration::ZERO
    }

    async fn forget(&self, handle: &Handle) {
        self.shared.remove(handle).await;
    }

    async fn leave(&self, experiment: &ExperimentId) {
        self.shared.leave(experiment.as_str()).await;
    }

    fn tunnel(&self) -> Option<Arc<dyn Tunnel>> {
        self.shared
            .hosts
            .first()
            .map(|host| Arc::clone(&host.tunnel))
    }

    fn tunnels(&self) -> Vec<Arc<dyn Tunnel>> {
        let hosts = self.shared.hosts.iter();
        hosts.map(|host| Arc::clone(&host.tunnel)).collect()
    }

    fn pace(&self) -> f64 {
        PACE
    }

    async fn cancel(&self, handle: &Handle, mode: CancelMode) -> Result<(), CancelError> {
        self.shared.cancel(handle, mode).await
    }
}

impl Shared {
    fn remember(&self, state: &mut State, handle: &Handle, mut watched: Watched) {
        for part in &mut watched.parts {
            state.names.insert(part.name.clone(), handle.clone());
            let Some(early) = state.early.remove(&part.name) else {
                continue;
            };
            part.started = early.started;
            part.killed = early.killed;
            part.out_of_memory = early.out_of_memory;
            if let Some(code) = early.exited {
                part.seen = Seen::Exited(code);
            }
            self.news.notify_one();
        }
        state.jobs.insert(handle.clone(), watched);
    }
}
