//! Takes a bundle in, into packs, and unpacks a tree for jobs of this machine.

use std::collections::HashSet;
use std::io::{BufWriter, Read};

use camino::Utf8PathBuf;
use mizzen_agent::bundle::{
    self, BundleReader, Manifest, ObjectHash, ReceiveError, StreamError, TreeHash,
};

use super::home::Home;
use super::pack::{ObjectAt, PackWriter};
use super::store::{self, Objects};
use super::{BundleError, send};

/// So many unpacked trees are looked at for files that a new one has as well.
const BASES: usize = 3;

pub(super) fn absorb(home: &Home, stream: &mut dyn Read) -> Result<TreeHash, BundleError> {
    let mut reader = BundleReader::open(stream)?;
    let bases = reader.bases().to_vec();
    let manifest = |tree| {
        store::load(home, &tree)
            .ok()
            .flatten()
            .map(|kept| kept.manifest)
    };
    let tree = reader.manifest(manifest)?;
    let theirs: HashSet<ObjectHash> = bases
        .iter()
        .filter_map(|base| manifest(*base))
        .flat_map(|base| base.objects().map(|(object, _)| object).collect::<Vec<_>>())
        .collect();
    let objects = Objects::all(home)?;
    let (left_out, sent): (Vec<_>, Vec<_>) = tree
        .objects()
        .partition(|(object, _)| theirs.contains(object));
    if let Some(base) = bases.first()
        && left_out.iter().any(|(object, _)| !objects.contains(object))
    {
        return Err(StreamError::NoBase(*base).into());
    }
    let pack = PackWriter::new(home)?;
    contents(&mut reader, &sent, &pack)?;
    let is_new = sent.iter().any(|(object, _)| !objects.contains(object));
    let mut packs = objects.packs_of(&tree);
    if is_new {
        packs.extend(pack.finish(home)?);
    }
    store::keep(home, &tree, &packs)?;
    Ok(tree.hash())
}

/// Puts the blocks of a bundle into a pack as they come, once each object in them has the right hash.
fn contents(
    reader: &mut BundleReader<&mut dyn Read>,
    sent: &[(ObjectHash, u64)],
    pack: &PackWriter,
) -> Result<(), BundleError> {
    let mut sent = sent.iter();
    // The object that is being read: which, where it began, how many of its bytes are to come.
    let mut open: Option<(ObjectHash, ObjectAt, u64)> = None;
    let mut hasher = blake3::Hasher::new();
    while let Some(found) = reader.block()? {
        let block = pack.reserve(1);
        let mut rest = found.raw.as_slice();
        while !rest.is_empty() {
            let (object, at, left) = match open.take() {
                Some(open) => open,
                None => {
                    let (object, size) = *sent.next().ok_or(StreamError::Malformed(
                        "it has more bytes than its list says",
                    ))?;
                    let offset = found.raw.len() - rest.len();
                    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                    (
                        object,
                        ObjectAt {
                            block,
                            offset,
                            size,
                        },
                        size,
                    )
                }
            };
            let length = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            hasher.update(&rest[..length]);
            rest = &rest[length..];
            let left = left - length as u64;
            if left > 0 {
                open = Some((object, at, left));
                continue;
            }
            if ObjectHash(*hasher.finalize().as_bytes()) != object {
                return Err(StreamError::WrongObject(object).into());
            }
            hasher.reset();
            pack.add(object, at);
        }
        pack.put(block, found.raw.len(), &found.compressed)?;
    }
    if open.is_some() || sent.next().is_some() {
        return Err(StreamError::Malformed("it has fewer bytes than its list says").into());
    }
    Ok(())
}

pub(super) fn unpack(home: &Home, tree: &TreeHash) -> Result<Utf8PathBuf, BundleError> {
    let trees = home.trees();
    let unpacked = trees.join(tree.to_string()).join("tree");
    if !bundle::have(trees.as_std_path(), &[*tree]).is_empty() {
        return Ok(unpacked);
    }
    let kept = bundle::list(trees.as_std_path()).map_err(BundleError::at(&trees))?;
    let bases: Vec<TreeHash> = kept.iter().take(BASES).map(|kept| kept.tree).collect();
    match deliver(home, tree, &bases) {
        // What it was to be built on was damaged: without it then.
        Err(BundleError::Stream(StreamError::NoBase(_))) => deliver(home, tree, &[])?,
        delivered => delivered?,
    }
    Ok(unpacked)
}

/// Streams a tree to ourselves.
fn deliver(home: &Home, tree: &TreeHash, bases: &[TreeHash]) -> Result<(), BundleError> {
    let trees = home.trees();
    let (reader, writer) = std::io::pipe().map_err(BundleError::at(&trees))?;
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| bundle::receive(reader, trees.as_std_path()));
        let mut writer = BufWriter::with_capacity(64 << 10, writer);
        let sent = send::stream(home, tree, bases, &mut writer);
        // The end of the pipe: whoever reads sees it even if nothing more comes. What is left in the buffer of a broken
        // stream is of no use.
        drop(writer.into_parts());
        (sent, receiver.join())
    });
    let received = received.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match (sent, received) {
        (_, Err(ReceiveError::Full { place, needed })) => Err(BundleError::Full {
            place: Utf8PathBuf::from_path_buf(place).unwrap_or(trees),
            needed: Some(needed),
        }),
        // That the reader left is no cause; that it got too little is none either.
        (Err(BundleError::Output(_)), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) => Err(error.into()),
        (Ok(_), Ok(_)) => Ok(()),
    }
}

impl From<ReceiveError> for BundleError {
    fn from(error: ReceiveError) -> BundleError {
        match error {
            ReceiveError::Stream(error) => BundleError::Stream(error),
            other => BundleError::Receive(other),
        }
    }
}

/// What these manifests need.
pub(super) fn needed<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> HashSet<ObjectHash> {
    manifests
        .flat_map(Manifest::objects)
        .map(|(object, _)| object)
        .collect()
}
