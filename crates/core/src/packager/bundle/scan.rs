//! Looks at what was selected: what each thing is by now, and which files are as they were when they were last read.
//!
//! ```text
//! Listing ── lstat, on all processors ──▶ Scan: in the manifest's order
//!                     cache of the root ──▶ contents that are known without reading
//! ```
//!
//! What is gone by now is left out, as if it had been selected a moment later; so is what stands behind a link, as in git.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mizzen_agent::bundle::{ObjectHash, is_below, order, shown};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::cache::{Cache, Stat};
use super::parallel;
use crate::packager::listing::{ItemKind, Limits, Listing, PackError, Source};

/// So many are looked at in one piece of work.
const AT_ONCE: usize = 512;

/// What was found.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) root: Root<'a>,
    /// In the manifest's order.
    pub(super) found: Vec<Found<'a>>,
}

/// One thing that was found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) path: &'a [u8],
    pub(super) kind: FoundKind<'a>,
}

/// What it is.
#[derive(Debug)]
pub(super) enum FoundKind<'a> {
    File(FoundFile<'a>),
    Link(Vec<u8>),
    Folder,
}

/// A file, perhaps not read yet.
#[derive(Debug)]
pub(super) struct FoundFile<'a> {
    pub(super) source: &'a Source,
    pub(super) executable: bool,
    pub(super) size: u64,
    /// What the file system says of it, where it is a file of its own.
    pub(super) stat: Option<Stat>,
    /// Its content, once it is known.
    pub(super) object: Option<ObjectHash>,
}

/// The folder that paths are below, open: names below it are looked up from there.
#[derive(Debug)]
pub(super) struct Root<'a> {
    path: &'a Path,
    folder: std::os::fd::OwnedFd,
}

impl<'a> Root<'a> {
    fn open(path: &'a Path) -> Result<Root<'a>, PackError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(|error| PackError::Read {
            path: path.display().to_string(),
            reason: std::io::Error::from(error).to_string(),
        })?;
        Ok(Root { path, folder })
    }

    /// A path for the system: below the root as it is from there.
    fn short<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.path).unwrap_or(path)
    }

    fn look(&self, path: &Path) -> nix::Result<FileStat> {
        fstatat(&self.folder, self.short(path), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens a file to read it; never a link, and never waiting for anybody.
    pub(super) fn open_file(&self, path: &Path) -> nix::Result<std::fs::File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&self.folder, self.short(path), flags, Mode::empty()).map(Into::into)
    }
}

/// Something that can't be read.
pub(super) fn unreadable(path: &[u8], error: impl Into<std::io::Error>) -> PackError {
    let error: std::io::Error = error.into();
    PackError::Read {
        path: shown(path),
        reason: error.to_string(),
    }
}

