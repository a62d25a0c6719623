//! `kill -9` of the client, the supervisor, the agent, a rank, and several of them at once.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::{
    Dice, Scene, ends, exit_record, job, kill_9, launch_detached, pause, status, until,
};
use crate::support::Session;

#[test]
fn the_client_may_die() {
    let session = Session::new();
    session.gate("gate");
    let document = json!({ "title": "client", "tasks": [
        session.task("one", "read x < gate"),
        { "name": "two", "after": "one", "run": session.task("two", "")["run"] },
    ]});
    session.write("experiment.json", &document.to_string());
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("one:1");
    client.signal(Signal::SIGKILL);
    assert_eq!(client.end().status, -1);
    session.release("gate");
    // Nobody but the supervisor sees to it that the second one starts.
    session.runs("two:1");
    assert_eq!(session.run(&["wait"]).status, 0);
    session.ran_as_told(&status(&session, "client"));
    session.nothing_is_left();
}

/// One job that outlives the supervisor, one that ends while nobody watches, two that wait for their turn.
fn four_jobs(session: &Session) -> serde_json::Value {
    session.gate("long");
    session.gate("unseen");
    json!({ "title": "four", "executors": { "local": { "kind": "local", "slots": 2 } }, "tasks": [
        session.task("long", "read x < long"),
        session.task("unseen", "read x < unseen; exit 7"),
        session.task("queued", ""),
        { "name": "after", "after": ["long", { "task": "unseen", "when": "failed" }], "run": session.task("after", "")["run"] },
    ]})
}

/// Kills the supervisor while both jobs run, and lets one of them end before anybody looks.
fn kill_supervisor_of_four(session: &Session, id: &str) {
    session.runs("long:1");
    session.runs("unseen:1");
    kill_9(session.supervisors(id)[0]);
    until("no supervisor is there", || {
        session.supervisors(id).is_empty().then_some(())
    });
    session.release("unseen");
    let record = session
        .home()
        .join(format!("experiments/four/{id}/unseen/attempts/1/exit.json"));
    until("the record of the end that nobody saw", || {
        record.exists().then_some(())
    });
}

