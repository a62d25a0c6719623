//! Where bundles are kept, the locks that keep processes out of each other's way, and temporary files.
//!
//! ```text
//! $MIZZEN_HOME/bundles/   lock         shared by whoever packs or reads, held alone by gc
//!                         manifests/   trees by their hash
//!                         packs/       objects, many in a file
//!                         trees/       trees unpacked for jobs of this machine
//!                         cache/       what the files of a root were when they were last read
//!                         tmp/         files being written, each locked by its process
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};

use super::BundleError;
use crate::context::create_private_dir;

/// The folder of all bundles.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) folder: Utf8PathBuf,
}

impl Home {
    /// Makes what is missing of it.
    pub(super) fn open(folder: Utf8PathBuf) -> Result<Home, BundleError> {
        let home = Home { folder };
        for folder in ["manifests", "packs", "trees", "cache", "tmp"] {
            let folder = home.folder.join(folder);
            if !folder.is_dir() {
                create_private_dir(&folder).map_err(BundleError::at(&folder))?;
            }
        }
        Ok(home)
    }

    pub(super) fn manifests(&self) -> Utf8PathBuf {
        self.folder.join("manifests")
    }

    pub(super) fn packs(&self) -> Utf8PathBuf {
        self.folder.join("packs")
    }

    pub(super) fn trees(&self) -> Utf8PathBuf {
        self.folder.join("trees")
    }

    pub(super) fn cache(&self) -> Utf8PathBuf {
        self.folder.join("cache")
    }

    fn tmp(&self) -> Utf8PathBuf {
        self.folder.join("tmp")
    }

    /// Keeps gc out as long as the answer lives; others may pack and read meanwhile.
    pub(super) fn share(&self) -> Result<File, BundleError> {
        let (file, path) = self.lock_file()?;
        no_locks_is_fine(file.lock_shared()).map_err(BundleError::at(&path))?;
        Ok(file)
    }

    /// Keeps everybody out.
    pub(super) fn alone(&self) -> Result<File, BundleError> {
        let (file, path) = self.lock_file()?;
        no_locks_is_fine(file.lock()).map_err(BundleError::at(&path))?;
        Ok(file)
    }

    fn lock_file(&self) -> Result<(File, Utf8PathBuf), BundleError> {
        let path = self.folder.join("lock");
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(BundleError::at(&path))?;
        Ok((file, path))
    }

    /// A new file in `tmp`, locked.
    pub(super) fn temporary(&self) -> Result<Temporary, BundleError> {
        loop {
            let path = self.tmp().join(token());
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o600);
            let file = options.open(&path).map_err(BundleError::at(&path))?;
            // Between the two calls another process may have taken it for a leftover: then it has the lock, or took it away.
            let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            let links = file.metadata().map_err(BundleError::at(&path))?.nlink();
            if !taken && links > 0 {
                return Ok(Temporary {
                    file,
                    path,
                    kept: false,
                });
            }
        }
    }

    /// Puts a whole file in its place.
    pub(super) fn put(&self, path: &Utf8Path, bytes: &[u8]) -> Result<(), BundleError> {
        let mut file = self.temporary()?;
        std::io::Write::write_all(&mut file.file, bytes).map_err(BundleError::at(path))?;
        file.keep(path)
    }

    /// Files in `tmp` that no process holds any more, with their bytes. They are held here as long as the answer lives.
    pub(super) fn leftovers(&self) -> Vec<(Utf8PathBuf, u64, File)> {
        let mut found = Vec::new();
        for path in entries(&self.tmp()).unwrap_or_default() {
            let Ok(file) = File::options().write(true).open(&path) else {
                continue;
            };
            // What can't be locked for other reasons is left to whoever can tell.
            if file.try_lock().is_ok() {
                let bytes = file.metadata().map_or(0, |found| found.len());
                found.push((path, bytes, file));
            }
        }
        found
    }

    /// Takes such files away.
    pub(super) fn sweep(&self) {
        for (path, _, held) in self.leftovers() {
            // Somebody else may have been faster.
            let _ = std::fs::remove_file(path);
            drop(held);
        }
    }
}

/// File systems without locks exist; two processes of one user then trust in names that are drawn at random.
fn no_locks_is_fine(locked: std::io::Result<()>) -> std::io::Result<()> {
    locked.or_else(|error| match error.kind() {
        std::io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

/// A file that goes away unless it is kept.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: File,
    path: Utf8PathBuf,
    kept: bool,
}

impl Temporary {
    /// When it was made, by the clock of the machine that keeps the home.
    pub(super) fn made(&self) -> Result<SystemTime, BundleError> {
        let found = self.file.metadata().and_then(|found| found.modified());
        found.map_err(BundleError::at(&self.path))
    }

    /// Gives it its name.
    pub(super) fn keep(mut self, path: &Utf8Path) -> Result<(), BundleError> {
        std::fs::rename(&self.path, path).map_err(BundleError::at(path))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // The next sweep takes it otherwise.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The paths in a folder; none if it is not there.
pub(super) fn entries(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, BundleError> {
    let found = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(BundleError::at(folder))?,
    };
    let mut paths = Vec::new();
    for entry in found {
        let entry = entry.map_err(BundleError::at(folder))?;
        // What is not UTF-8 is none of ours.
        if let Ok(path) = Utf8PathBuf::from_path_buf(entry.path()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn token() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        // Before the kernel's generator is seeded, at boot: a name that is taken is refused and drawn again.
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    }
    format!("{:016x}", u64::from_le_bytes(bytes))
}
