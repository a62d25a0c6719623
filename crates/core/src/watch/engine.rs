//! The graph of an experiment in memory: what may start, what never will, when all is over.
//!
//! ```text
//! started, ended ─▶ the task's tracker ─▶ edges (ok any failed start) ─▶ ready │ skipped
//! ```
//!
//! Dependencies are between tasks, so a sweep of a thousand jobs before another of a thousand is one edge, not a million.
//! The engine knows no time, no store and no place: it is told what happened and says what follows. Everything that it
//! knows can be made again from the jobs' states ([`Engine::restore`]), which is how an experiment is taken over.
//! Pitfall: a job that is to be tried again has not ended; only its end for good counts for others.

use std::collections::VecDeque;

use crate::model::{
    Cause, EventKind, FailureClass, IllegalTransition, JobState, Retry, transition,
};
use crate::plan::{OnFailure, Plan, When};
use crate::store::JobRow;

/// The graph with everything that has happened to it.
#[derive(Debug)]
pub struct Engine {
    jobs: Vec<Job>,
    tasks: Vec<Task>,
    edges: Vec<Edge>,
    groups: Vec<Vec<u32>>,
    /// The executor of each task, by number.
    executors: Vec<u32>,
    /// Units that may start now, by their first job: one queue for each executor.
    ready: Vec<VecDeque<u32>>,
    /// Tasks whose jobs are to be skipped, and what for: not yet told.
    doomed: Vec<(u32, Doom)>,
    /// Units that were handed over early and are to be taken back.
    recalled: Vec<(u32, Cause, String)>,
    on_failure: OnFailure,
    /// A job has failed for good and the rest is not to be started.
    draining: Option<u32>,
    open: u32,
    not_succeeded: u32,
    cancelled: u32,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    state: JobState,
    cause: Option<Cause>,
    /// Counted as started in its task's tracker.
    started: bool,
    /// Waits in a ready queue or for a time.
    queued: bool,
    /// Handed to its place, which has not said yet what became of it: it may run already.
    handed: bool,
    task: u32,
    attempts: u32,
    spent: [u16; 4],
}

#[derive(Debug, Clone, Copy, Default)]
struct Task {
    first_job: u32,
    jobs: u32,
    started: u32,
    ended: u32,
    succeeded: u32,
    failed: u32,
    /// Dependencies not met yet.
    unmet: u32,
    /// Dependencies of which it is not known yet what becomes of them.
    unresolved: u32,
    /// One of its dependencies was on a failure that did not come. That skips it once nothing else can: if what it comes
    /// after fails meanwhile, that is the reason, whatever the order in which the two were seen.
    not_needed: bool,
    /// Its edges to those that come after it, in [`Engine::edges`].
    edges: (u32, u32),
    group: Option<u32>,
    /// It has a dependency on a failure or on any end: it may start while the rest drains.
    handler: bool,
    dead: bool,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: u32,
    when: When,
    /// Met, or made impossible: not looked at again.
    done: bool,
}

#[derive(Debug, Clone, Copy)]
struct Doom {
    cause: Cause,
    because: Option<u32>,
}

