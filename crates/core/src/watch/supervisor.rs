//! The process that drives one experiment.
//!
//! ```text
//! take the lease ─▶ restore the engine ─▶ find what was submitted ─▶ ┌ start what is ready            ┐ until the
//!                                                                    │ wait: news, time, request       │ engine has
//!                                                                    └ observe ─▶ events ─▶ engine, writer ┘ an outcome
//! ```
//!
//! Everything happens in one task, one thing after another; only writing to disk and reading from the places happen
//! beside it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use mizzen_agent::protocol::Identity;
use tokio::sync::{Notify, mpsc};

use super::WatchError;
use super::engine::Engine;
use super::verdict;
use super::writer::{BALLAST, News, Writer};
use crate::context::Context;
use crate::executor::{
    self, Executor, MemberEnd, Observed, Scheduler, SubmitError, Unit, UnitMember,
};
use crate::model::{
    CancelMode, Cause, EventKind, ExperimentId, Handle, JobState, SubmissionKey, Timestamp,
};
use crate::packager::BundleRef;
use crate::plan::{OnFailure, Plan, PlannedJob, Retries};
use crate::store::{Store, lease_name};
use crate::submit::{RequestLog, SendError, send};

/// How many planned jobs are read at once.
const CHUNK: u32 = 256;
/// How long a unit that its place could not take waits before it is sent again.
const BOUNCE: Duration = Duration::from_millis(300);
/// The most time between two looks at everything.
const IDLE: Duration = Duration::from_secs(3600);

/// Drives an experiment until it is over. Blocks; to be the whole life of a process of its own.
///
/// # Errors
/// Somebody else drives it, or the store can't be used. Running jobs are left alone then.
pub fn supervise(context: &Context, id: &ExperimentId) -> Result<JobState, WatchError> {
    let failed = |reason: String| WatchError::Supervisor {
        id: id.clone(),
        reason,
    };
    let holder = Identity::of_self().map_err(|error| failed(error.to_string()))?;
    // Only where there is one: a home that was removed is not made again.
    let open = || match Store::open_existing(&context.home) {
        Ok(Some(store)) => Ok(store),
        Ok(None) => Err(failed(format!("{} is gone", context.database()))),
        Err(error) => Err(error.into()),
    };
    let mut store = open()?;
    let summary = store.summary(id)?;
    if summary.state.is_final() {
        return Ok(summary.state);
    }
    let lease = store.take_lease(&lease_name(id), &holder, context.clock.now())?;
    let number = store.number(id)?;
    let generation = lease.generation;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let dir = context.experiment_dir(&summary.title, id);
    let ballast = dir.join(".ballast");
    reserve(&ballast);
    runtime.block_on(async {
        let (news, heard) = mpsc::unbounded_channel();
        let reader = open()?;
        let writer = Writer::start(context, store, number, lease, ballast, news)
            .map_err(|error| failed(error.to_string()))?;
        let mut supervisor = Supervisor::new(context, id, reader, number, dir, writer)?;
        supervisor.record(EventKind::Supervised {
            generation,
            holder: holder.to_text(),
        });
        let outcome = supervisor.run(heard).await;
        supervisor.writer.end();
        outcome.map_err(failed)
    })
}

/// Room for the last words on a full disk.
fn reserve(path: &camino::Utf8Path) {
    use std::os::fd::AsRawFd;
    if let Ok(file) = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
    {
        // SAFETY: posix_fallocate(3) gets a descriptor that is open. What it can't reserve is not there when it is needed,
        // and nothing else.
        unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, BALLAST as libc::off_t) };
    }
}

/// One executor of the plan, and the connection to its place once it was needed.
struct Place {
    executor: Box<dyn Executor>,
    scheduler: Option<Arc<dyn Scheduler>>,
    slots: Option<u32>,
    in_flight: u32,
    next_look: Instant,
}

