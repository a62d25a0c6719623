//! The words that every stage shares: ids, states and their one transition function, roles, events.

mod env;
mod event;
mod failure;
mod ids;
mod role;
mod state;
mod time;
mod usage;

pub use env::Env;
pub use event::{CancelMode, Event, EventKind, FailureClass, Retry};
pub use failure::Failure;
pub use ids::{ExperimentId, Handle, IdError, SubmissionKey};
pub use mizzen_agent::record::{ExitRecord, FirstFailure, Outcome, RankExit};
pub use role::{Mount, Resource, Role};
pub use state::{Cause, IllegalTransition, JobState, transition};
pub use time::Timestamp;
pub use usage::{GpuUse, Usage};
