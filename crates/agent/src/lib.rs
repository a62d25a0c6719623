//! The small process beside every mizzen job, and the words that it shares with the supervisor.

pub mod protocol;
pub mod record;
