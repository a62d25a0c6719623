//! Jobs that do not end by themselves: preempted, requeued, cancelled, out of time, without their node.

use serde_json::json;

use crate::attempts::attempts;
use crate::desk::{Desk, escaped, executors, own, runs, shared, slurm_id, until_booked};
use crate::scene::{Scene, ends, exit_record, job, until};
use crate::slurm::{Cluster, Laptop, Variant};

/// Waits at a gate that nobody opens, unless it is the second attempt.
fn stays_once(laptop: &Laptop) -> String {
    let never = laptop.session.gate("never");
    format!(
        "echo attempt $MIZZEN_ATTEMPT; [ $MIZZEN_ATTEMPT = 2 ] || read x <{}",
        never.display()
    )
}

/// Two attempts, each with a log of its own.
fn two_logs(laptop: &Laptop, title: &str, id: &str, name: &str) {
    for attempt in 1..=2 {
        let log = laptop.log(title, id, &format!("{name}/attempts/{attempt}/rank-0.log"));
        assert_eq!(log, format!("attempt {attempt}\n"));
        let shown =
            laptop
                .session
                .ok(&["logs", id, "--attempt", &attempt.to_string(), "--no-prefix"]);
        assert_eq!(shown, format!("attempt {attempt}\n"));
    }
}

/// A job of high priority that takes all nodes and ends at once.
fn push_aside(cluster: &Cluster) {
    let all = ["--nodes=4", "--exclusive", "--partition=high", "--wait"];
    cluster.submit(&all, "true");
}

