//! What the files of a root were when they were last read: who has not changed need not be read again.
//!
//! ```text
//! "mizzen cache 1\n\0", root: length (u32), bytes
//! each file: path: length (u32), bytes; device, inode, size, mtime, ctime; its content's hash; rounds unseen   by path
//! blake3 of all that (32 bytes)
//! ```
//!
//! A file counts as unchanged if all of that is as it was. Pitfall: a file that is written twice within one tick of the file
//! system's clock, with the same size, shows nothing of it. So a file is remembered only if its times were well before it was
//! read; one that was just written is read once more the next time.

use std::cmp::Ordering;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{ObjectHash, order};
use nix::sys::stat::FileStat;

use super::BundleError;
use super::home::Home;
use super::pack::take;
use super::scan::{Found, FoundKind};

const MAGIC: &[u8; 16] = b"mizzen cache 1\n\0";
/// The coarsest clock of a file system in use has steps of two seconds.
const TICK: i64 = 2_000_000_000;
/// So often a file may be absent before it is forgotten: two packagers of one root take turns.
const ROUNDS: u8 = 8;

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    /// Both in nanoseconds since 1970.
    modified: i64,
    changed: i64,
    pub(super) executable: bool,
}

impl Stat {
    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types of these fields differ between systems; all of them are only compared"
    )]
    pub(super) fn of(found: &FileStat) -> Stat {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
        Stat {
            device: found.st_dev as u64,
            inode: found.st_ino as u64,
            size: found.st_size as u64,
            modified: nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as i64),
            changed: nanoseconds(found.st_ctime as i64, found.st_ctime_nsec as i64),
            executable: found.st_mode & 0o100 != 0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    path: Vec<u8>,
    stat: [u8; 40],
    object: ObjectHash,
    unseen: u8,
}

/// The cache of one root.
#[derive(Debug)]
pub(super) struct Cache {
    path: Utf8PathBuf,
    root: Utf8PathBuf,
    /// By path.
    files: Vec<Remembered>,
}

/// The comparable bytes of what the file system said. Whether a file is executable shows in `changed` as well.
fn bytes(stat: &Stat) -> [u8; 40] {
    let mut bytes = [0; 40];
    let words = [
        stat.device.to_le_bytes(),
        stat.inode.to_le_bytes(),
        stat.size.to_le_bytes(),
        stat.modified.to_le_bytes(),
        stat.changed.to_le_bytes(),
    ];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word);
    }
    bytes
}

impl Cache {
    /// The cache of this root; an empty one if there is none, or it is damaged.
    pub(super) fn load(home: &Home, root: &Utf8Path) -> Cache {
        let name = blake3::hash(root.as_str().as_bytes()).to_hex();
        let path = home.cache().join(name.as_str());
        let files = std::fs::read(&path).ok();
        let files = files
            .and_then(|bytes| parse(&bytes))
            .filter(|(of, _)| of == root);
        Cache {
            path,
            root: root.to_owned(),
            files: files.map(|(_, files)| files).unwrap_or_default(),
        }
    }

    /// Gives the files that are as they were their contents.
    pub(super) fn fill(&self, found: &mut [Found<'_>]) {
        let mut files = self.files.iter().peekable();
        for found in found {
            while files
                .next_if(|file| order(&file.path, found.path) == Ordering::Less)
                .is_some()
            {}
            let FoundKind::File(file) = &mut found.kind else {
                continue;
            };
            if let (Some(stat), Some(known)) = (&file.stat, files.peek())
                && known.path == found.path
                && known.stat == bytes(stat)
            {
                file.object = Some(known.object);
            }
        }
    }

    /// Remembers what was read, if anything is new. `now` is a time before the first look at any of them.
    pub(super) fn save(
        self,
        home: &Home,
        found: &[Found<'_>],
        now: SystemTime,
    ) -> Result<(), BundleError> {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut files = Vec::with_capacity(found.len());
        for found in found {
            if let FoundKind::File(file) = &found.kind
                && let (Some(stat), Some(object)) = (&file.stat, file.object)
                && stat.size > 0
                && stat.modified.max(stat.changed) < now - TICK
            {
                let stat = bytes(stat);
                files.push(Remembered {
                    path: found.path.to_vec(),
                    stat,
                    object,
                    unseen: 0,
                });
            }
        }
        let mut all = Vec::with_capacity(files.len());
        let mut old = self.files.iter().peekable();
        let mut unseen = |upto: Option<&[u8]>, all: &mut Vec<Remembered>| {
            let before =
                |file: &&Remembered| upto.is_none_or(|path| order(&file.path, path).is_lt());
            while let Some(file) = old.next_if(before) {
                if file.unseen < ROUNDS {
                    all.push(Remembered {
                        unseen: file.unseen + 1,
                        ..file.clone()
                    });
                }
            }
            old.next_if(|file| upto == Some(file.path.as_slice()));
        };
        for file in files {
            unseen(Some(&file.path), &mut all);
            all.push(file);
        }
        unseen(None, &mut all);
        let as_before = |one: &Remembered, other: &Remembered| {
            (&one.path, &one.stat, one.object) == (&other.path, &other.stat, other.object)
        };
        let same = all.len() == self.files.len()
            && all
                .iter()
                .zip(&self.files)
                .all(|(one, other)| as_before(one, other));
        if same {
            return Ok(());
        }
        home.put(&self.path, &write(&self.root, &all))
    }
}

fn write(root: &Utf8Path, files: &[Remembered]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let text = |text: &[u8], bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(text);
    };
    text(root.as_str().as_bytes(), &mut bytes);
    for file in files {
        text(&file.path, &mut bytes);
        bytes.extend_from_slice(&file.stat);
        bytes.extend_from_slice(&file.object.0);
        bytes.push(file.unseen);
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<(Utf8PathBuf, Vec<Remembered>)> {
    let (bytes, hash) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(bytes) != *hash {
        return None;
    }
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let rest = &mut rest;
    let root = String::from_utf8(text(rest)?.to_vec()).ok()?;
    let mut files = Vec::with_capacity(rest.len() / 100);
    while !rest.is_empty() {
        files.push(Remembered {
            path: text(rest)?.to_vec(),
            stat: take(rest)?,
            object: ObjectHash(take(rest)?),
            unseen: take::<1>(rest)?[0],
        });
    }
    Some((root.into(), files))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// The root that a cache is of; `None` if it is damaged.
pub(super) fn root_of(path: &Utf8Path) -> Option<Utf8PathBuf> {
    parse(&std::fs::read(path).ok()?).map(|(root, _)| root)
}
