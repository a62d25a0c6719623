//! `mizzen get`: a file or folder of an experiment, from where its job runs.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use clap::Args;
use mizzen_core::executor;
use mizzen_core::plan::Plan;
use mizzen_core::store::ExperimentView;
use mizzen_core::tunnel::{TunnelError, TunnelSettings};

use crate::complete;
use crate::reach::{login, report};
use crate::render::Outcome;
use crate::report::{Report, Status};
use crate::select::{self, ExperimentArg};
use crate::surroundings::Surroundings;

/// Copies a file or folder of an experiment from where its job runs
///
/// The path of the copy goes to standard output. A file that is there already is replaced, a folder is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mizzen get iris train/checkpoints            into ./checkpoints
  mizzen get iris train/metrics.json /tmp      into /tmp/metrics.json")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    experiment: ExperimentArg,
    /// What to copy: JOB/PATH, with a path in the job's folder, or a path in the experiment's folder
    #[arg(value_name = "PATH", add = complete::jobs())]
    path: Utf8PathBuf,
    /// The copy, or the folder for it [default: the working directory]
    #[arg(value_name = "DEST", value_hint = clap::ValueHint::AnyPath)]
    dest: Option<Utf8PathBuf>,
}

/// Copies a file or folder.
///
/// # Errors
/// There is no such experiment or file, the place can't be reached, or the copy can't be written.
pub(crate) fn run(args: GetArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let (context, output) = (&surroundings.context, &surroundings.output);
    let store = select::open(surroundings)?;
    let id = select::experiment(&store, &args.experiment.experiment)?;
    let view = store.view(&id)?;
    let path = inner(&args.path)?;
    let name = path.file_name().unwrap_or_default();
    let dest = args.dest.unwrap_or_default();
    // `dest/` is a folder even before it is there.
    let mut here = context.workdir.join(&dest);
    if dest.as_str().ends_with('/') || here.is_dir() {
        here.push(name);
    }
    if here.is_dir() {
        return Err(
            Report::usage(format!("{here} is there already; nothing was copied"))
                .hint("remove it first, or name another DEST"),
        );
    }
    let mut places = places(&store.plan_without_jobs(&id)?, &view, &path)?;
    if places.is_empty() {
        places.push((TunnelSettings::default(), view.dir.clone()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::usage(format!("can't begin: {error}")))?;
    let get = async {
        let relay = |words: &[u8]| output.relay(words);
        let mut failed = None;
        for (settings, folder) in places {
            let got = match settings.login(context, login(output), &relay).await {
                Ok(()) => settings.open(context).get(&folder.join(&path), &here).await,
                Err(error) => Err(error),
            };
            match got {
                Ok(()) => return Ok(()),
                Err(error @ TunnelError::Here(_)) => return Err(error),
                // It may be at another machine of the job's. One that could not be asked may be the one that has it.
                Err(error) => match failed {
                    None | Some(TunnelError::Path { .. }) => failed = Some(error),
                    Some(_) => {}
                },
            }
        }
        failed.map_or(Ok(()), Err)
    };
    runtime.block_on(get).map_err(|error| match error {
        TunnelError::Path { .. } => Report::usage(error.to_string()),
        error => report(error),
    })?;
    output.print(&format!("{here}\n"))?;
    Ok(Outcome::done(Status::Succeeded))
}

/// The path without `.`, if it stays in the experiment's folder.
fn inner(path: &Utf8Path) -> Result<Utf8PathBuf, Report> {
    let mut inner = Utf8PathBuf::new();
    for part in path.components() {
        match part {
            Utf8Component::Normal(name) => inner.push(name),
            Utf8Component::CurDir => {}
            _ => {
                return Err(Report::usage(format!(
                    "{path}: only a path in the experiment's folder can be copied"
                ))
                .hint("begin with the job's name, as in `train/checkpoints`"));
            }
        }
    }
    if inner.as_str().is_empty() {
        return Err(Report::usage("the path is empty"));
    }
    Ok(inner)
}

/// The ways to the machines of a path's job and the experiment's folder at each; of a path that is no job's, where all jobs run.
/// None: here.
fn places(
    plan: &Plan,
    view: &ExperimentView,
    path: &Utf8Path,
) -> Result<Vec<(TunnelSettings, Utf8PathBuf)>, Report> {
    let job = view.jobs.iter().find(|job| path.starts_with(&job.name));
    let mut places = Vec::new();
    for (name, config) in &plan.executors {
        if job.is_some_and(|job| *job.executor != **name) {
            continue;
        }
        let executor =
            executor::build(name, config).map_err(|error| Report::usage(error.to_string()))?;
        let folders = executor.experiment_dirs(&view.dir);
        let machines = executor.tunnels().into_iter().cloned().zip(folders);
        let place: Vec<_> = machines.filter(|(_, folder)| *folder != view.dir).collect();
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(if places.len() == 1 {
        places.remove(0)
    } else {
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_experiments_folder() {
        assert_eq!(inner("./train//a.txt".into()).unwrap(), "train/a.txt");
        for wrong in ["/etc/passwd", "../other", "train/../../other", "", "."] {
            assert!(inner(wrong.into()).is_err(), "{wrong}");
        }
    }
}
