//! What code a job ran: recorded, run again, compared, handed on.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::{Said, Session, said};

/// A repository in the session's folder `project`, which is not clean.
fn project(session: &Session) -> std::path::PathBuf {
    session.write("project/train.py", "print('committed')\n");
    session.write("project/.gitignore", "data\n");
    let project = session.workdir().join("project");
    git(&project, &["init", "--quiet", "--initial-branch", "main"]);
    git(
        &project,
        &[
            "remote",
            "add",
            "origin",
            "https://ada:secret@example.org/code.git",
        ],
    );
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "--quiet", "-m", "first"]);
    session.write("project/train.py", "print('changed')\n");
    session.write("project/new.py", "print('new')\n");
    session.write("project/data", "not for jobs\n");
    project
}

fn git(folder: &std::path::Path, words: &[&str]) {
    let done = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(words)
        .output()
        .unwrap();
    assert!(done.status.success(), "git {words:?}: {done:?}");
}

fn run(session: &Session, words: &[&str]) -> Said {
    let folder = session.workdir().join("project");
    let output = session.command(words).current_dir(folder).output().unwrap();
    said(output)
}

fn ok(session: &Session, words: &[&str]) -> String {
    let said = run(session, words);
    assert_eq!(said.status, 0, "{words:?}: {said:?}");
    said.stdout
}

