//! From a request to containers that run.
//!
//! ```text
//! secrets, token ─▶ job files ─▶ E        code ─▶ <job>/code        sources there? image there? GPUs free?
//!   one container:  run ─┬ runs                  several:  create each ─▶ start all
//!                        ├ the name is ours ─▶ adopted: started if it was only made
//!                        ├ no image ─▶ pulled beside this; sent again when it is there
//!                        └ refused ─▶ removed, and the engine's words
//! ```
//!
//! Everything may be done twice: a name can be used once only, and the claim in the attempt's folder keeps a container that was
//! started again from doing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use camino::Utf8Path;
use mizzen_agent::bundle;
use mizzen_agent::protocol::MEETING_FILE;

use super::super::bare;
use super::super::engine::{Kind, LIMIT, Refusal, START_LIMIT, State, read_state, refusal, words};
use super::super::payload::{AGENT, Container, LABEL, Launch, User};
use super::super::settings::Pull;
use super::gpus::Given;
use super::host::{Facts, refused, unsent};
use super::{Shared, Watched};
use crate::executor::{Request, SubmitError, resolve_secret};
use crate::model::Handle;
use crate::tunnel::{Cmd, TunnelError};

/// An image at a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ImageAt {
    host: usize,
    image: String,
    platform: Option<String>,
}

/// What is known of an image that is or was pulled.
#[derive(Debug, Clone)]
pub(super) enum Pulling {
    Running,
    Done,
    Failed(String),
}

/// Sends one request.
pub(super) async fn send(shared: &Arc<Shared>, request: &Request) -> Result<Handle, SubmitError> {
    let launch = Launch::from_payload(&request.payload)
        .map_err(|error| SubmitError::Rejected(format!("the request can't be read: {error}")))?;
    let handle = shared.handle(&request.key);
    shared.listen(&launch.experiment);
    let sending = Sending {
        shared,
        launch: &launch,
    };
    // Watched before it runs: a short one has ended before its start was answered.
    {
        let mut state = shared.lock();
        let watched = Watched::new(&launch, false);
        shared.remember(&mut state, &handle, watched);
    }
    let turn = shared.turns.acquire().await;
    let sent = sending.all(request).await;
    drop(turn);
    if sent.is_err() {
        // An answer that was lost leaves it to be looked for; it is watched again then.
        shared.lose(&handle);
    }
    sent.map(|()| handle)
}

/// What came of making a container.
enum Made {
    /// It is to be started.
    Waits,
    /// It was started, now or before.
    Runs,
}

struct Sending<'a> {
    shared: &'a Arc<Shared>,
    launch: &'a Launch,
}

