//! An engine below the scheduler: the fake one, Docker, and Podman, each behind a tunnel with faults.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::context::{Agent, Context, RandomIds, SystemClock};
use mizzen_core::executor::docker::fake::{FakeEngine, FaultyTunnel, scheduler};
use mizzen_core::executor::docker::{DockerExecutor, DockerSettings};
use mizzen_core::executor::{Executor, MemberEnd, Observed, Request, Scheduler, Unit, UnitMember};
use mizzen_core::model::{Cause, ExperimentId, Handle, JobState, Role, SubmissionKey};
use mizzen_core::plan::{ExecutorConfig, PlannedJob, Retries};
use mizzen_core::tunnel::{LocalTunnel, Tunnel};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::support::{LIMIT, Session};

/// The image of every job.
pub const IMAGE: &str = "mizzen-test/busybox";
/// What the job's secret is.
const SECRET: &str = "hush-a81f";

/// The engines that a test runs on: the fake one, and real ones where there can be some.
pub fn places() -> Vec<Place> {
    let mut places = vec![Place::fake()];
    if let Some(engine) = Engine::shared() {
        places.extend([Place::docker(engine), Place::podman(engine)]);
    }
    places
}

/// What answers.
pub enum Answers {
    Fake(Arc<FakeEngine>),
    Docker(&'static Engine),
    Podman(&'static Engine),
}

impl Answers {
    /// Runs a command of the engine's, as somebody beside us would.
    pub fn by_hand(&self, words: &[&str]) -> String {
        self.try_by_hand(words).unwrap()
    }

    fn try_by_hand(&self, words: &[&str]) -> Result<String, String> {
        match self {
            Answers::Fake(engine) => match engine.by_hand(words) {
                (0, said) => Ok(said),
                (_, said) => Err(said),
            },
            Answers::Docker(engine) => engine.docker(words),
            Answers::Podman(engine) => engine.podman_says(words),
        }
    }
}

/// An engine, a folder, and an experiment of the test's own.
pub struct Place {
    pub at: Utf8PathBuf,
    pub engine: Answers,
    pub tunnel: Arc<FaultyTunnel>,
    pub context: Context,
    pub experiment: ExperimentId,
    /// Settings beside the image.
    pub settings: Value,
    _agents: Arc<Session>,
}

impl Place {
    fn new(variables: &[(&str, String)], engine: impl FnOnce(&Context) -> Answers) -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mizzen-place-{}-{number}", std::process::id());
        let at = Utf8PathBuf::from_path_buf(std::env::temp_dir().join(name)).unwrap();
        std::fs::create_dir_all(&at).unwrap();
        let mut environment = std::collections::BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("SECRET".to_owned(), SECRET.to_owned()),
        ]);
        environment.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let agents = agents();
        let context = Context {
            home: at.join("home"),
            workdir: at.clone(),
            environment: Arc::new(environment),
            host: "here".to_owned(),
            user: "me".to_owned(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: "/nowhere/mizzen".into(),
            agent: Agent::File(agent(&agents, &at)),
        };
        let engine = engine(&context);
        let tunnel: Arc<dyn Tunnel> = match &engine {
            Answers::Fake(engine) => Arc::clone(engine) as Arc<dyn Tunnel>,
            Answers::Docker(_) | Answers::Podman(_) => LocalTunnel::default().connect(&context),
        };
        Place {
            tunnel: FaultyTunnel::new(tunnel),
            engine,
            context,
            experiment: ExperimentId::parse(&format!("x{}n{number}", std::process::id())).unwrap(),
            settings: json!({}),
            at,
            _agents: agents,
        }
    }

    pub fn fake() -> Place {
        Place::new(&[], |context| {
            let engine = FakeEngine::new(context);
            engine.image(IMAGE);
            Answers::Fake(engine)
        })
    }

    fn podman(engine: &'static Engine) -> Place {
        let place = Place::new(&[], |_| Answers::Podman(engine));
        place.with(json!({"engine": engine.podman()}))
    }

    fn docker(engine: &'static Engine) -> Place {
        let variables = [("DOCKER_HOST", engine.host())];
        Place::new(&variables, |_| Answers::Docker(engine))
    }

    /// The same engine, with a folder and an experiment that nobody has used.
    pub fn anew(&self) -> Place {
        match self.engine {
            Answers::Fake(_) => Place::fake(),
            Answers::Docker(engine) => Place::docker(engine),
            Answers::Podman(engine) => Place::podman(engine),
        }
    }

