//! Files on their way to a place: one compressed archive for each experiment's folder, unpacked by one command.
//!
//! Scripts are much alike: compressed they are a twentieth, which over a slow line is what counts.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::payload::{AGENT_LINK, SubmissionFile};
use super::queue::LIMIT;
use super::submit::unsent;
use crate::executor::SubmitError;
use crate::tunnel::{Cmd, Tunnel, TunnelError};

/// Unpacks an archive and links the agent. `$1`: E, `$2`: the agent or nothing, `$3`: the link.
const UNPACK: &str = r#"umask 077
mkdir -p -- "$1" && cd -- "$1" && gzip -dc | tar -xf - || exit
if [ -n "$2" ]; then ln -sfn -- "$2" "$3"; fi"#;

/// What is to be in E.
pub(super) struct Archive {
    /// By folder: an archive for each experiment's.
    folders: BTreeMap<String, tar::Builder<GzEncoder<Vec<u8>>>>,
    /// When all of it was written, in seconds since the epoch.
    time: u64,
    broken: Option<std::io::Error>,
}

impl Archive {
    /// An empty one; `time` is when all of it was written, in seconds since the epoch.
    pub(super) fn new(time: u64) -> Archive {
        Archive {
            folders: BTreeMap::new(),
            time,
            broken: None,
        }
    }

    /// Adds files of a submission.
    pub(super) fn files(&mut self, directory: &str, files: &[SubmissionFile]) {
        for file in files {
            self.file(directory, &file.path, file.contents.as_bytes(), mode(file));
        }
    }

    /// Adds a file, with its path relative to the folder.
    pub(super) fn file(&mut self, directory: &str, path: &str, bytes: &[u8], mode: u32) {
        let time = self.time;
        let builder = self
            .folders
            .entry(directory.to_owned())
            .or_insert_with(|| tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())));
        if let Err(error) = add(builder, time, path, bytes, mode) {
            self.broken.get_or_insert(error);
        }
    }

    /// Unpacks everything at the place. Nothing was submitted yet, so whatever goes wrong may be tried again.
    ///
    /// # Errors
    /// The place can't be reached, or does not take the files.
    pub(super) async fn send(self, tunnel: &dyn Tunnel) -> Result<(), SubmitError> {
        let failed = |error: std::io::Error| {
            SubmitError::Rejected(format!("its files can't be packed: {error}"))
        };
        if let Some(error) = self.broken {
            return Err(failed(error));
        }
        let again = |error: TunnelError| match unsent(error) {
            SubmitError::Uncertain(words) => SubmitError::Unreachable(words),
            other => other,
        };
        let agent = tunnel.agent().await.map_err(again)?;
        let agent = agent.map(|path| path.to_string()).unwrap_or_default();
        for (directory, builder) in self.folders {
            let bytes = builder
                .into_inner()
                .and_then(GzEncoder::finish)
                .map_err(failed)?;
            let command = Cmd::script(UNPACK, [directory.as_str(), &agent, AGENT_LINK])
                .stdin(bytes)
                .timeout(LIMIT);
            tunnel
                .run(&command)
                .await
                .map_err(again)?
                .ok(&command)
                .map_err(|error| match error {
                    TunnelError::Failed { words, .. } => SubmitError::Rejected(format!(
                        "its files can't be written to {directory}: {words}"
                    )),
                    other => SubmitError::Rejected(other.to_string()),
                })?;
        }
        Ok(())
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
        add(&mut builder, time, &file.path, bytes, mode(file))?;
    }
    builder.into_inner()
}

fn mode(file: &SubmissionFile) -> u32 {
    if file.executable { 0o700 } else { 0o600 }
}

fn add(
    builder: &mut tar::Builder<impl Write>,
    time: u64,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    // Places remove what has not been touched for weeks.
    header.set_mtime(time);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, path, bytes)
}
