//! A bundle as a stream of bytes: the manifest, and the objects that the other side lacks.
//!
//! ```text
//! "mizzen bundle 1\n"                                              16 bytes
//! tree hash                                                        32 bytes
//! bases: count (u32), then their tree hashes                       what the other side has
//! manifest: form (u32), raw length (u32), length (u32), zstd       form 0: whole; n: changes of the n-th base
//! blocks: raw length (u32), length (u32), zstd                     until a raw length of 0
//! ```
//!
//! Numbers are little-endian. The blocks, decompressed and joined, are the contents of the objects that no base has, each once,
//! in the order in which the manifest names them first. So nothing in the stream says where a content goes or how long it is:
//! the manifest does, and the manifest is checked by its hash, each content by its own.
//!
//! Changes of a manifest are entries kept, dropped and added: `k` count, `d` count, `a` count and the entries' bytes.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};

use super::hash::{ObjectHash, TreeHash};
use super::manifest::{self, LARGEST, Manifest, ManifestError, body, entry_length, head, order};

/// The first bytes of each bundle.
pub const MAGIC: &[u8; 16] = b"mizzen bundle 1\n";
/// A block that is written holds at most so many bytes, decompressed.
pub const BLOCK: usize = 1 << 20;
/// A block that is read may hold so many.
pub const LARGEST_BLOCK: usize = 4 << 20;
/// So many bases may be named.
pub const MOST_BASES: usize = 16;

/// Why a stream is no whole bundle.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// It ends too early.
    Cut,
    /// It is something else, or was damaged.
    Malformed(&'static str),
    /// Its list of the tree is none.
    Manifest(ManifestError),
    /// The list of the tree has another hash than the bundle says.
    WrongTree(TreeHash),
    /// Bytes that are not the object that they should be.
    WrongObject(ObjectHash),
    /// The bundle builds on a tree that is not here, or was damaged.
    NoBase(TreeHash),
    /// It can't be read.
    Read(io::Error),
}

impl Display for StreamError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Cut => formatter.write_str("the bundle ends too early: it was cut off"),
            StreamError::Malformed(what) => {
                write!(formatter, "this is no bundle, or a damaged one: {what}")
            }
            StreamError::Manifest(error) => write!(formatter, "the bundle is refused: {error}"),
            StreamError::WrongTree(tree) => write!(
                formatter,
                "the bundle is damaged: it says that it is the tree {}, and its list is another's",
                tree.short()
            ),
            StreamError::WrongObject(object) => write!(
                formatter,
                "the bundle is damaged: the bytes of object {object} are others"
            ),
            StreamError::NoBase(base) => write!(
                formatter,
                "the bundle builds on the tree {}, which is not here whole; send it without",
                base.short()
            ),
            StreamError::Read(error) => write!(formatter, "the bundle can't be read: {error}"),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> StreamError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            StreamError::Cut
        } else {
            StreamError::Read(error)
        }
    }
}

/// Reads a bundle: [`open`](BundleReader::open), then [`manifest`](BundleReader::manifest), then contents or blocks.
#[derive(Debug)]
pub struct BundleReader<R> {
    input: R,
    tree: TreeHash,
    bases: Vec<TreeHash>,
    block: Block,
    /// How much of the block was given out.
    position: usize,
    over: bool,
}

/// A block as it came, and what is in it.
#[derive(Debug, Default)]
pub struct Block {
    /// As it came.
    pub compressed: Vec<u8>,
    /// Decompressed.
    pub raw: Vec<u8>,
}

impl<R: Read> BundleReader<R> {
    /// Reads what stands before the manifest.
    ///
    /// # Errors
    /// The stream is no bundle.
    pub fn open(mut input: R) -> Result<BundleReader<R>, StreamError> {
        let magic: [u8; 16] = array(&mut input)?;
        if magic != *MAGIC {
            return Err(StreamError::Malformed(if magic.starts_with(&MAGIC[..14]) {
                "it is of another version"
            } else {
                "its first bytes are others"
            }));
        }
        let tree = TreeHash(array(&mut input)?);
        let count = number(&mut input)?;
        if count > MOST_BASES {
            return Err(StreamError::Malformed("it names too many bases"));
        }
        let bases = (0..count)
            .map(|_| array(&mut input).map(TreeHash))
            .collect::<Result<_, _>>()?;
        Ok(BundleReader {
            input,
            tree,
            bases,
            block: Block::default(),
            position: 0,
            over: false,
        })
    }

    /// Which tree it says it is.
    pub fn tree(&self) -> TreeHash {
        self.tree
    }

    /// The trees whose objects are left out.
    pub fn bases(&self) -> &[TreeHash] {
        &self.bases
    }

