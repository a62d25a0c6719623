//! Exports that are no exports: nothing of them gets anywhere.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "sshd/place.rs"]
mod place;
mod sshd;

use std::collections::BTreeMap;
use std::fs;

use camino::Utf8PathBuf;
use mizzen_core::context::Context;
use mizzen_core::packager::bundle::Bundles;
use mizzen_core::packager::{Item, ItemKind, Listing, Packager};
use mizzen_core::store::Store;
use mizzen_core::submit::archive::{ArchiveError, Header, HeaderEntry, import};
use serde_json::json;

struct Scene {
    folder: Utf8PathBuf,
    context: Context,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

type Entries = Vec<(String, tar::EntryType, Vec<u8>)>;

impl Scene {
    fn new(test: &str) -> Scene {
        let base = Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap();
        let folder = base.join(format!("mz-archive-{test}-{}", std::process::id()));
        fs::create_dir_all(folder.join("home")).unwrap();
        Scene {
            context: place::context(&folder),
            folder,
        }
    }

    /// Writes an archive byte by byte: names are not checked as a builder would.
    fn archive(&self, header: &Header, entries: &Entries) -> Utf8PathBuf {
        let mut tar = Vec::new();
        let text = serde_json::to_vec(header).unwrap();
        let first = ("header.json".to_owned(), tar::EntryType::Regular, text);
        let numbered = entries
            .iter()
            .enumerate()
            .map(|(number, (_, kind, bytes))| (number.to_string(), *kind, bytes.clone()));
        for (name, kind, bytes) in std::iter::once(first).chain(numbered) {
            let mut tar_header = tar::Header::new_gnu();
            let field = &mut tar_header.as_gnu_mut().unwrap().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            tar_header.set_entry_type(kind);
            if kind == tar::EntryType::Symlink {
                tar_header.set_link_name("/etc/passwd").unwrap();
            }
            tar_header.set_mode(0o644);
            tar_header.set_size(bytes.len() as u64);
            tar_header.set_cksum();
            tar.extend_from_slice(tar_header.as_bytes());
            tar.extend_from_slice(&bytes);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.resize(tar.len() + 1024, 0);
        let path = self.folder.join("hostile.mizzen");
        fs::write(&path, zstd::encode_all(&tar[..], 1).unwrap()).unwrap();
        path
    }

    /// Imports it; the error's words. Nothing may be left in the home but an empty store.
    fn refused(&self, header: &Header, entries: &Entries) -> String {
        let path = self.archive(header, entries);
        let mut store = Store::open(&self.context.home).unwrap();
        let error = import(&self.context, &mut store, &path).unwrap_err();
        assert!(matches!(error, ArchiveError::Archive { .. }), "{error:?}");
        assert!(store.experiments(&Default::default()).unwrap().is_empty());
        let experiments = self.context.home.join("experiments");
        assert_eq!(fs::read_dir(experiments).map_or(0, Iterator::count), 0);
        for folder in ["manifests", "packs", "trees"] {
            let folder = self.context.home.join("bundles").join(folder);
            assert_eq!(fs::read_dir(folder).map_or(0, Iterator::count), 0);
        }
        assert!(!self.folder.join("escaped").exists());
        error.to_string()
    }
}

/// An archive that would be taken, but for what a test changes.
fn whole() -> (Header, Entries) {
    let plan = json!({
        "title": "t", "on_failure": "continue", "executors": {}, "tasks": [], "groups": [], "jobs": [], "files": [],
    });
    let entries: Entries = [
        ("record.json", json!({ "document": {} }).to_string()),
        ("plan.json", plan.to_string()),
        (
            "events.jsonl",
            json!([1, { "finished": { "state": "SUCCEEDED" } }]).to_string() + "\n",
        ),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), tar::EntryType::Regular, text.into_bytes()))
    .collect();
    (header(&entries), entries)
}

fn header(entries: &Entries) -> Header {
    Header {
        version: 1,
        id: "abcdefghjk".to_owned(),
        title: "t".to_owned(),
        created: 0,
        host: "elsewhere".to_owned(),
        mizzen: "0.1.0".to_owned(),
        entries: entries
            .iter()
            .map(|(path, _, bytes)| HeaderEntry {
                path: path.clone(),
                size: bytes.len() as u64,
                hash: blake3::hash(bytes).to_hex().to_string(),
            })
            .collect(),
    }
}

