//! Hands one unit to its place.

use std::fs::File;
use std::io::Write;

use camino::{Utf8Path, Utf8PathBuf};

use crate::context::{create_private_dir, write_file};
use crate::executor::{self, Request, Scheduler};
use crate::model::Handle;

/// The exact requests of an experiment, in its folder: one a line, in the order in which they were sent. One file for
/// all, because a file for each job would cost more than all else that is done for a small job.
const REQUESTS: &str = "requests.jsonl";

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

/// Where the requests of an experiment are kept.
#[derive(Debug)]
pub(crate) struct RequestLog {
    path: Utf8PathBuf,
    file: Option<File>,
}

impl RequestLog {
    /// In the experiment's folder.
    pub(crate) fn new(experiment_dir: &Utf8Path) -> RequestLog {
        RequestLog {
            path: experiment_dir.join(REQUESTS),
            file: None,
        }
    }

    /// Writes the files of a request's jobs, and the request.
    pub(crate) fn write_down(&mut self, request: &Request) -> std::io::Result<()> {
        write_files(request)?;
        self.append(request).map_err(|error| {
            std::io::Error::new(error.kind(), format!("can't write {}: {error}", self.path))
        })
    }

    fn append(&mut self, request: &Request) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let line = format!("{}\n", request.payload);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = std::fs::OpenOptions::new();
                none.insert(
                    options
                        .create(true)
                        .append(true)
                        .mode(0o600)
                        .open(&self.path)?,
                )
            }
        };
        file.write_all(line.as_bytes())
    }
}

/// Writes the files of a request's jobs and sends it.
pub(crate) async fn send(
    scheduler: &dyn Scheduler,
    request: &Request,
    log: &mut RequestLog,
) -> Result<Handle, SendError> {
    log.write_down(request).map_err(SendError::Files)?;
    Ok(scheduler.submit(request).await?)
}

fn write_files(request: &Request) -> std::io::Result<()> {
    for member in &request.members {
        // The experiment's own folder is never made here: where it is gone, somebody has removed the home.
        let experiment_dir = Utf8Path::new(&member.job_dir).parent();
        if !member.files.is_empty() && experiment_dir.is_some_and(|dir| !dir.exists()) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("the folder of {} is gone", member.job_dir),
            ));
        }
        for file in &member.files {
            let path = Utf8Path::new(&member.job_dir).join(&file.path);
            if let Some(parent) = path.parent() {
                create_private_dir(parent)?;
            }
            write_file(
                &path,
                file.contents.as_bytes(),
                if file.executable { 0o700 } else { 0o600 },
            )?;
        }
    }
    Ok(())
}
