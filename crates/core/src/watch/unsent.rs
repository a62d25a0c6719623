//! Why jobs are not handed to their place: a fact in the experiment's folder, for everybody who shows the experiment.
//!
//! It is no state of a job: the jobs wait as they did, and are sent as soon as their place takes them. The supervisor writes
//! the file when that changes, by rename, and removes it when there is nothing to tell.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::context::replace_file;
use crate::model::Timestamp;

/// The file in the experiment's folder: a list of [`NotSent`].
const FILE: &str = "not-sent.json";

/// Jobs wait here, since their place does not take them now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSent {
    /// The executor that they wait for, by its name in the plan.
    pub executor: String,
    /// Why, in the place's words or the connection's.
    pub reason: String,
    /// Since when, in microseconds since the epoch.
    pub since: Timestamp,
    /// When it is tried again, in microseconds since the epoch.
    pub again: Timestamp,
}

/// Why jobs of the experiment in this folder are not handed to their places, one entry for each executor; empty if there is
/// no such reason.
#[must_use]
pub fn not_sent(experiment_dir: &Utf8Path) -> Vec<NotSent> {
    fs_err::read(experiment_dir.join(FILE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// The file, and what stands in it.
#[derive(Debug)]
pub(super) struct Unsent {
    path: Utf8PathBuf,
    entries: BTreeMap<String, NotSent>,
}

impl Unsent {
    /// Of an experiment that begins to be driven: what an earlier supervisor could not send is tried anew.
    pub(super) fn new(experiment_dir: &Utf8Path) -> Unsent {
        let unsent = Unsent {
            path: experiment_dir.join(FILE),
            entries: BTreeMap::new(),
        };
        unsent.write();
        unsent
    }

    /// A place does not take jobs, and will be asked again.
    pub(super) fn set(&mut self, executor: &str, reason: &str, now: Timestamp, again: Timestamp) {
        let since = self.entries.get(executor).map_or(now, |entry| entry.since);
        let entry = NotSent {
            executor: executor.to_owned(),
            reason: reason.to_owned(),
            since,
            again,
        };
        self.entries.insert(executor.to_owned(), entry);
        self.write();
    }

    /// A place has taken what there was, or there is nothing more to send. Answers whether that is news.
    pub(super) fn clear(&mut self, executor: &str) -> bool {
        let was_there = self.entries.remove(executor).is_some();
        if was_there {
            self.write();
        }
        was_there
    }

    /// There is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// It is news only: whatever goes wrong here is not worth failing for.
    fn write(&self) {
        let entries: Vec<&NotSent> = self.entries.values().collect();
        if entries.is_empty() {
            let _ = fs_err::remove_file(&self.path);
        } else if let Ok(bytes) = serde_json::to_vec(&entries) {
            let _ = replace_file(&self.path, &bytes, 0o600);
        }
    }
}

impl Drop for Unsent {
    /// Whoever takes over finds out anew; whoever looks meanwhile is told of no try that nobody makes.
    fn drop(&mut self) {
        self.entries.clear();
        self.write();
    }
}
