//! Packs: files of objects, compressed in blocks that stand by themselves.
//!
//! ```text
//! "mizzen pack 1\n\0\0"
//! blocks, zstd, in any order
//! index: version of zstd (u32)
//!        blocks: count (u32), each: offset (u64), length (u32), raw length (u32), blake3 (32 bytes)
//!        objects: count (u32), each: hash (32 bytes), block (u32), offset in it (u32), size (u64); by hash
//! offset and length of the index (u64 each), blake3 of the index (32 bytes), "mizzen pack end\n"
//! ```
//!
//! A pack's name is the blake3 of its index. An object begins in one block and goes on at the beginning of the next. Everything
//! is covered by a hash: the index by the name, each block by the index. A pack is never changed; blocks that were found
//! damaged stand in `<name>.damaged` beside it, and what is in them counts as lost until it is packed again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::{LARGEST_BLOCK, ObjectHash, decompress};

use super::BundleError;
use super::home::{Home, Temporary};

const MAGIC: &[u8; 16] = b"mizzen pack 1\n\0\0";
const END: &[u8; 16] = b"mizzen pack end\n";
const FOOTER: usize = 8 + 8 + 32 + 16;

/// Names a pack: the blake3 of its index.
pub(super) type PackId = [u8; 32];

/// Where a block is, and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockAt {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) raw: u32,
    pub(super) hash: [u8; 32],
}

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectAt {
    pub(super) block: u32,
    pub(super) offset: u32,
    pub(super) size: u64,
}

/// The file of a pack.
pub(super) fn path_of(home: &Home, id: &PackId) -> Utf8PathBuf {
    home.packs()
        .join(format!("{}.pack", blake3::Hash::from_bytes(*id).to_hex()))
}

/// The list of a pack's blocks that were found damaged.
pub(super) fn damage_of(pack: &Utf8Path) -> Utf8PathBuf {
    pack.with_extension("damaged")
}

/// Writes a pack; blocks may come from several threads.
#[derive(Debug)]
pub(super) struct PackWriter {
    file: Temporary,
    path: Utf8PathBuf,
    end: AtomicU64,
    index: Mutex<Index>,
    /// The version of zstd that made the blocks: this one's, unless they are copies.
    pub(super) zstd: u32,
}

#[derive(Debug, Default)]
struct Index {
    blocks: Vec<BlockAt>,
    objects: Vec<(ObjectHash, ObjectAt)>,
}

