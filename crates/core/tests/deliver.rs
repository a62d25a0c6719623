//! Trees of code to a place: once, only what differs, mended where damaged, and without the agent too.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "sshd/place.rs"]
mod place;
mod sshd;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8PathBuf;
use mizzen_agent::bundle::TreeHash;
use mizzen_core::context::Agent;
use mizzen_core::packager::bundle::Bundles;
use mizzen_core::packager::{Packager, list};
use mizzen_core::tunnel::{DeliverError, LocalTunnel, Tunnel, deliver};
use place::{Place, context, runtime};

/// A home with a store of trees, a folder of code, a place that is a folder of this machine.
struct Scene {
    folder: Utf8PathBuf,
    context: mizzen_core::context::Context,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    fn new(test: &str) -> Scene {
        let base = Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap();
        let folder = base.join(format!("mz-deliver it's {test}-{}", std::process::id()));
        fs::create_dir_all(folder.join("code/src")).unwrap();
        let scene = Scene {
            context: context(&folder),
            folder,
        };
        for number in 0..200 {
            scene.write(&format!("src/f{number}"), &noise(number, 4_000));
        }
        scene
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.folder.join("code").join(path), bytes).unwrap();
    }

    fn bundles(&self) -> Bundles {
        Bundles::open(&self.context.home).unwrap()
    }

    fn pack(&self) -> TreeHash {
        let packager = Packager::default();
        let listing = list(&packager, &self.folder.join("code"), &self.context).unwrap();
        let packed = self.bundles().pack(&listing, &packager.limits()).unwrap();
        packed.tree
    }

    fn there(&self) -> Utf8PathBuf {
        self.folder.join("place/.mizzen/bundles")
    }

    fn tunnel(&self) -> std::sync::Arc<dyn Tunnel> {
        let job_dir = Some(self.folder.join("place"));
        LocalTunnel { job_dir }.connect(&self.context)
    }

    fn deliver(&self, tree: &TreeHash) -> Result<u64, DeliverError> {
        let tunnel = self.tunnel();
        runtime().block_on(deliver(
            tunnel.as_ref(),
            &self.bundles(),
            tree,
            &self.there(),
        ))
    }

    fn read(&self, tree: &TreeHash, path: &str) -> Vec<u8> {
        fs::read(self.there().join(tree.to_string()).join("tree").join(path)).unwrap()
    }
}

/// Bytes that can't be compressed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn only_what_differs_is_sent() {
    let scene = Scene::new("differs");
    let first = scene.pack();
    let whole = scene.deliver(&first).unwrap();
    assert!(whole > 800_000, "{whole} bytes for 800 kB of noise");
    assert_eq!(scene.deliver(&first).unwrap(), 0, "it is there");
    scene.write("src/f7", &noise(7_000, 10_000));
    let second = scene.pack();
    let sent = scene.deliver(&second).unwrap();
    assert!((10_000..20_000).contains(&sent), "{sent} bytes for 10 kB");
    assert_eq!(scene.read(&second, "src/f7"), noise(7_000, 10_000));
    assert_eq!(scene.read(&second, "src/f8"), noise(8, 4_000));
    assert_eq!(scene.read(&first, "src/f7"), noise(7, 4_000));
}

#[test]
fn a_damaged_base_is_not_built_on() {
    let scene = Scene::new("damaged");
    let first = scene.pack();
    scene.deliver(&first).unwrap();
    let damaged = scene.there().join(first.to_string()).join("tree/src/f9");
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, "somebody else's").unwrap();
    scene.write("src/f7", b"changed");
    let second = scene.pack();
    scene.deliver(&second).unwrap();
    assert_eq!(scene.read(&second, "src/f9"), noise(9, 4_000));
    // The damaged one is mended when it is asked for.
    assert!(scene.deliver(&first).unwrap() > 0);
    assert_eq!(scene.read(&first, "src/f9"), noise(9, 4_000));
}

#[test]
fn what_is_not_kept_here_is_said() {
    let scene = Scene::new("unknown");
    let tree = scene.pack();
    fs::remove_dir_all(scene.context.home.join("bundles")).unwrap();
    let error = scene.deliver(&tree).unwrap_err().to_string();
    assert!(error.contains(&tree.short()), "{error}");
    let left = fs::read_dir(scene.there()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "nothing is left there");
}

#[test]
fn where_the_agent_does_not_run_the_tree_is_copied() {
    let mut scene = Scene::new("without");
    scene.write("run.sh", b"#!/bin/sh");
    let path = scene.folder.join("code/run.sh");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    scene.context.agent = Agent::Embedded(b"no program of this machine");
    let tree = scene.pack();
    assert!(scene.deliver(&tree).unwrap() > 800_000);
    assert_eq!(scene.deliver(&tree).unwrap(), 0);
    assert_eq!(scene.read(&tree, "src/f7"), noise(7, 4_000));
    let copied = scene.there().join(tree.to_string()).join("tree/run.sh");
    assert_eq!(place::mode(&copied) & 0o111, 0o111);
}

#[test]
fn it_is_the_same_by_ssh() {
    let Some(place) = Place::with("") else {
        return;
    };
    let scene = Scene::new("ssh");
    let tree = scene.pack();
    let there = place.folder().join("bundles it's");
    runtime().block_on(async {
        place.connect().await;
        let tunnel = place.open();
        let bundles = scene.bundles();
        let sent = deliver(tunnel.as_ref(), &bundles, &tree, &there)
            .await
            .unwrap();
        assert!(sent > 800_000, "{sent}");
        assert_eq!(
            deliver(tunnel.as_ref(), &bundles, &tree, &there)
                .await
                .unwrap(),
            0
        );
    });
    let copy = there.join(tree.to_string()).join("tree/src/f7");
    assert_eq!(fs::read(copy).unwrap(), noise(7, 4_000));
}
