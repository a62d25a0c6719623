//! The thread that writes the supervisor's events: everything that has gathered since the last transaction goes into
//! the next one. It renews the lease and picks up requests from other processes on the side.
//!
//! ```text
//! supervisor ── queue ──▶ writer: at once when it was idle, else every GATHER; a flush at once ──▶ store
//! ```
//!
//! A transaction costs some system calls and a wait for the disk whatever its size, so under load they are few and large.
//! On a full disk it keeps the events, frees the ballast (a file made for this moment), says so, and tries again until
//! there is room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::context::Context;
use crate::model::{EventKind, JobState, Timestamp};
use crate::store::{Lease, Store, StoreError};

/// How often requests are looked for when nobody says that there is one.
const LOOK_FOR_REQUESTS: Duration = Duration::from_millis(500);
/// How often a failed write is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// How long a supervisor that has nothing else to do tries to write before it gives up.
const GIVE_UP: Duration = Duration::from_secs(600);
/// Room for an experiment's last words on a full disk, in bytes.
pub(super) const BALLAST: u64 = 1 << 20;

/// How long events gather after a transaction, unless somebody waits for them.
const GATHER: Duration = Duration::from_millis(25);

/// What the supervisor has for the writer.
#[derive(Debug, Default)]
struct Queue {
    events: Vec<(Timestamp, EventKind)>,
    /// Said when everything that was queued before is on disk.
    flushes: Vec<oneshot::Sender<()>>,
    /// Look for requests now.
    look: bool,
    /// Write that the experiment is over, give the lease back, end; or answer that somebody asks for something.
    finish: Option<(JobState, oneshot::Sender<bool>)>,
    /// Write what is left, give the lease back, end.
    end: bool,
    /// The writer has nothing to do and waits to be woken.
    idle: bool,
    /// The writer is gone: nobody is to wait for it.
    closed: bool,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        !self.flushes.is_empty() || self.look || self.end || self.finish.is_some()
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'queue>(
        &self,
        queue: MutexGuard<'queue, Queue>,
        limit: Duration,
    ) -> MutexGuard<'queue, Queue> {
        self.wake
            .wait_timeout(queue, limit)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn put(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        change(&mut queue);
        if queue.idle || queue.is_urgent() {
            queue.idle = false;
            self.wake.notify_one();
        }
    }
}

