//! The log of events cut behind every record: whatever is lost with the rest, the end is the same and nothing runs twice.
//!
//! ```text
//! run to the end ─▶ master ─▶ for each k: copy, delete the events behind k, rebuild, `mizzen wait` ─▶ same end, same ledger
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mizzen_core::model::{EventKind, ExperimentId};
use mizzen_core::store::Store;
use serde_json::{Value, json};

use crate::scene::{Scene, ends, launch_detached, status, until};
use crate::support::Session;

/// A finished experiment, put aside to be cut again and again.
struct Master {
    session: Session,
    id: ExperimentId,
    events: Vec<(u64, EventKind)>,
    status: Value,
    ledger: BTreeMap<String, usize>,
}

impl Master {
    fn of(session: Session, id: &str) -> Master {
        session.nothing_is_left();
        let status = status(&session, id);
        let id = ExperimentId::parse(id).unwrap();
        let store = open(&session.home());
        let events = store
            .events_since(&id, 0)
            .unwrap()
            .into_iter()
            .map(|event| (event.sequence, event.kind))
            .collect();
        drop(store);
        std::fs::rename(session.home(), session.folder().join("master")).unwrap();
        let ledger = session.ledger();
        Master {
            session,
            id,
            events,
            status,
            ledger,
        }
    }

    /// The home as it would be had only the first `count` events been written.
    fn cut(&self, count: usize) {
        let home = self.session.home();
        let _ = std::fs::remove_dir_all(&home);
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(self.session.folder().join("master"))
            .arg(&home)
            .status();
        assert!(copied.unwrap().success());
        let last = count.checked_sub(1).map_or(0, |index| self.events[index].0);
        let database = rusqlite::Connection::open(home.join("mizzen.db")).unwrap();
        database
            .execute("DELETE FROM events WHERE sequence > ?1", [last as i64])
            .unwrap();
        drop(database);
        open(&home).rebuild(&self.id).unwrap();
        let ledger: String = self
            .ledger
            .iter()
            .flat_map(|(line, count)| std::iter::repeat_n(format!("{line}\n"), *count))
            .collect();
        std::fs::write(self.session.ledger_path(), ledger).unwrap();
    }

    fn folder_of(&self, job: &str) -> PathBuf {
        self.session
            .home()
            .join("experiments")
            .join(self.status["title"].as_str().unwrap())
            .join(self.id.as_str())
            .join(job)
    }

    /// Recovers, and compares the end.
    fn recovers(&self, what: &str) -> Value {
        let said = self.session.run(&["wait", self.id.as_str()]);
        let status = status(&self.session, self.id.as_str());
        assert_eq!(
            said.status,
            i32::from(self.status["state"] != "SUCCEEDED"),
            "{what}: {said:?}"
        );
        assert_eq!(status["state"], self.status["state"], "{what}: {status:#}");
        assert_eq!(ends(&status), ends(&self.status), "{what}: {status:#}");
        assert_eq!(
            attempts(&status),
            attempts(&self.status),
            "{what}: {status:#}"
        );
        self.session.nothing_is_left();
        status
    }
}

fn open(home: &Path) -> Store {
    Store::open_existing(camino::Utf8Path::from_path(home).unwrap())
        .unwrap()
        .unwrap()
}

/// What each attempt came to.
fn attempts(status: &Value) -> Vec<String> {
    let jobs = status["jobs"].as_array().unwrap();
    let attempts = jobs.iter().flat_map(|job| {
        let attempts = job["attempts"].as_array().unwrap();
        attempts.iter().map(move |attempt| {
            format!(
                "{}:{} {} {} {}",
                job["name"],
                attempt["number"],
                attempt["state"],
                attempt["cause"],
                attempt["exit_code"]
            )
        })
    });
    attempts.collect()
}

