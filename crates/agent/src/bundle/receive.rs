//! Takes a bundle in: reads the stream along the manifest and writes each file where it belongs.
//!
//! ```text
//! for each entry, in order:  its content is in the tree already ─▶ hard link, else copy
//!                            a base has it                     ─▶ hard link, else copy
//!                            neither                           ─▶ the next bytes of the stream, checked by their hash
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display, Formatter};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{linkat, symlinkat};

use super::folders::{Folders, create, is_sealed, look, open_file, seal};
use super::format::{BundleReader, StreamError};
use super::hash::{ObjectHash, TreeHash};
use super::manifest::{Entry, Kind, Manifest};
use super::place::{Staging, is_whole, manifest};

/// Why a bundle was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The stream is no whole bundle.
    Stream(StreamError),
    /// The disk is full.
    Full {
        /// The place.
        place: PathBuf,
        /// What the whole tree needs, in bytes.
        needed: u64,
    },
    /// Something can't be written.
    Write(PathBuf, io::Error),
}

impl Display for ReceiveError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveError::Stream(error) => error.fmt(formatter),
            ReceiveError::Full { place, needed } => write!(
                formatter,
                "no space is left for the code in {}: all of it needs {needed} bytes; free some, or choose another folder",
                place.display()
            ),
            ReceiveError::Write(path, error) => {
                write!(
                    formatter,
                    "can't write the code to {}: {error}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for ReceiveError {}

impl From<StreamError> for ReceiveError {
    fn from(error: StreamError) -> ReceiveError {
        ReceiveError::Stream(error)
    }
}

/// Takes a bundle in and unpacks it to `bundles/<tree hash>/`. What its bases hold is linked from there; each object's hash is
/// checked. It is staged beside and renamed when it is whole; a tree that is there already is left as it is. Nothing is
/// left behind on failure.
///
/// # Errors
/// The stream is no whole bundle, or this place can't take it.
pub fn receive(stdin: impl Read, bundles: &Path) -> Result<TreeHash, ReceiveError> {
    let mut reader = BundleReader::open(stdin)?;
    let tree = reader.tree();
    let folder_of = |tree: &TreeHash| bundles.join(tree.to_string());
    let mut bases = Vec::new();
    for base in reader.bases().to_vec() {
        let list = manifest(&folder_of(&base), &base).ok_or(StreamError::NoBase(base))?;
        bases.push((base, list));
    }
    let built_on = |wanted: TreeHash| {
        let base = bases.iter().find(|(base, _)| *base == wanted);
        base.map(|(_, list)| list.clone())
    };
    let list = reader.manifest(built_on)?;
    if is_whole(&folder_of(&tree), &tree) {
        loop {
            if reader.block()?.is_none() {
                return Ok(tree);
            }
        }
    }
    let place = bundles.to_owned();
    let cant_write = |error: io::Error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => ReceiveError::Full {
            place: place.clone(),
            needed: list.bytes(),
        },
        _ => ReceiveError::Write(place.clone(), error),
    };
    let staging = Staging::new(bundles).map_err(cant_write)?;
    let unpacked = (|| -> Result<(), Failure> {
        let mut bases = Bases::open(&bases, &list, bundles)?;
        let mut unpacking = Unpacking {
            folders: Folders::at(&staging.tree(), true)?,
            first: HashMap::with_capacity(list.entries().len()),
            reader: &mut reader,
        };
        for entry in list.entries() {
            unpacking.entry(entry, &mut bases)?;
        }
        Ok(reader.finish()?)
    })();
    match unpacked {
        Ok(()) => {}
        Err(Failure::Stream(error)) => return Err(error.into()),
        Err(Failure::Write(error)) => return Err(cant_write(error)),
    }
    staging.become_tree(&list).map_err(cant_write)?;
    Ok(tree)
}

/// Which side of the work failed.
enum Failure {
    Stream(StreamError),
    Write(io::Error),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Failure {
        Failure::Stream(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Write(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        Failure::Write(error.into())
    }
}

/// A file that is there, sealed: where, and whether it is executable, which links share.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a [u8],
    executable: bool,
    /// Which of the bases it is in.
    base: usize,
}

/// What the bases hold of the tree.
struct Bases<'a> {
    roots: Vec<(TreeHash, Folders)>,
    objects: HashMap<ObjectHash, Vec<Place<'a>>>,
}

impl<'a> Bases<'a> {
    fn open(
        bases: &'a [(TreeHash, Manifest)],
        list: &Manifest,
        bundles: &Path,
    ) -> Result<Bases<'a>, Failure> {
        let mut found = Bases {
            roots: Vec::new(),
            objects: HashMap::new(),
        };
        let wanted: HashSet<ObjectHash> = if bases.is_empty() {
            HashSet::new()
        } else {
            list.objects().map(|(object, _)| object).collect()
        };
        for (number, (base, list)) in bases.iter().enumerate() {
            let root = bundles.join(base.to_string()).join("tree");
            let root = Folders::at(&root, false).map_err(|_| StreamError::NoBase(*base))?;
            found.roots.push((*base, root));
            for entry in list.entries() {
                if let Kind::File {
                    executable, object, ..
                } = entry.kind
                    && wanted.contains(&object)
                {
                    let place = Place {
                        path: &entry.path,
                        executable,
                        base: number,
                    };
                    let places = found.objects.entry(object).or_default();
                    // One that can be linked, and at most one other to copy.
                    if !places.iter().any(|known| known.executable == executable) {
                        places.push(place);
                    }
                }
            }
        }
        Ok(found)
    }
}

