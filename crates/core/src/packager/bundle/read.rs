//! Reads contents, names them, and puts those that are new into a pack.
//!
//! ```text
//! small files: read and hash a block's worth ─▶ claim, in order ─▶ compress what is new ─▶ pack      all in one pass
//! large files: hash all pieces ─▶ claim ─▶ compress the pieces of what is new ─▶ pack               two passes
//! ```
//!
//! Each step runs on all processors; at most one block a thread is in memory. Claims go in the manifest's order, whoever is
//! faster, so that a tree that is packed alone is cut and compressed just as it is streamed.
//!
//! Pitfall: files change while they are read. What the system says of a file after it was read must be what it said before,
//! else the file is read again, three times at most.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use blake3::hazmat::{self, HasherExt};
use mizzen_agent::bundle::{BLOCK, ObjectHash, shown};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use super::cache::Stat;
use super::cut::{Cut, cut, is_large, pieces};
use super::pack::{ObjectAt, PackWriter};
use super::parallel;
use super::scan::{FoundFile, FoundKind, Root, Scan, unreadable};
use super::{BundleError, compressor};
use crate::packager::listing::{PackError, Source};

/// So often a file that changes is read.
const TRIES: u32 = 3;

/// What became of a file.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Read {
        object: ObjectHash,
        size: u64,
        stat: Option<Stat>,
    },
    Gone,
}

/// Reads these files of the scan, which learns their contents' names; what is gone by now is left out of it. Contents that are
/// not `known` are put into the pack, if there is one.
pub(super) fn read(
    scan: &mut Scan<'_>,
    which: &[usize],
    known: &(dyn Fn(&ObjectHash) -> bool + Sync),
    pack: Option<&PackWriter>,
) -> Result<(), PackError> {
    let files: Vec<Wanted<'_>> = which
        .iter()
        .filter_map(|number| {
            let found = &scan.found[*number];
            match &found.kind {
                FoundKind::File(file) => Some(Wanted {
                    path: found.path,
                    file,
                }),
                _ => None,
            }
        })
        .collect();
    let reader = Reader {
        root: &scan.root,
        known,
        pack,
        outcomes: files.iter().map(|_| OnceLock::new()).collect(),
        claims: Mutex::default(),
        next_claim: Condvar::new(),
        files,
    };
    reader.run()?;
    let outcomes: Vec<_> = reader
        .outcomes
        .into_iter()
        .map(OnceLock::into_inner)
        .collect();
    for (number, outcome) in which.iter().zip(outcomes) {
        if let (FoundKind::File(file), Some(outcome)) = (&mut scan.found[*number].kind, outcome) {
            match outcome {
                Outcome::Read { object, size, stat } => {
                    file.object = Some(object);
                    file.size = size;
                    file.executable = stat.map_or(file.executable, |stat| stat.executable);
                    file.stat = stat;
                }
                Outcome::Gone => file.object = None,
            }
        }
    }
    let is_there =
        |kind: &FoundKind<'_>| !matches!(kind, FoundKind::File(file) if file.object.is_none());
    scan.found.retain(|found| is_there(&found.kind));
    Ok(())
}

#[derive(Clone, Copy)]
struct Wanted<'s> {
    path: &'s [u8],
    file: &'s FoundFile<'s>,
}

struct Reader<'s> {
    root: &'s Root<'s>,
    known: &'s (dyn Fn(&ObjectHash) -> bool + Sync),
    pack: Option<&'s PackWriter>,
    files: Vec<Wanted<'s>>,
    outcomes: Vec<OnceLock<Outcome>>,
    claims: Mutex<Claims>,
    next_claim: Condvar,
}

/// Which contents are taken care of, and whose turn it is to say so.
#[derive(Default)]
struct Claims {
    turn: usize,
    over: bool,
    claimed: HashSet<ObjectHash>,
}

/// What a thread works with.
struct Hands {
    raw: Vec<u8>,
    compressor: Result<zstd::bulk::Compressor<'static>, std::io::Error>,
    compressed: Vec<u8>,
}

impl Hands {
    fn new() -> Hands {
        Hands {
            raw: Vec::with_capacity(BLOCK),
            compressor: compressor(),
            compressed: Vec::new(),
        }
    }
}

/// Compresses a block into `compressed`.
pub(super) fn compress(
    compressor: &mut Result<zstd::bulk::Compressor<'static>, std::io::Error>,
    raw: &[u8],
    compressed: &mut Vec<u8>,
) -> Result<(), BundleError> {
    let cant = |error: &std::io::Error| BundleError::Compress(error.to_string());
    compressed.clear();
    compressed.reserve(zstd::compress_bound(raw.len()));
    let compressor = compressor.as_mut().map_err(|error| cant(error))?;
    compressor
        .compress_to_buffer(raw, compressed)
        .map_err(|error| cant(&error))?;
    Ok(())
}

