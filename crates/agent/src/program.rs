//! Turns a rank into what execve(2) takes, and its failures into sentences.
//!
//! ```text
//! Member.env + agent's own + Rank.env ─┐
//! Rank.argv ── PATH of that env ───────┴→ Program { path, argv, env, workdir } → spawn
//! ```
//!
//! Everything that allocates happens here, before the child exists. The program is looked up in the PATH that the rank
//! itself will have, not in the agent's. A script without a `#!` line is an error, as it is for execve; running it by
//! sh, as execvp(3) does, hides the mistake until it runs somewhere else.

use std::collections::HashMap;
use std::ffi::{CString, NulError, OsStr};
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mizzen_agent::protocol::{Member, Rank};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::surroundings::surroundings;
use crate::world::Share;

/// Where programs are looked for without a PATH (execvp(3)'s default).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// All that a rank's process needs.
#[derive(Debug)]
pub(crate) struct Program {
    /// As the user wrote it, for messages.
    pub(crate) name: String,
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) workdir: CString,
    /// The processors that it may use; `None`: the agent's.
    pub(crate) share: Option<Share>,
}

/// Why a rank could not be started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaunchError {
    NoCommand,
    /// What holds a NUL byte, which no program can be given.
    Nul(String),
    BadVariable(String),
    NotInPath(String),
    /// The code can't be put into the job's folder.
    Code(String),
    /// Found in PATH, but only as something that is not a program.
    NotExecutable {
        program: String,
        path: PathBuf,
    },
    Workdir {
        path: String,
        errno: Errno,
    },
    Exec {
        program: String,
        path: PathBuf,
        errno: Errno,
    },
    /// A step of starting a process that hardly ever fails.
    Step {
        step: &'static str,
        errno: Errno,
    },
}

impl fmt::Display for LaunchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchError::NoCommand => write!(out, "no command was given"),
            LaunchError::Nul(what) => write!(
                out,
                "{what} holds a NUL byte, which no program can be given"
            ),
            LaunchError::BadVariable(name) => {
                write!(out, "{name:?} can't be the name of an environment variable")
            }
            LaunchError::Code(reason) => write!(out, "the code can't be put in place: {reason}"),
            LaunchError::NotInPath(program) => write!(out, "{program}: no such program in PATH"),
            LaunchError::NotExecutable { program, path } if path.is_dir() => {
                write!(out, "{program}: {} is a directory", path.display())
            }
            LaunchError::NotExecutable { program, path } => {
                write!(out, "{program}: {} is not executable", path.display())
            }
            LaunchError::Workdir {
                path,
                errno: Errno::ENOENT,
            } => write!(out, "{path}: no such working directory"),
            LaunchError::Workdir { path, errno } => {
                write!(
                    out,
                    "{path}: can't be the working directory: {}",
                    errno.desc()
                )
            }
            LaunchError::Exec {
                program,
                path,
                errno,
            } => write!(out, "{program}: {}", exec_failure(path, *errno)),
            LaunchError::Step { step, errno } => write!(out, "{step}: {}", errno.desc()),
        }
    }
}

/// execve(2)'s errors mean several things each; the file itself tells which.
fn exec_failure(path: &Path, errno: Errno) -> String {
    match errno {
        Errno::ENOENT if !path.exists() => "no such file".to_owned(),
        Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES if path.is_file() && is_executable(path) => {
            match interpreter(path) {
                Some(interpreter) if interpreter.ends_with('\r') => {
                    "its first line ends in a carriage return: save it with Unix line ends"
                        .to_owned()
                }
                Some(interpreter) => {
                    format!("its interpreter {interpreter} does not exist or can't be run")
                }
                None => {
                    "the loader that it needs does not exist on this machine, or may not be run"
                        .to_owned()
                }
            }
        }
        Errno::EACCES if path.is_dir() => "is a directory".to_owned(),
        Errno::EACCES => "not executable, or a folder above it may not be entered".to_owned(),
        Errno::ENOEXEC => {
            "not a program of this machine's kind, or a script without a `#!` line".to_owned()
        }
        Errno::E2BIG => {
            "its arguments and its environment are longer than the system allows".to_owned()
        }
        other => other.desc().to_owned(),
    }
}

