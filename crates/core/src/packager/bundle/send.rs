//! Writes a tree as a bundle.
//!
//! ```text
//! manifest − objects of the bases ─▶ cut as for packing ─▶ a block that a pack has just so ─▶ copied
//!                                                          else its objects, decompressed  ─▶ compressed
//! ```
//!
//! Without bases the bytes follow from the tree alone (and from the version of zstd): a tree that was packed from its files and
//! one that was received are sent alike.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use mizzen_agent::bundle::{
    BLOCK, Kind, MAGIC, MOST_BASES, Manifest, ObjectHash, TreeHash, changes,
};

use super::cut::{Cut, cut, pieces};
use super::home::Home;
use super::pack::{ObjectAt, Pack, zstd_version};
use super::read::compress;
use super::store::{self, LEVEL, Objects};
use super::{BundleError, compressor, parallel};

/// Decompressed blocks that each thread keeps at hand.
const AT_HAND: usize = 8;

pub(super) fn stream(
    home: &Home,
    tree: &TreeHash,
    bases: &[TreeHash],
    out: &mut dyn Write,
) -> Result<u64, BundleError> {
    let kept = store::load(home, tree)?.ok_or_else(|| BundleError::unknown(home, tree))?;
    let mut known = Vec::new();
    for base in bases {
        // One whose list is lost here is as good as none.
        if let Ok(Some(base)) = store::load(home, base)
            && known.len() < MOST_BASES
        {
            known.push(base.manifest);
        }
    }
    let theirs: HashSet<ObjectHash> = known
        .iter()
        .flat_map(Manifest::objects)
        .map(|(object, _)| object)
        .collect();
    let wanted: Vec<(ObjectHash, u64)> = kept
        .manifest
        .entries()
        .iter()
        .filter_map(|entry| match entry.kind {
            Kind::File { size, object, .. } if size > 0 && !theirs.contains(&object) => {
                Some((object, size))
            }
            _ => None,
        })
        .collect();
    let needed: Vec<ObjectHash> = wanted.iter().map(|(object, _)| *object).collect();
    let objects = Objects::holding(home, &kept, &needed)?;
    let parts = parts(&wanted);

    let mut out = Counted { out, bytes: 0 };
    out.write(MAGIC)?;
    out.write(&tree.0)?;
    out.number(known.len())?;
    for base in &known {
        out.write(&base.hash().0)?;
    }
    write_manifest(&kept.manifest, &known, &mut out)?;
    // As much at once as keeps all processors busy and the memory small.
    for parts in parts.chunks(4 * parallel::threads()) {
        let slots: Vec<Mutex<(usize, Vec<u8>)>> = parts.iter().map(|_| Mutex::default()).collect();
        parallel::each(
            parts.len(),
            || Hands::new(&objects),
            |hands, number| {
                let block = hands.block(&parts[number])?;
                *slots[number].lock().unwrap_or_else(PoisonError::into_inner) = block;
                Ok::<_, BundleError>(())
            },
        )?;
        for slot in slots {
            let (raw, block) = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            out.number(raw)?;
            out.number(block.len())?;
            out.write(&block)?;
        }
    }
    out.number(0)?;
    out.out.flush().map_err(BundleError::Output)?;
    Ok(out.bytes)
}

/// Counts what it writes.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(BundleError::Output)
    }

    fn number(&mut self, number: usize) -> Result<(), BundleError> {
        self.write(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes())
    }
}

/// Writes the manifest, whole or as changes of the base that is most like it.
fn write_manifest(
    manifest: &Manifest,
    bases: &[Manifest],
    out: &mut Counted<'_>,
) -> Result<(), BundleError> {
    let changes = bases
        .iter()
        .enumerate()
        .map(|(number, base)| (number + 1, changes(base, manifest)));
    let least = changes.min_by_key(|(_, changes)| changes.len());
    let least = least.filter(|(_, changes)| changes.len() < manifest.as_bytes().len());
    let (form, raw) = match &least {
        Some((form, changes)) => (*form, changes.as_slice()),
        None => (0, manifest.as_bytes()),
    };
    let compressed = zstd::bulk::compress(raw, LEVEL)
        .map_err(|error| BundleError::Compress(error.to_string()))?;
    out.number(form)?;
    out.number(raw.len())?;
    out.number(compressed.len())?;
    out.write(&compressed)
}

/// What becomes one block.
enum Part {
    Together(Vec<ObjectHash>),
    Piece {
        object: ObjectHash,
        size: u64,
        piece: usize,
    },
}

/// The blocks of these contents, each content where it comes first.
fn parts(wanted: &[(ObjectHash, u64)]) -> Vec<Part> {
    let mut seen = HashSet::with_capacity(wanted.len());
    let mut parts = Vec::new();
    for cut in cut(wanted.iter().map(|(_, size)| *size)) {
        match cut {
            Cut::Together(files) => {
                let new = wanted[files].iter().map(|(object, _)| *object);
                let new: Vec<_> = new.filter(|object| seen.insert(*object)).collect();
                if !new.is_empty() {
                    parts.push(Part::Together(new));
                }
            }
            Cut::Pieces(file) => {
                let (object, size) = wanted[file];
                if seen.insert(object) {
                    let all = 0..pieces(size);
                    parts.extend(all.map(|piece| Part::Piece {
                        object,
                        size,
                        piece,
                    }));
                }
            }
        }
    }
    parts
}

