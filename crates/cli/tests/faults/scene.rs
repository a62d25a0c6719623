//! What the tests of faults have in common: a session whose jobs write a ledger, its processes, and waiting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{LIMIT, Session};

/// The pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Looks at a condition until it gives something.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(LIMIT, what, condition)
}

/// As [`until`], with a limit of its own.
pub(crate) fn until_within<T>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let give_up_at = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < give_up_at, "not within {limit:?}: {what}");
        pause(LOOK_AGAIN);
    }
}

/// Lets time pass, as part of a test that is about different moments.
pub(crate) fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Ends a process as the kernel's memory killer would.
pub(crate) fn kill_9(pid: i32) {
    // It may have ended just before.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// A living process of a session.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Its command line.
    pub(crate) words: Vec<String>,
    environment: Vec<u8>,
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        let stat = state_of(pid)?;
        if matches!(stat, 'Z' | 'X') {
            return None;
        }
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let line = read("cmdline");
        let words = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Some(Process {
            pid,
            words,
            environment: read("environ"),
        })
    }

    fn has_variable(&self, start: &str) -> bool {
        self.environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(start.as_bytes()))
    }

    fn speaks_of(&self, folder: &str) -> bool {
        let inside = |bytes: &[u8]| {
            bytes
                .windows(folder.len())
                .any(|window| window == folder.as_bytes())
        };
        inside(&self.environment) || self.words.iter().any(|word| inside(word.as_bytes()))
    }

    /// It is a job's, by its submission key.
    pub(crate) fn is_of_a_job(&self) -> bool {
        self.has_variable("MIZZEN_SUBMISSION_KEY=")
    }

    /// It is a job's first process: an agent's child.
    pub(crate) fn is_rank(&self, agents: &[Process]) -> bool {
        self.is_of_a_job()
            && agents
                .iter()
                .any(|agent| parent_of(self.pid) == Some(agent.pid))
    }
}

/// The state's letter, from proc_pid_stat(5).
fn state_of(pid: i32) -> Option<char> {
    stat_field(pid, 0)?.chars().next()
}

fn parent_of(pid: i32) -> Option<i32> {
    stat_field(pid, 1)?.parse().ok()
}

/// A field behind the name, which stands in parentheses.
fn stat_field(pid: i32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field).map(str::to_owned)
}

/// The most memory that a living process has had, in bytes (`VmHWM`).
pub(crate) fn peak_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// What a session's processes and jobs have come to.
pub(crate) trait Scene {
    /// The session's own folder.
    fn folder(&self) -> PathBuf;
    /// All living processes that know this session's folder or home: commands, supervisors, agents, jobs.
    fn processes(&self) -> Vec<Process>;

    /// The supervisors of an experiment.
    fn supervisors(&self, id: &str) -> Vec<i32> {
        let is_it = |process: &Process| {
            process
                .words
                .windows(2)
                .any(|words| words[0] == "supervise" && words[1] == id)
        };
        self.processes()
            .iter()
            .filter(|process| is_it(process))
            .map(|process| process.pid)
            .collect()
    }

    /// The agents.
    fn agents(&self) -> Vec<Process> {
        let is_it = |process: &Process| process.words[0].ends_with("/mizzen-agent");
        self.processes().into_iter().filter(is_it).collect()
    }

    /// The first processes of jobs, their agents' children.
    fn ranks(&self) -> Vec<Process> {
        let agents = self.agents();
        self.processes()
            .into_iter()
            .filter(|process| process.is_rank(&agents))
            .collect()
    }

    /// No process of this session is there any more, or will be soon.
    fn nothing_is_left(&self) {
        self.nothing_is_left_within(Duration::from_secs(20));
    }

