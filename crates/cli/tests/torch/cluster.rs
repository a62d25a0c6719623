//! `examples/ddp` and `examples/ray` on two nodes of a real Slurm, from a laptop over ssh.

use serde_json::Value;

use crate::desk::{executors, shared};
use crate::frameworks::{copy_example, path_with};
use crate::local::DIES;
use crate::scene::{exit_record, job};
use crate::slurm::{Laptop, Variant};

/// A laptop with an example, and an executor `cluster` of two nodes that has its framework.
fn laptop(framework: &str, example: &str) -> Option<Laptop> {
    let path = path_with(framework)?;
    let (_, laptop) = shared(Variant::Plain, "")?;
    let settings = format!("nodes = 2\ncpus_per_task = 2\nenv_vars = {{ PATH = \"{path}\" }}");
    executors(&laptop, &[("cluster", &settings)]);
    copy_example(&laptop.session, example);
    Some(laptop)
}

/// Trains on the cluster by a launcher; the last rank is killed once. The attempts.
fn train(laptop: &Laptop, launcher: &str) -> Value {
    let launcher = format!("tasks.train.launcher={launcher}");
    let said = laptop.session.run(&[
        "launch",
        "experiment.toml",
        "--set",
        "tasks.train.executor=cluster",
        "--set",
        DIES,
        "--set",
        &launcher,
    ]);
    let status = laptop.session.json(&["status", "--json"]);
    let log = laptop.session.run(&["logs", "latest", "train"]);
    assert_eq!(said.status, 0, "{said:?}\n{status:#}\n{log:?}");
    let attempts = job(&status, "train")["attempts"].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 2, "{attempts:#}");
    assert_eq!(attempts[0]["cause"], "app-failure", "{attempts:#}");
    attempts
}

fn log(laptop: &Laptop, attempt: &str) -> String {
    let words = ["logs", "latest", "train", "--attempt", attempt];
    laptop.session.ok(&words)
}

#[test]
fn ranks_train_on_two_nodes() {
    let Some(laptop) = laptop("torch", "ddp") else {
        return;
    };
    let attempts = train(&laptop, "ranks");
    let record = exit_record(&attempts[0]);
    assert_eq!(record["first_failure"]["rank"], 1, "{record:#}");
    assert_eq!(record["ranks"][1]["signal"], 9, "{record:#}");
    let after = log(&laptop, "2");
    assert!(after.contains("rank 1 of 2: from epoch 3"), "{after}");
    assert!(after.contains("epoch 10: loss"), "{after}");
}

#[test]
fn torchrun_trains_on_two_nodes() {
    let Some(laptop) = laptop("torch", "ddp") else {
        return;
    };
    train(&laptop, "torchrun");
    let before = log(&laptop, "1");
    assert!(before.contains("Signal 9 (SIGKILL)"), "{before}");
    let after = log(&laptop, "2");
    assert!(after.contains("rank 1 of 2: from epoch 3"), "{after}");
}

#[test]
fn ray_runs_a_script_on_two_nodes() {
    let Some(laptop) = laptop("ray", "ray") else {
        return;
    };
    let said = laptop.session.run(&["launch", "experiment.toml"]);
    let log = laptop.session.run(&["logs", "latest", "pi"]);
    assert_eq!(said.status, 0, "{said:?}\n{log:?}");
    let words = "2 nodes, 8 tasks on 2 of them: pi is about 3.1";
    assert!(log.stdout.contains(words), "{log:?}");
}
