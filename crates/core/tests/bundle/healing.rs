//! What was damaged on the disk: noticed, named, healed while the files are still there.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mizzen_agent::bundle::{Damage, LinkError, link, verify};
use mizzen_core::packager::bundle::BundleError;

use crate::support::{Scene, contents, names, noise};

fn pack_files(scene: &Scene) -> Vec<PathBuf> {
    let packs = scene.at("home/bundles/packs");
    let names = names(packs.as_std_path()).into_iter();
    names
        .filter(|name| name.ends_with(".pack"))
        .map(|name| packs.join(name).into())
        .collect()
}

fn damage(path: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn a_damaged_pack_is_named_and_packed_again() {
    let scene = Scene::new();
    for number in 0..8 {
        scene.write(&format!("{number}"), noise(number, 700_000));
    }
    let packed = scene.pack();
    let [pack] = &pack_files(&scene)[..] else {
        panic!("one pack");
    };
    let whole = scene.stream(&packed.tree, &[]);
    damage(pack, 1_000_000);
    let error = scene
        .bundles()
        .stream(&packed.tree, &[], &mut Vec::new())
        .unwrap_err();
    assert!(matches!(error, BundleError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains(pack.to_str().unwrap()),
        "{error}"
    );
    // It is known from now on, and what the rest of the pack holds stays.
    let error = scene
        .bundles()
        .stream(&packed.tree, &[], &mut Vec::new())
        .unwrap_err();
    assert!(
        matches!(error, BundleError::Lost { files: 1, .. }),
        "{error}"
    );
    let again = scene.pack();
    assert_eq!(again.tree, packed.tree);
    assert!(
        (700_000..1_500_000).contains(&again.written),
        "{}",
        again.written
    );
    assert!(scene.stream(&packed.tree, &[]) == whole);

    // Without its index nothing of a pack can be read.
    let all = pack_files(&scene);
    for pack in &all {
        damage(pack, fs::metadata(pack).unwrap().len() - 30);
    }
    let error = scene
        .bundles()
        .stream(&packed.tree, &[], &mut Vec::new())
        .unwrap_err();
    assert!(
        matches!(error, BundleError::Lost { files: 8, .. }),
        "{error}"
    );
    assert_eq!(scene.pack().tree, packed.tree);
    assert!(scene.stream(&packed.tree, &[]) == whole);
    // Cut, and gone.
    for pack in pack_files(&scene) {
        let file = fs::File::options().write(true).open(pack).unwrap();
        file.set_len(500_000).unwrap();
    }
    scene.pack();
    assert!(scene.stream(&packed.tree, &[]) == whole);
    for pack in pack_files(&scene) {
        fs::remove_file(pack).unwrap();
    }
    scene.pack();
    assert!(scene.stream(&packed.tree, &[]) == whole);
}

#[test]
fn a_damaged_list_is_named_and_written_again() {
    let scene = Scene::new();
    scene.write("a", "text");
    let packed = scene.pack();
    let list = scene.at(&format!("home/bundles/manifests/{}", packed.tree));
    damage(list.as_std_path(), 30);
    let error = scene.bundles().manifest(&packed.tree).unwrap_err();
    assert!(error.to_string().contains(list.as_str()), "{error}");
    assert_eq!(scene.pack().tree, packed.tree);
    assert!(scene.bundles().manifest(&packed.tree).unwrap().is_some());
}

#[test]
fn a_damaged_cache_costs_only_time() {
    let scene = Scene::new();
    scene.write("a", "text");
    let packed = scene.pack();
    let cache = scene.at("home/bundles/cache");
    for name in names(cache.as_std_path()) {
        fs::write(cache.join(name), "nonsense").unwrap();
    }
    assert_eq!(scene.pack().tree, packed.tree);
}

#[test]
fn a_damaged_tree_is_named_and_unpacked_again() {
    let scene = Scene::new();
    scene.write("a/one", "text");
    scene.write("a/two", "more");
    std::os::unix::fs::symlink("one", scene.code().join("a/link")).unwrap();
    let packed = scene.pack();
    let manifest = scene.bundles().manifest(&packed.tree).unwrap().unwrap();
    let tree = scene.bundles().unpack(&packed.tree).unwrap();
    let one = tree.join("a/one");
    let writable = || fs::set_permissions(&one, PermissionsExt::from_mode(0o644)).unwrap();
    let changes: [(&str, &dyn Fn()); 7] = [
        ("`a/one` was changed", &|| {
            writable();
            fs::write(&one, "evil").unwrap();
        }),
        ("`a/one` was changed", &|| {
            fs::set_permissions(&one, PermissionsExt::from_mode(0o755)).unwrap();
        }),
        ("`a/one` is missing", &|| fs::remove_file(&one).unwrap()),
        ("`a/link` is missing", &|| {
            fs::remove_dir_all(tree.join("a")).unwrap()
        }),
        ("`b` is there and does not belong", &|| {
            fs::write(tree.join("b"), "").unwrap()
        }),
        ("`a/three` is there and does not belong", &|| {
            fs::create_dir(tree.join("a/three")).unwrap();
        }),
        ("`a/link` was changed", &|| {
            fs::remove_file(tree.join("a/link")).unwrap();
            std::os::unix::fs::symlink("two", tree.join("a/link")).unwrap();
        }),
    ];
    for (words, change) in changes {
        change();
        let damage = verify(tree.as_std_path(), &manifest, false).unwrap_err();
        assert_eq!(damage.to_string(), words);
        if !matches!(damage, Damage::Extra(_)) && !words.contains("link") {
            let error = link(tree.as_std_path(), scene.at("job").as_std_path()).unwrap_err();
            assert!(matches!(error, LinkError::Damaged(..)), "{error}");
            assert!(error.to_string().contains("a/one"), "{error}");
            assert!(!scene.at("job").exists());
        }
        assert_eq!(scene.bundles().unpack(&packed.tree).unwrap(), tree);
        assert_eq!(contents(tree.as_std_path()), contents(&scene.code()));
    }
    // Other bytes with the old time: only reading them shows it.
    writable();
    let time = fs::metadata(&one).unwrap().modified().unwrap();
    fs::write(&one, "evil").unwrap();
    fs::File::open(&one).unwrap().set_modified(time).unwrap();
    assert!(verify(tree.as_std_path(), &manifest, false).is_ok());
    assert!(matches!(
        verify(tree.as_std_path(), &manifest, true),
        Err(Damage::Changed(_))
    ));
}

#[test]
fn what_is_not_there_is_said() {
    let scene = Scene::new();
    let tree = mizzen_agent::bundle::TreeHash::of(b"");
    assert!(scene.bundles().manifest(&tree).unwrap().is_none());
    for error in [
        scene
            .bundles()
            .stream(&tree, &[], &mut Vec::new())
            .unwrap_err(),
        scene.bundles().unpack(&tree).unwrap_err(),
    ] {
        assert!(error.to_string().contains("is not kept in"), "{error}");
    }
    let error = link(&scene.tree_at_place(&tree), scene.at("job").as_std_path()).unwrap_err();
    assert!(matches!(error, LinkError::NoTree(..)), "{error}");
}
