//! `mizzen wait`: until an experiment has ended.

use std::time::{Duration, Instant};

use clap::Args;
use mizzen_core::watch::ensure_supervised;

use crate::attach::{SUPERVISION_CHECK, outcome_status, wait_for_change};
use crate::render::experiment::ExperimentStatus;
use crate::render::time::{duration, parse_duration};
use crate::render::{Outcome, experiment};
use crate::report::{Report, Status};
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// Waits until an experiment has ended; exits with 0 if all of its jobs succeeded
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    /// Give up after this time, such as 90s or 2h, with exit status 124; the experiment goes on
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<f64>,
    /// Print the final status as JSON (schema: `mizzen schema status`)
    #[arg(long)]
    json: bool,
}

/// Waits for an experiment.
///
/// # Errors
/// There is no such experiment, the store can't be read, or the time ran out.
pub(crate) fn run(args: WaitArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let began = Instant::now();
    let mut version = store.data_version()?;
    let mut supervised: Option<Instant> = None;
    loop {
        let summary = store.summary(&id)?;
        let state = summary.state;
        if summary.is_over() {
            break;
        }
        let waited = began.elapsed().as_secs_f64();
        let left = args
            .timeout
            .map_or(f64::INFINITY, |timeout| timeout - waited);
        if left <= 0.0 {
            return Err(
                Report::usage(format!("{id} is still {state} after {}", duration(waited)))
                    .with_status(Status::StillRunning)
                    .hint(format!(
                        "it goes on; `mizzen status {id}` shows it, `mizzen cancel {id}` ends it"
                    )),
            );
        }
        if supervised.is_none_or(|checked| checked.elapsed() >= SUPERVISION_CHECK) {
            supervised = Some(Instant::now());
            ensure_supervised(&surroundings.context, &store, &id)?;
        }
        let pause = SUPERVISION_CHECK.min(Duration::from_secs_f64(left.min(60.0)));
        wait_for_change(&store, &mut version, pause)?;
    }
    let view = store.view(&id)?;
    let status = outcome_status(&view);
    if args.json {
        return Ok(Outcome::show(ExperimentStatus::of(&store, view)?, true).with_status(status));
    }
    surroundings.output.say(&experiment::header(
        &view,
        &surroundings.output.talk,
        surroundings.now(),
    ));
    Ok(Outcome::done(status))
}
