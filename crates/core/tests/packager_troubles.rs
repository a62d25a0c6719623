//! What can go wrong where code is selected: odd names, odd repositories, odd settings, and archives of what changes.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod packager_support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use mizzen_core::packager::{Limits, Listing, PackError, Packager, write_tar_gz};
use packager_support::{GIT, Scene, TREE, everything, run, shown, submodules};

const NO_LIMITS: Limits = Limits {
    total: u64::MAX,
    file: u64::MAX,
};

impl Scene {
    /// With another variable in the environment.
    fn with(mut self, name: &str, value: &str) -> Scene {
        let mut environment = (*self.context.environment).clone();
        environment.insert(name.to_owned(), value.to_owned());
        self.context.environment = Arc::new(environment);
        self
    }

    fn archive(&self, listing: &Listing, limits: Limits) -> Result<Vec<u8>, PackError> {
        let file = self.at("code.tar.gz");
        write_tar_gz(listing, &limits, &file)?;
        Ok(fs::read(file).unwrap())
    }
}

/// The members of an archive: each path with what is there.
fn members(archive: &[u8]) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 946_684_800);
        let kind = header.entry_type();
        let shown = if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap();
            format!("-> {}", String::from_utf8_lossy(&target))
        } else if kind.is_dir() {
            "/".to_owned()
        } else {
            format!("{:o} {text}", header.mode().unwrap())
        };
        found.insert(entry.path_bytes().into_owned(), shown);
    }
    found
}

/// A program of our own, first on PATH.
fn program(scene: Scene, name: &str, script: &str) -> Scene {
    scene.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    run(&scene.at(&format!("bin/{name}")));
    let path = scene.context.environment.get("PATH").cloned();
    let path = format!("{}:{}", scene.at("bin"), path.unwrap_or_default());
    scene.with("PATH", &path)
}

