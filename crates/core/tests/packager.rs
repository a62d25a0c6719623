//! What packagers select, on real repositories made by the real git.

mod packager_support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mizzen_core::packager::{Packager, position};
use packager_support::{GIT, Scene, TREE, everything, run, shown, submodules};

#[test]
fn the_working_tree_is_what_stands_there() {
    let scene = Scene::new("stands");
    scene.write("r/tracked.py", "one");
    scene.write("r/deleted.py", "gone");
    scene.write("r/.gitignore", "*.log\n/data\n");
    scene.write("r/run.sh", "#!/bin/sh");
    run(&scene.at("r/run.sh"));
    symlink("tracked.py", scene.at("r/link")).unwrap();
    symlink("nowhere", scene.at("r/dangling")).unwrap();
    scene.repository("r");
    scene.write("r/tracked.py", "changed");
    scene.write("r/sub dir/new \"file\".py", "new");
    scene.write("r/out.log", "ignored");
    scene.write("r/data/large", "ignored");
    fs::remove_file(scene.at("r/deleted.py")).unwrap();
    fs::create_dir_all(scene.at("r/empty/within")).unwrap();
    let odd = OsStr::from_bytes(b"odd\xff\nname");
    fs::write(scene.at("r").as_std_path().join(odd), "odd").unwrap();
    let before = everything(&scene.at("r"));
    assert_eq!(
        scene.tree(TREE, "r"),
        [
            ".gitignore: *.log\n/data",
            "dangling -> nowhere",
            "empty/within/",
            "link -> tracked.py",
            "odd\u{fffd}\nname: odd",
            "run.sh*: #!/bin/sh",
            "sub dir/new \"file\".py: new",
            "tracked.py: changed",
        ]
    );
    assert_eq!(
        everything(&scene.at("r")),
        before,
        "nothing is written into it"
    );
    // From a folder within it is the same tree.
    let packager: Packager = serde_json::from_str(TREE).unwrap();
    let within = position(&packager, &scene.at("r/sub dir"));
    assert_eq!(
        (within.root, within.inside.as_str()),
        (scene.at("r"), "sub dir")
    );
    assert_eq!(scene.tree(TREE, "r/sub dir"), scene.tree(TREE, "r"));
}

#[test]
fn mizzenignore_has_gits_rules_at_each_level() {
    let scene = Scene::new("ignore");
    for (path, text) in [
        ("f/a.py", "a"),
        ("f/data/x.bin", "x"),
        ("f/data/keep.bin", "keep"),
        ("f/src/b.py", "b"),
        ("f/src/b.tmp", "tmp"),
        ("f/.mizzenignore", "*.bin\n!keep.bin\n"),
        ("f/src/.mizzenignore", "*.tmp\n"),
    ] {
        scene.write(path, text);
    }
    let expected = [
        ".mizzenignore: *.bin\n!keep.bin",
        "a.py: a",
        "data/keep.bin: keep",
        "src/.mizzenignore: *.tmp",
        "src/b.py: b",
    ];
    assert_eq!(scene.tree(TREE, "f"), expected, "without git");
    scene.repository("f");
    assert_eq!(scene.tree(TREE, "f"), expected, "also what git tracks");
}

#[test]
fn a_folder_without_git_is_taken_whole() {
    let scene = Scene::new("plain");
    scene.write("f/a.py", "a");
    scene.write("f/.hidden", "h");
    scene.write("f/.gitignore", "*.o\n");
    scene.write("f/x.o", "object");
    fs::create_dir_all(scene.at("f/none")).unwrap();
    assert_eq!(
        scene.tree(TREE, "f"),
        [".gitignore: *.o", ".hidden: h", "a.py: a", "none/"]
    );
}

