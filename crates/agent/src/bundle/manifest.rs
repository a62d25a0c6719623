//! The canonical list of a tree: its entries in one order, as bytes that can be written in one way only.
//!
//! ```text
//! "mizzen tree 1\n", then each entry:
//!   kind: f file · x executable file · l link · d empty folder     1 byte
//!   path: length (u32, little-endian), bytes
//!   f, x: size (u64, little-endian), blake3 of the content (32 bytes)
//!   l:    target: length (u32), bytes
//! ```
//!
//! Entries are in the order of their paths, part by part: what is in a folder stands together, and whether something is
//! below a file or a link shows between neighbours.
//!
//! Pitfall: where a link leads is a question about the whole tree, since its target may go through other links.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use super::hash::{ObjectHash, TreeHash};

/// The first bytes of each manifest.
const MAGIC: &[u8] = b"mizzen tree 1\n";
/// A larger manifest is neither written nor read: a tree of some 700,000 files.
pub const LARGEST: usize = 64 << 20;
/// The longest path and the longest target of a link, in bytes: more than any system takes at once.
const LONGEST_PATH: usize = 4095;
/// The longest name of a file or a folder, in bytes.
const LONGEST_NAME: usize = 255;
/// Links that one path may go through, as in Linux; a path through more can't be opened.
const MOST_LINKS: u32 = 40;

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, from the tree's root: names joined by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Its owner may run it.
        executable: bool,
        /// Its content's bytes.
        size: u64,
        /// Its content's name.
        object: ObjectHash,
    },
    /// A symbolic link.
    Link {
        /// What is written in it.
        target: Vec<u8>,
    },
    /// A folder with nothing in it; others follow from the paths.
    Folder,
}

/// The canonical list of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    hash: TreeHash,
}

/// What no tree may be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes end or go on where they should not, or are of something else.
    Malformed(&'static str),
    /// A path that leads out of the tree, or can't be one: absolute, `.`, `..`, an empty part, NUL, too long.
    Path(Vec<u8>),
    /// One path twice, or entries that are not in the canonical order.
    Order(Vec<u8>),
    /// Something below what is a file, a link or a folder said to be empty.
    Below(Vec<u8>),
    /// A link whose target is absolute or leads out of the tree.
    Link(Vec<u8>, Vec<u8>),
    /// An object with two sizes, or a size that it can't have.
    Size(Vec<u8>),
    /// More entries than a manifest may have.
    TooLarge,
}

/// A path for people: what is not printable is written as an escape.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

impl Display for ManifestError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Malformed(what) => {
                write!(formatter, "this is no list of a tree: {what}")
            }
            ManifestError::Path(path) => {
                write!(formatter, "`{}` can't be a path in a tree", shown(path))
            }
            ManifestError::Order(path) => write!(
                formatter,
                "`{}` is there twice, or not where it belongs",
                shown(path)
            ),
            ManifestError::Below(path) => write!(
                formatter,
                "`{}` is below something that is no folder with things in it",
                shown(path)
            ),
            ManifestError::Link(path, target) => write!(
                formatter,
                "the link `{}` leads out of the tree: its target is `{}`",
                shown(path),
                shown(target)
            ),
            ManifestError::Size(path) => write!(
                formatter,
                "the size of `{}` contradicts its content's hash",
                shown(path)
            ),
            ManifestError::TooLarge => write!(
                formatter,
                "the list of the tree is larger than {} MiB: that is some 700,000 files",
                LARGEST >> 20
            ),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Sorts and checks the entries.
    ///
    /// # Errors
    /// What no tree may be; see [`ManifestError`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Manifest, ManifestError> {
        entries.sort_unstable_by(|one, other| order(&one.path, &other.path));
        check(&entries)?;
        let mut bytes = Vec::with_capacity(
            MAGIC.len()
                + entries
                    .iter()
                    .map(|entry| entry.path.len() + 48)
                    .sum::<usize>(),
        );
        bytes.extend_from_slice(MAGIC);
        for entry in &entries {
            write(entry, &mut bytes);
            if bytes.len() > LARGEST {
                return Err(ManifestError::TooLarge);
            }
        }
        let hash = TreeHash::of(&bytes);
        Ok(Manifest {
            entries,
            bytes,
            hash,
        })
    }

    /// Reads a manifest. Only canonical bytes are taken, so that one tree has one hash.
    ///
    /// # Errors
    /// These are no canonical bytes, or what no tree may be.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > LARGEST {
            return Err(ManifestError::TooLarge);
        }
        let mut rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(ManifestError::Malformed("its first bytes are others"))?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            entries.push(read(&mut rest)?);
        }
        check(&entries)?;
        Ok(Manifest {
            entries,
            bytes: bytes.to_vec(),
            hash: TreeHash::of(bytes),
        })
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// The canonical bytes, not copied.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tree's name.
    #[must_use]
    pub fn hash(&self) -> TreeHash {
        self.hash
    }

    /// Everything in the tree, in the canonical order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many files it has.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.sizes().count() as u64
    }

    /// The bytes of all its files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sizes().fold(0, u64::saturating_add)
    }

    fn sizes(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().filter_map(|entry| match entry.kind {
            Kind::File { size, .. } => Some(size),
            Kind::Link { .. } | Kind::Folder => None,
        })
    }

    /// The distinct objects, each where it comes first, with their sizes; without the empty one.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectHash, u64)> {
        let mut seen = std::collections::HashSet::with_capacity(self.entries.len());
        self.entries
            .iter()
            .filter_map(move |entry| match entry.kind {
                Kind::File { size, object, .. } if size > 0 && seen.insert(object) => {
                    Some((object, size))
                }
                _ => None,
            })
    }
}

