//! Several at once, and some of them killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8PathBuf;
use mizzen_agent::bundle::{TreeHash, receive};
use mizzen_core::packager::PackError;

use crate::support::{LIMITS, Scene, contents, listing, names, noise, until};

/// What the child of a test does: the folder that it works in.
const CHILD: &str = "MIZZEN_TEST_BUNDLE_CHILD";

/// Not a test of its own: what the others start, and kill.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let scene = std::mem::ManuallyDrop::new(Scene {
        folder: Utf8PathBuf::from_path_buf(folder.into()).unwrap(),
    });
    if scene.at("receives").exists() {
        receive(std::io::stdin().lock(), &scene.place()).unwrap();
    } else {
        scene.pack();
    }
}

fn start(scene: &Scene) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "together::child", "--nocapture"])
        .env(CHILD, &scene.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Says that it is over, also when a test fails: what runs beside it would go on for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn threads_and_processes_pack_at_once() {
    let scene = Scene::new();
    for number in 0..200 {
        scene.write(
            &format!("{}/{number}", number % 9),
            noise(number % 70, 30_000),
        );
    }
    scene.write("large", noise(1, 4 << 20));
    let children: Vec<Child> = (0..3).map(|_| start(&scene)).collect();
    let trees: Vec<TreeHash> = std::thread::scope(|scope| {
        let packing: Vec<_> = (0..3).map(|_| scope.spawn(|| scene.pack().tree)).collect();
        packing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    // All at one place, at once.
    let stream = scene.stream(&trees[0], &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| receive(stream.as_slice(), &scene.place()).unwrap());
        }
    });
    assert_eq!(names(&scene.place()), [trees[0].to_string()]);
    assert_eq!(
        contents(&scene.tree_at_place(&trees[0])),
        contents(&scene.code())
    );
    assert_eq!(names(scene.at("home/bundles/tmp").as_std_path()), [""; 0]);
}

#[test]
fn gc_and_packing_keep_out_of_each_others_way() {
    let scene = Scene::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                scene.bundles().gc(&BTreeSet::new(), false).unwrap();
            }
        });
        let _over = Over(&over);
        for round in 0..30 {
            scene.write(&format!("{}", round % 5), noise(round, 40_000));
            let tree = scene.pack().tree;
            scene.stream(&tree, &[]);
        }
    });
}

#[test]
fn a_killed_packer_leaves_nothing_that_matters() {
    let scene = Scene::new();
    for number in 0..24 {
        scene.write(&format!("{number}"), noise(number, 4 << 20));
    }
    let tmp = scene.at("home/bundles/tmp");
    let mut child = start(&scene);
    until("a part is written", || {
        let sizes = names(tmp.as_std_path()).into_iter().filter_map(|name| {
            let found = fs::metadata(tmp.join(name)).ok()?;
            Some(found.len())
        });
        sizes.max().unwrap_or(0) > 1 << 20
    });
    child.kill().unwrap();
    let killed = !child.wait().unwrap().success();
    assert_eq!(names(tmp.as_std_path()).len(), usize::from(killed));
    let tree = scene.pack().tree;
    assert_eq!(names(tmp.as_std_path()), [""; 0]);
    scene.send(&tree);
    assert_eq!(
        contents(&scene.tree_at_place(&tree)),
        contents(&scene.code())
    );
}

#[test]
fn a_killed_receiver_leaves_nothing_that_matters() {
    let scene = Scene::new();
    scene.write("one", noise(1, 3 << 20));
    scene.write("two", noise(2, 3 << 20));
    let tree = scene.pack().tree;
    let stream = scene.stream(&tree, &[]);
    fs::write(scene.at("receives"), "").unwrap();
    let mut child = start(&scene);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&stream[..stream.len() / 2]).unwrap();
    stdin.flush().unwrap();
    let staged = || {
        names(&scene.place())
            .into_iter()
            .find(|name| name.starts_with(".incoming-"))
    };
    until("a file is unpacked", || {
        let written = |name| fs::metadata(scene.place().join(name).join("tree/one"));
        staged().is_some_and(|name| written(name).is_ok_and(|found| found.len() > 0))
    });
    // It is at it: nobody takes it away.
    scene.send(&tree);
    let name = staged().unwrap();
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(staged(), Some(name));
    scene.write("three", "more");
    let next = scene.pack().tree;
    scene.send(&next);
    let mut expected = [tree.to_string(), next.to_string()];
    expected.sort();
    assert_eq!(names(&scene.place()), expected);
}

#[test]
fn a_file_that_changes_all_the_time_is_named() {
    let scene = Scene::new();
    for size in [200_000, 3 << 20] {
        scene.write("steady", noise(1, size));
        scene.write("busy", noise(2, size));
        let list = listing(&scene.code());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let busy = fs::File::options()
                    .append(true)
                    .open(scene.code().join("busy"))
                    .unwrap();
                while !over.load(Ordering::Relaxed) {
                    (&busy).write_all(b"x").unwrap();
                }
            });
            let _over = Over(&over);
            let mut seen = false;
            until("it is noticed", || {
                match scene.bundles().pack(&list, &LIMITS) {
                    Err(PackError::Changing { path }) => {
                        assert_eq!(path, "busy");
                        seen = true;
                    }
                    // Between two writes: what was read was there at one time.
                    packed => drop(packed.unwrap()),
                }
                seen
            });
        });
        let tree = scene.pack().tree;
        scene.send(&tree);
        assert_eq!(
            contents(&scene.tree_at_place(&tree)),
            contents(&scene.code())
        );
    }
}