/// The first word after `#!`, if the file starts with that.
fn interpreter(path: &Path) -> Option<String> {
    let mut start = [0; 256];
    let length = File::open(path).ok()?.read(&mut start).ok()?;
    let line = start[..length]
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line)
        .trim_matches([' ', '\t'])
        .to_owned();
    line.split([' ', '\t']).next().map(str::to_owned)
}

impl Program {
    /// Makes a rank ready. `own` is what the agent adds to the environment; nothing overrides it.
    pub(crate) fn prepare(
        member: &Member,
        rank: &Rank,
        own: &[(&str, &str)],
    ) -> Result<Program, LaunchError> {
        let name = rank.argv.first().ok_or(LaunchError::NoCommand)?.clone();
        let mut argv = Vec::with_capacity(rank.argv.len());
        for (number, argument) in rank.argv.iter().enumerate() {
            argv.push(c_string(argument.as_bytes(), || match number {
                0 => "the program's name".to_owned(),
                _ => format!("argument {number}"),
            })?);
        }
        let workdir = c_string(member.workdir.as_bytes(), || {
            "the working directory".to_owned()
        })?;
        // What was inherited is handed on as it is, odd names too; only what was asked for can be refused.
        let given = member.env.iter().chain(&rank.env);
        if let Some((name, _)) = { given }.find(|(name, _)| name.is_empty() || name.contains('=')) {
            return Err(LaunchError::BadVariable(name.clone()));
        }
        let merged = merge(member, rank, own);
        let mut env = Vec::with_capacity(merged.len());
        for (variable, value) in &merged {
            let entry = [variable, &b"="[..], value].concat();
            env.push(c_string(&entry, || {
                let variable = String::from_utf8_lossy(variable);
                format!("the environment variable {variable:?}")
            })?);
        }
        let search_path = merged
            .iter()
            .find(|(variable, _)| *variable == b"PATH")
            .map_or(DEFAULT_PATH.as_bytes(), |(_, value)| value);
        let path = find(&name, search_path, Path::new(&member.workdir))?;
        let path = c_string(path.as_os_str().as_bytes(), || "PATH".to_owned())?;
        Ok(Program {
            name,
            path,
            argv,
            env,
            workdir,
            share: None,
        })
    }
}

/// The environment in order, each name once: of two values the later one counts, as it does in a shell.
fn merge<'a>(
    member: &'a Member,
    rank: &'a Rank,
    own: &[(&'a str, &'a str)],
) -> Vec<(&'a [u8], &'a [u8])> {
    let around = if member.inherit { surroundings() } else { &[] };
    let given = member.env.iter().chain(&rank.env);
    let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
    let given = given.chain(own.iter().copied());
    let given = given.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let inherited = around
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()));
    let mut merged: Vec<(&[u8], &[u8])> =
        Vec::with_capacity(around.len() + member.env.len() + rank.env.len() + own.len());
    let mut places = HashMap::with_capacity(merged.capacity());
    for (name, value) in inherited.chain(given) {
        match places.get(name) {
            Some(place) => merged[*place] = (name, value),
            None => {
                places.insert(name, merged.len());
                merged.push((name, value));
            }
        }
    }
    merged
}