    /// With more settings.
    pub fn with(mut self, settings: Value) -> Place {
        let more = settings.as_object().unwrap().clone();
        self.settings.as_object_mut().unwrap().extend(more);
        self
    }

    /// Files of the machine go by the tunnel, as to another one.
    pub fn elsewhere(self) -> Place {
        let folder = self.at.join("there");
        std::fs::create_dir_all(&folder).unwrap();
        self.with(json!({"tunnel": {"kind": "ssh", "host": "there", "job_dir": folder}}))
    }

    fn config(&self, more: &Value) -> Value {
        let mut value = json!({"container_image": IMAGE});
        let all = value.as_object_mut().unwrap();
        all.extend(self.settings.as_object().unwrap().clone());
        all.extend(more.as_object().unwrap().clone());
        value
    }

    fn executor(&self) -> DockerExecutor {
        let value = self.config(&json!({}));
        DockerExecutor::new(serde_json::from_value::<DockerSettings>(value).unwrap())
    }

    /// A client as it is after its start: without any memory.
    pub fn client(&self) -> Box<dyn Scheduler> {
        let tunnel = Arc::clone(&self.tunnel) as Arc<dyn Tunnel>;
        scheduler(&self.executor(), &self.context, vec![tunnel])
    }

    /// The experiment's folder where its jobs run.
    pub fn experiment_dir(&self) -> Utf8PathBuf {
        self.executor().experiment_dir(&self.here())
    }

    fn here(&self) -> Utf8PathBuf {
        self.context.experiment_dir("title", &self.experiment)
    }

