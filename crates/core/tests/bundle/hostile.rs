//! Streams that were cut, damaged or made by somebody who means harm.

use std::fs;

use mizzen_agent::bundle::{
    BLOCK, Entry, Kind, MAGIC, Manifest, ObjectHash, ReceiveError, StreamError, TreeHash, receive,
};

use crate::support::{Scene, contents, names, noise};

fn scene() -> (Scene, TreeHash, Vec<u8>) {
    let scene = Scene::new();
    scene.write("a/one", noise(1, 300));
    scene.write("a/two", noise(2, 300));
    scene.write("b", "three");
    scene.write("c", noise(3, BLOCK + 5));
    let tree = scene.pack().tree;
    let stream = scene.stream(&tree, &[]);
    (scene, tree, stream)
}

#[test]
fn a_cut_stream_leaves_nothing_behind() {
    let (scene, _, stream) = scene();
    let elsewhere = scene.home("elsewhere");
    // Every place in the small parts, some in the large one.
    let cuts = (0..2_000)
        .chain((2_000..stream.len()).step_by(50_021))
        .chain(stream.len() - 9..stream.len());
    for cut in cuts {
        let error = receive(&stream[..cut], &scene.place()).unwrap_err();
        assert!(
            matches!(error, ReceiveError::Stream(StreamError::Cut)),
            "{cut}: {error}"
        );
        assert_eq!(names(&scene.place()), [""; 0], "{cut}");
        if cut % 7 == 0 {
            elsewhere.absorb(&mut &stream[..cut]).unwrap_err();
        }
    }
    let home = scene.at("elsewhere/bundles");
    for folder in ["packs", "manifests", "tmp"] {
        assert_eq!(names(home.join(folder).as_std_path()), [""; 0]);
    }
}

#[test]
fn a_flipped_byte_is_an_error_or_does_not_matter() {
    let (scene, tree, stream) = scene();
    let elsewhere = scene.home("elsewhere");
    let mut damaged = stream.clone();
    let places = (0..1_500)
        .chain((1_500..stream.len()).step_by(20_011))
        .chain(stream.len() - 9..stream.len());
    for (number, place) in places.enumerate() {
        damaged[place] ^= 1 << (number % 8);
        if let Ok(received) = receive(damaged.as_slice(), &scene.place()) {
            // Some bits of a compressed block say nothing.
            assert_eq!(received, tree, "{place}");
            assert_eq!(
                contents(&scene.tree_at_place(&tree)),
                contents(&scene.code())
            );
            fs::remove_dir_all(scene.place()).unwrap();
        }
        assert_eq!(names(&scene.place()), [""; 0], "{place}");
        if number % 5 == 0
            && let Ok(received) = elsewhere.absorb(&mut damaged.as_slice())
        {
            assert_eq!(received, tree, "{place}");
        }
        damaged[place] = stream[place];
    }
}

/// A bundle of a manifest's bytes, whatever they are, and blocks.
fn bundle(manifest: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut stream = MAGIC.to_vec();
    stream.extend(TreeHash::of(manifest).0);
    stream.extend(number(0));
    stream.extend(number(0));
    for part in std::iter::once(&manifest).chain(blocks) {
        let compressed = zstd::bulk::compress(part, 1).unwrap();
        stream.extend(number(part.len()));
        stream.extend(number(compressed.len()));
        stream.extend(compressed);
    }
    stream.extend(number(0));
    stream
}

/// The bytes of a manifest that nobody checked.
fn unchecked(entries: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"mizzen tree 1\n".to_vec();
    for (kind, path, rest) in entries {
        bytes.push(*kind);
        bytes.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
        bytes.extend(path.as_bytes());
        bytes.extend(*rest);
    }
    bytes
}

fn file(content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u64).to_le_bytes();
    [size.as_slice(), &ObjectHash::of(content).0].concat()
}

fn link(target: &str) -> Vec<u8> {
    let length = u32::try_from(target.len()).unwrap().to_le_bytes();
    [length.as_slice(), target.as_bytes()].concat()
}