/// Dependencies of every kind, a retry, a failure with what is skipped because of it, a group, a sweep.
fn varied() -> Master {
    let session = Session::new();
    let task = |name: &str, script: &str, more: Value| {
        let mut task = session.task(name, script);
        task.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        task
    };
    let document = json!({ "title": "varied", "groups": { "pair": { "leader": "client" } }, "tasks": [
        task("first", "", json!({})),
        task("flaky", "[ $MIZZEN_ATTEMPT = 2 ]", json!({ "retries": { "failure": 1, "backoff": "10ms" }, "after": "first" })),
        task("bad", "exit 3", json!({ "after": "first" })),
        task("skipped", "", json!({ "after": "bad" })),
        task("handler", "", json!({ "after": { "task": "bad", "when": "failed" } })),
        task("not-needed", "", json!({ "after": { "task": "flaky", "when": "failed" } })),
        task("server", "while :; do sleep 0.02; done", json!({ "group": "pair", "after": "flaky" })),
        task("client", "sleep 0.1", json!({ "group": "pair", "after": "flaky" })),
        task("sweep", "", json!({ "sweep": { "x": [1, 2] }, "after": { "task": "client", "when": "any" } })),
    ]});
    let id = launch_detached(&session, &document);
    assert_eq!(session.run(&["wait", &id]).status, 1);
    session.ran_as_told(&status(&session, &id));
    Master::of(session, &id)
}

#[test]
fn nothing_runs_twice_wherever_the_log_is_cut() {
    let master = varied();
    assert!(master.events.len() >= 20, "{:?}", master.events);
    for count in 0..=master.events.len() {
        master.cut(count);
        master.recovers(&format!(
            "{count} events left, the last is {:?}",
            count.checked_sub(1).map(|last| &master.events[last].1)
        ));
        assert_eq!(
            master.session.ledger(),
            master.ledger,
            "{count} events left"
        );
    }
}

#[test]
fn what_had_not_started_runs_wherever_the_log_is_cut() {
    let master = varied();
    let names: Vec<&str> = master.status["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["name"].as_str().unwrap())
        .collect();
    for count in 0..=master.events.len() {
        master.cut(count);
        // The attempts whose start was not written have not happened; what had started keeps its claim and its record.
        let mut expected = master.ledger.clone();
        let members = |job: u32| {
            if ["server", "client"].contains(&names[job as usize]) {
                0
            } else {
                job + 1
            }
        };
        for (_, event) in &master.events[count..] {
            if let EventKind::Started { job, attempt, .. } = event {
                // A group is claimed as a whole before any of it starts, and its starts are written at once.
                let is_of_a_started_group = master.events[..count].iter().any(|(_, event)| {
                    matches!(event, EventKind::Started { job: other, .. } if members(*other) == members(*job) && members(*job) == 0)
                });
                if is_of_a_started_group {
                    continue;
                }
                let name = names[*job as usize];
                std::fs::remove_dir_all(master.folder_of(name).join(format!("attempts/{attempt}")))
                    .unwrap();
                *expected.get_mut(&format!("{name}:{attempt}")).unwrap() += 1;
            }
        }
        master.recovers(&format!("{count} events left"));
        assert_eq!(master.session.ledger(), expected, "{count} events left");
    }
}

#[test]
fn a_cancel_is_not_forgotten_wherever_the_log_is_cut() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "cancelled", "executors": { "local": { "kind": "local", "slots": 1 } }, "tasks": [
        session.task("running", "read x < gate"),
        session.task("waiting", ""),
        { "name": "after", "after": { "task": "running", "when": "any" }, "run": session.task("after", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("running:1");
    until("it is written down", || {
        (status(&session, &id)["jobs"][0]["state"] == "RUNNING").then_some(())
    });
    session.ok(&["cancel", &id]);
    let master = Master::of(session, &id);
    let asked = master
        .events
        .iter()
        .position(|(_, event)| matches!(event, EventKind::CancelRequested { .. }))
        .unwrap();
    for count in asked + 1..=master.events.len() {
        master.cut(count);
        master.recovers(&format!("{count} events left"));
        assert_eq!(
            master.session.ledger(),
            master.ledger,
            "{count} events left: what was cancelled does not start"
        );
    }
}

#[test]
fn a_retry_by_the_user_is_not_forgotten_wherever_the_log_is_cut() {
    let session = Session::new();
    let document = json!({ "title": "again", "tasks": [
        session.task("bad", "test -e repaired"),
        { "name": "after", "after": "bad", "run": session.task("after", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    assert_eq!(session.run(&["wait", &id]).status, 1);
    session.write("repaired", "");
    session.ok(&["retry", &id]);
    let master = Master::of(session, &id);
    let last_reset = master
        .events
        .iter()
        .rposition(|(_, event)| matches!(event, EventKind::Reset { .. }))
        .unwrap();
    for count in last_reset + 1..=master.events.len() {
        master.cut(count);
        master.recovers(&format!("{count} events left"));
        assert_eq!(
            master.session.ledger(),
            master.ledger,
            "{count} events left"
        );
    }
}