/// From the writer.
#[derive(Debug)]
pub(super) enum News {
    /// Another process asks for this; it is written down already.
    Requests(Vec<(Timestamp, EventKind)>),
    /// Writing fails, for this reason; it goes on trying.
    Stalled(String),
    /// Writing works again.
    Recovered,
    /// Somebody else drives the experiment now, or the store is gone for good: stop without touching any job.
    Lost(String),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        context: &Context,
        store: Store,
        experiment: i64,
        lease: Lease,
        ballast: Utf8PathBuf,
        news: UnboundedSender<News>,
    ) -> std::io::Result<Writer> {
        let shared = Arc::new(Shared::default());
        let mut work = Work {
            context: context.clone(),
            shared: Arc::clone(&shared),
            store,
            experiment,
            lease,
            ballast,
            news,
            pending: Vec::new(),
            data_version: None,
        };
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                let _ = work.run();
                let mut queue = work.shared.lock();
                queue.closed = true;
                queue.flushes.clear();
                queue.finish = None;
            })?;
        Ok(Writer {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn events(&self, events: Vec<(Timestamp, EventKind)>) {
        if !events.is_empty() {
            self.shared.put(|queue| queue.events.extend(events));
        }
    }

    /// Waits until everything is on disk; `false` if that will never be.
    pub(super) async fn flush(&self) -> bool {
        let (done, wait) = oneshot::channel();
        // Dropped at once where the writer is gone, which ends the wait as well.
        self.shared.put(|queue| {
            if !queue.closed {
                queue.flushes.push(done)
            }
        });
        wait.await.is_ok()
    }

    pub(super) fn look(&self) {
        self.shared.put(|queue| queue.look = true);
    }

    /// Writes that the experiment is over and gives the lease back, in one transaction, so that whoever asks for something
    /// is either heard before it or finds nobody who drives the experiment. `false`: somebody has asked.
    pub(super) async fn finish(&self, state: JobState) -> bool {
        let (done, wait) = oneshot::channel();
        self.shared.put(|queue| {
            if !queue.closed {
                queue.finish = Some((state, done));
            }
        });
        wait.await.unwrap_or(false)
    }

    /// Writes what is left and gives the lease back.
    pub(super) fn end(mut self) {
        self.shared.put(|queue| queue.end = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    context: Context,
    shared: Arc<Shared>,
    store: Store,
    experiment: i64,
    lease: Lease,
    ballast: Utf8PathBuf,
    news: UnboundedSender<News>,
    pending: Vec<(Timestamp, EventKind)>,
    data_version: Option<i64>,
}

impl Work {
    fn run(&mut self) -> Result<(), ()> {
        let mut renewed = Instant::now();
        let mut looked = Instant::now();
        let mut written: Option<Instant> = None;
        loop {
            let taken = self.take(written);
            self.pending.extend(taken.events);
            if !self.pending.is_empty() {
                self.write()?;
                written = Some(Instant::now());
            }
            if taken.look || looked.elapsed() > LOOK_FOR_REQUESTS {
                looked = Instant::now();
                self.take_requests()?;
            }
            for done in taken.flushes {
                let _: Result<(), ()> = done.send(());
            }
            if let Some((state, done)) = taken.finish {
                let now = self.context.clock.now();
                let mut finished = false;
                self.persist(|work| {
                    finished = work
                        .store
                        .finish(work.experiment, &work.lease, now, state)?;
                    Ok(())
                })?;
                if !finished {
                    self.data_version = None;
                    self.take_requests()?;
                }
                let _: Result<(), bool> = done.send(finished);
                if finished {
                    let _ = std::fs::remove_file(&self.ballast);
                    return Ok(());
                }
            }
            if renewed.elapsed() > crate::store::RENEW {
                renewed = Instant::now();
                let now = self.context.clock.now();
                self.persist(|work| work.store.renew_lease(&work.lease, now))?;
            }
            if taken.end {
                let now = self.context.clock.now();
                let given = self.persist(|work| work.store.give_lease_back(&work.lease, now));
                let _ = std::fs::remove_file(&self.ballast);
                return given;
            }
        }
    }

    /// Waits until there is something to do and takes it.
    fn take(&self, written: Option<Instant>) -> Queue {
        let mut queue = self.shared.lock();
        if queue.events.is_empty() && !queue.is_urgent() {
            queue.idle = true;
            queue = self.shared.wait(queue, LOOK_FOR_REQUESTS);
            queue.idle = false;
        }
        while let Some(left) = written.and_then(|written| GATHER.checked_sub(written.elapsed())) {
            if queue.is_urgent() || queue.events.is_empty() {
                break;
            }
            queue = self.shared.wait(queue, left);
        }
        std::mem::take(&mut *queue)
    }

    fn write(&mut self) -> Result<(), ()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.persist(|work| {
            work.store
                .append(work.experiment, Some(&work.lease), &work.pending)
                .map(|_| ())
        })?;
        self.pending.clear();
        Ok(())
    }

    fn take_requests(&mut self) -> Result<(), ()> {
        // Another connection's writing changes this number; most of the time there is nothing to read.
        let version = self.store.data_version().ok();
        if version.is_some() && version == self.data_version {
            return Ok(());
        }
        let mut requests = Vec::new();
        self.persist(|work| {
            requests = work.store.take_requests(work.experiment, &work.lease)?;
            Ok(())
        })?;
        self.data_version = version;
        if !requests.is_empty() {
            let _ = self.news.send(News::Requests(requests));
        }
        Ok(())
    }

    /// Does what has to be on disk, again and again while there is no room or no home. `Err`: the lease is lost.
    fn persist(
        &mut self,
        mut what: impl FnMut(&mut Work) -> Result<(), StoreError>,
    ) -> Result<(), ()> {
        let start = Instant::now();
        let mut stalled = false;
        loop {
            let error = match what(self) {
                Ok(()) => {
                    if stalled {
                        let _ = self.news.send(News::Recovered);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if matches!(error, StoreError::LeaseLost) || start.elapsed() > GIVE_UP {
                let _ = self.news.send(News::Lost(error.to_string()));
                return Err(());
            }
            if !self.store.path().exists() {
                // The home was removed: there is nothing left to write to, and a new store would be somebody else's.
                let _ = self
                    .news
                    .send(News::Lost(format!("{} is gone", self.store.path())));
                return Err(());
            }
            if !stalled {
                stalled = true;
                let _ = self.news.send(News::Stalled(error.to_string()));
            }
            if matches!(error, StoreError::Full { .. })
                && std::fs::remove_file(&self.ballast).is_ok()
            {
                continue;
            }
            std::thread::park_timeout(TRY_AGAIN);
        }
    }
}