#[test]
fn preempted_and_resumed() {
    let settings = "partition = \"low\"\nrequeue = true";
    let Some((laptop, cluster)) = own(Variant::Preempt, settings) else {
        return;
    };
    let mut task = laptop.session.task("train", &stays_once(&laptop));
    task["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "preempted", "tasks": [task] }));
    runs(&laptop, "train:1");
    laptop.until_state(&id, "train", "RUNNING");
    push_aside(&cluster);
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    assert_eq!(
        attempts(&status, "train"),
        ["1 FAILED preempted", "2 SUCCEEDED -"]
    );
    two_logs(&laptop, "preempted", &id, "train");
    laptop.session.ran_as_told(&status);
    let shown = laptop.session.ok(&["status", &id]);
    assert!(shown.contains("preempted"), "{shown}");
}

#[test]
fn preempted_and_sent_again() {
    let Some((laptop, cluster)) = own(Variant::PreemptCancel, "partition = \"low\"") else {
        return;
    };
    let mut task = laptop.session.task("train", &stays_once(&laptop));
    task["executor"] = json!("cluster");
    task["retries"] = json!({ "preempted": 1, "backoff": "50ms" });
    let id = laptop.launch(&json!({ "title": "preempted", "tasks": [task] }));
    runs(&laptop, "train:1");
    let first = slurm_id(&laptop.until_state(&id, "train", "RUNNING"), "train");
    push_aside(&cluster);
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    assert_eq!(
        attempts(&status, "train"),
        ["1 FAILED preempted", "2 SUCCEEDED -"]
    );
    assert_ne!(slurm_id(&status, "train"), first);
    two_logs(&laptop, "preempted", &id, "train");
    until_booked(&cluster, &id, 2);
}

#[test]
fn a_node_goes_down() {
    let Some((laptop, cluster)) = own(Variant::Plain, "") else {
        return;
    };
    executors(
        &laptop,
        &[
            ("stays", "requeue = false"),
            ("requeues", "requeue = true"),
            ("fails", "requeue = false\nnodelist = \"n4\""),
        ],
    );
    let stays = stays_once(&laptop);
    let mut tasks: Vec<_> = ["stays", "requeues", "fails"]
        .iter()
        .map(|name| {
            let mut task = laptop.session.task(name, &stays);
            task["executor"] = json!(name);
            task
        })
        .collect();
    tasks[0]["retries"] = json!({ "node": 1, "backoff": "50ms" });
    let id = laptop.launch(&json!({ "title": "nodes", "tasks": tasks }));
    let mut first = Vec::new();
    for name in ["stays", "requeues", "fails"] {
        runs(&laptop, &format!("{name}:1"));
        let status = laptop.until_state(&id, name, "RUNNING");
        let node = job(&status, name)["attempts"][0]["nodes"][0].clone();
        first.push(node.as_str().unwrap().to_owned());
    }
    assert_eq!(first[2], "n4");
    let mut broken = first.clone();
    broken.sort();
    broken.dedup();
    for node in &broken {
        let node = format!("node={node}");
        cluster.ok(&["scontrol", "update", &node, "state=down", "reason=a test"]);
    }
    assert_eq!(laptop.wait(&id), 1, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    for name in ["stays", "requeues"] {
        assert_eq!(
            attempts(&status, name),
            ["1 FAILED node-failure", "2 SUCCEEDED -"],
            "{status:#}"
        );
        let node = &job(&status, name)["attempts"][1]["nodes"][0];
        assert!(
            !broken.iter().any(|broken| node == broken),
            "{node} of {broken:?}"
        );
    }
    assert_eq!(ends(&status)["fails"], "FAILED node-failure");
    laptop.session.ran_as_told(&status);
}

#[test]
fn the_time_is_over() {
    let settings = "time = \"1\"\nsignal = \"USR1@35\"";
    let Some((cluster, laptop)) = shared(Variant::Plain, settings) else {
        return;
    };
    let never = laptop.session.gate("never");
    let script = format!(
        "trap 'echo saved' USR1; trap 'echo told to end; exit 1' TERM; while :; do read x <{}; done",
        never.display()
    );
    let task = laptop.session.task("long", &script);
    let mut document = json!({ "title": "late", "tasks": [task] });
    document["tasks"][0]["executor"] = json!("cluster");
    let id = laptop.launch(&document);
    runs(&laptop, "long:1");
    let number = slurm_id(&laptop.until_state(&id, "long", "RUNNING"), "long");
    let there = laptop.there("late", &id).join("long/attempts/1/rank-0.log");
    until("the warning before the end", || {
        let log = std::fs::read_to_string(&there).unwrap_or_default();
        log.contains("saved").then_some(())
    });
    // What is left of the minute need not be waited for.
    cluster.ok(&[
        "scontrol",
        "update",
        &format!("jobid={number}"),
        "endtime=now+1",
    ]);
    assert_eq!(laptop.wait(&id), 1);
    let status = laptop.status(&id);
    assert_eq!(ends(&status)["long"], "FAILED timeout", "{status:#}");
    let log = laptop.log("late", &id, "long/attempts/1/rank-0.log");
    assert!(log.ends_with("told to end\n"), "{log}");
}

#[test]
fn cancelled_while_they_wait_and_while_they_run() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    executors(
        &laptop,
        &[("cluster", "nodes = 2"), ("held", "hold = true")],
    );
    let never = laptop.session.gate("never");
    // No child of the shell's, which would hear the signal as well.
    let stays = format!(
        "trap 'echo told to end; exit 0' TERM; echo up; read x <{}",
        never.display()
    );
    let id = laptop.launch(&json!({ "title": "ended", "tasks": [
        { "name": "running", "executor": "cluster", "run": ["sh", "-c", escaped(&stays)] },
        { "name": "waiting", "executor": "held", "run": ["true"] },
        { "name": "after", "executor": "cluster", "after": ["running"], "run": ["true"] },
    ]}));
    laptop.until_state(&id, "running", "RUNNING");
    let status = laptop.until_state(&id, "waiting", "PENDING");
    let detail = laptop.session.ok(&["status", &id]);
    assert!(detail.contains("JobHeldUser"), "{detail}");
    let numbers = [slurm_id(&status, "running"), slurm_id(&status, "waiting")];
    for rank in 0..2 {
        let log = laptop
            .there("ended", &id)
            .join(format!("running/attempts/1/rank-{rank}.log"));
        until("the ranks run", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains("up").then_some(())
        });
    }
    let said = laptop.session.run(&["cancel", &id]);
    assert_eq!(said.status, 0, "{said:?}");
    let status = laptop.status(&id);
    for name in ["running", "waiting", "after"] {
        assert_eq!(ends(&status)[name], "CANCELLED cancelled", "{status:#}");
    }
    for number in numbers {
        cluster.wait_for(&number, "CANCELLED");
    }
    for rank in 0..2 {
        let log = laptop.log("ended", &id, &format!("running/attempts/1/rank-{rank}.log"));
        assert!(
            log.starts_with("up\n") && log.ends_with("told to end\n"),
            "{log}"
        );
    }
    let record = exit_record(&job(&status, "running")["attempts"][0]);
    assert_eq!(record["ranks"].as_array().unwrap().len(), 2);
}

