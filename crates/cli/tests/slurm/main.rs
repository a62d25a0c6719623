//! Jobs on a real Slurm, from a laptop over ssh (scripts/slurm.sh, tests/support/slurm.rs).
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![expect(unreachable_pub, reason = "shared by several test crates")]

#[path = "../support/attempts.rs"]
mod attempts;
mod code;
mod desk;
mod devspace;
mod ends;
mod faults;
mod harness;
mod jobs;
mod refusals;
#[expect(dead_code, reason = "shared with the tests of faults")]
#[path = "../faults/scene.rs"]
mod scene;
#[path = "../support/screen.rs"]
mod screen;
#[path = "../support/slurm.rs"]
mod slurm;
#[path = "../../../core/tests/sshd/mod.rs"]
mod sshd;
#[path = "../support/mod.rs"]
mod support;
mod sweeps;