    /// As [`Scene::nothing_is_left`], with a limit of its own.
    fn nothing_is_left_within(&self, limit: Duration) {
        let give_up_at = Instant::now() + limit;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            let words: Vec<_> = left
                .iter()
                .map(|process| (process.pid, &process.words))
                .collect();
            assert!(Instant::now() < give_up_at, "left behind: {words:?}");
            pause(LOOK_AGAIN);
        }
    }

    /// The shell command by which a job says that it really runs.
    fn note(&self) -> String {
        format!(
            "echo $MIZZEN_JOB_NAME:$MIZZEN_ATTEMPT >> {}",
            self.ledger_path().display()
        )
    }

    /// Where jobs write.
    fn ledger_path(&self) -> PathBuf {
        self.folder().join("ledger")
    }

    /// How often each attempt has really run, as `job:attempt`.
    fn ledger(&self) -> BTreeMap<String, usize> {
        let mut ledger = BTreeMap::new();
        for line in std::fs::read_to_string(self.ledger_path())
            .unwrap_or_default()
            .lines()
        {
            *ledger.entry(line.to_owned()).or_default() += 1;
        }
        ledger
    }

    /// Waits until an attempt has really started.
    fn runs(&self, attempt: &str) {
        until(&format!("{attempt} runs"), || {
            self.ledger().contains_key(attempt).then_some(())
        });
    }

    /// A task that notes that it runs, and then runs a script.
    fn task(&self, name: &str, script: &str) -> Value {
        json!({ "name": name, "run": ["sh", "-c", format!("{}\n{}", self.note(), script).replace('$', "$$")] })
    }

    /// Every attempt that the store knows has run once, and no other.
    fn ran_as_told(&self, status: &Value) {
        let mut told = BTreeMap::new();
        for job in status["jobs"].as_array().unwrap() {
            for attempt in job["attempts"].as_array().unwrap() {
                told.insert(
                    format!("{}:{}", job["name"].as_str().unwrap(), attempt["number"]),
                    1,
                );
            }
        }
        assert_eq!(self.ledger(), told, "{status:#}");
    }
}

impl Scene for Session {
    fn folder(&self) -> PathBuf {
        self.workdir().parent().unwrap().to_owned()
    }

    fn processes(&self) -> Vec<Process> {
        let folder = self.folder().to_string_lossy().into_owned();
        // The folder of session 1 must not be taken for the folder of session 10.
        let inside = [format!("{folder}/"), format!("={folder}\0")];
        let own = std::process::id() as i32;
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != own)
            .filter_map(Process::read)
            .filter(|process| inside.iter().any(|folder| process.speaks_of(folder)))
            .collect()
    }
}

/// Writes a document and starts it detached; its id.
pub(crate) fn launch_detached(session: &Session, document: &Value) -> String {
    session.write("experiment.json", &document.to_string());
    session
        .ok(&["launch", "-d", "experiment.json"])
        .trim()
        .to_owned()
}

/// What `status --json` says.
pub(crate) fn status(session: &Session, id: &str) -> Value {
    session.json(&["status", "--json", id])
}

/// A job of a status.
pub(crate) fn job<'a>(status: &'a Value, name: &str) -> &'a Value {
    let jobs = status["jobs"].as_array().unwrap();
    jobs.iter()
        .find(|job| job["name"] == name)
        .unwrap_or_else(|| panic!("no job {name}: {status:#}"))
}

/// State and cause of each job.
pub(crate) fn ends(status: &Value) -> BTreeMap<String, String> {
    let jobs = status["jobs"].as_array().unwrap();
    let end = |job: &Value| match job["cause"].as_str() {
        Some(cause) => format!("{} {cause}", job["state"].as_str().unwrap()),
        None => job["state"].as_str().unwrap().to_owned(),
    };
    jobs.iter()
        .map(|job| (job["name"].as_str().unwrap().to_owned(), end(job)))
        .collect()
}

/// The exit record of an attempt.
pub(crate) fn exit_record(attempt: &Value) -> Value {
    let log = Path::new(attempt["log"].as_str().unwrap());
    serde_json::from_str(&std::fs::read_to_string(log.with_file_name("exit.json")).unwrap())
        .unwrap()
}

/// What the supervisors have complained about. One that finds another one driving is none to worry about.
pub(crate) fn complaints(session: &Session, title: &str, id: &str) -> Vec<String> {
    let log = session
        .home()
        .join("experiments")
        .join(title)
        .join(id)
        .join("supervisor.log");
    let said = std::fs::read_to_string(log).unwrap_or_default();
    said.lines()
        .filter(|line| !line.contains("drives the experiment already"))
        .map(str::to_owned)
        .collect()
}