/// Finds the program as execvp(3) would, with relative entries counted from the working directory of the rank.
fn find(program: &str, search_path: &[u8], workdir: &Path) -> Result<PathBuf, LaunchError> {
    if program.contains('/') {
        // Relative to the working directory, where the child will stand by then.
        return Ok(PathBuf::from(program));
    }
    let mut seen = None;
    for folder in search_path.split(|byte| *byte == b':') {
        let folder = OsStr::from_bytes(folder);
        // An empty entry means the working directory; `join` keeps absolute entries as they are.
        let candidate = workdir.join(folder).join(program);
        let Ok(entry) = fs::metadata(&candidate) else {
            continue;
        };
        if entry.is_file() && is_executable(&candidate) {
            return Ok(candidate);
        }
        seen.get_or_insert(candidate);
    }
    match seen {
        Some(path) if !program.is_empty() => Err(LaunchError::NotExecutable {
            program: program.to_owned(),
            path,
        }),
        _ => Err(LaunchError::NotInPath(program.to_owned())),
    }
}

fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

fn c_string(bytes: &[u8], what: impl FnOnce() -> String) -> Result<CString, LaunchError> {
    CString::new(bytes).map_err(|_: NulError| LaunchError::Nul(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn prepare(
        argv: &[&str],
        env: &[(&str, &str)],
        rank_env: &[(&str, &str)],
    ) -> Result<Program, LaunchError> {
        let rank = Rank {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: pairs(rank_env),
        };
        let member = Member {
            name: "job".to_owned(),
            attempt_dir: "/".to_owned(),
            log_dir: None,
            first_rank: 0,
            workdir: "/".to_owned(),
            env: pairs(env),
            inherit: false,
            code: None,
            leader: false,
            world: None,
            of_node: false,
            ranks: Vec::new(),
        };
        Program::prepare(&member, &rank, &[("KEY", "ours")])
    }

    #[test]
    fn later_values_count_and_the_agents_own_count_most() {
        let program = prepare(
            &["sh"],
            &[("A", "1"), ("B", "2"), ("A", "3")],
            &[("B", "4"), ("KEY", "theirs")],
        )
        .unwrap();
        let env: Vec<_> = program
            .env
            .iter()
            .map(|entry| entry.to_str().unwrap())
            .collect();
        assert_eq!(env, ["A=3", "B=4", "KEY=ours"]);
    }

    #[test]
    fn what_no_program_can_be_given_is_refused() {
        let text = |result: Result<Program, LaunchError>| result.unwrap_err().to_string();
        assert_eq!(text(prepare(&[], &[], &[])), "no command was given");
        assert_eq!(
            text(prepare(&["sh", "a\0b"], &[], &[])),
            "argument 1 holds a NUL byte, which no program can be given"
        );
        assert!(
            text(prepare(&["sh"], &[("A", "\0")], &[]))
                .starts_with("the environment variable \"A\" holds a NUL")
        );
        assert!(
            text(prepare(&["sh"], &[("A=B", "")], &[])).starts_with("\"A=B\" can't be the name")
        );
        assert!(text(prepare(&["sh"], &[("", "x")], &[])).starts_with("\"\" can't be the name"));
    }

    #[test]
    fn programs_are_found_in_the_ranks_own_path() {
        let text = |result: Result<Program, LaunchError>| result.unwrap_err().to_string();
        assert_eq!(
            text(prepare(&["python4"], &[("PATH", "/bin")], &[])),
            "python4: no such program in PATH"
        );
        assert_eq!(
            text(prepare(&["sh"], &[("PATH", "/nowhere")], &[])),
            "sh: no such program in PATH"
        );
        assert_eq!(
            text(prepare(&["tmp"], &[("PATH", "/")], &[])),
            "tmp: /tmp is a directory"
        );
        assert_eq!(
            text(prepare(&["passwd"], &[("PATH", "/etc")], &[])),
            "passwd: /etc/passwd is not executable"
        );
        assert_eq!(text(prepare(&[""], &[], &[])), ": no such program in PATH");
        assert_eq!(
            prepare(&["sh"], &[("PATH", "bin")], &[])
                .unwrap()
                .path
                .to_str()
                .unwrap(),
            "/bin/sh"
        );
    }
}
