//! What every launcher starts, at every place: the command lines and steps as they are sent (snapshots), and as they run.

use std::fmt::Write as _;

use crate::support::{self, Given, here, job, settings, submission, text};
use mizzen_core::executor::slurm::Submission;
use mizzen_core::executor::{Executor, Request, Unit, UnitMember, build};
use mizzen_core::model::{ExperimentId, SubmissionKey};
use mizzen_core::plan::ExecutorConfig;
use serde_json::{Value, json};

/// A task with two nodes and four processes on each, under a launcher.
fn under(launcher: Value, command: &[&str], further: Value) -> Given {
    let mut all = json!({"nodes": 2, "ntasks_per_node": 4});
    all.as_object_mut()
        .unwrap()
        .extend(further.as_object().unwrap().clone());
    let mut given = job("train", command, settings(all));
    given.job.launcher = Some(launcher);
    given
}

/// What a launcher is about: the step, the agent's words, the command.
fn shown(submission: &Submission) -> String {
    let script = text(submission, &submission.script);
    let from = script.find("\nmember_0() {").unwrap();
    let to = from + script[from..].find("\n}").unwrap();
    let mut all = script[from..to].trim_start().to_owned() + "\n}\n";
    for line in script.lines().filter(|line| line.starts_with("worlds=")) {
        let _ = writeln!(all, "{line}");
    }
    for file in &submission.files {
        if file.path != submission.script {
            let _ = write!(all, "=== {}\n{}", file.path, file.contents);
        }
    }
    all
}

/// The launchers with the settings that say most.
fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("none", json!("none")),
        ("torchrun", json!("torchrun")),
        (
            "torchrun_set",
            json!({
                "kind": "torchrun", "rdzv_backend": "etcd", "rdzv_port": 29500, "rdzv_id": 17, "rdzv_conf": "timeout=900",
                "max_restarts": 3, "log_dir": "/logs dir", "local_addr": "$$${head_node_ip_var}",
            }),
        ),
        ("ranks", json!("ranks")),
        (
            "ranks_set",
            json!({
                "kind": "ranks", "max_restarts": 2, "hang_timeout": "30m", "bind": "numa", "gpus_per_rank": 1, "stop_grace": 2,
                "join_timeout": "1m", "port": 4321, "omp_num_threads": 3,
            }),
        ),
        (
            "command",
            json!({"kind": "command", "command": ["accelerate", "launch", "--num_machines", "$$${num_nodes_var}"], "once_per_node": true}),
        ),
        (
            "nsys",
            json!({"kind": "ranks", "nsys_profile": true, "nsys_gpu_metrics": true, "nsys_gpu_metrics_nodes": [0, 2]}),
        ),
        (
            "nsys_torchrun",
            json!({"kind": "torchrun", "nsys_profile": true, "nsys_gpu_metrics": true}),
        ),
    ]
}

#[test]
fn golden_lines_of_a_batch_script() {
    for (name, launcher) in all() {
        let given = under(
            launcher,
            &["python", "train.py", "it's"],
            json!({"cpus_per_task": 3}),
        );
        insta::assert_snapshot!(
            format!("batch_{name}"),
            shown(&submission(&here(), &[given]))
        );
    }
}

/// What would be handed to the agents of this machine.
fn local(launcher: Value, command: &[&str], further: Value) -> Request {
    let given = under(launcher, command, json!({}));
    let config = ExecutorConfig {
        kind: "local".to_owned(),
        settings: further.as_object().unwrap().clone(),
    };
    let experiment = ExperimentId::parse("x1").unwrap();
    let unit = Unit {
        experiment: &experiment,
        experiment_dir: &here(),
        key: SubmissionKey::new(&experiment, 0, 1),
        attempt: 1,
        members: vec![UnitMember {
            index: 0,
            job: &given.job,
            executor: &config,
            code: None,
            leader: false,
        }],
    };
    let executor: Box<dyn Executor> = build("here", &config).unwrap();
    executor.render(&unit).unwrap()
}

