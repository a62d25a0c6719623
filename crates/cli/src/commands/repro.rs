//! `mizzen repro`: runs a past experiment again from what was kept of it.

use clap::Args;
use mizzen_core::store::Store;
use mizzen_core::submit;

use crate::attach::{AttachArgs, Shown, attach_or_detach};
use crate::prepare::{OrderedJobArgs, Source, package, prepare};
use crate::reach::reach;
use crate::render::Outcome;
use crate::report::Report;
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// Runs a past experiment again, with the configuration and the code that it had
///
/// The code is the tree that was kept then, uncommitted changes included, whatever has become of the working tree since. It is
/// a new experiment; `mizzen diff` compares the two.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen repro latest
  mizzen repro iris -e gpu                      on another executor
  mizzen repro iris --set 'tasks.train.env.SEED=2'
  mizzen diff iris latest")]
pub(crate) struct ReproArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    #[command(flatten)]
    jobs: OrderedJobArgs,
    #[command(flatten)]
    attach: AttachArgs,
    /// Show the logs of all jobs too, each line behind its job's name
    #[arg(short = 'f', long)]
    logs: bool,
}

/// Runs an experiment again.
///
/// # Errors
/// There is no such experiment, its code or configuration is not kept, the flags don't fit it; or as any attached command.
pub(crate) fn run(args: ReproArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let (context, output) = (&surroundings.context, &surroundings.output);
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let reprise = submit::repro::reprise(context, &store, &id, args.jobs.executor())?;
    for note in &reprise.notes {
        output.say(&format!("note: {note}"));
    }
    let mut prepared = prepare(
        &Source::Kept(Box::new(reprise)),
        &args.jobs,
        None,
        surroundings,
    )?;
    package(surroundings, &mut prepared)?;
    reach(surroundings, &prepared.plan)?;
    drop(store);
    let mut store = Store::open(&context.home)?;
    submit::create(context, &mut store, &prepared, &surroundings.command_line)?;
    attach_or_detach(
        surroundings,
        store,
        prepared.id,
        &args.attach,
        Shown::Progress { logs: args.logs },
    )
}
