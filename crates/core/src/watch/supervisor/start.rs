//! Handing what may start to its place, as far as there is room.

use std::sync::Arc;
use std::time::Instant;

use super::{BOUNCE, Supervisor};
use crate::executor::{MemberEnd, Request, Scheduler, SubmitError, Unit, UnitMember};
use crate::model::{Cause, JobState, SubmissionKey};
use crate::plan::PlannedJob;
use crate::submit::{SendError, send};

/// How many planned jobs are read at once.
const CHUNK: u32 = 256;

impl Supervisor<'_> {
    pub(super) fn planned(&mut self, job: u32) -> Result<PlannedJob, String> {
        if !self.planned.contains_key(&job) {
            let first = job - job % CHUNK;
            let jobs = self
                .reader
                .planned_jobs(self.number, first, CHUNK)
                .map_err(|error| error.to_string())?;
            // Jobs mostly come in order: what was read before is not needed again.
            self.planned.retain(|known, _| *known + CHUNK > first);
            self.planned.extend((first..).zip(jobs));
        }
        self.planned
            .get(&job)
            .cloned()
            .ok_or_else(|| format!("job {job} is not in the store"))
    }

    pub(super) fn render(
        &mut self,
        unit: u32,
        attempt: u32,
    ) -> Result<(SubmissionKey, Request), String> {
        let members = self.engine.members(unit);
        let jobs = members
            .iter()
            .map(|job| self.planned(*job))
            .collect::<Result<Vec<_>, _>>()?;
        let leader = |job: u32| {
            self.plan
                .groups
                .iter()
                .any(|group| group.leader == Some(job))
        };
        let key = SubmissionKey::new(self.id, unit, attempt);
        let unit = Unit {
            experiment: self.id,
            experiment_dir: &self.dir,
            key: key.clone(),
            attempt,
            members: members
                .iter()
                .zip(&jobs)
                .map(|(index, job)| UnitMember {
                    index: *index,
                    job,
                    executor: &self.plan.executors[&self.plan.tasks[job.task as usize].executor],
                    code: self
                        .plan
                        .code
                        .get(&self.plan.tasks[job.task as usize].executor),
                    leader: leader(*index),
                })
                .collect(),
        };
        let executor = &self.places[self.engine.executor_of(members[0])].executor;
        let request = executor.render(&unit).map_err(|error| error.to_string())?;
        Ok((key, request))
    }

    /// Starts what may start, as far as there is room.
    pub(super) async fn start_ready(&mut self) -> Result<(), String> {
        for place in 0..self.places.len() {
            if self.is_elsewhere(place) {
                while self.start_elsewhere(place).await? {}
                continue;
            }
            while !self.stalled
                && self.places[place]
                    .slots
                    .is_none_or(|slots| self.places[place].in_flight < slots)
            {
                let Some(unit) = self.engine.next_ready(place) else {
                    break;
                };
                self.start(unit, place).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, unit: u32, place: usize) -> Result<(), String> {
        let attempt = self.engine.attempts(unit) + 1;
        let sent = match self.prepare(unit, attempt, place) {
            Err(reason) => Err(SendError::Submit(SubmitError::Rejected(reason))),
            Ok((request, scheduler)) => {
                let courier = self.places[place].courier.clone();
                match courier.prepare(scheduler.as_ref(), &request).await {
                    Ok(()) => send(scheduler.as_ref(), &request, &mut self.requests).await,
                    Err(error) => Err(SendError::Submit(error)),
                }
            }
        };
        let reason = match sent {
            Ok(handle) => {
                self.track(handle, unit, attempt, place, false);
                return Ok(());
            }
            Err(SendError::Submit(
                SubmitError::Uncertain(_) | SubmitError::Unreachable(_) | SubmitError::Later(_),
            )) => {
                // It may have arrived. The same key is sent again, which starts it once.
                return self.adopt_or_requeue(unit, attempt, place).await;
            }
            Err(SendError::Submit(SubmitError::Rejected(reason))) => reason,
            Err(SendError::Files(error)) => error.to_string(),
        };
        let end = MemberEnd {
            state: JobState::Failed,
            cause: Some(Cause::LaunchFailure),
            message: Some(reason),
            record: None,
        };
        let members = self.engine.members(unit).len();
        self.end(unit, attempt, vec![end; members], None)
    }

    fn prepare(
        &mut self,
        unit: u32,
        attempt: u32,
        place: usize,
    ) -> Result<(Request, Arc<dyn Scheduler>), String> {
        let scheduler = self.scheduler(place)?;
        let (_, request) = self.render(unit, attempt)?;
        Ok((request, scheduler))
    }

    /// A unit's place did not take it: it is sent again after a while.
    pub(super) fn bounced(&mut self, unit: u32) {
        self.engine.bounced(unit);
        self.timers.insert((Instant::now() + BOUNCE, unit), ());
    }

    pub(super) async fn adopt_or_requeue(
        &mut self,
        unit: u32,
        attempt: u32,
        place: usize,
    ) -> Result<(), String> {
        let (request, scheduler) = self.prepare(unit, attempt, place)?;
        match scheduler
            .find(&SubmissionKey::new(self.id, unit, attempt), &request)
            .await
        {
            Ok(Some(handle)) => self.track(handle, unit, attempt, place, false),
            Ok(None) | Err(_) => self.bounced(unit),
        }
        Ok(())
    }
}
