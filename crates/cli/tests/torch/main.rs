//! Launchers with the real PyTorch and the real Ray (scripts/frameworks.sh), on this machine and on a real Slurm.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]
#![expect(unreachable_pub, reason = "shared by several test crates")]

mod cluster;
#[expect(dead_code, reason = "shared with the tests of Slurm")]
#[path = "../slurm/desk.rs"]
mod desk;
mod frameworks;
mod local;
#[expect(dead_code, reason = "shared with the tests of faults")]
#[path = "../faults/scene.rs"]
mod scene;
#[expect(dead_code, reason = "shared with the tests of Slurm")]
#[path = "../support/slurm.rs"]
mod slurm;
#[path = "../../../core/tests/sshd/mod.rs"]
mod sshd;
#[path = "../support/mod.rs"]
mod support;