impl Engine {
    /// The graph of a plan with nothing happened yet. The plan's jobs need not be there.
    #[must_use]
    pub fn new(plan: &Plan) -> Engine {
        let names: Vec<&String> = plan.executors.keys().collect();
        let mut tasks: Vec<Task> = plan
            .tasks
            .iter()
            .map(|task| Task {
                first_job: task.first_job,
                jobs: task.jobs,
                group: task.group,
                ..Task::default()
            })
            .collect();
        let mut outgoing = vec![0u32; tasks.len()];
        for (number, task) in plan.tasks.iter().enumerate() {
            tasks[number].unmet = task.after.len() as u32;
            tasks[number].unresolved = task.after.len() as u32;
            for dependency in &task.after {
                tasks[number].handler |= matches!(dependency.when, When::Failed | When::Any);
                outgoing[dependency.task as usize] += 1;
            }
        }
        let mut position = 0;
        for (task, count) in tasks.iter_mut().zip(&outgoing) {
            task.edges = (position, position);
            position += count;
        }
        let mut edges = vec![
            Edge {
                to: 0,
                when: When::Ok,
                done: true
            };
            position as usize
        ];
        for (number, task) in plan.tasks.iter().enumerate() {
            for dependency in &task.after {
                let from = &mut tasks[dependency.task as usize];
                edges[from.edges.1 as usize] = Edge {
                    to: number as u32,
                    when: dependency.when,
                    done: false,
                };
                from.edges.1 += 1;
            }
        }
        let jobs: Vec<Job> = plan
            .tasks
            .iter()
            .enumerate()
            .flat_map(|(number, task)| {
                let job = Job {
                    state: JobState::Unsubmitted,
                    cause: None,
                    started: false,
                    queued: false,
                    handed: false,
                    task: number as u32,
                    attempts: 0,
                    spent: [0; 4],
                };
                std::iter::repeat_n(job, task.jobs as usize)
            })
            .collect();
        let executors = plan
            .tasks
            .iter()
            .map(|task| {
                names
                    .iter()
                    .position(|name| **name == task.executor)
                    .unwrap_or(0) as u32
            })
            .collect();
        Engine {
            open: jobs.len() as u32,
            jobs,
            tasks,
            edges,
            groups: plan.groups.iter().map(|group| group.jobs.clone()).collect(),
            executors,
            ready: vec![VecDeque::new(); names.len().max(1)],
            doomed: Vec::new(),
            recalled: Vec::new(),
            on_failure: plan.on_failure,
            draining: None,
            not_succeeded: 0,
            cancelled: 0,
        }
    }

    /// Puts the jobs into the states that the store has of them.
    pub fn restore(&mut self, rows: &[JobRow]) {
        for (number, row) in rows.iter().enumerate().take(self.jobs.len()) {
            let job = &mut self.jobs[number];
            job.state = row.state;
            job.cause = row.cause;
            job.attempts = row.attempts;
            job.spent = row.spent;
            // A job that waits here for its next attempt is queued by the timer that its time is given to.
            job.queued = row.retry_at.is_some();
        }
        for number in 0..self.jobs.len() as u32 {
            let job = self.jobs[number as usize];
            if job.state.is_final() {
                self.count_end(number);
            } else if !matches!(job.state, JobState::Unsubmitted | JobState::Submitted)
                && job.attempts > 0
            {
                self.count_start(number);
            }
        }
    }

    /// Makes the tasks without dependencies ready. To be called once, after [`Engine::restore`].
    pub fn begin(&mut self) {
        for task in 0..self.tasks.len() as u32 {
            if self.tasks[task as usize].unmet == 0 {
                self.make_ready(task);
            }
        }
    }

    /// Takes the next unit that may start on an executor: its first job. It counts as handed over from now on.
    pub fn next_ready(&mut self, executor: usize) -> Option<u32> {
        while let Some(unit) = self.ready[executor].pop_front() {
            let job = self.jobs[unit as usize];
            if job.queued && !job.state.is_final() {
                self.handed(unit);
                return Some(unit);
            }
        }
        None
    }

    /// A unit may start on an executor.
    #[must_use]
    pub fn has_ready(&self, executor: usize) -> bool {
        self.ready[executor].iter().any(|unit| {
            let job = self.jobs[*unit as usize];
            job.queued && !job.state.is_final()
        })
    }

    /// Something that a unit comes after has not happened yet.
    #[must_use]
    pub fn waits_for_others(&self, unit: u32) -> bool {
        self.members(unit)
            .iter()
            .any(|job| self.tasks[self.jobs[*job as usize].task as usize].unmet > 0)
    }