/// What a thread works with.
struct Hands<'a> {
    objects: &'a Objects,
    compressor: Result<zstd::bulk::Compressor<'static>, std::io::Error>,
    buffer: Vec<u8>,
    raw: Vec<u8>,
    /// Decompressed blocks by pack and number; the one used last at the end.
    at_hand: Vec<(usize, u32, Vec<u8>)>,
}

impl<'a> Hands<'a> {
    fn new(objects: &'a Objects) -> Hands<'a> {
        let (buffer, raw, at_hand) = (Vec::new(), Vec::new(), Vec::new());
        Hands {
            objects,
            compressor: compressor(),
            buffer,
            raw,
            at_hand,
        }
    }

    fn find(&self, object: &ObjectHash) -> Result<(usize, ObjectAt), BundleError> {
        // All were there when the indexes were read.
        self.objects
            .find(object)
            .ok_or(BundleError::Object(*object))
    }

    /// The raw length and the bytes of a block.
    fn block(&mut self, part: &Part) -> Result<(usize, Vec<u8>), BundleError> {
        let ready = match part {
            Part::Together(objects) => self.ready(objects)?,
            Part::Piece {
                object,
                size,
                piece,
            } => self.ready_piece(object, *size, *piece)?,
        };
        if let Some((pack, block)) = ready {
            let pack = &self.objects.packs[pack];
            let mut bytes = Vec::new();
            pack.compressed(block, &mut bytes)?;
            return Ok((pack.blocks[block as usize].raw as usize, bytes));
        }
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        match part {
            Part::Together(objects) => {
                for object in objects {
                    let (pack, at) = self.find(object)?;
                    self.append(pack, at, 0..at.size, &mut raw)?;
                }
            }
            Part::Piece {
                object,
                size,
                piece,
            } => {
                let (pack, at) = self.find(object)?;
                let from = *piece as u64 * BLOCK as u64;
                self.append(
                    pack,
                    at,
                    from..size.min(&(from + BLOCK as u64)).to_owned(),
                    &mut raw,
                )?;
            }
        }
        let mut compressed = Vec::new();
        compress(&mut self.compressor, &raw, &mut compressed)?;
        let length = raw.len();
        self.raw = raw;
        Ok((length, compressed))
    }

    /// The block of a pack that holds just these objects in this order, as this version of zstd compresses them.
    fn ready(&self, objects: &[ObjectHash]) -> Result<Option<(usize, u32)>, BundleError> {
        let mut place = None;
        let mut end = 0;
        for object in objects {
            let (pack, at) = self.find(object)?;
            if *place.get_or_insert((pack, at.block)) != (pack, at.block)
                || u64::from(at.offset) != end
            {
                return Ok(None);
            }
            end += at.size;
        }
        Ok(place.filter(|(pack, block)| self.is_whole(*pack, *block, end)))
    }

    fn ready_piece(
        &self,
        object: &ObjectHash,
        size: u64,
        piece: usize,
    ) -> Result<Option<(usize, u32)>, BundleError> {
        let (pack, at) = self.find(object)?;
        let block = at.block as usize + piece;
        let length = (size - piece as u64 * BLOCK as u64).min(BLOCK as u64);
        let before = self.objects.packs[pack]
            .blocks
            .get(at.block as usize..block)
            .unwrap_or_default();
        let fits = at.offset == 0 && before.iter().all(|block| block.raw as usize == BLOCK);
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        Ok((fits && self.is_whole(pack, block, length)).then_some((pack, block)))
    }

    fn is_whole(&self, pack: usize, block: u32, length: u64) -> bool {
        let pack: &Pack = &self.objects.packs[pack];
        let found = pack.blocks.get(block as usize);
        pack.zstd == zstd_version() && found.is_some_and(|found| u64::from(found.raw) == length)
    }

    /// Appends a part of an object.
    fn append(
        &mut self,
        pack: usize,
        at: ObjectAt,
        part: std::ops::Range<u64>,
        raw: &mut Vec<u8>,
    ) -> Result<(), BundleError> {
        let packs = self.objects;
        // Both as places in the joined blocks.
        let from = part.start + u64::from(at.offset);
        let to = part.end + u64::from(at.offset);
        let mut begin = 0;
        for block in packs.packs[pack].spans(&at) {
            let end = begin + u64::from(packs.packs[pack].blocks[block as usize].raw);
            if end > from && begin < to {
                let content = self.raw_block(pack, block)?;
                let place = |at: u64| usize::try_from(at - begin).unwrap_or(usize::MAX);
                raw.extend_from_slice(&content[place(from.max(begin))..place(to.min(end))]);
            }
            begin = end;
        }
        Ok(())
    }

    fn raw_block(&mut self, pack: usize, block: u32) -> Result<&[u8], BundleError> {
        let wanted = (pack, block);
        let entry = match self
            .at_hand
            .iter()
            .position(|(pack, block, _)| (*pack, *block) == wanted)
        {
            Some(position) => self.at_hand.remove(position),
            None => {
                let mut raw = match self.at_hand.len() {
                    AT_HAND.. => self.at_hand.remove(0).2,
                    _ => Vec::new(),
                };
                self.objects.packs[pack].raw(block, &mut self.buffer, &mut raw)?;
                (pack, block, raw)
            }
        };
        self.at_hand.push(entry);
        Ok(self
            .at_hand
            .last()
            .map(|(.., raw)| raw.as_slice())
            .unwrap_or_default())
    }
}
