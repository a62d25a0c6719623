//! Containers that are processes of this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::process::{Child, Command};

use super::words::Words;
use super::{Answer, Event, Image, Inner, State};

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    labels: BTreeMap<String, String>,
    network: Option<String>,
    env: Vec<(String, String)>,
    command: Vec<String>,
    status: Status,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Created,
    Running(i32),
    Exited(i32),
}

impl Container {
    /// From the words that make one.
    fn read(words: &Words) -> Container {
        // What is mounted is elsewhere outside.
        let outside = |path: &str| {
            let mounted = words.all("volume").find_map(|volume| {
                let mut parts = volume.split(':');
                let (here, there) = (parts.next()?, parts.next()?);
                (there == path).then(|| here.to_owned())
            });
            mounted.unwrap_or_else(|| path.to_owned())
        };
        let mut command: Vec<String> = Vec::new();
        command.extend(words.one("entrypoint").map(outside));
        command.extend(words.rest.iter().skip(1).cloned());
        if let Some(first) = command.first_mut() {
            *first = outside(first);
        }
        let mut env = vec![
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ];
        env.extend(words.all("env").filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        }));
        Container {
            labels: words.labels(),
            network: words.one("network").map(str::to_owned),
            env,
            command,
            status: Status::Created,
        }
    }

    /// Sends a signal to its process; SIGKILL ends everything in it.
    pub(super) fn signal(&self, signal: i32) {
        let Status::Running(pid) = self.status else {
            return;
        };
        let all = match signal {
            libc::SIGKILL => with_children(pid),
            _ => vec![pid],
        };
        for pid in all {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::Signal::try_from(signal)
                .and_then(|signal| nix::sys::signal::kill(pid, signal));
        }
    }
}

/// A process and all below it.
fn with_children(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(
            text.split_whitespace()
                .filter_map(|one| one.parse::<i32>().ok()),
        );
        next += 1;
    }
    all
}

impl State {
    /// Writes down that something happened to a container.
    fn happened(&mut self, name: &str, action: &str, more: &[(&str, String)]) {
        let Some(one) = self.containers.get(name) else {
            return;
        };
        let mut attributes = one.labels.clone();
        attributes.insert("name".to_owned(), name.to_owned());
        attributes.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let event = json!({"status": action, "Type": "container", "Action": action, "Actor": {"ID": name, "Attributes": attributes}});
        self.events.push(Event {
            at: Instant::now(),
            labels: one.labels.clone(),
            line: format!("{event}\n"),
        });
    }
}

impl Inner {
    /// `run --detach` and `create`.
    pub(super) fn make(self: &Arc<Self>, words: &Words) -> Answer {
        let verb = words.verb.as_str();
        let name = words.one("name").unwrap_or_default().to_owned();
        let image = words.rest.first().cloned().unwrap_or_default();
        {
            let mut state = self.lock();
            if state.images.get(&image) != Some(&Image::Here) {
                return Answer::refuses(verb, &format!("No such image: {image}"));
            }
            if state.containers.contains_key(&name) {
                return Answer::refuses(
                    verb,
                    &format!(
                        "Conflict. The container name \"/{name}\" is already in use by container \"{name}\". You have to remove (or rename) that container to be able to reuse that name"
                    ),
                );
            }
            state
                .containers
                .insert(name.clone(), Container::read(words));
            state.happened(&name, "create", &[]);
        }
        self.news.notify_waiters();
        if verb == "run"
            && let Err(words) = self.start_one(&name)
        {
            return Answer::refuses(verb, &words);
        }
        Answer::says(format!("{name}\n"))
    }

    pub(super) fn start(self: &Arc<Self>, words: &Words) -> Answer {
        for name in &words.rest {
            if let Err(words) = self.start_one(name) {
                return Answer::refuses("start", &words);
            }
        }
        Answer::says(words.rest.join("\n"))
    }

    /// Starts one that does not run. As the real one, whatever it was before.
    fn start_one(self: &Arc<Self>, name: &str) -> Result<(), String> {
        let mut state = self.lock();
        let Some(one) = state.containers.get(name) else {
            return Err(format!("No such container: {name}"));
        };
        if matches!(one.status, Status::Running(_)) {
            return Ok(());
        }
        if let Some(network) = &one.network
            && !state.networks.contains_key(network)
            && !["bridge", "host", "none"].contains(&network.as_str())
        {
            return Err(format!("network {network} not found"));
        }
        let child = self.spawn(name, one).map_err(|error| {
            let program = one.command.first().cloned().unwrap_or_default();
            format!("OCI runtime create failed: exec: \"{program}\": {error}: unknown")
        })?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        if let (Some(one), Some(pid)) = (state.containers.get_mut(name), pid) {
            one.status = Status::Running(pid);
        }
        *state.starts.entry(name.to_owned()).or_default() += 1;
        state.happened(name, "start", &[]);
        drop(state);
        self.news.notify_waiters();
        tokio::spawn(wait(Arc::clone(self), name.to_owned(), child));
        Ok(())
    }

