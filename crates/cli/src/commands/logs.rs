//! `mizzen logs`: what jobs wrote.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use mizzen_core::logs::{self, Follower, Selection};
use mizzen_core::model::ExperimentId;
use mizzen_core::store::{ExperimentView, Store};
use mizzen_core::watch::ensure_supervised;
use regex::Regex;

use crate::attach::SUPERVISION_CHECK;
use crate::complete;
use crate::render::Outcome;
use crate::render::log_lines::LogLines;
use crate::report::{Report, Status};
use crate::select::{self, ExperimentOrLatest};
use crate::surroundings::Surroundings;

/// The longest pause between two looks at the logs.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows what jobs wrote
///
/// With one job and one rank the bytes are shown as they are; with several, each line stands behind its job's name.
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
    /// Only this attempt's [default: all of them]
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
    let single = view.jobs.len() == 1 || jobs.len() == 1;
    let mut lines = if args.json {
        LogLines::json()
    } else if args.no_prefix || single && (args.rank.is_some() || !has_ranks(&view, &jobs)) {
        LogLines::unchanged()
    } else {
        LogLines::prefixed()
    };
    let selection = Selection { jobs, rank: args.rank, attempt: args.attempt, tail: args.tail, grep: args.grep };
    if args.follow {
        follow(&store, &id, view, selection, &mut lines, surroundings)?;
    } else {
        show(&view, &selection, &mut lines, surroundings)?;
    }
    Ok(Outcome::done(Status::Succeeded))
}

fn show(
    view: &ExperimentView,
    selection: &Selection,
    lines: &mut LogLines,
    surroundings: &Surroundings,
) -> Result<(), Report> {
    let output = &surroundings.output;
    let mut buffer = Vec::new();
    let mut failed = None;
    let read = logs::read(view, selection, &mut |line| {
        lines.line(&line, &output.data, &mut buffer);
        if buffer.len() >= 1 << 16 {
            if let Err(report) = output.write(&buffer) {
                failed = Some(report);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            buffer.clear();
        }
        Ok(())
    });
    if let Some(report) = failed {
        return Err(report);
    }
    read.map_err(|error| Report::usage(format!("a log can't be read: {error}")))?;
    output.write(&buffer)
}

fn follow(
    store: &Store,
    id: &ExperimentId,
    mut view: ExperimentView,
    selection: Selection,
    lines: &mut LogLines,
    surroundings: &Surroundings,
) -> Result<(), Report> {
    let chosen = selection.jobs.clone();
    let mut follower = Follower::new(view.dir.clone(), selection);
    let mut version = store.data_version()?;
    let mut supervised = Instant::now();
    loop {
        let over = view.jobs.iter().filter(|job| chosen.is_empty() || chosen.contains(&job.index)).all(|job| job.state.is_final());
        let news = lines.pump(&mut follower, &view, &surroundings.output)?;
        if over && !news {
            return Ok(());
        }
        if over {
            continue;
        }
        lines.wait(&mut follower, None, PAUSE);
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
    let chosen = || view.jobs.iter().filter(|job| jobs.is_empty() || jobs.contains(&job.index));
    if let Some(number) = args.attempt {
        let most = chosen().filter_map(|job| job.attempts.last()).map(|attempt| attempt.number).max().unwrap_or(0);
        if number == 0 || number > most && !args.follow {
            return Err(Report::usage(format!("there is no attempt {number}; there have been {most}")));
        }
    }
    Ok(())
}

/// Whether a job has more than one rank, as far as its folder tells.
fn has_ranks(view: &ExperimentView, jobs: &[u32]) -> bool {
    view.jobs.iter().filter(|job| jobs.is_empty() || jobs.contains(&job.index)).any(|job| {
        job.attempts.iter().any(|attempt| logs::attempt_dir(view, job, attempt.number).join("rank-1.log").exists())
    })
}
