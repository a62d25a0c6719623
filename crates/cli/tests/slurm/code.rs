//! The code that jobs run: the working tree as it was when they were launched, sent once, each job's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::desk::{Desk, shared};
use crate::slurm::{Laptop, Variant};
use crate::support::Said;

/// Says what it sees, and leaves something beside its code.
const TRAIN: &str = r#"
import os, pathlib, sys
for name in ("settings.txt", "../new.txt", "../ignored.txt"):
    path = pathlib.Path(name)
    print(name, path.read_text().strip() if path.exists() else "not there")
assert not pathlib.Path("result.txt").exists()
pathlib.Path("result.txt").write_text(sys.argv[1])
"#;

fn git(folder: &Path, words: &[&str]) {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(words)
        .output()
        .unwrap();
    assert!(done.status.success(), "git {words:?}: {done:?}");
}

/// A repository that is not clean, with the cluster in its `mizzen.toml`.
fn project(laptop: &Laptop) -> PathBuf {
    let session = &laptop.session;
    session.write("project/src/settings.txt", "committed");
    session.write("project/src/train.py", TRAIN);
    session.write("project/.gitignore", "ignored.txt\n");
    session.write(
        "project/mizzen.toml",
        &format!(
            "[executors.cluster]\nkind = \"slurm\"\ntunnel = {}\n",
            laptop.tunnel()
        ),
    );
    let project = session.workdir().join("project");
    git(&project, &["init", "--quiet"]);
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "--quiet", "-m", "first"]);
    session.write("project/src/settings.txt", "changed");
    session.write("project/new.txt", "untracked");
    session.write("project/ignored.txt", "ignored");
    project
}

fn run(laptop: &Laptop, folder: &Path, words: &[&str]) -> Said {
    let output = laptop
        .session
        .command(words)
        .current_dir(folder)
        .output()
        .unwrap();
    crate::support::said(output)
}

const SWEEP: &str = r#"
title = "ship"
defaults.executor = "cluster"
[[tasks]]
name = "train"
run = ["python3", "train.py", "${x}"]
sweep = { x = [1, 2, 3] }
"#;

fn trees(laptop: &Laptop) -> Vec<PathBuf> {
    let folder = laptop.job_dir().join(".mizzen/bundles");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("tree").is_dir())
        .collect()
}

#[test]
fn what_stands_in_the_editor_is_what_runs() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let project = project(&laptop);
    laptop.session.write("project/src/ship.toml", SWEEP);
    let said = run(&laptop, &project.join("src"), &["launch", "ship.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    let shown = run(&laptop, &project, &["logs", "ship"]).stdout;
    for (line, times) in [
        ("settings.txt changed", 3),
        ("../new.txt untracked", 3),
        ("../ignored.txt not there", 3),
    ] {
        assert_eq!(shown.matches(line).count(), times, "{shown}");
    }
    let id = laptop.session.json(&["status", "--json", "ship"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // One tree for all; each job has written into its own copy.
    assert_eq!(trees(&laptop).len(), 1);
    for x in 1..=3 {
        let code = laptop
            .there("ship", &id)
            .join(format!("train-x={x}/code/src"));
        assert_eq!(
            std::fs::read_to_string(code.join("result.txt")).unwrap(),
            x.to_string()
        );
    }
    assert!(!trees(&laptop)[0].join("tree/src/result.txt").exists());
    assert!(!project.join("src/result.txt").exists());

    // The same tree is not sent again; another one is another.
    laptop
        .session
        .ok(&["run", "-q", "--name", "again", "--", "true"]);
    let again = run(
        &laptop,
        &project,
        &["run", "-e", "cluster", "-q", "--", "cat", "new.txt"],
    );
    assert_eq!(
        (again.status, again.stdout.as_str()),
        (0, "untracked"),
        "{again:?}"
    );
    assert_eq!(trees(&laptop).len(), 1);
    laptop.session.write("project/new.txt", "newer");
    let newer = run(
        &laptop,
        &project,
        &["run", "-e", "cluster", "-q", "--", "cat", "new.txt"],
    );
    assert_eq!(
        (newer.status, newer.stdout.as_str()),
        (0, "newer"),
        "{newer:?}"
    );
    assert_eq!(trees(&laptop).len(), 2);

    // A retry runs what was launched, whatever the tree has become.
    let failing = run(
        &laptop,
        &project,
        &[
            "run",
            "-e",
            "cluster",
            "-q",
            "--name",
            "old",
            "--",
            "sh",
            "-c",
            "cat new.txt; exit 3",
        ],
    );
    assert_eq!(failing.status, 1, "{failing:?}");
    laptop.session.write("project/new.txt", "newest");
    let retried = run(&laptop, &project, &["retry", "old"]);
    assert_eq!(retried.status, 1, "{retried:?}");
    let attempts = run(&laptop, &project, &["logs", "old", "--attempt", "2"]).stdout;
    assert_eq!(attempts.trim(), "newer");
}

#[test]
fn a_damaged_tree_is_sent_again() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let project = project(&laptop);
    let words = ["run", "-e", "cluster", "-q", "--", "cat", "new.txt"];
    assert_eq!(run(&laptop, &project, &words).status, 0);
    let file = trees(&laptop)[0].join("tree/new.txt");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "somebody else's").unwrap();
    let said = run(&laptop, &project, &words);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (0, "untracked"),
        "{said:?}"
    );
}

