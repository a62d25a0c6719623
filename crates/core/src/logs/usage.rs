//! What jobs used: of attempts that have ended by their records in the store, of those that run by the samples in their folders.

use mizzen_agent::samples::UsageSummary;

use super::attempt_dir;
use crate::model::Usage;
use crate::store::{ExperimentView, Store, StoreError};

/// Fills in what each attempt of a view used, as far as it is known here.
///
/// # Errors
/// The store can't be read.
pub fn add_usage(store: &Store, view: &mut ExperimentView) -> Result<(), StoreError> {
    let mut ended = store.usage(&view.summary.id)?;
    let mut found = Vec::new();
    for (place, job) in view.jobs.iter().enumerate() {
        for (number, attempt) in job.attempts.iter().enumerate() {
            let usage = ended.remove(&(job.index, attempt.number)).or_else(|| {
                // Whoever has ended without a record has used what its last samples say.
                attempt.started?;
                let folder = attempt_dir(view, job, attempt.number);
                UsageSummary::of_running(folder.as_std_path()).map(Usage::from)
            });
            found.extend(usage.map(|usage| (place, number, Box::new(usage))));
        }
    }
    for (place, number, usage) in found {
        view.jobs[place].attempts[number].usage = Some(usage);
    }
    Ok(())
}
