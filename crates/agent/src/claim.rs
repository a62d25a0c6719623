//! Claims attempts: what makes "never twice" true.
//!
//! ```text
//! members in order: mkdir attempt_dir ── symlink agent → identity ──▶ ours
//!                                                         └─ EEXIST ──▶ undo ours, Taken { by }
//! ```
//!
//! symlink(2) is atomic on every file system that homes are kept on, and a link can't be half written. A claim is made
//! strictly before anything is started and is never removed once something was.
//! Of the attempt's folder only the end is made, `<job>/attempts/<n>`: where the experiment's own folder is gone, because
//! somebody removed the home, nothing is made again and nothing starts.
//! Pitfall: an NFS server that lost its reply cache may say "exists" to a link that it has just made for us. The
//! attempt then counts as taken by this agent, which runs nothing: too careful, never twice.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use mizzen_agent::protocol::{CLAIM, Member};

/// How many levels of an attempt's folder are made if they aren't there: the job's, `attempts`, the attempt's.
const OWN_LEVELS: u32 = 3;
/// The same of a rank whose log is elsewhere: `attempts`, the attempt's, `ranks`, its own. The job's must be there.
const RANK_LEVELS: u32 = 4;

/// Why nothing was claimed.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Somebody else has it; the text of their claim.
    Taken(String),
    /// A folder or a link could not be made.
    Storage { path: PathBuf, error: io::Error },
}

/// The claims of one job.
#[derive(Debug)]
pub(crate) struct Claims(Vec<PathBuf>);

impl Claims {
    /// Claims every member's attempt, or none.
    pub(crate) fn make(members: &[Member], identity: &str) -> Result<Claims, ClaimError> {
        let mut claims = Claims(Vec::with_capacity(members.len()));
        for member in members {
            let levels = match member.log_dir {
                Some(_) => RANK_LEVELS,
                None => OWN_LEVELS,
            };
            match claim(Path::new(&member.attempt_dir), identity, levels) {
                Ok(link) => claims.0.push(link),
                Err(error) => {
                    claims.undo();
                    return Err(error);
                }
            }
        }
        Ok(claims)
    }

    /// Gives the attempts back. Only for a job of which nothing was started.
    pub(crate) fn undo(self) {
        for link in self.0 {
            // A claim that can't be removed keeps the attempt taken by an agent that will be seen to be dead.
            let _ = fs::remove_file(link);
        }
    }
}

/// Makes a folder (0700) and up to `levels - 1` of its missing parents.
fn make_folder(folder: &Path, levels: u32) -> io::Result<()> {
    let make = || fs::DirBuilder::new().mode(0o700).create(folder);
    let made = match (make(), folder.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && levels > 1 => {
            make_folder(parent, levels - 1)?;
            make()
        }
        (made, _) => made,
    };
    match made {
        // Another member's claim, or another agent's, was faster; what is no folder shows itself when the link is made.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn claim(folder: &Path, identity: &str, levels: u32) -> Result<PathBuf, ClaimError> {
    let storage = |path: &Path, error| ClaimError::Storage {
        path: path.to_owned(),
        error,
    };
    make_folder(folder, levels).map_err(|error| storage(folder, error))?;
    let link = folder.join(CLAIM);
    match symlink(identity, &link) {
        Ok(()) => Ok(link),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let by = fs::read_link(&link).map(|text| text.to_string_lossy().into_owned());
            Err(ClaimError::Taken(by.unwrap_or_default()))
        }
        Err(error) => Err(storage(&link, error)),
    }
}