impl PackWriter {
    pub(super) fn new(home: &Home) -> Result<PackWriter, BundleError> {
        let mut file = home.temporary()?;
        let path = home.packs();
        file.file.write_all(MAGIC).map_err(BundleError::at(&path))?;
        let end = AtomicU64::new(MAGIC.len() as u64);
        Ok(PackWriter {
            file,
            path,
            end,
            index: Mutex::default(),
            zstd: zstd_version(),
        })
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers for so many blocks, one after the other.
    pub(super) fn reserve(&self, blocks: usize) -> u32 {
        const NONE: BlockAt = BlockAt {
            offset: 0,
            length: 0,
            raw: 0,
            hash: [0; 32],
        };
        let mut index = self.index();
        let first = index.blocks.len();
        index.blocks.resize(first + blocks, NONE);
        number(first)
    }

    /// Writes the block with a reserved number.
    pub(super) fn put(&self, block: u32, raw: usize, bytes: &[u8]) -> Result<(), BundleError> {
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file
            .file
            .write_all_at(bytes, offset)
            .map_err(BundleError::at(&self.path))?;
        let hash = *blake3::hash(bytes).as_bytes();
        let at = BlockAt {
            offset,
            length: number(bytes.len()),
            raw: number(raw),
            hash,
        };
        self.index().blocks[block as usize] = at;
        Ok(())
    }

    /// Says where an object is.
    pub(super) fn add(&self, object: ObjectHash, at: ObjectAt) {
        self.index().objects.push((object, at));
    }

    /// Gives the pack its name; nothing is kept of one without objects. Says which it is, and how many bytes.
    pub(super) fn finish(self, home: &Home) -> Result<Option<(PackId, u64)>, BundleError> {
        let Index {
            blocks,
            mut objects,
        } = self
            .index
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if objects.is_empty() {
            return Ok(None);
        }
        objects.sort_unstable_by_key(|(object, _)| *object);
        let mut bytes = Vec::with_capacity(blocks.len() * 48 + objects.len() * 48 + 128);
        bytes.extend_from_slice(&self.zstd.to_le_bytes());
        bytes.extend_from_slice(&number(blocks.len()).to_le_bytes());
        for block in &blocks {
            bytes.extend_from_slice(&block.offset.to_le_bytes());
            bytes.extend_from_slice(&block.length.to_le_bytes());
            bytes.extend_from_slice(&block.raw.to_le_bytes());
            bytes.extend_from_slice(&block.hash);
        }
        bytes.extend_from_slice(&number(objects.len()).to_le_bytes());
        for (object, at) in &objects {
            bytes.extend_from_slice(&object.0);
            bytes.extend_from_slice(&at.block.to_le_bytes());
            bytes.extend_from_slice(&at.offset.to_le_bytes());
            bytes.extend_from_slice(&at.size.to_le_bytes());
        }
        let id: PackId = *blake3::hash(&bytes).as_bytes();
        let offset = self.end.into_inner();
        let length = bytes.len() as u64;
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(END);
        let path = path_of(home, &id);
        let file = &self.file.file;
        file.write_all_at(&bytes, offset)
            .map_err(BundleError::at(&path))?;
        // One with this name may be there, damaged; this one is not.
        self.file.keep(&path)?;
        let _ = std::fs::remove_file(damage_of(&path));
        Ok(Some((id, offset + bytes.len() as u64)))
    }
}

fn number(count: usize) -> u32 {
    // 4 billion blocks of a MiB, or objects, are more than any disk has.
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The version of zstd that writes here: another may compress the same bytes otherwise.
pub(super) fn zstd_version() -> u32 {
    zstd::zstd_safe::version_number()
}

/// A pack that is there.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) id: PackId,
    pub(super) path: Utf8PathBuf,
    pub(super) bytes: u64,
    pub(super) zstd: u32,
    pub(super) blocks: Vec<BlockAt>,
    /// By hash.
    pub(super) objects: Vec<(ObjectHash, ObjectAt)>,
    /// Blocks that were found damaged.
    pub(super) damaged: BTreeSet<u32>,
    file: File,
}

impl Pack {
    /// Opens a pack and reads its index; `None` if it is not there, or damaged (which is then written down).
    pub(super) fn open(path: &Utf8Path) -> Result<Option<Pack>, BundleError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(BundleError::at(path))?,
        };
        let noted = match std::fs::read_to_string(damage_of(path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            noted => noted.map_err(BundleError::at(path))?,
        };
        if noted.lines().any(|line| line == "all") {
            return Ok(None);
        }
        let bytes = file.metadata().map_err(BundleError::at(path))?.len();
        let read = read_index(&file, bytes).map_err(BundleError::at(path))?;
        let name = path
            .file_stem()
            .and_then(|name| blake3::Hash::from_hex(name).ok());
        let parsed = read.and_then(|(id, index)| {
            let named = name.is_some_and(|name| *name.as_bytes() == id);
            parse(&index).filter(|_| named).map(|parsed| (id, parsed))
        });
        let Some((id, (zstd, blocks, objects))) = parsed else {
            note_damage(path, "all")?;
            return Ok(None);
        };
        Ok(Some(Pack {
            id,
            path: path.to_owned(),
            bytes,
            zstd,
            blocks,
            objects,
            damaged: noted.lines().filter_map(|line| line.parse().ok()).collect(),
            file,
        }))
    }

    /// Reads a block as it is kept. One that is damaged is written down as such.
    pub(super) fn compressed(&self, block: u32, bytes: &mut Vec<u8>) -> Result<(), BundleError> {
        let at = self.blocks[block as usize];
        bytes.resize(at.length as usize, 0);
        let read = self.file.read_exact_at(bytes, at.offset);
        let whole = match read {
            Ok(()) => blake3::hash(bytes) == at.hash,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
            // A bad place on the disk reads like this.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => false,
            Err(error) => return Err(BundleError::at(&self.path)(error)),
        };
        if whole {
            Ok(())
        } else {
            Err(self.is_damaged(block)?)
        }
    }