fn four_ended_well(session: &Session, id: &str) {
    let status = status(session, id);
    let expected = [
        ("after", "SUCCEEDED"),
        ("long", "SUCCEEDED"),
        ("queued", "SUCCEEDED"),
        ("unseen", "FAILED app-failure"),
    ];
    assert_eq!(
        ends(&status),
        expected
            .map(|(name, end)| (name.to_owned(), end.to_owned()))
            .into()
    );
    assert_eq!(job(&status, "unseen")["attempts"][0]["exit_code"], 7);
    assert_eq!(
        session.ledger().len(),
        4,
        "one attempt each: {:?}",
        session.ledger()
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn a_killed_supervisor_is_replaced_by_wait() {
    let session = Session::new();
    let id = launch_detached(&session, &four_jobs(&session));
    kill_supervisor_of_four(&session, &id);
    let wait = session.start(&["wait", &id]);
    session.runs("queued:1");
    session.release("long");
    assert_eq!(wait.end().status, 1);
    four_ended_well(&session, &id);
}

#[test]
fn a_killed_supervisor_is_replaced_by_status() {
    let session = Session::new();
    let id = launch_detached(&session, &four_jobs(&session));
    kill_supervisor_of_four(&session, &id);
    session.ok(&["status", &id]);
    session.runs("queued:1");
    session.release("long");
    session.runs("after:1");
    assert_eq!(session.run(&["wait", &id]).status, 1);
    four_ended_well(&session, &id);
}

#[test]
fn a_killed_supervisor_is_replaced_by_the_attached_client() {
    let session = Session::new();
    session.write("experiment.json", &four_jobs(&session).to_string());
    let client = session.start(&["launch", "experiment.json"]);
    session.runs("long:1");
    let id = session.json(&["status", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    session.runs("unseen:1");
    for _ in 0..3 {
        let supervisor = until("a supervisor", || session.supervisors(&id).first().copied());
        kill_9(supervisor);
        until("another supervisor", || {
            session
                .supervisors(&id)
                .into_iter()
                .find(|pid| *pid != supervisor)
        });
    }
    session.release("unseen");
    session.runs("queued:1");
    session.release("long");
    assert_eq!(client.end().status, 1);
    four_ended_well(&session, &id);
}

#[test]
fn a_supervisor_may_be_killed_at_any_moment() {
    let session = Session::new();
    let mut tasks = vec![session.task("first", "sleep 0.05")];
    let mut flaky = session.task("flaky", "[ $MIZZEN_ATTEMPT = 3 ]");
    flaky["retries"] = json!({ "failure": 2, "backoff": "50ms" });
    tasks.push(flaky);
    for number in 2..40 {
        let mut task = session.task(&format!("job-{number}"), "sleep 0.12");
        task["after"] = match number {
            2..20 => json!(["first"]),
            20 => json!(["flaky"]),
            _ => json!([format!("job-{}", number - 18)]),
        };
        tasks.push(task);
    }
    let document = json!({ "title": "many", "executors": { "local": { "kind": "local", "slots": 3 } }, "tasks": tasks });
    let id = launch_detached(&session, &document);
    let mut dice = Dice(0x5EED);
    let mut kills = 0;
    while kills < 20 && session.json(&["ls", "--json"])[0]["ended"].is_null() {
        let supervisor = session.start(&["supervise", &id]);
        pause(Duration::from_millis(dice.below(120)));
        for pid in session.supervisors(&id) {
            kill_9(pid);
        }
        supervisor.end();
        kills += 1;
    }
    assert!(
        kills >= 15,
        "the experiment was over after {kills} kills: give it more to do"
    );
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let status = status(&session, &id);
    assert!(
        ends(&status).values().all(|end| end == "SUCCEEDED"),
        "{status:#}"
    );
    assert_eq!(session.ledger().len(), 42);
    session.ran_as_told(&status);
    session.nothing_is_left();
}

/// A script with a daemon in a session of its own that does not listen to SIGTERM.
const DAEMON: &str = "setsid sh -c 'trap \"\" TERM HUP; echo up > daemon; while :; do sleep 0.05; done' & read x < gate";

fn daemon_is_up(session: &Session) {
    until("the daemon", || {
        session.workdir().join("daemon").exists().then_some(())
    });
}

#[test]
fn a_killed_agent_takes_its_job_along() {
    let session = Session::new();
    session.gate("gate");
    let id = launch_detached(
        &session,
        &json!({ "title": "agent", "tasks": [session.task("one", DAEMON)] }),
    );
    session.runs("one:1");
    daemon_is_up(&session);
    kill_9(session.agents()[0].pid);
    let said = session.run(&["wait", &id]);
    assert_eq!(said.status, 1, "{said:?}");
    let status = status(&session, &id);
    assert_eq!(ends(&status)["one"], "FAILED lost");
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn a_job_that_lost_its_agent_is_tried_again_within_its_budget() {
    let session = Session::new();
    session.gate("gate");
    let mut task = session.task(
        "one",
        &format!("[ $MIZZEN_ATTEMPT = 2 ] && exit 0\n{DAEMON}"),
    );
    task["retries"] = json!({ "node": 1, "backoff": "10ms" });
    let id = launch_detached(&session, &json!({ "title": "agent", "tasks": [task] }));
    daemon_is_up(&session);
    kill_9(session.agents()[0].pid);
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let status = status(&session, &id);
    let attempts = &job(&status, "one")["attempts"];
    assert_eq!(
        (&attempts[0]["cause"], &attempts[1]["state"]),
        (&json!("lost"), &json!("SUCCEEDED"))
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn an_idle_agent_may_be_killed() {
    let session = Session::new();
    session.gate("gate");
    let after =
        |name: &str| json!({ "name": name, "after": "hold", "run": session.task(name, "")["run"] });
    let document = json!({ "title": "idle", "executors": { "local": { "kind": "local", "slots": 2 } }, "tasks": [
        session.task("hold", "read x < gate"), session.task("quick", ""), after("late"), after("later"),
    ]});
    let id = launch_detached(&session, &document);
    session.runs("hold:1");
    until("quick has ended", || {
        (job(&status(&session, &id), "quick")["state"] == "SUCCEEDED").then_some(())
    });
    let busy: Vec<i32> = session.ranks().iter().map(|rank| rank.pid).collect();
    let idle = session.agents().into_iter().find(|agent| {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.pid))
            .unwrap_or_default();
        !busy.iter().any(|rank| {
            children
                .split_whitespace()
                .any(|child| child == rank.to_string())
        })
    });
    kill_9(idle.unwrap().pid);
    session.release("gate");
    assert_eq!(session.run(&["wait", &id]).status, 0);
    session.ran_as_told(&status(&session, &id));
    session.nothing_is_left();
}

#[test]
fn a_killed_rank_is_a_failure_of_the_program() {
    let session = Session::new();
    session.gate("gate");
    let id = launch_detached(
        &session,
        &json!({ "title": "rank", "tasks": [session.task("one", "read x < gate")] }),
    );
    session.runs("one:1");
    kill_9(session.ranks()[0].pid);
    let said = session.run(&["wait", &id]);
    assert_eq!(said.status, 1, "{said:?}");
    let status = status(&session, &id);
    assert_eq!(ends(&status)["one"], "FAILED app-failure");
    let attempt = &job(&status, "one")["attempts"][0];
    assert_eq!(attempt["exit_code"], 137);
    assert_eq!(exit_record(attempt)["ranks"][0]["signal"], 9);
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn a_killed_rank_takes_the_other_ranks_along() {
    let session = Session::new();
    session.gate("gate");
    let mut task = session.task("one", "read x < gate");
    task["executor"] = json!({ "kind": "local", "ntasks_per_node": 3 });
    let id = launch_detached(&session, &json!({ "title": "rank", "tasks": [task] }));
    let ranks = until("three ranks", || {
        Some(session.ranks()).filter(|ranks| ranks.len() == 3)
    });
    kill_9(ranks[1].pid);
    assert_eq!(session.run(&["wait", &id]).status, 1);
    let status = status(&session, &id);
    let record = exit_record(&job(&status, "one")["attempts"][0]);
    assert_eq!(
        record["ranks"][record["first_failure"]["rank"].as_u64().unwrap() as usize]["signal"],
        9
    );
    session.nothing_is_left();
}

#[test]
fn supervisor_and_agent_may_die_at_once() {
    let session = Session::new();
    session.gate("gate");
    let mut lost = session.task("lost", DAEMON);
    lost["retries"] = json!({ "node": 0 });
    let document = json!({ "title": "both", "tasks": [
        lost, { "name": "after", "after": { "task": "lost", "when": "any" }, "run": session.task("after", "")["run"] },
    ]});
    let id = launch_detached(&session, &document);
    session.runs("lost:1");
    daemon_is_up(&session);
    kill_9(session.supervisors(&id)[0]);
    for agent in session.agents() {
        kill_9(agent.pid);
    }
    until("both are gone", || {
        (session.supervisors(&id).is_empty() && session.agents().is_empty()).then_some(())
    });
    assert_eq!(session.run(&["wait", &id]).status, 1);
    let status = status(&session, &id);
    assert_eq!(ends(&status)["lost"], "FAILED lost");
    assert_eq!(ends(&status)["after"], "SUCCEEDED");
    session.ran_as_told(&status);
    session.nothing_is_left();
}
