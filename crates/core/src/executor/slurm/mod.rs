//! Clusters under Slurm.
//!
//! ```text
//! Unit ─ render ─▶ Submission (batch script, command scripts, #SBATCH options) ─ scheduler ─▶ sbatch, squeue, scancel
//! ```

pub mod payload;

pub use payload::{ArraySubmission, Submission, SubmissionFile};
