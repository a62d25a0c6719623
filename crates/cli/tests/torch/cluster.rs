//! `examples/ddp` and `examples/ray` on two nodes of a real Slurm, from a laptop over ssh.

use crate::desk::{executors, shared};
use crate::frameworks::{copy_example, path_with};
use crate::local::{DIES, says_why};
use crate::scene::job;
use crate::slurm::{Laptop, Variant};

/// A laptop with an example, and an executor `cluster` of two nodes that has its framework.
fn laptop(framework: &str, example: &str) -> Option<Laptop> {
    let path = path_with(framework)?;
    let (cluster, laptop) = shared(Variant::Plain, "")?;
    // Ray keeps sockets and logs of all its sessions in a folder of its own.
    let settings = format!(
        "nodes = 2\ncpus_per_task = 2\nenv_vars = {{ PATH = \"{path}\", RAY_TMPDIR = \"{}\" }}",
        cluster.folder.display()
    );
    executors(&laptop, &[("cluster", &settings)]);
    copy_example(&laptop.session, example);
    Some(laptop)
}

/// Trains on the cluster by a launcher; the last rank is killed once, and the next attempt goes on.
fn trains(launcher: &str) {
    let Some(laptop) = laptop("torch", "ddp") else {
        return;
    };
    let launcher = format!("tasks.train.launcher={launcher}");
    let mut words = vec!["launch", "experiment.toml", "--set", DIES];
    words.extend(["--set", "tasks.train.executor=cluster", "--set", &launcher]);
    let said = laptop.session.run(&words);
    let status = laptop.session.json(&["status", "--json"]);
    let after = laptop.session.run(&["logs", "latest", "train"]).stdout;
    assert_eq!(said.status, 0, "{said:?}\n{status:#}\n{after}");
    let attempts = &job(&status, "train")["attempts"];
    assert_eq!(attempts.as_array().unwrap().len(), 2, "{attempts:#}");
    assert_eq!(attempts[0]["cause"], "app-failure", "{attempts:#}");
    says_why(&said, &attempts[0]);
    for words in ["rank 1 of 2: from epoch 3", "epoch 10: loss"] {
        assert!(after.contains(words), "no `{words}`: {after}");
    }
}

#[test]
fn ranks_train_on_two_nodes() {
    trains("ranks");
}

#[test]
fn torchrun_trains_on_two_nodes() {
    trains("torchrun");
}

#[test]
fn ray_runs_a_script_on_two_nodes() {
    let Some(laptop) = laptop("ray", "ray") else {
        return;
    };
    let said = laptop.session.run(&["launch", "experiment.toml"]);
    let log = laptop.session.run(&["logs", "latest", "pi"]);
    assert_eq!(said.status, 0, "{said:?}\n{log:?}");
    let words = "8 tasks on 2 nodes: pi is about 3.14";
    assert!(log.stdout.contains(words), "{log:?}");
}
