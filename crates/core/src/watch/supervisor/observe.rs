//! What the places say of the jobs, and what becomes of an attempt that is over.

use std::time::{Duration, Instant};

use super::super::verdict;
use super::{GivenUp, Supervisor};
use crate::executor::{MemberEnd, Observed};
use crate::model::{CancelMode, Cause, EventKind, FailureClass, Handle, JobState, Retry};
use crate::plan::Retries;

impl Supervisor<'_> {
    /// Asks the places: all of those with something new, or those whose time has come.
    pub(super) async fn observe(&mut self, due: Option<Instant>) -> Result<(), String> {
        for place in 0..self.places.len() {
            if self.is_elsewhere(place) {
                self.changed_elsewhere(place);
                continue;
            }
            if self.places[place].in_flight == 0
                || due.is_some_and(|now| self.places[place].next_look > now)
            {
                continue;
            }
            let Some(scheduler) = self.places[place].scheduler.clone() else {
                continue;
            };
            self.places[place].next_look =
                Instant::now() + Duration::from_secs_f64(scheduler.pace());
            let handles: Vec<Handle> = self
                .active
                .iter()
                .filter(|(_, active)| active.place == place)
                .map(|(handle, _)| handle.clone())
                .collect();
            // Not being able to ask says nothing about the jobs.
            let Ok(observations) = scheduler.observe(&handles).await else {
                continue;
            };
            for seen in observations {
                self.observed(&seen.handle, seen.observed).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn observed(
        &mut self,
        handle: &Handle,
        observed: Observed,
    ) -> Result<(), String> {
        let Some(active) = self.active.get_mut(handle) else {
            return Ok(());
        };
        let (unit, attempt) = (active.unit, active.attempt);
        if active.given_up != GivenUp::No && !matches!(observed, Observed::Restarted { .. }) {
            // That is the run after the one with which it is over.
            return Ok(());
        }
        match observed {
            Observed::Running { nodes, since } => {
                if std::mem::replace(&mut active.started, true)
                    && self.engine.state(unit) == JobState::Running
                {
                    return Ok(());
                }
                for job in self.engine.members(unit) {
                    if self.engine.has_ended(job, attempt) {
                        continue;
                    }
                    self.engine
                        .started(job, attempt)
                        .map_err(|error| error.to_string())?;
                    self.record(EventKind::Started {
                        job,
                        attempt,
                        handle: handle.clone(),
                        nodes: nodes.clone(),
                        time: since,
                    });
                }
            }
            Observed::Pending(detail) => self.waits(handle, JobState::Pending, &detail)?,
            Observed::Unknown(word) => self.waits(handle, JobState::Unknown, &word)?,
            Observed::Restarted { count, ends, free } => {
                self.restarted(handle, count, ends, free)?;
            }
            Observed::NeverSatisfied => self.never_satisfied(handle)?,
            Observed::Bounced(_) => {
                let (place, cancelled) = (active.place, active.cancelled);
                self.active.remove(handle);
                self.places[place].in_flight -= 1;
                self.bounced(unit);
                if cancelled.is_some() {
                    let members = self.engine.members(unit);
                    for event in self.engine.cancel_waiting(&members) {
                        self.record(event);
                    }
                }
            }
            Observed::Ended(ends) => {
                let cancelled = active.cancelled;
                let place = active.place;
                self.active.remove(handle);
                self.places[place].in_flight -= 1;
                self.end(unit, attempt, ends, cancelled)?;
                self.forget_elsewhere(place, handle);
            }
        }
        Ok(())
    }

    pub(super) fn waits(
        &mut self,
        handle: &Handle,
        state: JobState,
        detail: &str,
    ) -> Result<(), String> {
        let Some(active) = self.active.get_mut(handle) else {
            return Ok(());
        };
        let now = (state, detail.to_owned());
        if active.told.as_ref() == Some(&now) {
            return Ok(());
        }
        active.told = Some(now);
        let (unit, attempt) = (active.unit, active.attempt);
        for job in self.engine.members(unit) {
            if self.engine.state(job) == JobState::Unsubmitted {
                self.engine
                    .submitted(job, attempt)
                    .map_err(|error| error.to_string())?;
            }
            self.engine
                .observed(job, state)
                .map_err(|error| error.to_string())?;
            self.record(EventKind::Observed {
                job,
                attempt,
                state,
                detail: detail.to_owned(),
            });
        }
        Ok(())
    }

    /// An attempt of a unit is over.
    pub(super) fn end(
        &mut self,
        unit: u32,
        attempt: u32,
        ends: Vec<MemberEnd>,
        cancelled: Option<CancelMode>,
    ) -> Result<(), String> {
        let retry = self.end_attempt(unit, attempt, ends, cancelled, None)?;
        if let Some(retry) = retry {
            self.set_timer(unit, retry.at);
        }
        Ok(())
    }

    /// An attempt is over, and its place starts the next one by itself: whether the job may go on.
    pub(super) fn may_go_on(
        &mut self,
        unit: u32,
        attempt: u32,
        ends: &[MemberEnd],
        cancelled: Option<CancelMode>,
        free: bool,
    ) -> Result<bool, String> {
        if cancelled.is_some() || self.recalled.contains_key(&unit) {
            return Ok(false);
        }
        let retry = self.further(unit, attempt, ends, cancelled, Some(free))?;
        Ok(retry.is_some())
    }

    /// Writes the end of an attempt down after which its place starts the next one by itself.
    pub(super) fn end_restarted(
        &mut self,
        unit: u32,
        attempt: u32,
        ends: Vec<MemberEnd>,
        cancelled: Option<CancelMode>,
        free: bool,
    ) -> Result<(), String> {
        self.end_attempt(unit, attempt, ends, cancelled, Some(free))
            .map(drop)
    }

    /// The further attempt that a unit gets after these ends. `restarted`: as in `end_attempt`.
    fn further(
        &mut self,
        unit: u32,
        attempt: u32,
        ends: &[MemberEnd],
        cancelled: Option<CancelMode>,
        restarted: Option<bool>,
    ) -> Result<Option<Retry>, String> {
        let failed = ends.iter().any(|end| end.state == JobState::Failed);
        let members = self.engine.members(unit);
        let budgets = if failed {
            members
                .iter()
                .map(|job| self.planned(*job).map(|job| job.retries))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let now = self.context.clock.now();
        let free = Retry {
            class: FailureClass::Preempted,
            at: now,
        };
        let retry = if restarted == Some(true) && cancelled.is_none() && !self.cancelled_all {
            let cause = ends.iter().find_map(|end| end.cause);
            Some(Retry {
                class: cause.and_then(FailureClass::of).unwrap_or(free.class),
                ..free
            })
        } else if failed && !self.cancelled_all {
            let budget = |member: usize| budgets.get(member).copied().unwrap_or(Retries::NONE);
            verdict::retry(ends, now, budget, |member, class| {
                // What is decided a second time was counted the first time.
                let known = u32::from(self.engine.has_ended(members[member], attempt));
                self.engine
                    .spent(members[member], class)
                    .saturating_sub(known)
            })
        } else {
            None
        };
        Ok(match restarted {
            // It has begun already.
            Some(_) => retry.map(|retry| Retry { at: now, ..retry }),
            None => retry,
        })
    }

    /// Writes an attempt's end down. `restarted`: the place goes on with the next attempt at once, for nothing if true.
    fn end_attempt(
        &mut self,
        unit: u32,
        attempt: u32,
        mut ends: Vec<MemberEnd>,
        cancelled: Option<CancelMode>,
        restarted: Option<bool>,
    ) -> Result<Option<Retry>, String> {
        let members = self.engine.members(unit);
        if let Some((cause, message)) = self.recalled.remove(&unit) {
            for end in ends
                .iter_mut()
                .filter(|end| end.record.is_none() && end.state != JobState::Succeeded)
            {
                end.state = JobState::Cancelled;
                end.cause = Some(cause);
                end.message = Some(message.clone());
            }
        } else if cancelled.is_some() {
            for end in ends.iter_mut().filter(|end| end.state == JobState::Failed) {
                // It was told to end, and ended: how is its own affair.
                end.state = JobState::Cancelled;
                end.cause = Some(Cause::Cancelled);
            }
            // That its place calls it cancelled is nothing new either.
            for end in ends.iter_mut() {
                if end.cause == Some(Cause::Cancelled) {
                    end.message = None;
                }
            }
        }
        let retry = self.further(unit, attempt, &ends, cancelled, restarted)?;
        for (job, end) in members.iter().copied().zip(ends) {
            if self.engine.has_ended(job, attempt) {
                continue;
            }
            self.engine
                .ended(job, attempt, end.state, end.cause, retry)
                .map_err(|error| error.to_string())?;
            self.record(EventKind::Ended {
                job,
                attempt,
                state: end.state,
                cause: end.cause,
                message: end.message,
                record: end.record.map(Box::new),
                retry,
            });
        }
        Ok(retry)
    }
}
