//! The small process beside every mizzen job, and the words that it shares with the supervisor.
//!
//! ```text
//! supervisor ── protocol::Command ──▶ mizzen-agent ──▶ ranks
//!            ◀── protocol::Report ───      │
//!            ◀── record::ExitRecord ── attempt folder (agent, rank-<r>.log, heartbeat, exit.json)
//! mirror     ◀── following ──── mizzen-agent follow: what jobs write
//!            ─── identity ──▶ does that agent still live? what did it leave behind?
//! bundles ── bundle ──▶ mizzen-agent bundle: trees of code at a place, and in a job's folder
//! tunnel ── frames::Ask ──▶ mizzen-agent serve ──▶ commands
//!        ◀── frames::Answer ──┘
//! ```
//!
//! The library is what others may use; the agent's own behaviour lives in the binary. It reads no environment and no
//! wall clock; `identity` and `process_table` read `/proc`, which only Linux has: elsewhere they answer "not known".

#[cfg(unix)]
pub mod bundle;
pub mod following;
pub mod frames;
pub mod identity;
pub mod node;
pub mod process_table;
pub mod protocol;
pub mod record;
pub mod samples;
pub mod why;