#[test]
fn the_whole_one_is_taken() {
    let scene = Scene::new("whole");
    let (header, entries) = whole();
    let path = scene.archive(&header, &entries);
    let mut store = Store::open(&scene.context.home).unwrap();
    let imported = import(&scene.context, &mut store, &path).unwrap();
    assert_eq!(
        (imported.id.as_str(), imported.known),
        ("abcdefghjk", false)
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let scene = Scene::new("names");
    for name in [
        "/escaped",
        "../escaped",
        "files/../../../escaped",
        "files/job/attempts/../../../../escaped",
        "files/./code.patch",
        "files//code.patch",
        "files/.ssh/attempts/1/x",
        "files/job/other",
        "mizzen.db",
        "bundles/nonsense",
        "bundles/../escaped",
        "record.json",
    ] {
        let (_, mut entries) = whole();
        entries.push((name.to_owned(), tar::EntryType::Regular, b"x".to_vec()));
        let words = scene.refused(&header(&entries), &entries);
        assert!(words.contains("it holds"), "{name}: {words}");
    }
}

#[test]
fn links_and_what_is_not_named_are_refused() {
    let scene = Scene::new("links");
    let (honest, entries) = whole();
    let extra = |kind| {
        let mut entries = entries.clone();
        entries.push((
            "files/job/attempts/1/rank-0.log".to_owned(),
            kind,
            Vec::new(),
        ));
        entries
    };
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Fifo,
    ] {
        let entries = extra(kind);
        let words = scene.refused(&header(&entries), &entries);
        assert!(words.contains("not what its header says"), "{words}");
    }
    let words = scene.refused(&honest, &extra(tar::EntryType::Regular));
    assert!(words.contains("more than its header names"), "{words}");
}

#[test]
fn what_is_damaged_missing_or_too_much_is_refused() {
    let scene = Scene::new("damaged");
    let (honest, entries) = whole();
    let mut damaged = entries.clone();
    damaged[0].2[0] ^= 1;
    assert!(scene.refused(&honest, &damaged).contains("is damaged"));
    let missing = entries[..2].to_vec();
    assert!(scene.refused(&honest, &missing).contains("is missing"));
    let mut bomb = honest.clone();
    bomb.entries[0].size = 1 << 50;
    assert!(scene.refused(&bomb, &entries).contains("claim to hold"));
    let mut newer = honest.clone();
    newer.version = 9;
    assert!(scene.refused(&newer, &entries).contains("use a newer one"));
    let path = scene.folder.join("hostile.mizzen");
    let mut store = Store::open(&scene.context.home).unwrap();
    for bytes in [&b""[..], b"PK\x03\x04", &[0; 4096]] {
        fs::write(&path, bytes).unwrap();
        assert!(import(&scene.context, &mut store, &path).is_err());
    }
}

#[test]
fn members_that_speak_of_others_are_not_read() {
    let scene = Scene::new("long");
    let (_, mut entries) = whole();
    // A name of a mebibyte for the entry behind it, and further headers in the ways of POSIX.
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
        tar::EntryType::XGlobalHeader,
    ] {
        entries[0].1 = kind;
        let words = scene.refused(&header(&entries), &entries);
        assert!(words.contains("not what its header says"), "{words}");
    }
}

#[test]
fn what_had_not_ended_is_refused() {
    let scene = Scene::new("ended");
    for events in [
        "",
        "[1, {\"supervised\": {\"generation\": 1, \"holder\": \"x\"}}]\n",
    ] {
        let (_, mut entries) = whole();
        entries[2].2 = events.as_bytes().to_vec();
        let words = scene.refused(&header(&entries), &entries);
        assert!(words.contains("had not ended"), "{words}");
    }
}

