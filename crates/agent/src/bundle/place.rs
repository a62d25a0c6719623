//! The trees that a place keeps, and how one gets there: staged beside, renamed when it is whole.
//!
//! ```text
//! B/<tree hash>/tree/…        the tree
//! B/<tree hash>/manifest      its canonical list
//! B/<tree hash>/used          its time says when it was last asked for
//! B/.incoming-<token>/        being unpacked: `lock` in it is held by its process
//! B/.removed-<token>/         being taken away
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use super::hash::TreeHash;
use super::manifest::Manifest;
use super::verify::{Damage, verify};

/// Leftovers without a lock to ask are taken away when they are older than this.
const OLD: Duration = Duration::from_hours(24);

/// A tree that is kept at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub tree: TreeHash,
    /// When it was last asked for, in seconds since 1970.
    pub used: i64,
}

/// Which of these trees are at the place `bundles`, whole. One that was damaged is taken away, so that it is sent again.
/// Those that are there count as used now.
#[must_use]
pub fn have(bundles: &Path, wanted: &[TreeHash]) -> Vec<TreeHash> {
    let whole = |tree: &&TreeHash| {
        let folder = bundles.join(tree.to_string());
        if fs::symlink_metadata(&folder).is_err() {
            return false;
        }
        if is_whole(&folder, tree) {
            // That it can't be touched makes it no less there.
            let _ = touch(&folder.join("used"));
            return true;
        }
        // If it stays, receiving it again says why.
        let _ = discard(bundles, &folder);
        false
    };
    wanted.iter().filter(whole).copied().collect()
}

/// All trees at the place, the one used last first.
///
/// # Errors
/// As readdir(3); a place that is not there has none.
pub fn list(bundles: &Path) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for name in names(bundles)? {
        let Ok(tree) = name.parse::<TreeHash>() else {
            continue;
        };
        let folder = bundles.join(&name);
        let used = fs::metadata(folder.join("used")).or_else(|_| fs::metadata(&folder));
        if let Ok(used) = used {
            kept.push(Kept {
                tree,
                used: used.mtime(),
            });
        }
    }
    kept.sort_by_key(|kept| (std::cmp::Reverse(kept.used), kept.tree));
    Ok(kept)
}

/// Takes trees away. Jobs that were given them keep what they have.
///
/// # Errors
/// As rename(2) and unlink(2); a tree that is not there is no error.
pub fn remove(bundles: &Path, trees: &[TreeHash]) -> io::Result<()> {
    for tree in trees {
        discard(bundles, &bundles.join(tree.to_string()))?;
    }
    Ok(())
}

/// The manifest of a tree that is kept, if it is still that tree's.
pub(super) fn manifest(folder: &Path, tree: &TreeHash) -> Option<Manifest> {
    let bytes = fs::read(folder.join("manifest")).ok()?;
    if TreeHash::of(&bytes) != *tree {
        return None;
    }
    Manifest::parse(&bytes).ok()
}

/// Whether a tree that is kept is whole, as far as sizes and times tell.
pub(super) fn is_whole(folder: &Path, tree: &TreeHash) -> bool {
    let whole = |manifest: Manifest| -> Result<(), Damage> {
        verify(&folder.join("tree"), &manifest, false)
    };
    manifest(folder, tree).is_some_and(|manifest| whole(manifest).is_ok())
}

/// Takes a folder out of the way at once, then away.
pub(super) fn discard(bundles: &Path, folder: &Path) -> io::Result<()> {
    let aside = bundles.join(format!(".removed-{}", token()?));
    match fs::rename(folder, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    match fs::remove_dir_all(&aside) {
        // Somebody who swept was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A new name for something temporary.
pub(super) fn token() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// Sets a file's times to now, making it if it is not there: the machine that keeps it says what "now" is.
fn touch(path: &Path) -> io::Result<()> {
    let file = private().create(true).truncate(false).open(path)?;
    Ok(futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?)
}

/// For files that only their owner may read.
pub(super) fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn names(bundles: &Path) -> io::Result<Vec<String>> {
    let found = match fs::read_dir(bundles) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
    Ok(found
        .filter_map(|entry| name(entry).ok()?.into_string().ok())
        .collect())
}

/// A folder in which a tree is unpacked. It is taken away when this is dropped, unless it became the tree's own.
#[derive(Debug)]
pub(super) struct Staging {
    bundles: PathBuf,
    folder: PathBuf,
    /// Held until the end: what is locked is somebody's.
    lock: Option<File>,
    /// It became the tree's own.
    kept: bool,
}

impl Staging {
    /// Makes one below `bundles`, which is made if it is missing, and takes away those of dead processes.
    pub(super) fn new(bundles: &Path) -> io::Result<Staging> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(bundles)?;
        let folder = bundles.join(format!(".incoming-{}", token()?));
        make_folder(&folder)?;
        let mut staging = Staging {
            bundles: bundles.to_owned(),
            folder,
            lock: None,
            kept: false,
        };
        // Locked before it has its name: who sweeps takes what is not locked for a dead process's.
        let unnamed = staging.folder.join("locking");
        let lock = private().create_new(true).open(&unnamed)?;
        // Where there are no locks, only age tells of the dead.
        let _ = lock.try_lock();
        fs::rename(&unnamed, staging.folder.join("lock"))?;
        staging.lock = Some(lock);
        make_folder(&staging.tree())?;
        staging.sweep();
        Ok(staging)
    }

    /// Where the tree is unpacked.
    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Makes it the tree's own folder. One that is there already stays, if it is whole.
    pub(super) fn become_tree(mut self, manifest: &Manifest) -> io::Result<()> {
        use std::io::Write;
        let mut file = private()
            .create_new(true)
            .open(self.folder.join("manifest"))?;
        file.write_all(manifest.as_bytes())?;
        touch(&self.folder.join("used"))?;
        fs::remove_file(self.folder.join("lock"))?;
        let tree = manifest.hash();
        let home = self.bundles.join(tree.to_string());
        for last in [false, true] {
            match fs::rename(&self.folder, &home) {
                Ok(()) => {
                    self.kept = true;
                    return Ok(());
                }
                Err(error) if last || fs::symlink_metadata(&home).is_err() => return Err(error),
                Err(_) if is_whole(&home, &tree) => return Ok(()),
                Err(_) => discard(&self.bundles, &home)?,
            }
        }
        Ok(())
    }

    /// Takes away what processes left that were killed.
    fn sweep(&self) {
        let Ok(now) = fs::metadata(&self.folder).and_then(|own| own.modified()) else {
            return;
        };
        for name in names(&self.bundles).unwrap_or_default() {
            let folder = self.bundles.join(&name);
            let is_left = if name.starts_with(".removed-") {
                true
            } else if name.starts_with(".incoming-") && folder != self.folder {
                let lock = private().open(folder.join("lock"));
                match lock.as_ref().map(File::try_lock) {
                    Ok(Ok(())) => true,
                    Ok(Err(TryLockError::WouldBlock)) => false,
                    Ok(Err(TryLockError::Error(_))) | Err(_) => fs::metadata(&folder)
                        .and_then(|found| found.modified())
                        .is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > OLD)),
                }
            } else {
                false
            };
            if is_left {
                // Somebody else may be at it too.
                let _ = fs::remove_dir_all(folder);
            }
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody can be told of an error here; the next one to receive something tries again.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