    /// Reads the manifest; it is the tree's, by its hash. `base` is asked for the manifest of the base that it builds on.
    ///
    /// # Errors
    /// It is none, or another's, or builds on a base that is not here.
    pub fn manifest(
        &mut self,
        base: impl FnOnce(TreeHash) -> Option<Manifest>,
    ) -> Result<Manifest, StreamError> {
        let form = number(&mut self.input)?;
        let length = number(&mut self.input)?;
        // Changes may be a little longer than what they make.
        if length > LARGEST + LARGEST / 2 {
            return Err(StreamError::Manifest(ManifestError::TooLarge));
        }
        let compressed = number(&mut self.input)?;
        let mut bytes = Vec::new();
        unpack(
            &mut self.input,
            compressed,
            length,
            &mut Vec::new(),
            &mut bytes,
        )?;
        if form > 0 {
            let base_hash = *self
                .bases
                .get(form - 1)
                .ok_or(StreamError::Malformed("its list builds on no base"))?;
            let base = base(base_hash).ok_or(StreamError::NoBase(base_hash))?;
            bytes = apply(&base, &bytes)?;
        }
        if TreeHash::of(&bytes) != self.tree {
            return Err(StreamError::WrongTree(self.tree));
        }
        Manifest::parse(&bytes).map_err(StreamError::Manifest)
    }

    /// The next block, or `None` after the last.
    ///
    /// # Errors
    /// It is damaged, or the stream ends here.
    pub fn block(&mut self) -> Result<Option<&Block>, StreamError> {
        self.position = 0;
        if self.over {
            return Ok(None);
        }
        self.block.raw.clear();
        let length = number(&mut self.input)?;
        if length == 0 {
            self.over = true;
            return Ok(None);
        }
        if length > LARGEST_BLOCK {
            return Err(StreamError::Malformed("a block is too large"));
        }
        let compressed = number(&mut self.input)?;
        let Block {
            compressed: buffer,
            raw,
        } = &mut self.block;
        unpack(&mut self.input, compressed, length, buffer, raw)?;
        Ok(Some(&self.block))
    }

    /// The next bytes of the contents, at least one and at most `most`.
    ///
    /// # Errors
    /// As [`block`](BundleReader::block); there are no more.
    pub fn content(&mut self, most: u64) -> Result<&[u8], StreamError> {
        if self.position == self.block.raw.len() && self.block()?.is_none() {
            return Err(StreamError::Malformed(
                "it has fewer bytes than its list says",
            ));
        }
        let rest = &self.block.raw[self.position..];
        let length = usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()));
        self.position += length;
        Ok(&rest[..length])
    }

    /// Reads the end, behind which nothing may be left over.
    ///
    /// # Errors
    /// There are more contents than the manifest says.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        if self.position < self.block.raw.len() || self.block()?.is_some() {
            return Err(StreamError::Malformed(
                "it has more bytes than its list says",
            ));
        }
        Ok(())
    }
}

fn array<const LENGTH: usize>(input: &mut impl Read) -> Result<[u8; LENGTH], StreamError> {
    let mut bytes = [0; LENGTH];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(input: &mut impl Read) -> Result<usize, StreamError> {
    Ok(u32::from_le_bytes(array(input)?) as usize)
}

/// Reads so many compressed bytes and decompresses them to exactly so many: never more, whatever they say.
fn unpack(
    input: &mut impl Read,
    compressed: usize,
    length: usize,
    buffer: &mut Vec<u8>,
    raw: &mut Vec<u8>,
) -> Result<(), StreamError> {
    if compressed > zstd::compress_bound(length) {
        return Err(StreamError::Malformed(
            "it is longer compressed than it can be",
        ));
    }
    buffer.clear();
    input.take(compressed as u64).read_to_end(buffer)?;
    if buffer.len() < compressed {
        return Err(StreamError::Cut);
    }
    decompress(buffer, length, raw)
}

/// Decompresses to exactly so many bytes.
///
/// # Errors
/// These are no such bytes.
pub fn decompress(compressed: &[u8], length: usize, raw: &mut Vec<u8>) -> Result<(), StreamError> {
    raw.clear();
    raw.resize(length, 0);
    let decompressed = zstd::bulk::decompress_to_buffer(compressed, raw);
    match decompressed {
        Ok(count) if count == length => Ok(()),
        _ => Err(StreamError::Malformed("a block can't be decompressed")),
    }
}

/// What makes `target` of `base`: the changes as a bundle has them.
#[must_use]
pub fn changes(base: &Manifest, target: &Manifest) -> Vec<u8> {
    let (mut old, mut new) = (base.entries(), target.entries());
    let mut bytes = body(target.as_bytes());
    let mut changes = Changes::default();
    loop {
        match (old.first(), new.first()) {
            (None, None) => break,
            (Some(one), Some(other)) if one == other => {
                bytes = &bytes[entry_length(bytes).unwrap_or(bytes.len())..];
                changes.add(b'k', &[]);
                (old, new) = (&old[1..], &new[1..]);
            }
            (Some(one), other)
                if other.is_none_or(|other| order(&one.path, &other.path).is_le()) =>
            {
                changes.add(b'd', &[]);
                old = &old[1..];
            }
            _ => {
                let (entry, rest) = bytes.split_at(entry_length(bytes).unwrap_or(bytes.len()));
                changes.add(b'a', entry);
                (bytes, new) = (rest, &new[1..]);
            }
        }
    }
    changes.done()
}

/// Changes while they are made: neighbours of one kind become one.
#[derive(Default)]
struct Changes {
    bytes: Vec<u8>,
    kind: u8,
    count: u32,
    added: Vec<u8>,
}

impl Changes {
    fn add(&mut self, kind: u8, entry: &[u8]) {
        if self.kind != kind {
            self.flush();
            self.kind = kind;
        }
        self.count += 1;
        self.added.extend_from_slice(entry);
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.bytes.push(self.kind);
            self.bytes.extend_from_slice(&self.count.to_le_bytes());
            self.bytes.append(&mut self.added);
            self.count = 0;
        }
    }

    fn done(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }
}

