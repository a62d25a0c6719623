//! Dependencies that a place keeps by itself: a unit is handed over before what it comes after has happened.
//!
//! ```text
//! all that it comes after is at the same place, none of it is tried again ─▶ handed over with their handles ─▶ waits there
//! what it comes after will never happen ─▶ recalled ─▶ cancelled there ─▶ ended with the engine's reason
//! ```
//!
//! Such a chain goes on while no supervisor runs. What may get a further attempt here would be another job then, for which
//! nobody waits: dependencies on it are kept here.

use std::collections::HashMap;

use super::Supervisor;
use crate::executor::{After, MemberEnd};
use crate::model::{CancelMode, Cause, Handle, JobState};
use crate::plan::When;

/// A unit that comes after more jobs waits here: each of them is an argument.
const MOST_UPSTREAM: u32 = 1000;

impl Supervisor<'_> {
    /// Makes ready what may wait at its place.
    pub(super) fn hand_early(&mut self) -> Result<(), String> {
        if !std::mem::replace(&mut self.look_for_early, false) {
            return Ok(());
        }
        let knows: Vec<bool> = self
            .places
            .iter()
            .map(|place| place.executor.capabilities().dependencies)
            .collect();
        if !knows.contains(&true) {
            return Ok(());
        }
        let handles = self.handles_by_unit();
        for task in 0..self.plan.tasks.len() {
            let (first, jobs) = (self.plan.tasks[task].first_job, self.plan.tasks[task].jobs);
            let unit = self.engine.members(first)[0];
            if !knows[self.engine.executor_of(unit)] || !self.engine.may_be_early(unit) {
                continue;
            }
            if self.upstream(unit, &handles)?.is_none() {
                continue;
            }
            for job in first..first + jobs {
                let unit = self.engine.members(job)[0];
                if self.engine.may_be_early(unit) {
                    self.engine.hand_early(unit);
                }
            }
        }
        Ok(())
    }

    fn handles_by_unit(&self) -> HashMap<u32, Handle> {
        self.active
            .iter()
            .map(|(handle, active)| (active.unit, handle.clone()))
            .collect()
    }

    /// What a unit comes after, as its place can keep it; nothing if it comes after nothing any more, `None` if its place
    /// can't keep it.
    pub(super) fn after(&mut self, unit: u32) -> Result<Option<After>, String> {
        if !self.engine.waits_for_others(unit) {
            return Ok(Some(Vec::new()));
        }
        let handles = self.handles_by_unit();
        self.upstream(unit, &handles)
    }

    fn upstream(
        &mut self,
        unit: u32,
        handles: &HashMap<u32, Handle>,
    ) -> Result<Option<After>, String> {
        let place = self.engine.executor_of(unit);
        // A place may count a job that it has forgotten as one that ended well.
        if self.places[place].line.is_unheard() {
            return Ok(None);
        }
        let Some(prefix) = self.places[place].executor.handle_prefix() else {
            return Ok(None);
        };
        let mut after = After::new();
        for member in self.engine.members(unit) {
            let task = self.planned(member)?.task as usize;
            for dependency in self.plan.tasks[task].after.clone() {
                let upstream = &self.plan.tasks[dependency.task as usize];
                let (first, jobs) = (upstream.first_job, upstream.jobs);
                // All of them failed is not what is meant by one of them failed.
                if jobs > MOST_UPSTREAM || (dependency.when == When::Failed && jobs > 1) {
                    return Ok(None);
                }
                let mut waits_for = Vec::new();
                for job in first..first + jobs {
                    let state = self.engine.state(job);
                    let met = match dependency.when {
                        When::Ok => state == JobState::Succeeded,
                        When::Any => state.is_final(),
                        When::Failed => state == JobState::Failed,
                        When::Start => state == JobState::Running || state.is_final(),
                    };
                    if met {
                        continue;
                    }
                    let handle = handles.get(&self.engine.members(job)[0]);
                    let Some(handle) = handle.filter(|handle| handle.0.starts_with(&prefix)) else {
                        return Ok(None);
                    };
                    if state.is_final() || !self.planned(job)?.retries.is_none() {
                        return Ok(None);
                    }
                    if !waits_for.contains(handle) {
                        waits_for.push(handle.clone());
                    }
                }
                if !waits_for.is_empty() {
                    after.push((dependency.when, waits_for));
                }
            }
        }
        Ok(Some(after))
    }

    /// Takes back what waits at its place and will never start.
    pub(super) fn recall(&mut self) {
        for (unit, cause, message) in self.engine.take_recalled() {
            let found = self
                .active
                .iter_mut()
                .find(|(_, active)| active.unit == unit);
            let handing = self.handing.get(&unit);
            let asked = found
                .as_ref()
                .is_some_and(|(_, active)| active.cancelled.is_some())
                || handing.is_some_and(|handing| handing.cancelled.is_some());
            if asked {
                // Whoever has cancelled it was first.
                continue;
            }
            self.recalled.insert(unit, (cause, message));
            if let Some((handle, active)) = found {
                active.cancelled = Some(CancelMode::Terminate);
                let (handle, place) = (handle.clone(), active.place);
                self.cancel_elsewhere(place, handle, CancelMode::Terminate);
            } else if let Some(handing) = self.handing.get_mut(&unit) {
                handing.cancelled = Some(CancelMode::Terminate);
            }
        }
    }

    /// A place has given a unit up, since what it waits for there can't happen any more.
    pub(super) fn never_satisfied(&mut self, handle: &Handle) -> Result<(), String> {
        let Some(active) = self.active.get(handle) else {
            return Ok(());
        };
        let (unit, attempt, place) = (active.unit, active.attempt, active.place);
        let cancelled = active
            .cancelled
            .filter(|_| !self.recalled.contains_key(&unit));
        if cancelled.is_none()
            && !self.recalled.contains_key(&unit)
            && self.engine.waits_for_others(unit)
        {
            // The reason has not been heard here yet; the place says it again.
            return Ok(());
        }
        self.active.remove(handle);
        self.places[place].in_flight -= 1;
        let reason = match cancelled {
            Some(_) => Some((Cause::Cancelled, None)),
            None => self
                .recalled
                .get(&unit)
                .map(|(cause, message)| (*cause, Some(message.clone()))),
        };
        match reason {
            Some((cause, message)) => {
                let end = MemberEnd {
                    state: JobState::Cancelled,
                    cause: Some(cause),
                    message,
                    record: None,
                };
                let members = self.engine.members(unit).len();
                self.end(unit, attempt, vec![end; members], cancelled)
            }
            None => {
                // By what is known here it may start: it is sent again, to wait for nothing.
                self.engine.bounced(unit);
                self.engine.retry_due(unit);
                Ok(())
            }
        }
    }
}
