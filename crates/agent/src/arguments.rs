//! The command line of `mizzen-agent`, and its exit statuses.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mizzen_agent::protocol::{Job, Refusal};
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::agent::{Agent, JobEnd, Kind};
use crate::bundles::Bundles;
use crate::channel::{say, without_content};
use crate::conclude::Conclude;
use crate::rank;
use crate::verdict::Reason;

const HELP: &str = "\
The small process beside every mizzen job: starts its ranks, watches them, ends them, writes the exit record.

Usage: mizzen-agent work          take commands on stdin, report on stdout, one JSON object a line
       mizzen-agent run FILE [--once]  run the job that FILE describes (JSON; `-` for stdin); --once: remove the file once it was
                                 read, and take orders to end by the attempt's folder (end.json)
       mizzen-agent follow [--once]  tell a mirror what jobs write: folders on stdin, their files on stdout
       mizzen-agent rank --attempt DIR --key KEY --name NAME [--grace S] [--timeout S] [--rank R] -- PROGRAM [ARG...]
                                 run one task of a step as rank R of an attempt (without --rank: SLURM_PROCID)
       mizzen-agent node --attempt DIR --key KEY --name NAME --world JSON [--grace S] [--timeout S] [--node N] -- PROGRAM [ARG...]
                                 start the ranks of node N as its part of one world (without --node: SLURM_PROCID)
       mizzen-agent conclude --attempt DIR --key KEY --name NAME --ranks N --status S [--per-node P] [--log FILE]
                            [--end HOW]
                                 make one record of the ranks' (of the nodes', with P ranks each) after the step
                                 ended with status S
       mizzen-agent serve         run commands for a tunnel, over stdin and stdout
       mizzen-agent bundle receive|have|list|remove B, bundle link TREE_DIR INTO
                                 the code kept in the folder B: take a bundle in from stdin, say which of the trees on stdin are
                                 there, list all with their last use, take away those on stdin, give a job its own copy of one
       mizzen-agent --version | --help

Exit status of `work`: 0 once the channel has closed and the job in hand has ended; of `run`, `rank` and `node`: 0 if the job succeeded,
else the status of the rank that failed first (128 + its signal), 124 after a timeout, 127 if a program could not be
started, 75 if the job was not taken (claimed by another agent, devices busy, no storage); of `bundle`: 0, or 1 and a line on
stderr that says why. 2: wrong usage. 70: this
system does not offer what an agent needs.
";

const WRONG_USAGE: u8 = 2;
const NO_AGENT: u8 = 70;
const NOT_TAKEN: u8 = 75;
const TIMED_OUT: u8 = 124;
const NOT_STARTED: u8 = 127;

enum Mode {
    Work,
    Run { file: PathBuf, once: bool },
    Follow { once: bool },
    Rank(Box<Job>),
    Conclude(Conclude),
    Serve,
    Bundle(Bundles),
    Say(String),
}

/// Reads the arguments and does what they say.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let status = match mode(&arguments) {
        Ok(Mode::Say(text)) => print(&text),
        Ok(Mode::Work) => Agent::new(Kind::Channel)
            .and_then(Agent::work)
            .map_or_else(|error| no_agent(&error), |()| 0),
        Ok(Mode::Run { file, once }) => run(&file, once),
        Ok(Mode::Follow { once }) => {
            crate::follow::follow(once).map_or_else(|error| no_agent(&error), |()| 0)
        }
        Ok(Mode::Rank(job)) => {
            rank::record_node(&job);
            do_job(Kind::OneTask, *job)
        }
        Ok(Mode::Conclude(conclude)) => return conclude.run(),
        Ok(Mode::Serve) => crate::serve::serve().map_or_else(|error| no_agent(&error), |()| 0),
        Ok(Mode::Bundle(bundles)) => bundles.run(),
        Err(text) => {
            say(&format!(
                "{text}\nhint: `mizzen-agent --help` shows the usage"
            ));
            WRONG_USAGE
        }
    };
    ExitCode::from(status)
}