/// The bytes of the manifest that these changes make of `base`.
fn apply<'a>(base: &'a Manifest, mut changes: &'a [u8]) -> Result<Vec<u8>, StreamError> {
    const WRONG: StreamError = StreamError::Malformed("the changes of its list are none");
    let mut old = body(base.as_bytes());
    let mut made = head().to_vec();
    while !changes.is_empty() {
        let kind = array::<1>(&mut changes)?[0];
        let count = number(&mut changes)?;
        let source = if kind == b'a' { &mut changes } else { &mut old };
        let mut length = 0;
        for _ in 0..count {
            length += source.get(length..).and_then(entry_length).ok_or(WRONG)?;
        }
        let (entries, rest) = source.split_at(length);
        *source = rest;
        match kind {
            b'k' | b'a' => made.extend_from_slice(entries),
            b'd' => {}
            _ => return Err(WRONG),
        }
        if made.len() > manifest::LARGEST {
            return Err(StreamError::Manifest(ManifestError::TooLarge));
        }
    }
    if old.is_empty() { Ok(made) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::manifest::{Entry, Kind};
    use super::*;

    fn tree() -> impl Strategy<Value = Manifest> {
        let entry = ("[a-c]{1,2}", any::<bool>(), 1..4_u64);
        proptest::collection::vec(entry, 0..12).prop_map(|entries| {
            let mut entries: Vec<Entry> = entries
                .into_iter()
                .map(|(path, executable, size)| {
                    let object = ObjectHash::of(&vec![0; usize::try_from(size).unwrap()]);
                    let path = path.into_bytes();
                    Entry {
                        path,
                        kind: Kind::File {
                            executable,
                            size,
                            object,
                        },
                    }
                })
                .collect();
            entries.sort_by(|one, other| order(&one.path, &other.path));
            entries.dedup_by(|one, other| one.path == other.path);
            Manifest::new(entries).unwrap()
        })
    }

    proptest! {
        #[test]
        fn changes_make_one_manifest_of_another(base in tree(), target in tree()) {
            let changes = changes(&base, &target);
            let made = apply(&base, &changes).unwrap();
            prop_assert_eq!(Manifest::parse(&made), Ok(target));
            for cut in 0..changes.len() {
                prop_assert!(apply(&base, &changes[..cut]).is_err() || cut == 0 || base.entries().is_empty());
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), base in tree()) {
            let _ = apply(&base, &bytes);
            let mut bundle = MAGIC.to_vec();
            bundle.extend(bytes);
            if let Ok(mut reader) = BundleReader::open(bundle.as_slice()) {
                let _ = reader.manifest(|_| Some(base));
            }
        }
    }

    #[test]
    fn nothing_is_decompressed_beyond_what_was_said() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 1).unwrap();
        let mut raw = Vec::new();
        for length in [0, 1, (1 << 20) - 1, (1 << 20) + 1] {
            assert!(decompress(&bomb, length, &mut raw).is_err());
            assert!(raw.len() <= length);
        }
        decompress(&bomb, 1 << 20, &mut raw).unwrap();
    }
}
