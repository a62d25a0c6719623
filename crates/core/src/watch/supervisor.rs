//! The process that drives one experiment.
//!
//! ```text
//! take the lease ─▶ restore the engine ─▶ find what was submitted ─▶ ┌ start what is ready            ┐ until the
//!                                                                    │ wait: news, time, request       │ engine has
//!                                                                    └ observe ─▶ events ─▶ engine, writer ┘ an outcome
//! ```
//!
//! Each part of the picture has its file beside this one: `recover`, `start`, `observe`, `requests`.
//! Everything happens in one task, one thing after another; only writing to disk and reading from the places happen
//! beside it.

mod code;
mod early;
mod elsewhere;
mod observe;
mod recover;
mod requests;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use mizzen_agent::protocol::Identity;
use tokio::sync::{Notify, mpsc};

use super::WatchError;
use super::engine::Engine;
use super::unsent::Unsent;
use super::writer::{BALLAST, News, Writer};
use crate::context::Context;
use crate::executor::{self, Executor, Scheduler};
use crate::model::{CancelMode, Cause, EventKind, ExperimentId, Handle, JobState, Timestamp};
use crate::plan::{Plan, PlannedJob};
use crate::store::{Store, lease_name};
use crate::submit::RequestLog;
use code::Courier;
use elsewhere::{Handing, Line, Word};

/// How long a unit that its place could not take waits before it is sent again.
const BOUNCE: Duration = Duration::from_millis(300);
/// How long a supervisor whose experiment is over waits until nothing secret is left at its places.
const LAST_WORDS: Duration = Duration::from_secs(20);
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
    if let Some(from) = store.imported(id)? {
        return Err(failed(format!("it is history, imported from {from}")));
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
    /// It has said that asking is worth it.
    changed: Arc<AtomicBool>,
    next_look: Instant,
    line: Line,
    courier: Courier,
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
    /// What was last told of its waiting.
    told: Option<(JobState, String)>,
    /// It has ended, and its logs are being fetched.
    keeping: bool,
    /// Its place has started it again, and it is not to go on.
    given_up: GivenUp,
}

/// Whether a place was told that a job which it starts again by itself is not to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    No,
    /// It is being told.
    Told,
    /// It has heard it.
    Heard,
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
    /// Units on their way to a place elsewhere.
    handing: HashMap<u32, Handing>,
    /// Units that wait at their places and will never start, and why.
    recalled: HashMap<u32, (Cause, String)>,
    /// Something was handed over since it was last looked at what may wait for it there.
    look_for_early: bool,
    /// Jobs that have ended, and of which something is still to be removed at their places.
    forgetting: u32,
    words: mpsc::UnboundedSender<Word>,
    heard_words: Option<mpsc::UnboundedReceiver<Word>>,
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
    /// What everybody may know of jobs that wait to be sent.
    unsent: Unsent,
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
            let there = executor.bundles_dirs(&context.home);
            places.push(Place {
                courier: Courier::new(context, there),
                executor,
                scheduler: None,
                slots,
                in_flight: 0,
                changed: Arc::default(),
                next_look: Instant::now(),
                line: Line::default(),
            });
        }
        let requests = RequestLog::new(&dir);
        let unsent = Unsent::new(&dir);
        let (words, heard_words) = mpsc::unbounded_channel();
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
            handing: HashMap::new(),
            recalled: HashMap::new(),
            look_for_early: true,
            forgetting: 0,
            words,
            heard_words: Some(heard_words),
            planned: HashMap::new(),
            timers: BTreeMap::new(),
            pending: Vec::new(),
            news: Arc::new(Notify::new()),
            stalled: false,
            cancelled_all: false,
            drained: false,
            requests,
            unsent,
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
        let mut words = self.heard_words.take().ok_or("it runs already")?;
        self.make_ready().await;
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
            self.recall();
            self.cancel_after_failure().await;
            self.hand_early()?;
            self.start_ready().await?;
            let now = Instant::now();
            for place in 0..self.places.len() {
                if self.is_elsewhere(place) {
                    self.speak(place, now)?;
                }
            }
            self.settle();
            self.writer.events(std::mem::take(&mut self.pending));
            if let Some(state) = self.engine.outcome() {
                if self.writer.finish(state).await {
                    // Nobody waits for this any more, and it is soon done.
                    let last = tokio::time::sleep(LAST_WORDS);
                    tokio::pin!(last);
                    while self.forgetting > 0 {
                        tokio::select! {
                            Some(word) = words.recv() => self.heard_from(word).await?,
                            () = &mut last => break,
                        }
                    }
                    self.leave_places().await;
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
                Some(word) = words.recv() => self.heard_from(word).await?,
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
            .filter(|place| place.in_flight > 0 && !place.line.is_asking())
            .map(|place| place.next_look)
            .min();
        let line = (0..self.places.len())
            .filter_map(|place| {
                let ready = self.engine.has_ready(place);
                self.places[place].line.next_time(ready)
            })
            .min();
        [timer, look, line]
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
        for place in 0..self.places.len() {
            if self.is_elsewhere(place) {
                self.speak(place, now)?;
            }
        }
        self.observe(Some(now)).await
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
                told: None,
                keeping: false,
                given_up: GivenUp::No,
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
        let changed = Arc::clone(&self.places[place].changed);
        tokio::spawn(async move {
            loop {
                listener.changed().await;
                changed.store(true, Ordering::Relaxed);
                news.notify_one();
            }
        });
        self.places[place].scheduler = Some(Arc::clone(&scheduler));
        Ok(scheduler)
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
