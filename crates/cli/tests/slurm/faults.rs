//! What breaks while jobs wait and run: the controller, the network, the processes here.

use std::time::Duration;

use serde_json::json;

use crate::attempts::attempts;
use crate::desk::{Desk, own, runs, shared, until_booked};
use crate::scene::{Dice, Scene, ends, kill_9, pause, until};
use crate::slurm::{Laptop, Variant};

#[test]
fn the_controller_stops_meanwhile() {
    let Some((laptop, cluster)) = own(Variant::Plain, "") else {
        return;
    };
    let gate = laptop.session.gate("gate");
    let mut task = laptop
        .session
        .task("first", &format!("read x <{}", gate.display()));
    task["executor"] = json!("cluster");
    let first = laptop.launch(&json!({ "title": "first", "tasks": [task] }));
    runs(&laptop, "first:1");
    laptop.until_state(&first, "first", "RUNNING");
    cluster.stop("controller");
    // One ends while nobody can be asked for it, one is submitted to nobody.
    laptop.session.release("gate");
    let mut task = laptop.session.task("second", "");
    task["executor"] = json!("cluster");
    let second = laptop.launch(&json!({ "title": "second", "tasks": [task] }));
    let words = laptop
        .session
        .home()
        .join(format!("experiments/second/{second}/supervisor.log"));
    until("the supervisor says why nothing is sent", || {
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        said.contains("Unable to contact slurm controller")
            .then_some(())
    });
    assert_eq!(ends(&laptop.status(&first))["first"], "RUNNING");
    cluster.start("controller");
    for (id, name) in [(&first, "first"), (&second, "second")] {
        assert_eq!(laptop.wait(id), 0, "{:#}", laptop.status(id));
        let status = laptop.status(id);
        assert_eq!(attempts(&status, name), ["1 SUCCEEDED -"]);
        until_booked(&cluster, id, 1);
    }
    assert_eq!(laptop.session.ledger().values().sum::<usize>(), 2);
}

#[test]
fn the_network_is_cut_during_a_run() {
    let Some((cluster, mut laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let gate = laptop.session.gate("gate");
    let mut first = laptop.session.task(
        "first",
        &format!("echo before; read x <{}; echo after", gate.display()),
    );
    first["executor"] = json!("cluster");
    let mut second = laptop.session.task("second", "");
    second["executor"] = json!("cluster");
    second["after"] = json!("first");
    let id = laptop.launch(&json!({ "title": "cut", "tasks": [first, second] }));
    runs(&laptop, "first:1");
    laptop.until_state(&id, "first", "RUNNING");
    laptop.cut();
    laptop.session.release("gate");
    // The cluster keeps the dependency by itself.
    runs(&laptop, "second:1");
    until_booked(cluster, &id, 2);
    let status = laptop.status(&id);
    assert_eq!(ends(&status)["first"], "RUNNING", "nobody knows better");
    laptop.heal();
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    assert_eq!(attempts(&status, "first"), ["1 SUCCEEDED -"]);
    let log = laptop.log("cut", &id, "first/attempts/1/rank-0.log");
    assert_eq!(log, "before\nafter\n");
    laptop.session.ran_as_told(&status);
}

fn chain(laptop: &Laptop, title: &str) -> serde_json::Value {
    let mut many = laptop.session.task("many", "");
    many["sweep"] = json!({ "number": [1, 2, 3, 4] });
    let mut single = laptop.session.task("single", "");
    let mut last = laptop.session.task("last", "");
    last["after"] = json!(["many", "single"]);
    // Kept here, not by the cluster: it may come twice.
    single["retries"] = json!(1);
    json!({ "title": title, "defaults": { "executor": "cluster" }, "tasks": [many, single, last] })
}

/// Waits until an experiment has ended; nothing is lost, and nothing has run twice.
fn ended_once(laptop: &Laptop, cluster: &crate::slurm::Cluster, id: &str) {
    assert_eq!(laptop.wait(id), 0, "{:#}", laptop.status(id));
    let status = laptop.status(id);
    for name in ["many-number=1", "many-number=4", "single", "last"] {
        assert_eq!(attempts(&status, name), ["1 SUCCEEDED -"], "{status:#}");
    }
    until_booked(cluster, id, 6);
}

#[test]
fn client_and_supervisor_are_killed_at_random_moments() {
    let Some((cluster, _)) = shared(Variant::Plain, "") else {
        return;
    };
    let mut dice = Dice(4_2026);
    let laptops: Vec<(Laptop, String)> = (0..6)
        .map(|number| {
            let laptop = crate::desk::laptop(cluster, "").unwrap();
            let document = chain(&laptop, "killed");
            laptop
                .session
                .write("experiment.json", &document.to_string());
            let client = laptop.session.start(&["launch", "experiment.json"]);
            until("an experiment", || {
                let folder = laptop.session.home().join("experiments/killed");
                std::fs::read_dir(folder).ok()?.flatten().next()
            });
            // The login is over in a quarter of a second, the first submission in one.
            pause(Duration::from_millis(dice.below(1500)));
            client.signal(nix::sys::signal::Signal::SIGKILL);
            assert_eq!(client.end().status, -1);
            let ids = laptop.session.json(&["ls", "--json"]);
            let id = ids[0]["id"].as_str().unwrap().to_owned();
            for _ in 0..=number % 3 {
                for supervisor in laptop.session.supervisors(&id) {
                    kill_9(supervisor);
                }
                pause(Duration::from_millis(dice.below(700)));
                laptop.session.ok(&["status", &id]);
            }
            (laptop, id)
        })
        .collect();
    for (laptop, id) in &laptops {
        ended_once(laptop, cluster, id);
        laptop.session.ran_as_told(&laptop.status(id));
    }
}

#[test]
fn the_supervisor_is_killed_right_after_a_submission() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "hold = true") else {
        return;
    };
    let mut task = laptop.session.task("held", "");
    task["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "killed", "tasks": [task] }));
    let key = format!("mz-{id}-0-1");
    let queue = || cluster.ok(&["squeue", "--noheader", "--Format=JobID:20,Comment:64"]);
    // As soon as the cluster has it, whether the answer has come or not.
    let line = until("the job is in the queue", || {
        let queue = queue();
        let line = queue.lines().find(|line| line.contains(&key))?;
        Some(line.to_owned())
    });
    for supervisor in laptop.session.supervisors(&id) {
        kill_9(supervisor);
    }
    let number = line.split_whitespace().next().unwrap();
    laptop.until_state(&id, "held", "PENDING");
    cluster.ok(&["scontrol", "release", number]);
    assert_eq!(laptop.wait(&id), 0);
    let status = laptop.status(&id);
    assert_eq!(crate::desk::slurm_id(&status, "held"), number);
    laptop.session.ran_as_told(&status);
    until_booked(cluster, &id, 1);
}
