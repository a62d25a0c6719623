//! The clusters themselves: each kind does what the tests on it count on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::slurm::{Cluster, Laptop, Variant};

/// A job's script that waits until somebody writes into the named pipe.
fn gate(cluster: &Cluster, name: &str) -> (std::path::PathBuf, String) {
    let path = cluster.folder.join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let text = format!("read line <{}", path.display());
    (path, text)
}

#[test]
fn steps_arrays_and_hetjobs_run() {
    let Some(cluster) = Cluster::shared(Variant::Plain) else {
        return;
    };
    let two = cluster.ok(&[
        "srun",
        "--nodes=2",
        "--gpus-per-node=1",
        "sh",
        "-c",
        "echo $SLURM_NODEID $SLURMD_NODENAME $SLURM_GPUS_ON_NODE",
    ]);
    let mut lines: Vec<&str> = two.lines().collect();
    lines.sort_unstable();
    assert!(
        lines.len() == 2 && lines[0].starts_with("0 n") && lines[1].starts_with("1 n"),
        "{two}"
    );
    assert!(lines.iter().all(|line| line.ends_with(" 1")), "{two}");

    let out = cluster.folder.join("array");
    std::fs::create_dir(&out).unwrap();
    let text = format!(
        "echo $SLURM_ARRAY_JOB_ID >{}/$SLURM_ARRAY_TASK_ID",
        out.display()
    );
    let id = cluster.submit(&["--array=0-9", "--wait"], &text);
    for index in 0..10 {
        let said = std::fs::read_to_string(out.join(index.to_string())).unwrap();
        assert_eq!(said.trim(), id);
    }

    let said = cluster.folder.join("hetjob");
    let text = format!(
        "#SBATCH --nodes=1\n#SBATCH hetjob\n#SBATCH --nodes=2\n\
         srun --het-group=0,1 sh -c 'echo $SLURM_PROCID $SLURM_NODEID' >{}",
        said.display()
    );
    let id = cluster.submit(&["--wait"], &text);
    assert_eq!(std::fs::read_to_string(said).unwrap().lines().count(), 3);
    assert_eq!(cluster.job(&id)["HetJobId"], id);

    let missing = cluster.fails(&["sacct"]);
    assert!(
        missing.contains("accounting storage is disabled"),
        "{missing}"
    );
}

#[test]
fn a_job_is_requeued_and_a_node_goes_down() {
    let Some(cluster) = Cluster::own(Variant::Plain) else {
        return;
    };
    let (_, text) = gate(&cluster, "gate");
    let id = cluster.submit(&["--nodelist=n2"], &text);
    cluster.wait_for(&id, "RUNNING");
    cluster.ok(&["scontrol", "requeue", &id]);
    let job = cluster.wait_for(&id, "PENDING");
    assert_eq!(job["Restarts"], "1");
    let job = cluster.wait_for(&id, "RUNNING");
    assert_eq!(job["Restarts"], "1");

    let held = cluster.submit(&["--nodelist=n2", "--no-requeue"], &text);
    cluster.wait_for(&held, "RUNNING");
    cluster.ok(&[
        "scontrol",
        "update",
        "node=n2",
        "state=down",
        "reason=a test",
    ]);
    cluster.wait_for(&held, "NODE_FAIL");
    assert_eq!(cluster.job(&id)["JobState"], "PENDING");
    cluster.ok(&["scontrol", "update", "node=n2", "state=resume"]);
    cluster.ok(&["scancel", &id]);
    cluster.wait_for(&id, "CANCELLED");
    cluster.wait_idle();
}

#[test]
fn the_controller_stops_and_comes_back_with_its_jobs() {
    let Some(cluster) = Cluster::own(Variant::Plain) else {
        return;
    };
    let (gate, text) = gate(&cluster, "gate");
    let id = cluster.submit(&[], &text);
    cluster.wait_for(&id, "RUNNING");
    cluster.stop("controller");
    let refused = cluster.fails(&["squeue"]);
    assert!(
        refused.contains("Unable to contact slurm controller"),
        "{refused}"
    );
    cluster.start("controller");
    assert_eq!(cluster.job(&id)["JobState"], "RUNNING");
    std::fs::write(gate, "go\n").unwrap();
    cluster.wait_for(&id, "COMPLETED");

    assert!(!cluster.requests().is_empty());
    cluster.forget_requests();
    cluster.job(&id);
    assert_eq!(cluster.requests()["REQUEST_JOB_INFO_SINGLE"], 1);
}

