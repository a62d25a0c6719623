//! `mizzen cancel`: ends jobs.

use clap::Args;
use mizzen_core::model::CancelMode;
use mizzen_core::submit;
use mizzen_core::watch::ensure_supervised;

use crate::attach::{SUPERVISION_CHECK, wait_for_change};
use crate::complete;
use crate::render::Outcome;
use crate::render::experiment::{self, ExperimentStatus};
use crate::render::text::count;
use crate::report::Report;
use crate::select::{self, ExperimentArg};
use crate::surroundings::Surroundings;

/// Ends an experiment, or some of its jobs
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    experiment: ExperimentArg,
    /// The jobs, by name; a task or a group stands for all of its jobs [default: all]
    #[arg(value_name = "JOB", add = complete::jobs())]
    jobs: Vec<String>,
    /// Kill at once, without the time to end well
    #[arg(long)]
    kill: bool,
    /// Ask, and don't wait until they have ended
    #[arg(long)]
    no_wait: bool,
    /// Print the status afterwards as JSON (schema: `mizzen schema status`)
    #[arg(long)]
    json: bool,
}

/// Ends jobs.
///
/// # Errors
/// There is no such experiment or job, or the store can't be written.
pub(crate) fn run(args: CancelArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let mut store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let view = store.view(&id)?;
    let jobs = select::jobs(&view, &args.jobs)?;
    if let Some(from) = store.imported(&id)? {
        return Err(submit::SubmitError::Imported { id, from }.into());
    }
    let chosen = |index: u32| jobs.is_empty() || jobs.contains(&index);
    let unfinished = view
        .jobs
        .iter()
        .filter(|job| chosen(job.index) && !job.state.is_final())
        .count();
    if unfinished == 0 {
        surroundings.output.say(&format!(
            "{id}: nothing to cancel; {} ended before",
            if jobs.len() == 1 {
                "the job has"
            } else {
                "all jobs have"
            }
        ));
        return Ok(if args.json {
            Outcome::show(ExperimentStatus::of(&store, view)?, true)
        } else {
            Outcome::done(crate::report::Status::Succeeded)
        });
    }
    let mode = if args.kill {
        CancelMode::Kill
    } else {
        CancelMode::Terminate
    };
    submit::cancel(&surroundings.context, &mut store, &id, &jobs, mode)?;
    // Somebody has to hear it, whether or not its end is waited for.
    ensure_supervised(&surroundings.context, &store, &id)?;
    let mut view = view;
    if !args.no_wait {
        let mut version = store.data_version()?;
        loop {
            view = store.view(&id)?;
            let all = |wanted: &dyn Fn(u32) -> bool| {
                let mut jobs = view.jobs.iter().filter(|job| wanted(job.index));
                jobs.all(|job| job.state.is_final())
            };
            // With its last job the experiment is over too, in a moment.
            if all(&chosen) && (!all(&|_| true) || view.summary.is_over()) {
                break;
            }
            ensure_supervised(&surroundings.context, &store, &id)?;
            wait_for_change(&store, &mut version, SUPERVISION_CHECK)?;
        }
    }
    if args.json {
        return Ok(Outcome::show(ExperimentStatus::of(&store, view)?, true));
    }
    let verb = if args.no_wait {
        "asked to end"
    } else {
        "ended"
    };
    surroundings
        .output
        .say(&format!("{id}: {} {verb}", count(unfinished, "job")));
    surroundings.output.say(&experiment::header(
        &view,
        &surroundings.output.talk,
        surroundings.now(),
    ));
    Ok(Outcome::done(crate::report::Status::Succeeded))
}