/// Ends everybody's waiting for a turn that never comes, if the work before it failed.
struct Turn<'r> {
    claims: &'r Mutex<Claims>,
    changed: &'r Condvar,
    taken: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.claims
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .over = true;
            self.changed.notify_all();
        }
    }
}

/// What one try at a small file brought.
enum Try {
    Whole(Option<Stat>),
    Gone,
    /// It is no small file any more.
    Grown,
}

impl Reader<'_> {
    fn run(&self) -> Result<(), PackError> {
        let cuts = cut(self.files.iter().map(|wanted| wanted.file.size));
        let mut together = Vec::new();
        let mut large = Vec::new();
        for cut in cuts {
            match cut {
                Cut::Together(files) => together.push(files),
                Cut::Pieces(file) => large.push(file),
            }
        }
        let grown = Mutex::new(Vec::new());
        parallel::each(together.len(), Hands::new, |hands, number| {
            self.together(hands, number, together[number].clone(), &grown)
        })?;
        large.extend(grown.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.large(large)
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, number: usize, outcome: Outcome) {
        // Each file is one thread's; a second outcome would be the same.
        let _ = self.outcomes[number].set(outcome);
    }

    /// Reads small files into one block.
    fn together(
        &self,
        hands: &mut Hands,
        turn: usize,
        files: std::ops::Range<usize>,
        grown: &Mutex<Vec<usize>>,
    ) -> Result<(), PackError> {
        let mut pass = Turn {
            claims: &self.claims,
            changed: &self.next_claim,
            taken: false,
        };
        hands.raw.clear();
        let mut read = Vec::with_capacity(files.len());
        for number in files {
            let begin = hands.raw.len();
            match self.small(self.files[number], &mut hands.raw)? {
                // Several that grew at once: a block holds no more.
                Try::Whole(_) if hands.raw.len() > 2 * BLOCK => {
                    hands.raw.truncate(begin);
                    grown
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(number);
                }
                Try::Whole(stat) => {
                    let content = &hands.raw[begin..];
                    let (object, size) = (ObjectHash::of(content), content.len() as u64);
                    read.push((object, begin..hands.raw.len()));
                    self.set(number, Outcome::Read { object, size, stat });
                }
                Try::Gone => self.set(number, Outcome::Gone),
                Try::Grown => {
                    hands.raw.truncate(begin);
                    grown
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(number);
                }
            }
        }
        let Some(pack) = self.pack else {
            pass.taken = true;
            return Ok(());
        };
        {
            let mut claims = self.claims();
            while claims.turn != turn {
                if claims.over {
                    return Ok(());
                }
                claims = self
                    .next_claim
                    .wait(claims)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            read.retain(|(object, range)| {
                !range.is_empty() && !(self.known)(object) && claims.claimed.insert(*object)
            });
            claims.turn += 1;
            pass.taken = true;
            self.next_claim.notify_all();
        }
        if read.is_empty() {
            return Ok(());
        }
        let block = pack.reserve(1);
        let mut end = 0;
        for (object, range) in read {
            let (offset, size) = (end, range.len());
            hands.raw.copy_within(range, end);
            end += size;
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            pack.add(
                object,
                ObjectAt {
                    block,
                    offset,
                    size: size as u64,
                },
            );
        }
        let Hands {
            raw,
            compressor,
            compressed,
        } = hands;
        compress(compressor, &raw[..end], compressed)?;
        Ok(pack.put(block, end, compressed)?)
    }

    /// Appends a small file's content.
    fn small(&self, wanted: Wanted<'_>, raw: &mut Vec<u8>) -> Result<Try, PackError> {
        let begin = raw.len();
        let at = match wanted.file.source {
            Source::Path(at) => at,
            other => {
                raw.resize(begin + usize::try_from(wanted.file.size).unwrap_or(0), 0);
                read_piece(other, None, 0, &mut raw[begin..])
                    .map_err(|error| unreadable(wanted.path, error))?;
                return Ok(Try::Whole(None));
            }
        };
        let mut before = wanted.file.stat;
        for _ in 0..TRIES {
            raw.truncate(begin);
            let mut file = match self.root.open_file(at) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Try::Gone),
                // It became a link.
                Err(Errno::ELOOP | Errno::EMLINK) => continue,
                file => file.map_err(|error| unreadable(wanted.path, error))?,
            };
            let size = before.map_or(0, |stat| stat.size);
            if is_large(size) {
                return Ok(Try::Grown);
            }
            raw.resize(begin + usize::try_from(size).unwrap_or(0), 0);
            let read = fill(&mut file, &mut raw[begin..])
                .map_err(|error| unreadable(wanted.path, error))?;
            let after = stat_of(&file).map_err(|error| unreadable(wanted.path, error))?;
            if after.is_some() && after == before && read as u64 == size {
                return Ok(Try::Whole(after));
            }
            before = after;
        }
        Err(PackError::Changing {
            path: shown(wanted.path),
        })
    }

    /// Reads large files, each in pieces.
    fn large(&self, mut files: Vec<usize>) -> Result<(), PackError> {
        files.sort_unstable();
        let mut left: Vec<Large> = files
            .into_iter()
            .map(|number| {
                let file = self.files[number].file;
                Large::new(number, file.size, file.stat)
            })
            .collect();
        for _ in 0..=TRIES {
            self.pieces(&left, |_, large, piece, raw| {
                let _ = large.hashes[piece].set(large.hash(piece, raw));
                Ok(())
            })?;
            let mut new = Vec::new();
            let mut changed = Vec::new();
            for mut large in left {
                let Some(object) = large.object().filter(|_| !large.changed()) else {
                    changed.push(large);
                    continue;
                };
                let is_new = large.size > 0
                    && !(self.known)(&object)
                    && self.claims().claimed.insert(object);
                match self.pack.filter(|_| is_new) {
                    Some(pack) => {
                        let block = pack.reserve(large.hashes.len());
                        large.kept = Some((object, block));
                        new.push(large);
                    }
                    None => self.is_read(&large, object),
                }
            }
            if let Some(pack) = self.pack {
                self.pieces(&new, |hands, large, piece, raw| {
                    let Some((_, block)) = large.kept else {
                        return Ok(());
                    };
                    if large.hashes[piece].get() != Some(&large.hash(piece, raw)) {
                        large.changed.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                    compress(&mut hands.compressor, raw, &mut hands.compressed)?;
                    let number = block + u32::try_from(piece).unwrap_or(u32::MAX);
                    Ok(pack.put(number, raw.len(), &hands.compressed)?)
                })?;
                for large in new {
                    match large.kept.filter(|_| !large.changed()) {
                        Some((object, block)) => {
                            pack.add(
                                object,
                                ObjectAt {
                                    block,
                                    offset: 0,
                                    size: large.size,
                                },
                            );
                            self.is_read(&large, object);
                        }
                        None => {
                            if let Some((object, _)) = large.kept {
                                self.claims().claimed.remove(&object);
                            }
                            changed.push(large);
                        }
                    }
                }
            }
            left = Vec::new();
            for large in changed {
                match self.again(large.number)? {
                    Some(again) => left.push(again),
                    None => self.set(large.number, Outcome::Gone),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        let path = left
            .first()
            .map(|large| shown(self.files[large.number].path));
        Err(PackError::Changing {
            path: path.unwrap_or_default(),
        })
    }

    fn is_read(&self, large: &Large, object: ObjectHash) {
        self.set(
            large.number,
            Outcome::Read {
                object,
                size: large.size,
                stat: large.stat,
            },
        );
    }

    /// A large file as it is now.
    fn again(&self, number: usize) -> Result<Option<Large>, PackError> {
        let wanted = self.files[number];
        let Source::Path(at) = wanted.file.source else {
            return Ok(Some(Large::new(number, wanted.file.size, None)));
        };
        let stat = match self.root.open_file(at) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            file => {
                let file = file.map_err(|error| unreadable(wanted.path, error))?;
                stat_of(&file).map_err(|error| unreadable(wanted.path, error))?
            }
        };
        let stat = stat.ok_or_else(|| PackError::Changing {
            path: shown(wanted.path),
        })?;
        Ok(Some(Large::new(number, stat.size, Some(stat))))
    }

    /// Reads all pieces of these files. A file that changed is marked, and not read on.
    fn pieces(
        &self,
        files: &[Large],
        work: impl Fn(&mut Hands, &Large, usize, &[u8]) -> Result<(), PackError> + Sync,
    ) -> Result<(), PackError> {
        let all: Vec<(usize, usize)> = files
            .iter()
            .enumerate()
            .flat_map(|(number, large)| (0..large.hashes.len()).map(move |piece| (number, piece)))
            .collect();
        parallel::each(all.len(), Hands::new, |hands, number| {
            let (large, piece) = (&files[all[number].0], all[number].1);
            if large.changed() {
                return Ok(());
            }
            let wanted = self.files[large.number];
            let cant_read = |error: std::io::Error| unreadable(wanted.path, error);
            let offset = piece as u64 * BLOCK as u64;
            let length = usize::try_from(large.size - offset)
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let mut raw = std::mem::take(&mut hands.raw);
            raw.resize(length, 0);
            let file = match wanted.file.source {
                Source::Path(at) => match self.root.open_file(at) {
                    Ok(file) => Some(file),
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EMLINK) => {
                        large.changed.store(true, Ordering::Relaxed);
                        return Ok(());
                    }
                    Err(error) => return Err(cant_read(error.into())),
                },
                _ => None,
            };
            let read = read_piece(wanted.file.source, file.as_ref(), offset, &mut raw);
            let same = match &file {
                Some(file) => stat_of(file).map_err(cant_read)? == large.stat,
                None => true,
            };
            match read {
                Ok(()) if same => work(hands, large, piece, &raw)?,
                Err(error) if same && error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    return Err(cant_read(error));
                }
                _ => large.changed.store(true, Ordering::Relaxed),
            }
            hands.raw = raw;
            Ok(())
        })
    }
}

