//! Disks that are full. They are small file systems in memory, which only root may mount.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use mizzen_agent::bundle::{ReceiveError, receive};
use mizzen_core::packager::PackError;
use mizzen_core::packager::bundle::BundleError;

use crate::support::{Scene, contents, names, noise};

/// A small file system; taken away at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and a word about it, where that can't be done; in CI that is a failure.
    fn mount(place: PathBuf) -> Option<SmallDisk> {
        if !nix::unistd::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "tests of full disks need root"
            );
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: mounting a small disk needs root"
            );
            return None;
        }
        std::fs::create_dir_all(&place).unwrap();
        let disk = SmallDisk(place);
        disk.mount_with("size=4m,mode=0700");
        Some(disk)
    }

    fn mount_with(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "mizzen-test"]);
        assert!(mount.arg(&self.0).status().unwrap().success());
    }

    fn grow(&self) {
        self.mount_with("remount,size=64m");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing can be done about an error here.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn scene() -> Scene {
    let scene = Scene::new();
    for number in 0..8 {
        scene.write(&format!("{number}"), noise(number, 900_000));
    }
    scene
}

#[test]
fn a_full_place_says_so_and_keeps_nothing() {
    let scene = scene();
    let tree = scene.pack().tree;
    let stream = scene.stream(&tree, &[]);
    let Some(disk) = SmallDisk::mount(scene.place()) else {
        return;
    };
    let error = receive(stream.as_slice(), &scene.place()).unwrap_err();
    assert!(
        matches!(
            error,
            ReceiveError::Full {
                needed: 7_200_000,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(names(&scene.place()), [""; 0]);
    disk.grow();
    receive(stream.as_slice(), &scene.place()).unwrap();
    assert_eq!(
        contents(&scene.tree_at_place(&tree)),
        contents(&scene.code())
    );
}

#[test]
fn a_full_home_says_so_and_keeps_nothing() {
    let scene = scene();
    let Some(disk) = SmallDisk::mount(scene.at("home").into()) else {
        return;
    };
    let error = scene.try_pack().unwrap_err();
    assert!(
        matches!(error, PackError::Bundle(BundleError::Full { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("mizzen gc"), "{error}");
    for folder in ["packs", "manifests", "tmp", "cache"] {
        assert_eq!(
            names(scene.at(&format!("home/bundles/{folder}")).as_std_path()),
            [""; 0]
        );
    }
    disk.grow();
    let tree = scene.pack().tree;
    scene.send(&tree);
    assert_eq!(
        contents(&scene.tree_at_place(&tree)),
        contents(&scene.code())
    );
}
