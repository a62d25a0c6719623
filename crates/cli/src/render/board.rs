//! What an attached client knows about an experiment, kept up to date by events: the board that every live view reads.
//!
//! Reading the whole experiment again at each change would cost too much with 10,000 jobs; events cost what happened.

use mizzen_core::model::{Cause, Event, EventKind, JobState, Timestamp};
use mizzen_core::store::{AttemptView, ExperimentView, JobView};

/// An experiment as of the last event.
#[derive(Debug)]
pub(crate) struct Board {
    /// Everything about it.
    pub(crate) view: ExperimentView,
}

/// A change that a live view tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A job has another state, or a further attempt.
    Job(u32),
    /// The experiment is over.
    Finished,
    /// Nothing that is told.
    Nothing,
}

impl Board {
    /// From what the store says; events after it are to be applied.
    pub(crate) fn new(view: ExperimentView) -> Board {
        Board { view }
    }

    /// The experiment is over.
    pub(crate) fn is_over(&self) -> bool {
        self.view.summary.state.is_final()
    }

    /// The jobs that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &JobView> {
        self.view
            .jobs
            .iter()
            .filter(|job| job.state == JobState::Running)
    }

    /// Applies one event, as the store does it to its rows.
    pub(crate) fn apply(&mut self, event: &Event) -> Change {
        self.view.sequence = event.sequence;
        match &event.kind {
            EventKind::Supervised { .. } => {
                self.view.summary.state = JobState::Running;
                self.view.summary.ended = None;
                Change::Nothing
            }
            EventKind::CancelRequested { .. } => Change::Nothing,
            EventKind::Intended { job, attempt, .. } => {
                self.with_attempt(*job, *attempt, |_| {});
                Change::Nothing
            }
            EventKind::Submitted {
                job,
                attempt,
                handle,
            } => {
                self.with_attempt(*job, *attempt, |attempt| {
                    attempt.state = JobState::Submitted;
                    attempt.handle = Some(handle.clone());
                });
                self.set_state(*job, JobState::Submitted, None, None)
            }
            EventKind::Observed {
                job,
                attempt,
                state,
                detail,
            } => {
                self.with_attempt(*job, *attempt, |attempt| attempt.state = *state);
                let cause = self.view.jobs.get(*job as usize).and_then(|job| job.cause);
                self.set_state(
                    *job,
                    *state,
                    cause,
                    (!detail.is_empty()).then(|| detail.clone()),
                )
            }
            EventKind::Started {
                job,
                attempt,
                handle,
                nodes,
                time,
            } => {
                self.with_attempt(*job, *attempt, |attempt| {
                    attempt.state = JobState::Running;
                    attempt.handle = Some(handle.clone());
                    attempt.nodes = nodes.as_slice().into();
                    attempt.started = Some(*time);
                });
                self.set_state(*job, JobState::Running, None, None)
            }
            EventKind::Ended {
                job,
                attempt,
                state,
                cause,
                message,
                record,
                retry,
            } => {
                let record = record.as_deref();
                self.with_attempt(*job, *attempt, |attempt| {
                    attempt.state = *state;
                    attempt.cause = *cause;
                    attempt.started = attempt
                        .started
                        .or(record.map(|record| Timestamp(record.started)));
                    attempt.ended =
                        Some(record.map_or(event.time, |record| Timestamp(record.ended)));
                    attempt.record = record.filter(|_| *state != JobState::Succeeded).cloned();
                });
                let state = if retry.is_some() {
                    JobState::Pending
                } else {
                    *state
                };
                let change = self.set_state(*job, state, *cause, message.clone());
                self.with_job(*job, |job| {
                    job.retry_at = retry.as_ref().map(|retry| retry.at)
                });
                change
            }
            EventKind::Skipped {
                job,
                cause,
                message,
            } => self.set_state(
                *job,
                JobState::Cancelled,
                Some(*cause),
                Some(message.clone()),
            ),
            EventKind::Reset { job } => {
                self.view.summary.state = JobState::Submitted;
                self.view.summary.ended = None;
                self.set_state(*job, JobState::Unsubmitted, None, None)
            }
            EventKind::Finished { state } => {
                self.view.summary.state = *state;
                self.view.summary.ended = Some(event.time);
                Change::Finished
            }
        }
    }

    fn with_job(&mut self, index: u32, change: impl FnOnce(&mut JobView)) {
        if let Some(job) = self.view.jobs.get_mut(index as usize) {
            change(job);
        }
    }

    /// Changes an attempt, which is made first if it isn't there.
    fn with_attempt(&mut self, index: u32, number: u32, change: impl FnOnce(&mut AttemptView)) {
        let Some(job) = self.view.jobs.get_mut(index as usize) else {
            return;
        };
        if job.attempts.last().is_none_or(|last| last.number < number) {
            job.attempts.push(AttemptView {
                number,
                handle: None,
                state: JobState::Unsubmitted,
                cause: None,
                started: None,
                ended: None,
                nodes: [].into(),
                exit_code: None,
                record: None,
                usage: None,
            });
        }
        if let Some(attempt) = job
            .attempts
            .iter_mut()
            .rev()
            .find(|attempt| attempt.number == number)
        {
            change(attempt);
        }
    }

    fn set_state(
        &mut self,
        index: u32,
        state: JobState,
        cause: Option<Cause>,
        message: Option<String>,
    ) -> Change {
        let Some(job) = self.view.jobs.get_mut(index as usize) else {
            return Change::Nothing;
        };
        let changed = job.state != state || job.message != message;
        let counts = &mut self.view.summary.counts.0;
        counts[job.state as usize] = counts[job.state as usize].saturating_sub(1);
        counts[state as usize] += 1;
        job.state = state;
        job.cause = cause;
        job.message = message;
        job.retry_at = None;
        if changed {
            Change::Job(index)
        } else {
            Change::Nothing
        }
    }
}
