//! Whole terminal sessions: a home of its own, the built `mizzen`, and what it said.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![expect(dead_code, reason = "each test file uses its part")]
#![expect(unreachable_pub, reason = "shared by several test crates")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

/// A test that waits longer than this has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A temporary home with a working directory beside it; removed at the end, with whatever still runs in it.
pub struct Session {
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The exit status; -1 for a death by a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Session {
    pub fn new() -> Session {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("mizzen-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("work/.git")).unwrap();
        Session {
            folder,
            variables: Vec::new(),
        }
    }

    /// One more variable for every command.
    pub fn with(mut self, name: &str, value: &str) -> Session {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub fn workdir(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Writes a file into the working directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.workdir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A command, with nothing of the test's own environment but what programs need.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizzen"));
        command
            .args(arguments)
            .current_dir(self.workdir())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("MIZZEN_HOME", self.home())
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.status, 0, "mizzen {arguments:?}: {said:?}");
        said.stdout
    }

    /// Runs a command whose standard output is JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(arguments);
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("mizzen {arguments:?}: {error}: {said:?}"))
    }

    /// Starts a command and goes on.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running {
            child,
            stdout: Some(stdout),
            seen: String::new(),
        }
    }

    /// A named pipe that a job can wait on, once: `read` from it returns when [`Session::release`] is called.
    pub fn gate(&self, name: &str) -> PathBuf {
        let path = self.workdir().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        path
    }

    /// Lets a job that waits on a gate go on.
    pub fn release(&self, name: &str) {
        std::fs::write(self.workdir().join(name), "go\n").unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whatever a failed test has left running ends before its folder goes.
        if self.home().exists() {
            let list = self.command(&["ls", "--json", "-n", "0"]).output();
            let list: Value = list
                .ok()
                .and_then(|output| serde_json::from_slice(&output.stdout).ok())
                .unwrap_or_default();
            for experiment in list.as_array().into_iter().flatten() {
                if experiment["ended"].is_null() {
                    let _ = self
                        .command(&[
                            "cancel",
                            "--kill",
                            experiment["id"].as_str().unwrap_or_default(),
                        ])
                        .output();
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    seen: String,
}

impl Running {
    /// Reads standard output until a line holds the text.
    pub fn until(&mut self, text: &str) -> String {
        let (send, receive) = mpsc::channel();
        let mut stdout = self.stdout.take().unwrap();
        let wanted = text.to_owned();
        std::thread::spawn(move || {
            let mut seen = String::new();
            loop {
                let mut line = String::new();
                let more = stdout.read_line(&mut line).unwrap_or(0) > 0;
                seen.push_str(&line);
                if line.contains(&wanted) || !more {
                    let _ = send.send((stdout, line.contains(&wanted), seen));
                    return;
                }
            }
        });
        let (stdout, found, seen) = receive
            .recv_timeout(LIMIT)
            .unwrap_or_else(|_| panic!("no `{text}` in time"));
        self.stdout = Some(stdout);
        self.seen.push_str(&seen);
        assert!(found, "the output ended without `{text}`: {}", self.seen);
        seen
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Stops reading, as `| head` does.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Waits for the end.
    pub fn end(mut self) -> Said {
        let mut stdout = std::mem::take(&mut self.seen).into_bytes();
        if let Some(mut rest) = self.stdout.take() {
            rest.read_to_end(&mut stdout).unwrap();
        }
        let mut output = self.child.wait_with_output().unwrap();
        output.stdout = stdout;
        said(output)
    }
}

pub fn said(output: Output) -> Said {
    Said {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The same session at any time and place: ids, times, durations and the temporary folder become words.
pub fn plain(session: &Session, text: &str) -> String {
    let mut text = text.replace(&*session.folder.to_string_lossy(), "[FOLDER]");
    text = text.replace(env!("CARGO_BIN_EXE_mizzen"), "mizzen");
    let rules = [
        (
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d by \S+ on \S+",
            "[TIME] by [USER] on [HOST]",
        ),
        (r"(?m)^(python|machine)   .*\n", ""),
        (r"\d\d:\d\d:\d\d", "[CLOCK]"),
        (r"\d{4}-\d\d-\d\d(T| )[\d:.]+Z?", "[TIME]"),
        (r"\b(\d+(\.\d)?s ago|just now)\b", "[AGO]"),
        (r"\b(\d+ms|\d+(\.\d)?s)\b", "[DURATION]"),
        (r"\b[0-9a-f]{16}\b", "[FINGERPRINT]"),
        // An id's letters (core::model::ids): neither i, l, o nor u.
        (r"\b[0-9a-hjkmnp-tv-z]{10}\b", "[ID]"),
        (r" +\[DURATION\]", "  [DURATION]"),
        (r"\b0\.1\.0\b", "[VERSION]"),
    ];
    for (pattern, word) in rules {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, word)
            .into_owned();
    }
    text
}

/// Everything that a command said, as a page.
pub fn page(session: &Session, said: &Said) -> String {
    let mut page = format!("status {}\n", said.status);
    for (name, text) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
        if !text.is_empty() {
            page.push_str(&format!("--- {name}\n{}", plain(session, text)));
            if !text.ends_with('\n') {
                page.push_str("⏎\n");
            }
        }
    }
    page
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Checks a document against the part of JSON Schema that the published schemas use; answers with what does not fit.
pub fn misfits(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, document, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or(&Value::Null),
        None => schema,
    };
    let Value::Object(rules) = schema else { return };
    if let Some(choices) = rules
        .get("anyOf")
        .or_else(|| rules.get("oneOf"))
        .and_then(Value::as_array)
    {
        let fits = |choice: &Value| {
            let mut misfits = Vec::new();
            check(root, choice, value, path, &mut misfits);
            misfits.is_empty()
        };
        if !choices.iter().any(fits) {
            found.push(format!("{path}: {value} fits no choice"));
        }
    }
    if let Some(types) = rules.get("type") {
        let names: Vec<&str> = match types {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => false,
        };
        if !names.iter().any(is) {
            found.push(format!("{path}: {value} is no {types}"));
        }
    }
    if rules.get("const").is_some_and(|only| only != value) {
        found.push(format!("{path}: {value} is not {}", rules["const"]));
    }
    if rules
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|choices| !choices.contains(value))
    {
        found.push(format!("{path}: {value} is none of {}", rules["enum"]));
    }
    let properties = rules.get("properties").and_then(Value::as_object);
    if let Value::Object(entries) = value {
        for name in rules
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !entries.contains_key(name) {
                found.push(format!("{path}: no `{name}`"));
            }
        }
        for (name, entry) in entries {
            let path = format!("{path}/{name}");
            match (
                properties.and_then(|properties| properties.get(name)),
                rules.get("additionalProperties"),
            ) {
                (Some(rule), _) => check(root, rule, entry, &path, found),
                (None, Some(Value::Bool(false))) => {
                    found.push(format!("{path}: not in the schema"))
                }
                (None, Some(rule)) => check(root, rule, entry, &path, found),
                (None, None) => {}
            }
        }
    }
    if let (Value::Array(items), Some(rule)) = (value, rules.get("items")) {
        for (number, item) in items.iter().enumerate() {
            check(root, rule, item, &format!("{path}/{number}"), found);
        }
    }
}

/// The reference is to be written anew.
pub fn update_reference() -> bool {
    std::env::var_os("MIZZEN_UPDATE_REFERENCE").is_some()
}

impl Session {
    /// The process that drives this home's newest experiment.
    pub fn supervisor(&self) -> nix::unistd::Pid {
        let id = self.json(&["status", "--json"])["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let wanted = format!("supervise\0{id}\0");
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut numbers =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |number: &i32| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).ends_with(&wanted)
        };
        nix::unistd::Pid::from_raw(
            numbers
                .find(is_it)
                .unwrap_or_else(|| panic!("nobody supervises {id}")),
        )
    }
}