#[test]
fn a_merge_in_progress_a_detached_head_a_shallow_clone() {
    let scene = Scene::new("states");
    scene.write("r/a", "one\n");
    scene.repository("r");
    scene.git("r", &["checkout", "--quiet", "-b", "other"]);
    scene.write("r/a", "two\n");
    scene.commit("r");
    scene.git("r", &["checkout", "--quiet", "main"]);
    scene.write("r/a", "three\n");
    scene.commit("r");
    let merge = Command::new("git")
        .args([
            "-C",
            scene.at("r").as_str(),
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b",
        ])
        .args(["merge", "--quiet", "other"])
        .output()
        .unwrap();
    assert!(!merge.status.success(), "it must not merge by itself");
    let merging = scene.tree(TREE, "r");
    assert_eq!(merging.len(), 1);
    assert!(merging[0].contains("<<<<<<<"), "{merging:?}");
    let of_git = scene.list(GIT, "r").unwrap();
    assert_eq!(shown(&of_git), ["a: three"]);
    assert!(
        of_git.notes[0].text.contains("without 1 change (a)"),
        "{:?}",
        of_git.notes
    );

    scene.git("r", &["merge", "--abort"]);
    scene.git("r", &["checkout", "--quiet", "--detach", "other"]);
    assert_eq!(scene.tree(TREE, "r"), ["a: two"]);
    assert_eq!(scene.tree(GIT, "r"), ["a: two"]);
    let from = format!("file://{}", scene.at("r"));
    scene.git(
        ".",
        &[
            "clone", "--quiet", "--depth", "1", "--branch", "main", &from, "shallow",
        ],
    );
    assert_eq!(scene.tree(GIT, "shallow"), ["a: three"]);
    let old = scene.error(r#"{"kind":"git_archive","ref":"HEAD~1"}"#, "shallow");
    assert!(old.contains("there is no commit `HEAD~1`"), "{old}");
}

#[test]
fn a_bare_repository_has_archives_alone() {
    let scene = Scene::new("bare");
    scene.write("r/a", "one");
    scene.repository("r");
    scene.git(".", &["clone", "--quiet", "--bare", "r", "bare"]);
    assert_eq!(scene.tree(GIT, "bare"), ["a: one"]);
    assert!(scene.error(TREE, "bare").contains("bare repository"));
}

#[test]
fn without_git_it_is_said() {
    let mut scene = Scene::new("absent");
    scene.write("r/a", "one");
    scene.repository("r");
    let mut environment = (*scene.context.environment).clone();
    environment.insert("PATH".to_owned(), "/nowhere".to_owned());
    scene.context.environment = Arc::new(environment);
    for packager in [TREE, GIT] {
        let error = scene.error(packager, "r");
        assert!(error.contains("git is not installed"), "{error}");
    }
}

#[test]
fn what_cant_be_read_is_named() {
    let scene = Scene::new("unreadable");
    scene.write("f/a", "one");
    scene.write("f/closed/b", "two");
    fs::set_permissions(scene.at("f/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    if scene.at("f/closed").read_dir_utf8().is_ok() {
        // The superuser reads everything.
        return;
    }
    assert!(scene.error(TREE, "f").contains("closed"));
}

#[test]
fn submodules_come_at_the_commit_that_is_recorded() {
    let scene = Scene::new("submodules");
    submodules(&scene);
    scene.write("r/libs/inner/i", "later");
    scene.commit("r/libs/inner");
    scene.write("r/libs/inner/new", "new");
    let module = |path: &str, url: &str| {
        format!(
            "[submodule \"{path}\"]\n\tpath = {path}\n\turl = {}",
            scene.at(url)
        )
    };
    let top = format!(".gitmodules: {}", module("libs/inner", "inner"));
    let inner = format!("libs/inner/.gitmodules: {}", module("deep", "deep"));
    assert_eq!(
        scene.tree(GIT, "r"),
        [
            &top,
            "a: top",
            &inner,
            "libs/inner/deep/d: deep",
            "libs/inner/i: inner",
            "src/s: source",
        ]
    );
    // The working tree is what is checked out.
    assert_eq!(
        scene.tree(TREE, "r"),
        [
            &top,
            "a: top",
            &inner,
            "libs/inner/deep/d: deep",
            "libs/inner/i: later",
            "libs/inner/new: new",
            "src/s: source",
        ]
    );
    // Below a subpath they are at their place in it, and others are left out.
    assert_eq!(
        scene.tree(r#"{"kind":"git_archive","subpath":"libs"}"#, "r"),
        [
            format!("inner/.gitmodules: {}", module("deep", "deep")).as_str(),
            "inner/deep/d: deep",
            "inner/i: inner",
        ]
    );
    assert_eq!(
        scene.tree(r#"{"kind":"git_archive","subpath":"src/"}"#, "r"),
        ["s: source"]
    );
    assert_eq!(
        scene.tree(r#"{"kind":"git_archive","include_submodules":false}"#, "r"),
        [&top, "a: top", "libs/inner/", "src/s: source"]
    );
}

#[test]
fn a_submodule_that_is_not_here_is_named() {
    let scene = Scene::new("uninitialised");
    submodules(&scene);
    scene.git(".", &["clone", "--quiet", "r", "clone"]);
    let error = scene.error(GIT, "clone");
    assert!(
        error.contains("the submodule libs/inner is not here")
            && error.contains("git submodule update --init --recursive -- libs/inner"),
        "{error}"
    );
    let listing = scene.list(TREE, "clone").unwrap();
    assert!(shown(&listing).contains(&"libs/inner/".to_owned()));
    assert!(
        listing.notes[0].text.contains("libs/inner"),
        "{:?}",
        listing.notes
    );
}

#[test]
fn what_is_not_committed_is_left_out_aloud_or_refused() {
    let scene = Scene::new("dirty");
    scene.write("r/a", "one");
    scene.repository("r");
    assert!(scene.list(GIT, "r").unwrap().notes.is_empty());
    scene.write("r/a", "changed");
    scene.write("r/b", "new");
    let listing = scene.list(GIT, "r").unwrap();
    assert_eq!(shown(&listing), ["a: one"]);
    let note = &listing.notes[0];
    assert!(
        note.text
            .ends_with("without 1 change (a) and 1 new file (b)"),
        "{note:?}"
    );
    let changed = scene.error(
        r#"{"kind":"git_archive","check_uncommitted_changes":true}"#,
        "r",
    );
    assert!(
        changed.contains("1 change") && changed.contains("(a)"),
        "{changed}"
    );
    let untracked = scene.error(
        r#"{"kind":"git_archive","check_untracked_files":true}"#,
        "r",
    );
    assert!(
        untracked.contains("1 file") && untracked.contains("(b)"),
        "{untracked}"
    );
}

#[test]
fn archives_obey_attributes_and_keep_links_and_modes() {
    let scene = Scene::new("attributes");
    scene.write(
        "r/.gitattributes",
        "secret export-ignore\ntests export-ignore\n",
    );
    scene.write("r/secret", "no");
    scene.write("r/tests/t", "no");
    scene.write("r/run.sh", "run");
    run(&scene.at("r/run.sh"));
    symlink("../outside", scene.at("r/link")).unwrap();
    let odd = OsStr::from_bytes(b"odd\xff name");
    fs::write(scene.at("r").as_std_path().join(odd), "odd").unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    scene.write(&format!("r/{long}"), "long");
    scene.repository("r");
    assert_eq!(
        scene.tree(GIT, "r"),
        [
            ".gitattributes: secret export-ignore\ntests export-ignore".to_owned(),
            format!("{long}: long"),
            "link -> ../outside".to_owned(),
            "odd\u{fffd} name: odd".to_owned(),
            "run.sh*: run".to_owned(),
        ]
    );
}

#[test]
fn pointers_of_lfs_become_their_files() {
    let scene = Scene::new("lfs");
    let id = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 6\n");
    scene.write(
        "r/.gitattributes",
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    );
    scene.write("r/weights.bin", &pointer);
    scene.write("r/fixture.txt", &pointer);
    scene.repository("r");
    for packager in [GIT, TREE] {
        let answer = scene.list(packager, "r");
        let said = match answer {
            Ok(listing) => listing.notes[0].text.clone(),
            Err(error) => error.to_string(),
        };
        assert!(
            said.contains("weights.bin") && said.contains("pointer"),
            "{said}"
        );
    }
    scene.write(
        &format!("r/.git/lfs/objects/{}/{}/{id}", &id[..2], &id[2..4]),
        "hello\n",
    );
    for packager in [GIT, TREE] {
        let tree = scene.tree(packager, "r");
        assert_eq!(tree[2], "weights.bin: hello");
        assert!(
            tree[1].starts_with("fixture.txt: version"),
            "it is no file of LFS"
        );
    }
}

#[test]
fn hostile_names_of_commits_and_folders_are_refused() {
    let scene = Scene::new("hostile");
    scene.write("r/a", "one");
    scene.repository("r");
    for reference in [
        "--output=x",
        "-h",
        "",
        "no\nsuch",
        "HEAD; touch x",
        "@{upstream}",
        "HEAD:a",
    ] {
        let packager = serde_json::json!({ "kind": "git_archive", "ref": reference });
        scene.error(&packager.to_string(), "r");
    }
    for subpath in [
        "../..",
        "/etc",
        "nowhere",
        "a",
        "-h",
        "--output=x",
        ":(glob)*",
    ] {
        let packager = serde_json::json!({ "kind": "git_archive", "subpath": subpath });
        scene.error(&packager.to_string(), "r");
    }
    assert_eq!(fs::read_dir(scene.at("r")).unwrap().count(), 2, "no litter");
    assert_eq!(
        fs::read_dir(scene.at("home/.mizzen/bundles/tmp")).map_or(0, Iterator::count),
        0
    );
}

#[test]
fn patterns_find_files_beside_the_repository() {
    let scene = Scene::new("patterns");
    scene.write("r/a", "one");
    scene.write("r/.gitignore", "out\n");
    scene.repository("r");
    scene.write("r/out/built file.so", "built");
    scene.write("r/out/deep/x.so", "x");
    scene.write("r/out/x.txt", "text");
    symlink("x.txt", scene.at("r/out/link")).unwrap();
    scene.write("else/data [1].csv", "data");
    let some = scene.tree(
        r#"{"kind":"pattern","include_pattern":"out/*.so","relative_path":"out"}"#,
        "r",
    );
    assert_eq!(some, ["built file.so: built"]);
    let whole = scene.tree(
        r#"{"kind":"pattern","include_pattern":["out"],"relative_path":["."]}"#,
        "r",
    );
    assert_eq!(
        whole,
        [
            "out/built file.so: built",
            "out/deep/x.so: x",
            "out/link -> x.txt",
            "out/x.txt: text",
        ]
    );
    let outside = scene.at("else");
    let beside = serde_json::json!({
        "kind": "git_archive",
        "include_pattern": [format!("{outside}/data [1].csv"), "out/**/x.so"],
        "include_pattern_relative_path": [outside, "."],
    });
    assert_eq!(
        scene.tree(&beside.to_string(), "r"),
        [
            ".gitignore: out",
            "a: one",
            "data [1].csv: data",
            "out/deep/x.so: x"
        ]
    );
    for (packager, words) in [
        (
            r#"{"kind":"pattern","include_pattern":"nothing*","relative_path":""}"#,
            "no file fits `nothing*`",
        ),
        (
            r#"{"kind":"pattern","include_pattern":["a","out"],"relative_path":["."]}"#,
            "one for each pattern",
        ),
        (
            r#"{"kind":"pattern","include_pattern":"a","relative_path":"out"}"#,
            "is not below",
        ),
        (
            r#"{"kind":"pattern","include_pattern":[],"relative_path":[]}"#,
            "include_pattern",
        ),
    ] {
        let error = scene.error(packager, "r");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn hybrids_lie_side_by_side_or_over_each_other() {
    let scene = Scene::new("hybrid");
    scene.write("r/a", "one");
    scene.repository("r");
    scene.write("r/extra/a", "other");
    scene.write("r/extra/b", "b");
    let hybrid = |at_root: bool, from: &str| {
        serde_json::json!({
            "kind": "hybrid",
            "extract_at_root": at_root,
            "sub_packagers": {
                "code": { "kind": "git_archive" },
                "data": { "kind": "pattern", "include_pattern": from, "relative_path": "extra" },
            },
        })
        .to_string()
    };
    assert_eq!(
        scene.tree(&hybrid(false, "extra"), "r"),
        ["code/a: one", "data/a: other", "data/b: b"]
    );
    assert_eq!(
        scene.tree(&hybrid(true, "extra/b"), "r"),
        ["a: one", "b: b"]
    );
    let conflict = scene.error(&hybrid(true, "extra"), "r");
    assert!(
        conflict.contains("a comes from the sub-packagers `code` and `data`"),
        "{conflict}"
    );
    scene.write("r/extra/a", "one");
    assert_eq!(scene.tree(&hybrid(true, "extra"), "r"), ["a: one", "b: b"]);
}

#[test]
fn two_listings_at_once_do_not_meet() {
    let scene = Scene::new("twice");
    for number in 0..200 {
        scene.write(&format!("r/f{number}"), &number.to_string());
    }
    scene.repository("r");
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| scene.tree(GIT, "r"));
        let other = scope.spawn(|| scene.tree(GIT, "r"));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(both.0.len(), 200);
    assert_eq!(both.0, both.1);
    assert!(
        Path::new(scene.at("home/.mizzen/bundles/tmp").as_str())
            .read_dir()
            .unwrap()
            .next()
            .is_none()
    );
}
