//! Where everything that happened is kept: one SQLite database in the home.
//!
//! ```text
//! submit, watch ── events ──▶ append ─┬─▶ events            the truth, in order
//!                                     └─▶ jobs, attempts…   made from it, in the same transaction
//! status, ls, logs ◀── view, experiments, events_since ──┘
//! ```
//!
//! Journal mode TRUNCATE and synchronous FULL: homes on NFS and Lustre have no shared memory for a write-ahead log, and
//! what was answered must be on disk. Writers append many events in one transaction. Only the holder of an experiment's
//! lease appends to it; the lease's generation is checked in each transaction, so a holder that lost it finds out.
//! Pitfall: a store of a newer version is not opened at all.

mod append;
mod error;
mod lease;
mod open;
mod query;
mod resolve;
mod view;

use rusqlite::Connection;

pub(crate) use append::lease_name;
pub use error::StoreError;
pub(crate) use lease::RENEW;
pub use lease::{Lease, LeaseError, LeaseView};
pub use query::{Filter, JobRow};
pub use resolve::ResolveError;
pub use view::{AttemptView, ExperimentSummary, ExperimentView, JobView, StateCounts};

/// The open database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    home: camino::Utf8PathBuf,
}

impl Store {
    /// The home that it belongs to.
    #[must_use]
    pub fn home(&self) -> &camino::Utf8Path {
        &self.home
    }
}
