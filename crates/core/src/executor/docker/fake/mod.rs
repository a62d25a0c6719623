//! An engine for tests, behind a tunnel: its containers are processes of this machine, its faults come on demand.
//!
//! ```text
//! scheduler ─▶ FaultyTunnel ─▶ FakeEngine (a Tunnel) ─┬ run, create, start, kill, rm, ps, inspect, events … ─▶ containers
//!                  │                                  └ everything else ─▶ this machine (files in the test's folder)
//!                  └ before a command, after it: never answers, breaks, is not reached
//! ```
//!
//! A test drives it like this:
//!
//! ```no_run
//! # use mizzen_core::context::Context;
//! # use mizzen_core::executor::docker::{DockerExecutor, fake::{FakeEngine, Fault, FaultyTunnel, scheduler}};
//! # fn f(context: &Context, executor: &DockerExecutor) {
//! let engine = FakeEngine::new(context);
//! engine.image("busybox");
//! let tunnel = FaultyTunnel::new(engine.clone());                    // or around a tunnel to a real engine
//! tunnel.fault(3, Fault::Hung { after: true });                      // the third command works, its answer never comes
//! let connection = scheduler(executor, context, vec![tunnel.clone()]);    // drop it and make a new one: the client was killed
//! # }
//! ```
//!
//! A container's command is started as it is, with the container's variables: what it would find by mounts must be where it
//! is outside, as the experiment's folder is. So the agent in it is the real one, with its claims, logs and records. There
//! are no namespaces: names of other containers don't resolve, limits don't hold, and paths inside are those outside.
//!
//! Words, states and refusals are those of Docker 20.10, tried with it. One more command: a line in `Inner::answer`.

mod containers;
mod faults;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

pub use faults::{Fault, FaultyTunnel};

use self::containers::Container;
use self::words::Words;
use super::DockerExecutor;
use crate::context::Context;
use crate::executor::Scheduler;
use crate::tunnel::{Cmd, Ended, Input, LocalTunnel, Output, Tunnel, TunnelError};

/// The program that the settings name (`engine`).
const PROGRAM: &str = "docker";

/// A connection whose hosts are reached by these tunnels, in their order.
#[must_use]
pub fn scheduler(
    executor: &DockerExecutor,
    context: &Context,
    tunnels: Vec<Arc<dyn Tunnel>>,
) -> Box<dyn Scheduler> {
    Box::new(super::scheduler::connect_by(executor, context, tunnels))
}

/// What a command prints, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Answer {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn says(stdout: impl Into<String>) -> Answer {
        Answer {
            stdout: stdout.into(),
            ..Answer::default()
        }
    }

    fn fails(status: i32, stderr: impl Into<String>) -> Answer {
        Answer {
            status,
            stderr: stderr.into(),
            ..Answer::default()
        }
    }

    /// The daemon's refusal, which `docker run` reports with a status of its own.
    fn refuses(verb: &str, words: &str) -> Answer {
        match verb {
            "run" => Answer::fails(
                125,
                format!("docker: Error response from daemon: {words}.\nSee 'docker run --help'.\n"),
            ),
            _ => Answer::fails(1, format!("Error response from daemon: {words}\n")),
        }
    }
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    Here,
    /// Somewhere else: it has to be pulled.
    Registry,
}

/// Something that happened.
struct Event {
    at: Instant,
    labels: BTreeMap<String, String>,
    line: String,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    networks: BTreeMap<String, BTreeMap<String, String>>,
    images: BTreeMap<String, Image>,
    events: Vec<Event>,
    /// It takes no questions.
    down: bool,
    pulls: u32,
    /// How often streams of events were asked for.
    streams: u32,
    /// Names of containers by how often a process was started in them.
    starts: BTreeMap<String, u32>,
}

/// What the engine shares with the processes that it waits for.
struct Inner {
    state: Mutex<State>,
    news: Notify,
    /// Where containers' outputs are kept.
    folder: Utf8PathBuf,
}

/// An engine for tests.
pub struct FakeEngine {
    context: Context,
    local: Arc<dyn Tunnel>,
    inner: Arc<Inner>,
}

impl FakeEngine {
    /// An engine without containers and images. Other commands run on this machine with the context's environment.
    #[must_use]
    pub fn new(context: &Context) -> Arc<FakeEngine> {
        Arc::new(FakeEngine {
            local: LocalTunnel::default().connect(context),
            context: context.clone(),
            inner: Arc::new(Inner {
                state: Mutex::default(),
                news: Notify::new(),
                folder: context.home.join("fake-engine"),
            }),
        })
    }

    /// It has this image.
    pub fn image(&self, name: &str) {
        let mut state = self.inner.lock();
        state.images.insert(name.to_owned(), Image::Here);
    }

    /// This image can be pulled.
    pub fn image_elsewhere(&self, name: &str) {
        let mut state = self.inner.lock();
        state.images.insert(name.to_owned(), Image::Registry);
    }

    /// From now on it answers nobody (true), or again (false). What runs goes on.
    pub fn silent(&self, silent: bool) {
        self.inner.lock().down = silent;
        self.inner.news.notify_waiters();
    }

    /// How many images were pulled.
    #[must_use]
    pub fn pulls(&self) -> u32 {
        self.inner.lock().pulls
    }

