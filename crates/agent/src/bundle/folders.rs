//! Goes through the folders of a tree in the manifest's order, with each folder open once: names are looked up one part
//! deep, and no link is ever followed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;

use super::FIXED_TIME;

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The folders from a tree's root to where the last path was.
#[derive(Debug)]
pub(super) struct Folders {
    root: OwnedFd,
    /// The path of the innermost open folder.
    path: Vec<u8>,
    /// Each folder on the way there: where its name ends in `path`.
    open: Vec<(usize, OwnedFd)>,
    make: bool,
}

impl Folders {
    /// Begins at a folder; with `make`, missing folders below it are made, 0700.
    pub(super) fn at(root: &Path, make: bool) -> io::Result<Folders> {
        Ok(Folders {
            root: open(root, FOLDER, Mode::empty())?,
            path: Vec::new(),
            open: Vec::new(),
            make,
        })
    }

    /// The root itself.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The open folder that holds `path`, and the last name of `path`.
    pub(super) fn parent<'a>(&mut self, path: &'a [u8]) -> nix::Result<(BorrowedFd<'_>, &'a [u8])> {
        let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(end) => (&path[..end], &path[end + 1..]),
            None => (&[][..], path),
        };
        Ok((self.enter(folder)?, name))
    }

    /// The open folder with this path.
    pub(super) fn enter(&mut self, folder: &[u8]) -> nix::Result<BorrowedFd<'_>> {
        if folder != self.path {
            let is_above = |end: usize| {
                folder.get(..end) == self.path.get(..end)
                    && (folder.len() == end || folder.get(end) == Some(&b'/'))
            };
            let shared = self
                .open
                .iter()
                .take_while(|(end, _)| is_above(*end))
                .count();
            self.open.truncate(shared);
            let mut begin = self.open.last().map_or(0, |(end, _)| *end);
            self.path.truncate(begin);
            while begin < folder.len() {
                let from = if begin == 0 { 0 } else { begin + 1 };
                let length = folder[from..].iter().position(|byte| *byte == b'/');
                let end = length.map_or(folder.len(), |length| from + length);
                let opened = self.step(&folder[from..end])?;
                self.open.push((end, opened));
                self.path.clear();
                self.path.extend_from_slice(&folder[..end]);
                begin = end;
            }
        }
        Ok(self.innermost())
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.open
            .last()
            .map_or(self.root.as_fd(), |(_, folder)| folder.as_fd())
    }

    fn step(&self, name: &[u8]) -> nix::Result<OwnedFd> {
        let parent = self.innermost();
        if self.make {
            match mkdirat(parent, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error),
            }
        }
        openat(parent, name, FOLDER, Mode::empty())
    }
}

/// Makes a new file for writing, 0600.
pub(super) fn create(folder: BorrowedFd<'_>, name: &[u8]) -> nix::Result<std::fs::File> {
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(Into::into)
}

/// Opens a file that is there for reading.
pub(super) fn open_file(folder: BorrowedFd<'_>, path: &[u8]) -> nix::Result<std::fs::File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    openat(folder, path, flags, Mode::empty()).map(Into::into)
}

/// Gives a written file its fixed time and its mode, 0444 or 0555.
pub(super) fn seal(file: &std::fs::File, executable: bool) -> nix::Result<()> {
    let time = TimeSpec::new(FIXED_TIME, 0);
    futimens(file, &time, &time)?;
    nix::sys::stat::fchmod(
        file,
        Mode::from_bits_truncate(if executable { 0o555 } else { 0o444 }),
    )
}

/// What is at a path, links not followed.
pub(super) fn look(folder: BorrowedFd<'_>, path: &[u8]) -> nix::Result<FileStat> {
    fstatat(folder, path, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The kind of what was looked at.
pub(super) fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

/// Whether a file is as it was sealed.
pub(super) fn is_sealed(found: &FileStat, size: u64, executable: bool) -> bool {
    kind(found) == SFlag::S_IFREG
        && u64::try_from(found.st_size) == Ok(size)
        && found.st_mtime == FIXED_TIME
        && found.st_mtime_nsec == 0
        && (found.st_mode & 0o100 != 0) == executable
}
