//! Jobs in containers of real engines (scripts/docker.sh, tests/support/docker.rs).
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![expect(unreachable_pub, reason = "shared by several test crates")]

#[path = "../support/attempts.rs"]
mod attempts;
mod conformance;
#[path = "../support/docker.rs"]
mod engine;
mod examples;
mod faults;
mod groups;
mod hosts;
mod jobs;
mod kills;
mod place;
mod places;
mod pulls;
mod refusals;
#[expect(dead_code, reason = "shared with the tests of faults")]
#[path = "../faults/scene.rs"]
mod scene;
#[path = "../support/screen.rs"]
mod screen;
mod shell;
#[path = "../../../core/tests/sshd/mod.rs"]
mod sshd;
#[path = "../support/mod.rs"]
mod support;