    /// Whether a unit could be handed to a place that makes it wait by itself: it waits for others, and nothing was begun.
    #[must_use]
    pub fn may_be_early(&self, unit: u32) -> bool {
        let free = |job: &u32| {
            let slot = self.jobs[*job as usize];
            slot.state == JobState::Unsubmitted
                && !slot.queued
                && !slot.handed
                && !self.tasks[slot.task as usize].dead
        };
        self.draining.is_none()
            && self.waits_for_others(unit)
            && self.members(unit).iter().all(free)
    }

    /// A unit is to be handed over though it waits for others: its place will make it wait.
    pub fn hand_early(&mut self, unit: u32) {
        self.queue(self.executor_of(unit), unit);
    }

    /// A unit that was to be handed over early can't be: it waits here.
    pub fn wait_here(&mut self, unit: u32) {
        for job in self.members(unit) {
            let job = &mut self.jobs[job as usize];
            job.queued = false;
            job.handed = false;
        }
    }

    /// The units that wait at their places and will never start, with the reasons: told once.
    pub fn take_recalled(&mut self) -> Vec<(u32, Cause, String)> {
        std::mem::take(&mut self.recalled)
    }

    /// A unit was handed to its place: by now it may run, so it is not to be skipped any more.
    pub fn handed(&mut self, unit: u32) {
        for job in self.members(unit) {
            let job = &mut self.jobs[job as usize];
            job.queued = false;
            job.handed = true;
        }
    }

    /// A unit's place could not take it: it waits for [`Engine::retry_due`].
    pub fn bounced(&mut self, unit: u32) {
        for number in self.members(unit) {
            let job = &mut self.jobs[number as usize];
            job.queued = true;
            job.handed = false;
            let task = job.task;
            // What was passed over because it might have been running.
            if let Some(failed) = self.draining.filter(|_| !self.tasks[task as usize].handler) {
                self.doomed.push((
                    task,
                    Doom {
                        cause: Cause::Cancelled,
                        because: Some(failed),
                    },
                ));
            }
        }
    }

    /// The time has come for a unit's next attempt.
    pub fn retry_due(&mut self, unit: u32) {
        let job = self.jobs[unit as usize];
        if job.queued && !job.state.is_final() {
            let executor = self.executor_of(unit);
            self.ready[executor].push_back(unit);
        }
    }

    /// The number of the executor of a job.
    #[must_use]
    pub fn executor_of(&self, job: u32) -> usize {
        self.executors[self.jobs[job as usize].task as usize] as usize
    }

    /// The jobs that start and end together with this one.
    #[must_use]
    pub fn members(&self, job: u32) -> Vec<u32> {
        match self.tasks[self.jobs[job as usize].task as usize].group {
            Some(group) => self.groups[group as usize].clone(),
            None => vec![job],
        }
    }

    /// A job's state.
    #[must_use]
    pub fn state(&self, job: u32) -> JobState {
        self.jobs[job as usize].state
    }

    /// How many attempts of a job were begun.
    #[must_use]
    pub fn attempts(&self, job: u32) -> u32 {
        self.jobs[job as usize].attempts
    }

    /// This attempt of a job is over, as far as is written down: the job has ended, or waits for its next attempt. A
    /// unit's members end together, but the log may have been cut between their ends.
    #[must_use]
    pub fn has_ended(&self, job: u32, attempt: u32) -> bool {
        let job = self.jobs[job as usize];
        let waits_for_next = job.state == JobState::Pending && job.queued;
        job.attempts >= attempt && (job.state.is_final() || waits_for_next)
    }

    /// How many further attempts of a class a job has had.
    #[must_use]
    pub fn spent(&self, job: u32, class: FailureClass) -> u32 {
        u32::from(self.jobs[job as usize].spent[class as usize])
    }

    /// How many jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// There is no job.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The jobs that have not ended, and have been handed to their place.
    pub fn active(&self) -> impl Iterator<Item = u32> {
        let is_active = |job: &Job| {
            matches!(
                job.state,
                JobState::Submitted | JobState::Running | JobState::Unknown
            ) || (job.state == JobState::Pending && !job.queued)
        };
        (0..self.jobs.len() as u32).filter(move |number| is_active(&self.jobs[*number as usize]))
    }