/// A file that is read in pieces.
struct Large {
    number: usize,
    size: u64,
    stat: Option<Stat>,
    /// Of each piece; of an only piece the object's own.
    hashes: Vec<OnceLock<[u8; 32]>>,
    changed: AtomicBool,
    /// Its content, and its first block in the pack.
    kept: Option<(ObjectHash, u32)>,
}

impl Large {
    fn new(number: usize, size: u64, stat: Option<Stat>) -> Large {
        let hashes = (0..pieces(size)).map(|_| OnceLock::new()).collect();
        Large {
            number,
            size,
            stat,
            hashes,
            changed: AtomicBool::new(false),
            kept: None,
        }
    }

    fn changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    fn hash(&self, piece: usize, raw: &[u8]) -> [u8; 32] {
        if self.hashes.len() == 1 {
            return *blake3::hash(raw).as_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(piece as u64 * BLOCK as u64);
        hasher.update(raw).finalize_non_root()
    }

    /// The content's name, once all pieces have theirs.
    fn object(&self) -> Option<ObjectHash> {
        let hashes: Option<Vec<_>> = self.hashes.iter().map(|hash| hash.get().copied()).collect();
        let hashes = hashes?;
        Some(match hashes.as_slice() {
            [] => ObjectHash::EMPTY,
            [only] => ObjectHash(*only),
            many => {
                let left = pieces(hazmat::left_subtree_len(self.size));
                let (left_size, mode) = ((left * BLOCK) as u64, hazmat::Mode::Hash);
                let (one, other) = (
                    subtree(&many[..left], left_size),
                    subtree(&many[left..], self.size - left_size),
                );
                ObjectHash(*hazmat::merge_subtrees_root(&one, &other, mode).as_bytes())
            }
        })
    }
}

/// The chaining value of some pieces, as blake3's tree has it.
fn subtree(hashes: &[[u8; 32]], size: u64) -> [u8; 32] {
    if let [only] = hashes {
        return *only;
    }
    let left_size = hazmat::left_subtree_len(size);
    let (one, other) = hashes.split_at(pieces(left_size));
    hazmat::merge_subtrees_non_root(
        &subtree(one, left_size),
        &subtree(other, size - left_size),
        hazmat::Mode::Hash,
    )
}

/// What the system says of an open file; `None` if it is none.
fn stat_of(file: &File) -> std::io::Result<Option<Stat>> {
    let found = fstat(file)?;
    let is_file = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
    Ok(is_file.then(|| Stat::of(&found)))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Reads a part of a content; `file` is the open file of a path.
fn read_piece(
    source: &Source,
    file: Option<&File>,
    offset: u64,
    raw: &mut [u8],
) -> std::io::Result<()> {
    match source {
        Source::Bytes(bytes) => {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let part = bytes.get(from..).and_then(|rest| rest.get(..raw.len()));
            raw.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
        Source::Spooled {
            file,
            offset: begin,
            ..
        } => file.read_exact_at(raw, begin + offset),
        Source::Path(_) => match file {
            Some(file) => file.read_exact_at(raw, offset),
            None => Err(std::io::ErrorKind::NotFound.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_hash_of_the_whole() {
        for size in [
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            3 * BLOCK + 5,
            7 * BLOCK,
            9 * BLOCK - 1,
        ] {
            let content: Vec<u8> = (0..size).map(|at| (at / 7 % 251) as u8).collect();
            let large = Large::new(0, size as u64, None);
            for (number, piece) in content.chunks(BLOCK).enumerate() {
                large.hashes[number].set(large.hash(number, piece)).unwrap();
            }
            assert_eq!(large.object(), Some(ObjectHash::of(&content)), "{size}");
        }
    }
}