#[test]
fn gc_removes_what_nobody_needs_here_and_there() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let project = project(&laptop);
    let words = ["run", "-e", "cluster", "-q", "--name", "kept", "--", "true"];
    assert_eq!(run(&laptop, &project, &words).status, 0);
    let gc = ["gc", "-e", "cluster", "--older-than", "0s", "--json"];
    let kept: serde_json::Value =
        serde_json::from_str(&run(&laptop, &project, &gc).stdout).unwrap();
    assert_eq!(
        kept["places"][0]["trees"].as_array().unwrap().len(),
        0,
        "{kept}"
    );
    assert_eq!(trees(&laptop).len(), 1);
    laptop.session.ok(&["rm", "-y", "kept"]);
    // Its time has seconds: what was used in this one is not older than now.
    let folder = trees(&laptop).remove(0);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let used = std::fs::File::options()
        .write(true)
        .open(folder.join("used"))
        .unwrap();
    used.set_modified(old).unwrap();
    let dry = run(
        &laptop,
        &project,
        &[
            "gc",
            "-e",
            "cluster",
            "--older-than",
            "30s",
            "--dry-run",
            "--json",
        ],
    );
    let dry: serde_json::Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(
        dry["places"][0]["trees"].as_array().unwrap().len(),
        1,
        "{dry}"
    );
    assert_eq!(trees(&laptop).len(), 1);
    let said = run(
        &laptop,
        &project,
        &["gc", "-e", "cluster", "--older-than", "30s"],
    );
    assert_eq!(said.status, 0, "{said:?}");
    assert!(trees(&laptop).is_empty());
}

#[test]
fn code_that_is_too_large_is_named_before_anything_is_sent() {
    let Some((_, laptop)) = shared(
        Variant::Plain,
        "packager = { kind = \"working_tree\", max_file_size = \"1KiB\" }",
    ) else {
        return;
    };
    laptop.session.write("large.bin", &"x".repeat(2000));
    let said = laptop.session.run(&["run", "-e", "cluster", "--", "true"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr.contains("large.bin (2.0 KiB)") && said.stderr.contains(".mizzenignore"),
        "{said:?}"
    );
    assert_eq!(
        laptop
            .session
            .json(&["ls", "--json"])
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn an_example_runs_on_the_cluster_as_it_is() {
    let Some((_, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let example = crate::support::repository().join("examples/iris");
    for entry in std::fs::read_dir(&example).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let name = entry.file_name().into_string().unwrap();
        laptop.session.write(&format!("iris/{name}"), &text);
    }
    let folder = laptop.session.workdir().join("iris");
    // The example has a project file of its own; the cluster is the user's.
    let home = laptop.session.home();
    std::fs::create_dir_all(&home).unwrap();
    std::fs::rename(
        laptop.session.workdir().join("mizzen.toml"),
        home.join("executors.toml"),
    )
    .unwrap();
    let said = run(
        &laptop,
        &folder,
        &["launch", "experiment.toml", "-e", "cluster"],
    );
    assert_eq!(said.status, 0, "{said:?}");
    let best = run(&laptop, &folder, &["logs", "iris", "evaluate", "-q"]).stdout;
    assert!(best.contains("lr"), "{best}");
    assert_eq!(trees(&laptop).len(), 1);
    // The same code, on this machine, from what was kept.
    let here = run(
        &laptop,
        &folder,
        &["repro", "iris", "-e", "local", "--title", "here"],
    );
    assert_eq!(here.status, 0, "{here:?}");
    let again = run(&laptop, &folder, &["logs", "here", "evaluate", "-q"]).stdout;
    // The last line says where the report is.
    let table = |text: &str| text.split("report:").next().unwrap().to_owned();
    assert_eq!(table(&again), table(&best));
}
