//! `mizzen retry`: runs jobs again after their end.

use clap::Args;
use mizzen_core::submit;

use crate::attach::{AttachArgs, Shown, attach_or_detach};
use crate::complete;
use crate::render::Outcome;
use crate::render::text::count;
use crate::report::Report;
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// Runs jobs again that did not succeed, and what comes after them
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    /// The jobs, by name; a task or a group stands for all of its jobs [default: all that did not succeed]
    #[arg(value_name = "JOB", add = complete::jobs())]
    jobs: Vec<String>,
    #[command(flatten)]
    attach: AttachArgs,
}

/// Runs jobs again.
///
/// # Errors
/// There is no such experiment or job, or the store can't be written; or as any attached command.
pub(crate) fn run(args: RetryArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let jobs = select::jobs(&store.view(&id)?, &args.jobs)?;
    let again = submit::retry(&surroundings.context, &mut store, &id, &jobs)?;
    surroundings
        .output
        .say(&format!("{id}: {} to run again", count(again.len(), "job")));
    attach_or_detach(
        surroundings,
        store,
        id,
        &args.attach,
        Shown::Progress { logs: false },
    )
}
