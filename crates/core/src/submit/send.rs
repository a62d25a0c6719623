//! Hands one unit to its place.

use camino::Utf8PathBuf;

use crate::context::{create_private_dir, write_file};
use crate::executor::{self, Request, Scheduler};
use crate::model::Handle;

/// The exact request of a job's last attempt, in the job's folder.
const REQUEST: &str = "request.json";

/// A unit can't be handed to its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The files of its jobs can't be written.
    #[error("{0}")]
    Files(std::io::Error),
    /// The place does not have it, or it is not known whether it does.
    #[error(transparent)]
    Submit(#[from] executor::SubmitError),
}

/// Writes the folders and files of a request's jobs and sends it.
pub(crate) async fn send(
    scheduler: &dyn Scheduler,
    request: &Request,
) -> Result<Handle, SendError> {
    write_files(request).map_err(SendError::Files)?;
    Ok(scheduler.submit(request).await?)
}

fn write_files(request: &Request) -> std::io::Result<()> {
    let text = serde_json::to_vec(&request.payload).map_err(std::io::Error::other)?;
    for member in &request.members {
        let job_dir = Utf8PathBuf::from(&member.job_dir);
        match std::fs::DirBuilder::new().create(&job_dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            _ => create_private_dir(&job_dir)?,
        }
        for file in &member.files {
            let path = job_dir.join(&file.path);
            if let Some(parent) = path.parent() {
                create_private_dir(parent)?;
            }
            write_file(
                &path,
                file.contents.as_bytes(),
                if file.executable { 0o700 } else { 0o600 },
            )?;
        }
        write_file(&job_dir.join(REQUEST), &text, 0o600)?;
    }
    Ok(())
}