fn json(session: &Session, words: &[&str]) -> Value {
    let text = run(session, words).stdout;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

fn tree(session: &Session, experiment: &str) -> String {
    let shown = json(session, &["show", experiment, "--json"]);
    let code = shown["code"].as_object().unwrap().values().next().unwrap();
    code["tree"].as_str().unwrap().to_owned()
}

#[test]
fn what_ran_is_recorded_and_runs_again() {
    let session = Session::new();
    project(&session);
    let words = [
        "run",
        "-q",
        "--name",
        "first",
        "--",
        "sh",
        "-c",
        "cat train.py new.py; cat data || true",
    ];
    let first = ok(&session, &words);
    assert_eq!(
        first, "print('changed')\nprint('new')\nnot for jobs\n",
        "it runs where it stands"
    );
    let shown = json(&session, &["show", "first", "--json"]);
    let git = &shown["surroundings"]["git"];
    assert_eq!(
        (
            git["branch"].as_str(),
            git["changed"].as_u64(),
            git["untracked"].as_u64()
        ),
        (Some("main"), Some(1), Some(1)),
        "{shown:#}"
    );
    assert_eq!(git["remotes"]["origin"], "https://example.org/code.git");
    let patch =
        fs::read_to_string(std::path::Path::new(shown["dir"].as_str().unwrap()).join("code.patch"))
            .unwrap();
    assert!(
        patch.contains("-print('committed')\n+print('changed')"),
        "{patch}"
    );

    // The tree moves on, and the experiment does not.
    session.write("project/train.py", "print('later')\n");
    session.write("project/other.py", "print('other')\n");
    fs::remove_file(session.workdir().join("project/new.py")).unwrap();
    let said = run(&session, &["repro", "latest", "--title", "again"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stderr.contains("without what git ignores"), "{said:?}");
    assert_eq!(
        ok(&session, &["logs", "again"])
            .lines()
            .take(2)
            .collect::<Vec<_>>(),
        ["print('changed')", "print('new')"]
    );
    assert_eq!(tree(&session, "again"), tree(&session, "first"));
    assert_eq!(
        json(&session, &["show", "again", "--json"])["repeats"],
        shown["id"]
    );
    // And again from that.
    assert_eq!(
        run(&session, &["repro", "again", "--title", "third", "-d"]).status,
        0
    );
    assert_eq!(tree(&session, "third"), tree(&session, "first"));
    ok(&session, &["wait", "third"]);
}

#[test]
fn a_job_gets_a_copy_of_its_own_where_it_is_asked_for() {
    let session = Session::new();
    project(&session);
    session.write(
        "project/ship.toml",
        r#"
title = "ship"
[executors.copy]
kind = "local"
packager = { kind = "working_tree", in_place = false }
[[tasks]]
name = "a"
run = ["sh", "-c", "test ! -e data && cat train.py && echo ${x} > new.py && cat new.py"]
executor = "copy"
sweep = { x = [1, 2, 3] }
"#,
    );
    let said = run(&session, &["launch", "ship.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    for x in 1..=3 {
        let log = ok(&session, &["logs", "ship", &format!("a-x={x}"), "-q"]);
        assert_eq!(log, format!("print('changed')\n{x}\n"));
    }
    let own = fs::read_to_string(session.workdir().join("project/new.py")).unwrap();
    assert_eq!(own, "print('new')\n");
}

#[test]
fn experiments_are_compared() {
    let session = Session::new();
    project(&session);
    for name in ["one", "two"] {
        ok(
            &session,
            &["run", "-q", "--title", name, "--name", "job", "--", "true"],
        );
    }
    let same = run(&session, &["diff", "one", "two"]);
    assert_eq!(same.status, 1, "their titles differ: {same:?}");
    let by_title: Value = json(&session, &["diff", "one", "two", "--json"]);
    assert_eq!(
        by_title["config"].as_array().unwrap().len(),
        1,
        "{by_title:#}"
    );
    assert_eq!(by_title["config"][0]["path"], "/title");
    let itself = run(&session, &["diff", "one", "one"]);
    assert_eq!(
        (itself.status, itself.stderr.as_str()),
        (0, ""),
        "{itself:?}"
    );

    session.write("project/train.py", "print('later')\n");
    fs::remove_file(session.workdir().join("project/new.py")).unwrap();
    session.write("project/more.py", "print('more')\n");
    let failed = run(
        &session,
        &[
            "run", "-q", "--title", "three", "--name", "job", "--env", "SEED=2", "--", "sh", "-c",
            "exit 3",
        ],
    );
    assert_eq!(failed.status, 1);
    let said = run(&session, &["diff", "two", "three", "--patch"]);
    assert_eq!(said.status, 1, "{said:?}");
    for words in [
        "added    more.py",
        "removed  new.py",
        "changed  train.py",
        "-print('changed')",
        "+print('later')",
        "tasks[0].env.SEED: nothing → 2",
        "job job: SUCCEEDED → FAILED, app-failure, exit status 3",
    ] {
        assert!(said.stdout.contains(words), "{words}: {}", said.stdout);
    }
    let schema = session.json(&["schema", "diff"]);
    let document = json(&session, &["diff", "two", "three", "--patch", "--json"]);
    assert_eq!(
        support::misfits(&schema, &document),
        [""; 0],
        "{document:#}"
    );
}

#[test]
fn an_experiment_is_handed_to_a_colleague() {
    let session = Session::new();
    project(&session);
    ok(
        &session,
        &[
            "run",
            "-q",
            "--name",
            "mine",
            "--env",
            "API_TOKEN=hush",
            "--env",
            "SEED=1",
            "--",
            "cat",
            "new.py",
        ],
    );
    let archive = ok(&session, &["export", "mine"]).trim().to_owned();
    let again = ok(&session, &["export", "mine", "again.mizzen"])
        .trim()
        .to_owned();
    assert_eq!(
        fs::read(&archive).unwrap(),
        fs::read(&again).unwrap(),
        "byte for byte"
    );
    let id = session.json(&["show", "mine", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();

    let colleague = Session::new();
    let imported = colleague.run(&["import", &archive]);
    assert_eq!(imported.status, 0, "{imported:?}");
    let known = colleague.run(&["import", &archive]);
    assert!(
        known.status == 0 && known.stderr.contains("is here already"),
        "{known:?}"
    );
    assert_eq!(colleague.ok(&["logs", &id]), "print('new')\n");
    let shown = colleague.json(&["show", &id, "--json"]);
    assert_eq!(shown["imported"]["from"], "mizzen");
    assert!(!shown.to_string().contains("hush"), "{shown:#}");
    assert!(shown.to_string().contains("SEED"), "{shown:#}");
    for (words, status) in [
        (["retry", &id], 2),
        (["cancel", &id], 2),
        (["status", &id], 0),
    ] {
        assert_eq!(colleague.run(&words).status, status, "{words:?}");
    }
    let repeated = colleague.run(&["repro", &id, "--title", "theirs"]);
    assert_eq!(repeated.status, 0, "{repeated:?}");
    assert!(
        repeated
            .stderr
            .contains("the private variable API_TOKEN was left out"),
        "{repeated:?}"
    );
    assert_eq!(colleague.ok(&["logs", "theirs"]), "print('new')\n");
    // Nothing is left of a file that is not whole.
    let whole = fs::read(&archive).unwrap();
    let other = Session::new();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        let cut = other.write("cut.mizzen", "");
        fs::write(&cut, &whole[..length]).unwrap();
        let said = other.run(&["import", cut.to_str().unwrap()]);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.contains("nothing was imported"), "{said:?}");
    }
    assert_eq!(
        fs::read_dir(other.home().join("experiments"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn gc_keeps_what_experiments_need() {
    let session = Session::new();
    project(&session);
    ok(&session, &["run", "-q", "--name", "kept", "--", "true"]);
    let kept = session.json(&["gc", "--json"]);
    assert_eq!(kept["trees"], 0, "{kept:#}");
    assert_eq!(run(&session, &["repro", "kept"]).status, 0);
}

#[test]
fn a_large_folder_without_git_is_run_and_not_recorded() {
    let session = Session::new();
    for number in 0..2_100 {
        session.write(&format!("many/f{number}"), "");
    }
    let folder = session.workdir().join("many");
    let output = session
        .command(&["run", "-q", "--name", "many", "--", "true"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert_eq!(said(output).status, 0);
    let refused = session.run(&["repro", "many"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("its code is not kept"),
        "{refused:?}"
    );
}
