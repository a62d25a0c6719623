//! The engine's program: its words, its answers, its refusals. Tried with Docker 20.10 and Podman 4.3; nerdctl 2.x by its manual.

use std::time::Duration;

use serde::Deserialize;

use super::payload::LABEL;
use super::settings::DockerSettings;
use crate::tunnel::Cmd;

/// How long a question may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How long starting a container may take: the engine may have to unpack, mount and wait for others.
pub(super) const START_LIMIT: Duration = Duration::from_secs(600);

/// The program and what is always said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Engine {
    program: String,
    context: Option<String>,
}

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Docker,
    Podman,
    Nerdctl,
}

impl Engine {
    pub(super) fn new(settings: &DockerSettings) -> Engine {
        Engine {
            program: settings.engine.clone(),
            context: settings.context.clone(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.program
    }

    /// By the program's name; what has another takes Docker's words.
    pub(super) fn kind(&self) -> Kind {
        let name = self.program.rsplit('/').next().unwrap_or_default();
        if name.starts_with("podman") {
            Kind::Podman
        } else if name.starts_with("nerdctl") {
            Kind::Nerdctl
        } else {
            Kind::Docker
        }
    }

    /// The words of a command.
    pub(super) fn words<T: Into<String>>(&self, rest: impl IntoIterator<Item = T>) -> Vec<String> {
        let mut words = vec![self.program.clone()];
        words.extend(self.context.as_ref().map(|context| match self.kind() {
            Kind::Docker => format!("--context={context}"),
            Kind::Podman => format!("--connection={context}"),
            Kind::Nerdctl => format!("--namespace={context}"),
        }));
        words.extend(rest.into_iter().map(Into::into));
        words
    }

    /// A command.
    pub(super) fn command<T: Into<String>>(&self, rest: impl IntoIterator<Item = T>) -> Cmd {
        Cmd::new(self.words(rest)).timeout(LIMIT)
    }

    /// All containers of an experiment: `name<tab>status`.
    pub(super) fn list(&self, experiment: &str) -> Cmd {
        self.command([
            "ps",
            "--all",
            "--no-trunc",
            &format!("--filter=label={LABEL}.experiment={experiment}"),
            "--format={{.Names}}\t{{.Status}}",
        ])
    }

    /// What happens to the containers of an experiment, from a little while ago on: one JSON object a line. It ends with its
    /// standard input, so that nothing of it stays when whoever asked has died.
    pub(super) fn events(&self, experiment: &str) -> Cmd {
        let format = match self.kind() {
            Kind::Podman => "--format=json",
            Kind::Docker | Kind::Nerdctl => "--format={{json .}}",
        };
        let filter = format!("--filter=label={LABEL}.experiment={experiment}");
        let since = format!("--since={}s", SINCE.as_secs());
        Cmd::script(
            WITH_INPUT,
            self.words(["events", "--filter=type=container", &filter, &since, format]),
        )
    }

    /// A container's own account of itself.
    pub(super) fn inspect(&self, name: &str) -> Cmd {
        let format =
            format!("--format={{{{index .Config.Labels \"{LABEL}.key\"}}}} {{{{json .State}}}}");
        self.command(["inspect", "--type=container", &format, name])
    }
}

/// What happened so long ago is told as well: while a question was on its way.
const SINCE: Duration = Duration::from_secs(10);

/// Runs a command that ends with this shell's standard input. What waits for that holds none of the command's outputs: whoever reads
/// them would wait as well.
const WITH_INPUT: &str = r#"exec 3<&0
"$@" 3<&- </dev/null & p=$!
(cat <&3; kill "$p") >/dev/null 2>&1 & c=$!
exec 3<&-
wait "$p"; s=$?
kill "$c" 2>/dev/null
exit "$s""#;

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Exited(i32),
    /// Between two of the others.
    Other,
}

/// A line of [`Engine::list`].
pub(super) fn read_row(line: &str) -> Option<(String, Status)> {
    let (name, status) = line.split_once('\t')?;
    let status = match status.split([' ', '(']).next().unwrap_or_default() {
        "Created" | "created" | "Initialized" => Status::Created,
        "Up" | "running" | "Paused" => Status::Running,
        "Exited" | "exited" | "Dead" | "Stopped" => {
            let code = status
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'))
                .and_then(|(code, _)| code.parse().ok());
            Status::Exited(code.unwrap_or(-1))
        }
        _ => Status::Other,
    };
    // Podman shows several names with commas between them; ours is the only one.
    Some((name.to_owned(), status))
}

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Started,
    /// A signal was sent to it.
    Killed,
    OutOfMemory,
    Died,
    Removed,
}

