//! Takes away what no experiment needs.
//!
//! ```text
//! trees to keep + trees just used ─▶ their objects ─▶ blocks that hold one ─▶ packs with none go,
//!                                                                           packs with few, and many small ones, are copied together
//! ```
//!
//! Blocks are copied as they are, so nothing is compressed again. The new pack is in its place before an old one goes: whatever
//! interrupts this, nothing that is needed is ever missing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{self, ObjectHash, TreeHash};

use super::cache;
use super::home::{Home, entries};
use super::pack::{ObjectAt, Pack, PackWriter, damage_of};
use super::store::{self, Kept, Objects};
use super::take::needed;
use super::{BundleError, Freed};

/// What was used so lately stays: somebody may be about to write down that it is needed.
const FRESH: Duration = Duration::from_mins(10);
/// A pack of fewer bytes is small.
const SMALL: u64 = 4 << 20;
/// So many small packs may be; more are copied together.
const MOST_SMALL: usize = 32;

pub(super) fn gc(
    home: &Home,
    keep: &BTreeSet<TreeHash>,
    dry_run: bool,
) -> Result<Freed, BundleError> {
    let now = home.temporary()?.made()?;
    let mut work = Work {
        dry_run,
        freed: Freed::default(),
    };
    let stays = |tree: &TreeHash, used: SystemTime| {
        // A time in the future is that of another machine's clock, and lately.
        keep.contains(tree) || now.duration_since(used).is_ok_and(|age| age < FRESH) || used > now
    };

    let mut kept = Vec::new();
    for (tree, used) in store::known(home)? {
        let path = store::path_of_tree(home, &tree);
        match store::load(home, &tree) {
            Ok(Some(found)) if stays(&tree, used) => kept.push((found, used)),
            Ok(None) => {}
            // A damaged list is of no use to anybody: packing again writes it anew.
            Ok(Some(_)) | Err(BundleError::Damaged { .. }) => {
                work.freed.trees += 1;
                work.remove(&path)?;
            }
            Err(error) => return Err(error),
        }
    }
    packs(home, &kept, &mut work)?;

    let trees = home.trees();
    for found in bundle::list(trees.as_std_path()).map_err(BundleError::at(&trees))? {
        let seconds = u64::try_from(found.used).unwrap_or(0);
        if !stays(
            &found.tree,
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        ) {
            let path = trees.join(found.tree.to_string());
            work.note(&path, size_of(&path));
            if !dry_run {
                bundle::remove(trees.as_std_path(), &[found.tree])
                    .map_err(BundleError::at(&path))?;
            }
        }
    }
    for path in entries(&home.cache())? {
        // A root that can't be seen now may be on a disk that is not there now; its cache is soon made again.
        if !cache::root_of(&path).is_some_and(|root| root.is_dir()) {
            work.remove(&path)?;
        }
    }
    for (path, bytes, _held) in home.leftovers() {
        work.note(&path, bytes);
    }
    if !dry_run {
        home.sweep();
    }
    Ok(work.freed)
}

/// What is taken away, and whether it really is.
struct Work {
    dry_run: bool,
    freed: Freed,
}

impl Work {
    fn note(&mut self, path: &Utf8Path, bytes: u64) {
        self.freed.bytes += bytes;
        self.freed.items.push((path.to_owned(), bytes));
    }

    fn remove(&mut self, path: &Utf8Path) -> Result<(), BundleError> {
        let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
        self.note(path, bytes);
        if self.dry_run { Ok(()) } else { unlink(path) }
    }
}

fn unlink(path: &Utf8Path) -> Result<(), BundleError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BundleError::at(path)(error))
        }
        _ => Ok(()),
    }
}

/// The bytes of the files in a folder; those with other names elsewhere count for nothing, since they stay.
fn size_of(folder: &Utf8Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = found.flatten().filter_map(|entry| {
        let facts = entry.metadata().ok()?;
        let below = || Utf8PathBuf::from_path_buf(entry.path()).map_or(0, |path| size_of(&path));
        Some(match facts.file_type() {
            kind if kind.is_dir() => below(),
            kind if kind.is_file() && facts.nlink() == 1 => facts.len(),
            _ => 0,
        })
    });
    sizes.sum()
}

