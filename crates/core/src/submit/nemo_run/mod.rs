//! History from NeMo-Run: its experiments become experiments of the store that have ended, so that they can be listed, shown
//! and read beside everything else.
//!
//! ```text
//! $NEMORUN_HOME ─ home: folders, _TASKS · places: states, logs ─▶ PastExperiment ─ record ─▶ plan, record, events ─▶ store
//!                   └ objects: base64, zlib, JSON → values                      └──────▶ logs in the experiment's folder
//! ```
//!
//! The home is only read: nothing is written, moved or locked there, and none of what it holds is imported or run. What
//! NeMo-Run's files do not say is said to be unknown, with the reason: it keeps no causes, no exit codes but those of local
//! jobs, no times but those of files, and of jobs on clusters no state at all once it has ended itself.
//!
//! An imported experiment has no executor here. Its id is derived from NeMo-Run's, so that importing again finds it; its
//! record says where it came from ([`crate::store::Store::imported`]), and what would run it again refuses.
//!
//! To import from one more tool: a module beside this one that answers with its past experiments.

mod home;
mod objects;
mod places;
mod record;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::model::{Cause, ExperimentId, JobState, Timestamp};

pub use record::{ImportError, Logs, import};

/// The word for where such experiments came from.
pub const SOURCE: &str = "NeMo-Run";

/// An experiment as NeMo-Run left it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastExperiment {
    /// Its id in Mizzen, made from NeMo-Run's.
    pub id: ExperimentId,
    /// Its title in Mizzen: NeMo-Run's, in letters that titles may have.
    pub title: String,
    /// Its id there.
    pub original_id: String,
    /// Its title there.
    pub original_title: String,
    /// Its folder.
    pub folder: Utf8PathBuf,
    /// The version of NeMo-Run that made it.
    pub version: Option<String>,
    /// When it was made: from its id, else from its files.
    pub created: Timestamp,
    /// When it ended, or when anything was heard of it last.
    pub ended: Timestamp,
    /// Its state: what its jobs' states come to.
    pub state: JobState,
    /// Its jobs; the members of a group are jobs of their own.
    pub jobs: Vec<PastJob>,
    /// What could not be read, and what follows from it.
    pub notes: Vec<String>,
}

/// A job as NeMo-Run left it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastJob {
    /// Its name in Mizzen, unique in the experiment.
    pub name: String,
    /// Its id in NeMo-Run.
    pub original_id: String,
    /// The group that it belonged to.
    pub group: Option<String>,
    /// The task: a script's or a callable's values.
    pub task: Value,
    /// The executor's values.
    pub executor: Value,
    /// What named it at its place.
    pub handle: Option<String>,
    /// The jobs that it waited for, by their ids in NeMo-Run.
    pub after: Vec<String>,
    /// Its state.
    pub state: JobState,
    /// Why it failed, where that is certain.
    pub cause: Option<Cause>,
    /// What is known beside the state, or why it is not known.
    pub message: Option<String>,
    /// When its last log was written to, if it has one.
    pub last_written: Option<Timestamp>,
    /// The logs of each attempt, in order of ranks.
    pub attempts: Vec<Vec<Utf8PathBuf>>,
}

/// Something in the home that is no experiment that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where.
    pub path: Utf8PathBuf,
    /// Why.
    pub reason: String,
}

/// What a home of NeMo-Run holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// Its experiments, oldest first.
    pub experiments: Vec<PastExperiment>,
    /// What can't be read at all.
    pub unreadable: Vec<Unreadable>,
}

/// Reads a home of NeMo-Run.
///
/// # Errors
/// There is no such folder, or it holds no experiments.
pub fn read(home: &Utf8Path) -> Result<Past, ImportError> {
    home::read(home)
}
