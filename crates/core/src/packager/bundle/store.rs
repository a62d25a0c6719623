//! Which trees are kept, and where their objects are.
//!
//! ```text
//! manifests/<tree hash>: "mizzen kept 1\n\0\0"
//!                        manifest: raw length (u32), length (u32), zstd
//!                        packs that hold its objects: count (u32), each: name (32 bytes), bytes (u64)
//!                        blake3 of all that (32 bytes)
//! ```
//!
//! The list of packs says where to look first. An object may be in others as well: gc moves them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::SystemTime;

use camino::Utf8PathBuf;
use mizzen_agent::bundle::{Entry, Kind, Manifest, ObjectHash, TreeHash, decompress, shown};

use super::BundleError;
use super::home::{Home, entries};
use super::pack::{ObjectAt, Pack, PackId, damage_of, path_of, take};

const MAGIC: &[u8; 16] = b"mizzen kept 1\n\0\0";
/// Manifests are small and sent often: a little more work than for contents.
pub(super) const LEVEL: i32 = 3;

/// A tree that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) manifest: Manifest,
    pub(super) packs: Vec<PackId>,
}

pub(super) fn path_of_tree(home: &Home, tree: &TreeHash) -> Utf8PathBuf {
    home.manifests().join(tree.to_string())
}

/// Reads what is kept of a tree; `None` if it is not kept.
pub(super) fn load(home: &Home, tree: &TreeHash) -> Result<Option<Kept>, BundleError> {
    let path = path_of_tree(home, tree);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(BundleError::at(&path))?,
    };
    let parsed = parse(&bytes).and_then(|(length, compressed, packs)| {
        let mut raw = Vec::new();
        decompress(compressed, length, &mut raw).ok()?;
        let manifest = Manifest::parse(&raw)
            .ok()
            .filter(|manifest| manifest.hash() == *tree)?;
        Some(Kept {
            manifest,
            packs: packs.into_iter().map(|(id, _)| id).collect(),
        })
    });
    let what = || format!("the list of the tree {}", tree.short());
    parsed
        .map(Some)
        .ok_or_else(|| BundleError::Damaged { path, what: what() })
}

/// Whether a tree is kept with all its packs, as far as their sizes tell. It counts as used now.
pub(super) fn is_intact(home: &Home, tree: &TreeHash) -> bool {
    let path = path_of_tree(home, tree);
    let Ok(bytes) = std::fs::read(&path) else {
        return false;
    };
    let pack_is_there = |(id, length): &(PackId, u64)| {
        let path = path_of(home, id);
        std::fs::metadata(&path).is_ok_and(|found| found.len() == *length)
            && !damage_of(&path).exists()
    };
    let intact = parse(&bytes).is_some_and(|(.., packs)| packs.iter().all(pack_is_there));
    intact && touch(&path).is_ok()
}

/// Sets a file's time to now.
pub(super) fn touch(path: &camino::Utf8Path) -> std::io::Result<()> {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let (now, flags) = (TimeSpec::UTIME_NOW, UtimensatFlags::FollowSymlink);
    Ok(utimensat(
        nix::fcntl::AT_FDCWD,
        path.as_std_path(),
        &now,
        &now,
        flags,
    )?)
}

/// Keeps a tree whose objects are in these packs.
pub(super) fn keep(
    home: &Home,
    manifest: &Manifest,
    packs: &[(PackId, u64)],
) -> Result<(), BundleError> {
    let raw = manifest.as_bytes();
    let compressed = zstd::bulk::compress(raw, LEVEL)
        .map_err(|error| BundleError::Compress(error.to_string()))?;
    let mut bytes = MAGIC.to_vec();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend_from_slice(&number(raw.len()));
    bytes.extend_from_slice(&number(compressed.len()));
    bytes.extend_from_slice(&compressed);
    bytes.extend_from_slice(&number(packs.len()));
    for (id, length) in packs {
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    home.put(&path_of_tree(home, &manifest.hash()), &bytes)
}

type Parsed<'a> = (usize, &'a [u8], Vec<(PackId, u64)>);

fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let (bytes, hash) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(bytes) != *hash {
        return None;
    }
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let number = |rest: &mut &[u8]| Some(u32::from_le_bytes(take(rest)?) as usize);
    let raw = number(&mut rest)?;
    let length = number(&mut rest)?;
    let (compressed, after) = rest.split_at_checked(length)?;
    rest = after;
    let count = number(&mut rest)?;
    let packs = (0..count)
        .map(|_| Some((take(&mut rest)?, u64::from_le_bytes(take(&mut rest)?))))
        .collect::<Option<_>>()?;
    rest.is_empty().then_some((raw, compressed, packs))
}