impl Sending<'_> {
    async fn all(&self, request: &Request) -> Result<(), SubmitError> {
        let containers = &self.launch.containers;
        for container in containers {
            let host = &self.shared.hosts[container.host];
            host.facts(&self.shared.engine).await?;
            let missing = host.missing(&container.sources).await?;
            if !missing.is_empty() {
                return Err(SubmitError::Rejected(format!(
                    "{} is not there on {}: make it, or correct `volumes`",
                    missing.join(", "),
                    host.name
                )));
            }
            if container.pull == Pull::Always {
                self.pulled(container)?;
            }
        }
        self.files(request).await?;
        if let Some(network) = &self.launch.own_network {
            self.make_network(containers[0].host, network).await?;
        }
        if let [one] = containers.as_slice() {
            return self.run(one).await;
        }
        // Whether a network is there shows only when a container starts.
        let networks: BTreeSet<(usize, &str)> = containers
            .iter()
            .filter_map(|one| Some((one.host, one.network.as_deref()?)))
            .collect();
        for (host, network) in networks {
            self.make_network(host, network).await?;
        }
        let mut made = Vec::new();
        for container in containers {
            match self.make("create", container).await {
                Ok(Made::Waits) => made.push(container),
                Ok(Made::Runs) => {}
                Err(error) => return Err(self.take_back(error).await),
            }
        }
        for container in made {
            if let Err(error) = self.start(container).await {
                return Err(self.take_back(error).await);
            }
        }
        Ok(())
    }

    /// A container that has its place, GPUs and all.
    async fn run(&self, container: &Container) -> Result<(), SubmitError> {
        let sent = match self.make("run", container).await {
            Ok(Made::Waits) => self.start(container).await,
            Ok(Made::Runs) => Ok(()),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.take_back(error).await),
        }
    }

    /// Makes a container, and with `run` starts it.
    async fn make(&self, verb: &str, container: &Container) -> Result<Made, SubmitError> {
        let shared = self.shared;
        let host = &shared.hosts[container.host];
        let facts = host.facts(&shared.engine).await?;
        let given = match &container.gpus {
            Some(wanted) => Some(shared.give(container.host, wanted).await?),
            None => None,
        };
        let mut tried_network = false;
        loop {
            let words_of = self.words(verb, container, facts, given.as_ref());
            let command = Cmd::new(words_of).timeout(START_LIMIT);
            let finished = host.tunnel.run(&command).await.map_err(unsent)?;
            if finished.status == 0 {
                return Ok(match verb {
                    "run" => Made::Runs,
                    _ => Made::Waits,
                });
            }
            let said = words(&finished.stderr);
            match refusal(&said) {
                Refusal::NameTaken => return self.adopt(container).await,
                Refusal::NoNetwork if !tried_network && container.network.is_some() => {
                    tried_network = true;
                    let network = container.network.as_deref().unwrap_or_default();
                    self.make_network(container.host, network).await?;
                    // It was made before that was noticed.
                    self.remove(container).await;
                }
                Refusal::NoImage if container.pull != Pull::Never => {
                    self.pulled(container)?;
                    // It was there a moment ago.
                    return Err(SubmitError::Rejected(said));
                }
                Refusal::NoImage => {
                    return Err(SubmitError::Rejected(format!(
                        "{said} (and `pull` is \"never\")"
                    )));
                }
                _ => {
                    return Err(refused(
                        &shared.engine,
                        host,
                        finished.status,
                        &finished.stderr,
                    ));
                }
            }
        }
    }

    /// The words that make a container, and with `run` start it.
    fn words(
        &self,
        verb: &str,
        container: &Container,
        facts: &Facts,
        given: Option<&Given>,
    ) -> Vec<String> {
        let engine = &self.shared.engine;
        let mut words = engine.words([verb]);
        if verb == "run" {
            words.push("--detach".to_owned());
        }
        words.push("--pull=never".to_owned());
        words.push(format!("--name={}", container.name));
        words.extend(container.options.iter().cloned());
        if engine.kind() == Kind::Podman {
            // Folders of the user's keep the labels that they have.
            words.push("--security-opt=label=disable".to_owned());
        }
        match &container.user {
            User::Image => {}
            User::Named(name) => words.push(format!("--user={name}")),
            User::Me { .. } if facts.rootless && engine.kind() == Kind::Docker => {
                words.push("--user=0:0".to_owned());
            }
            User::Me { has_home } => {
                if facts.rootless {
                    words.push("--userns=keep-id".to_owned());
                }
                words.push(format!("--user={}:{}", facts.uid, facts.gid));
                if facts.uid != 0 {
                    for name in ["USER", "LOGNAME"] {
                        words.push(format!("--env={name}={}", facts.user));
                    }
                    if !has_home {
                        words.push("--env=HOME=/tmp".to_owned());
                    }
                }
            }
        }
        if let Some(given) = given {
            words.extend(given.words(engine.kind()));
            words.push(format!("--label={LABEL}.gpus={}", given.label()));
        }
        let directory = Utf8Path::new(&self.launch.directories[container.host]);
        let command = match &facts.agent {
            Some(agent) => {
                words.push(format!("--volume={agent}:{AGENT}:ro"));
                let file = directory.join(container.job_file(self.launch));
                vec![
                    AGENT.to_owned(),
                    "run".to_owned(),
                    file.into_string(),
                    "--once".to_owned(),
                ]
            }
            None => {
                words.push("--init".to_owned());
                let file = directory.join(bare::script_path(&container.job_file(self.launch)));
                vec!["/bin/sh".to_owned(), file.into_string()]
            }
        };
        let (first, rest) = command.split_at(1);
        if !container.keep_entrypoint {
            words.push(format!("--entrypoint={}", first[0]));
        }
        words.push(container.image.clone());
        if container.keep_entrypoint {
            words.extend(first.iter().cloned());
        }
        words.extend(rest.iter().cloned());
        words
    }

    /// A container with this name is there: ours is taken as it is, anybody else's is left alone.
    async fn adopt(&self, container: &Container) -> Result<Made, SubmitError> {
        let shared = self.shared;
        let host = &shared.hosts[container.host];
        let command = shared.engine.inspect(&container.name);
        let finished = host.tunnel.run(&command).await.map_err(unsent)?;
        let answer = String::from_utf8_lossy(&finished.stdout);
        match read_state(&answer) {
            Some((key, _)) if key != self.launch.key => Err(SubmitError::Rejected(format!(
                "the name {} is taken on {} by a container that is not mizzen's: rename or remove it",
                container.name, host.name
            ))),
            Some((_, state)) => {
                let made = ["created", "initialized", "configured"];
                self.shared.ask[container.host].notify_one();
                // What has ended would run again.
                Ok(
                    match made.contains(&state.status.to_ascii_lowercase().as_str()) {
                        true => Made::Waits,
                        false => Made::Runs,
                    },
                )
            }
            // It is being removed.
            None => Err(SubmitError::Later(format!(
                "the name {} is still in use on {}",
                container.name, host.name
            ))),
        }
    }

    /// Starts what was made. What runs already is left alone.
    async fn start(&self, container: &Container) -> Result<(), SubmitError> {
        let shared = self.shared;
        let host = &shared.hosts[container.host];
        let words = shared.engine.words(["start", &container.name]);
        let command = Cmd::new(words).timeout(START_LIMIT);
        let finished = host.tunnel.run(&command).await.map_err(unsent)?;
        if finished.status == 0 {
            return Ok(());
        }
        let said = words_of(&finished.stderr);
        if refusal(&said) == Refusal::NoNetwork && self.launch.own_network.is_some() {
            // Somebody else who sent the same has taken it back.
            return Err(SubmitError::Later(format!("{}: {said}", host.name)));
        }
        Err(refused(
            &shared.engine,
            host,
            finished.status,
            &finished.stderr,
        ))
    }

    /// Takes back what was made of a unit that is not to run. What may run is left alone.
    async fn take_back(&self, error: SubmitError) -> SubmitError {
        if matches!(error, SubmitError::Rejected(_) | SubmitError::Later(_)) {
            self.remove_made().await;
        }
        error
    }

    async fn remove_made(&self) {
        let mut none_begun = true;
        for container in &self.launch.containers {
            if !self.remove(container).await {
                none_begun = false;
                continue;
            }
            let directory = Utf8Path::new(&self.launch.directories[container.host]);
            let file = directory.join(container.job_file(self.launch));
            let command = Cmd::new(["rm", "-f", "--", file.as_str()]).timeout(LIMIT);
            let _ = self.shared.hosts[container.host].tunnel.run(&command).await;
        }
        if let (true, Some(network)) = (none_begun, &self.launch.own_network) {
            let host = &self.shared.hosts[self.launch.containers[0].host];
            let command = self.shared.engine.command(["network", "rm", network]);
            let _ = host.tunnel.run(&command).await;
        }
    }

    /// Removes a container of ours that was never started. Whether it is certain that nothing of ours has begun in it.
    async fn remove(&self, container: &Container) -> bool {
        let shared = self.shared;
        let host = &shared.hosts[container.host];
        // Only what is ours: the name may be why it failed.
        let inspect = shared.engine.inspect(&container.name);
        let Ok(finished) = host.tunnel.run(&inspect).await else {
            return false;
        };
        let answer = String::from_utf8_lossy(&finished.stdout);
        match read_state(&answer) {
            Some((key, _)) if key != self.launch.key => true,
            // What has begun is left alone: whoever sent it before may have been killed, and its answer was lost.
            Some((_, state)) if !is_only_made(&state) => false,
            Some(_) => {
                // Without force: who started it meanwhile keeps it.
                let command = shared.engine.command(["rm", "--volumes", &container.name]);
                let removed = host.tunnel.run(&command).await;
                removed.is_ok_and(|finished| finished.status == 0)
            }
            None => refusal(&words(&finished.stderr)) == Refusal::NoContainer,
        }
    }

    /// Makes a network; one that is there is taken as it is.
    async fn make_network(&self, host: usize, network: &str) -> Result<(), SubmitError> {
        let shared = self.shared;
        let mut words = vec!["network".to_owned(), "create".to_owned()];
        if self.launch.own_network.as_deref() == Some(network) {
            words.push(format!("--label={LABEL}.key={}", self.launch.key));
            words.push(format!(
                "--label={LABEL}.experiment={}",
                self.launch.experiment
            ));
        }
        words.push(network.to_owned());
        let command = shared.engine.command(words);
        let host = &shared.hosts[host];
        let finished = host.tunnel.run(&command).await.map_err(unsent)?;
        let said = words_of(&finished.stderr);
        if finished.status == 0 && self.launch.own_network.as_deref() == Some(network) {
            self.only_one(host).await;
        }
        if finished.status == 0 || said.contains("already exists") || said.contains("already used")
        {
            return Ok(());
        }
        Err(refused(
            &shared.engine,
            host,
            finished.status,
            &finished.stderr,
        ))
    }

    /// Two who make a network at the same moment get two of the same name: all but the first go.
    async fn only_one(&self, host: &super::host::Host) {
        let engine = &self.shared.engine;
        let filter = format!("--filter=label={LABEL}.key={}", self.launch.key);
        let list = engine.command(["network", "ls", "--quiet", "--no-trunc", filter.as_str()]);
        let Ok(finished) = host.tunnel.run(&list).await else {
            return;
        };
        let text = String::from_utf8_lossy(&finished.stdout);
        let mut all: Vec<&str> = text.lines().collect();
        all.sort_unstable();
        if all.len() > 1 {
            let words = ["network", "rm"].into_iter().chain(all.into_iter().skip(1));
            let _ = host.tunnel.run(&engine.command(words)).await;
        }
    }

    /// An image is to be there: pulled beside this if it is not known to be.
    fn pulled(&self, container: &Container) -> Result<(), SubmitError> {
        let at = ImageAt {
            host: container.host,
            image: container.image.clone(),
            platform: container.platform.clone(),
        };
        let host = &self.shared.hosts[at.host];
        let waits =
            || SubmitError::Later(format!("the image {} is pulled on {}", at.image, host.name));
        let mut state = self.shared.lock();
        match state.images.get(&at) {
            Some(Pulling::Running) => Err(waits()),
            // Once only: an image that is gone again is somebody's doing.
            Some(Pulling::Done) => Ok(()),
            Some(Pulling::Failed(said)) => {
                let said = said.clone();
                state.images.remove(&at);
                Err(SubmitError::Rejected(said))
            }
            None => {
                state.images.insert(at.clone(), Pulling::Running);
                drop(state);
                let (shared, wait) = (Arc::clone(self.shared), waits());
                tokio::spawn(async move { pull(&shared, at).await });
                Err(wait)
            }
        }
    }

    /// Everything that containers need to find in E.
    async fn files(&self, request: &Request) -> Result<(), SubmitError> {
        let (shared, launch) = (self.shared, self.launch);
        let mut secrets: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
        for secret in &request.secrets {
            let value = resolve_secret(&secret.reference, &shared.context.environment).map_err(
                |error| SubmitError::Rejected(format!("the secret {}: {error}", secret.variable)),
            )?;
            let values = secrets.entry(secret.member).or_default();
            values.push((secret.variable.clone(), value));
        }
        let time = u64::try_from(shared.context.clock.now().0 / 1_000_000).unwrap_or(0);
        for container in &launch.containers {
            let host = &shared.hosts[container.host];
            let facts = host.facts(&shared.engine).await?;
            let directory = &launch.directories[container.host];
            let mut job = container.job.clone();
            let mut told: Vec<(String, Vec<u8>, u32)> = Vec::new();
            for member in &mut job.members {
                member.env.extend(
                    secrets
                        .get(&container.member)
                        .into_iter()
                        .flatten()
                        .cloned(),
                );
                if let Some(world) = &mut member.world
                    && let Some(meeting) = &mut world.meeting
                    && let Some(port) = meeting.port
                {
                    let token = self.token()?;
                    if meeting.node > 0 {
                        // Nobody else could tell this host where the first one listens.
                        let place = serde_json::json!({
                            "addresses": host.addresses(&world.address).await?,
                            "port": port,
                            "token": token,
                        });
                        let folder = Utf8Path::new(&meeting.attempt_dir);
                        let folder = folder.strip_prefix(directory).unwrap_or(folder);
                        let path = folder.join(MEETING_FILE).into_string();
                        told.push((path, place.to_string().into_bytes(), 0o600));
                    }
                    meeting.token = Some(token);
                }
            }
            let mode = |executable| if executable { 0o700 } else { 0o600 };
            let mut files: Vec<(String, Vec<u8>, u32)> = container
                .files
                .iter()
                .map(|file| {
                    let bytes = file.contents.clone().into_bytes();
                    (file.path.clone(), bytes, mode(file.executable))
                })
                .collect();
            files.append(&mut told);
            let path = container.job_file(launch);
            match facts.agent {
                Some(_) => {
                    let text = serde_json::to_vec(&job)
                        .map_err(|error| SubmitError::Rejected(error.to_string()))?;
                    files.push((path, text, 0o600));
                }
                None => {
                    let text = bare::script(&job).map_err(SubmitError::Rejected)?;
                    files.push((bare::script_path(&path), text.into_bytes(), 0o600));
                }
            }
            // The folders that volumes may be in: the engine would make them root's.
            let record = container.record_dir(launch);
            host.write(directory, files, time).await?;
            self.folder(container, &format!("{directory}/{record}"))
                .await?;
            self.code(container, facts).await?;
        }
        Ok(())
    }

    async fn folder(&self, container: &Container, path: &str) -> Result<(), SubmitError> {
        let host = &self.shared.hosts[container.host];
        if host.here {
            let made = crate::context::create_private_dir(Utf8Path::new(path));
            return made
                .map_err(|error| SubmitError::Rejected(format!("{path} can't be made: {error}")));
        }
        let command = Cmd::script("umask 077; mkdir -p -- \"$1\"", [path]).timeout(LIMIT);
        let finished = host.tunnel.run(&command).await.map_err(unsent)?;
        finished.ok(&command).map_err(unsent).map(drop)
    }

    /// The job's own copy of its code.
    async fn code(&self, container: &Container, facts: &Facts) -> Result<(), SubmitError> {
        let Some(code) = &container.code else {
            return Ok(());
        };
        let host = &self.shared.hosts[container.host];
        let rejected = |words: String| SubmitError::Rejected(words);
        if host.here && !code.as_link {
            let (from, to) = (code.from.clone(), code.to.clone());
            let linked =
                tokio::task::spawn_blocking(move || bundle::link(from.as_ref(), to.as_ref()));
            return match linked.await {
                Ok(linked) => linked.map_err(|error| rejected(error.to_string())),
                Err(error) => Err(rejected(error.to_string())),
            };
        }
        let command = match (&facts.agent, code.as_link) {
            (_, true) => Cmd::script(
                "umask 077; mkdir -p -- \"${2%/*}\" && ln -sfn -- \"$1\" \"$2\"",
                [&code.from, &code.to],
            ),
            (Some(agent), false) => {
                Cmd::new([agent.as_str(), "bundle", "link", &code.from, &code.to])
            }
            (None, false) => Cmd::script(
                "[ -e \"$2\" ] || { umask 077; mkdir -p -- \"${2%/*}\" && cp -R -- \"$1\" \"$2.new\" && chmod -R u+w -- \"$2.new\" && mv -- \"$2.new\" \"$2\"; }",
                [&code.from, &code.to],
            ),
        };
        let command = command.timeout(START_LIMIT);
        let finished = host.tunnel.run(&command).await.map_err(unsent)?;
        match finished.ok(&command) {
            Ok(_) => Ok(()),
            Err(TunnelError::Failed { words, .. }) => {
                Err(rejected(format!("its code can't be made: {words}")))
            }
            Err(error) => Err(unsent(error)),
        }
    }
}

