//! What nobody needs goes, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use mizzen_agent::bundle::TreeHash;

use crate::support::{Scene, names, noise, set_age};

const HOUR: Duration = Duration::from_hours(1);

/// Packs the code, as of an hour ago.
fn packed_before(scene: &Scene) -> TreeHash {
    let tree = scene.pack().tree;
    age(scene, &tree);
    tree
}

fn age(scene: &Scene, tree: &TreeHash) {
    let list = scene.at(&format!("home/bundles/manifests/{tree}"));
    set_age(list.as_std_path(), HOUR);
}

fn packs(scene: &Scene) -> Vec<String> {
    names(scene.at("home/bundles/packs").as_std_path())
}

#[test]
fn what_is_needed_stays_and_the_rest_goes() {
    let scene = Scene::new();
    let bundles = scene.bundles();
    scene.write("shared", noise(0, 3 << 20));
    scene.write("one", noise(1, 3 << 20));
    let first = packed_before(&scene);
    scene.write("one", noise(2, 2 << 20));
    let second = packed_before(&scene);
    fs::remove_file(scene.code().join("one")).unwrap();
    fs::remove_file(scene.code().join("shared")).unwrap();
    scene.write("other", noise(3, 2 << 20));
    let third = packed_before(&scene);
    scene.write("other", noise(4, 2 << 20));
    let fresh = scene.pack().tree;
    let stream = scene.stream(&second, &[]);
    age(&scene, &second);
    assert_eq!(packs(&scene).len(), 4);
    assert_eq!(
        bundles
            .known()
            .unwrap()
            .iter()
            .map(|(tree, _)| *tree)
            .collect::<BTreeSet<_>>(),
        BTreeSet::from([first, second, third, fresh])
    );
    assert_eq!(bundles.known().unwrap()[0].0, fresh);

    let keep = BTreeSet::from([second]);
    let before = packs(&scene);
    let planned = bundles.gc(&keep, true).unwrap();
    assert_eq!(packs(&scene), before, "nothing is done yet");
    assert_eq!(bundles.known().unwrap().len(), 4);
    let used = |tree: &TreeHash| {
        let known = bundles.known().unwrap();
        known
            .into_iter()
            .find(|(known, _)| known == tree)
            .unwrap()
            .1
    };
    let last_use = used(&second);
    let freed = bundles.gc(&keep, false).unwrap();
    assert_eq!(freed, planned);
    assert_eq!(freed.trees, 2);
    // `first`'s pack has lost half of what is in it, `third`'s all.
    assert!(freed.bytes > 5 << 20, "{freed:?}");
    assert_eq!(packs(&scene).len(), 3);
    assert!(scene.stream(&second, &[]) == stream);
    assert_eq!(used(&second), last_use);
    assert!(bundles.manifest(&fresh).unwrap().is_some());
    scene.stream(&fresh, &[]);
    assert!(bundles.manifest(&first).unwrap().is_none());
    assert_eq!(bundles.gc(&keep, false).unwrap().items, []);
    // Kept as before: nothing is packed anew.
    assert_eq!(scene.pack().written, 0);
}

#[test]
fn many_small_packs_become_one() {
    let scene = Scene::new();
    for number in 0..40 {
        scene.write(&format!("{number}"), noise(number, 500));
        scene.pack();
    }
    let tree = packed_before(&scene);
    let stream = scene.stream(&tree, &[]);
    let keep: BTreeSet<_> = scene
        .bundles()
        .known()
        .unwrap()
        .iter()
        .map(|(tree, _)| *tree)
        .collect();
    assert_eq!(packs(&scene).len(), 40);
    scene.bundles().gc(&keep, false).unwrap();
    assert_eq!(packs(&scene).len(), 1);
    for tree in &keep {
        scene.stream(tree, &[]);
    }
    assert!(scene.stream(&tree, &[]) == stream);
    assert_eq!(scene.pack().written, 0);
}

#[test]
fn a_tiny_pack_is_not_written_again() {
    let scene = Scene::new();
    scene.write("a", "b");
    let tree = packed_before(&scene);
    let keep = BTreeSet::from([tree]);
    let before = packs(&scene);
    let freed = scene.bundles().gc(&keep, false).unwrap();
    assert_eq!((freed.packs, freed.items), (0, Vec::new()));
    assert_eq!(packs(&scene), before);
}

#[test]
fn leftovers_and_what_is_damaged_go_as_well() {
    let scene = Scene::new();
    scene.write("a", noise(1, 100_000));
    let tree = packed_before(&scene);
    let unpacked = scene.bundles().unpack(&tree).unwrap();
    set_age(unpacked.parent().unwrap().join("used").as_std_path(), HOUR);
    let tmp = scene.at("home/bundles/tmp");
    fs::write(tmp.join("left"), "half a pack").unwrap();
    let held = fs::File::create(tmp.join("held")).unwrap();
    held.lock().unwrap();
    let freed = scene.bundles().gc(&BTreeSet::from([tree]), false).unwrap();
    assert_eq!(freed.items.len(), 1, "{freed:?}");
    assert_eq!(names(tmp.as_std_path()), ["held"]);
    assert!(unpacked.exists());

    fs::remove_dir_all(scene.code()).unwrap();
    let freed = scene.bundles().gc(&BTreeSet::new(), false).unwrap();
    assert_eq!((freed.trees, freed.packs), (1, 1));
    assert!(
        freed.bytes > 200_000,
        "the pack and the unpacked tree: {freed:?}"
    );
    for folder in ["packs", "manifests", "trees", "cache"] {
        assert_eq!(
            names(scene.at(&format!("home/bundles/{folder}")).as_std_path()),
            [""; 0]
        );
    }
}
