//! `mizzen import-nemo` as a user has it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use support::{Session, repository};

/// A home that NeMo-Run made.
fn nemo() -> String {
    let path = repository().join("crates/core/tests/nemo-home");
    path.to_str().unwrap().to_owned()
}

/// What a command said on standard error, without the fixture's path.
fn said(session: &Session, words: &[&str]) -> (i32, String) {
    let said = session.run(words);
    (said.status, said.stderr.replace(&nemo(), "NEMO"))
}

#[test]
fn a_home_is_imported_once() {
    let session = Session::new();
    let (status, words) = said(&session, &["import-nemo", &nemo(), "--dry-run"]);
    assert_eq!(
        (status, &*words),
        (0, "NEMO: 8 experiments would be imported\n")
    );
    assert!(!session.home().exists(), "nothing was written");
    assert_eq!(
        said(&session, &["import-nemo", &nemo()]),
        (0, "NEMO: 8 experiments imported\n".to_owned())
    );
    assert_eq!(
        said(&session, &["import-nemo", &nemo()]),
        (
            0,
            "NEMO: 0 experiments imported; 8 there before\n".to_owned()
        )
    );
}

#[test]
fn the_home_is_found_as_nemo_run_finds_it() {
    let session = Session::new().with("NEMORUN_HOME", &nemo());
    assert_eq!(
        session.json(&["import-nemo", "--json"])["imported"]
            .as_array()
            .map(Vec::len),
        Some(8)
    );
    let session = Session::new();
    let said = session.run(&["import-nemo"]);
    assert_eq!(said.status, 2);
    assert!(
        said.stderr.contains(".nemo_run is no home of NeMo-Run"),
        "{said:?}"
    );
    assert!(said.stderr.contains("hint: name it"), "{said:?}");
}

#[test]
fn history_is_shown_and_left_alone() {
    let session = Session::new();
    session.ok(&["run", "--title", "mine", "--", "true"]);
    session.ok(&["import-nemo", &nemo()]);

    let listed = session.json(&["ls", "--json"]);
    assert_eq!(listed[0]["title"], "mine", "what ran here comes first");
    assert_eq!(listed[1]["title"], "cluster");
    assert_eq!(session.json(&["status", "--json"])["title"], "mine");
    assert_eq!(session.ok(&["logs", "night-run"]), "started\n");
    assert_eq!(
        session.ok(&["logs", "-f", "cluster", "first"]),
        "resumed\nepoch 2\n"
    );
    assert_eq!(
        session.ok(&["logs", "cluster", "first", "--attempt", "1"]),
        "epoch 1\n"
    );
    let status = session.ok(&["status", "sweep"]);
    let row = status
        .lines()
        .find(|line| line.starts_with("train_2"))
        .unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>().join(" "),
        "train_2 FAILED app-failure 1 LocalExecutor exit code 1"
    );
    let header = session.ok(&["status", "cluster"]);
    assert!(!header.lines().next().unwrap().contains("took"), "{header}");
    let shown = session.ok(&["show", "cluster"]);
    assert!(
        shown.contains("NeMo-Run 0.11.1, cluster_1795370217193443324 in "),
        "{shown}"
    );
    assert!(shown.contains("account = \"ml\""), "{shown}");

    // Nobody waits for what will not come.
    assert_eq!(
        session.run(&["wait", "cluster", "--timeout", "1m"]).status,
        1
    );
    assert_eq!(session.run(&["wait", "direct"]).status, 0);
    for words in [
        &["retry", "sweep"][..],
        &["cancel", "cluster"],
        &["cancel", "direct"],
    ] {
        let said = session.run(words);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(
            said.stderr
                .contains("history that was imported from NeMo-Run"),
            "{said:?}"
        );
    }
    session.ok(&["rm", "cluster"]);
    assert_eq!(session.run(&["status", "cluster"]).status, 2);
}

#[test]
fn what_cant_be_read_is_said() {
    let session = Session::new();
    session.write("home/.local_jobs.json", "{");
    session.write("home/experiments/odd/odd_1795370200000000000/_TASKS", "[[");
    let (status, words) = said(&session, &["import-nemo", "home"]);
    assert_eq!(status, 1);
    assert!(
        words.contains(".local_jobs.json can't be read: EOF"),
        "{words}"
    );
    assert!(words.contains("1 experiment imported"), "{words}");
    let shown = session.ok(&["show", "odd"]);
    assert!(shown.contains("`_TASKS`: EOF"), "{shown}");
}