/// One of the engine's events.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) happened: Happened,
    pub(super) code: Option<i32>,
}

/// An event as Docker tells it.
#[derive(Deserialize)]
struct DockerEvent {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "Attributes")]
    attributes: std::collections::BTreeMap<String, String>,
}

/// An event as Podman tells it.
#[derive(Deserialize)]
struct PodmanEvent {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "ContainerExitCode")]
    code: Option<i32>,
}

/// Reads a line of the stream. What is not understood is a reason to look.
pub(super) fn read_event(line: &str) -> Option<Event> {
    let (name, word, code) = match serde_json::from_str::<DockerEvent>(line) {
        Ok(event) => {
            let mut attributes = event.actor.attributes;
            let code = attributes
                .get("exitCode")
                .and_then(|code| code.parse().ok());
            (attributes.remove("name")?, event.action, code)
        }
        Err(_) => {
            let event: PodmanEvent = serde_json::from_str(line).ok()?;
            (event.name, event.status, event.code)
        }
    };
    let happened = match word.as_str() {
        "start" => Happened::Started,
        "kill" | "stop" => Happened::Killed,
        "oom" => Happened::OutOfMemory,
        "die" | "died" => Happened::Died,
        "destroy" | "remove" => Happened::Removed,
        _ => return None,
    };
    Some(Event {
        name,
        happened,
        code,
    })
}

/// A container's state, as its engine has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub(super) status: String,
    pub(super) exit_code: i32,
    #[serde(rename = "OOMKilled")]
    pub(super) out_of_memory: bool,
    pub(super) error: String,
    pub(super) finished_at: String,
}

/// The answer of [`Engine::inspect`]: whose it is, and how it is.
pub(super) fn read_state(answer: &str) -> Option<(String, State)> {
    // What carries no label of ours begins with the blank.
    let (key, state) = answer.trim_end().split_once(' ')?;
    Some((key.to_owned(), serde_json::from_str(state).ok()?))
}

/// What an engine's refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The engine is not there: nothing was done.
    NoEngine,
    /// The image is not there.
    NoImage,
    /// The network is not there.
    NoNetwork,
    /// The name is in use.
    NameTaken,
    /// There is no such container.
    NoContainer,
    /// It may do it later.
    ForNow,
    /// It looked at it and won't.
    ForGood,
}

/// Words of engines, in lower case, and what they mean.
const WORDS: [(&str, Refusal); 30] = [
    ("cannot connect to the docker daemon", Refusal::NoEngine),
    ("error during connect", Refusal::NoEngine),
    ("is the docker daemon running", Refusal::NoEngine),
    ("cannot connect to podman", Refusal::NoEngine),
    ("cannot access containerd socket", Refusal::NoEngine),
    ("connection refused", Refusal::NoEngine),
    ("no such image", Refusal::NoImage),
    ("unable to find image", Refusal::NoImage),
    ("image not known", Refusal::NoImage),
    ("no such container", Refusal::NoContainer),
    ("no container with name", Refusal::NoContainer),
    ("no such object", Refusal::NoContainer),
    ("is already in use", Refusal::NameTaken),
    ("is already used", Refusal::NameTaken),
    ("network not found", Refusal::NoNetwork),
    ("no such network", Refusal::NoNetwork),
    ("unable to find network", Refusal::NoNetwork),
    ("is ambiguous", Refusal::ForNow),
    ("is marked for removal", Refusal::ForNow),
    ("no space left on device", Refusal::ForNow),
    ("disk quota exceeded", Refusal::ForNow),
    ("non-overlapping ipv4", Refusal::ForNow),
    ("could not find an available", Refusal::ForNow),
    ("resource temporarily unavailable", Refusal::ForNow),
    ("too many open files", Refusal::ForNow),
    ("cannot allocate memory", Refusal::ForNow),
    ("context deadline exceeded", Refusal::ForNow),
    ("net/http: tls handshake timeout", Refusal::ForNow),
    ("is shutting down", Refusal::NoEngine),
    ("connection reset by peer", Refusal::NoEngine),
];

/// What the engine's words mean.
pub(super) fn refusal(words: &str) -> Refusal {
    let words = words.to_ascii_lowercase();
    // `network x not found`
    let network = words.contains("network ") && words.contains(" not found");
    // An address that is taken is the job's, not the engine's.
    if words.contains("port is already allocated") || words.contains("address already in use") {
        return Refusal::ForGood;
    }
    if network {
        return Refusal::NoNetwork;
    }
    WORDS
        .iter()
        .find(|(known, _)| words.contains(known))
        .map_or(Refusal::ForGood, |(_, refusal)| *refusal)
}

