//! `mizzen logs`: what jobs wrote.

use std::time::{Duration, Instant};

use clap::Args;
use mizzen_core::logs::{self, Mirroring, Selection};
use mizzen_core::model::{ExperimentId, JobState};
use mizzen_core::store::{ExperimentView, JobView, Store};
use mizzen_core::watch::ensure_supervised;
use regex::bytes::Regex;

use crate::attach::{SUPERVISION_CHECK, rest};
use crate::complete;
use crate::render::Outcome;
use crate::render::experiment::failure_of;
use crate::render::log_lines::{Following, Form, LogLines};
use crate::render::text::printable;
use crate::report::{Report, Status};
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// The longest pause between two looks at the logs.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows what jobs wrote
///
/// With one job and one rank the bytes are shown as they are; with several, each line stands behind its job's name. A line that
/// several ranks of a job wrote close together is shown once, behind the numbers of all of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen logs                     the newest experiment's
  mizzen logs -f iris train       all jobs of the task train, as they are written
  mizzen logs k3f9 --grep 'loss=' --tail 5")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    experiment: ExperimentOrLatest,
    /// The jobs, by name; a task or a group stands for all of its jobs [default: all]
    #[arg(value_name = "JOB", add = complete::jobs())]
    jobs: Vec<String>,
    /// Go on showing what is written until the jobs have ended
    #[arg(short, long)]
    follow: bool,
    /// Only this rank's
    #[arg(short, long, value_name = "RANK")]
    rank: Option<u32>,
    /// Only this attempt's [default: the last one]
    #[arg(short, long, value_name = "N")]
    attempt: Option<u32>,
    /// Only lines that match this regular expression
    #[arg(short, long, value_name = "RE", value_parser = expression)]
    grep: Option<Regex>,
    /// Only the last lines of each log
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// Lines as they are, without the job's name
    #[arg(long)]
    no_prefix: bool,
    /// Show what several ranks wrote alike once for each of them
    #[arg(long)]
    no_fold: bool,
    /// Print each line as a JSON object (schema: `mizzen schema logs`)
    #[arg(long, conflicts_with = "no_prefix")]
    json: bool,
}

fn expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

/// Shows logs.
///
/// # Errors
/// There is no such experiment, job, rank or attempt, or a log can't be read.
pub(crate) fn run(args: LogsArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let view = store.view(&id)?;
    let jobs = select::jobs(&view, &args.jobs)?;
    check(&args, &view, &jobs)?;
    let form = match (
        args.json,
        args.no_prefix,
        view.jobs.len() == 1 || jobs.len() == 1,
    ) {
        (true, ..) => Form::Json,
        (_, true, _) => Form::Bare,
        (_, _, true) => Form::Unchanged,
        (_, _, false) => Form::Named,
    };
    let selection = Selection {
        jobs,
        rank: args.rank,
        attempt: args.attempt,
        tail: args.tail,
        grep: args.grep,
    };
    let fold = form.can_fold() && !args.no_fold && args.rank.is_none();
    if args.follow {
        let chosen = selection.jobs.clone();
        let view = follow(&store, &id, view, selection, form, fold, surroundings)?;
        tell_failures(&view, &chosen, form, surroundings);
        return Ok(Outcome::done(Status::Succeeded));
    }
    bring(&store, &id, &view, &selection.jobs, surroundings)?;
    let lines = LogLines::of_jobs(form, &view, &selection.jobs);
    let output = &surroundings.output;
    let read = if fold {
        let mut lines = lines.with_room_for_ranks(&view, &selection.jobs);
        lines.show_folded(output, |sink| logs::read_folded(&view, &selection, sink))?
    } else {
        let mut lines = lines;
        lines.show(output, |sink| logs::read(&view, &selection, sink))?
    };
    if read == 0 {
        surroundings
            .output
            .say(&format!("{id}: nothing has been written yet"));
        if !view.summary.is_over() {
            surroundings
                .output
                .hint(&format!("`mizzen logs -f {id}` waits for it"));
        }
    }
    tell_failures(&view, &selection.jobs, form, surroundings);
    Ok(Outcome::done(Status::Succeeded))
}