#[test]
fn cancelled_by_scancel() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    executors(&laptop, &[("cluster", ""), ("held", "hold = true")]);
    let mut running = laptop.session.task("running", &stays_once(&laptop));
    running["executor"] = json!("cluster");
    running["retries"] = json!(3);
    let mut waiting = laptop.session.task("waiting", "");
    waiting["executor"] = json!("held");
    let id = laptop.launch(&json!({ "title": "ended", "tasks": [running, waiting] }));
    runs(&laptop, "running:1");
    let number = slurm_id(&laptop.until_state(&id, "running", "RUNNING"), "running");
    cluster.ok(&["scancel", &number]);
    let number = slurm_id(&laptop.until_state(&id, "waiting", "PENDING"), "waiting");
    cluster.ok(&["scancel", &number]);
    assert_eq!(laptop.wait(&id), 1);
    let status = laptop.status(&id);
    for name in ["running", "waiting"] {
        // What somebody has ended on purpose is not tried again.
        assert_eq!(
            attempts(&status, name),
            ["1 CANCELLED cancelled"],
            "{status:#}"
        );
    }
    let shown = laptop.session.ok(&["status", &id]);
    assert!(shown.contains("cancelled in Slurm"), "{shown}");
}

#[test]
fn requeued_by_an_administrator() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "requeue = true") else {
        return;
    };
    let mut task = laptop.session.task("train", &stays_once(&laptop));
    task["executor"] = json!("cluster");
    let id = laptop.launch(&json!({ "title": "requeued", "tasks": [task] }));
    runs(&laptop, "train:1");
    let number = slurm_id(&laptop.until_state(&id, "train", "RUNNING"), "train");
    cluster.ok(&["scontrol", "requeue", &number]);
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let status = laptop.status(&id);
    assert_eq!(
        attempts(&status, "train"),
        ["1 FAILED preempted", "2 SUCCEEDED -"]
    );
    assert_eq!(slurm_id(&status, "train"), number);
    two_logs(&laptop, "requeued", &id, "train");
    laptop.session.ran_as_told(&status);
}

/// Its budget is used up, and Slurm has put it back into the queue: there it must not stay.
#[test]
fn what_may_not_go_on_is_taken_out_of_the_queue() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let never = laptop.session.gate("never");
    let mut task = laptop
        .session
        .task("train", &format!("read x <{}", never.display()));
    task["executor"] = json!("cluster");
    task["retries"] = json!({ "preempted": 1, "backoff": "50ms" });
    let id = laptop.launch(&json!({ "title": "requeued", "tasks": [task] }));
    let mut number = String::new();
    for attempt in 1..=2 {
        runs(&laptop, &format!("train:{attempt}"));
        until("the attempt is known", || {
            let status = laptop.status(&id);
            (attempts(&status, "train").len() == attempt).then_some(())
        });
        number = slurm_id(&laptop.until_state(&id, "train", "RUNNING"), "train");
        cluster.ok(&["scontrol", "requeue", &number]);
    }
    assert_ne!(laptop.wait(&id), 0);
    assert_eq!(
        attempts(&laptop.status(&id), "train"),
        ["1 FAILED preempted", "2 FAILED preempted"]
    );
    let states = [
        "squeue",
        "--noheader",
        "--states=all",
        "--format=%T",
        "--jobs",
    ];
    let state = cluster.ok(&[&states[..], &[&number]].concat());
    assert_eq!(state.trim(), "CANCELLED");
}