/// An engine's words for people: without its name, and without the hint for its own help.
pub(super) fn words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| {
            let line = line.trim();
            let line = [
                "docker: ",
                "Error: ",
                "Error response from daemon: ",
                "time=",
            ]
            .iter()
            .fold(line, |line, mark| match *mark {
                // A logger's line: what it says is what counts.
                "time=" => line
                    .strip_prefix("time=")
                    .and_then(|rest| rest.split_once("msg=\""))
                    .map_or(line, |(_, rest)| rest.trim_end_matches('"')),
                mark => line.strip_prefix(mark).unwrap_or(line),
            });
            line.trim_end_matches(". See 'docker run --help'.")
        })
        .filter(|line| !line.is_empty() && !line.starts_with("See '") && !line.starts_with("Run '"))
        .collect();
    lines.dedup();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_ends_is_seen_to_end() {
        use std::io::Read as _;
        use std::process::{Command, Stdio};
        let mut shell = Command::new("sh")
            .args(["-c", WITH_INPUT, "sh", "sh", "-c", "echo out; echo err >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut out, mut err) = (shell.stdout.take().unwrap(), shell.stderr.take().unwrap());
        let (told, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            err.read_to_string(&mut text).unwrap();
            told.send(text)
        });
        // Its standard input stays open all the while.
        let text = read.recv_timeout(Duration::from_secs(30));
        drop(shell.stdin.take());
        assert_eq!(text.unwrap(), "out\nerr\n");
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn rows_are_read() {
        let row = |line: &str| read_row(line).unwrap().1;
        assert_eq!(row("a\tUp 3 seconds"), Status::Running);
        assert_eq!(row("a\tUp 2 minutes (healthy)"), Status::Running);
        assert_eq!(row("a\tExited (137) 1 second ago"), Status::Exited(137));
        assert_eq!(row("a\tCreated"), Status::Created);
        assert_eq!(row("a\tRemoval In Progress"), Status::Other);
        assert_eq!(read_row("WARNING: x"), None);
    }

    #[test]
    fn events_of_both_engines_are_read() {
        let docker = r#"{"status":"die","id":"27","from":"i","Type":"container","Action":"die","Actor":{"ID":"27","Attributes":{"a.b":"c","exitCode":"3","image":"i","name":"mz-1"}},"scope":"local","time":1,"timeNano":1}"#;
        let podman = r#"{"ContainerExitCode":3,"ID":"9e","Image":"i","Name":"mz-1","Status":"died","Time":"2026-11-23T07:17:25Z","Type":"container","Attributes":{"a.b":"c"}}"#;
        let expected = Event {
            name: "mz-1".to_owned(),
            happened: Happened::Died,
            code: Some(3),
        };
        assert_eq!(read_event(docker), Some(expected.clone()));
        assert_eq!(read_event(podman), Some(expected));
        assert_eq!(
            read_event(&docker.replace("\"die\"", "\"exec_start\"")),
            None
        );
        assert_eq!(read_event("nonsense"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        for (said, expected) in [
            (
                "docker: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?.",
                Refusal::NoEngine,
            ),
            (
                "docker: Error response from daemon: No such image: a:b.",
                Refusal::NoImage,
            ),
            ("Error: a: image not known", Refusal::NoImage),
            (
                "docker: Error response from daemon: Conflict. The container name \"/a\" is already in use by container \"1\".",
                Refusal::NameTaken,
            ),
            (
                "docker: Error response from daemon: network mine not found.",
                Refusal::NoNetwork,
            ),
            (
                "Error: unable to find network with name or ID mine: network not found",
                Refusal::NoNetwork,
            ),
            (
                "docker: Error response from daemon: driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated.",
                Refusal::ForGood,
            ),
            ("docker: invalid reference format.", Refusal::ForGood),
            ("write /x: no space left on device", Refusal::ForNow),
        ] {
            assert_eq!(refusal(said), expected, "{said}");
        }
    }

    #[test]
    fn words_are_for_people() {
        let said =
            b"docker: Error response from daemon: No such image: a:b.\nSee 'docker run --help'.\n";
        assert_eq!(words(said), "No such image: a:b.");
    }

    #[test]
    fn a_state_is_read() {
        let (key, state) = read_state(
            "mz-a-0-1 {\"Status\":\"exited\",\"OOMKilled\":true,\"ExitCode\":137,\"Error\":\"\",\"Pid\":0}",
        )
        .unwrap();
        assert_eq!((key.as_str(), state.exit_code), ("mz-a-0-1", 137));
        assert!(state.out_of_memory);
        assert_eq!(read_state(" {\"Status\":\"created\"}\n").unwrap().0, "");
    }
}
