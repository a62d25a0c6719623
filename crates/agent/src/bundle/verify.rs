//! Whether an unpacked tree is still what its manifest says.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::folders::{Folders, is_sealed, kind, look, open_file};
use super::hash::ObjectHash;
use super::manifest::{Entry, Kind, Manifest, shown};

/// The first difference between an unpacked tree and its manifest.
#[derive(Debug)]
#[non_exhaustive]
pub enum Damage {
    /// Something is not there.
    Missing(Vec<u8>),
    /// Something is of another kind, size, time, mode or content.
    Changed(Vec<u8>),
    /// Something is there that does not belong.
    Extra(Vec<u8>),
    /// It can't be looked at.
    Unreadable(Vec<u8>, io::Error),
}

impl Display for Damage {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Missing(path) => write!(formatter, "`{}` is missing", shown(path)),
            Damage::Changed(path) => write!(formatter, "`{}` was changed", shown(path)),
            Damage::Extra(path) => {
                write!(formatter, "`{}` is there and does not belong", shown(path))
            }
            Damage::Unreadable(path, error) => {
                write!(formatter, "`{}` can't be read: {error}", shown(path))
            }
        }
    }
}

impl std::error::Error for Damage {}

impl Damage {
    /// What an error with a path says about it.
    pub(super) fn of(path: &[u8], error: Errno) -> Damage {
        match error {
            Errno::ENOENT => Damage::Missing(path.to_vec()),
            // A folder, or the file itself, is something else by now.
            Errno::ENOTDIR | Errno::ELOOP => Damage::Changed(path.to_vec()),
            _ => Damage::Unreadable(path.to_vec(), error.into()),
        }
    }
}

/// Compares an unpacked tree (`B/<tree hash>/tree`) with its manifest: kinds, sizes, times, modes, the targets of links, and
/// that nothing else is there; with `deep` the contents too.
///
/// # Errors
/// The first difference.
pub fn verify(tree_dir: &Path, manifest: &Manifest, deep: bool) -> Result<(), Damage> {
    let mut folders =
        Folders::at(tree_dir, false).map_err(|error| Damage::Unreadable(b".".to_vec(), error))?;
    let mut buffer = vec![0; if deep { 128 << 10 } else { 0 }];
    for entry in manifest.entries() {
        let (folder, name) = folders
            .parent(&entry.path)
            .map_err(|error| Damage::of(&entry.path, error))?;
        check(folder, name, entry)?;
        if deep {
            check_content(folder, name, entry, &mut buffer)?;
        }
    }
    nothing_else(tree_dir, manifest)
}

fn check(folder: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Damage> {
    let path = &entry.path;
    let found = look(folder, name).map_err(|error| Damage::of(path, error))?;
    let same = match &entry.kind {
        Kind::File {
            executable, size, ..
        } => is_sealed(&found, *size, *executable),
        Kind::Folder => kind(&found) == SFlag::S_IFDIR,
        Kind::Link { target } => {
            kind(&found) == SFlag::S_IFLNK && {
                let there = nix::fcntl::readlinkat(folder, name)
                    .map_err(|error| Damage::of(path, error))?;
                there.as_bytes() == target
            }
        }
    };
    if same {
        Ok(())
    } else {
        Err(Damage::Changed(path.clone()))
    }
}

fn check_content(
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    buffer: &mut [u8],
) -> Result<(), Damage> {
    let Kind::File { object, .. } = &entry.kind else {
        return Ok(());
    };
    let unreadable = |error: io::Error| Damage::Unreadable(entry.path.clone(), error);
    let mut file = open_file(folder, name).map_err(|error| Damage::of(&entry.path, error))?;
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(buffer).map_err(unreadable)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        };
    }
    if ObjectHash(*hasher.finalize().as_bytes()) == *object {
        Ok(())
    } else {
        Err(Damage::Changed(entry.path.clone()))
    }
}

/// Whether each folder holds only what the manifest says. What it says is there was seen already, so that counting is enough
/// where the counts agree.
fn nothing_else(tree_dir: &Path, manifest: &Manifest) -> Result<(), Damage> {
    let mut counts: HashMap<&[u8], usize> = HashMap::from([(&[][..], 0)]);
    let mut last: &[u8] = b"";
    for entry in manifest.entries() {
        let path = entry.path.as_slice();
        // Folders that begin with this entry are counted in their parents once.
        let shared = path
            .iter()
            .zip(last)
            .take_while(|(one, other)| one == other)
            .count();
        let mut begin = 0;
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            if end >= shared {
                *counts.entry(&path[..begin]).or_default() += 1;
            }
            begin = end;
        }
        *counts.entry(&path[..begin]).or_default() += 1;
        if entry.kind == Kind::Folder {
            counts.insert(path, 0);
        }
        last = path;
    }
    for (folder, expected) in counts {
        let at = tree_dir.join(std::ffi::OsStr::from_bytes(folder));
        let unreadable = |error| Damage::Unreadable(folder.to_vec(), error);
        let found = std::fs::read_dir(&at).map_err(unreadable)?;
        let mut names = Vec::new();
        for entry in found {
            names.push(entry.map_err(unreadable)?.file_name().into_vec());
        }
        if names.len() != expected {
            return Err(Damage::Extra(extra(folder, names, manifest)));
        }
    }
    Ok(())
}

/// The path of a name in `folder` that the manifest does not have.
fn extra(folder: &[u8], mut names: Vec<Vec<u8>>, manifest: &Manifest) -> Vec<u8> {
    names.sort();
    for name in names {
        let path = if folder.is_empty() {
            name
        } else {
            [folder, b"/", &name].concat()
        };
        let known = |entry: &Entry| entry.path == path || super::is_below(&entry.path, &path);
        if !manifest.entries().iter().any(known) {
            return path;
        }
    }
    folder.to_vec()
}
