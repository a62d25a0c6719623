//! Several commands at once, on one home and on one experiment.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{
    Dice, Scene, complaints, ends, job, kill_9, launch_detached, pause, status, until,
};
use crate::support::Session;

#[test]
fn the_same_file_may_be_launched_twice_at_once() {
    let session = Session::new();
    let script = "echo $MIZZEN_EXPERIMENT_ID >> ids";
    let document = json!({ "title": "twice", "tasks": [
        session.task("one", script),
        { "name": "two", "after": "one", "run": session.task("two", script)["run"] },
    ]});
    session.write("experiment.json", &document.to_string());
    let clients: Vec<_> = (0..4)
        .map(|_| session.start(&["launch", "experiment.json"]))
        .collect();
    for client in clients {
        let said = client.end();
        assert_eq!(said.status, 0, "{said:?}");
    }
    assert_eq!(
        session.ledger(),
        [("one:1".to_owned(), 4), ("two:1".to_owned(), 4)].into()
    );
    let ids = std::fs::read_to_string(session.workdir().join("ids")).unwrap();
    let different: BTreeSet<&str> = ids.lines().collect();
    assert_eq!((ids.lines().count(), different.len()), (8, 4), "{ids}");
    session.nothing_is_left();
}

#[test]
fn many_may_wait_and_look() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "watched", "tasks": [
        session.task("one", "read x < gate"),
        { "name": "two", "after": "one", "run": session.task("two", "exit 3")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    let mut commands: Vec<_> = (0..3).map(|_| session.start(&["wait", &id])).collect();
    commands.extend((0..2).map(|_| session.start(&["logs", "-f", &id])));
    session.runs("one:1");
    for _ in 0..10 {
        assert_eq!(status(&session, &id)["state"], "RUNNING");
    }
    session.release("gate");
    let statuses: Vec<i32> = commands
        .into_iter()
        .map(|command| command.end().status)
        .collect();
    assert_eq!(
        statuses[..3],
        [1, 1, 1],
        "what `wait` says of a job that failed"
    );
    session.ran_as_told(&status(&session, &id));
    session.nothing_is_left();
}

#[test]
fn one_of_many_supervisors_drives() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "drivers", "tasks": [
        session.task("one", "read x < gate"),
        { "name": "two", "after": "one", "run": session.task("two", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("one:1");
    kill_9(session.supervisors(&id)[0]);
    let supervisors: Vec<_> = (0..5).map(|_| session.start(&["supervise", &id])).collect();
    until("one is left", || {
        (session.supervisors(&id).len() == 1).then_some(())
    });
    session.release("gate");
    let said: Vec<_> = supervisors
        .into_iter()
        .map(crate::support::Running::end)
        .collect();
    assert_eq!(
        said.iter().filter(|said| said.status == 0).count(),
        1,
        "{said:?}"
    );
    for said in said.iter().filter(|said| said.status != 0) {
        assert_eq!(said.status, 2, "{said:?}");
        assert!(
            said.stderr.contains("drives the experiment already"),
            "{said:?}"
        );
    }
    session.ran_as_told(&status(&session, &id));
    session.nothing_is_left();
}

#[test]
fn cancelling_twice_at_once_cancels_once() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "cancelled", "executors": { "local": { "kind": "local", "slots": 1 } }, "tasks": [
        session.task("running", "read x < gate"),
        session.task("waiting", ""),
    ]});
    let id = launch_detached(&session, &document);
    session.runs("running:1");
    let cancels: Vec<_> = (0..3).map(|_| session.start(&["cancel", &id])).collect();
    for cancel in cancels {
        let said = cancel.end();
        assert_eq!(said.status, 0, "{said:?}");
    }
    let status = status(&session, &id);
    assert!(
        ends(&status)
            .values()
            .all(|end| end == "CANCELLED cancelled"),
        "{status:#}"
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
    assert_eq!(complaints(&session, "cancelled", &id), [""; 0]);
}

/// What a cancelled or broken-off experiment must look like: what ran is told of, what is told of ran.
fn ended_consistently(session: &Session, title: &str, id: &str) -> Value {
    let status = until("the end", || {
        let status = status(session, id);
        ["SUCCEEDED", "FAILED", "CANCELLED"]
            .contains(&status["state"].as_str().unwrap())
            .then_some(status)
    });
    session.nothing_is_left();
    assert_eq!(complaints(session, title, id), [""; 0]);
    let ledger = session.ledger();
    let mut told = 0;
    for job in status["jobs"].as_array().unwrap() {
        for attempt in job["attempts"].as_array().unwrap() {
            let ran = ledger
                .get(&format!(
                    "{}:{}",
                    job["name"].as_str().unwrap(),
                    attempt["number"]
                ))
                .copied()
                .unwrap_or(0);
            // The signal may have met a shell before its first command.
            assert!(
                ran == 1 || (ran == 0 && attempt["state"] == "CANCELLED"),
                "{ran} times: {attempt}"
            );
            told += ran;
        }
    }
    assert_eq!(
        ledger.values().sum::<usize>(),
        told,
        "something ran of which nothing is told: {ledger:?}, {status:#}"
    );
    status
}

#[test]
fn a_cancel_may_come_at_any_moment() {
    let mut dice = Dice(0xCA9CE1);
    for _ in 0..12 {
        let session = Session::new();
        let tasks: Vec<Value> = (0..30)
            .map(|number| session.task(&format!("job-{number}"), ""))
            .collect();
        let document = json!({ "title": "moments", "executors": { "local": { "kind": "local", "slots": 3 } }, "tasks": tasks });
        let id = launch_detached(&session, &document);
        pause(Duration::from_millis(dice.below(80)));
        assert_eq!(session.run(&["cancel", &id]).status, 0);
        let status = ended_consistently(&session, "moments", &id);
        assert!(
            ends(&status)
                .values()
                .all(|end| end == "SUCCEEDED" || end == "CANCELLED cancelled"),
            "{status:#}"
        );
    }
}

#[test]
fn a_failure_may_come_while_others_are_about_to_start() {
    for on_failure in ["finish", "cancel", "finish", "cancel", "finish", "finish"] {
        let session = Session::new();
        let mut tasks: Vec<Value> = (0..8)
            .map(|number| session.task(&format!("job-{number}"), ""))
            .collect();
        tasks.insert(3, session.task("bad", "exit 1"));
        let document = json!({
            "title": "failing", "on_failure": on_failure, "tasks": tasks,
            "executors": { "local": { "kind": "local", "slots": 8 } },
        });
        let id = launch_detached(&session, &document);
        let status = ended_consistently(&session, "failing", &id);
        assert_eq!(status["state"], "FAILED");
        assert_eq!(job(&status, "bad")["cause"], "app-failure");
    }
}

#[test]
fn what_failed_may_be_tried_again_while_the_rest_runs() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "again", "executors": { "local": { "kind": "local", "slots": 2 } }, "tasks": [
        session.task("long", "read x < gate"),
        session.task("bad", "test -e repaired"),
        { "name": "follower", "after": "bad", "run": session.task("follower", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("long:1");
    until("bad has failed", || {
        (job(&status(&session, &id), "bad")["state"] == "FAILED").then_some(())
    });
    session.write("repaired", "");
    session.ok(&["retry", "-d", &id]);
    // Nobody is attached, nobody looks: it goes on by itself.
    session.runs("bad:2");
    session.runs("follower:1");
    session.release("gate");
    assert_eq!(session.run(&["wait", &id]).status, 0);
    session.ran_as_told(&status(&session, &id));
    session.nothing_is_left();
}

#[test]
fn retrying_twice_at_once_runs_once() {
    let session = Session::new();
    let document = json!({ "title": "again", "tasks": [session.task("bad", "test -e repaired"), session.task("good", "")] });
    let id = launch_detached(&session, &document);
    assert_eq!(session.run(&["wait", &id]).status, 1);
    session.nothing_is_left();
    session.write("repaired", "");
    let retries: Vec<_> = (0..3).map(|_| session.start(&["retry", &id])).collect();
    let said: Vec<_> = retries
        .into_iter()
        .map(crate::support::Running::end)
        .collect();
    assert!(said.iter().any(|said| said.status == 0), "{said:?}");
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let status = status(&session, &id);
    session.ran_as_told(&status);
    assert_eq!(
        job(&status, "good")["attempts"].as_array().unwrap().len(),
        1
    );
    session.nothing_is_left();
}
