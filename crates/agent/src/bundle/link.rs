//! Gives a job its own folder of code.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{linkat, symlinkat};

use super::folders::{Folders, create, is_sealed, look, open_file, seal};
use super::hash::TreeHash;
use super::manifest::{Kind, Manifest};
use super::place::{make_folder, token};
use super::verify::Damage;

/// Why a job got no code.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no whole tree at this path.
    NoTree(PathBuf, String),
    /// The tree was changed where it is kept.
    Damaged(PathBuf, Damage),
    /// The job's folder can't be written.
    Write(PathBuf, io::Error),
}

impl Display for LinkError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::NoTree(path, why) => write!(
                formatter,
                "no code is kept in {}: {why}; send it again",
                path.display()
            ),
            LinkError::Damaged(path, damage) => write!(
                formatter,
                "the code kept in {} was damaged: {damage}; send it again",
                path.display()
            ),
            LinkError::Write(path, error) => {
                write!(
                    formatter,
                    "can't make the job's code in {}: {error}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for LinkError {}

/// Makes `into` a copy of the unpacked tree `tree_dir` (`B/<tree hash>/tree`): real folders, and files that are the job's own,
/// sharing the tree's blocks where the file system can. Where it can't, large files are hard links that can't be written:
/// a job that writes over one that it was given must say so by removing it first. It is staged beside and renamed. If
/// `into` is there already, nothing is done.
///
/// # Errors
/// There is no tree, one of its files was damaged (it is named), or `into` can't be written.
pub fn link(tree_dir: &Path, into: &Path) -> Result<(), LinkError> {
    if fs::symlink_metadata(into).is_ok() {
        return Ok(());
    }
    let no_tree = |why: String| LinkError::NoTree(tree_dir.to_owned(), why);
    let home = tree_dir.parent().unwrap_or(tree_dir);
    let bytes = fs::read(home.join("manifest"))
        .map_err(|error| no_tree(format!("its manifest can't be read: {error}")))?;
    let manifest = Manifest::parse(&bytes).map_err(|error| no_tree(error.to_string()))?;
    let named = home
        .file_name()
        .and_then(|name| name.to_str()?.parse::<TreeHash>().ok());
    if named.is_some_and(|tree| tree != manifest.hash()) {
        return Err(no_tree("its manifest is another tree's".to_owned()));
    }
    let from = Folders::at(tree_dir, false).map_err(|error| no_tree(error.to_string()))?;

    let cant_write = |error: io::Error| LinkError::Write(into.to_owned(), error);
    let name = into
        .file_name()
        .ok_or_else(|| cant_write(io::Error::other("this is no name for a folder")))?;
    let mut staged = Staged::beside(into, name).map_err(cant_write)?;
    let to = Folders::at(&staged.folder, true).map_err(cant_write)?;
    copy(&manifest, from, to).map_err(|failure| match failure {
        Failure::From(damage) => LinkError::Damaged(tree_dir.to_owned(), damage),
        Failure::To(error) => cant_write(error),
    })?;
    match fs::rename(&staged.folder, into) {
        Ok(()) => {
            staged.kept = true;
            Ok(())
        }
        // Somebody else was first.
        Err(_) if fs::symlink_metadata(into).is_ok() => Ok(()),
        Err(error) => Err(cant_write(error)),
    }
}

/// A folder that is taken away unless it gets its name.
struct Staged {
    folder: PathBuf,
    kept: bool,
}

impl Staged {
    fn beside(into: &Path, name: &std::ffi::OsStr) -> io::Result<Staged> {
        let mut staged = std::ffi::OsString::from(".");
        staged.push(name);
        staged.push("-");
        staged.push(token()?);
        let staged = Staged {
            folder: into.with_file_name(staged),
            kept: false,
        };
        make_folder(&staged.folder)?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody can be told of an error here.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Which side failed.
enum Failure {
    From(Damage),
    To(io::Error),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        Failure::To(error.into())
    }
}

/// Larger files are linked where blocks can't be shared. Smaller ones are copied: among them is all code, and what earlier runs
/// have left beside it and later ones write over.
const LARGE: u64 = 1 << 20;

/// How files are given, the best first. What a file system refuses once is not asked again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Share,
    Link,
    Copy,
}

fn copy(manifest: &Manifest, mut from: Folders, mut to: Folders) -> Result<(), Failure> {
    let mut way = Way::Share;
    // The superuser writes to files that nobody may write to, and would write into the tree that is kept.
    let everything_is_writable = nix::unistd::geteuid().is_root();
    for entry in manifest.entries() {
        let path = &entry.path;
        let damaged = |error| Failure::From(Damage::of(path, error));
        match &entry.kind {
            Kind::Folder => {
                to.enter(path)?;
            }
            Kind::Link { target } => {
                let (folder, name) = to.parent(path)?;
                symlinkat(target.as_slice(), folder, name)?;
            }
            Kind::File {
                executable, size, ..
            } => {
                let (old, name) = from.parent(path).map_err(damaged)?;
                let found = look(old, name).map_err(damaged)?;
                if !is_sealed(&found, *size, *executable) {
                    return Err(Failure::From(Damage::Changed(path.clone())));
                }
                let (new, name) = to.parent(path)?;
                let may_link = *size > LARGE && !everything_is_writable;
                give(old, new, name, *executable, may_link, &mut way).map_err(
                    |error| match error {
                        Failure::From(Damage::Unreadable(_, error)) => {
                            Failure::From(Damage::Unreadable(path.clone(), error))
                        }
                        other => other,
                    },
                )?;
            }
        }
    }
    Ok(())
}

/// Gives the file `name` of one folder to another.
fn give(
    old: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    name: &[u8],
    executable: bool,
    may_link: bool,
    way: &mut Way,
) -> Result<(), Failure> {
    let open = || {
        open_file(old, name)
            .map_err(|error| Failure::From(Damage::Unreadable(Vec::new(), error.into())))
    };
    if *way == Way::Share {
        let (from, to) = (open()?, create(new, name)?);
        match share(&from, &to) {
            Ok(()) => return Ok(release(&to, executable)?),
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT)) => return Err(error.into()),
            Err(_) => {
                *way = Way::Link;
                nix::unistd::unlinkat(new, name, nix::unistd::UnlinkatFlags::NoRemoveDir)?;
            }
        }
    }
    if *way == Way::Link && may_link {
        match linkat(old, name, new, name, AtFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT)) => return Err(error.into()),
            // This file has as many links as it may have; others may still get one.
            Err(Errno::EMLINK) => {}
            Err(_) => *way = Way::Copy,
        }
    }
    let mut from = open()?;
    let mut to = create(new, name)?;
    io::copy(&mut from, &mut to).map_err(Failure::To)?;
    Ok(release(&to, executable)?)
}

/// Lets the job's user write to a file that is the job's own.
fn release(file: &fs::File, executable: bool) -> nix::Result<()> {
    seal(file, executable)?;
    let mode = if executable { 0o755 } else { 0o644 };
    fchmod(file, Mode::from_bits_truncate(mode))
}

/// Lets `to` share the blocks of `from`; most file systems can't.
#[cfg(target_os = "linux")]
fn share(from: &fs::File, to: &fs::File) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: FICLONE takes the descriptor of an open file as its number; both files are open as long as this runs.
    let answer = unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE as _, from.as_raw_fd()) };
    Errno::result(answer).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn share(_: &fs::File, _: &fs::File) -> nix::Result<()> {
    Err(Errno::ENOTSUP)
}