impl Sending<'_> {
    /// What makes the agents of a world believe each other: the same for all nodes, whoever sends them.
    fn token(&self) -> Result<String, SubmitError> {
        let folder = self.shared.context.home.join("tokens");
        let path = folder.join(format!("{}.token", self.launch.key));
        super::host::token(&path)
            .map_err(|error| SubmitError::Rejected(format!("{path} can't be written: {error}")))
    }
}

/// It was never started.
fn is_only_made(state: &State) -> bool {
    ["created", "initialized", "configured"].contains(&state.status.to_ascii_lowercase().as_str())
}

fn words_of(stderr: &[u8]) -> String {
    words(stderr)
}

/// Pulls an image and says what became of it.
async fn pull(shared: &Arc<Shared>, at: ImageAt) {
    let mut arguments = vec!["pull".to_owned(), "--quiet".to_owned()];
    arguments.extend(
        at.platform
            .as_ref()
            .map(|platform| format!("--platform={platform}")),
    );
    arguments.push(at.image.clone());
    let host = &shared.hosts[at.host];
    // Images may be large and lines slow.
    let answer = host
        .tunnel
        .run(&Cmd::new(shared.engine.words(arguments)))
        .await;
    let pulling = match answer {
        Ok(finished) if finished.status == 0 => Pulling::Done,
        Ok(finished) => Pulling::Failed(format!(
            "the image {} can't be pulled on {}: {}",
            at.image,
            host.name,
            words(&finished.stderr)
        )),
        Err(error) => Pulling::Failed(format!("the image {} can't be pulled: {error}", at.image)),
    };
    let mut state = shared.lock();
    state.images.insert(at, pulling);
    state.again = true;
    drop(state);
    shared.news.notify_one();
}
