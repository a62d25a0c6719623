//! One look at all jobs: the queue, then the folders of those of which it says too little.

use std::collections::HashMap;

use super::super::queue::{self, Row};
use super::super::words::{End, Word, meaning, reason};
use super::folders::Found;
use super::{SlurmScheduler, Watched};
use crate::executor::{Observation, ObserveError, Observed, Scheduler as _};
use crate::model::{Handle, Timestamp};

/// An expected start is told to this many seconds.
const START_STEP: i64 = 600;

/// A job on its way through one look.
pub(super) struct Open {
    pub(super) handle: Handle,
    pub(super) job: Watched,
    pub(super) row: Option<Row>,
    pub(super) told: Option<Observed>,
    pub(super) unknown: Vec<u32>,
    pub(super) ended: Option<End>,
    pub(super) looks: bool,
    /// A job has its number, and no sign of whose it is.
    pub(super) unsigned: bool,
}

impl SlurmScheduler {
    /// What is seen of jobs, as [`crate::executor::Scheduler::observe`].
    pub(super) async fn look(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError> {
        let now = self.context.clock.now();
        let jobs: Vec<(Handle, Watched)> = {
            let state = self.lock();
            handles
                .iter()
                .filter_map(|handle| Some((handle.clone(), state.jobs.get(handle)?.clone())))
                .collect()
        };
        let newest = jobs
            .iter()
            .map(|(_, job)| job.since)
            .max()
            .unwrap_or(Timestamp(0));
        // What was asked within this tick is good for all, unless a job came since then.
        let tick = now.plus_seconds(-0.8 * self.pace());
        let since = tick.max(newest.min(now));
        let seen = self
            .shared
            .get(&self.context, self.tunnel.as_ref(), since)
            .await?;
        self.lock().pace = seen.pace();
        let rows: HashMap<&str, &Row> =
            seen.rows.iter().map(|row| (row.id.as_str(), row)).collect();

        // First what the queue says; then, for those of which it says too little, their folders, all at once.
        let mut observations = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (handle, mut job) in jobs {
            let any = rows.get(job.id.as_str()).copied();
            let row = any.filter(|row| job.is_mine(row));
            let unsigned = any.is_some_and(|row| {
                row.key().is_none() && !matches!(meaning(&row.state), Some(Word::Ended(_)))
            });
            if let Some(key) = row.and_then(Row::key) {
                job.shown.get_or_insert_with(|| key.to_owned());
            }
            let restarts = row.map_or(0, |row| row.restarts);
            let told = row.and_then(|row| SlurmScheduler::told(&job, row));
            if matches!(told, Some(Observed::Pending(_))) {
                job.waited = Some(seen.asked);
            }
            // While its last run is being cleaned up, that run's record may still be on its way.
            let cleaned = row.is_some_and(|row| meaning(&row.state) != Some(Word::Ending));
            let unknown: Vec<u32> = (0..restarts)
                .filter(|restart| cleaned && !job.restarts.contains_key(restart))
                .collect();
            let ended = row.and_then(|row| match meaning(&row.state) {
                Some(Word::Ended(end)) => Some(end),
                _ => None,
            });
            if row.is_none() && job.since > seen.asked {
                continue;
            }
            for restart in &unknown {
                for folder in job.attempt_dirs(*restart) {
                    wanted.push((job.directory.clone(), folder));
                }
            }
            let ending = row.is_some_and(|row| meaning(&row.state) == Some(Word::Ending));
            let looks = told.is_none() || ending;
            if looks {
                let last = if row.is_some() {
                    restarts
                } else {
                    job.restarts.keys().max().map_or(0, |last| last + 1)
                };
                for folder in job.attempt_dirs(last) {
                    wanted.push((job.directory.clone(), folder));
                }
                if row.is_none() {
                    for folder in job.attempt_dirs(last + 1) {
                        wanted.push((job.directory.clone(), folder));
                    }
                }
            } else {
                job.missing = None;
            }
            if let Some(row) = row.filter(|row| !row.nodes.is_empty() && unknown.is_empty()) {
                job.nodes.clone_from(&row.nodes);
            }
            open.push(Open {
                handle,
                job,
                row: row.cloned(),
                told,
                unknown,
                ended,
                looks,
                unsigned,
            });
        }
        let mut found = self.folders(&wanted).await?.into_iter();
        let gone: Vec<&str> = open
            .iter()
            .filter(|one| one.row.is_none() || !one.unknown.is_empty())
            .map(|one| one.job.id.as_str())
            .collect();
        // Many sites have no accounting, and where it is slow the rest must not wait for it.
        let (accounting, asked) = match self.accounting(&gone).await {
            Ok(rows) => (rows, true),
            Err(_) => (HashMap::new(), false),
        };
        let remembers = self.remembers(&open).await;
        for mut one in open {
            // A number may have been another job's; where the accounting keeps no comments nobody can tell.
            let runs: Option<Vec<Row>> = accounting.get(&one.job.id).map(|rows| {
                let mine = |row: &&Row| row.key().is_none() || one.job.is_mine(row);
                rows.iter().filter(mine).cloned().collect()
            });
            let runs = runs.as_ref();
            let members = one.job.folders.len();
            for restart in std::mem::take(&mut one.unknown) {
                let found: Vec<Found> = found.by_ref().take(members).collect();
                let ends = self.end_of_run(&one.job, restart, found, runs).await;
                one.job.restarts.insert(restart, ends);
            }
            let folders: Vec<Found> = match one.looks {
                true => found.by_ref().take(members).collect(),
                false => Vec::new(),
            };
            // It was restarted while nobody looked, and is forgotten already: the next look is for the run after this one.
            let mut went_on = false;
            if one.looks && one.row.is_none() {
                let next: Vec<Found> = found.by_ref().take(members).collect();
                let begun = |one_found: &Found| one_found.claim.as_ref() == Some(&one.job.id);
                went_on = next.iter().any(begun);
            }
            if went_on {
                let restart = one.job.restarts.keys().max().map_or(0, |last| last + 1);
                let ends = self
                    .end_of_run(&one.job, restart, folders.clone(), runs)
                    .await;
                one.job.restarts.insert(restart, ends);
                one.job.missing = None;
            }
            for (restart, ends) in &one.job.restarts {
                observations.push(Observation {
                    handle: one.handle.clone(),
                    observed: Observed::Restarted {
                        count: restart + 1,
                        ends: ends.clone(),
                        free: self.free_restarts,
                    },
                });
            }
            let observed = match one.told.take() {
                Some(told) => match one.ended_by_itself(&folders, now) {
                    Some(ends) => Some(Observed::Ended(ends)),
                    None => Some(told),
                },
                None if went_on => None,
                None => {
                    let never_began = one.never_began(now, remembers);
                    self.conclude(&mut one, folders, runs, asked, never_began)
                        .await
                }
            };
            if let Some(observed) = observed {
                // A short job was never seen to run: where it did is told with its end.
                if let (Observed::Ended(ends), Some(row)) = (&observed, &one.row)
                    && let Some(record) = ends.iter().find_map(|end| end.record.as_ref())
                {
                    observations.push(Observation {
                        handle: one.handle.clone(),
                        observed: Observed::Running {
                            nodes: queue::nodes(&row.nodes),
                            since: Timestamp(record.started),
                        },
                    });
                }
                observations.push(Observation {
                    handle: one.handle.clone(),
                    observed,
                });
            }
            let mut state = self.lock();
            if let Some(known) = state.jobs.get_mut(&one.handle) {
                // What was said to it meanwhile.
                one.job.cancelled |= known.cancelled;
                one.job.since = one.job.since.max(known.since);
                *known = one.job;
            }
        }
        Ok(observations)
    }

    /// What a job's row says while it has not ended; `None` if it has.
    fn told(job: &Watched, row: &Row) -> Option<Observed> {
        match meaning(&row.state) {
            Some(Word::Waiting) => {
                let mut words = match row.state.as_str() {
                    "PENDING" => reason(&row.reason),
                    other => format!("{other}: {}", reason(&row.reason)),
                };
                if let Some(start) = queue::time(&row.start) {
                    words.push_str(&format!("; starts about {}", rounded(start)));
                }
                Some(Observed::Pending(words))
            }
            Some(Word::Running) => Some(Observed::Running {
                nodes: queue::nodes(&row.nodes),
                since: queue::time(&row.start).unwrap_or(job.since),
            }),
            // Nothing new until it has ended.
            Some(Word::Ending) => Some(Observed::Running {
                nodes: queue::nodes(&row.nodes),
                since: queue::time(&row.start).unwrap_or(job.since),
            }),
            Some(Word::Ended(_)) => None,
            None => Some(Observed::Unknown(format!("Slurm says {}", row.state))),
        }
    }
}

/// A time to the next ten minutes, for people: it changes with every look of the scheduler.
fn rounded(time: Timestamp) -> String {
    let step = START_STEP * 1_000_000;
    let rounded = Timestamp((time.0 + step - 1) / step * step);
    let text = rounded.to_text();
    format!("{} UTC", text[..text.len().min(16)].replace('T', " "))
}