/// The reasons of at most so many failures are told.
const REASONS: usize = 3;

/// Why the chosen jobs failed, where it was found out: the reason may stand far above, or in another rank's log.
fn tell_failures(view: &ExperimentView, chosen: &[u32], form: Form, surroundings: &Surroundings) {
    if form == Form::Json {
        return;
    }
    let jobs = view
        .jobs
        .iter()
        .filter(|job| job.state == JobState::Failed)
        .filter(|job| chosen.is_empty() || chosen.contains(&job.index));
    let failures = jobs.filter_map(|job| {
        let failure = failure_of(job.attempts.last()?)?;
        failure.reason.as_ref()?;
        Some((job, failure))
    });
    for (job, failure) in failures.take(REASONS) {
        let words = printable(failure.words.as_deref().unwrap_or_default());
        surroundings
            .output
            .say(&format!("mizzen: {} failed: {words}", job.name));
        if let Some(hint) = failure.hint {
            surroundings.output.hint(&printable(&hint));
        }
    }
}

/// Brings here what the jobs have written elsewhere, unless all of it is here.
fn bring(
    store: &Store,
    id: &ExperimentId,
    view: &ExperimentView,
    chosen: &[u32],
    surroundings: &Surroundings,
) -> Result<(), Report> {
    let wanted = logs::may_be_incomplete(view, chosen);
    if !wanted.is_empty() {
        let plan = store.plan_without_jobs(id)?;
        for words in logs::fetch(&surroundings.context, &plan, view, &wanted) {
            surroundings.output.say(&format!("mizzen: {words}"));
        }
    }
    Ok(())
}

/// Shows what is written until the jobs have ended; answers with what the experiment was then.
fn follow(
    store: &Store,
    id: &ExperimentId,
    mut view: ExperimentView,
    selection: Selection,
    form: Form,
    fold: bool,
    surroundings: &Surroundings,
) -> Result<ExperimentView, Report> {
    let output = &surroundings.output;
    let chosen = selection.jobs.clone();
    let plan = store.plan_without_jobs(id)?;
    let mirroring = Mirroring::start(&surroundings.context, plan, &view, &chosen);
    let mut following = Following::new(&view, selection, form, mirroring);
    if fold {
        following = following.folded(&view, &chosen);
    }
    let mut version = store.data_version()?;
    let mut supervised = Instant::now();
    loop {
        following.pump(&view, output)?;
        let is_chosen = |job: &&JobView| chosen.is_empty() || chosen.contains(&job.index);
        if view
            .jobs
            .iter()
            .filter(is_chosen)
            .all(|job| job.state.is_final())
            || view.summary.is_over()
        {
            following.finish(&view, output)?;
            return Ok(view);
        }
        rest(following.descriptor(), PAUSE);
        following.seen();
        let now = store.data_version()?;
        if now != version {
            version = now;
            view = store.view(id)?;
        }
        if supervised.elapsed() >= SUPERVISION_CHECK {
            supervised = Instant::now();
            ensure_supervised(&surroundings.context, store, id)?;
        }
    }
}

/// A rank or an attempt that is not there is a mistake, not an empty log.
fn check(args: &LogsArgs, view: &ExperimentView, jobs: &[u32]) -> Result<(), Report> {
    let chosen = || {
        view.jobs
            .iter()
            .filter(|job| jobs.is_empty() || jobs.contains(&job.index))
    };
    if let Some(number) = args.attempt {
        let most = chosen()
            .filter_map(|job| job.attempts.last())
            .map(|attempt| attempt.number)
            .max()
            .unwrap_or(0);
        if number == 0 || number > most && !args.follow {
            return Err(Report::usage(format!(
                "there is no attempt {number}; there have been {most}"
            )));
        }
    }
    Ok(())
}