/// The order of paths: part by part, so that a folder's content follows it at once.
#[must_use]
pub fn order(one: &[u8], other: &[u8]) -> Ordering {
    let part = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match one.iter().zip(other).position(|(a, b)| a != b) {
        Some(position) => part(&one[position]).cmp(&part(&other[position])),
        None => one.len().cmp(&other.len()),
    }
}

/// Whether `path` is below `folder`.
#[must_use]
pub fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn write(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.push(match entry.kind {
        Kind::File {
            executable: false, ..
        } => b'f',
        Kind::File {
            executable: true, ..
        } => b'x',
        Kind::Link { .. } => b'l',
        Kind::Folder => b'd',
    });
    write_text(&entry.path, bytes);
    match &entry.kind {
        Kind::File { size, object, .. } => {
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&object.0);
        }
        Kind::Link { target } => write_text(target, bytes),
        Kind::Folder => {}
    }
}

fn write_text(text: &[u8], bytes: &mut Vec<u8>) {
    // `check` has refused what is longer than a path may be.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text);
}

const CUT: ManifestError = ManifestError::Malformed("it ends in the middle of an entry");

fn read(rest: &mut &[u8]) -> Result<Entry, ManifestError> {
    let [kind] = read_array(rest)?;
    let path = read_text(rest)?.to_vec();
    let kind = match kind {
        b'f' | b'x' => Kind::File {
            executable: kind == b'x',
            size: u64::from_le_bytes(read_array(rest)?),
            object: ObjectHash(read_array(rest)?),
        },
        b'l' => Kind::Link {
            target: read_text(rest)?.to_vec(),
        },
        b'd' => Kind::Folder,
        _ => return Err(ManifestError::Malformed("an entry is of no known kind")),
    };
    Ok(Entry { path, kind })
}

fn read_array<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], ManifestError> {
    let (array, after) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = after;
    Ok(*array)
}

fn read_text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ManifestError> {
    let length = u32::from_le_bytes(read_array(rest)?) as usize;
    let (text, after) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = after;
    Ok(text)
}

/// The length in bytes of the entry that `bytes` begin with.
pub(super) fn entry_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let kind = read_array::<1>(&mut rest).ok()?;
    read_text(&mut rest).ok()?;
    match &kind {
        b"f" | b"x" => rest = rest.get(40..)?,
        b"l" => drop(read_text(&mut rest).ok()?),
        _ => {}
    }
    Some(bytes.len() - rest.len())
}

/// The bytes of a manifest's entries, without what stands before them.
pub(super) fn body(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MAGIC).unwrap_or_default()
}

/// What stands before the entries.
pub(super) fn head() -> &'static [u8] {
    MAGIC
}

