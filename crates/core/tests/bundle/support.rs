//! Folders of a test, trees in them, and what is in a tree.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use camino::Utf8PathBuf;
use mizzen_agent::bundle::{TreeHash, receive};
use mizzen_core::packager::bundle::{Bundles, Packed};
use mizzen_core::packager::{Item, ItemKind, Limits, Listing, PackError, Source};

/// More than any test packs.
pub(crate) const LIMITS: Limits = Limits {
    total: 1 << 40,
    file: 1 << 40,
};

/// A folder of one test; gone at its end.
pub(crate) struct Scene {
    pub(crate) folder: Utf8PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    pub(crate) fn new() -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mizzen-bundle-{}-{number}", std::process::id());
        let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir())
            .unwrap()
            .join(name);
        fs::create_dir_all(folder.join("code")).unwrap();
        Scene { folder }
    }

    pub(crate) fn at(&self, path: &str) -> Utf8PathBuf {
        self.folder.join(path)
    }

    pub(crate) fn code(&self) -> PathBuf {
        self.at("code").into()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at("code").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn bundles(&self) -> Bundles {
        self.home("home")
    }

    pub(crate) fn home(&self, name: &str) -> Bundles {
        Bundles::open(&self.at(name)).unwrap()
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.at("place/bundles").into()
    }

    pub(crate) fn pack(&self) -> Packed {
        self.try_pack().unwrap()
    }

    pub(crate) fn try_pack(&self) -> Result<Packed, PackError> {
        self.bundles().pack(&listing(&self.code()), &LIMITS)
    }

    pub(crate) fn stream(&self, tree: &TreeHash, bases: &[TreeHash]) -> Vec<u8> {
        let mut stream = Vec::new();
        let written = self.bundles().stream(tree, bases, &mut stream).unwrap();
        assert_eq!(written, stream.len() as u64);
        stream
    }

    /// Sends a tree to the place.
    pub(crate) fn send(&self, tree: &TreeHash) {
        let stream = self.stream(tree, &[]);
        assert_eq!(receive(stream.as_slice(), &self.place()).unwrap(), *tree);
    }

    pub(crate) fn tree_at_place(&self, tree: &TreeHash) -> PathBuf {
        self.place().join(tree.to_string()).join("tree")
    }
}

/// What is in a folder, all of it.
pub(crate) fn listing(root: &Path) -> Listing {
    let mut items = Vec::new();
    walk(root, root, &mut items);
    Listing {
        root: Utf8PathBuf::from_path_buf(root.to_owned()).unwrap(),
        items,
        ..Listing::default()
    }
}

fn walk(root: &Path, folder: &Path, items: &mut Vec<Item>) {
    let mut empty = true;
    for entry in fs::read_dir(folder).unwrap() {
        empty = false;
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            walk(root, &path, items);
        } else {
            items.push(Item {
                path: below(root, &path),
                kind: ItemKind::File {
                    source: Source::Path(path),
                    executable: false,
                },
            });
        }
    }
    if empty && folder != root {
        let kind = ItemKind::Folder;
        let path = below(root, folder);
        items.push(Item { path, kind });
    }
}

pub(crate) fn below(root: &Path, path: &Path) -> Vec<u8> {
    let path = path.strip_prefix(root).unwrap();
    path.as_os_str().as_bytes().to_vec()
}

/// What a tree has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File { content: Vec<u8>, executable: bool },
    Link(Vec<u8>),
    Folder,
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

/// What is in a folder: files, links and empty folders.
pub(crate) fn contents(root: &Path) -> Tree {
    let items = listing(root).items.into_iter();
    let node = |item: &Item| {
        let path = root.join(std::ffi::OsStr::from_bytes(&item.path));
        let facts = path.symlink_metadata().unwrap();
        if facts.is_dir() {
            Node::Folder
        } else if facts.is_symlink() {
            Node::Link(fs::read_link(&path).unwrap().into_os_string().into_vec())
        } else {
            Node::File {
                content: fs::read(&path).unwrap(),
                executable: facts.permissions().mode() & 0o100 != 0,
            }
        }
    };
    items.map(|item| (item.path.clone(), node(&item))).collect()
}

/// Makes a tree.
pub(crate) fn make(root: &Path, tree: &Tree) {
    fs::create_dir_all(root).unwrap();
    for (path, node) in tree {
        let path = root.join(std::ffi::OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::Folder => fs::create_dir_all(&path).unwrap(),
            Node::Link(target) => symlink(std::ffi::OsStr::from_bytes(target), &path).unwrap(),
            Node::File {
                content,
                executable,
            } => {
                fs::write(&path, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o640 };
                fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
}

/// Bytes that hardly compress, always the same for one seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Gives a file another time.
pub(crate) fn set_age(path: &Path, age: Duration) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// Asks until it is so; fails after a time that only something broken takes.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not so: {what}");
        std::thread::yield_now();
    }
}

/// All names in a folder, hidden ones too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = found
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}