#[test]
fn records_plans_and_bundles_of_another_kind_are_refused() {
    let scene = Scene::new("kinds");
    for record in ["[]", "null", "7", "\"text\""] {
        let (_, mut entries) = whole();
        entries[0].2 = record.as_bytes().to_vec();
        scene.refused(&header(&entries), &entries);
    }
    let tree = "0".repeat(64);
    let hostile = [
        ("/dev/zero", ""),
        ("../../x", ""),
        ("nonsense", ""),
        (tree.as_str(), "../.."),
    ];
    for (tree, inside) in hostile {
        let (_, mut entries) = whole();
        let mut plan: serde_json::Value = serde_json::from_slice(&entries[1].2).unwrap();
        plan["code"] =
            json!({ "local": { "packager": "none", "tree": tree, "root": "/", "inside": inside } });
        entries[1].2 = plan.to_string().into_bytes();
        scene.refused(&header(&entries), &entries);
    }
    // A whole bundle under another tree's name.
    let bundles = Bundles::open(&scene.folder.join("elsewhere")).unwrap();
    let listing = Listing {
        root: scene.folder.clone(),
        items: vec![Item {
            path: b"a".to_vec(),
            kind: ItemKind::Folder,
        }],
        ..Listing::default()
    };
    let packed = bundles
        .pack(&listing, &Packager::default().limits())
        .unwrap();
    let mut bundle = Vec::new();
    bundles.stream(&packed.tree, &[], &mut bundle).unwrap();
    let (_, mut entries) = whole();
    let mut plan: serde_json::Value = serde_json::from_slice(&entries[1].2).unwrap();
    plan["code"] = json!({ "local": { "packager": "working_tree", "tree": tree, "root": "/" } });
    entries[1].2 = plan.to_string().into_bytes();
    entries.push((format!("bundles/{tree}"), tar::EntryType::Regular, bundle));
    let words = scene.refused(&header(&entries), &entries);
    assert!(words.contains("holds the tree"), "{words}");
}

#[test]
fn what_a_killed_import_has_left_is_taken_away() {
    let scene = Scene::new("killed");
    let (header, entries) = whole();
    let path = scene.archive(&header, &entries);
    let left = scene.context.home.join("experiments/t/abcdefghjk");
    fs::create_dir_all(&left).unwrap();
    let mut store = Store::open(&scene.context.home).unwrap();
    let taken = import(&scene.context, &mut store, &path).unwrap_err();
    assert!(
        matches!(taken, ArchiveError::Taken(_)),
        "somebody's: {taken:?}"
    );
    let record = json!({ "imported": { "from": "mizzen", "id": "abcdefghjk" } });
    fs::write(left.join("experiment.json"), record.to_string()).unwrap();
    import(&scene.context, &mut store, &path).unwrap();
}

#[test]
fn names_in_the_plan_are_checked() {
    let scene = Scene::new("plan");
    for (title, id) in [
        ("../escaped", "abcdefghjk"),
        (".", "abcdefghjk"),
        ("", "abcdefghjk"),
        ("t", "../escaped"),
    ] {
        let (_, mut entries) = whole();
        let mut plan: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&entries[1].2).unwrap();
        plan.insert("title".to_owned(), title.into());
        entries[1].2 = serde_json::to_vec(&plan).unwrap();
        let mut header = header(&entries);
        header.title = title.to_owned();
        header.id = id.to_owned();
        scene.refused(&header, &entries);
    }
}

#[test]
fn plans_that_do_not_fit_together_are_refused() {
    let task = |first_job: u32, jobs: u32| json!({ "name": "a", "first_job": first_job, "jobs": jobs, "executor": "local", "after": [] });
    let mut second = task(0, 0);
    second["group"] = json!(3);
    let mut third = task(0, 0);
    third["after"] = json!([{ "task": 7, "when": "ok" }]);
    let group = json!({ "name": "g", "jobs": [5], "leader": null });
    for (tasks, groups, wanted) in [
        (json!([task(4, 0)]), json!([]), "does not fit"),
        (json!([task(0, 2)]), json!([]), "its tasks have 2 jobs"),
        (json!([second]), json!([]), "does not fit"),
        (json!([third]), json!([]), "does not fit"),
        (json!([]), json!([group]), "has jobs that are none"),
    ] {
        let scene = Scene::new("fit");
        let (_, mut entries) = whole();
        let mut plan: serde_json::Value = serde_json::from_slice(&entries[1].2).unwrap();
        plan["tasks"] = tasks;
        plan["groups"] = groups;
        entries[1].2 = serde_json::to_vec(&plan).unwrap();
        let said = scene.refused(&header(&entries), &entries);
        assert!(said.contains(wanted), "{said}");
    }
}