    /// The state that the whole experiment has ended in; `None` while something can still happen.
    #[must_use]
    pub fn outcome(&self) -> Option<JobState> {
        if self.open > 0 {
            None
        } else if self.not_succeeded > 0 {
            Some(JobState::Failed)
        } else if self.cancelled > 0 {
            Some(JobState::Cancelled)
        } else {
            Some(JobState::Succeeded)
        }
    }

    /// The first job that failed for good, if the rest is not to be started because of it.
    #[must_use]
    pub fn draining(&self) -> Option<u32> {
        self.draining
    }

    /// A job was handed to its place.
    ///
    /// # Errors
    /// It can't have been.
    pub fn submitted(&mut self, job: u32, attempt: u32) -> Result<(), IllegalTransition> {
        self.change(job, JobState::Submitted)?;
        self.jobs[job as usize].attempts = attempt;
        Ok(())
    }

    /// A job's place tells of a state that is no end.
    ///
    /// # Errors
    /// The job can't be in that state.
    pub fn observed(&mut self, job: u32, state: JobState) -> Result<(), IllegalTransition> {
        self.change(job, state)
    }

    /// A job's processes were started.
    ///
    /// # Errors
    /// They can't have been.
    pub fn started(&mut self, job: u32, attempt: u32) -> Result<(), IllegalTransition> {
        self.change(job, JobState::Running)?;
        self.jobs[job as usize].attempts = attempt;
        self.count_start(job);
        Ok(())
    }

    /// An attempt of a job ended; without `retry` the job did.
    ///
    /// # Errors
    /// It can't have.
    pub fn ended(
        &mut self,
        job: u32,
        attempt: u32,
        state: JobState,
        cause: Option<Cause>,
        retry: Option<Retry>,
    ) -> Result<(), IllegalTransition> {
        let from = self.jobs[job as usize].state;
        match retry {
            Some(retry) => {
                // From "not even handed over" a job may wait for its next attempt as well.
                transition(from, JobState::Failed)?;
                let job = &mut self.jobs[job as usize];
                job.state = JobState::Pending;
                job.attempts = attempt;
                job.queued = true;
                job.handed = false;
                job.spent[retry.class as usize] = job.spent[retry.class as usize].saturating_add(1);
            }
            None => {
                if from == JobState::Unsubmitted && state == JobState::Succeeded {
                    // Found ended by a supervisor that never saw it start.
                    self.change(job, JobState::Running)?;
                }
                self.change(job, state)?;
                self.jobs[job as usize].attempts = attempt;
                self.jobs[job as usize].cause = cause;
                self.count_end(job);
            }
        }
        Ok(())
    }

    /// A job will never start.
    ///
    /// # Errors
    /// It has started or ended.
    pub fn skipped(&mut self, job: u32, cause: Cause) -> Result<(), IllegalTransition> {
        self.change(job, JobState::Cancelled)?;
        self.jobs[job as usize].cause = Some(cause);
        self.count_end(job);
        Ok(())
    }

    fn change(&mut self, job: u32, to: JobState) -> Result<(), IllegalTransition> {
        let job = &mut self.jobs[job as usize];
        job.state = transition(job.state, to)?;
        job.handed = false;
        Ok(())
    }

    fn count_start(&mut self, job: u32) {
        let task = self.jobs[job as usize].task;
        if !std::mem::replace(&mut self.jobs[job as usize].started, true) {
            self.tasks[task as usize].started += 1;
            if self.tasks[task as usize].started == self.tasks[task as usize].jobs {
                self.resolve(task, |when| (when == When::Start).then_some(Verdict::Met));
            }
        }
    }

