//! From a plan to jobs at their places, and what the user asks of them afterwards.
//!
//! ```text
//! prepare: layers, overrides ─▶ plan and record
//! create: folder, document, rows ─▶ (watch) ─▶ send: files of the jobs, requests.jsonl, Scheduler::submit
//! cancel, retry: requests to whoever drives the experiment        remove: rows and folder
//! devspace: an experiment whose job is an sshd, and its entry in ~/.ssh/config
//! nemo_run: another launcher's past experiments ─▶ folder, rows, events
//! ```
//!
//! Nothing is started here but by [`fn@send`], and that only by the holder of the experiment's lease.

pub mod archive;
pub mod compare;
mod control;
mod create;
pub mod devspace;
mod gc;
mod launchers;
pub mod nemo_run;
mod package;
mod prepare;
mod preview;
pub mod provenance;
mod reach;
pub mod repro;
mod send;

pub use control::{cancel, remove, retry};
pub use create::create;
pub use gc::{collect, collect_at, needed_trees};
pub use launchers::TaskLauncherError;
pub use prepare::{Preparation, PrepareError, Prepared, prepare, surrounding_layers};
pub use preview::{JobPreview, Previewer, is_private, preview};
pub use reach::reach;
pub(crate) use send::{RequestLog, SendError, send};

use crate::model::ExperimentId;
use crate::store::StoreError;

/// What was asked for can't be done.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder can't be made or removed.
    #[error("{0}")]
    Files(std::io::Error),
    /// An executor can't be made from its settings.
    #[error(transparent)]
    Executor(#[from] crate::executor::ExecutorError),
    /// A job can't run where it is to run.
    #[error(transparent)]
    Render(#[from] crate::executor::RenderError),
    /// The code can't be packed.
    #[error(transparent)]
    Pack(#[from] crate::packager::PackError),
    /// It can't be run again from what is kept of it.
    #[error("experiment {id} can't be run again: {reason}")]
    NotRepeatable {
        /// The experiment.
        id: ExperimentId,
        /// Why.
        reason: String,
    },
    /// A place can't be reached, or does not let us in.
    #[error(transparent)]
    Tunnel(#[from] crate::tunnel::TunnelError),
    /// The experiment still runs.
    #[error("experiment {0} still runs")]
    Running(ExperimentId),
    /// It ran elsewhere, and only its history is here.
    #[error(
        "experiment {id} is history that was imported from {from}: nothing of it runs, or can be run, here"
    )]
    Imported {
        /// The experiment.
        id: ExperimentId,
        /// What it was run with.
        from: String,
    },
    /// None of the jobs can be tried again.
    #[error("no job of experiment {0} has failed or was cancelled")]
    NothingToRetry(ExperimentId),
}