    /// What jobs have written into the experiment's file of this name.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.experiment_dir().join(name)).unwrap_or_default()
    }

    /// The first attempt of a job that runs a shell's script.
    pub fn request(&self, number: u32, script: &str) -> Request {
        self.unit(number, &[(script, json!({}))])
    }

    /// The first attempt of a unit with several members: scripts, and what their executors have beside. The first leads.
    pub fn unit(&self, number: u32, members: &[(&str, Value)]) -> Request {
        let parts: Vec<(PlannedJob, ExecutorConfig)> = members
            .iter()
            .enumerate()
            .map(|(member, (script, more))| {
                let name = format!("job-{number}-{member}");
                let config = ExecutorConfig {
                    kind: "docker".to_owned(),
                    settings: self.config(more).as_object().unwrap().clone(),
                };
                (self.job(&name, script), config)
            })
            .collect();
        let here = self.here();
        let unit = Unit {
            experiment: &self.experiment,
            experiment_dir: &here,
            key: SubmissionKey::new(&self.experiment, number, 1),
            attempt: 1,
            members: parts
                .iter()
                .enumerate()
                .map(|(member, (job, executor))| UnitMember {
                    code: None,
                    index: number + member as u32,
                    job,
                    executor,
                    leader: member == 0 && parts.len() > 1,
                })
                .collect(),
        };
        self.executor().render(&unit).unwrap()
    }

    fn job(&self, name: &str, script: &str) -> PlannedJob {
        let ledger = self.experiment_dir().join("ledger");
        let script = format!(
            "[ \"$TOKEN\" = {SECRET} ] || exit 99\necho {name} >>'{ledger}'\ncd '{}'\n{script}",
            self.experiment_dir()
        );
        PlannedJob {
            name: name.to_owned(),
            task: 0,
            role: Role {
                name: name.to_owned(),
                entrypoint: "/bin/sh".to_owned(),
                args: vec!["-c".into(), script.as_str().into()],
                ..Role::default()
            },
            secrets: [("TOKEN".to_owned(), "env:SECRET".to_owned())].into(),
            workdir: "/".to_owned(),
            files: Vec::new(),
            variables: Vec::new(),
            launcher: None,
            retries: Retries::NONE,
            timeout: None,
            grace: 5.0,
        }
    }

    /// The jobs that have begun, one line for each time.
    pub fn ledger(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.file("ledger").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Sends one, and watches it.
    pub async fn send(&self, client: &dyn Scheduler, request: &Request) -> Handle {
        let handle = client.submit(request).await.unwrap();
        client.watch(&handle, request);
        handle
    }

    /// Sends one if it is not found; watches it.
    pub async fn send_or_find(&self, client: &dyn Scheduler, request: &Request) -> Handle {
        match client.find(&request.key, request).await.unwrap() {
            None => self.send(client, request).await,
            Some(handle) => {
                client.watch(&handle, request);
                handle
            }
        }
    }

    /// Everything that is seen until `enough`, of one unit.
    pub async fn until(
        &self,
        client: &dyn Scheduler,
        handle: &Handle,
        enough: impl Fn(&Observed) -> bool,
    ) -> Vec<Observed> {
        let mut all = Vec::new();
        let looks = async {
            loop {
                if let Ok(seen) = client.observe(std::slice::from_ref(handle)).await {
                    all.extend(seen.into_iter().map(|one| one.observed));
                }
                if all.iter().any(&enough) {
                    break;
                }
                client.changed().await;
            }
        };
        let looked = tokio::time::timeout(LIMIT, looks).await;
        assert!(
            looked.is_ok(),
            "not seen: {all:?}\n{:#?}\nat the engine: {:?}",
            self.tunnel.commands(),
            self.engine
                .try_by_hand(&["ps", "--all", "--format={{.Names}} {{.Status}}"])
        );
        all
    }

    pub async fn until_it_runs(&self, client: &dyn Scheduler, handle: &Handle) {
        let runs = |seen: &Observed| matches!(seen, Observed::Running { .. });
        self.until(client, handle, runs).await;
    }

    /// A container may run before its job has begun.
    pub async fn until_begun(&self) {
        let begun = async {
            while self.ledger().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, begun).await.unwrap();
    }

    /// How each member of a unit has ended.
    pub async fn ends(&self, client: &dyn Scheduler, handle: &Handle) -> Vec<MemberEnd> {
        let ended = |seen: &Observed| matches!(seen, Observed::Ended(_));
        match self.until(client, handle, ended).await.pop() {
            Some(Observed::Ended(ends)) => ends,
            other => panic!("{other:?}"),
        }
    }

    /// How a job has ended.
    pub async fn end(&self, client: &dyn Scheduler, handle: &Handle) -> Verdict {
        let ends = self.ends(client, handle).await;
        assert_eq!(ends.len(), 1, "{ends:?}");
        verdict(&ends[0])
    }

    /// Containers and networks of the experiment that there are still.
    pub fn left(&self) -> Vec<String> {
        let filter = format!("--filter=label=mizzen.experiment={}", self.experiment);
        let containers = self
            .engine
            .by_hand(&["ps", "--all", &filter, "--format={{.Names}}"]);
        let networks = self.engine.by_hand(&["network", "ls", "--quiet", &filter]);
        let lines = containers.lines().chain(networks.lines());
        lines.map(str::to_owned).collect()
    }

    /// The files below the place's folder that hold the job's secret.
    pub fn told(&self) -> Vec<PathBuf> {
        fn look(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    look(&path, found);
                } else if std::fs::read(&path).is_ok_and(|bytes| {
                    bytes
                        .windows(SECRET.len())
                        .any(|part| part == SECRET.as_bytes())
                }) {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        look(self.at.as_std_path(), &mut found);
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let filter = format!("--filter=label=mizzen.experiment={}", self.experiment);
        let left = self
            .engine
            .try_by_hand(&["ps", "--all", "--format={{.Names}}", &filter]);
        for name in left.unwrap_or_default().lines() {
            let _ = self.engine.try_by_hand(&["rm", "--force", name]);
        }
        let _ = std::fs::remove_dir_all(&self.at);
    }
}

/// How a job has ended.
pub type Verdict = (JobState, Option<Cause>);

pub const WELL: Verdict = (JobState::Succeeded, None);

pub fn failed(cause: Cause) -> Verdict {
    (JobState::Failed, Some(cause))
}

pub fn verdict(end: &MemberEnd) -> Verdict {
    (end.state, end.cause)
}

/// Who has made the agent's file, as long as some place needs it.
fn agents() -> Arc<Session> {
    static SHARED: Mutex<Weak<Session>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let session = Arc::new(Session::new());
        session.ok(&["run", "--", "true"]);
        *shared = Arc::downgrade(&session);
        session
    })
}

/// A link to the agent that `mizzen` carries. A file that this process wrote could be open still in a process that it has just
/// forked off, and can't be started then.
fn agent(agents: &Session, folder: &Utf8Path) -> Utf8PathBuf {
    let versions = agents.home().join("agents");
    let version = std::fs::read_dir(versions).unwrap().next().unwrap();
    let path = folder.join("mizzen-agent");
    std::fs::hard_link(version.unwrap().path().join("mizzen-agent"), &path).unwrap();
    path
}
