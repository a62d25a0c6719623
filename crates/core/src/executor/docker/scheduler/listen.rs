//! One stream of events a host, for all jobs of the experiment; one list when it begins, and now and then as a net under it.
//!
//! ```text
//! events ─ lines ─▶ State of the container that each names ─▶ news
//!    └ ends (the engine was stopped, the connection broke) ─▶ silence ─▶ again, after a pause
//! ```
//!
//! A stream begins a little before it was asked for, so nothing falls between it and the list. What was found or adopted may have ended
//! before it was watched: then the list is asked for once more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::engine::{Happened, Status, read_event, words};
use super::{Seen, Shared};
use crate::model::Timestamp;

/// Between two lists while the stream is heard.
const NET: Duration = Duration::from_secs(60);
/// The pause after a stream has ended: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A line that is longer is no event.
const LONGEST: usize = 1 << 20;

/// Hears of an experiment's containers at a host, without end.
pub(super) fn hear(
    shared: &Arc<Shared>,
    host: usize,
    experiment: &str,
) -> impl Future<Output = ()> + use<> {
    let listener = Listener {
        shared: Arc::clone(shared),
        host,
        experiment: experiment.to_owned(),
    };
    shared.hosts[host].set_silence(None);
    listener.hear()
}

struct Listener {
    shared: Arc<Shared>,
    host: usize,
    experiment: String,
}

impl Listener {
    async fn hear(self) {
        let mut pause = PAUSES.0;
        let host = &self.shared.hosts[self.host];
        loop {
            let began = Instant::now();
            let command = self.shared.engine.events(&self.experiment);
            let mut lines = Lines {
                shared: Arc::clone(&self.shared),
                host: self.host,
                rest: Vec::new(),
            };
            let mut never = Never;
            let stream = host.tunnel.exec(&command, &mut never, &mut lines);
            tokio::pin!(stream);
            let ended = loop {
                let net = async {
                    let mut pause = PAUSES.0;
                    while !self.list().await {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSES.1);
                    }
                    self.until_asked().await;
                };
                tokio::select! {
                    ended = &mut stream => break ended,
                    () = net => {}
                }
            };
            let said = match ended {
                Ok(ended) => words(&ended.stderr),
                Err(error) => error.to_string(),
            };
            // What happened while nothing was heard shows in the list, if the engine answers at all.
            self.list().await;
            if host.silence().is_some() && !said.is_empty() {
                host.set_silence(Some(said));
            }
            if began.elapsed() > PAUSES.1 {
                pause = PAUSES.0;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Resolves when it is time for the next list.
    async fn until_asked(&self) {
        // Somebody has found what had begun before it was watched here.
        let _ = tokio::time::timeout(NET, self.shared.ask[self.host].notified()).await;
    }

    /// Takes in how all containers are. Whether the engine has told.
    async fn list(&self) -> bool {
        let shared = &self.shared;
        let asked = Instant::now();
        let rows = match shared.list(self.host, &self.experiment).await {
            Ok(rows) => rows,
            Err(error) => {
                shared.hosts[self.host].set_silence(Some(error.0));
                return false;
            }
        };
        let was_silent = shared.hosts[self.host].silence().is_some();
        shared.hosts[self.host].set_silence(None);
        let now = shared.context.clock.now();
        // What could not be sent to it can be now.
        let mut news = was_silent;
        let mut state = shared.lock();
        state.again |= was_silent;
        for job in state.jobs.values_mut() {
            for part in job.parts.iter_mut().filter(|part| part.host == self.host) {
                let seen = match rows.get(&part.name) {
                    Some(Status::Created) => Seen::Created,
                    Some(Status::Running) => Seen::Running,
                    Some(Status::Exited(code)) => Seen::Exited(Some(*code)),
                    Some(Status::Other) => continue,
                    // It may have been made after the list was.
                    None if part.seen == Seen::Unknown && job.since >= asked => continue,
                    None if part.seen == Seen::Unknown && !job.found => continue,
                    None => Seen::Gone,
                };
                news |= see(&mut part.seen, &mut part.started, seen, now);
            }
        }
        drop(state);
        if news {
            shared.news.notify_one();
        }
        true
    }
}

/// Takes in how a container is; whether that is news.
fn see(known: &mut Seen, started: &mut Option<Timestamp>, seen: Seen, now: Timestamp) -> bool {
    let later = |seen: Seen| match seen {
        Seen::Unknown => 0,
        Seen::Created => 1,
        Seen::Running => 2,
        Seen::Exited(_) => 3,
        Seen::Gone => 4,
    };
    if seen == Seen::Running && started.is_none() {
        *started = Some(now);
    }
    // A container goes one way only. What is removed after its end has ended before.
    if later(seen) <= later(*known) || (seen == Seen::Gone && matches!(known, Seen::Exited(_))) {
        return false;
    }
    *known = seen;
    true
}

/// Where the stream's lines go.
struct Lines {
    shared: Arc<Shared>,
    host: usize,
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line));
        }
        if self.rest.len() > LONGEST {
            self.rest.clear();
        }
    }

    fn line(&self, line: &str) {
        let Some(event) = read_event(line.trim()) else {
            return;
        };
        let shared = &self.shared;
        let now = shared.context.clock.now();
        let mut state = shared.lock();
        let Some(handle) = state.names.get(&event.name).cloned() else {
            let early = state.early.entry(event.name.clone()).or_default();
            match event.happened {
                Happened::Started => early.started = Some(now),
                Happened::Died => early.exited = Some(event.code),
                Happened::Killed => early.killed = true,
                Happened::OutOfMemory => early.out_of_memory = true,
                // Another one may get its name.
                Happened::Removed => drop(state.early.remove(&event.name)),
            }
            return;
        };
        let Some(job) = state.jobs.get_mut(&handle) else {
            return;
        };
        let Some(part) = job.parts.iter_mut().find(|part| part.name == event.name) else {
            return;
        };
        let seen = match event.happened {
            Happened::Started => Some(Seen::Running),
            Happened::Died => Some(Seen::Exited(event.code)),
            Happened::Removed => {
                // Perhaps one of the same name that was made before, and taken back: the list tells.
                shared.ask[self.host].notify_one();
                None
            }
            Happened::Killed => {
                part.killed = true;
                None
            }
            Happened::OutOfMemory => {
                part.out_of_memory = true;
                None
            }
        };
        let news = seen.is_some_and(|seen| see(&mut part.seen, &mut part.started, seen, now));
        // Its GPUs are free.
        let freed = news && part.has_ended();
        state.again |= freed;
        drop(state);
        if news {
            shared.news.notify_one();
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Input that never comes and never ends.
struct Never;

impl AsyncRead for Never {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Task<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_goes_one_way() {
        let (mut known, mut started) = (Seen::Unknown, None);
        let now = Timestamp(7);
        assert!(see(&mut known, &mut started, Seen::Running, now));
        assert_eq!(started, Some(now));
        assert!(!see(&mut known, &mut started, Seen::Created, now));
        assert!(see(&mut known, &mut started, Seen::Exited(Some(3)), now));
        assert!(!see(&mut known, &mut started, Seen::Running, now));
        assert!(!see(&mut known, &mut started, Seen::Gone, now));
        assert_eq!(known, Seen::Exited(Some(3)));
    }
}
