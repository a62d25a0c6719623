//! `mizzen run`: one command as an experiment with one job; or a Python function.

use std::ffi::OsString;

use clap::Args;
use mizzen_core::store::Store;
use mizzen_core::submit;

use crate::attach::{AttachArgs, Shown, attach_or_detach};
use crate::function;
use crate::prepare::{OrderedJobArgs, Source, package, prepare};
use crate::reach::reach;
use crate::render::Outcome;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Runs one command, recorded, and shows its output
///
/// A Python function is run as `mizzen run FILE.py:FUNCTION KEY=VALUE…`; `mizzen run FILE.py:FUNCTION -- --help` tells of its
/// arguments.
///
/// The job's output goes to standard output as its bytes are. What stands behind `--` reaches the job literally: nothing in
/// it is replaced but the executor's macros. The job outlives this command: closing the terminal does it no harm.
#[derive(Debug, Args)]
#[command(override_usage = "\
mizzen run [OPTIONS] -- COMMAND [ARGUMENT]...
       mizzen run [OPTIONS] FILE.py:FUNCTION [KEY=VALUE]... [-- OPTION...]")]
#[command(group = clap::ArgGroup::new("what").args(["function", "command"]).required(true).multiple(true))]
#[command(after_help = "\
Examples:
  mizzen run -- python3 train.py --lr 0.1
  mizzen run -e gpu --nproc 8 --launcher torchrun -- train.py
  mizzen run -d --retries 3 --timeout 2h -- ./simulate
  mizzen run -e gpu train.py:main lr=0.1 layers=[64,64]")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    jobs: OrderedJobArgs,
    /// The job's name [default: the program's or the script's]
    #[arg(long, value_name = "JOB")]
    name: Option<String>,
    #[command(flatten)]
    attach: AttachArgs,
    /// A Python function, FILE.py:FUNCTION or MODULE:FUNCTION, and its arguments, each KEY=VALUE
    #[arg(value_name = "FUNCTION", value_hint = clap::ValueHint::FilePath)]
    function: Vec<String>,
    /// The command and its arguments; for a function, options of its own command line
    #[arg(last = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Runs a command.
///
/// # Errors
/// The flags or the configuration are wrong, the store can't be written; or as any attached command.
pub(crate) fn run(args: RunArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    if !args.function.is_empty() {
        let mut options = args.jobs.for_function()?;
        options.extend(args.name.map(|name| format!("--name={name}")));
        if args.attach.json || args.attach.on_interrupt.is_some() {
            return Err(Report::usage(
                "`--json` and `--on-interrupt` are not for functions",
            ));
        }
        if args.attach.detach {
            options.push("--detach".to_owned());
        }
        match function::run(&args.function, options, &args.command, surroundings)? {}
    }
    let mut prepared = prepare(
        &Source::Command {
            words: args.command,
            name: args.name,
        },
        &args.jobs,
        None,
        surroundings,
    )?;
    let context = &surroundings.context;
    package(surroundings, &mut prepared)?;
    reach(surroundings, &prepared.plan)?;
    let mut store = Store::open(&context.home)?;
    submit::create(context, &mut store, &prepared, &surroundings.command_line)?;
    attach_or_detach(surroundings, store, prepared.id, &args.attach, Shown::Log)
}