#[test]
fn names_of_any_bytes_come_through() {
    let scene = Scene::new("bytes");
    let names: Vec<Vec<u8>> = vec![
        b"-rf".to_vec(),
        b"--output=x".to_vec(),
        b":(glob)*".to_vec(),
        b" lead and trail ".to_vec(),
        b"new\nline\ttab\x01".to_vec(),
        b"\xff\xfe".to_vec(),
        b"back\\slash \"quoted\" 'single' $(touch x) *".to_vec(),
        "ümlaut".as_bytes().to_vec(),
        "u\u{308}mlaut".as_bytes().to_vec(),
        vec![b'n'; 255],
    ];
    fs::create_dir_all(scene.at("r")).unwrap();
    for name in &names {
        let path = scene.at("r").as_std_path().join(OsStr::from_bytes(name));
        fs::write(path, "text").unwrap();
    }
    scene.git("r", &["init", "--quiet"]);
    let untracked = scene.list(TREE, "r").unwrap();
    scene.commit("r");
    let whole = serde_json::json!({
        "kind": "pattern", "include_pattern": scene.at("r"), "relative_path": scene.at("r"),
    });
    for listing in [
        untracked,
        scene.list(TREE, "r").unwrap(),
        scene.list(GIT, "r").unwrap(),
        scene.list(&whole.to_string(), ".").unwrap(),
    ] {
        let archive = scene.archive(&listing, NO_LIMITS).unwrap();
        let found: Vec<Vec<u8>> = members(&archive).into_keys().collect();
        let mut expected = names.clone();
        expected.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn an_archive_is_the_same_for_the_same_tree() {
    let scene = Scene::new("same");
    scene.write("r/a/b", "one");
    scene.write("r/a.b", "two");
    scene.write("r/run", "three");
    run(&scene.at("r/run"));
    symlink("a/b", scene.at("r/link")).unwrap();
    scene.repository("r");
    fs::create_dir_all(scene.at("r/empty")).unwrap();
    let of_tree = scene
        .archive(&scene.list(TREE, "r").unwrap(), NO_LIMITS)
        .unwrap();
    assert_eq!(
        members(&of_tree).into_values().collect::<Vec<_>>(),
        ["644 two", "644 one", "/", "-> a/b", "755 three"]
    );
    fs::remove_dir(scene.at("r/empty")).unwrap();
    let of_tree = scene.archive(&scene.list(TREE, "r").unwrap(), NO_LIMITS);
    let of_git = scene.archive(&scene.list(GIT, "r").unwrap(), NO_LIMITS);
    assert!(
        of_tree.unwrap() == of_git.unwrap(),
        "a clean tree is its commit"
    );
}

#[test]
fn what_changes_after_it_was_listed() {
    let scene = Scene::new("changes");
    for path in ["r/stays", "r/goes", "r/folder/x", "r/file", "r/linked/x"] {
        scene.write(path, "text");
    }
    scene.repository("r");
    let listing = scene.list(TREE, "r").unwrap();
    fs::remove_file(scene.at("r/goes")).unwrap();
    fs::remove_dir_all(scene.at("r/folder")).unwrap();
    fs::write(scene.at("r/folder"), "a file now").unwrap();
    fs::remove_file(scene.at("r/file")).unwrap();
    fs::create_dir(scene.at("r/file")).unwrap();
    fs::rename(scene.at("r/linked"), scene.at("else")).unwrap();
    symlink(scene.at("else"), scene.at("r/linked")).unwrap();
    let archive = scene.archive(&listing, NO_LIMITS).unwrap();
    let found: Vec<_> = members(&archive).into_keys().collect();
    // What is behind a link is not in the tree, as for git.
    assert_eq!(found, [b"linked/x".to_vec(), b"stays".to_vec()]);
    let now = scene.list(TREE, "r").unwrap();
    let error = scene.archive(&now, NO_LIMITS).unwrap_err().to_string();
    assert!(
        error.contains("linked can't be packed") && error.contains("leads out of the code"),
        "{error}"
    );
}

#[test]
fn links_may_lead_anywhere_within_and_nowhere_else() {
    let scene = Scene::new("links");
    scene.write("r/sub/file", "file");
    for (at, target) in [
        ("within", "sub/file"),
        ("sub/up", "../within"),
        ("nowhere", "sub/none"),
        ("ring", "ring"),
        ("folder", "sub"),
    ] {
        symlink(target, scene.at("r").join(at)).unwrap();
    }
    scene.repository("r");
    let listing = scene.list(TREE, "r").unwrap();
    assert_eq!(
        members(&scene.archive(&listing, NO_LIMITS).unwrap()).len(),
        6
    );
    for target in ["/etc/passwd", "../outside", "sub/../../outside"] {
        symlink(target, scene.at("r/bad")).unwrap();
        for packager in [TREE, GIT] {
            scene.commit("r");
            let listing = scene.list(packager, "r").unwrap();
            let error = scene.archive(&listing, NO_LIMITS).unwrap_err().to_string();
            assert!(
                error.starts_with("bad can't be packed") && error.contains(target),
                "{error}"
            );
        }
        fs::remove_file(scene.at("r/bad")).unwrap();
    }
    assert!(!scene.at("code.tar.gz").with_extension("tmp").exists());
}

#[test]
fn the_largest_files_are_named() {
    let scene = Scene::new("large");
    for number in 0..8 {
        scene.write(&format!("r/f{number}"), &"x".repeat(100 * number));
    }
    scene.repository("r");
    let listing = scene.list(TREE, "r").unwrap();
    let file = Limits {
        total: 10_000,
        file: 500,
    };
    let error = scene.archive(&listing, file).unwrap_err().to_string();
    assert!(
        error.contains("files over 500 bytes: f7 (700 bytes), f6 (600 bytes);")
            && error.contains(".mizzenignore")
            && error.contains("`max_file_size`"),
        "{error}"
    );
    let total = Limits {
        total: 2_799,
        file: 10_000,
    };
    let error = scene.archive(&listing, total).unwrap_err().to_string();
    assert!(
        error.contains("2.7 KiB in 8 files")
            && error.contains("the largest are f7 (700 bytes), f6")
            && error.contains("`max_size`"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&scene.folder).unwrap().count(), 2, "no litter");
    let enough = Limits {
        total: 2_800,
        file: 700,
    };
    scene.archive(&listing, enough).unwrap();
}

#[test]
fn where_all_is_ignored_a_job_starts_in_an_empty_folder() {
    let scene = Scene::new("ignored");
    scene.write("r/.gitignore", "/out\n");
    scene.write("r/a", "one");
    scene.repository("r");
    scene.write("r/out/here/x", "ignored");
    let listing = scene.list(TREE, "r/out/here").unwrap();
    assert_eq!(shown(&listing), [".gitignore: /out", "a: one", "out/here/"]);
    assert!(
        listing.notes[0]
            .text
            .starts_with("all that is in out/here is ignored"),
        "{:?}",
        listing.notes
    );
    assert!(scene.list(TREE, "r").unwrap().notes.is_empty());
}

#[test]
fn empty_folders_are_kept_unless_they_are_ignored() {
    let scene = Scene::new("empty");
    scene.write("r/.gitignore", "cache\n*.tmp/\n");
    scene.write("r/src/a", "one");
    scene.repository("r");
    for folder in [
        "r/src/none",
        "r/new/deep/none",
        "r/new/cache/none",
        "r/new/x.tmp/none",
        "r/cache/none",
        "r/src/cache/none",
        "r/odd \n name/none",
    ] {
        fs::create_dir_all(scene.at(folder)).unwrap();
    }
    scene.write("r/new/b", "two");
    assert_eq!(
        scene.tree(TREE, "r"),
        [
            ".gitignore: cache\n*.tmp/",
            "new/b: two",
            "new/deep/none/",
            "odd \n name/none/",
            "src/a: one",
            "src/none/",
        ]
    );
}

#[test]
fn repositories_in_unusual_states() {
    let scene = Scene::new("unusual");
    // Without a commit.
    scene.write("new/a", "one");
    scene.git("new", &["init", "--quiet"]);
    assert_eq!(scene.tree(TREE, "new"), ["a: one"]);
    let error = scene.error(GIT, "new");
    assert!(
        error.contains("no commit in") && error.contains("yet"),
        "{error}"
    );
    // A second working tree.
    scene.commit("new");
    scene.git("new", &["worktree", "add", "--quiet", "../second"]);
    scene.write("second/b", "two");
    assert_eq!(scene.tree(TREE, "second"), ["a: one", "b: two"]);
    assert_eq!(scene.tree(GIT, "second"), ["a: one"]);
    // Sparse: what is not checked out is not there, and git has it all the same.
    scene.write("sparse/in/a", "one");
    scene.write("sparse/out/b", "two");
    scene.repository("sparse");
    scene.git("sparse", &["sparse-checkout", "set", "in"]);
    assert_eq!(scene.tree(TREE, "sparse"), ["in/a: one"]);
    assert_eq!(scene.tree(GIT, "sparse"), ["in/a: one", "out/b: two"]);
    // Nothing at all.
    scene.repository("void");
    assert!(scene.tree(TREE, "void").is_empty() && scene.tree(GIT, "void").is_empty());
    // Something called `.git` that is none.
    scene.write("plain/.git/note", "text");
    scene.write("plain/a", "one");
    assert_eq!(scene.tree(TREE, "plain"), ["a: one"]);
    assert!(scene.error(GIT, "plain").contains("in no git repository"));
    // One that git refuses says why.
    scene.write("broken/.git", "gitdir: /nowhere");
    assert!(scene.error(TREE, "broken").contains("/nowhere"));
}

#[test]
fn a_repository_in_a_repository_is_packed_with_its_own_rules() {
    let scene = Scene::new("nested");
    scene.write("r/.mizzenignore", "*.bin\n");
    scene.write("r/a", "one");
    scene.repository("r");
    scene.write("r/other/.gitignore", "*.log\n");
    scene.write("r/other/b", "two");
    scene.write("r/other/b.log", "ignored");
    scene.write("r/other/b.bin", "ignored");
    scene.repository("r/other");
    scene.write("r/other/c", "three");
    let before = everything(&scene.at("r"));
    assert_eq!(
        scene.tree(TREE, "r"),
        [
            ".mizzenignore: *.bin",
            "a: one",
            "other/.gitignore: *.log",
            "other/b: two",
            "other/c: three",
        ]
    );
    assert_eq!(everything(&scene.at("r")), before);
}

#[test]
fn a_submodule_that_attributes_leave_out_need_not_be_here() {
    let scene = Scene::new("left-out");
    submodules(&scene);
    scene.write("r/.gitattributes", "libs export-ignore\n");
    scene.commit("r");
    scene.git(".", &["clone", "--quiet", "r", "clone"]);
    let tree = scene.tree(GIT, "clone");
    assert!(
        !tree.iter().any(|line| line.starts_with("libs")) && tree.len() == 4,
        "{tree:?}"
    );
}

#[test]
fn variables_of_git_lead_nowhere_else() {
    let scene = Scene::new("variables");
    scene.write("r/a", "one");
    scene.repository("r");
    scene.write("other/b", "two");
    scene.repository("other");
    let elsewhere = scene.at("other/.git");
    let scene = scene
        .with("GIT_DIR", elsewhere.as_str())
        .with("GIT_WORK_TREE", "/")
        .with("GIT_INDEX_FILE", "/nowhere")
        .with("GIT_LITERAL_PATHSPECS", "1");
    for packager in [TREE, GIT] {
        assert_eq!(
            shown(&scene.list(packager, "r").unwrap()),
            ["a: one"],
            "{packager}"
        );
    }
}

const ID: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn pointer(id: &str) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 6\n")
}

#[test]
fn lfs_is_asked_for_commits_and_never_for_the_working_tree() {
    let scene = Scene::new("smudge");
    scene.write("r/.gitattributes", "*.bin filter=lfs\n");
    scene.write("r/one.bin", &pointer(ID));
    run(&scene.at("r/one.bin"));
    scene.write("r/two.bin", &pointer(&ID.replace('5', "6")));
    scene.write("r/false.bin", &pointer("../../../../../../etc/passwd"));
    scene.repository("r");
    let error = scene.error(GIT, "r");
    assert!(
        error.contains("false.bin can't be packed")
            && error.contains("with 2 more")
            && error.contains("git lfs pull"),
        "{error}"
    );
    let log = scene.at("asked");
    let script = format!("[ \"$1\" = smudge ] && cat >> {log} && echo content of LFS");
    let scene = program(scene, "git-lfs", &script);
    let listing = scene.list(TREE, "r").unwrap();
    assert_eq!(listing.notes.len(), 3);
    assert!(
        listing.notes[0].text.contains("only a pointer"),
        "{:?}",
        listing.notes
    );
    assert!(!log.exists(), "nothing is fetched");
    assert_eq!(
        scene.tree(GIT, "r")[1..],
        [
            "false.bin: content of LFS",
            "one.bin*: content of LFS",
            "two.bin: content of LFS"
        ]
    );
    assert_eq!(fs::read_to_string(log).unwrap().matches("oid").count(), 3);
    // A tool that does not have it prints the pointer again, or fails.
    for script in ["cat", "echo no; exit 2"] {
        let scene = program(Scene::new("no-smudge"), "git-lfs", script);
        scene.write("r/.gitattributes", "*.bin filter=lfs\n");
        scene.write("r/one.bin", &pointer(ID));
        scene.repository("r");
        assert!(scene.error(GIT, "r").contains("one.bin can't be packed"));
    }
}

#[test]
fn lfs_of_a_second_working_tree_and_of_a_submodule() {
    let scene = Scene::new("lfs-places");
    submodules(&scene);
    scene.write("r/libs/inner/.gitattributes", "*.bin filter=lfs\n");
    scene.write("r/libs/inner/w.bin", &pointer(ID));
    scene.commit("r/libs/inner");
    scene.write("r/.gitattributes", "*.bin filter=lfs\n");
    scene.write("r/w.bin", &pointer(ID));
    scene.commit("r");
    scene.git("r", &["worktree", "add", "--quiet", "../second"]);
    for place in [".git", ".git/modules/libs/inner"] {
        let object = format!("r/{place}/lfs/objects/{}/{}/{ID}", &ID[..2], &ID[2..4]);
        scene.write(&object, "hello\n");
    }
    for packager in [TREE, GIT] {
        let tree = scene.tree(packager, "r");
        assert!(tree.contains(&"w.bin: hello".to_owned()), "{tree:?}");
        assert!(
            tree.contains(&"libs/inner/w.bin: hello".to_owned()),
            "{tree:?}"
        );
    }
    let alone = r#"{"kind":"git_archive","include_submodules":false}"#;
    assert!(
        scene
            .tree(alone, "second")
            .contains(&"w.bin: hello".to_owned())
    );
}

#[test]
fn patterns_are_those_of_a_shell() {
    let scene = Scene::new("shell");
    let folder = "we[ird] {*} fol?der";
    for path in [
        "a.py",
        "b.py",
        ".hidden.py",
        ".git/config",
        "sub/c.py",
        "sub/.git/x",
        "sub/deep/d.py",
        "x*y",
    ] {
        scene.write(&format!("{folder}/{path}"), path);
    }
    let fifo = scene.at(folder).join("fifo.py");
    nix::unistd::mkfifo(fifo.as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    symlink("../sub", scene.at(folder).join("sub/loop")).unwrap();
    for (pattern, expected) in [
        ("*.py", vec!["a.py", "b.py"]),
        (".*.py", vec![".hidden.py"]),
        ("?.py", vec!["a.py", "b.py"]),
        ("[!a].py", vec!["b.py"]),
        ("{a,b}.py", vec!["a.py", "b.py"]),
        ("x*y", vec!["x*y"]),
        ("x\\*y", vec!["x*y"]),
        ("*/c.py", vec!["sub/c.py"]),
        ("**/*.py", vec!["a.py", "b.py", "sub/c.py", "sub/deep/d.py"]),
        ("sub", vec!["sub/c.py", "sub/deep/d.py", "sub/loop"]),
        ("./sub/../a.py", vec!["a.py"]),
        (
            "**",
            vec![
                ".hidden.py",
                "a.py",
                "b.py",
                "sub/c.py",
                "sub/deep/d.py",
                "sub/loop",
                "x*y",
            ],
        ),
    ] {
        for (pattern, relative) in [
            (pattern.to_owned(), String::new()),
            (pattern.to_owned(), ".".to_owned()),
        ] {
            let packager = serde_json::json!({
                "kind": "pattern", "include_pattern": ["", pattern], "relative_path": ["", relative],
            });
            let listing = scene.list(&packager.to_string(), folder).unwrap();
            let paths: Vec<_> = listing
                .items
                .iter()
                .map(|item| String::from_utf8_lossy(&item.path).into_owned())
                .collect();
            assert_eq!(paths, expected, "{pattern}");
        }
    }
    let before = everything(&scene.folder);
    for (pattern, words) in [
        ("--output=x", "no file fits"),
        ("-h", "no file fits"),
        ("$(touch x)", "no file fits"),
        ("a.py; touch x", "no file fits"),
        ("a.py\nb.py", "no file fits `a.py\\nb.py`"),
        ("fifo.py", "no file fits"),
        ("[a", "is no pattern"),
        ("a{b", "is no pattern"),
        ("/etc/passwd", "is not below"),
        ("../../*", "is not below"),
    ] {
        let packager = serde_json::json!({
            "kind": "pattern", "include_pattern": pattern, "relative_path": "",
        });
        let error = scene.error(&packager.to_string(), folder);
        assert!(error.contains(words), "{pattern}: {error}");
    }
    assert_eq!(everything(&scene.folder), before);
}

#[test]
fn two_patterns_may_not_mean_two_things_by_one_path() {
    let scene = Scene::new("twofold");
    scene.write("f/one/a", "one");
    scene.write("f/two/a", "two");
    let both =
        r#"{"kind":"pattern","include_pattern":["one","two"],"relative_path":["one","two"]}"#;
    let error = scene.error(both, "f");
    assert!(
        error.contains("one/a") && error.contains("two/a would be one file"),
        "{error}"
    );
    scene.write("f/two/a", "one");
    assert_eq!(scene.tree(both, "f"), ["a: one"]);
}

#[test]
fn files_beside_a_repository_are_relative_to_its_top() {
    let scene = Scene::new("top");
    scene.write("real/r/a", "one");
    scene.write("real/r/.gitignore", "built\n");
    scene.repository("real/r");
    scene.write("real/r/sub/built/lib", "lib");
    scene.write("real/r/built/a", "other");
    symlink("real", scene.at("linked")).unwrap();
    let packager = r#"{"kind":"git_archive","include_pattern":"built"}"#;
    for folder in ["real/r/sub", "linked/r/sub"] {
        assert_eq!(
            scene.tree(packager, folder),
            [".gitignore: built", "a: one", "sub/built/lib: lib"]
        );
    }
    // What is named stands there instead of what git has.
    let over = r#"{"kind":"git_archive","include_pattern":"built/a","include_pattern_relative_path":"built"}"#;
    assert_eq!(
        scene.tree(over, "real/r"),
        [".gitignore: built", "a: other"]
    );
    let elsewhere = r#"{"kind":"git_archive","basepath":"real/r"}"#;
    assert_eq!(scene.tree(elsewhere, "."), [".gitignore: built", "a: one"]);
}

#[test]
fn hybrids_tell_what_does_not_fit() {
    let scene = Scene::new("unfit");
    scene.write("r/x", "file");
    symlink("x", scene.at("r/link")).unwrap();
    scene.repository("r");
    let hybrid = |part: serde_json::Value| {
        serde_json::json!({
            "kind": "hybrid", "extract_at_root": true,
            "sub_packagers": { "code": "git_archive", "more": part },
        })
        .to_string()
    };
    let error = scene.error(&hybrid("none".into()), "r");
    assert!(
        error.contains("`more`") && error.contains("packs nothing"),
        "{error}"
    );
    assert_eq!(
        scene.tree(&hybrid("working_tree".into()), "r"),
        ["link -> x", "x: file"]
    );
    for name in ["", "..", "a/../b", "/a", "a//b"] {
        let packager =
            serde_json::json!({ "kind": "hybrid", "sub_packagers": { name: "git_archive" } });
        let error = scene.error(&packager.to_string(), "r");
        assert!(error.contains("has a name that no folder"), "{error}");
    }
    // A file and what would be below it.
    scene.write("other/x/y", "below");
    let below = serde_json::json!({
        "kind": "pattern", "include_pattern": scene.at("other"), "relative_path": scene.at("other"),
    });
    let listing = scene.list(&hybrid(below), "r").unwrap();
    let error = scene.archive(&listing, NO_LIMITS).unwrap_err().to_string();
    assert!(error.contains("`x/y`"), "{error}");
}

#[test]
fn our_own_home_and_pipes_are_no_code() {
    let scene = Scene::new("home-within");
    scene.write("home/a", "one");
    scene.write("home/.mizzen/mizzen.db", "database");
    scene.write("home/.mizzenignore", "*.x\n");
    fs::create_dir_all(scene.at("home/.mizzen/empty")).unwrap();
    let pipe = scene.at("home/pipe");
    nix::unistd::mkfifo(pipe.as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let expected = [".mizzenignore: *.x", "a: one"];
    assert_eq!(scene.tree(TREE, "home"), expected, "without git");
    scene.repository("home");
    assert_eq!(scene.tree(TREE, "home"), expected, "with it");
    let whole = r#"{"kind":"pattern","include_pattern":".","relative_path":""}"#;
    assert_eq!(scene.tree(whole, "home"), expected);
}

#[test]
fn a_file_that_cant_be_read_is_named() {
    let scene = Scene::new("closed");
    scene.write("r/a", "one");
    scene.repository("r");
    let closed = scene.at("r/a");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let listing = scene.list(TREE, "r").unwrap();
    let answer = scene.archive(&listing, NO_LIMITS);
    // The superuser reads everything.
    if fs::read(&closed).is_err() {
        let error = answer.unwrap_err().to_string();
        assert!(error.starts_with("a can't be read"), "{error}");
    }
    let nowhere = scene.at("nowhere/code.tar.gz");
    let error = write_tar_gz(&scene.list(GIT, "r").unwrap(), &NO_LIMITS, &nowhere);
    assert!(error.unwrap_err().to_string().contains("can't be written"));
}

#[test]
fn settings_are_checked_as_they_are_read() {
    let read = |text: &str| serde_json::from_str::<Packager>(text);
    for (text, words) in [
        (
            r#"{"kind":"git_archive","reff":"x"}"#,
            "unknown field `reff`",
        ),
        (
            r#"{"kind":"pattern","include_pattern":"a"}"#,
            "relative_path",
        ),
        (
            r#"{"kind":"pattern","include_pattern":5,"relative_path":""}"#,
            "invalid type",
        ),
        (r#"{"max_size":"much"}"#, "is no size"),
        (
            r#"{"kind":"hybrid","sub_packagers":{"a":"zip"}}"#,
            "unknown variant `zip`",
        ),
        ("5", "invalid type"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let limits = read(r#"{"max_size":"2GiB","max_file_size":"5 MB"}"#)
        .unwrap()
        .limits();
    assert_eq!(
        limits,
        Limits {
            total: 2 << 30,
            file: 5_000_000
        }
    );
}

#[test]
fn documents_with_packagers_are_checked_at_their_place() {
    use mizzen_core::config::{Format, Layer, Origin, Override, load};
    let read = |packager: &str, set: Option<&str>| {
        let layer = Layer {
            origin: Origin::File,
            name: "e.toml".to_owned(),
            format: Format::Toml,
            text: format!(
                "title = \"t\"\nexecutors.here = {{ kind = \"local\"{packager} }}\ntasks = [{{ name = \"a\", run = [\"true\"], executor = \"here\" }}]\n"
            ),
        };
        let set: Vec<Override> = set
            .iter()
            .map(|text| Override::parse(text, Origin::CommandLine).unwrap())
            .collect();
        let vocabulary = mizzen_core::executor::vocabulary();
        match load(&[layer], &set, &|_: &str| None, &vocabulary) {
            Ok(loaded) => loaded.document["executors"]["here"]["packager"].to_string(),
            Err(failure) => failure.to_string(),
        }
    };
    for (packager, expected) in [
        (
            ", packager = \"gitarchive\"",
            "unknown kind of packager `gitarchive`",
        ),
        (
            ", packager = { kind = \"zip\" }",
            "unknown kind of packager `zip`",
        ),
        (
            ", packager = { kind = \"git_archive\", reff = 1 }",
            "did you mean `ref`?",
        ),
        (", packager = { max_sise = 1 }", "did you mean `max_size`?"),
        (
            ", packager = { max_size = \"a lot\" }",
            "`a lot` is not a size",
        ),
        (
            ", packager = { kind = \"pattern\" }",
            "the key `include_pattern` is missing",
        ),
        (
            ", packager = { kind = \"hybrid\", sub_packagers.a.kind = \"zip\" }",
            "unknown kind of packager `zip`",
        ),
        (", packager = 5", "expected `working_tree`, "),
        // What was written before there were kinds.
        (", packager = { debug = false }", "{\"debug\":false}"),
    ] {
        let said = read(packager, None);
        assert!(said.contains(expected), "{packager}: {said}");
    }
    for (set, expected) in [
        ("executors.here.packager=git_archive", "\"git_archive\""),
        (
            "executors.here.packager.max_size=2GiB",
            "{\"max_size\":\"2GiB\"}",
        ),
        ("executors.here.packager.max_size=100", "{\"max_size\":100}"),
        ("executors.here.packager.debug=true", "{\"debug\":true}"),
    ] {
        assert_eq!(read("", Some(set)), expected, "{set}");
    }
}
