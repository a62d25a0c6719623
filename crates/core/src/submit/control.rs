//! What the user asks of an experiment after it was created.

use mizzen_agent::protocol::Identity;

use super::SubmitError;
use crate::context::Context;
use crate::model::{CancelMode, Cause, EventKind, ExperimentId, JobState};
use crate::plan::Plan;
use crate::store::{Store, lease_name};

/// Asks whoever drives the experiment to end jobs: all of them if `jobs` is empty. Returns before they have ended.
///
/// # Errors
/// There is no such experiment, it is imported history, or the store can't be written.
pub fn cancel(
    context: &Context,
    store: &mut Store,
    id: &ExperimentId,
    jobs: &[u32],
    mode: CancelMode,
) -> Result<(), SubmitError> {
    refuse_history(store, id)?;
    let request = EventKind::CancelRequested {
        jobs: jobs.to_vec(),
        mode,
    };
    store.request(id, context.clock.now(), &request)?;
    poke(context, store, id)?;
    Ok(())
}

/// What was imported can't be driven.
fn refuse_history(store: &Store, id: &ExperimentId) -> Result<(), SubmitError> {
    match store.imported(id)? {
        Some(from) => Err(SubmitError::Imported {
            id: id.clone(),
            from,
        }),
        None => Ok(()),
    }
}

/// Wakes whoever drives the experiment, if it runs on this machine; elsewhere it looks by itself twice a second.
fn poke(context: &Context, store: &Store, id: &ExperimentId) -> Result<(), SubmitError> {
    let holder = store.lease(&lease_name(id))?.and_then(|lease| lease.holder);
    let here = holder
        .filter(|holder: &Identity| holder.host == context.host && holder.is_alive() == Some(true));
    if let Some(holder) = here {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(holder.pid),
            nix::sys::signal::Signal::SIGUSR1,
        );
    }
    Ok(())
}

/// Makes jobs run again that did not succeed (all such if `jobs` is empty), and those after them that were not started
/// because of them. Answers with the jobs' numbers. The experiment needs a supervisor afterwards.
///
/// # Errors
/// None of the jobs can be tried again, the experiment is imported history, or the store can't be written.
pub fn retry(
    context: &Context,
    store: &mut Store,
    id: &ExperimentId,
    jobs: &[u32],
) -> Result<Vec<u32>, SubmitError> {
    refuse_history(store, id)?;
    let number = store.number(id)?;
    let plan = store.plan_without_jobs(id)?;
    let rows = store.job_rows(number)?;
    let failed = |job: &u32| {
        let row = &rows[*job as usize];
        matches!(row.state, JobState::Failed | JobState::Cancelled)
            && row.cause != Some(Cause::NotNeeded)
    };
    let mut chosen: Vec<u32> = if jobs.is_empty() {
        (0..rows.len() as u32).filter(failed).collect()
    } else {
        jobs.iter()
            .copied()
            .filter(|job| (*job as usize) < rows.len() && rows[*job as usize].state.is_final())
            .collect()
    };
    if chosen.is_empty() {
        return Err(SubmitError::NothingToRetry(id.clone()));
    }
    add_followers(&plan, &rows, &mut chosen);
    chosen.sort_unstable();
    chosen.dedup();
    let now = context.clock.now();
    store.reset(id, &chosen, now)?;
    poke(context, store, id)?;
    Ok(chosen)
}

/// Adds the members of chosen jobs' groups, and the jobs that were skipped because of what is to run again.
fn add_followers(plan: &Plan, rows: &[crate::store::JobRow], chosen: &mut Vec<u32>) {
    for group in &plan.groups {
        if group.jobs.iter().any(|job| chosen.contains(job)) {
            chosen.extend(group.jobs.iter().copied());
        }
    }
    let task_of = |job: u32| {
        plan.tasks
            .iter()
            .position(|task| (task.first_job..task.first_job + task.jobs).contains(&job))
    };
    let mut again: Vec<bool> = vec![false; plan.tasks.len()];
    for job in chosen.iter() {
        if let Some(task) = task_of(*job) {
            again[task] = true;
        }
    }
    loop {
        let mut grown = false;
        for (number, task) in plan.tasks.iter().enumerate() {
            if again[number]
                || !task
                    .after
                    .iter()
                    .any(|dependency| again[dependency.task as usize])
            {
                continue;
            }
            let skipped: Vec<u32> = (task.first_job..task.first_job + task.jobs)
                .filter(|job| {
                    let cause = rows[*job as usize].cause;
                    rows[*job as usize].attempts == 0
                        && matches!(
                            cause,
                            Some(Cause::UpstreamFailed | Cause::Cancelled | Cause::NotNeeded)
                        )
                })
                .collect();
            if !skipped.is_empty() {
                chosen.extend(skipped);
                again[number] = true;
                grown = true;
            }
        }
        if !grown {
            return;
        }
    }
}

/// Removes an experiment: its rows and its folder.
///
/// # Errors
/// It still runs, or can't be removed.
pub fn remove(context: &Context, store: &mut Store, id: &ExperimentId) -> Result<(), SubmitError> {
    let summary = store.summary(id)?;
    let live = store
        .lease(&lease_name(id))?
        .is_some_and(|lease| lease.is_live(context.clock.now()));
    let active = summary.counts.of(JobState::Running) + summary.counts.of(JobState::Submitted) > 0;
    if live || (active && !summary.state.is_final()) {
        return Err(SubmitError::Running(id.clone()));
    }
    let dir = context.experiment_dir(&summary.title, id);
    // The folder goes first: cut in between, the experiment can still be named and removed again.
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(SubmitError::Files(std::io::Error::new(
                error.kind(),
                format!("can't remove {dir}: {error}"),
            )));
        }
        _ => {}
    }
    if let Some(title) = dir.parent() {
        // Only if it was the title's last experiment.
        let _ = std::fs::remove_dir(title);
    }
    store.delete_experiment(id)?;
    Ok(())
}