/// Whether these entries, in this order, are a tree.
fn check(entries: &[Entry]) -> Result<(), ManifestError> {
    let mut sizes = HashMap::with_capacity(entries.len());
    let mut links = HashMap::new();
    let mut before: Option<&Entry> = None;
    for entry in entries {
        if !is_path(&entry.path) {
            return Err(ManifestError::Path(entry.path.clone()));
        }
        if let Some(before) = before {
            if order(&before.path, &entry.path) != Ordering::Less {
                return Err(ManifestError::Order(entry.path.clone()));
            }
            // Whatever stands below an entry follows it at once.
            if is_below(&entry.path, &before.path) {
                return Err(ManifestError::Below(entry.path.clone()));
            }
        }
        before = Some(entry);
        match &entry.kind {
            Kind::File { size, object, .. } => {
                let contradicts = (*size == 0) != (*object == ObjectHash::EMPTY);
                if contradicts || *sizes.entry(*object).or_insert(*size) != *size {
                    return Err(ManifestError::Size(entry.path.clone()));
                }
            }
            Kind::Link { target } => {
                links.insert(entry.path.as_slice(), target.as_slice());
            }
            Kind::Folder => {}
        }
    }
    for (path, target) in &links {
        if !stays_inside(path, target, &links) {
            return Err(ManifestError::Link(path.to_vec(), target.to_vec()));
        }
    }
    Ok(())
}

fn is_path(path: &[u8]) -> bool {
    path.len() <= LONGEST_PATH
        && !path.contains(&0)
        && path.split(|byte| *byte == b'/').all(|name| {
            !name.is_empty() && name.len() <= LONGEST_NAME && name != b"." && name != b".."
        })
}