#[test]
fn nothing_is_written_outside_of_the_tree() {
    let scene = Scene::new();
    let content = b"evil".as_slice();
    let outside = scene.at("place/evil");
    for entries in [
        vec![(b'f', "../evil", file(content))],
        vec![(b'f', "../../evil", file(content))],
        vec![(b'f', outside.as_str(), file(content))],
        vec![(b'f', "a/../../evil", file(content))],
        vec![(b'l', "a", link("..")), (b'f', "a/evil", file(content))],
        vec![(b'l', "a", link("../../../")), (b'f', "b", file(content))],
        vec![(b'l', "a", link("/etc"))],
        vec![(b'f', "a", file(content)), (b'f', "a", file(content))],
        vec![(b'f', "b", file(content)), (b'f', "a", file(content))],
        vec![(b'd', "a", Vec::new()), (b'f', "a/b", file(content))],
        vec![(b'f', "a\0b", file(content))],
        vec![(b'q', "a", file(content))],
        vec![(b'f', "", file(content))],
    ] {
        let borrowed: Vec<_> = entries
            .iter()
            .map(|(kind, path, rest)| (*kind, *path, rest.as_slice()))
            .collect();
        let stream = bundle(&unchecked(&borrowed), &[content]);
        let error = receive(stream.as_slice(), &scene.place()).unwrap_err();
        let is_refused = matches!(error, ReceiveError::Stream(StreamError::Manifest(_)));
        assert!(is_refused, "{entries:?}: {error}");
        assert!(
            scene
                .home("elsewhere")
                .absorb(&mut stream.as_slice())
                .is_err()
        );
        assert_eq!(names(&scene.place()), [""; 0]);
        assert!(!outside.exists());
    }
}

#[test]
fn nothing_is_written_beyond_what_the_list_says() {
    let scene = Scene::new();
    let entry = |content: &[u8]| Entry {
        path: b"a".to_vec(),
        kind: Kind::File {
            executable: false,
            size: content.len() as u64,
            object: ObjectHash::of(content),
        },
    };
    let manifest = Manifest::new(vec![entry(b"four")]).unwrap();
    let bomb = vec![0; 4 << 20];
    for (blocks, error) in [
        (vec![b"four".as_slice(), b"more"], "it has more bytes"),
        (vec![b"fourmore".as_slice()], "it has more bytes"),
        (vec![b"fou".as_slice()], "it has fewer bytes"),
        (vec![], "it has fewer bytes"),
        (vec![b"five".as_slice()], "the bytes of object"),
        (vec![&bomb], "the bytes of object"),
    ] {
        let stream = bundle(manifest.as_bytes(), &blocks);
        let received = receive(stream.as_slice(), &scene.place()).unwrap_err();
        assert!(received.to_string().contains(error), "{received}");
        let absorbed = scene.home("elsewhere").absorb(&mut stream.as_slice());
        absorbed.unwrap_err();
        assert_eq!(names(&scene.place()), [""; 0]);
    }
    let tree = receive(
        bundle(manifest.as_bytes(), &[b"fo", b"ur"]).as_slice(),
        &scene.place(),
    )
    .unwrap();
    assert_eq!(tree, manifest.hash());
    // A block or a list that says it is larger than either may be.
    for (at, length) in [(56, u32::MAX), (56, 200 << 20)] {
        let mut stream = bundle(manifest.as_bytes(), &[b"four"]);
        stream[at..at + 4].copy_from_slice(&length.to_le_bytes());
        receive(stream.as_slice(), &scene.place()).unwrap_err();
    }
}

#[test]
fn a_base_that_is_not_there_or_was_damaged_is_named() {
    let (scene, tree, _) = scene();
    scene.write("d", "more");
    let next = scene.pack().tree;
    let changes = scene.stream(&next, &[tree]);
    let no_base = |error: ReceiveError| {
        assert!(
            matches!(error, ReceiveError::Stream(StreamError::NoBase(base)) if base == tree),
            "{error}"
        );
    };
    no_base(receive(changes.as_slice(), &scene.place()).unwrap_err());
    scene.send(&tree);
    let file = scene.tree_at_place(&tree).join("b");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "evil!").unwrap();
    no_base(receive(changes.as_slice(), &scene.place()).unwrap_err());
    assert_eq!(names(&scene.place()), [tree.to_string()]);
    // Asking for it takes it away; then it is sent again.
    assert!(mizzen_agent::bundle::have(&scene.place(), &[tree]).is_empty());
    scene.send(&tree);
    receive(changes.as_slice(), &scene.place()).unwrap();
}
