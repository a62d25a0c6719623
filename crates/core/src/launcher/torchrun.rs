//! `torchrun`: PyTorch's launcher, one on each node, which starts and joins that node's processes.
//!
//! ```text
//! python train.py ARGS     ─▶ torchrun … train.py ARGS
//! python -m pkg.mod ARGS   ─▶ torchrun … -m pkg.mod ARGS
//! /opt/x/bin/python t.py   ─▶ /opt/x/bin/python -m torch.distributed.run … t.py      the interpreter that was asked for
//! anything else            ─▶ torchrun … --no-python PROGRAM ARGS
//! ```
//!
//! The words and their order are NeMo-Run's. torchrun starts Python itself, unbuffered, so that `-u` goes without saying; an
//! interpreter with other options is a program like any other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Command, Launched, LauncherError, Site, Starter, Starts};

/// torchrun's program.
const TORCHRUN: &str = "torchrun";
/// The same as a module.
const MODULE: &str = "torch.distributed.run";

/// A number or a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Number(number) => write!(out, "{number}"),
            Id::Text(text) => out.write_str(text),
        }
    }
}

/// The settings of `torchrun`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Torchrun {
    /// How the nodes find each other.
    pub rdzv_backend: String,
    /// The port on the first node at which several nodes meet; one that is free if not given. One node needs none.
    #[schemars(range(min = 1))]
    pub rdzv_port: Option<u16>,
    /// What names the meeting; the attempt's submission key if not given.
    pub rdzv_id: Option<Id>,
    /// Further settings of the meeting, such as "timeout=900,join_timeout=600".
    pub rdzv_conf: Option<String>,
    /// How often all processes are started again after a failure, inside the attempt.
    pub max_restarts: Option<u32>,
    /// The folder for a log of each process beside the job's.
    pub log_dir: Option<String>,
    /// This node's address for the others, where it is not its name's. Macros can be used.
    pub local_addr: Option<String>,
}

impl Default for Torchrun {
    fn default() -> Torchrun {
        Torchrun {
            rdzv_backend: "c10d".to_owned(),
            rdzv_port: None,
            rdzv_id: None,
            rdzv_conf: None,
            max_restarts: None,
            log_dir: None,
            local_addr: None,
        }
    }
}

/// What torchrun and what is made from it are told of the meeting.
pub(super) struct Meeting<'a> {
    pub(super) backend: &'a str,
    pub(super) port: Option<u16>,
    pub(super) id: Option<&'a Id>,
}

impl Meeting<'_> {
    /// torchrun's words up to those that not every launcher has.
    pub(super) fn words(&self, site: &Site<'_>) -> Vec<String> {
        let (endpoint, node) = if site.nodes == 1 {
            ("localhost:0".to_owned(), "0".to_owned())
        } else {
            let port = self.port.map(|port| port.to_string());
            let port = port.as_deref().unwrap_or(site.port);
            (format!("{}:{port}", site.address), site.node.to_owned())
        };
        let id = self.id.map(ToString::to_string);
        let pairs = [
            ("--rdzv-backend", self.backend.to_owned()),
            ("--rdzv-endpoint", endpoint),
            ("--rdzv-id", id.unwrap_or_else(|| site.run_id.to_owned())),
            ("--nnodes", site.nodes.to_string()),
            ("--nproc-per-node", site.per_node.to_string()),
            ("--node-rank", node),
            ("--tee", "3".to_owned()),
        ];
        pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }
}

/// A command as torchrun wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The interpreter, if one was named by its path.
    pub(super) interpreter: Option<String>,
    /// What torchrun starts: a script, `-m` and a module, or `--no-python` and a program.
    pub(super) words: Vec<String>,
}

impl Program {
    pub(super) fn of(command: &[String]) -> Program {
        let program = command.first().map(String::as_str).unwrap_or_default();
        let mut args = command.get(1..).unwrap_or_default();
        if is_python(program) {
            while args.first().is_some_and(|arg| arg == "-u") {
                args = &args[1..];
            }
            let is_module = args.first().is_some_and(|arg| arg == "-m") && args.len() > 1;
            let is_script = args
                .first()
                .is_some_and(|arg| !arg.starts_with('-') && !arg.is_empty());
            if is_module || is_script {
                return Program {
                    interpreter: program.contains('/').then(|| program.to_owned()),
                    words: args.to_vec(),
                };
            }
        }
        let mut words = vec!["--no-python".to_owned()];
        words.extend(command.iter().cloned());
        Program {
            interpreter: None,
            words,
        }
    }
}

/// `python`, `python3`, `python3.11`, with a path or without.
fn is_python(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    name.strip_prefix("python").is_some_and(|version| {
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

impl Starts for Torchrun {
    fn launch(&self, command: &Command<'_>, site: &Site<'_>) -> Result<Launched, LauncherError> {
        let program = Program::of(&command.words);
        let mut argv = match &program.interpreter {
            Some(python) => vec![python.clone(), "-m".to_owned(), MODULE.to_owned()],
            None => vec![TORCHRUN.to_owned()],
        };
        let meeting = Meeting {
            backend: &self.rdzv_backend,
            port: self.rdzv_port,
            id: self.rdzv_id.as_ref(),
        };
        argv.extend(meeting.words(site));
        let optional = [
            ("--max-restarts", self.max_restarts.map(|n| n.to_string())),
            ("--rdzv-conf", self.rdzv_conf.clone()),
            ("--log-dir", self.log_dir.clone()),
            ("--local-addr", self.local_addr.clone()),
        ];
        for (flag, value) in optional {
            if let Some(value) = value {
                argv.extend([flag.to_owned(), value]);
            }
        }
        let needs = match program.interpreter {
            Some(_) => Vec::new(),
            None => vec![TORCHRUN.to_owned()],
        };
        argv.extend(program.words);
        Ok(Launched {
            needs,
            ..command.profiled(argv, site, 1)
        })
    }

    fn starter(&self) -> Starter {
        Starter::Itself
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_becomes_a_script_or_a_module_and_all_else_is_kept() {
        let table = [
            ("python train.py --lr 1", None, "train.py --lr 1"),
            ("python3 -m pkg.mod -m x", None, "-m pkg.mod -m x"),
            ("python3.11 -u train.py -u", None, "train.py -u"),
            (
                "/opt/x/bin/python3.11 t.py",
                Some("/opt/x/bin/python3.11"),
                "t.py",
            ),
            ("python -c print()", None, "--no-python python -c print()"),
            ("python -O t.py", None, "--no-python python -O t.py"),
            ("python", None, "--no-python python"),
            ("python -m", None, "--no-python python -m"),
            ("pythonic t.py", None, "--no-python pythonic t.py"),
            ("uv run t.py", None, "--no-python uv run t.py"),
            ("./train --x", None, "--no-python ./train --x"),
        ];
        for (command, interpreter, words) in table {
            let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let program = Program::of(&command);
            assert_eq!(program.interpreter.as_deref(), interpreter, "{command:?}");
            assert_eq!(program.words.join(" "), words, "{command:?}");
        }
    }
}
