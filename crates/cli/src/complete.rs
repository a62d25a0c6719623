//! Shell completions: `COMPLETE=bash mizzen …` answers the shell with what may come next, from the store where that
//! knows it (experiments, jobs) and from the configuration (executors).
//!
//! A completion must never fail, write or wait: whatever can't be read quietly completes to nothing.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use mizzen_core::model::JobState;
use mizzen_core::store::{Filter, Store};

use crate::cli::Cli;
use crate::prepare;
use crate::render::time::ago;
use crate::surroundings;

/// At most so many experiments are offered.
const OFFERED: u32 = 100;

/// Answers the shell.
pub(crate) fn answer(shell: &OsStr, words: Vec<OsString>) -> ExitCode {
    let _ = shell;
    let here = std::path::Path::new(".");
    match CompleteEnv::with_factory(Cli::command).try_complete(words, Some(here)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Experiments: ids with titles, and titles.
pub(crate) fn experiments() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        let Some(store) = store() else {
            return Vec::new();
        };
        let filter = Filter {
            limit: Some(OFFERED),
            ..Filter::default()
        };
        let now = surroundings::now();
        let mut found = Vec::new();
        let mut titles: Vec<String> = Vec::new();
        if "latest".starts_with(&*typed) {
            found.push(
                CompletionCandidate::new("latest").help(Some("the newest experiment".into())),
            );
        }
        for experiment in store.experiments(&filter).unwrap_or_default() {
            let about = format!(
                "{} {}, {}",
                experiment.title,
                experiment.state,
                ago(experiment.created, now)
            );
            if experiment.id.as_str().starts_with(&*typed) {
                found.push(
                    CompletionCandidate::new(experiment.id.as_str())
                        .help(Some(about.clone().into())),
                );
            }
            if experiment.title.starts_with(&*typed) && !titles.contains(&experiment.title) {
                titles.push(experiment.title.clone());
                let help = format!(
                    "newest: {}, {}",
                    experiment.state,
                    ago(experiment.created, now)
                );
                found.push(CompletionCandidate::new(experiment.title).help(Some(help.into())));
            }
        }
        found
    })
}

/// Jobs of the experiment that stands on the line, else of the newest.
pub(crate) fn jobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        let Some(store) = store() else {
            return Vec::new();
        };
        let named = experiment_on_the_line(&store);
        let Some(view) = named.and_then(|id| store.view(&id).ok()) else {
            return Vec::new();
        };
        let fitting = view.jobs.iter().filter(|job| job.name.starts_with(&*typed));
        fitting
            .map(|job| CompletionCandidate::new(&job.name).help(Some(job.state.to_string().into())))
            .collect()
    })
}

/// Configured executors and the kinds that need no settings.
pub(crate) fn executors() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(home) = surroundings::home_for_completion() else {
            return Vec::new();
        };
        let Ok(workdir) = surroundings::working_directory() else {
            return Vec::new();
        };
        prepare::executor_names(&home, &workdir)
            .into_iter()
            .map(|(name, kind)| CompletionCandidate::new(name).help(Some(kind.into())))
            .collect()
    })
}

/// The states.
pub(crate) fn states() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        JobState::ALL
            .iter()
            .map(|state| CompletionCandidate::new(state.as_str()))
            .collect()
    })
}

fn store() -> Option<Store> {
    Store::open_existing(&surroundings::home_for_completion()?)
        .ok()
        .flatten()
}

/// The first word on the line being completed, behind the command's name, that names an experiment.
fn experiment_on_the_line(store: &Store) -> Option<mizzen_core::model::ExperimentId> {
    let words: Vec<String> = std::env::args_os()
        .skip_while(|word| word != "--")
        .skip(3)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let named = words
        .iter()
        .filter(|word| !word.is_empty() && !word.starts_with('-'));
    named
        .into_iter()
        .find_map(|word| store.resolve(word).ok())
        .or_else(|| store.resolve("latest").ok())
}
