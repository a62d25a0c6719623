//! `mizzen supervise`: the supervisor's life. Started detached by other commands, not by people.

use clap::Args;
use mizzen_core::model::ExperimentId;

use crate::render::Outcome;
use crate::report::{Report, Status};
use crate::surroundings::Surroundings;

/// Drives an experiment until its end (started by other commands)
#[derive(Debug, Args)]
pub(crate) struct SuperviseArgs {
    /// The experiment's id
    #[arg(value_name = "ID", value_parser = ExperimentId::parse)]
    id: ExperimentId,
}

/// Supervises an experiment to its end.
///
/// # Errors
/// The store can't be used, or another supervisor took over.
pub(crate) fn run(args: SuperviseArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    mizzen_core::watch::supervise(&surroundings.context, &args.id)?;
    Ok(Outcome::done(Status::Succeeded))
}