    fn count_end(&mut self, number: u32) {
        let Job {
            state,
            cause,
            task,
            started,
            attempts,
            ..
        } = self.jobs[number as usize];
        if state == JobState::Succeeded || (attempts > 0 && cause != Some(Cause::LaunchFailure)) {
            // It has been running, whether or not that was seen.
            self.count_start(number);
        }
        self.open -= 1;
        let tracker = &mut self.tasks[task as usize];
        tracker.ended += 1;
        match (state, cause) {
            (JobState::Succeeded, _) => tracker.succeeded += 1,
            (_, Some(Cause::NotNeeded)) => {}
            (JobState::Failed, _) | (_, Some(Cause::UpstreamFailed)) => {
                tracker.failed += 1;
                self.not_succeeded += 1;
            }
            _ => self.cancelled += 1,
        }
        let tracker = *tracker;
        let all = tracker.ended == tracker.jobs;
        let succeeded = state == JobState::Succeeded;
        let never_started = !started && !self.jobs[number as usize].started;
        let impossible = match cause {
            Some(Cause::NotNeeded) => Verdict::Impossible(Doom {
                cause: Cause::NotNeeded,
                because: Some(number),
            }),
            _ => Verdict::Impossible(Doom {
                cause: Cause::UpstreamFailed,
                because: Some(number),
            }),
        };
        self.resolve(task, |when| match when {
            When::Ok if !succeeded => Some(impossible),
            When::Ok if tracker.succeeded == tracker.jobs => Some(Verdict::Met),
            When::Any if all => Some(Verdict::Met),
            When::Failed if all && tracker.failed > 0 => Some(Verdict::Met),
            When::Failed if all => Some(Verdict::Impossible(Doom {
                cause: Cause::NotNeeded,
                because: None,
            })),
            When::Start if never_started => Some(impossible),
            _ => None,
        });
        if state == JobState::Failed
            && self.on_failure != OnFailure::Continue
            && self.draining.is_none()
        {
            self.draining = Some(number);
            for task in 0..self.tasks.len() as u32 {
                let tracker = self.tasks[task as usize];
                if !tracker.handler && !tracker.dead && tracker.ended < tracker.jobs {
                    self.doomed.push((
                        task,
                        Doom {
                            cause: Cause::Cancelled,
                            because: Some(number),
                        },
                    ));
                }
            }
        }
    }

    fn resolve(&mut self, task: u32, verdict: impl Fn(When) -> Option<Verdict>) {
        let (from, to) = self.tasks[task as usize].edges;
        for position in from..to {
            let edge = self.edges[position as usize];
            if edge.done {
                continue;
            }
            match verdict(edge.when) {
                None => {}
                Some(Verdict::Met) => {
                    self.edges[position as usize].done = true;
                    let next = &mut self.tasks[edge.to as usize];
                    next.unmet -= 1;
                    next.unresolved -= 1;
                    if next.unmet == 0 {
                        self.make_ready(edge.to);
                    }
                    self.spare_if_not_needed(edge.to);
                }
                Some(Verdict::Impossible(doom)) => {
                    self.edges[position as usize].done = true;
                    let next = &mut self.tasks[edge.to as usize];
                    next.unresolved -= 1;
                    if doom.cause == Cause::NotNeeded {
                        next.not_needed = true;
                    } else {
                        next.dead = true;
                        self.doomed.push((edge.to, doom));
                    }
                    self.spare_if_not_needed(edge.to);
                }
            }
        }
    }

    /// Skips a task, or the group that it is in, which nobody needs, as soon as no other reason can come.
    fn spare_if_not_needed(&mut self, task: u32) {
        let together: Vec<u32> = match self.tasks[task as usize].group {
            None => vec![task],
            Some(group) => {
                let task_of = |job: &u32| self.jobs[*job as usize].task;
                self.groups[group as usize].iter().map(task_of).collect()
            }
        };
        let all = |test: &dyn Fn(&Task) -> bool| {
            together
                .iter()
                .all(|task| test(&self.tasks[*task as usize]))
        };
        if all(&|task| task.unresolved == 0 && !task.dead) && !all(&|task| !task.not_needed) {
            let doom = Doom {
                cause: Cause::NotNeeded,
                because: None,
            };
            self.doomed.push((task, doom));
        }
    }