fn mode(arguments: &[OsString]) -> Result<Mode, String> {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words[..] {
        ["work"] => Ok(Mode::Work),
        ["rank", ..] => rank::job(&arguments[1..]).map(|job| Mode::Rank(Box::new(job))),
        ["node", ..] => rank::node_job(&arguments[1..]).map(|job| Mode::Rank(Box::new(job))),
        ["conclude", ..] => Conclude::read(&arguments[1..]).map(Mode::Conclude),
        ["serve"] => Ok(Mode::Serve),
        ["bundle", ..] => Bundles::read(&arguments[1..]).map(Mode::Bundle),
        ["run", _] | ["run", _, "--once"] => Ok(Mode::Run {
            file: PathBuf::from(&arguments[1]),
            once: words.len() > 2,
        }),
        ["follow"] => Ok(Mode::Follow { once: false }),
        ["follow", "--once"] => Ok(Mode::Follow { once: true }),
        ["--version" | "-V"] => Ok(Mode::Say(
            concat!("mizzen-agent ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
        )),
        ["--help" | "-h"] => Ok(Mode::Say(HELP.to_owned())),
        [] => Err("no mode was given".to_owned()),
        ["run"] => Err("`run` needs a file".to_owned()),
        _ => Err(format!(
            "these arguments are not understood: {}",
            words.join(" ")
        )),
    }
}

fn print(text: &str) -> u8 {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn no_agent(error: &io::Error) -> u8 {
    say(&format!("can't work on this system: {error}"));
    NO_AGENT
}

fn run(file: &Path, once: bool) -> u8 {
    let read = if file == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(file)
    };
    let text = match read {
        Ok(text) => text,
        Err(error) if once && error.kind() == io::ErrorKind::NotFound => {
            say(&format!(
                "{}: it was read before, or was never there; nothing was started",
                file.display()
            ));
            return NOT_TAKEN;
        }
        Err(error) => {
            say(&format!("{}: {error}", file.display()));
            return WRONG_USAGE;
        }
    };
    if once {
        // It may hold secrets. Where it can't be removed, whoever wrote it does that.
        let _ = fs::remove_file(file);
    }
    let job: Job = match serde_json::from_str(&text) {
        Ok(job) => job,
        Err(error) => {
            say(&format!(
                "{}: not the description of a job: {}",
                file.display(),
                without_content(&error)
            ));
            return WRONG_USAGE;
        }
    };
    match once {
        true => done(Agent::new(Kind::OneJob).and_then(|agent| agent.run_by_orders(job))),
        false => do_job(Kind::OneJob, job),
    }
}

fn do_job(kind: Kind, job: Job) -> u8 {
    done(Agent::new(kind).and_then(|agent| agent.run(job)))
}

fn done(end: io::Result<Option<JobEnd>>) -> u8 {
    match end {
        Ok(end) => end.map_or(NOT_TAKEN, |end| status(&end)),
        Err(error) => no_agent(&error),
    }
}

fn status(end: &JobEnd) -> u8 {
    match end {
        JobEnd::Taken { by } => {
            say(&format!(
                "this attempt was claimed before, by {by}; nothing was started"
            ));
            NOT_TAKEN
        }
        JobEnd::Refused(refusal) => {
            say(&match refusal {
                Refusal::DevicesBusy { free } => {
                    format!("only {free} of the devices asked for are free")
                }
                Refusal::Storage(reason) => reason.clone(),
                Refusal::Busy => "another job is in hand".to_owned(),
            });
            NOT_TAKEN
        }
        JobEnd::Ended {
            reason: Some(Reason::Interrupted(signal)),
            ..
        } => of_signal(*signal),
        JobEnd::Ended {
            reason: Some(Reason::TimedOut),
            ..
        } => TIMED_OUT,
        // The agent that tells how all ended waits for this one's end.
        JobEnd::Ended { follows: true, .. } => 0,
        JobEnd::Ended {
            reason: Some(Reason::Elsewhere { status, .. }),
            ..
        } => *status,
        JobEnd::Ended {
            reason:
                Some(Reason::Failure {
                    member,
                    rank,
                    outcome,
                }),
            records,
            ..
        } => of_failure(&records[*member], *rank, *outcome),
        JobEnd::Ended {
            reason: Some(Reason::LeaderEnded | Reason::Cancelled) | None,
            ..
        } => 0,
    }
}

fn of_failure(record: &ExitRecord, rank: usize, outcome: Outcome) -> u8 {
    let exit = &record.ranks[rank];
    if let Some(error) = &exit.error {
        say(&format!("{}: rank {rank}: {error}", record.name));
    }
    match (outcome, exit.code, exit.signal) {
        (Outcome::LaunchFailed, ..) => NOT_STARTED,
        // Exit statuses have eight bits, and this one isn't 0.
        (_, Some(code), _) => u8::try_from(code & 0xff).unwrap_or(1),
        (_, None, Some(signal)) => of_signal(signal),
        (_, None, None) => 1,
    }
}

fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}
