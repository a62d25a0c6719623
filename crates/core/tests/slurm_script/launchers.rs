//! What every launcher starts, at every place: the command lines and steps as they are sent (snapshots), and as they run.

use std::fmt::Write as _;

use crate::fake::Place;
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
        (
            "ft",
            json!({
                "kind": "ft", "cfg_path": "/cfg dir/ft.yml", "rank_heartbeat_timeout": 60, "workload_check_interval": 0, "max_restarts": 3,
            }),
        ),
        (
            "slurm_template",
            json!({
                "kind": "slurm_template", "template_vars": {"who": "a b'", "before": "echo $HOME &&", "words": ["x", "y z"]},
                "template_inline": "#!/bin/bash\necho {{ who }} \"<&>\" {{ words }}\n{{ before|safe }} {{ command }}\n",
            }),
        ),
        (
            "slurm_ray",
            json!({
                "kind": "slurm_ray", "head_setup": "ulimit -n 65536", "env_vars": {"A": "b c$"}, "display_nvidia_smi_output": true,
                "dashboard_port": 0,
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
        if name.starts_with("slurm") {
            continue;
        }
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

/// Writes its arguments, with NUL behind each, into a file of its own.
const TELLS: &str = "#!/bin/sh\nprintf '%s\\0' \"$@\" >\"$OUT/args.$SLURM_PROCID\"\n";

#[test]
fn hostile_arguments_arrive_unchanged_through_every_launcher() {
    let place = Place::new("launchers-hostile", "a b'c\"$d;é%j");
    for program in ["torchrun", "ft_launcher", "wrap", "python"] {
        place.program(program, TELLS);
    }
    place.program("ray", "#!/bin/sh\nexit 0\n");
    let texts: Vec<String> = crate::hostile();
    let mut words = vec!["python", "t.py"];
    words.extend(texts.iter().map(String::as_str));
    let template = "#!/bin/bash\nset -u\n{{ command }}\n";
    let launchers = [
        json!("none"),
        json!("torchrun"),
        json!("ft"),
        json!({"kind": "slurm_template", "template_inline": template}),
        json!("slurm_ray"),
        json!({"kind": "command", "command": ["wrap", "a b", "$x"]}),
    ];
    for (number, launcher) in launchers.into_iter().enumerate() {
        let mut given = job(&format!("j{number}"), &words, settings(json!({})))
            .env("OUT", place.experiment.as_str());
        given.job.launcher = Some(launcher.clone());
        let sent = submission(&place.experiment, &[given]);
        place.put(&sent, true);
        let output = place.run(&sent, 7);
        assert!(
            output.status.success(),
            "{launcher}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            place.read(&format!("j{number}/attempts/1/rank-0.log"))
        );
        let arrived = place.read("args.0");
        let arrived: Vec<&str> = arrived.split_terminator('\0').collect();
        let from = arrived.iter().position(|word| *word == "t.py").unwrap();
        assert_eq!(arrived[from + 1..], texts, "{launcher}");
        std::fs::remove_file(place.experiment.join("args.0")).unwrap();
    }
}

#[test]
fn a_program_that_is_not_there_is_named_before_the_command_runs() {
    let place = Place::new("launchers-missing", "e");
    let mut given =
        job("a", &["python", "t.py"], settings(json!({"nodes": 2}))).env("PATH", "/bin:/usr/bin");
    given.job.launcher = Some(json!({"kind": "command", "command": ["no-such-launcher"]}));
    let sent = submission(&place.experiment, &[given]);
    place.put(&sent, true);
    assert_eq!(place.run(&sent, 7).status.code(), Some(127));
    let log = place.read("a/attempts/1/rank-0.log");
    assert!(
        log.starts_with("mizzen: no-such-launcher is not on the PATH of "),
        "{log}"
    );
}

/// A job with two nodes under a launcher, as it ends.
fn ended(place: &Place, launcher: Value, command: &[&str], number: u32) -> std::process::Output {
    let mut given =
        job("job", command, settings(json!({"nodes": 2}))).env("OUT", place.experiment.as_str());
    given.job.launcher = Some(launcher);
    let sent = submission(&place.experiment, &[given]);
    place.put(&sent, true);
    let script = place.experiment.join(&sent.script);
    let restarts = (number - 7).to_string();
    let mut command = place.command(&script, 7);
    command
        .env("SLURM_RESTART_COUNT", restarts)
        .output()
        .unwrap()
}

#[test]
fn attempts_under_the_fault_tolerance_launcher() {
    let place = Place::new("launchers-ft", "e é");
    let launcher = json!("ft");
    let results = |place: &Place| place.read("job/job_job_results");
    // What an earlier run has left is not believed.
    std::fs::create_dir_all(place.experiment.join("job")).unwrap();
    std::fs::write(place.experiment.join("job/job_finished_flag"), "").unwrap();
    place.program("ft_launcher", "#!/bin/sh\n[ ! -e \"$FAULT_TOL_FINISHED_FLAG_FILE\" ] || [ \"$SLURM_NODEID\" = 1 ] || exit 3\nexit 4\n");
    assert_eq!(
        ended(&place, launcher.clone(), &["t"], 7).status.code(),
        Some(4)
    );
    assert_eq!(results(&place), "7 1 F\n");
    place.program(
        "ft_launcher",
        // By the first node alone: another one that comes late would have nothing to do.
        "#!/bin/sh\n[ \"$SLURM_NODEID\" = 1 ] || : >\"$FAULT_TOL_FINISHED_FLAG_FILE\"\n",
    );
    assert!(ended(&place, launcher.clone(), &["t"], 8).status.success());
    assert_eq!(results(&place), "7 1 F\n7 2 S\n");
    // All is done: nothing is started again.
    place.program("ft_launcher", "#!/bin/sh\nexit 5\n");
    assert!(ended(&place, launcher, &["t"], 9).status.success());
    assert_eq!(results(&place), "7 1 F\n7 2 S\n");
    assert!(
        place
            .read("job/attempts/3/rank-0.log")
            .contains("has finished the work")
    );
}

/// Ray's program: it writes down how it was started.
const RAY: &str = "#!/bin/sh\necho \"$*\" >>\"$OUT/ray.$SLURM_NODEID\"\n";

#[test]
fn a_ray_cluster_ends_with_its_driver() {
    let place = Place::new("launchers-ray", "e é");
    place.program("ray", RAY);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let launcher = json!({
        "kind": "slurm_ray", "gcs_server_port": port, "metrics_port": 0, "env_vars": {"GIVEN": "a b'$c"}, "head_setup": "setup=$GIVEN; export setup",
    });
    let driver = [
        "sh",
        "-c",
        "echo \"$RAY_ADDRESS $setup\"; exit $1",
        "sh",
        "0",
    ];
    let output = ended(&place, launcher.clone(), &driver, 7);
    let log = place.read("job/attempts/1/rank-0.log");
    assert!(
        output.status.success(),
        "{log}{}",
        place.read("job/attempts/1/rank-1.log")
    );
    assert!(
        log.contains(&format!(
            "mizzen: port {port} (gcs_server_port) is taken on "
        )),
        "{log}"
    );
    let head = place.read("ray.0");
    assert!(
        head.starts_with("start --head --node-ip-address=192.0.2.1 --port="),
        "{head}"
    );
    assert!(
        !head.contains(&format!("--port={port} ")) && !head.contains("--metrics-export-port"),
        "{head}"
    );
    let words = log.lines().last().unwrap();
    let (address, setup) = words.split_once(' ').unwrap();
    assert_eq!(setup, "a b'$c");
    assert!(
        head.contains(&format!("--port={} ", address.rsplit(':').next().unwrap())),
        "{head}{address}"
    );
    assert!(
        place
            .read("ray.1")
            .starts_with(&format!("start --address={address} "))
    );
    let failing = ["sh", "-c", "exit 5"];
    assert_eq!(ended(&place, launcher, &failing, 8).status.code(), Some(5));
}

#[test]
fn a_ray_head_that_is_slow_or_a_worker_that_is_absent_ends_the_job() {
    let launcher =
        json!({"kind": "slurm_ray", "head_init_wait_time": 1, "worker_init_wait_time": 1});
    let place = Place::new("launchers-slow", "e");
    place.pipe("never");
    // Nobody ever writes into the pipe.
    place.program(
        "ray",
        "#!/bin/sh\n[ \"$SLURM_NODEID\" = 1 ] || : <\"$OUT/never\"\n",
    );
    assert_eq!(
        ended(&place, launcher.clone(), &["true"], 7).status.code(),
        Some(124)
    );
    let log = place.read("job/attempts/1/rank-0.log");
    assert!(log.contains("ray start took longer than 1 s on "), "{log}");
    let place = Place::new("launchers-absent", "e");
    place.pipe("never");
    place.program(
        "ray",
        "#!/bin/sh\n[ \"$SLURM_NODEID\" = 0 ] || : <\"$OUT/never\"\n",
    );
    assert_ne!(ended(&place, launcher, &["true"], 7).status.code(), Some(0));
    let logs = [0, 1]
        .map(|rank| place.read(&format!("job/attempts/1/rank-{rank}.log")))
        .concat();
    assert!(
        logs.contains("node 1 did not join within 1 s: 0 of 1 workers are there")
            || logs.contains("ray start took longer than 1 s"),
        "{logs}"
    );
}
