//! Files of submissions on their way to a cluster.

use super::payload::{AGENT_LINK, SubmissionFile};
use super::queue::LIMIT;
use crate::executor::SubmitError;
use crate::tunnel::{self, Tunnel, TunnelError, add_to_archive};

/// What is to be in E.
pub(super) struct Archive(tunnel::Archive);

impl Archive {
    /// An empty one; `time` is when all of it was written, in seconds since the epoch.
    pub(super) fn new(time: u64) -> Archive {
        Archive(tunnel::Archive::new(time))
    }

    /// Adds files of a submission.
    pub(super) fn files(&mut self, directory: &str, files: &[SubmissionFile]) {
        for file in files {
            self.file(directory, &file.path, file.contents.as_bytes(), mode(file));
        }
    }

    /// Adds a file, with its path relative to the folder.
    pub(super) fn file(&mut self, directory: &str, path: &str, bytes: &[u8], mode: u32) {
        self.0.file(directory, path, bytes, mode);
    }

    /// Unpacks everything at the place, and links the agent. Nothing was submitted yet, so whatever goes wrong may be tried again.
    ///
    /// # Errors
    /// The place can't be reached, or does not take the files.
    pub(super) async fn send(mut self, tunnel: &dyn Tunnel) -> Result<(), SubmitError> {
        let again = |error: TunnelError| match SubmitError::from(error) {
            SubmitError::Uncertain(words) => SubmitError::Unreachable(words),
            other => other,
        };
        if let Some(agent) = tunnel.agent().await.map_err(again)? {
            self.0.link(agent, AGENT_LINK);
        }
        self.0.send(tunnel, LIMIT).await.map_err(again)
    }
}

/// Files of one unit as an archive of its own, not compressed.
///
/// # Errors
/// A path is too odd for an archive.
pub(super) fn pack(files: &[SubmissionFile], time: u64) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let bytes = file.contents.as_bytes();
        add_to_archive(&mut builder, time, &file.path, bytes, mode(file))?;
    }
    builder.into_inner()
}

fn mode(file: &SubmissionFile) -> u32 {
    if file.executable { 0o700 } else { 0o600 }
}
