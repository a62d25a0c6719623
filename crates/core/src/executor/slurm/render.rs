//! A unit as a submission.

use super::SlurmExecutor;
use crate::executor::{RenderError, Request, Unit};

/// What to do where a tunnel has no folder for jobs.
pub(super) const JOB_DIR_HINT: &str = "write `tunnel.job_dir`: a folder on the cluster that its nodes see, such as \"/scratch/me/jobs\"";

pub(super) fn request(executor: &SlurmExecutor, unit: &Unit<'_>) -> Result<Request, RenderError> {
    let _ = executor;
    Err(RenderError::Unsupported {
        job: unit.members[0].job.name.clone(),
        reason: "not there yet".to_owned(),
    })
}
