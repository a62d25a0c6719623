//! `mizzen-agent`: starts the ranks of a job, watches them, ends them, and writes the exit record.
//!
//! ```text
//! arguments ──▶ work:  stdin (Commands) ─┐
//!          ├──▶ run:   one Job in a file ┼▶ agent (event loop) ──▶ job (in hand) ──▶ spawn · reap
//!          ├──▶ rank:  a task of a step ─┘                          ├ claim · devices    before anything starts
//!          ├──▶ conclude: its records, merged                       ├ sampling           what it uses
//!          ├──▶ serve:  a tunnel's commands                         ├ verdict · oom      what the ends mean
//!          │                                                        └ tail · writer      what stays on disk
//!          ├──▶ follow: what jobs write, to a mirror
//!          └──▶ bundle: the code that a place keeps
//! ```
//!
//! `serve` and `bundle` share nothing with these: one runs commands for a tunnel (`serve.rs`), the other moves files.
//!
//! One thread, one `ppoll`: descriptors, signals and timers meet in `agent`, nothing else waits. All of it is Linux:
//! elsewhere the program says so and ends.

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod blame;
#[cfg(target_os = "linux")]
mod bundles;
#[cfg(target_os = "linux")]
mod channel;
#[cfg(target_os = "linux")]
mod claim;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod code;
#[cfg(target_os = "linux")]
mod conclude;
#[cfg(target_os = "linux")]
mod devices;
#[cfg(target_os = "linux")]
mod follow;
#[cfg(target_os = "linux")]
mod job;
#[cfg(target_os = "linux")]
mod oom;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod orders;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod rank;
#[cfg(target_os = "linux")]
mod reap;
#[cfg(target_os = "linux")]
mod sampling;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod spawn;
#[cfg(target_os = "linux")]
mod surroundings;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tail;
#[cfg(target_os = "linux")]
mod verdict;
#[cfg(target_os = "linux")]
mod world;
#[cfg(target_os = "linux")]
mod writer;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    arguments::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    // There is nobody to tell when even this can't be written.
    let _ = std::io::stderr().write_all(b"error: mizzen-agent runs on Linux only\n");
    std::process::ExitCode::FAILURE
}