    /// Reads and decompresses a block.
    pub(super) fn raw(
        &self,
        block: u32,
        buffer: &mut Vec<u8>,
        raw: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        self.compressed(block, buffer)?;
        let length = self.blocks[block as usize].raw as usize;
        match decompress(buffer, length, raw) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.is_damaged(block)?),
        }
    }

    fn is_damaged(&self, block: u32) -> Result<BundleError, BundleError> {
        note_damage(&self.path, &block.to_string())?;
        Ok(BundleError::Damaged {
            path: self.path.clone(),
            what: format!("block {block}"),
        })
    }

    /// Whether this object can still be read, as far as is known.
    pub(super) fn is_readable(&self, at: &ObjectAt) -> bool {
        self.damaged.is_empty() || !self.spans(at).any(|block| self.damaged.contains(&block))
    }

    /// The blocks that an object is in.
    pub(super) fn spans(&self, at: &ObjectAt) -> impl Iterator<Item = u32> {
        let mut left = at.size + u64::from(at.offset);
        let blocks = self.blocks.get(at.block as usize..).unwrap_or_default();
        (at.block..)
            .zip(blocks)
            .take_while(move |(_, block)| {
                let goes_on = left > 0;
                left = left.saturating_sub(u64::from(block.raw));
                goes_on
            })
            .map(|(number, _)| number)
    }
}

fn note_damage(pack: &Utf8Path, what: &str) -> Result<(), BundleError> {
    let path = damage_of(pack);
    let mut options = File::options();
    let file = options.append(true).create(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
    written.map_err(BundleError::at(&path))
}

/// The hash and the bytes of a pack's index; `None` if there is none that fits.
fn read_index(file: &File, length: u64) -> std::io::Result<Option<(PackId, Vec<u8>)>> {
    let Some(footer_at) = length.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, footer_at)?;
    let mut rest = &footer[..];
    let (Some(offset), Some(size), Some(id)) =
        (take(&mut rest), take(&mut rest), take::<32>(&mut rest))
    else {
        return Ok(None);
    };
    let (offset, size) = (u64::from_le_bytes(offset), u64::from_le_bytes(size));
    if rest != END || offset.checked_add(size) != Some(footer_at) {
        return Ok(None);
    }
    let mut index = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut index, offset)?;
    Ok((blake3::hash(&index) == id).then_some((id, index)))
}

type Parsed = (u32, Vec<BlockAt>, Vec<(ObjectHash, ObjectAt)>);

/// Reads an index; its hash fits, so what is wrong here was written so.
fn parse(mut index: &[u8]) -> Option<Parsed> {
    let rest = &mut index;
    let number = |rest: &mut &[u8]| take(rest).map(u32::from_le_bytes);
    let zstd = number(rest)?;
    let mut blocks = Vec::new();
    for _ in 0..number(rest)? {
        blocks.push(BlockAt {
            offset: u64::from_le_bytes(take(rest)?),
            length: number(rest)?,
            raw: number(rest)?,
            hash: take(rest)?,
        });
    }
    let mut objects = Vec::new();
    for _ in 0..number(rest)? {
        let object = ObjectHash(take(rest)?);
        let at = ObjectAt {
            block: number(rest)?,
            offset: number(rest)?,
            size: u64::from_le_bytes(take(rest)?),
        };
        objects.push((object, at));
    }
    let sane = |block: &BlockAt| block.raw as usize <= LARGEST_BLOCK;
    let known = |(_, at): &(ObjectHash, ObjectAt)| (at.block as usize) < blocks.len();
    (rest.is_empty() && blocks.iter().all(sane) && objects.iter().all(known))
        .then_some((zstd, blocks, objects))
}

/// The first bytes of `rest`, which then begins behind them.
pub(super) fn take<const LENGTH: usize>(rest: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (array, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*array)
}
