//! Ctrl-C once and twice, where jobs don't do what they are told. (`tests/interrupts.rs` has the friendly ones.)

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::{Scene, ends, kill_9, status, until};
use crate::support::Session;

/// Ignores everything that can be ignored, and so do its children.
const STUBBORN: &str =
    "trap '' INT TERM HUP; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done";

#[test]
fn the_second_ctrl_c_kills_what_ignores_the_first() {
    let session = Session::new();
    let mut tasks = vec![session.task("one", STUBBORN), session.task("two", STUBBORN)];
    for task in &mut tasks {
        task["grace"] = json!("1h");
    }
    let document = json!({ "title": "stubborn", "tasks": tasks, "executors": { "local": { "kind": "local", "slots": 2 } } });
    session.write("experiment.json", &document.to_string());
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("one:1");
    session.runs("two:1");
    until("all four shells", || {
        (session.ranks().len() == 2).then_some(())
    });
    client.signal(Signal::SIGINT);
    until("the first Ctrl-C is written down", || {
        let events = rusqlite::Connection::open(session.home().join("mizzen.db")).unwrap();
        let found = "SELECT count(*) FROM events WHERE kind LIKE '%cancel-requested%'";
        (events
            .query_row(found, [], |row| row.get::<_, i64>(0))
            .unwrap()
            == 1)
            .then_some(())
    });
    assert_eq!(session.ranks().len(), 2, "they don't listen");
    let began = Instant::now();
    client.signal(Signal::SIGINT);
    let said = client.end();
    assert_eq!(said.status, 130, "{said:?}");
    assert!(
        said.stderr.contains("once more kills them at once"),
        "{said:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "killed, not asked"
    );
    let status = status(&session, "stubborn");
    assert!(
        ends(&status)
            .values()
            .all(|end| end == "CANCELLED cancelled"),
        "{status:#}"
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn ctrl_c_reaches_jobs_that_another_supervisor_started() {
    let session = Session::new();
    let mut task = session.task("one", STUBBORN);
    task["grace"] = json!("1h");
    session.write(
        "experiment.json",
        &json!({ "title": "adopted", "tasks": [task] }).to_string(),
    );
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("one:1");
    let id = session.json(&["status", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = session.supervisors(&id)[0];
    kill_9(first);
    until("another supervisor", || {
        session
            .supervisors(&id)
            .into_iter()
            .find(|pid| *pid != first)
    });
    client.signal(Signal::SIGINT);
    client.signal(Signal::SIGINT);
    // Two that come at once may be one for the kernel; a third one makes sure of the second.
    let events = || status(&session, &id);
    until("the end", || {
        let over = events()["state"] == "CANCELLED";
        if !over && !session.ranks().is_empty() {
            client.signal(Signal::SIGINT);
        }
        over.then_some(())
    });
    assert_eq!(client.end().status, 130);
    assert_eq!(ends(&events())["one"], "CANCELLED cancelled");
    session.nothing_is_left();
}

#[test]
fn a_ctrl_c_keeps_what_waits_from_starting() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "queue", "executors": { "local": { "kind": "local", "slots": 1 } }, "tasks": [
        session.task("running", "read x < gate"),
        session.task("waiting", ""),
        { "name": "after", "after": "running", "run": session.task("after", "")["run"] },
    ]});
    session.write("experiment.json", &document.to_string());
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("running:1");
    client.signal(Signal::SIGINT);
    assert_eq!(client.end().status, 130);
    let status = status(&session, "queue");
    assert!(
        ends(&status)
            .values()
            .all(|end| end == "CANCELLED cancelled"),
        "{status:#}"
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}
