//! From what the user typed to an experiment and its jobs.

use mizzen_core::model::ExperimentId;
use mizzen_core::store::{ExperimentView, JobView};
use mizzen_core::store::{ResolveError, Store, StoreError};
use mizzen_core::submit::SubmitError;
use mizzen_core::watch::WatchError;

use crate::complete;
use crate::report::Report;
use crate::surroundings::Surroundings;

/// An experiment that need not be named.
#[derive(Debug, clap::Args)]
pub(crate) struct ExperimentOrLatest {
    /// The experiment: its id, the beginning of it, its title, or `latest`
    #[arg(value_name = "EXPERIMENT", default_value = "latest", hide_default_value = false, add = complete::experiments())]
    pub(crate) experiment: String,
}

/// An experiment that must be named.
#[derive(Debug, clap::Args)]
pub(crate) struct ExperimentArg {
    /// The experiment: its id, the beginning of it, its title, or `latest`
    #[arg(value_name = "EXPERIMENT", add = complete::experiments())]
    pub(crate) experiment: String,
}

/// The database, for a command that needs an experiment to be there.
///
/// # Errors
/// There is none yet, or it can't be opened.
pub(crate) fn open(surroundings: &Surroundings) -> Result<Store, Report> {
    let home = &surroundings.context.home;
    Store::open_existing(home)?.ok_or_else(|| {
        Report::usage(format!("there is no experiment yet in {home}"))
            .hint("`mizzen run -- COMMAND` and `mizzen launch FILE` start one; `--home` names another home")
    })
}

/// The experiment that a word names.
///
/// # Errors
/// None has this name, or several begin so.
pub(crate) fn experiment(store: &Store, text: &str) -> Result<ExperimentId, Report> {
    store.resolve(text).map_err(|error| match error {
        ResolveError::Store(error) => error.into(),
        ResolveError::Ambiguous { .. } => Report::usage(error.to_string()).hint("type more of the id"),
        ResolveError::None { ref text, ref similar } => {
            let report = Report::usage(error.to_string());
            if let Some(similar) = similar.first() {
                report.hint(format!("did you mean `{similar}`?"))
            } else if job_of_latest(store, text) {
                report.hint(format!("`{text}` is a job of the newest experiment: name that first, as in `latest {text}`"))
            } else {
                report.hint("`mizzen ls` lists experiments")
            }
        }
    })
}

fn job_of_latest(store: &Store, name: &str) -> bool {
    let latest = store
        .resolve("latest")
        .ok()
        .and_then(|id| store.view(&id).ok());
    latest.is_some_and(|view| {
        view.jobs
            .iter()
            .any(|job| job.name == name || *job.task == *name)
    })
}

/// The numbers of the jobs that words name: a job, all jobs of a task, all jobs of a group. No word: no number, which
/// stands for all jobs.
///
/// # Errors
/// A word names nothing.
pub(crate) fn jobs(view: &ExperimentView, names: &[String]) -> Result<Vec<u32>, Report> {
    let mut chosen = Vec::new();
    for name in names {
        let by = |fits: &dyn Fn(&JobView) -> bool| -> Vec<u32> {
            view.jobs
                .iter()
                .filter(|job| fits(job))
                .map(|job| job.index)
                .collect()
        };
        let mut found = by(&|job| job.name == *name);
        if found.is_empty() {
            found = by(&|job| *job.task == **name || job.group.as_deref() == Some(name.as_str()));
        }
        if found.is_empty() {
            return Err(no_job(view, name));
        }
        chosen.extend(found);
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

fn no_job(view: &ExperimentView, name: &str) -> Report {
    let summary = &view.summary;
    let report = Report::usage(format!(
        "the experiment {} ({}) has no job `{name}`",
        summary.id, summary.title
    ));
    let similar = view
        .jobs
        .iter()
        .map(|job| (strsim::jaro_winkler(&job.name, name), &job.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match similar {
        Some((_, similar)) => report.hint(format!("did you mean `{similar}`?")),
        None => report.hint(format!("`mizzen status {}` lists its jobs", summary.id)),
    }
}

impl From<StoreError> for Report {
    fn from(error: StoreError) -> Report {
        let report = Report::usage(error.to_string());
        match error.hint() {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }
}

impl From<SubmitError> for Report {
    fn from(error: SubmitError) -> Report {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Tunnel(error) => crate::reach::report(error),
            SubmitError::Running(ref id) => {
                Report::usage(error.to_string()).hint(format!("`mizzen cancel {id}` ends it"))
            }
            SubmitError::NothingToRetry(ref id) => {
                Report::usage(format!("nothing to run again: {error}")).hint(format!(
                    "`mizzen retry {id} JOB` runs a job again that succeeded"
                ))
            }
            SubmitError::Imported { ref id, .. } => Report::usage(error.to_string()).hint(format!(
                "`mizzen show {id}` says where it came from, `mizzen rm {id}` removes it here"
            )),
            SubmitError::Files(ref cause) => {
                let report = Report::usage(error.to_string());
                match cause.kind() {
                    std::io::ErrorKind::StorageFull => {
                        report.hint("free some space, or set MIZZEN_HOME to another disk")
                    }
                    _ => report,
                }
            }
            SubmitError::NotRepeatable { .. }
            | SubmitError::Pack(_)
            | SubmitError::Executor(_)
            | SubmitError::Render(_) => Report::usage(error.to_string()),
        }
    }
}

impl From<WatchError> for Report {
    fn from(error: WatchError) -> Report {
        match error {
            WatchError::Store(error) => error.into(),
            other => Report::usage(other.to_string()),
        }
    }
}
