//! `mizzen status`: an experiment and its jobs.

use std::time::Duration;

use clap::Args;
use mizzen_core::logs::add_usage;
use mizzen_core::model::ExperimentId;
use mizzen_core::store::Store;
use mizzen_core::watch::ensure_supervised;

use crate::attach::wait_for_change;
use crate::reach::{Connections, not_sent_lines};
use crate::render::experiment::ExperimentStatus;
use crate::render::{Outcome, Show};
use crate::report::Report;
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// Up to so many jobs the plan is read too, for the budgets of attempts, and what they used.
const WITH_BUDGETS: usize = 200;

/// Shows how an experiment's jobs are doing
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    /// Show every job, however many there are
    #[arg(short, long)]
    all: bool,
    /// Go on showing it until it has ended
    #[arg(short, long, conflicts_with = "json")]
    watch: bool,
    /// Print JSON (schema: `mizzen schema status`)
    #[arg(long)]
    json: bool,
}

/// Shows an experiment.
///
/// # Errors
/// There is no such experiment, or the store can't be read.
pub(crate) fn run(args: StatusArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    drive_on(&store, &id, surroundings);
    if !store.summary(&id)?.is_over() {
        let plan = store.plan_without_jobs(&id)?;
        let unsent = not_sent_lines(&store.view(&id)?.dir, surroundings);
        let connections = Connections::of(&plan).news(surroundings);
        for line in connections.into_iter().chain(unsent) {
            surroundings.output.say(&format!("mizzen: {line}"));
        }
    }
    if args.watch {
        watch(&args, &store, &id, surroundings)?;
    }
    if args.json {
        let status = ExperimentStatus::of(&store, store.view(&id)?)?;
        return Ok(Outcome::show(status, true));
    }
    Ok(Outcome::show(status(&store, &id, args.all)?, false))
}

/// Whoever looks at an experiment that lost its supervisor brings it back; where that can't be (a read-only home), looking
/// still works.
fn drive_on(store: &Store, id: &ExperimentId, surroundings: &Surroundings) {
    if let Err(error) = ensure_supervised(&surroundings.context, store, id) {
        surroundings
            .output
            .say(&format!("mizzen: nobody drives {id}: {error}"));
    }
}

/// What the store says about an experiment.
///
/// # Errors
/// The store can't be read.
pub(crate) fn status(
    store: &Store,
    id: &ExperimentId,
    all: bool,
) -> Result<ExperimentStatus, Report> {
    let mut view = store.view(id)?;
    if view.jobs.len() <= WITH_BUDGETS {
        add_usage(store, &mut view)?;
    }
    let budgets = if view.jobs.len() <= WITH_BUDGETS {
        store.plan(id).ok().map(|plan| {
            plan.jobs
                .iter()
                .map(|job| job.retries.failure + 1)
                .collect()
        })
    } else {
        None
    };
    Ok(ExperimentStatus { view, budgets, all })
}

/// Shows the experiment again whenever it changes, and every second, until it has ended. Each time takes the place of the
/// last on a terminal; the last one is left to the caller.
fn watch(
    args: &StatusArgs,
    store: &Store,
    id: &ExperimentId,
    surroundings: &Surroundings,
) -> Result<(), Report> {
    let output = &surroundings.output;
    let mut version = store.data_version()?;
    let mut lines_shown = 0;
    loop {
        drive_on(store, id, surroundings);
        let status = status(store, id, args.all)?;
        if output.data.terminal && lines_shown > 0 {
            // Up to the first line of what was shown last, and clear from there.
            output.print(&format!("\x1b[{lines_shown}A\x1b[J"))?;
        }
        if status.view.summary.is_over() {
            return Ok(());
        }
        let text = status.text(&surroundings.data_view());
        lines_shown = text.lines().count();
        output.print(&text)?;
        if !output.data.terminal {
            output.print("\n")?;
        }
        wait_for_change(
            store,
            &mut version,
            Duration::from_secs(if output.data.terminal { 1 } else { 3600 }),
        )?;
    }
}