    fn spawn(&self, name: &str, one: &Container) -> std::io::Result<Child> {
        std::fs::create_dir_all(&self.folder)?;
        let log = File::create(self.folder.join(name))?;
        let (program, arguments) = one
            .command
            .split_first()
            .ok_or_else(|| std::io::Error::other("no command"))?;
        Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(one.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    pub(super) fn kill(&self, words: &Words) -> Answer {
        let signal = match words.one("signal") {
            Some("TERM") => libc::SIGTERM,
            _ => libc::SIGKILL,
        };
        let mut answer = Answer::default();
        let mut state = self.lock();
        for name in &words.rest {
            let refusal = match state.containers.get(name) {
                None => format!("No such container: {name}"),
                Some(one) if !matches!(one.status, Status::Running(_)) => {
                    format!("Container {name} is not running")
                }
                Some(one) => {
                    one.signal(signal);
                    state.happened(name, "kill", &[("signal", signal.to_string())]);
                    continue;
                }
            };
            answer.status = 1;
            answer.stderr.push_str(&format!(
                "Error response from daemon: Cannot kill container: {name}: {refusal}\n"
            ));
        }
        drop(state);
        self.news.notify_waiters();
        answer
    }

    pub(super) fn remove(&self, words: &Words) -> Answer {
        let mut answer = Answer::default();
        let mut state = self.lock();
        for name in &words.rest {
            let Some(one) = state.containers.get(name) else {
                answer.status = 1;
                answer
                    .stderr
                    .push_str(&format!("Error: No such container: {name}\n"));
                continue;
            };
            if matches!(one.status, Status::Running(_)) && words.one("force").is_none() {
                answer.status = 1;
                answer.stderr.push_str(&format!(
                    "Error response from daemon: You cannot remove a running container {name}. Stop the container before attempting removal or force remove\n"
                ));
                continue;
            }
            if matches!(one.status, Status::Running(_)) {
                one.signal(libc::SIGKILL);
                state.happened(name, "kill", &[("signal", "9".to_owned())]);
                state.happened(name, "die", &[("exitCode", "137".to_owned())]);
            }
            state.happened(name, "destroy", &[]);
            state.containers.remove(name);
        }
        drop(state);
        self.news.notify_waiters();
        answer
    }

    pub(super) fn list(&self, words: &Words) -> Answer {
        let wanted = words.filters();
        let state = self.lock();
        // One form is known beside that of rows: a label of those that live.
        let label = words
            .one("format")
            .and_then(|format| format.strip_prefix("{{.Label \""))
            .and_then(|format| format.strip_suffix("\"}}"));
        let row = |(name, one): (&String, &Container)| {
            if let Some(label) = label {
                return match one.status {
                    Status::Exited(_) => String::new(),
                    _ => format!("{}\n", one.labels.get(label).map_or("", |value| value)),
                };
            }
            let status = match one.status {
                Status::Created => "Created".to_owned(),
                Status::Running(_) => "Up Less than a second".to_owned(),
                Status::Exited(code) => format!("Exited ({code}) Less than a second ago"),
            };
            format!("{name}\t{status}\n")
        };
        let found = state.containers.iter();
        let found = found.filter(|(_, one)| wanted.fit(&one.labels));
        Answer::says(found.map(row).collect::<String>())
    }

    /// The key that is written on it, and its state.
    pub(super) fn inspect(&self, words: &Words) -> Answer {
        let name = words.rest.first().cloned().unwrap_or_default();
        let state = self.lock();
        let Some(one) = state.containers.get(&name) else {
            return Answer::fails(1, format!("Error: No such container: {name}\n"));
        };
        let (status, code) = match one.status {
            Status::Created => ("created", 0),
            Status::Running(_) => ("running", 0),
            Status::Exited(code) => ("exited", code),
        };
        let key = one.labels.get("mizzen.key").cloned().unwrap_or_default();
        let told = json!({"Status": status, "ExitCode": code, "OOMKilled": false, "Error": "", "FinishedAt": ""});
        Answer::says(format!("{key} {told}\n"))
    }

    pub(super) fn logs(&self, words: &Words) -> Answer {
        let name = words.rest.first().cloned().unwrap_or_default();
        if !self.lock().containers.contains_key(&name) {
            return Answer::fails(1, format!("Error: No such container: {name}\n"));
        }
        Answer::says(std::fs::read_to_string(self.folder.join(name)).unwrap_or_default())
    }
}

/// Waits for the end of a container's process.
async fn wait(inner: Arc<Inner>, name: String, mut child: Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let Ok(ended) = child.wait().await else {
        return;
    };
    let code = ended
        .code()
        .or_else(|| ended.signal().map(|signal| 128 + signal))
        .unwrap_or(-1);
    let mut state = inner.lock();
    let Some(one) = state.containers.get_mut(&name) else {
        return;
    };
    // Another of the same name may have been made meanwhile.
    if pid.map(Status::Running) != Some(one.status) {
        return;
    }
    one.status = Status::Exited(code);
    state.happened(&name, "die", &[("exitCode", code.to_string())]);
    drop(state);
    inner.news.notify_waiters();
}