/// All trees that are kept, with the time of their last use; the latest first.
pub(super) fn known(home: &Home) -> Result<Vec<(TreeHash, SystemTime)>, BundleError> {
    let mut known = Vec::new();
    for path in entries(&home.manifests())? {
        let Some(tree) = path
            .file_name()
            .and_then(|name| name.parse::<TreeHash>().ok())
        else {
            continue;
        };
        match std::fs::metadata(&path).and_then(|found| found.modified()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            used => known.push((tree, used.map_err(BundleError::at(&path))?)),
        }
    }
    known.sort_by_key(|(tree, used)| (std::cmp::Reverse(*used), *tree));
    Ok(known)
}

/// Hashes are spread well already: their first bytes will do.
#[derive(Debug, Default, Clone, Copy)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // What stands before the bytes is always their number.
    fn write_usize(&mut self, _: usize) {}
}

/// Where objects are.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) packs: Vec<Pack>,
    at: HashMap<ObjectHash, (u32, ObjectAt), BuildHasherDefault<FirstBytes>>,
}

impl Objects {
    /// Reads the indexes of all packs.
    pub(super) fn all(home: &Home) -> Result<Objects, BundleError> {
        let paths = entries(&home.packs())?;
        let paths = paths
            .into_iter()
            .filter(|path| path.extension() == Some("pack"));
        Objects::load(paths)
    }

    /// Reads the indexes of these packs, as far as they are there and whole.
    pub(super) fn of(home: &Home, packs: &[PackId]) -> Result<Objects, BundleError> {
        Objects::load(packs.iter().map(|id| path_of(home, id)))
    }

    /// What holds these objects of a tree.
    pub(super) fn holding(
        home: &Home,
        kept: &Kept,
        needed: &[ObjectHash],
    ) -> Result<Objects, BundleError> {
        let listed = Objects::of(home, &kept.packs)?;
        if needed.iter().all(|object| listed.contains(object)) {
            return Ok(listed);
        }
        let all = Objects::all(home)?;
        let lost: BTreeSet<_> = needed
            .iter()
            .filter(|object| !all.contains(object))
            .collect();
        if lost.is_empty() {
            return Ok(all);
        }
        let is_lost = |entry: &&Entry| match &entry.kind {
            Kind::File { object, .. } => lost.contains(object),
            Kind::Link { .. } | Kind::Folder => false,
        };
        let mut files = kept.manifest.entries().iter().filter(is_lost);
        let example = files
            .next()
            .map(|entry| shown(&entry.path))
            .unwrap_or_default();
        Err(BundleError::Lost {
            tree: kept.manifest.hash(),
            files: 1 + files.count(),
            example,
        })
    }

    fn load(paths: impl Iterator<Item = Utf8PathBuf>) -> Result<Objects, BundleError> {
        let mut objects = Objects::default();
        for path in paths {
            objects.open(&path)?;
        }
        Ok(objects)
    }

    /// Knows one more pack.
    pub(super) fn add(&mut self, home: &Home, id: &PackId) -> Result<(), BundleError> {
        self.open(&path_of(home, id))
    }

    fn open(&mut self, path: &camino::Utf8Path) -> Result<(), BundleError> {
        if let Some(pack) = Pack::open(path)? {
            let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
            self.at.reserve(pack.objects.len());
            for (object, at) in &pack.objects {
                if pack.is_readable(at) {
                    self.at.entry(*object).or_insert((number, *at));
                }
            }
            self.packs.push(pack);
        }
        Ok(())
    }

    pub(super) fn contains(&self, object: &ObjectHash) -> bool {
        self.at.contains_key(object) || *object == ObjectHash::EMPTY
    }

    pub(super) fn find(&self, object: &ObjectHash) -> Option<(usize, ObjectAt)> {
        self.at.get(object).map(|(pack, at)| (*pack as usize, *at))
    }

    /// The packs that hold a tree's objects.
    pub(super) fn packs_of(&self, manifest: &Manifest) -> Vec<(PackId, u64)> {
        let numbers: BTreeSet<usize> = manifest
            .objects()
            .filter_map(|(object, _)| self.find(&object))
            .map(|(pack, _)| pack)
            .collect();
        let mut packs: Vec<_> = numbers
            .into_iter()
            .map(|number| (self.packs[number].id, self.packs[number].bytes))
            .collect();
        packs.sort_unstable();
        packs
    }
}
