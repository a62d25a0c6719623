//! What is packed comes out again, whichever way it goes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use mizzen_agent::bundle::{FIXED_TIME, Manifest, TreeHash, have, link, receive, verify};
use mizzen_core::packager::{Item, ItemKind, Limits, Listing, PackError, Source};
use proptest::prelude::*;

use crate::support::{LIMITS, Node, Scene, Tree, contents, listing, make, noise};

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ab]".prop_map(String::into_bytes),
        1 => "[ -~]{1,6}".prop_filter_map("a name", |name| {
            (!name.contains('/') && name != "." && name != "..").then(|| name.into_bytes())
        }),
        1 => proptest::collection::vec(1..=255_u8, 1..4).prop_filter("a name", |name| {
            !name.contains(&b'/') && name != b"." && name != b".."
        }),
    ]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let noise = |seed, length| noise(seed, length);
    prop_oneof![
        1 => Just(Vec::new()),
        8 => (0..6_u64, 1..200_usize).prop_map(move |(seed, length)| noise(seed, length)),
        2 => (0..3_u64, 100_000..700_000_usize).prop_map(move |(seed, length)| noise(seed, length)),
        1 => (0..2_u64, 1_040_000..3_300_000_usize).prop_map(move |(seed, length)| noise(seed, length)),
        1 => (1..4_usize).prop_map(move |blocks| noise(9, blocks << 20)),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        8 => (content(), any::<bool>()).prop_map(|(content, executable)| Node::File { content, executable }),
        1 => name().prop_map(Node::Link),
        1 => Just(Node::Folder),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let path = proptest::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'));
    proptest::collection::vec((path, node()), 0..14).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (path, node) in nodes {
            let below = |one: &[u8], other: &[u8]| mizzen_agent::bundle::is_below(one, other);
            if !tree
                .keys()
                .any(|known: &Vec<u8>| known == &path || below(known, &path) || below(&path, known))
            {
                tree.insert(path, node);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_out_as_it_went_in(one in tree(), other in tree()) {
        let scene = Scene::new();
        make(&scene.code(), &one);
        let manifest = scene.bundles().tree_of(&listing(&scene.code())).unwrap();
        let packed = scene.pack();
        prop_assert_eq!(manifest.hash(), packed.tree);
        prop_assert_eq!((manifest.files(), manifest.bytes()), (packed.files, packed.bytes));
        prop_assert_eq!(&contents(&scene.code()), &one);
        // Again: nothing is new.
        let again = scene.pack();
        prop_assert_eq!((again.tree, again.written), (packed.tree, 0));
        prop_assert_eq!(scene.bundles().manifest(&packed.tree).unwrap(), Some(manifest.clone()));

        // At a place, and for a job.
        let stream = scene.stream(&packed.tree, &[]);
        prop_assert_eq!(receive(stream.as_slice(), &scene.place()).unwrap(), packed.tree);
        let there = scene.tree_at_place(&packed.tree);
        prop_assert_eq!(&contents(&there), &one);
        verify(&there, &manifest, true).unwrap();
        let job = scene.at("place/job/code");
        fs::create_dir_all(job.parent().unwrap()).unwrap();
        link(&there, job.as_std_path()).unwrap();
        prop_assert_eq!(&contents(job.as_std_path()), &one);

        // In another home, which sends the same bytes on.
        let elsewhere = scene.home("elsewhere");
        prop_assert_eq!(elsewhere.absorb(&mut stream.as_slice()).unwrap(), packed.tree);
        let mut again = Vec::new();
        elsewhere.stream(&packed.tree, &[], &mut again).unwrap();
        prop_assert!(again == stream, "the same tree is sent otherwise");
        let unpacked = elsewhere.unpack(&packed.tree).unwrap();
        prop_assert_eq!(&contents(unpacked.as_std_path()), &one);

        // Another tree that builds on it.
        let second = scene.at("second");
        make(second.as_std_path(), &other);
        let next = scene.bundles().pack(&listing(second.as_std_path()), &LIMITS).unwrap();
        let changes = scene.stream(&next.tree, &[packed.tree, TreeHash::of(b"nobody's")]);
        let whole = scene.stream(&next.tree, &[]);
        prop_assert_eq!(receive(changes.as_slice(), &scene.place()).unwrap(), next.tree);
        prop_assert_eq!(&contents(&scene.tree_at_place(&next.tree)), &other);
        verify(&scene.tree_at_place(&next.tree), &scene.bundles().manifest(&next.tree).unwrap().unwrap(), true).unwrap();
        prop_assert_eq!(elsewhere.absorb(&mut changes.as_slice()).unwrap(), next.tree);
        let mut again = Vec::new();
        elsewhere.stream(&next.tree, &[], &mut again).unwrap();
        prop_assert!(again == whole, "a tree that came as changes is sent otherwise");
        prop_assert_eq!(have(&scene.place(), &[next.tree, TreeHash::of(b""), packed.tree]), [next.tree, packed.tree]);
    }
}

#[test]
fn one_changed_file_sends_that_file_alone() {
    let scene = Scene::new();
    for number in 0..2_000 {
        scene.write(
            &format!("src/{}/{number}.py", number % 50),
            noise(number, 1000),
        );
    }
    scene.write("large", noise(1, 5 << 20));
    let first = scene.pack();
    scene.write("src/7/7.py", noise(9_999, 100_000));
    let second = scene.pack();
    assert!(second.written < 110_000, "{}", second.written);
    let stream = scene.stream(&second.tree, &[first.tree]);
    assert!(stream.len() < 101_000, "{}", stream.len());
    scene.send(&first.tree);
    receive(stream.as_slice(), &scene.place()).unwrap();
    assert_eq!(
        contents(&scene.tree_at_place(&second.tree)),
        contents(&scene.code())
    );
    // What both have is there once.
    let inode = |tree: &TreeHash| {
        let large = scene.tree_at_place(tree).join("large");
        fs::metadata(large).unwrap().ino()
    };
    assert_eq!(inode(&first.tree), inode(&second.tree));
}

#[test]
fn what_has_changed_is_read_again() {
    let scene = Scene::new();
    scene.write("a", "one");
    let first = scene.pack();
    // Same size, at once: the clock of the file system may not have moved.
    scene.write("a", "two");
    let second = scene.pack();
    assert_ne!(first.tree, second.tree);
    fs::set_permissions(scene.code().join("a"), PermissionsExt::from_mode(0o755)).unwrap();
    let third = scene.pack();
    assert_ne!(second.tree, third.tree);
    fs::remove_file(scene.code().join("a")).unwrap();
    symlink("b", scene.code().join("a")).unwrap();
    let fourth = scene.pack();
    assert_ne!(third.tree, fourth.tree);
    fs::remove_file(scene.code().join("a")).unwrap();
    scene.write("a", "one");
    assert_eq!(scene.pack().tree, first.tree);
}

#[test]
fn contents_come_from_memory_and_from_spools_as_well() {
    let scene = Scene::new();
    let spool = scene.at("spool");
    let content = noise(3, (3 << 20) + 17);
    fs::write(&spool, [b"before", content.as_slice(), b"behind"].concat()).unwrap();
    let file = Arc::new(fs::File::open(&spool).unwrap());
    let spooled = |offset, len| Source::Spooled {
        file: Arc::clone(&file),
        offset,
        len,
    };
    let item = |path: &str, source, executable| Item {
        path: path.into(),
        kind: ItemKind::File { source, executable },
    };
    let listing = Listing {
        root: scene.at("code"),
        items: vec![
            item("z/large", spooled(6, content.len() as u64), false),
            item("small", spooled(0, 6), true),
            item("memory", Source::Bytes(b"behind".as_slice().into()), false),
            item("more", Source::Bytes(content.as_slice().into()), false),
            Item {
                path: b"z".to_vec(),
                kind: ItemKind::Folder,
            },
            Item {
                path: b"y/empty".to_vec(),
                kind: ItemKind::Folder,
            },
            Item {
                path: b"link".to_vec(),
                kind: ItemKind::Link {
                    target: b"z/large".to_vec(),
                },
            },
            item("gone", Source::Path(scene.code().join("gone")), false),
        ],
        ..Listing::default()
    };
    let packed = scene.bundles().pack(&listing, &LIMITS).unwrap();
    scene.send(&packed.tree);
    let file = |content: &[u8], executable| Node::File {
        content: content.to_vec(),
        executable,
    };
    let expected: Tree = [
        ("link", Node::Link(b"z/large".to_vec())),
        ("memory", file(b"behind", false)),
        ("more", file(&content, false)),
        ("small", file(b"before", true)),
        ("y/empty", Node::Folder),
        ("z/large", file(&content, false)),
    ]
    .map(|(path, node)| (path.into(), node))
    .into();
    assert_eq!(contents(&scene.tree_at_place(&packed.tree)), expected);
}

#[test]
fn what_no_job_can_have_is_refused_by_name() {
    let scene = Scene::new();
    scene.write("a/file", "text");
    symlink("../../outside", scene.code().join("a/link")).unwrap();
    let error = scene.try_pack().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "a/link can't be packed: it is a link out of the code, to `../../outside`"
        ),
        "{error}"
    );
    fs::remove_file(scene.code().join("a/link")).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(scene.code().join("a/socket")).unwrap();
    let error = scene.try_pack().unwrap_err().to_string();
    assert!(
        error.starts_with("a/socket can't be packed: it is neither"),
        "{error}"
    );
    drop(socket);
    fs::remove_file(scene.code().join("a/socket")).unwrap();

    let limits = |total, file| Limits { total, file };
    for limits in [limits(3, 100), limits(100, 3)] {
        let packed = scene.bundles().pack(&listing(&scene.code()), &limits);
        let error = packed.unwrap_err();
        assert!(matches!(error, PackError::TooLarge(_)), "{error}");
        assert!(error.to_string().contains("a/file"), "{error}");
    }
    // A folder became a link meanwhile: what was selected below it is not ours.
    let before = listing(&scene.code());
    fs::rename(scene.code().join("a"), scene.at("outside")).unwrap();
    symlink("../outside", scene.code().join("a")).unwrap();
    let mut behind = listing(&scene.code());
    behind.items.extend(before.items);
    let error = scene
        .bundles()
        .pack(&behind, &LIMITS)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a can't be packed: it is a link out"),
        "{error}"
    );
    fs::remove_file(scene.code().join("a")).unwrap();
    symlink("b", scene.code().join("a")).unwrap();
    scene.write("b/file", "text");
    let packed = scene.bundles().pack(&behind, &LIMITS).unwrap();
    assert_eq!(packed.files, 0, "b was not selected, and a is a link");
}