    /// How often a stream of events was begun.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.inner.lock().streams
    }

    /// The names of all containers that there are.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        self.inner.lock().containers.keys().cloned().collect()
    }

    /// The names of all networks that were made.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.inner.lock().networks.keys().cloned().collect()
    }

    /// How often a process was started in each container that there was.
    #[must_use]
    pub fn starts(&self) -> BTreeMap<String, u32> {
        self.inner.lock().starts.clone()
    }

    /// Runs a command of the engine's, as somebody beside us would: its status and what it printed.
    pub fn by_hand(&self, words: &[&str]) -> (i32, String) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let answer = self.inner.answer(&words);
        (answer.status, answer.stdout + &answer.stderr)
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        let state = self.inner.lock();
        for one in state.containers.values() {
            one.signal(libc::SIGKILL);
        }
    }
}

#[async_trait]
impl Tunnel for FakeEngine {
    fn name(&self) -> String {
        "the fake engine".to_owned()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        self.local.agent().await
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        let Some(place) = command.argv.iter().position(|word| word == PROGRAM) else {
            return self.local.exec(command, input, output).await;
        };
        let words = &command.argv[place + 1..];
        if words.first().is_some_and(|verb| verb == "info") {
            // A script that asks who we are, and as anybody but root what the engine is: ours is nobody's.
            let mut script = command.clone();
            script.argv.truncate(place);
            if let Some(asks) = script.argv.last_mut() {
                "-".clone_into(asks);
            }
            return self.local.exec(&script, input, output).await;
        }
        if words.first().is_some_and(|verb| verb == "events") {
            return Ok(self.inner.stream(words, output).await);
        }
        let answer = self.inner.answer(words);
        let lost = |error: std::io::Error| TunnelError::Here(error.to_string());
        output
            .write_all(answer.stdout.as_bytes())
            .await
            .map_err(lost)?;
        Ok(Ended {
            status: answer.status,
            stderr: answer.stderr.into_bytes(),
        })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens is heard until the engine falls silent.
    async fn stream(&self, words: &[String], output: Output<'_>) -> Ended {
        let words = Words::read(words);
        let wanted = words.filters();
        let since = Duration::from_secs(10);
        self.lock().streams += 1;
        let mut next = 0;
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let (lines, down) = {
                let state = self.lock();
                let lines: Vec<String> = state.events[next..]
                    .iter()
                    .filter(|event| event.at.elapsed() < since && wanted.fit(&event.labels))
                    .map(|event| event.line.clone())
                    .collect();
                next = state.events.len();
                (lines, state.down)
            };
            if down {
                return Ended {
                    status: 1,
                    stderr: b"unexpected EOF\n".to_vec(),
                };
            }
            for line in lines {
                if output.write_all(line.as_bytes()).await.is_err() {
                    return Ended {
                        status: 1,
                        stderr: Vec::new(),
                    };
                }
            }
            news.await;
        }
    }

    /// The answer to a command of the engine's.
    fn answer(self: &Arc<Self>, words: &[String]) -> Answer {
        if self.lock().down {
            return Answer::fails(
                1,
                "Cannot connect to the Docker daemon at unix:///fake.sock. Is the docker daemon running?\n",
            );
        }
        let words = Words::read(words);
        match words.verb.as_str() {
            "run" | "create" => self.make(&words),
            "start" => self.start(&words),
            "kill" => self.kill(&words),
            "rm" => self.remove(&words),
            "ps" => self.list(&words),
            "inspect" => self.inspect(&words),
            "logs" => self.logs(&words),
            "pull" => self.pull(&words),
            "network create" => self.make_network(&words),
            "network ls" => self.list_networks(&words),
            "network rm" => self.remove_networks(&words),
            "version" => Answer::says("20.10.24\n"),
            verb => Answer::fails(1, format!("docker: '{verb}' is not a docker command.\n")),
        }
    }

    fn pull(&self, words: &Words) -> Answer {
        let mut state = self.lock();
        let name = words.rest.first().cloned().unwrap_or_default();
        state.pulls += 1;
        match state.images.get_mut(&name) {
            Some(image) => {
                *image = Image::Here;
                Answer::says(format!("{name}\n"))
            }
            _ => Answer::refuses(
                "pull",
                &format!("manifest for {name} not found: manifest unknown"),
            ),
        }
    }

    fn make_network(&self, words: &Words) -> Answer {
        let mut state = self.lock();
        let name = words.rest.first().cloned().unwrap_or_default();
        if state.networks.contains_key(&name) {
            return Answer::refuses(
                "network",
                &format!("network with name {name} already exists"),
            );
        }
        state.networks.insert(name.clone(), words.labels());
        Answer::says(format!("{name}\n"))
    }

    fn list_networks(&self, words: &Words) -> Answer {
        let wanted = words.filters();
        let state = self.lock();
        let found = state.networks.iter();
        Answer::says(
            found
                .filter(|(_, labels)| wanted.fit(labels))
                .map(|(name, _)| format!("{name}\n"))
                .collect::<String>(),
        )
    }

    fn remove_networks(&self, words: &Words) -> Answer {
        let mut state = self.lock();
        let mut answer = Answer::default();
        for name in &words.rest {
            match state.networks.remove(name) {
                Some(_) => answer.stdout.push_str(&format!("{name}\n")),
                None => {
                    answer.status = 1;
                    answer
                        .stderr
                        .push_str(&format!("Error: No such network: {name}\n"));
                }
            }
        }
        answer
    }
}
