//! The home's disk: full, read-only, gone; its database damaged, cut, newer.
//!
//! Full and read-only disks are small file systems in memory that are mounted over the home, which only root may do.
#![expect(
    clippy::disallowed_methods,
    reason = "tests read their own surroundings"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::scene::{Scene, ends, job, launch_detached, status, until, until_within};
use crate::support::Session;

/// A small file system over a session's home; taken away at the end.
struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// `None`, and a word about it, where that can't be done; in CI that is a failure.
    fn mount(session: &Session) -> Option<SmallDisk> {
        if !nix::unistd::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "tests of full disks need root"
            );
            use std::io::Write as _;
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: mounting a small disk needs root"
            );
            return None;
        }
        let place = session.home();
        std::fs::create_dir(&place).unwrap();
        mount(
            &["-t", "tmpfs", "-o", "size=4m,mode=0700", "mizzen-test"],
            &place,
        );
        Some(SmallDisk { place })
    }

    fn remount(&self, how: &str) {
        mount(&["-o", &format!("remount,{how}")], &self.place);
    }

    /// Fills what is left of it, and says how.
    fn fill(&self) -> PathBuf {
        let path = self.place.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let page = [1; 512];
        while file.write_all(&page).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever a failed test has left running keeps it busy. Nothing can be done about an error here.
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

fn mount(words: &[&str], place: &Path) {
    let status = Command::new("mount")
        .args(words)
        .arg(place)
        .status()
        .unwrap();
    assert!(status.success(), "mount {words:?} {}", place.display());
}

/// All files and folders below a folder, with their contents.
fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path.clone());
            }
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_job_may_fill_the_disk() {
    let session = Session::new();
    let Some(disk) = SmallDisk::mount(&session) else {
        return;
    };
    let document = json!({ "title": "full", "tasks": [
        session.task("fills", "head -c 9000000 /dev/zero > $MIZZEN_JOB_DIR/filler || { echo no room; exit 9; }"),
        { "name": "follows", "after": "fills", "run": session.task("follows", "")["run"] },
    ]});
    session.write("experiment.json", &document.to_string());
    let said = session.run(&["launch", "experiment.json"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("fills FAILED") && said.stderr.contains("exit code 9"),
        "{said:?}"
    );
    let full = status(&session, "full");
    assert_eq!(
        ends(&full),
        [
            ("fills", "FAILED app-failure"),
            ("follows", "CANCELLED upstream-failed")
        ]
        .map(|(name, end)| (name.to_owned(), end.to_owned()))
        .into()
    );
    session.ran_as_told(&full);
    session.nothing_is_left();

    // The last of it as well: now nothing can be written. What was is still told.
    let filler = disk.fill();
    assert_eq!(status(&session, "full"), full);
    let before = snapshot(&session.home());
    for words in [
        &["launch", "experiment.json"][..],
        &["launch", "--title", "other", "experiment.json"],
        &["run", "--", "true"],
    ] {
        let said = session.run(words);
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.to_lowercase().contains("no space"), "{said:?}");
        assert!(said.stderr.contains("hint: free some space"), "{said:?}");
        session.nothing_is_left();
    }
    let (names, names_before): (Vec<_>, Vec<_>) = (
        snapshot(&session.home())
            .into_iter()
            .map(|(path, _)| path)
            .collect(),
        before.into_iter().map(|(path, _)| path).collect(),
    );
    assert_eq!(names, names_before, "something half made is left");

    std::fs::remove_file(filler).unwrap();
    for path in names.iter().filter(|path| path.ends_with("fills/filler")) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(status(&session, "full"), full);
    assert_eq!(session.json(&["ls", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(session.run(&["run", "--", "true"]).status, 0);
    session.nothing_is_left();
}

#[test]
fn a_disk_that_fills_up_while_jobs_run_loses_nothing() {
    let session = Session::new();
    let Some(disk) = SmallDisk::mount(&session) else {
        return;
    };
    for gate in ["one", "two", "three"] {
        session.gate(gate);
    }
    let document = json!({ "title": "full", "executors": { "local": { "kind": "local", "slots": 2 } }, "tasks": [
        session.task("one", "read x < one; exit 4"),
        session.task("two", "read x < two"),
        { "name": "three", "after": { "task": "one", "when": "failed" }, "run": session.task("three", "read x < three")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("one:1");
    session.runs("two:1");
    until("both are written down", || {
        (status(&session, &id)["jobs"][1]["state"] == "RUNNING").then_some(())
    });
    let filler = disk.fill();
    // The end of one, and the start and the end of three, meet a full disk: the last reserve is for such words.
    session.release("one");
    until("the end of one is known", || {
        (job(&status(&session, &id), "one")["state"] == "FAILED").then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    session.release("two");
    until("three has been decided on", || {
        let state = job(&status(&session, &id), "three")["state"].clone();
        ["RUNNING", "FAILED"]
            .contains(&state.as_str().unwrap())
            .then_some(())
    });
    if session.ledger().contains_key("three:1") {
        session.release("three");
    }
    assert_eq!(session.run(&["wait", &id]).status, 1);
    let status = status(&session, &id);
    assert_eq!(job(&status, "one")["attempts"][0]["exit_code"], 4);
    assert_eq!(ends(&status)["two"], "SUCCEEDED");
    let three = &job(&status, "three");
    // It either found room, or is told not to have started for want of it.
    if three["state"] == "FAILED" {
        assert_eq!(three["cause"], "launch-failure");
        assert!(!session.ledger().contains_key("three:1"));
        assert!(
            session.ok(&["status", &id]).contains("No space left"),
            "{}",
            session.ok(&["status", &id])
        );
    } else {
        assert_eq!(session.ledger()["three:1"], 1);
    }
    assert_eq!(
        (session.ledger()["one:1"], session.ledger()["two:1"]),
        (1, 1)
    );
    session.nothing_is_left();
}

#[test]
fn a_read_only_home_can_be_looked_at() {
    let session = Session::new();
    let Some(disk) = SmallDisk::mount(&session) else {
        return;
    };
    session.ok(&["run", "--title", "before", "--", "echo", "hello"]);
    session.nothing_is_left();
    let before = snapshot(&session.home());
    disk.remount("ro");
    for words in [
        &["run", "--", "true"][..],
        &["retry", "before", "echo"],
        &["rm", "before"],
    ] {
        let said = session.run(words);
        assert_eq!(said.status, 2, "{words:?}: {said:?}");
        let says_so = said.stderr.contains("can't be written")
            || said.stderr.to_lowercase().contains("read-only");
        assert!(says_so, "{words:?}: {said:?}");
    }
    let said = session.run(&["run", "--", "true"]);
    assert!(
        said.stderr
            .contains("hint: give yourself the right to write there, or set MIZZEN_HOME"),
        "{said:?}"
    );
    assert_eq!(session.ok(&["logs", "before"]), "hello\n");
    assert_eq!(status(&session, "before")["state"], "SUCCEEDED");
    assert_eq!(session.json(&["ls", "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(session.run(&["wait", "before"]).status, 0);
    assert_eq!(
        session.run(&["cancel", "before"]).status,
        0,
        "nothing to cancel, nothing to write"
    );
    disk.remount("rw");
    assert!(snapshot(&session.home()) == before, "nothing was written");
    session.nothing_is_left();
}

#[test]
fn a_home_may_vanish_under_a_running_experiment() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "gone", "executors": { "local": { "kind": "local", "slots": 1 } }, "tasks": [
        session.task("running", "read x < gate; echo ended >> ended"),
        session.task("waiting", ""),
    ]});
    session.write("experiment.json", &document.to_string());
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("running:1");
    std::fs::remove_dir_all(session.home()).unwrap();
    session.release("gate");
    until("the job has ended by itself", || {
        session.workdir().join("ended").exists().then_some(())
    });
    let said = client.end();
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("mizzen.db"), "{said:?}");
    // An agent tries for a minute to write its record.
    session.nothing_is_left_within(Duration::from_secs(90));
    assert!(
        !session.home().exists(),
        "nobody makes a home again that was removed"
    );
    assert!(!session.ledger().contains_key("waiting:1"));
}

#[test]
fn a_moved_home_ends_its_detached_supervisor() {
    let session = Session::new();
    session.gate("gate");
    let id = launch_detached(
        &session,
        &json!({ "title": "moved", "tasks": [session.task("one", "read x < gate; exit 6")] }),
    );
    session.runs("one:1");
    let elsewhere = session.folder().join("elsewhere");
    std::fs::rename(session.home(), &elsewhere).unwrap();
    session.release("gate");
    session.nothing_is_left_within(Duration::from_secs(90));
    // Put back, the experiment goes on where it was: the job's end is lost with its record, and it is not run again.
    std::fs::rename(&elsewhere, session.home()).unwrap();
    assert_eq!(session.run(&["wait", &id]).status, 1);
    let status = status(&session, &id);
    assert_eq!(status["state"], "FAILED");
    session.ran_as_told(&status);
    session.nothing_is_left();
}

/// What commands say about a database that they can't use.
fn refused(session: &Session, words: &[&str], hint: &str) {
    let before = snapshot(&session.home());
    for command in [
        &["ls"][..],
        &["status"],
        &["logs"],
        &["wait"],
        &["cancel", "latest"],
        &["run", "--", "true"],
        &["run", "-d", "--", "true"],
    ] {
        let said = session.run(command);
        assert_eq!(said.status, 2, "{command:?}: {said:?}");
        for word in words.iter().chain(&["mizzen.db"]) {
            assert!(
                said.stderr.contains(word),
                "{command:?}: `{word}` in {said:?}"
            );
        }
        assert!(
            said.stderr.contains(&format!("hint: {hint}")),
            "{command:?}: {said:?}"
        );
        session.nothing_is_left();
    }
    assert!(snapshot(&session.home()) == before, "nothing was written");
}

#[test]
fn garbage_is_no_database() {
    let session = Session::new();
    std::fs::create_dir(session.home()).unwrap();
    let garbage: Vec<u8> = (0..20_000u32)
        .map(|number| (number * 31 % 251) as u8)
        .collect();
    std::fs::write(session.home().join("mizzen.db"), garbage).unwrap();
    refused(&session, &["is damaged"], "`mizzen doctor` looks closer");
    let said = session.run(&["doctor"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stdout.contains("damaged"), "{said:?}");
}

#[test]
fn a_newer_database_is_not_touched() {
    let session = Session::new();
    session.ok(&["run", "--", "true"]);
    session.nothing_is_left();
    let database = rusqlite::Connection::open(session.home().join("mizzen.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    refused(
        &session,
        &["has version 99"],
        "use the mizzen that made it, or a newer one",
    );
}

#[test]
fn a_cut_database_is_told_and_not_made_worse() {
    let session = Session::new();
    let tasks: Vec<_> = (0..60)
        .map(|number| json!({ "name": format!("job-{number}"), "run": ["true"] }))
        .collect();
    session.write(
        "experiment.json",
        &json!({ "title": "cut", "tasks": tasks }).to_string(),
    );
    session.ok(&["launch", "experiment.json"]);
    session.nothing_is_left();
    let path = session.home().join("mizzen.db");
    let whole = std::fs::read(&path).unwrap();
    for eighths in 1..8 {
        let cut = &whole[..whole.len() * eighths / 8 / 512 * 512 + 100];
        std::fs::write(&path, cut).unwrap();
        for command in [&["ls"][..], &["status"], &["logs"], &["wait"]] {
            let said = session.run(command);
            // What does not touch the missing part may still be told.
            assert!(
                said.status == 0 || said.status == 2,
                "{command:?} after {eighths}/8: {said:?}"
            );
            if said.status == 2 {
                assert!(
                    said.stderr.contains("is damaged") && said.stderr.contains("hint: "),
                    "{command:?} after {eighths}/8: {said:?}"
                );
            }
        }
        let said = session.run(&["doctor"]);
        assert_eq!(said.status, 1, "after {eighths}/8: {said:?}");
        assert!(
            std::fs::read(&path).unwrap() == cut,
            "after {eighths}/8: something was written"
        );
        let said = session.run(&["run", "--", "true"]);
        assert!(
            said.status == 2 || said.status == 0,
            "after {eighths}/8: {said:?}"
        );
        assert!(!said.stderr.contains("panicked"), "{said:?}");
        session.nothing_is_left();
    }
    // Moved away, as the hint says, a new one is made.
    std::fs::rename(&path, session.home().join("damaged.db")).unwrap();
    session.ok(&["run", "--", "true"]);
    until_within(Duration::from_secs(5), "one experiment", || {
        (session.json(&["ls", "--json"]).as_array().unwrap().len() == 1).then_some(())
    });
    session.nothing_is_left();
}
