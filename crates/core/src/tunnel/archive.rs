//! Many small files on their way to the other side: one compressed archive for each folder, unpacked by one command.
//!
//! Scripts are much alike: compressed they are a twentieth, which over a slow line is what counts.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Cmd, Tunnel, TunnelError};

/// Unpacks an archive, and makes a link if there is to be one. `$1`: the folder, `$2`: the link's target or nothing, `$3`: the link.
const UNPACK: &str = r#"umask 077
mkdir -p -- "$1" && cd -- "$1" && gzip -dc | tar -xf - || exit
if [ -n "$2" ]; then ln -sfn -- "$2" "$3"; fi"#;

/// What is to be in folders of the other side.
pub struct Archive {
    /// By folder: an archive for each.
    folders: BTreeMap<String, tar::Builder<GzEncoder<Vec<u8>>>>,
    time: u64,
    link: Option<(String, String)>,
    broken: Option<std::io::Error>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What files hold may be secret.
        out.debug_list().entries(self.folders.keys()).finish()
    }
}

impl Archive {
    /// An empty one; `time` is when all of it was written, in seconds since the epoch.
    #[must_use]
    pub fn new(time: u64) -> Archive {
        Archive {
            folders: BTreeMap::new(),
            time,
            link: None,
            broken: None,
        }
    }

    /// Adds a file, with its path relative to the folder.
    pub fn file(&mut self, directory: &str, path: &str, bytes: &[u8], mode: u32) {
        let time = self.time;
        let builder = self
            .folders
            .entry(directory.to_owned())
            .or_insert_with(|| tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())));
        if let Err(error) = add(builder, time, path, bytes, mode) {
            self.broken.get_or_insert(error);
        }
    }

    /// Each folder gets a link with this name.
    pub fn link(&mut self, target: impl Into<String>, name: impl Into<String>) {
        self.link = Some((target.into(), name.into()));
    }

    /// Unpacks everything on the other side; each folder's archive may take `limit`.
    ///
    /// # Errors
    /// The other side can't be reached, or does not take the files; a path is too odd for an archive.
    pub async fn send(self, tunnel: &dyn Tunnel, limit: Duration) -> Result<(), TunnelError> {
        let failed = |error: std::io::Error| {
            TunnelError::Unsendable(format!("the files can't be packed: {error}"))
        };
        if let Some(error) = self.broken {
            return Err(failed(error));
        }
        let (target, name) = self.link.unwrap_or_default();
        for (directory, builder) in self.folders {
            let bytes = builder
                .into_inner()
                .and_then(GzEncoder::finish)
                .map_err(failed)?;
            let command = Cmd::script(UNPACK, [directory.as_str(), &target, &name])
                .stdin(bytes)
                .timeout(limit);
            tunnel
                .run(&command)
                .await?
                .ok(&command)
                .map_err(|error| match error {
                    TunnelError::Failed { status, words, .. } => TunnelError::Failed {
                        command: format!("writing files to {directory}"),
                        status,
                        words,
                    },
                    other => other,
                })?;
        }
        Ok(())
    }
}

/// Adds one file to an archive.
///
/// # Errors
/// Its path is too odd for an archive.
pub(crate) fn add(
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
