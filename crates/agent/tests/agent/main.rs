//! The agent as its supervisor meets it: a real process, real ranks, real signals.
//!
//! No test sleeps: each waits for an event (a report, a line in a FIFO, the end of a process) with a limit that only a
//! broken agent reaches.
#![cfg(target_os = "linux")]

mod bundles;
mod channel;
mod claims;
mod ending;
mod groups;
mod leftovers;
mod nodes;
mod orders;
mod ranks;
mod samples;
mod steps;
mod support;
mod tasks;
mod why;
mod worlds;