#[test]
fn what_a_job_writes_into_its_code_is_its_own() {
    let scene = Scene::new();
    scene.write("a/b/file", "text");
    scene.write("a/tool", "#!/bin/sh\n");
    fs::set_permissions(
        scene.code().join("a/tool"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let packed = scene.pack();
    scene.send(&packed.tree);
    let there = scene.tree_at_place(&packed.tree);
    let jobs = scene.at("place/jobs");
    fs::create_dir_all(&jobs).unwrap();
    let (one, other) = (jobs.join("one"), jobs.join("other"));
    link(&there, one.as_std_path()).unwrap();
    link(&there, other.as_std_path()).unwrap();
    let facts = |path: &str| fs::metadata(one.join(path)).unwrap();
    assert_eq!(facts("a/b/file").mode() & 0o777, 0o644);
    assert_eq!(facts("a/tool").mode() & 0o777, 0o755);
    assert_eq!(facts("a/tool").mtime(), FIXED_TIME);
    assert_eq!(facts("a").mode() & 0o777, 0o700);
    fs::write(one.join("a/b/result"), "mine").unwrap();
    fs::write(one.join("a/b/file"), "mine").unwrap();
    let manifest = scene.bundles().manifest(&packed.tree).unwrap().unwrap();
    verify(&there, &manifest, true).unwrap();
    fs::remove_file(one.join("a/b/file")).unwrap();
    verify(&there, &manifest, true).unwrap();
    assert_eq!(contents(other.as_std_path()), contents(&there));
    // Once more: what the job has made of it stays.
    link(&there, one.as_std_path()).unwrap();
    assert!(one.join("a/b/result").exists() && !one.join("a/b/file").exists());
    assert_eq!(crate::support::names(jobs.as_std_path()), ["one", "other"]);
}

#[test]
fn an_empty_tree_is_a_tree() {
    let scene = Scene::new();
    let packed = scene.pack();
    assert_eq!(packed.tree, Manifest::new(Vec::new()).unwrap().hash());
    scene.send(&packed.tree);
    assert!(contents(&scene.tree_at_place(&packed.tree)).is_empty());
}