#[test]
fn golden_lines_of_this_machine() {
    for (name, launcher) in all() {
        let request = local(
            launcher,
            &["python", "train.py", "it's"],
            json!({"nodes": 2, "ntasks_per_node": 2}),
        );
        let payload: Value = serde_json::from_str(&request.payload).unwrap();
        let member = &payload["members"][0];
        let mut all = format!("{} rank(s)\n", request.members[0].ranks);
        for rank in member["ranks"].as_array().unwrap() {
            let _ = writeln!(all, "{rank}");
        }
        if !member["world"].is_null() {
            let _ = writeln!(all, "world: {}", member["world"]);
        }
        for file in &request.members[0].files {
            let _ = write!(all, "=== {}\n{}", file.path, file.contents);
        }
        insta::assert_snapshot!(format!("local_{name}"), all);
    }
}

#[test]
fn a_node_has_as_many_processes_as_gpus() {
    let given = under(
        json!("torchrun"),
        &["python", "-m", "pkg.mod"],
        json!({"ntasks_per_node": 1, "gpus_per_node": "h100:8", "cpus_per_task": 96}),
    );
    let sent = submission(&here(), &[given]);
    let command = text(&sent, "train/submit/1.command.sh");
    assert!(command.contains("--nproc-per-node 8 "), "{command}");
    let script = text(&sent, &sent.script);
    assert!(
        script.contains("--ntasks=2 --ntasks-per-node=1 \\\n        --cpus-per-task=96 \\"),
        "{script}"
    );
    assert_eq!(sent.ranks, [2]);
    // One task that starts four processes gets what four tasks would have had.
    let given = under(
        json!("ranks"),
        &["./train"],
        json!({"gpus_per_task": "h100:1", "cpus_per_task": 3}),
    );
    let sent = submission(&here(), &[given]);
    let script = text(&sent, &sent.script);
    assert!(
        script.contains("--cpus-per-task=12 \\\n        --gpus-per-task=h100:4 \\"),
        "{script}"
    );
    assert_eq!(sent.ranks, [8]);
}

#[test]
fn members_of_a_group_meet_at_their_own_first_nodes() {
    let mut first = job("a", &["python", "t.py"], settings(json!({"nodes": 2})));
    first.job.launcher = Some(json!("torchrun"));
    let mut second = job(
        "b",
        &["python", "t.py"],
        settings(json!({"nodes": 3, "rendezvous_port": 5000})),
    );
    second.job.launcher = Some(json!("torchrun"));
    let mut third = job(
        "c",
        &["./x"],
        settings(json!({"nodes": 1, "rendezvous_port": 5000})),
    );
    third.job.launcher = Some(json!("ranks"));
    let sent = submission(&here(), &[first, second, third]);
    let endpoint = |name: &str| {
        let command = text(&sent, &format!("{name}/submit/1.command.sh"));
        let at = command.find("--rdzv-endpoint ").unwrap();
        command[at..].split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(endpoint("a"), "\"${head_node_ip}\":\"${MASTER_PORT}\"");
    assert_eq!(endpoint("b"), "\"${MASTER_ADDR}\":\"${MASTER_PORT}\"");
    let script = text(&sent, &sent.script);
    assert!(script.contains("worlds=('' '' '--per-node 1')"), "{script}");
    assert!(script.contains("\"port\":5002"), "{script}");
}

#[test]
fn what_launchers_refuse() {
    let refused = |launcher: Value, further: Value| {
        let given = under(launcher, &["x"], further);
        support::request(&here(), &[given]).unwrap_err().to_string()
    };
    let uneven = refused(
        json!("torchrun"),
        json!({"ntasks": 5, "ntasks_per_node": 1}),
    );
    assert!(
        uneven.contains("as many processes on each node: 5 on 2 nodes are not"),
        "{uneven}"
    );
    let none = refused(json!({"kind": "command", "command": []}), json!({}));
    assert!(none.contains("names no program"), "{none}");
}