    fn make_ready(&mut self, task: u32) {
        let Task {
            first_job,
            jobs,
            group,
            dead,
            ..
        } = self.tasks[task as usize];
        if dead {
            return;
        }
        match group {
            None => {
                let executor = self.executors[task as usize] as usize;
                for job in first_job..first_job + jobs {
                    self.queue(executor, job);
                }
            }
            Some(group) => {
                let members = &self.groups[group as usize];
                let waits =
                    |job: &u32| self.tasks[self.jobs[*job as usize].task as usize].unmet > 0;
                if !members.iter().any(waits) {
                    let first = members[0];
                    self.queue(self.executor_of(first), first);
                }
            }
        }
    }

    fn queue(&mut self, executor: usize, job: u32) {
        let slot = &mut self.jobs[job as usize];
        if slot.state == JobState::Unsubmitted && !slot.queued && !slot.handed {
            slot.queued = true;
            self.ready[executor].push_back(job);
        }
    }

    /// What follows from what has happened: the jobs that will never start, each with its reason. They are skipped here
    /// already; the answer is to be written down.
    pub fn settle(&mut self, names: &dyn Fn(u32) -> String) -> Vec<EventKind> {
        let mut events = Vec::new();
        while let Some((task, doom)) = self.doomed.pop() {
            let Task {
                first_job,
                jobs,
                group,
                ..
            } = self.tasks[task as usize];
            let draining = doom.cause == Cause::Cancelled;
            self.tasks[task as usize].dead |= !draining;
            let members: Vec<u32> = match group {
                Some(group) => self.groups[group as usize].clone(),
                None => (first_job..first_job + jobs).collect(),
            };
            for job in members {
                // A job that waits for its next attempt had everything it needs; it goes on.
                let slot = self.jobs[job as usize];
                let because = doom.because.map(names);
                let message = match (doom.cause, because) {
                    (Cause::NotNeeded, _) => "no job that it waited for failed".to_owned(),
                    (Cause::Cancelled, Some(because)) => {
                        format!("not started, since {because} had failed")
                    }
                    (_, Some(because)) => format!("{because} did not succeed"),
                    (_, None) => "what it comes after did not succeed".to_owned(),
                };
                let at_its_place = match slot.state {
                    JobState::Unsubmitted => slot.handed,
                    JobState::Submitted | JobState::Pending | JobState::Unknown => {
                        !slot.queued && !slot.started
                    }
                    _ => false,
                };
                if at_its_place && self.waits_for_others(job) && self.members(job)[0] == job {
                    self.recalled.push((job, doom.cause, message));
                    continue;
                }
                let waits = slot.state == JobState::Unsubmitted && !slot.handed;
                if !waits || self.skipped(job, doom.cause).is_err() {
                    continue;
                }
                events.push(EventKind::Skipped {
                    job,
                    cause: doom.cause,
                    message,
                });
            }
        }
        events
    }

    /// Skips the jobs that wait, because the user cancels them. Those that run are the caller's to end.
    pub fn cancel_waiting(&mut self, jobs: &[u32]) -> Vec<EventKind> {
        let mut events = Vec::new();
        for &job in jobs {
            let slot = self.jobs[job as usize];
            let waits = (slot.state == JobState::Unsubmitted && !slot.handed)
                || (slot.state == JobState::Pending && slot.queued);
            if waits && self.skipped(job, Cause::Cancelled).is_ok() {
                events.push(EventKind::Skipped {
                    job,
                    cause: Cause::Cancelled,
                    message: "cancelled before it started".to_owned(),
                });
            }
        }
        events
    }
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Met,
    Impossible(Doom),
}
