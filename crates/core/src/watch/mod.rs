//! Drives an experiment from its plan to its end, whatever dies meanwhile.
//!
//! ```text
//!            ┌────────────── supervisor (one process an experiment, holds the lease) ─────────────┐
//! plan ─────▶│ engine ─ ready ─▶ submit::send ─▶ Scheduler                                          │
//! requests ─▶│    ▲                                 │ changed, observe                            │
//!            │    └───────── events ◀───────────────┘                                             │
//!            └──────────────────┼─────────────────────────────────────────────────────────────────┘
//!                               ▼ writer (a thread: many events a transaction) ─▶ store
//! ```
//!
//! What a supervisor knows it can make again: from the store's rows and from what the places say. Killing it loses
//! nothing; [`ensure_supervised`] starts another, and whoever takes the lease goes on. Scheduling does not wait for the
//! disk, except before a request to a place that would start a job twice if it were asked twice.

mod engine;
mod ensure;
mod supervisor;
mod unsent;
mod verdict;
mod writer;

pub use engine::Engine;
pub use ensure::{WatchError, ensure_supervised, last_words};
pub use supervisor::supervise;
pub use unsent::{NotSent, not_sent};

use crate::model::ExperimentId;
use crate::plan::Plan;
use crate::store::{Store, StoreError};

/// An experiment as the store has it: its plan without the jobs, and its graph with everything that has happened.
/// [`Engine::begin`] is still to be called.
///
/// # Errors
/// There is no such experiment, or the store can't be read.
pub fn reopen(store: &Store, id: &ExperimentId) -> Result<(Plan, Engine), StoreError> {
    let plan = store.plan_without_jobs(id)?;
    let mut engine = Engine::new(&plan);
    engine.restore(&store.job_rows(store.number(id)?)?);
    Ok((plan, engine))
}
