//! The thread that writes the supervisor's events: everything that has gathered since the last transaction goes into
//! the next one. It renews the lease and picks up requests from other processes on the side.
//!
//! On a full disk it keeps the events, frees the ballast (a file made for this moment), says so, and tries again until
//! there is room.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::context::Context;
use crate::model::{EventKind, Timestamp};
use crate::store::{Lease, Store, StoreError};

/// How often requests are looked for when nobody says that there is one.
const LOOK_FOR_REQUESTS: Duration = Duration::from_millis(500);
/// How often a failed write is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// How long a supervisor that has nothing else to do tries to write before it gives up.
const GIVE_UP: Duration = Duration::from_secs(600);
/// Room for an experiment's last words on a full disk, in bytes.
pub(super) const BALLAST: u64 = 1 << 20;

/// To the writer.
#[derive(Debug)]
pub(super) enum Message {
    /// Write these.
    Events(Vec<(Timestamp, EventKind)>),
    /// Say when everything before this is on disk.
    Flush(oneshot::Sender<()>),
    /// Look for requests now.
    Look,
    /// Write what is left, give the lease back, end.
    End,
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
    messages: mpsc::Sender<Message>,
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
        let (messages, received) = mpsc::channel();
        let mut work = Work {
            context: context.clone(),
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
            .spawn(move || work.run(&received))?;
        Ok(Writer {
            messages,
            thread: Some(thread),
        })
    }

    pub(super) fn events(&self, events: Vec<(Timestamp, EventKind)>) {
        if !events.is_empty() {
            // The thread ends before its sender only when the lease is lost; the supervisor then stops as well.
            let _ = self.messages.send(Message::Events(events));
        }
    }

    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.messages.send(Message::Flush(done)).is_ok() {
            let _ = wait.await;
        }
    }

    pub(super) fn look(&self) {
        let _ = self.messages.send(Message::Look);
    }

    /// Writes what is left and gives the lease back.
    pub(super) fn end(mut self) {
        let _ = self.messages.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    context: Context,
    store: Store,
    experiment: i64,
    lease: Lease,
    ballast: Utf8PathBuf,
    news: UnboundedSender<News>,
    pending: Vec<(Timestamp, EventKind)>,
    data_version: Option<i64>,
}

impl Work {
    fn run(&mut self, messages: &mpsc::Receiver<Message>) {
        let mut renewed = Instant::now();
        let mut waiting = Vec::new();
        let mut ending = false;
        while !ending {
            let mut look = false;
            match messages.recv_timeout(LOOK_FOR_REQUESTS) {
                Ok(message) => self.sort(message, &mut waiting, &mut look, &mut ending),
                Err(RecvTimeoutError::Timeout) => look = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for message in messages.try_iter() {
                self.sort(message, &mut waiting, &mut look, &mut ending);
            }
            if self.write().is_err() {
                return;
            }
            if look && self.take_requests().is_err() {
                return;
            }
            for done in waiting.drain(..) {
                let _: Result<(), ()> = oneshot::Sender::send(done, ());
            }
            if renewed.elapsed() > crate::store::RENEW {
                renewed = Instant::now();
                let now = self.context.clock.now();
                if self
                    .persist(|work| work.store.renew_lease(&work.lease, now))
                    .is_err()
                {
                    return;
                }
            }
        }
        let now = self.context.clock.now();
        let _ = self.persist(|work| work.store.give_lease_back(&work.lease, now));
        let _ = std::fs::remove_file(&self.ballast);
    }

    fn sort(
        &mut self,
        message: Message,
        waiting: &mut Vec<oneshot::Sender<()>>,
        look: &mut bool,
        ending: &mut bool,
    ) {
        match message {
            Message::Events(events) => self.pending.extend(events),
            Message::Flush(done) => waiting.push(done),
            Message::Look => *look = true,
            Message::End => *ending = true,
        }
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