/// Whether a link leads nowhere out of the tree, followed as the system follows it: part by part, through other links.
fn stays_inside(path: &[u8], target: &[u8], links: &HashMap<&[u8], &[u8]>) -> bool {
    let is_target = |target: &[u8]| {
        !target.is_empty()
            && target.len() <= LONGEST_PATH
            && target[0] != b'/'
            && !target.contains(&0)
    };
    if !is_target(target) {
        return false;
    }
    let mut place: Vec<u8> = match path.iter().rposition(|byte| *byte == b'/') {
        Some(end) => path[..end].to_vec(),
        None => Vec::new(),
    };
    // What is left to follow, the next part at the end.
    let parts = |target: &[u8]| -> Vec<Vec<u8>> {
        target
            .split(|byte| *byte == b'/')
            .rev()
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut left = parts(target);
    let mut followed = 0;
    while let Some(part) = left.pop() {
        match part.as_slice() {
            b"" | b"." => {}
            b".." => {
                if place.is_empty() {
                    return false;
                }
                let end = place.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                place.truncate(end);
            }
            name => {
                let folder = place.len();
                if folder > 0 {
                    place.push(b'/');
                }
                place.extend_from_slice(name);
                if let Some(target) = links.get(place.as_slice()) {
                    followed += 1;
                    // A ring of links, or nearly: no system opens it, so it leads nowhere.
                    if followed > MOST_LINKS {
                        return true;
                    }
                    if !is_target(target) {
                        return false;
                    }
                    place.truncate(folder);
                    left.extend(parts(target));
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::File {
                executable: false,
                size: 1,
                object: ObjectHash::of(b"x"),
            },
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::Link {
                target: target.into(),
            },
        }
    }

    fn folder(path: &str) -> Entry {
        Entry {
            path: path.into(),
            kind: Kind::Folder,
        }
    }

    #[test]
    fn there_and_back() {
        let entries = vec![
            link("b/l", "../a-b"),
            file("a/x"),
            file("a-b"),
            folder("z"),
            file("a b"),
        ];
        let manifest = Manifest::new(entries).unwrap();
        let paths: Vec<_> = manifest
            .entries()
            .iter()
            .map(|entry| shown(&entry.path))
            .collect();
        assert_eq!(paths, ["a/x", "a b", "a-b", "b/l", "z"]);
        assert_eq!(Manifest::parse(manifest.as_bytes()), Ok(manifest.clone()));
        assert_eq!((manifest.files(), manifest.bytes()), (3, 3));
        assert_eq!(manifest.objects().count(), 1);
        let mut rest = body(manifest.as_bytes());
        let mut count = 0;
        while !rest.is_empty() {
            rest = &rest[entry_length(rest).unwrap()..];
            count += 1;
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn every_cut_and_every_addition_is_noticed() {
        let manifest = Manifest::new(vec![file("a/x"), link("l", "a"), folder("z")]).unwrap();
        let bytes = manifest.as_bytes();
        let whole = [
            MAGIC.len(),
            MAGIC.len() + 1 + 4 + 3 + 40,
            MAGIC.len() + 1 + 4 + 3 + 40 + 11,
        ];
        for cut in 0..bytes.len() {
            // A cut between two entries is another manifest.
            assert_eq!(
                Manifest::parse(&bytes[..cut]).is_ok(),
                whole.contains(&cut),
                "{cut}"
            );
        }
        let longer = [bytes, b"\0"].concat();
        assert!(Manifest::parse(&longer).is_err());
    }

    #[test]
    fn what_no_tree_may_be() {
        let long = "n".repeat(256);
        for path in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0b", &long,
        ] {
            let made = Manifest::new(vec![file(path)]);
            assert_eq!(made, Err(ManifestError::Path(path.into())), "{path}");
        }
        let twice = Manifest::new(vec![file("a"), folder("a")]);
        assert_eq!(twice, Err(ManifestError::Order(b"a".to_vec())));
        for upper in [file("a"), link("a", "b"), folder("a")] {
            let made = Manifest::new(vec![upper, file("a-"), file("a/b")]);
            assert_eq!(made, Err(ManifestError::Below(b"a/b".to_vec())));
        }
        let sizes = |size, object| Entry {
            path: format!("{size}").into(),
            kind: Kind::File {
                executable: false,
                size,
                object,
            },
        };
        let object = ObjectHash::of(b"x");
        for wrong in [
            vec![sizes(1, object), sizes(2, object)],
            vec![sizes(0, object)],
            vec![sizes(1, ObjectHash::EMPTY)],
        ] {
            assert!(matches!(Manifest::new(wrong), Err(ManifestError::Size(_))));
        }
    }

    #[test]
    fn links_stay_inside() {
        for (path, target) in [
            ("l", "nothing"),
            ("l", "."),
            ("a/l", ".."),
            ("a/b/l", "../../c/./d//e"),
            ("l", "l"),
            ("l", "x/../y"),
        ] {
            assert!(
                Manifest::new(vec![link(path, target)]).is_ok(),
                "{path} → {target}"
            );
        }
        for (path, target) in [
            ("l", ""),
            ("l", "/"),
            ("l", "/etc"),
            ("l", ".."),
            ("l", "a/../.."),
            ("a/l", "../.."),
            ("a/l", "../b/../../c"),
            ("l", "a\0"),
        ] {
            assert!(
                Manifest::new(vec![link(path, target)]).is_err(),
                "{path} → {target}"
            );
        }
        // Each of these is inside by itself; one through the other is not.
        let up = link("d/e/f/up", "../../..");
        assert!(Manifest::new(vec![up.clone()]).is_ok());
        assert!(Manifest::new(vec![up.clone(), link("l", "d/e/f/up/..")]).is_err());
        assert!(Manifest::new(vec![up.clone(), link("l", "d/e/f/up/x")]).is_ok());
        // Read as text it leaves; as the system goes it does not.
        let deep = link("x", "a/b/c");
        assert!(Manifest::new(vec![deep.clone(), link("y", "x/../..")]).is_ok());
        assert!(Manifest::new(vec![deep, link("y", "x/../../../..")]).is_err());
        let ring = vec![link("a", "b"), link("b", "a"), link("c", "a/../../..")];
        assert!(Manifest::new(ring).is_ok());
    }

    #[test]
    fn only_one_order_is_read() {
        let one = Manifest::new(vec![file("a"), file("b")]).unwrap();
        let mut bytes = MAGIC.to_vec();
        for entry in one.entries().iter().rev() {
            write(entry, &mut bytes);
        }
        assert_eq!(
            Manifest::parse(&bytes),
            Err(ManifestError::Order(b"a".to_vec()))
        );
    }
}
