//! The store under load, and a supervisor whose lease was taken by another one.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::scene::{Scene, ends, job, launch_detached, status, until};
use crate::support::Session;

fn database(home: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(home.join("mizzen.db")).unwrap();
    database.busy_timeout(crate::support::LIMIT).unwrap();
    database
}

#[test]
fn readers_see_whole_states_during_heavy_writing() {
    let session = Session::new();
    let tasks: Vec<Value> = (0..4)
        .map(|number| {
            let mut task = json!({ "name": format!("many-{number}"), "run": ["true", "$${x}"], "sweep": { "x": (0..75).collect::<Vec<_>>() } });
            task["run"] = json!(["true"]);
            task
        })
        .collect();
    let document = json!({ "title": "heavy", "executors": { "local": { "kind": "local", "slots": 4 } }, "tasks": tasks });
    let id = launch_detached(&session, &document);
    let mut looks = 0;
    let mut ended_before = 0;
    loop {
        let status = status(&session, &id);
        let jobs = status["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 300);
        let mut ended = 0;
        for job in jobs {
            let attempts = job["attempts"].as_array().unwrap();
            // A job's row and its attempt's are written together.
            match job["state"].as_str().unwrap() {
                "SUCCEEDED" => {
                    ended += 1;
                    assert!(
                        attempts.len() == 1 && attempts[0]["state"] == "SUCCEEDED",
                        "{job}"
                    );
                }
                "RUNNING" => assert!(
                    attempts.len() == 1 && attempts[0]["state"] == "RUNNING",
                    "{job}"
                ),
                "UNSUBMITTED" => assert!(attempts.is_empty(), "{job}"),
                other => panic!("{other}: {job}"),
            }
        }
        assert!(ended >= ended_before, "nothing that has ended goes back");
        ended_before = ended;
        looks += 1;
        if status["state"] == "SUCCEEDED" {
            assert_eq!(ended, 300);
            break;
        }
        assert_eq!(session.run(&["ls", "--json"]).status, 0);
    }
    assert!(looks > 1);
    session.nothing_is_left();
}

#[test]
fn a_supervisor_whose_lease_is_taken_leaves_the_jobs_alone() {
    let session = Session::new();
    session.gate("gate");
    session.gate("second");
    let document = json!({ "title": "taken", "executors": { "local": { "kind": "local", "slots": 2 } }, "tasks": [
        session.task("long", "read x < gate"),
        session.task("short", "read x < second"),
        { "name": "after", "after": "short", "run": session.task("after", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("long:1");
    session.runs("short:1");
    until("both are written down", || {
        (status(&session, &id)["jobs"][1]["state"] == "RUNNING").then_some(())
    });
    let supervisor = session.supervisors(&id)[0];
    kill(Pid::from_raw(supervisor), Signal::SIGSTOP).unwrap();
    // As a supervisor on another host would, that takes this one for dead. Nobody here can ask about that process.
    let store = database(&session.home());
    let now = jiff::Timestamp::now().as_microsecond();
    let taken = store.execute(
        "UPDATE leases SET generation = generation + 1, holder = ?1, renewed = ?2",
        rusqlite::params![ELSEWHERE, now],
    );
    assert_eq!(taken.unwrap(), 1);
    let events = || {
        store
            .query_row("SELECT count(*) FROM events", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    let before = events();
    session.release("second");
    let record = session
        .home()
        .join(format!("experiments/taken/{id}/short/attempts/1/exit.json"));
    until("the short one has ended", || record.exists().then_some(()));
    kill(Pid::from_raw(supervisor), Signal::SIGCONT).unwrap();
    until("the first supervisor has ended", || {
        (!session.supervisors(&id).contains(&supervisor)).then_some(())
    });
    assert_eq!(events(), before, "it wrote nothing more");
    // It may have started what comes next before it tried to write about it: the claim keeps that from running twice.
    until("the running job was left alone", || {
        (session.ranks().len() == 1).then_some(())
    });
    // The other one lives as far as can be known, so nobody else drives.
    let said = session.run(&["supervise", &id]);
    assert_eq!(said.status, 2);
    assert!(
        said.stderr
            .contains("on elsewhere.example drives the experiment already"),
        "{said:?}"
    );
    session.ok(&["status", &id]);
    assert!(session.supervisors(&id).is_empty());
    // Once it has given the lease back, or was not heard of for a while, somebody here goes on.
    store
        .execute("UPDATE leases SET renewed = renewed - 61000000", [])
        .unwrap();
    let wait = session.start(&["wait", &id]);
    session.runs("after:1");
    session.release("gate");
    assert_eq!(wait.end().status, 0);
    let status = status(&session, &id);
    assert!(
        ends(&status).values().all(|end| end == "SUCCEEDED"),
        "{status:#}"
    );
    assert_eq!(
        job(&status, "long")["attempts"].as_array().unwrap().len(),
        1
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

/// A process of another machine, as a claim or a lease has it: boot, pid, start, host.
const ELSEWHERE: &str = "00000000-0000-0000-0000-000000000000:4242:1:elsewhere.example";