impl<'a> Scan<'a> {
    /// Looks at everything. Contents that the cache knows are known.
    pub(super) fn of(listing: &'a Listing, cache: &Cache) -> Result<Scan<'a>, PackError> {
        let root = Root::open(listing.root.as_std_path())?;
        let mut items: Vec<_> = listing.items.iter().collect();
        if !items.is_sorted_by(|one, other| order(&one.path, &other.path).is_le()) {
            items.sort_unstable_by(|one, other| order(&one.path, &other.path));
        }
        // A slot for each piece, so that each thread writes to its own.
        let pieces: Vec<_> = items.chunks(AT_ONCE).collect();
        let slots: Vec<std::sync::Mutex<Vec<Found<'a>>>> =
            pieces.iter().map(|_| std::sync::Mutex::default()).collect();
        parallel::each(
            pieces.len(),
            || (),
            |(), number| {
                let mut found = Vec::with_capacity(pieces[number].len());
                for item in pieces[number] {
                    if let Some(kind) = look(&root, &item.path, &item.kind)? {
                        found.push(Found {
                            path: &item.path,
                            kind,
                        });
                    }
                }
                if let Ok(mut slot) = slots[number].lock() {
                    *slot = found;
                }
                Ok::<_, PackError>(())
            },
        )?;
        let slots = slots.into_iter().filter_map(|slot| slot.into_inner().ok());
        let mut scan = Scan {
            root,
            found: slots.flatten().collect(),
        };
        scan.tidy();
        cache.fill(&mut scan.found);
        Ok(scan)
    }

    /// Leaves out what only seems to be there: what stands behind a link, and folders with things in them.
    fn tidy(&mut self) {
        let mut link: Option<&[u8]> = None;
        self.found.retain(|found| {
            if link.is_some_and(|link| is_below(found.path, link)) {
                return !found.is_on_disk();
            }
            link = matches!(found.kind, FoundKind::Link(_)).then_some(found.path);
            true
        });
        let mut next: Option<&[u8]> = None;
        let mut keep: Vec<bool> = self
            .found
            .iter()
            .rev()
            .map(|found| {
                let is_full =
                    next.is_some_and(|next| is_below(next, found.path) || next == found.path);
                let keep = !(matches!(found.kind, FoundKind::Folder) && is_full);
                next = Some(found.path);
                keep
            })
            .collect();
        self.found.retain(|_| keep.pop().unwrap_or(true));
    }

    /// Refuses what is larger than the limits.
    pub(super) fn guard(&self, limits: &Limits) -> Result<(), PackError> {
        let sizes = self.files().map(|(path, file)| (path, file.size));
        limits.guard(&sizes.collect::<Vec<_>>())
    }

    /// Whether all contents are known.
    pub(super) fn is_known(&self) -> bool {
        self.files().all(|(_, file)| file.object.is_some())
    }

    /// The numbers of the files whose contents are not known, or not kept.
    pub(super) fn unread(&self, is_kept: impl Fn(&ObjectHash) -> bool) -> Vec<usize> {
        let unread = |found: &Found<'_>| match &found.kind {
            FoundKind::File(file) => !file.object.as_ref().is_some_and(&is_kept),
            _ => false,
        };
        let numbers = self.found.iter().enumerate();
        numbers
            .filter(|(_, found)| unread(found))
            .map(|(number, _)| number)
            .collect()
    }

    fn files(&self) -> impl Iterator<Item = (&[u8], &FoundFile<'a>)> {
        self.found.iter().filter_map(|found| match &found.kind {
            FoundKind::File(file) => Some((found.path, file)),
            _ => None,
        })
    }
}

impl Found<'_> {
    fn is_on_disk(&self) -> bool {
        match &self.kind {
            FoundKind::File(file) => file.stat.is_some(),
            FoundKind::Link(_) => true,
            FoundKind::Folder => false,
        }
    }
}

/// What is at an item's place by now.
fn look<'a>(
    root: &Root<'_>,
    path: &[u8],
    kind: &'a ItemKind,
) -> Result<Option<FoundKind<'a>>, PackError> {
    let (source, executable) = match kind {
        ItemKind::Folder => return Ok(Some(FoundKind::Folder)),
        ItemKind::Link { target } => return Ok(Some(FoundKind::Link(target.clone()))),
        ItemKind::File { source, executable } => (source, *executable),
    };
    let file = |size, stat, executable| {
        let object = (size == 0).then_some(ObjectHash::EMPTY);
        Some(FoundKind::File(FoundFile {
            source,
            executable,
            size,
            stat,
            object,
        }))
    };
    let at = match source {
        Source::Bytes(bytes) => return Ok(file(bytes.len() as u64, None, executable)),
        Source::Spooled { len, .. } => return Ok(file(*len, None, executable)),
        Source::Path(at) => at,
    };
    let found = match root.look(at) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        found => found.map_err(|error| unreadable(path, error))?,
    };
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {
            let stat = Stat::of(&found);
            Ok(file(stat.size, Some(stat), stat.executable))
        }
        SFlag::S_IFLNK => match readlinkat(&root.folder, root.short(at)) {
            Ok(target) => Ok(Some(FoundKind::Link(target.as_bytes().to_vec()))),
            Err(Errno::ENOENT) => Ok(None),
            // It became something else in this moment.
            Err(Errno::EINVAL) => Err(PackError::Changing { path: shown(path) }),
            Err(error) => Err(unreadable(path, error)),
        },
        // What is in it was selected by itself.
        SFlag::S_IFDIR => Ok(None),
        _ => Err(PackError::Item {
            path: shown(path),
            reason: "it is neither a file nor a link nor a folder: name it in .mizzenignore"
                .to_owned(),
        }),
    }
}
