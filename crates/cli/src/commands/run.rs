//! `mizzen run`: one command as an experiment with one job.

use std::ffi::OsString;

use clap::Args;
use mizzen_core::store::Store;
use mizzen_core::submit;

use crate::attach::{AttachArgs, Shown, attach_or_detach};
use crate::prepare::{OrderedJobArgs, Source, prepare};
use crate::render::Outcome;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// Runs one command, recorded, and shows its output
///
/// The job's output goes to standard output as its bytes are. What stands behind `--` reaches the job literally: nothing in
/// it is replaced but the executor's macros. The job outlives this command: closing the terminal does it no harm.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen run -- python3 train.py --lr 0.1
  mizzen run -e gpu --nproc 8 --launcher torchrun -- train.py
  mizzen run -d --retries 3 --timeout 2h -- ./simulate")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    jobs: OrderedJobArgs,
    /// The job's name [default: the program's or the script's]
    #[arg(long, value_name = "JOB")]
    name: Option<String>,
    #[command(flatten)]
    attach: AttachArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Runs a command.
///
/// # Errors
/// The flags or the configuration are wrong, the store can't be written; or as any attached command.
pub(crate) fn run(args: RunArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let prepared = prepare(
        &Source::Command {
            words: args.command,
            name: args.name,
        },
        &args.jobs,
        None,
        surroundings,
    )?;
    let context = &surroundings.context;
    let mut store = Store::open(&context.home)?;
    submit::create(
        context,
        &mut store,
        &prepared.plan,
        &prepared.id,
        &prepared.record,
    )?;
    attach_or_detach(surroundings, store, prepared.id, &args.attach, Shown::Log)
}
