//! Groups: containers on a network of their own.

use serde_json::json;

use crate::engine::Engine;
use crate::jobs::{file, run, task, until_gone};
use crate::scene::ends;

/// A client that asks the server until it answers.
const CLIENT: &str = "i=0; until answer=$(nc -w 2 server 7000 </dev/null) && [ -n \"$answer\" ]; do i=$((i + 1)); [ $i -lt 100 ] || exit 9; sleep 0.1; done; echo $answer";
const SERVER: &str = "while :; do echo from $(hostname) | nc -l -p 7000; done";

#[test]
fn a_server_and_two_clients_find_each_other() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let mut tasks = vec![
        task("server", SERVER),
        task("client-1", CLIENT),
        task(
            "client-2",
            &format!("echo $MIZZEN_GROUP_HOST_0; {CLIENT}; sleep 1"),
        ),
    ];
    for task in &mut tasks {
        task["group"] = json!("all");
    }
    let status = run(
        &session,
        &json!({ "title": "group", "groups": { "all": { "leader": "client-2" } }, "tasks": tasks }),
    );
    assert!(
        ends(&status).values().all(|end| end == "SUCCEEDED"),
        "{status:#}"
    );
    assert_eq!(
        file(&session, &status, "client-2/attempts/1/rank-0.log"),
        "server\nfrom server\n"
    );
    until_gone(engine, status["id"].as_str().unwrap());
}

#[test]
fn a_group_succeeds_only_if_all_of_it_does() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("");
    let mut tasks = vec![
        task("good", "true"),
        task("bad", "sleep 1; exit 3"),
        task("long", "sleep 60"),
    ];
    for task in &mut tasks {
        task["group"] = json!("all");
    }
    let status = run(
        &session,
        &json!({ "title": "group", "groups": { "all": {} }, "tasks": tasks }),
    );
    let ends = ends(&status);
    assert_eq!(ends["good"], "SUCCEEDED");
    assert_eq!(ends["bad"], "FAILED app-failure");
    assert_eq!(ends["long"], "CANCELLED upstream-failed", "{status:#}");
    assert_eq!(status["state"], "FAILED");
}

#[test]
fn a_named_network_is_made_and_stays() {
    let Some(engine) = Engine::shared() else {
        return;
    };
    let session = engine.session("network = \"nemo_run\"");
    let mut tasks = vec![task("server", SERVER), task("client", CLIENT)];
    for task in &mut tasks {
        task["group"] = json!("all");
    }
    for _ in 0..2 {
        let status = run(
            &session,
            &json!({ "title": "named", "groups": { "all": { "leader": "client" } }, "tasks": tasks }),
        );
        assert_eq!(ends(&status)["client"], "SUCCEEDED", "{status:#}");
    }
    assert!(engine.docker(&["network", "inspect", "nemo_run"]).is_ok());
}
