//! What must hold for every stream that a place is sent: no panic; nothing outside of the tree; nothing left behind unless it is the
//! whole tree. `crates/core/tests/bundle/corpus.rs` runs the kept corpus through the same function, on stable.
//!
//! Hashes would keep fuzzing out, so an input is a recipe. The first byte: 0 modulo 3, the rest is the stream itself; else the rest
//! are entries and the stream is made of them with the right hashes, 2 modulo 3 on top of a base that is there; 8: in order.
//! An entry: flags (1 executable, 2 link, 4 folder, 8 wrong size, 16 wrong hash, 32 not sent, 64 twice as long), path with its
//! length before it, content or target the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mizzen_agent::bundle::{
    Entry, Kind, MAGIC, Manifest, ObjectHash, TreeHash, have, link, order, receive, verify,
};

/// A folder that goes away.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Feeds one input.
pub(crate) fn unpack(input: &[u8]) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("mizzen-unpack-{}-{number}", std::process::id());
    let outer = Place(std::env::temp_dir().join(name));
    fs::create_dir_all(&outer.0).expect("a folder to work in");
    let place = outer.0.join("bundles");
    let base = (mode % 3 == 2).then(|| base(&place));
    let before = names(&place);
    let stream = match mode % 3 {
        0 => rest.to_vec(),
        _ => bundle(rest, mode & 8 != 0, base.as_ref()),
    };
    match receive(stream.as_slice(), &place) {
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error}");
            assert_eq!(
                names(&place),
                before,
                "something is left of what was refused: {error}"
            );
        }
        Ok(tree) => {
            let folder = place.join(tree.to_string());
            let manifest = fs::read(folder.join("manifest")).expect("the list of the tree");
            let manifest = Manifest::parse(&manifest).expect("a list that was taken");
            assert_eq!(manifest.hash(), tree);
            let again = Manifest::new(manifest.entries().to_vec()).expect("the same list");
            assert_eq!(again.as_bytes(), manifest.as_bytes());
            verify(&folder.join("tree"), &manifest, true).expect("the whole tree");
            assert_eq!(have(&place, &[tree]), [tree]);
            link(&folder.join("tree"), &outer.0.join("job")).expect("a job's code");
            fs::remove_dir_all(outer.0.join("job")).expect("it is a folder");
        }
    }
    if let Some(base) = base {
        assert_eq!(
            have(&place, &[base.hash()]),
            [base.hash()],
            "the base was harmed"
        );
    }
    assert!(
        names(&outer.0).iter().all(|name| name == "bundles"),
        "something is outside"
    );
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<PathBuf> = found
        .flatten()
        .map(|entry| entry.file_name().into())
        .collect();
    names.sort();
    names
}

/// A tree that is at the place.
fn base(place: &Path) -> Manifest {
    let file = |path: &str, content: &[u8]| Entry {
        path: path.into(),
        kind: Kind::File {
            executable: false,
            size: content.len() as u64,
            object: ObjectHash::of(content),
        },
    };
    let manifest = Manifest::new(vec![file("a", b"a"), file("b/c", b"bc")]).expect("a tree");
    let stream = stream(manifest.as_bytes(), None, b"abc");
    receive(stream.as_slice(), place).expect("the base");
    manifest
}

fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

fn stream(manifest: &[u8], base: Option<&Manifest>, content: &[u8]) -> Vec<u8> {
    let mut stream = MAGIC.to_vec();
    stream.extend(TreeHash::of(manifest).0);
    stream.extend(number(usize::from(base.is_some())));
    if let Some(base) = base {
        stream.extend(base.hash().0);
    }
    stream.extend(number(0));
    let mut part = |raw: &[u8]| {
        let compressed = zstd::bulk::compress(raw, 1).expect("zstd compresses anything");
        stream.extend(number(raw.len()));
        stream.extend(number(compressed.len()));
        stream.extend(compressed);
    };
    part(manifest);
    for block in content.chunks(1 << 20) {
        part(block);
    }
    stream.extend(number(0));
    stream
}

/// The next bytes, as many as the first says.
fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, after)) = rest.split_first() else {
        return &[];
    };
    let (text, after) = after.split_at(after.len().min(usize::from(*length)));
    *rest = after;
    text
}

fn bundle(mut rest: &[u8], in_order: bool, base: Option<&Manifest>) -> Vec<u8> {
    let mut entries = Vec::new();
    while let Some((flags, after)) = rest.split_first() {
        rest = after;
        let path = text(&mut rest);
        let content = text(&mut rest).repeat(if flags & 64 != 0 { 2 } else { 1 });
        entries.push((*flags, path, content));
    }
    if in_order {
        entries.sort_by(|(_, one, _), (_, other, _)| order(one, other));
    }
    let mut manifest = b"mizzen tree 1\n".to_vec();
    let mut contents: Vec<u8> = Vec::new();
    let mut sent: Vec<ObjectHash> = Vec::new();
    if let Some(base) = base {
        sent.extend(base.objects().map(|(object, _)| object));
    }
    for (flags, path, content) in entries {
        manifest.push(match flags & 7 {
            4..=7 => b'd',
            2..=3 => b'l',
            1 => b'x',
            _ => b'f',
        });
        manifest.extend(number(path.len()));
        manifest.extend(path);
        match flags & 7 {
            4..=7 => {}
            2..=3 => {
                manifest.extend(number(content.len()));
                manifest.extend(&content);
            }
            _ => {
                let mut object = ObjectHash::of(&content);
                let is_new = !sent.contains(&object);
                sent.push(object);
                if flags & 16 != 0 {
                    object.0[0] ^= 1;
                }
                let size = content.len() as u64 + u64::from(flags >> 3 & 1);
                manifest.extend(size.to_le_bytes());
                manifest.extend(object.0);
                if flags & 32 == 0 && is_new {
                    contents.extend(&content);
                }
            }
        }
    }
    stream(&manifest, base, &contents)
}