/// A unit that its place has.
struct Active {
    /// Its first job.
    unit: u32,
    attempt: u32,
    place: usize,
    /// The user or the experiment wants it to end.
    cancelled: Option<CancelMode>,
    started: bool,
}

struct Supervisor<'a> {
    context: &'a Context,
    id: &'a ExperimentId,
    dir: Utf8PathBuf,
    reader: Store,
    number: i64,
    plan: Plan,
    engine: Engine,
    writer: Writer,
    places: Vec<Place>,
    active: HashMap<Handle, Active>,
    planned: HashMap<u32, PlannedJob>,
    /// Units to look at again at a time.
    timers: BTreeMap<(Instant, u32), ()>,
    pending: Vec<(Timestamp, EventKind)>,
    news: Arc<Notify>,
    stalled: bool,
    cancelled_all: bool,
    /// What ran was ended after a failure.
    drained: bool,
    requests: RequestLog,
}

impl<'a> Supervisor<'a> {
    fn new(
        context: &'a Context,
        id: &'a ExperimentId,
        reader: Store,
        number: i64,
        dir: Utf8PathBuf,
        writer: Writer,
    ) -> Result<Supervisor<'a>, WatchError> {
        let (plan, engine) = super::reopen(&reader, id)?;
        let mut places = Vec::with_capacity(plan.executors.len());
        for (name, config) in &plan.executors {
            let executor =
                executor::build(name, config).map_err(|error| WatchError::Supervisor {
                    id: id.clone(),
                    reason: error.to_string(),
                })?;
            let slots = executor.capabilities().slots;
            places.push(Place {
                executor,
                scheduler: None,
                slots,
                in_flight: 0,
                next_look: Instant::now(),
            });
        }
        let requests = RequestLog::new(&dir);
        Ok(Supervisor {
            context,
            id,
            dir,
            reader,
            number,
            plan,
            engine,
            writer,
            places,
            active: HashMap::new(),
            planned: HashMap::new(),
            timers: BTreeMap::new(),
            pending: Vec::new(),
            news: Arc::new(Notify::new()),
            stalled: false,
            cancelled_all: false,
            drained: false,
            requests,
        })
    }

    fn record(&mut self, kind: EventKind) {
        self.pending.push((self.context.clock.now(), kind));
    }

    async fn run(&mut self, mut heard: mpsc::UnboundedReceiver<News>) -> Result<JobState, String> {
        let signal = |kind| tokio::signal::unix::signal(kind).map_err(|error| error.to_string());
        let mut poke = signal(tokio::signal::unix::SignalKind::user_defined1())?;
        let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut hangup = signal(tokio::signal::unix::SignalKind::hangup())?;
        self.recover().await?;
        self.engine.begin();
        // What was asked for while nobody listened, or of a process that died before it was done, comes before anything
        // is started.
        for request in self
            .reader
            .open_cancels(self.number)
            .map_err(|error| error.to_string())?
        {
            if let EventKind::CancelRequested { jobs, mode } = request {
                self.cancel(&jobs, mode).await;
            }
        }
        self.writer.look();
        self.writer.flush().await;
        while let Ok(news) = heard.try_recv() {
            self.hear(news).await?;
        }
        loop {
            self.settle();
            self.cancel_after_failure().await;
            self.start_ready().await?;
            self.settle();
            self.writer.events(std::mem::take(&mut self.pending));
            if let Some(state) = self.engine.outcome() {
                if self.writer.finish(state).await {
                    return Ok(state);
                }
                // Somebody asked for something in the last moment, or the store can't be written any more.
                match heard.recv().await {
                    Some(news) => self.hear(news).await?,
                    None => return Err("the writer has ended".to_owned()),
                }
                continue;
            }
            let news = Arc::clone(&self.news);
            tokio::select! {
                biased;
                () = news.notified() => self.observe(None).await?,
                Some(news) = heard.recv() => self.hear(news).await?,
                _ = poke.recv() => self.writer.look(),
                _ = terminate.recv() => return Err("told to end; the experiment's jobs go on, and so does the experiment once somebody looks at it".to_owned()),
                _ = hangup.recv() => {}
                () = tokio::time::sleep_until(self.next_time().into()) => self.time_passed().await?,
            }
        }
    }

    /// The next time at which something is due by itself.
    fn next_time(&self) -> Instant {
        let timer = self.timers.keys().next().map(|(time, _)| *time);
        let look = self
            .places
            .iter()
            .filter(|place| place.in_flight > 0)
            .map(|place| place.next_look)
            .min();
        [timer, look]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
    }

    async fn time_passed(&mut self) -> Result<(), String> {
        let now = Instant::now();
        while let Some((&(time, unit), ())) = self.timers.first_key_value() {
            if time > now {
                break;
            }
            self.timers.remove(&(time, unit));
            self.engine.retry_due(unit);
        }
        self.observe(Some(now)).await
    }

    /// Looks for what was submitted before this process was there.
    async fn recover(&mut self) -> Result<(), String> {
        let active: Vec<u32> = self.engine.active().collect();
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
    async fn recover_unheard(&mut self) -> Result<(), String> {
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
            if !seen.insert(unit) || self.active.values().any(|active| active.unit == unit) {
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

    fn set_timer(&mut self, unit: u32, at: Timestamp) {
        let wait = at.seconds_since(self.context.clock.now()).max(0.0);
        self.timers
            .insert((Instant::now() + Duration::from_secs_f64(wait), unit), ());
    }

    fn track(&mut self, handle: Handle, unit: u32, attempt: u32, place: usize, started: bool) {
        self.places[place].in_flight += 1;
        self.active.insert(
            handle,
            Active {
                unit,
                attempt,
                place,
                cancelled: None,
                started,
            },
        );
    }

    fn scheduler(&mut self, place: usize) -> Result<Arc<dyn Scheduler>, String> {
        if let Some(scheduler) = &self.places[place].scheduler {
            return Ok(Arc::clone(scheduler));
        }
        let scheduler: Arc<dyn Scheduler> = Arc::from(
            self.places[place]
                .executor
                .scheduler(self.context)
                .map_err(|error| error.to_string())?,
        );
        let (listener, news) = (Arc::clone(&scheduler), Arc::clone(&self.news));
        tokio::spawn(async move {
            loop {
                listener.changed().await;
                news.notify_one();
            }
        });
        self.places[place].scheduler = Some(Arc::clone(&scheduler));
        Ok(scheduler)
    }

    fn planned(&mut self, job: u32) -> Result<PlannedJob, String> {
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

    fn render(
        &mut self,
        unit: u32,
        attempt: u32,
    ) -> Result<(SubmissionKey, executor::Request), String> {
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
                    leader: leader(*index),
                })
                .collect(),
        };
        let executor = &self.places[self.engine.executor_of(members[0])].executor;
        let request = executor
            .render(&unit, &BundleRef::WorkingTree)
            .map_err(|error| error.to_string())?;
        Ok((key, request))
    }

    /// Starts what may start, as far as there is room.
    async fn start_ready(&mut self) -> Result<(), String> {
        for place in 0..self.places.len() {
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

    async fn start(&mut self, unit: u32, place: usize) -> Result<(), String> {
        let attempt = self.engine.attempts(unit) + 1;
        let sent = match self.prepare(unit, attempt, place).await {
            Err(reason) => Err(SendError::Submit(SubmitError::Rejected(reason))),
            Ok((request, scheduler)) => {
                send(scheduler.as_ref(), &request, &mut self.requests).await
            }
        };
        let reason = match sent {
            Ok(handle) => {
                if !self.places[place].executor.capabilities().idempotent {
                    for job in self.engine.members(unit) {
                        self.engine
                            .submitted(job, attempt)
                            .map_err(|error| error.to_string())?;
                        self.record(EventKind::Submitted {
                            job,
                            attempt,
                            handle: handle.clone(),
                        });
                    }
                }
                self.track(handle, unit, attempt, place, false);
                return Ok(());
            }
            Err(SendError::Submit(SubmitError::Uncertain(_) | SubmitError::Unreachable(_))) => {
                // It may have arrived. The same key is sent again; a place that would start it twice is asked first.
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

    async fn prepare(
        &mut self,
        unit: u32,
        attempt: u32,
        place: usize,
    ) -> Result<(executor::Request, Arc<dyn Scheduler>), String> {
        let scheduler = self.scheduler(place)?;
        let (key, request) = self.render(unit, attempt)?;
        if !self.places[place].executor.capabilities().idempotent {
            for job in self.engine.members(unit) {
                self.record(EventKind::Intended {
                    job,
                    attempt,
                    key: key.clone(),
                });
            }
            self.writer.events(std::mem::take(&mut self.pending));
            if !self.writer.flush().await {
                // Without the intent on disk, perhaps under somebody else's lease, nothing is sent.
                return Err("its intent can't be written down".to_owned());
            }
        }
        Ok((request, scheduler))
    }

    /// A unit's place did not take it: it is sent again after a while.
    fn bounced(&mut self, unit: u32) {
        self.engine.bounced(unit);
        self.timers.insert((Instant::now() + BOUNCE, unit), ());
    }

    async fn adopt_or_requeue(
        &mut self,
        unit: u32,
        attempt: u32,
        place: usize,
    ) -> Result<(), String> {
        let (request, scheduler) = self.prepare(unit, attempt, place).await?;
        match scheduler
            .find(&SubmissionKey::new(self.id, unit, attempt), &request)
            .await
        {
            Ok(Some(handle)) => self.track(handle, unit, attempt, place, false),
            Ok(None) | Err(_) => self.bounced(unit),
        }
        Ok(())
    }

    /// Asks the places: all of those with something new, or those whose time has come.
    async fn observe(&mut self, due: Option<Instant>) -> Result<(), String> {
        for place in 0..self.places.len() {
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

    async fn observed(&mut self, handle: &Handle, observed: Observed) -> Result<(), String> {
        let Some(active) = self.active.get_mut(handle) else {
            return Ok(());
        };
        let (unit, attempt) = (active.unit, active.attempt);
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
            Observed::Pending(detail) => self.waits(unit, attempt, JobState::Pending, &detail)?,
            Observed::Unknown(word) => self.waits(unit, attempt, JobState::Unknown, &word)?,
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
            }
        }
        Ok(())
    }

    fn waits(
        &mut self,
        unit: u32,
        attempt: u32,
        state: JobState,
        detail: &str,
    ) -> Result<(), String> {
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
    fn end(
        &mut self,
        unit: u32,
        attempt: u32,
        mut ends: Vec<MemberEnd>,
        cancelled: Option<CancelMode>,
    ) -> Result<(), String> {
        let members = self.engine.members(unit);
        if cancelled.is_some() {
            for end in ends.iter_mut().filter(|end| end.state == JobState::Failed) {
                // It was told to end, and ended: how is its own affair.
                end.state = JobState::Cancelled;
                end.cause = Some(Cause::Cancelled);
            }
        }
        let failed = ends.iter().any(|end| end.state == JobState::Failed);
        let budgets = if failed {
            members
                .iter()
                .map(|job| self.planned(*job).map(|job| job.retries))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let now = self.context.clock.now();
        let retry = if failed && !self.cancelled_all {
            let budget = |member: usize| budgets.get(member).copied().unwrap_or(Retries::NONE);
            verdict::retry(&ends, now, budget, |member, class| {
                // What is decided a second time was counted the first time.
                let known = u32::from(self.engine.has_ended(members[member], attempt));
                self.engine
                    .spent(members[member], class)
                    .saturating_sub(known)
            })
        } else {
            None
        };
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
        if let Some(retry) = retry {
            self.set_timer(unit, retry.at);
        }
        Ok(())
    }

    /// What follows from what has happened.
    fn settle(&mut self) {
        let names = {
            let reader = &self.reader;
            let (number, plan) = (self.number, &self.plan);
            move |job: u32| job_name(reader, number, plan, job)
        };
        let events = self.engine.settle(&names);
        for event in events {
            self.record(event);
        }
    }

    async fn hear(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Stalled(reason) => {
                self.stalled = true;
                self.say(&format!(
                    "nothing new is started while the store can't be written: {reason}"
                ));
            }
            News::Recovered => {
                self.stalled = false;
                self.say("the store can be written again");
            }
            News::Lost(reason) => return Err(reason),
            News::Requests(requests) => {
                if requests
                    .iter()
                    .any(|(_, request)| matches!(request, EventKind::Reset { .. }))
                {
                    self.reopen().await?;
                }
                for (_, request) in requests {
                    if let EventKind::CancelRequested { jobs, mode } = request {
                        self.cancel(&jobs, mode).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Jobs were set back in the store: the graph is made again from there. What runs goes on.
    async fn reopen(&mut self) -> Result<(), String> {
        self.writer.events(std::mem::take(&mut self.pending));
        self.writer.flush().await;
        (_, self.engine) =
            super::reopen(&self.reader, self.id).map_err(|error| error.to_string())?;
        self.cancelled_all = false;
        self.drained = false;
        for active in self.active.values().filter(|active| !active.started) {
            // Sent already, and not seen to start yet.
            self.engine.handed(active.unit);
        }
        self.engine.begin();
        Ok(())
    }

    /// After a failure for good, if the experiment asks for it: what runs is ended, once.
    async fn cancel_after_failure(&mut self) {
        let wanted = self.plan.on_failure == OnFailure::Cancel && self.engine.draining().is_some();
        if wanted && !std::mem::replace(&mut self.drained, true) {
            let running: Vec<u32> = self.active.values().map(|active| active.unit).collect();
            if !running.is_empty() {
                self.cancel(&running, CancelMode::Terminate).await;
            }
        }
    }

    /// Ends jobs: those that wait at once, those that run through their place. No jobs means all.
    async fn cancel(&mut self, jobs: &[u32], mode: CancelMode) {
        let all: Vec<u32> = (0..self.engine.len() as u32).collect();
        self.cancelled_all |= jobs.is_empty();
        let jobs = if jobs.is_empty() { &all[..] } else { jobs };
        let waiting: Vec<u32> = jobs
            .iter()
            .flat_map(|job| self.engine.members(*job))
            .collect();
        for event in self.engine.cancel_waiting(&waiting) {
            self.record(event);
        }
        let mut running = Vec::new();
        for (handle, active) in &mut self.active {
            let wanted = jobs.len() == all.len()
                || self
                    .engine
                    .members(active.unit)
                    .iter()
                    .any(|job| jobs.contains(job));
            if wanted && (active.cancelled.is_none() || mode == CancelMode::Kill) {
                active.cancelled = Some(mode);
                running.push((handle.clone(), active.place));
            }
        }
        for (handle, place) in running {
            if let Some(scheduler) = self.places[place].scheduler.clone()
                && let Err(error) = scheduler.cancel(&handle, mode).await
            {
                self.say(&format!("{handle}: {error}"));
            }
        }
    }

    /// A line in the supervisor's log.
    fn say(&self, text: &str) {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "{} {text}",
            self.context.clock.now().to_text()
        );
    }
}

fn job_name(reader: &Store, number: i64, plan: &Plan, job: u32) -> String {
    let task = plan
        .tasks
        .iter()
        .find(|task| (task.first_job..task.first_job + task.jobs).contains(&job));
    match task {
        Some(task) if task.jobs == 1 => task.name.clone(),
        _ => match reader.planned_jobs(number, job, 1) {
            Ok(jobs) if !jobs.is_empty() => jobs[0].name.clone(),
            _ => format!("job {job}"),
        },
    }
}
