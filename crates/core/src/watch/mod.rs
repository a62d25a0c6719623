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
mod verdict;
mod writer;

pub use engine::Engine;
pub use ensure::{WatchError, ensure_supervised};
pub use supervisor::supervise;
