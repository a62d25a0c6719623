//! What was submitted before this process was there: running, ended, or unknown to its place.

use std::collections::HashSet;

use super::Supervisor;
use crate::executor::MemberEnd;
use crate::model::{Cause, JobState};

impl Supervisor<'_> {
    /// Looks for what was submitted before this process was there.
    pub(super) async fn recover(&mut self) -> Result<(), String> {
        self.recover_elsewhere()?;
        let active: Vec<u32> = self
            .engine
            .active()
            .filter(|job| !self.is_elsewhere(self.engine.executor_of(*job)))
            .collect();
        let mut seen = Vec::new();
        for job in active {
            let unit = self.engine.members(job)[0];
            if seen.contains(&unit) {
                continue;
            }
            seen.push(unit);
            let attempt = self.engine.attempts(job);
            let place = self.engine.executor_of(unit);
            let scheduler = match self.scheduler(place) {
                Ok(scheduler) => scheduler,
                Err(reason) => return Err(reason),
            };
            let (key, request) = self.render(unit, attempt)?;
            match scheduler.find(&key, &request).await {
                Ok(Some(handle)) => self.track(handle, unit, attempt, place, true),
                Ok(None) => {
                    // It was started, its place was asked, and knows nothing of it.
                    let end = MemberEnd {
                        state: JobState::Failed,
                        cause: Some(Cause::Lost),
                        message: Some(
                            "it had been started, and its place knows nothing of it".to_owned(),
                        ),
                        record: None,
                    };
                    let members = self.engine.members(unit).len();
                    self.end(unit, attempt, vec![end; members], None)?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.recover_unheard().await?;
        // Those that wait for their next attempt.
        let rows = self
            .reader
            .job_rows(self.number)
            .map_err(|error| error.to_string())?;
        for (job, row) in rows.iter().enumerate() {
            let unit = self.engine.members(job as u32)[0];
            let found = self.active.values().any(|active| active.unit == unit);
            if let (Some(at), true, false) = (row.retry_at, unit == job as u32, found) {
                self.set_timer(unit, at);
            }
        }
        Ok(())
    }

    /// Looks for what was handed over just before the last supervisor's end, and of which nothing is written down: it must
    /// be known before anything is cancelled or skipped, or it would run on with nobody to end it. What was never handed
    /// over has no folder, which is all that is looked at for most jobs.
    pub(super) async fn recover_unheard(&mut self) -> Result<(), String> {
        let folders: HashSet<String> = std::fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let waiting = self
            .reader
            .waiting_jobs(self.number)
            .map_err(|error| error.to_string())?;
        let mut seen = HashSet::new();
        for (job, _) in waiting
            .into_iter()
            .filter(|(_, name)| folders.contains(name))
        {
            let unit = self.engine.members(job)[0];
            if !seen.insert(unit)
                || self.is_elsewhere(self.engine.executor_of(unit))
                || self.active.values().any(|active| active.unit == unit)
            {
                continue;
            }
            let attempt = self.engine.attempts(unit) + 1;
            let place = self.engine.executor_of(unit);
            let scheduler = self.scheduler(place)?;
            let (key, request) = self.render(unit, attempt)?;
            let found = scheduler.find(&key, &request).await;
            if let Some(handle) = found.map_err(|error| error.to_string())? {
                self.engine.handed(unit);
                self.track(handle, unit, attempt, place, false);
            }
        }
        Ok(())
    }
}
