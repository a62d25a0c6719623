//! `mizzen shell`: a session at this terminal with an executor's settings.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};

use clap::Args;
use mizzen_core::executor::{self, Interactive, resolve_secret};
use mizzen_core::model::Env;
use mizzen_core::tunnel::{Session, TunnelSettings};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::Output;
use crate::prepare::{SessionArgs, Source, prepare};
use crate::reach::{reach, report};
use crate::render::Outcome;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Opens a shell, or runs a command, on nodes with an executor's settings
///
/// It waits until the place gives the nodes, and gives them back when the session ends; of an engine it is one container,
/// which goes then. Nothing is recorded. Where the executor is behind an ssh tunnel the session goes through it. The exit
/// status is the command's.
#[derive(Debug, Args)]
#[command(override_usage = "mizzen shell [OPTIONS] [-- COMMAND [ARGUMENT]...]")]
#[command(after_help = "\
Examples:
  mizzen shell -e gpu                      a shell on a node
  mizzen shell -e gpu -- nvidia-smi        one command, on every task of the executor
  mizzen shell -e gpu --nodes 2 --alloc    nodes, and a shell where jobs are submitted")]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    jobs: SessionArgs,
    /// Only get the nodes; the shell, or the command, runs where jobs are submitted
    #[arg(long)]
    alloc: bool,
    /// The command and its arguments [default: a shell]
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Runs a session; does not come back if it can be started.
///
/// # Errors
/// The flags or the configuration are wrong, the executor has no sessions, or its place can't be reached.
pub(crate) fn run(args: ShellArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let jobs = args.jobs.checked()?;
    let context = &surroundings.context;
    let shell = args.command.is_empty();
    let words = if shell {
        vec!["shell".into()]
    } else {
        args.command
    };
    let prepared = prepare(
        &Source::Command {
            words,
            name: Some("shell".to_owned()),
        },
        jobs,
        None,
        surroundings,
    )?;
    let plan = &prepared.plan;
    let (Some(task), Some(job)) = (plan.tasks.first(), plan.jobs.first()) else {
        unreachable!("a command is a task with one job");
    };
    let name = &task.executor;
    let executor = executor::build(name, &plan.executors[name])
        .map_err(|error| Report::usage(error.to_string()))?;
    let mut command = Vec::new();
    if !shell {
        command.push(job.role.entrypoint.clone());
        command.extend(job.role.args.iter().cloned());
    }
    let mut env: Env = job.role.env.clone();
    for (variable, reference) in &job.secrets {
        let value = resolve_secret(reference, &context.environment)
            .map_err(|error| Report::usage(error.to_string()))?;
        env.insert(variable, value);
    }
    // No code is sent for a session: what would be the job's copy of it is the folder here, or there the place's own.
    let copy = executor.experiment_dir(&context.experiment_dir(&plan.title, &prepared.id));
    let workdir = match job.workdir.starts_with(copy.as_str()) {
        false => Some(job.workdir.as_str()),
        true if executor.shares_files() => Some(context.workdir.as_str()),
        true => None,
    };
    let stdin = std::io::stdin().is_terminal();
    let request = Interactive {
        name: "shell",
        command: &command,
        allocate: args.alloc,
        terminal: stdin && surroundings.output.data.terminal,
        env: &env,
        workdir,
    };
    let command = executor.interactive(&request);
    let command = command.ok_or_else(|| {
        Report::usage(format!(
            "the executor `{name}` ({}) has no sessions: there is nothing to wait for and no other machine",
            executor.kind()
        ))
        .hint("name another one by `-e`; `mizzen executors` lists them")
    })?;
    let command =
        command.map_err(|words| Report::usage(format!("the executor `{name}`: {words}")))?;
    reach(surroundings, plan)?;
    let here = TunnelSettings::default();
    let tunnel = executor.tunnel().unwrap_or(&here);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::usage(format!("can't wait for programs: {error}")))?;
    let mut session = runtime
        .block_on(tunnel.session(context, &command, stdin))
        .map_err(report)?;
    let program = session.program.get_program().to_string_lossy().into_owned();
    let error = if session.hears_signals() {
        // The session is this process from here on: its signals, its terminal and its exit status need nobody between.
        session.program.exec()
    } else {
        match runtime.block_on(stay(session, &surroundings.output)) {
            Ok(status) => std::process::exit(status),
            Err(error) => error,
        }
    };
    Err(
        Report::usage(format!("can't run `{program}`: {error}")).hint(format!(
            "`{program}` must be on this machine, or the executor needs a tunnel to one where it is"
        )),
    )
}

/// Runs a session whose command hears no signals of ours, and has it told of them. Answers with the exit status.
async fn stay(mut session: Session, output: &Output) -> std::io::Result<i32> {
    // A Ctrl-C is for us to pass on.
    let program = std::mem::replace(&mut session.program, std::process::Command::new("true"));
    let mut program = tokio::process::Command::from(program);
    program.process_group(0);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = program.spawn()?;
    loop {
        let status = tokio::select! {
            ended = child.wait() => ended?,
            Some(()) = interrupt.recv() => { end(&session, output).await; continue }
            Some(()) = terminate.recv() => { end(&session, output).await; continue }
            Some(()) = hangup.recv() => { end(&session, output).await; continue }
        };
        let by_signal = status.signal().map(|signal| 128 + signal);
        return Ok(status.code().or(by_signal).unwrap_or(255));
    }
}

async fn end(session: &Session, output: &Output) {
    if let Err(error) = session.end().await {
        output.complain(&format!("the command could not be told to end: {error}"));
    }
}
