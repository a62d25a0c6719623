//! One question for all: the queue as it was seen last, shared by every process of a home.
//!
//! ```text
//! observe ─▶ queue.json young enough? ── yes ─▶ rows
//!                  └─ no ─▶ lock ─▶ young enough now? ─ no ─▶ squeue ─▶ queue.json ─▶ rows
//! ```
//!
//! Whoever holds the lock asks for all of the user's jobs, whatever experiment they are of; the others wait for that answer
//! and read it. How old an answer may be depends on what it costs and on how long nothing has changed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::queue::{Row, read_squeue, squeue};
use crate::context::{Context, create_private_dir, replace_file};
use crate::executor::ObserveError;
use crate::model::Timestamp;
use crate::tunnel::Tunnel;

/// Seconds between two questions while something happens.
const BRISK: f64 = 2.0;
/// Seconds between two questions when nothing has happened for long.
const CALM: f64 = 15.0;
/// The share of the time that may be spent with asking: one part in so many.
const SHARE: f64 = 20.0;
/// But no longer than this: one answer that was slow, from a controller just started again, says little of the next.
const SLOWEST: f64 = 30.0;
/// The pace slows down to this part of the time for which nothing has changed.
const PATIENCE: f64 = 0.1;

/// The queue as it was seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// When it was asked for.
    pub(super) asked: Timestamp,
    /// How long the answer took, in seconds.
    pub(super) took: f64,
    /// Since when the rows are the same.
    changed: Timestamp,
    pub(super) rows: Vec<Row>,
}

impl Snapshot {
    /// Seconds until asking is worth it again.
    pub(super) fn pace(&self) -> f64 {
        let quiet = self.asked.seconds_since(self.changed);
        let wanted = (quiet * PATIENCE).clamp(BRISK, CALM);
        wanted.max((self.took * SHARE).min(SLOWEST))
    }
}

/// The file that the processes of a home share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    folder: Utf8PathBuf,
}

impl Shared {
    /// In the place's folder.
    pub(super) fn new(folder: &Utf8Path) -> Shared {
        Shared {
            folder: folder.to_owned(),
        }
    }

    fn path(&self) -> Utf8PathBuf {
        self.folder.join("queue.json")
    }

    fn read(&self) -> Option<Snapshot> {
        let bytes = std::fs::read(self.path()).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn young(&self, context: &Context, since: Timestamp) -> Option<Snapshot> {
        // An answer from the future was written by another clock.
        self.read()
            .filter(|seen| seen.asked >= since && seen.asked <= context.clock.now())
    }

    /// The queue as it was at `since` or later.
    ///
    /// # Errors
    /// The place can't be asked.
    pub(super) async fn get(
        &self,
        context: &Context,
        tunnel: &dyn Tunnel,
        since: Timestamp,
    ) -> Result<Snapshot, ObserveError> {
        if let Some(seen) = self.young(context, since) {
            return Ok(seen);
        }
        let lock = self.lock().await?;
        if let Some(seen) = self.young(context, since) {
            return Ok(seen);
        }
        let before = self.read();
        let (asked, began) = (context.clock.now(), Instant::now());
        let command = squeue();
        let answer = tunnel
            .run(&command)
            .await
            .and_then(|finished| finished.ok(&command))
            .map_err(|error| ObserveError(error.to_string()))?;
        let rows = read_squeue(&answer.stdout);
        let changed = match before {
            Some(before) if before.rows == rows => before.changed,
            _ => asked,
        };
        let seen = Snapshot {
            asked,
            took: began.elapsed().as_secs_f64(),
            changed,
            rows,
        };
        self.write(&seen)
            .map_err(|error| ObserveError(error.to_string()))?;
        drop(lock);
        Ok(seen)
    }

    fn write(&self, seen: &Snapshot) -> std::io::Result<()> {
        let text = serde_json::to_vec(seen).map_err(std::io::Error::other)?;
        replace_file(&self.path(), &text, 0o600)
    }

    async fn lock(&self) -> Result<Flock<OwnedFd>, ObserveError> {
        let folder = self.folder.clone();
        let locked = tokio::task::spawn_blocking(move || {
            create_private_dir(&folder)?;
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join("queue.lock"))?;
            Flock::lock(OwnedFd::from(file), FlockArg::LockExclusive)
                .map_err(|(_, error)| std::io::Error::from(error))
        });
        match locked.await {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(error)) => Err(ObserveError(format!("{}: {error}", self.folder))),
            Err(error) => Err(ObserveError(error.to_string())),
        }
    }
}