#[test]
fn preemption_requeues_or_cancels() {
    for (variant, end) in [
        (Variant::Preempt, "PENDING"),
        (Variant::PreemptCancel, "PREEMPTED"),
    ] {
        let Some(cluster) = Cluster::shared(variant) else {
            return;
        };
        let (_, text) = gate(cluster, "low");
        let all = ["--nodes=4", "--exclusive"];
        let low = cluster.submit(&[&all[..], &["--partition=low"]].concat(), &text);
        cluster.wait_for(&low, "RUNNING");
        let (go, text) = gate(cluster, "high");
        let high = cluster.submit(&[&all[..], &["--partition=high"]].concat(), &text);
        cluster.wait_for(&high, "RUNNING");
        cluster.wait_for(&low, end);
        std::fs::write(go, "go\n").unwrap();
        cluster.wait_for(&high, "COMPLETED");
        if end == "PENDING" {
            assert_eq!(cluster.wait_for(&low, "RUNNING")["Restarts"], "1");
        }
        cluster.ok(&["scancel", "--quiet", &low]);
    }
}

#[test]
fn small_limits_are_met_and_jobs_forgotten() {
    let Some(cluster) = Cluster::shared(Variant::Small) else {
        return;
    };
    let refused = cluster.fails(&["sbatch", "--array=0-11", "--wrap=true"]);
    assert!(
        refused.contains("Invalid job array specification"),
        "{refused}"
    );
    for _ in 0..2 {
        cluster.submit(&["--hold", "--array=0-9"], "true");
    }
    // It neither fails nor succeeds: it sleeps and tries again, for two minutes.
    let mut refused = cluster
        .command(&["sbatch", "--hold", "--array=0-9", "--wrap=true"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(refused.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    refused.kill().unwrap();
    refused.wait().unwrap();
    assert!(said.contains("sleeping and retrying"), "{said}");
    cluster.ok(&["scancel", "--user=root"]);
    cluster.wait_until("room", || {
        cluster.run(&["sbatch", "--wrap=true"]).status.success()
    });
    let id = cluster.submit(&["--wait"], "true");
    cluster.wait_until("job forgotten", || cluster.job(&id).is_empty());
}

#[test]
fn accounting_is_there_and_may_come_late() {
    let Some(cluster) = Cluster::own(Variant::Accounting) else {
        return;
    };
    let refused = cluster.fails(&["sbatch", "--account=nobody", "--wrap=true"]);
    assert!(refused.contains("Invalid account"), "{refused}");
    let (go, text) = gate(&cluster, "gate");
    let few = cluster.submit(&["--qos=few", "--hold", "--array=0-1"], "true");
    let refused = cluster.fails(&["sbatch", "--qos=few", "--wrap=true"]);
    assert!(
        refused.contains("Job violates accounting/QOS policy"),
        "{refused}"
    );
    cluster.ok(&["scancel", &few]);

    let state = |id: &str| {
        let told = cluster.run(&["sacct", "-n", "-P", "-X", "-o", "State", "-j", id]);
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    };
    let id = cluster.submit(&["--account=research", "--wait"], "true");
    cluster.wait_until("accounted", || state(&id) == "COMPLETED");

    let id = cluster.submit(&[], &text);
    cluster.wait_for(&id, "RUNNING");
    cluster.wait_until("accounted", || state(&id) == "RUNNING");
    cluster.stop("accounting");
    std::fs::write(go, "go\n").unwrap();
    cluster.wait_for(&id, "COMPLETED");
    let refused = cluster.fails(&["sacct", "-j", &id]);
    assert!(refused.contains("Connection refused"), "{refused}");
    cluster.start("accounting");
    cluster.wait_until("accounted late", || state(&id) == "COMPLETED");
}

#[test]
fn a_laptop_reaches_the_login_node() {
    let Some(cluster) = Cluster::shared(Variant::Plain) else {
        return;
    };
    let Some(mut laptop) = Laptop::new(cluster) else {
        return;
    };
    let asked = |laptop: &Laptop| {
        let output = laptop.on_login_node("sinfo --noheader --format=%R; echo $HOME $MIZZEN_HOME");
        String::from_utf8(output.stdout).unwrap()
    };
    let home = cluster.folder.join("login");
    let expected = format!("main\n{}\n", home.display());
    assert_eq!(asked(&laptop), expected);
    laptop.cut();
    assert_eq!(asked(&laptop), "");
    laptop.heal();
    assert_eq!(asked(&laptop), expected);
    let config = laptop.ssh_config().display().to_string();
    let opened = laptop
        .session
        .run(&["tunnel", "open", "box", "-F", &config]);
    assert_eq!(opened.status, 0, "{opened:?}");
    laptop.session.ok(&["tunnel", "close", "--all"]);
    assert!(laptop.tunnel().contains("/jobs\""));
}