/// Takes away packs, and what nobody needs of others.
fn packs(home: &Home, kept: &[(Kept, SystemTime)], work: &mut Work) -> Result<(), BundleError> {
    let needed = needed(kept.iter().map(|(kept, _)| &kept.manifest));
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let mut gone = false;
    for path in entries(&home.packs())? {
        match path.extension() {
            Some("pack") => {
                names.insert(path.clone());
                match Pack::open(&path)? {
                    Some(pack) => found.push(pack),
                    // Nothing of it can be read any more.
                    None => {
                        (gone, work.freed.packs) = (true, work.freed.packs + 1);
                        work.remove(&path)?;
                        work.remove(&damage_of(&path))?;
                    }
                }
            }
            Some("damaged") if !names.contains(&path.with_extension("pack")) => {
                work.remove(&path)?;
            }
            _ => {}
        }
    }
    // What is in several packs stays in the largest.
    found.sort_by_key(|pack| std::cmp::Reverse(pack.bytes));
    let mut claimed = HashSet::new();
    let found: Vec<(Pack, Live)> = found
        .into_iter()
        .map(|pack| {
            let live = Live::of(&pack, &needed, &mut claimed);
            (pack, live)
        })
        .collect();
    let is_small = |(pack, live): &&(Pack, Live)| live.bytes > 0 && pack.bytes < SMALL;
    let many_small = found.iter().filter(is_small).count() > MOST_SMALL;
    // By the version of zstd, which a pack has one of.
    let mut copied: BTreeMap<u32, Vec<(Pack, Live)>> = BTreeMap::new();
    for (pack, live) in found {
        if live.bytes == 0 {
            (gone, work.freed.packs) = (true, work.freed.packs + 1);
            work.remove(&pack.path)?;
            if !work.dry_run {
                unlink(&damage_of(&pack.path))?;
            }
        } else if live.bytes <= of_objects(&pack) / 2
            || !pack.damaged.is_empty()
            || many_small && pack.bytes < SMALL
        {
            copied.entry(pack.zstd).or_default().push((pack, live));
        }
    }
    for (zstd, packs) in copied {
        gone = true;
        for (pack, live) in &packs {
            work.freed.packs += 1;
            work.note(&pack.path, pack.bytes.saturating_sub(live.bytes));
        }
        if !work.dry_run {
            copy(home, zstd, &packs)?;
        }
    }
    if gone && !work.dry_run {
        say_where(home, kept)?;
    }
    Ok(())
}

/// What is needed of a pack.
struct Live {
    blocks: BTreeSet<u32>,
    objects: Vec<(ObjectHash, ObjectAt)>,
    /// The compressed bytes of these blocks.
    bytes: u64,
}

impl Live {
    fn of(pack: &Pack, needed: &HashSet<ObjectHash>, claimed: &mut HashSet<ObjectHash>) -> Live {
        let mut live = Live {
            blocks: BTreeSet::new(),
            objects: Vec::new(),
            bytes: 0,
        };
        for (object, at) in &pack.objects {
            if needed.contains(object) && pack.is_readable(at) && claimed.insert(*object) {
                live.blocks.extend(pack.spans(at));
                live.objects.push((*object, *at));
            }
        }
        let bytes = live
            .blocks
            .iter()
            .map(|block| u64::from(pack.blocks[*block as usize].length));
        live.bytes = bytes.sum();
        live
    }
}

/// The bytes of a pack's blocks: its index, which is most of a tiny pack, is no waste that a copy would save.
fn of_objects(pack: &Pack) -> u64 {
    { pack.blocks.iter() }
        .map(|block| u64::from(block.length))
        .sum()
}

/// Copies what is needed of some packs into one, and takes them away.
fn copy(home: &Home, zstd: u32, packs: &[(Pack, Live)]) -> Result<(), BundleError> {
    let mut new = PackWriter::new(home)?;
    new.zstd = zstd;
    let mut bytes = Vec::new();
    for (pack, live) in packs {
        // Neighbours stay neighbours, since all blocks of an object are there.
        let mut numbers = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for block in &live.blocks {
            let number = new.reserve(1);
            numbers.insert(*block, number);
            match pack.compressed(*block, &mut bytes) {
                Ok(()) => new.put(number, pack.blocks[*block as usize].raw as usize, &bytes)?,
                Err(BundleError::Damaged { .. }) => drop(lost.insert(*block)),
                Err(error) => return Err(error),
            }
        }
        for (object, at) in &live.objects {
            if !pack.spans(at).any(|block| lost.contains(&block)) {
                new.add(
                    *object,
                    ObjectAt {
                        block: numbers[&at.block],
                        ..*at
                    },
                );
            }
        }
    }
    let made = new.finish(home)?;
    for (pack, _) in packs {
        if made.is_none_or(|(id, _)| id != pack.id) {
            unlink(&pack.path)?;
            unlink(&damage_of(&pack.path))?;
        }
    }
    Ok(())
}

/// Writes down where the objects of the kept trees are by now. When they were last used stays as it is.
fn say_where(home: &Home, kept: &[(Kept, SystemTime)]) -> Result<(), BundleError> {
    let objects = Objects::all(home)?;
    let there: HashSet<_> = objects.packs.iter().map(|pack| pack.id).collect();
    for (kept, used) in kept {
        if kept.packs.iter().all(|pack| there.contains(pack)) {
            continue;
        }
        store::keep(home, &kept.manifest, &objects.packs_of(&kept.manifest))?;
        let path = store::path_of_tree(home, &kept.manifest.hash());
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.set_modified(*used))
            .map_err(BundleError::at(&path))?;
    }
    Ok(())
}