struct Unpacking<'a, R> {
    folders: Folders,
    /// Where each content of this tree was written first, by its mode.
    first: HashMap<(ObjectHash, bool), &'a [u8]>,
    reader: &'a mut BundleReader<R>,
}

impl<'a, R: Read> Unpacking<'a, R> {
    fn entry(&mut self, entry: &'a Entry, bases: &mut Bases<'a>) -> Result<(), Failure> {
        match &entry.kind {
            Kind::Folder => {
                self.folders.enter(&entry.path)?;
            }
            Kind::Link { target } => {
                let (folder, name) = self.folders.parent(&entry.path)?;
                symlinkat(target.as_slice(), folder, name)?;
            }
            Kind::File {
                executable,
                size,
                object,
            } => {
                self.file(&entry.path, *executable, *size, *object, bases)?;
                self.first
                    .entry((*object, *executable))
                    .or_insert(&entry.path);
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &'a [u8],
        executable: bool,
        size: u64,
        object: ObjectHash,
        bases: &mut Bases<'a>,
    ) -> Result<(), Failure> {
        if size == 0 {
            let (folder, name) = self.folders.parent(path)?;
            return Ok(seal(&create(folder, name)?, executable)?);
        }
        // In this tree already: another name for it, or another mode.
        let ours = |executable| self.first.get(&(object, executable)).copied();
        let there = ours(executable).map(|path| (path, true));
        if let Some((from, same_mode)) =
            there.or_else(|| ours(!executable).map(|path| (path, false)))
        {
            let root = self.folders.root().try_clone_to_owned()?;
            let (folder, name) = self.folders.parent(path)?;
            let from = Sealed {
                root: std::os::fd::AsFd::as_fd(&root),
                path: from,
            };
            if same_mode && from.link(folder, name)? {
                return Ok(());
            }
            return match from.copy(folder, name, executable, object)? {
                true => Ok(()),
                false => Err(io::Error::other("a file changed while it was unpacked").into()),
            };
        }
        if let Some(places) = bases.objects.get(&object) {
            let linkable = places.iter().find(|place| place.executable == executable);
            let place = linkable.unwrap_or(&places[0]);
            let (base, root) = &mut bases.roots[place.base];
            let damaged = || Failure::Stream(StreamError::NoBase(*base));
            let (base_folder, base_name) = root.parent(place.path).map_err(|_| damaged())?;
            let found = look(base_folder, base_name).map_err(|_| damaged())?;
            if !is_sealed(&found, size, place.executable) {
                return Err(damaged());
            }
            let (folder, name) = self.folders.parent(path)?;
            let from = Sealed {
                root: base_folder,
                path: base_name,
            };
            if linkable.is_some() && from.link(folder, name)? {
                return Ok(());
            }
            return match from.copy(folder, name, executable, object)? {
                true => Ok(()),
                false => Err(damaged()),
            };
        }
        let (folder, name) = self.folders.parent(path)?;
        let mut file = create(folder, name)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        while left > 0 {
            let content = self.reader.content(left)?;
            hasher.update(content);
            file.write_all(content)?;
            left -= content.len() as u64;
        }
        if ObjectHash(*hasher.finalize().as_bytes()) != object {
            return Err(StreamError::WrongObject(object).into());
        }
        Ok(seal(&file, executable)?)
    }
}

/// A sealed file to take a content from.
struct Sealed<'a> {
    root: BorrowedFd<'a>,
    path: &'a [u8],
}

impl Sealed<'_> {
    /// A hard link; `false` where that can't be: on some file systems never, on others when there are too many.
    fn link(&self, folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        match linkat(self.root, self.path, folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EEXIST)) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// A copy, sealed; `false` if it is not this object.
    fn copy(
        &self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        executable: bool,
        object: ObjectHash,
    ) -> io::Result<bool> {
        let mut from = open_file(self.root, self.path)?;
        let mut to = create(folder, name)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    to.write_all(&buffer[..count])?;
                }
            }
        }
        seal(&to, executable)?;
        Ok(ObjectHash(*hasher.finalize().as_bytes()) == object)
    }
}
