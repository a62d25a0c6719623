//! When things go wrong: the real `mizzen`, real agents and real processes, with something killed, full, gone, damaged or
//! asked for twice in the middle of it.
//!
//! ```text
//! scene    a session's processes, ledger, documents; waiting for a condition with a limit
//! kills    kill -9 of every process there is      clients   several commands at once        interrupts  Ctrl-C
//! disk     full, read-only, gone, damaged, newer   jobs      what jobs do to their keepers   recovery    the log cut
//! files    wrong documents                         texts     any text unchanged              lease       store, take-over
//! ```
//!
//! Each test ends in three questions: is everything in the right state, did every program run exactly as often as its
//! attempts say (jobs write a line into a ledger each time that they really run), and is no process left?
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod clients;
mod disk;
mod files;
mod interrupts;
mod jobs;
mod kills;
mod lease;
mod recovery;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod texts;
