//! The scripts for Slurm: as they are rendered (snapshots), and as they run, with fakes of Slurm's programs on the PATH.
#![expect(clippy::unwrap_used, reason = "what fails fails the test")]

#[path = "slurm_script/fake.rs"]
mod fake;
#[path = "slurm_script/launchers.rs"]
mod launchers;
#[path = "slurm_script/mod.rs"]
mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use fake::Place;
use mizzen_core::executor::slurm::{Submission, array};
use serde_json::json;
use support::{here, job, request, settings, submission, text};

/// Everything that is sent, as one text.
fn shown(submission: &Submission) -> String {
    let scripts = submission.files.iter().map(|file| {
        let mode = if file.executable { "0700" } else { "0600" };
        format!("=== {} {mode}\n{}", file.path, file.contents)
    });
    scripts.collect::<Vec<_>>().join("\n")
}

/// The lines of a script that are about its steps: what differs from one unit to the next.
fn steps(submission: &Submission) -> String {
    let script = text(submission, &submission.script);
    let mut lines: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("#SBATCH"))
        .collect();
    let mut inside = false;
    for line in script.lines() {
        inside = inside || line.starts_with("member_");
        if inside {
            lines.push(line);
        }
        inside = inside && line != "}";
    }
    lines.join("\n")
}

#[test]
fn plain_job() {
    let given = job(
        "train",
        &["python", "train.py", "--lr", "0.1"],
        settings(json!({})),
    )
    .env("A", "b c")
    .file("scripts/prepare", "#!/bin/sh\n");
    insta::assert_snapshot!(shown(&submission(&here(), &[given])));
}

#[test]
fn two_nodes_with_eight_tasks_each() {
    let mut given = job(
        "train",
        &[
            "torch",
            "--node=$$${node_rank_var}",
            "--master",
            "$$${head_node_ip_var}:1",
            "${HOME}",
        ],
        settings(json!({
            "nodes": 2, "ntasks_per_node": 8, "gpus_per_node": 8, "cpus_per_task": 12, "exclusive": true, "mem": 0,
            "signal": "B:USR1@90", "requeue": true, "comment": "for the paper", "memory_measure": true,
            "setup_lines": "module load cuda\nulimit -c 0", "srun_args": ["--mpi=pmix", "--distribution=block:block"],
            "additional_parameters": {"cpu_freq": "high", "spread-job": true}, "env_vars": {"WHERE": "$$${het_group_host_var}_0"},
        })),
    );
    given.job.timeout = Some(5400.0);
    given.job.retries.failure = 3;
    given
        .job
        .secrets
        .insert("TOKEN".to_owned(), "env:TOKEN".to_owned());
    insta::assert_snapshot!(shown(&submission(&here(), &[given])));
}

#[test]
fn containers() {
    for runtime in ["pyxis", "apptainer"] {
        let given = job(
            "train",
            &["python", "-m", "train"],
            settings(json!({
                "gpus_per_node": 8, "container_image": "nvcr.io#nvidia/pytorch:25.01-py3", "container_runtime": runtime,
                "container_mounts": ["/$nemo_run/out:/out", "/data set:/data:ro"], "container_env": ["HF_HOME"],
                "tunnel": {"kind": "local", "job_dir": "/scratch/me/jobs"}, "workdir": "/srv/code",
            })),
        );
        insta::assert_snapshot!(
            format!("container_{runtime}"),
            steps(&submission(&here(), &[given]))
        );
    }
}

#[test]
fn groups() {
    let one = settings(json!({"nodes": 4}));
    let shared = [
        job("server", &["serve"], one.clone()).leader(),
        job("client", &["ask"], one),
    ];
    insta::assert_snapshot!("group_shared", shown(&submission(&here(), &shared)));
    let side = [
        job(
            "server",
            &["serve"],
            settings(json!({"gpus_per_node": 4, "setup_lines": "module load a"})),
        ),
        job(
            "client",
            &["ask"],
            settings(json!({"nodes": 3, "ntasks_per_node": 2, "setup_lines": "module load b"})),
        ),
    ];
    insta::assert_snapshot!("group_side_by_side", steps(&submission(&here(), &side)));
    let components = [
        job(
            "server",
            &["serve"],
            settings(json!({"heterogeneous": true, "gpus_per_node": 4, "mem": "10G"})),
        ),
        job(
            "client",
            &["ask"],
            json!({"account": "chemistry", "partition": "cpu", "nodes": 2, "ntasks_per_node": 3, "time": "10"}),
        ),
    ];
    let components = submission(&here(), &components);
    assert!(!components.array);
    insta::assert_snapshot!("group_heterogeneous", steps(&components));
}

#[test]
fn what_cant_be_run_is_refused_in_words() {
    let refused = |given: &[support::Given]| request(&here(), given).unwrap_err().to_string();
    let one = job("a", &["x"], settings(json!({})));
    let table = [
        (
            vec![
                one.clone(),
                job("b", &["x"], settings(json!({"partition": "cpu"}))),
            ],
            "`partition` differs from another member's",
        ),
        (
            vec![
                one.clone(),
                job(
                    "b",
                    &["x"],
                    settings(json!({"tunnel": {"kind": "ssh", "host": "h", "job_dir": "/j"}})),
                ),
            ],
            "the same cluster",
        ),
        (
            vec![job(
                "a",
                &["x"],
                settings(json!({"tunnel": {"kind": "ssh", "host": "h"}})),
            )],
            "tunnel.job_dir",
        ),
        (vec![job("a", &["x\0"], settings(json!({})))], "NUL"),
        (vec![job("a", &["-x"], settings(json!({})))], "option"),
        (vec![one.clone().env("A-B", "c")], "A-B"),
        (vec![one.clone().env("A", "\0")], "NUL"),
        (
            vec![
                job(
                    "a",
                    &["x"],
                    settings(json!({"heterogeneous": true, "het_group_indices": [0, 0, 1]})),
                ),
                one,
            ],
            "3 number(s) for 2",
        ),
    ];
    for (given, words) in table {
        let message = refused(&given);
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn bash_reads_every_script() {
    let given = [
        vec![job(
            "a",
            &["x"],
            settings(json!({"signal": "B:10@60", "memory_measure": true})),
        )],
        vec![
            job(
                "a",
                &["x"],
                settings(json!({"container_image": "i", "container_env": ["A"]})),
            ),
            job(
                "b",
                &["x"],
                settings(
                    json!({"heterogeneous": true, "container_runtime": "apptainer", "container_image": "i"}),
                ),
            ),
        ],
    ];
    for given in given {
        let submission = submission(&here(), &given);
        for file in submission.files {
            let shell = if file.path.ends_with("command.sh") {
                "sh"
            } else {
                "bash"
            };
            let checked = Command::new(shell)
                .args(["-n", "-c", &file.contents])
                .output()
                .unwrap();
            assert!(
                checked.status.success(),
                "{}\n{}",
                String::from_utf8_lossy(&checked.stderr),
                file.contents
            );
        }
    }
}

/// Texts that shells, Slurm and templates would like to touch.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a b",
        "it's",
        "\"q\"",
        "`id`",
        "$(id)",
        "$HOME",
        "${HOME}",
        "$$",
        "\\",
        "\\\\n",
        "line\nline\n",
        "\t",
        "*",
        "?[a]",
        "~",
        "-n",
        "--",
        "-",
        "!x",
        "#c",
        "a;b&c|d>e<f",
        "{{ x }}",
        "{% raw %}",
        "{# c #}",
        "%j",
        "%%",
        "ü€😀",
        "\u{202e}",
        "\r\n",
        "=",
        "A=b",
        "(",
        "\u{1b}[31m",
    ]
    .map(str::to_owned)
    .into();
    texts.push("x'\"$".repeat(20_000));
    texts
}

#[test]
fn hostile_texts_arrive_unchanged() {
    let place = Place::new("hostile", "a b'c\"$d;é%j");
    let texts = hostile();
    // The command writes its arguments and variables, with NUL behind each.
    let program = r#"printf '%s\0' "$@" >"$OUT/args.$RANK_"; n=0; while [ $n -lt $COUNT ]; do eval "printf '%s\\0' \"\$V$n\""; n=$((n+1)); done >"$OUT/env.$RANK_"; printf '%s' "$PWD" >"$OUT/pwd""#;
    let program = program.replace("$RANK_", "$SLURM_PROCID");
    let workdir = place.experiment.join("job.x=1+y/code/-odd dir'");
    let mut words = vec!["sh", "-c", program.as_str(), "sh"];
    words.extend(texts.iter().map(String::as_str));
    for agent in [true, false] {
        let mut given = job(
            "job.x=1+y",
            &words,
            settings(
                json!({"ntasks_per_node": 2, "job_name_prefix": "a b'\"$x #%/", "account": "a b#"}),
            ),
        )
        .env("OUT", place.experiment.as_str())
        .env("COUNT", &texts.len().to_string());
        for (number, text) in texts.iter().enumerate() {
            given = given.env(&format!("V{number}"), text);
        }
        workdir.as_str().clone_into(&mut given.job.workdir);
        let submission = submission(&place.experiment, &[given]);
        if !agent {
            std::fs::remove_file(place.experiment.join(".agent")).unwrap();
            std::fs::remove_dir_all(place.experiment.join("job.x=1+y/attempts")).unwrap();
        }
        place.put(&submission, agent);
        let output = place.run(&submission, 7);
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stderr),
            place.read("job.x=1+y/attempts/1/rank-0.log")
        );
        for rank in 0..2 {
            for kind in ["args", "env"] {
                let arrived = place.read(&format!("{kind}.{rank}"));
                let arrived: Vec<&str> = arrived.split_terminator('\0').collect();
                assert_eq!(
                    arrived, texts,
                    "{kind} of rank {rank}, with an agent: {agent}"
                );
                std::fs::remove_file(place.experiment.join(format!("{kind}.{rank}"))).unwrap();
            }
        }
        assert_eq!(place.read("pwd"), workdir.as_str());
    }
}

#[test]
fn macros_and_addresses() {
    let place = Place::new("macros", "e");
    let print =
        r#"echo "$@" "$MASTER_ADDR" "$HOST_1" "$RANK/$WORLD_SIZE"; test "$MASTER_PORT" -ge 20000"#;
    let words = [
        "sh",
        "-c",
        print,
        "sh",
        "$$${head_node_ip_var}:$$${num_nodes_var}:$$${nproc_per_node_var}:$$${node_rank_var}",
        "$HOME",
    ];
    let unit = [
        job(
            "a",
            &words,
            settings(json!({"nodes": 2, "ntasks_per_node": 2})),
        )
        .env("HOST_1", "$$${het_group_host_var}_1"),
        job(
            "b",
            &words,
            settings(json!({"nodes": 1, "ntasks_per_node": 2})),
        )
        .env("HOST_1", "$$${het_group_host_var}_1"),
    ];
    let submission = submission(&place.experiment, &unit);
    place.put(&submission, false);
    let output = place.run(&submission, 7);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        place.read("a/attempts/1/rank-3.log"),
        "192.0.2.1:2:2:1 $HOME 192.0.2.1 n3 3/4\n"
    );
    assert_eq!(
        place.read("b/attempts/1/rank-1.log"),
        "192.0.2.1:1:2:0 $HOME 192.0.2.3 n3 1/2\n"
    );
}

#[test]
fn an_attempt_runs_once_and_a_requeue_is_the_next_one() {
    let place = Place::new("claims", "e");
    let submission = submission(
        &place.experiment,
        &[job(
            "a",
            &["sh", "-c", "echo $MIZZEN_ATTEMPT"],
            settings(json!({})),
        )],
    );
    place.put(&submission, true);
    assert!(place.run(&submission, 7).status.success());
    assert_eq!(
        std::fs::read_link(place.experiment.join("a/attempts/1/job"))
            .unwrap()
            .to_str(),
        Some("7")
    );
    let again = place.run(&submission, 8);
    assert_eq!(again.status.code(), Some(75));
    let words = String::from_utf8(again.stderr).unwrap();
    assert!(
        words.contains("attempt 1 of a was started by Slurm job 7"),
        "{words}"
    );
    assert_eq!(
        place.run(&submission, 7).status.code(),
        Some(75),
        "its ranks were started"
    );
    let requeued = place
        .command(&place.experiment.join(&submission.script), 7)
        .env("SLURM_RESTART_COUNT", "1")
        .output()
        .unwrap();
    assert!(requeued.status.success());
    assert_eq!(place.read("a/attempts/1/rank-0.log"), "1\n");
    assert_eq!(place.read("a/attempts/2/rank-0.log"), "2\n");
    assert!(
        place
            .read("a/attempts/2/concluded")
            .contains("--ranks 1 --status 0")
    );
    std::fs::remove_dir_all(place.experiment.join("a")).unwrap();
    let gone = place.run(&submission, 9);
    // Its own script is gone too, of which Slurm has a copy.
    assert!(!gone.status.success());
}

#[test]
fn a_group_ends_with_its_leader_or_its_first_failure() {
    let endless = [
        "sh",
        "-c",
        "trap 'echo told; kill $!; exit 9' TERM; sleep 1000 & : >\"$MIZZEN_EXPERIMENT_DIR/ready\"; wait",
    ];
    let after_ready = |status: &str| format!(": <\"$MIZZEN_EXPERIMENT_DIR/ready\"; exit {status}");
    for (leader, status, reason, code) in [
        (true, "0", "group-ended", 0),
        (true, "3", "group-failed", 3),
        (false, "4", "group-failed", 4),
    ] {
        let place = Place::new(&format!("group-{leader}-{status}"), "e");
        let first = job(
            "first",
            &["sh", "-c", &after_ready(status)],
            settings(json!({})),
        );
        let unit = [
            if leader { first.leader() } else { first },
            job("second", &endless, settings(json!({}))),
        ];
        let submission = submission(&place.experiment, &unit);
        place.put(&submission, true);
        place.pipe("ready");
        let output = place.run(&submission, 7);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{}{}{}",
            String::from_utf8_lossy(&output.stderr),
            place.read("first/attempts/1/rank-0.log"),
            place.read("second/attempts/1/rank-0.log"),
        );
        assert_eq!(place.read("second/attempts/1/rank-0.log"), "told\n");
        let second = place.read("second/attempts/1/concluded");
        assert!(
            second.contains(&format!("--status 9 --log {}", place.experiment)),
            "{second}"
        );
        assert!(second.ends_with(&format!("--end {reason}\n")), "{second}");
        let first = place.read("first/attempts/1/concluded");
        assert!(
            first.contains(&format!("--status {status} ")) && !first.contains("--end"),
            "{first}"
        );
        assert!(place.told("srun").contains("--overlap"));
    }
}

#[test]
fn members_that_end_well_wait_for_each_other() {
    let place = Place::new("well", "e");
    let unit = ["a", "b", "c"].map(|name| {
        job(
            name,
            &["true"],
            settings(json!({"wait_time_for_group_job": 0})),
        )
    });
    let submission = submission(&place.experiment, &unit);
    place.put(&submission, true);
    assert!(place.run(&submission, 7).status.success());
    for name in ["a", "b", "c"] {
        assert!(
            place
                .read(&format!("{name}/attempts/1/concluded"))
                .contains("--status 0")
        );
    }
    assert_eq!(place.told("scancel"), "");
}

#[test]
fn signals_reach_the_ranks() {
    for members in [1, 2] {
        let place = Place::new(&format!("signals-{members}"), "e");
        let ready = "trap 'echo usr1; kill $!; exit 0' USR1; sleep 1000 & : >\"$MIZZEN_JOB_DIR/ready\"; wait";
        let names = ["a", "b"];
        let unit: Vec<_> = names[..members]
            .iter()
            .map(|name| {
                job(
                    name,
                    &["sh", "-c", ready],
                    settings(json!({"signal": "B:USR1@60"})),
                )
            })
            .collect();
        let submission = submission(&place.experiment, &unit);
        place.put(&submission, true);
        for name in &names[..members] {
            place.pipe(&format!("{name}/ready"));
        }
        let child = place.start(&submission, 7);
        for name in &names[..members] {
            assert_eq!(place.read(&format!("{name}/ready")), "");
        }
        let status = Command::new("kill")
            .args(["-USR1", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{:?} {}",
            output.status.signal(),
            String::from_utf8_lossy(&output.stderr)
        );
        for name in &names[..members] {
            assert_eq!(
                place.read(&format!("{name}/attempts/1/rank-0.log")),
                "usr1\n"
            );
        }
    }
}

#[test]
fn an_array_runs_its_units_scripts() {
    let place = Place::new("array", "e é");
    let mut units: Vec<Submission> = ["a", "b"]
        .iter()
        .map(|name| {
            submission(
                &place.experiment,
                &[job(name, &["echo", name], settings(json!({}))).file("scripts/in/.é x", name)],
            )
        })
        .collect();
    units[1].key = "mz-x1-1-1".to_owned();
    assert!(units[0].shares_array_with(&units[1]));
    let other = submission(
        &place.experiment,
        &[job("c", &["echo"], settings(json!({"nodes": 2})))],
    );
    assert!(!units[0].shares_array_with(&other));
    assert_eq!(array(&[&units[0], &other], 0), None);
    assert_eq!(array(&[], 0), None);
    let whole = array(&[&units[0], &units[1]], 0).unwrap();
    assert_eq!(whole.script, "arrays/mz-x1-0-1/batch.sh");
    let keys: Vec<&str> = whole.files[1].contents.split_whitespace().collect();
    assert_eq!((keys[0], keys[4]), ("mz-x1-0-1", "mz-x1-1-1"));
    insta::assert_snapshot!(
        "array",
        whole.files[0]
            .contents
            .replace(place.experiment.as_str(), "E")
    );
    for file in &whole.files {
        let path = place.experiment.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &file.contents).unwrap();
    }
    let (path, packed) = &whole.units;
    std::fs::write(place.experiment.join(path), packed).unwrap();
    let output = place
        .command(&place.experiment.join(&whole.script), 12)
        .env("SLURM_ARRAY_JOB_ID", "11")
        .env("SLURM_ARRAY_TASK_ID", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(place.read("b/attempts/1/rank-0.log"), "b\n");
    assert_eq!(
        std::fs::read_link(place.experiment.join("b/attempts/1/job"))
            .unwrap()
            .to_str(),
        Some("11_1")
    );
    assert!(
        place
            .experiment
            .join("b/sbatch_physics-physics.b_11_1.out")
            .exists()
    );
    // What never ran has no files.
    assert!(!place.experiment.join("a").exists());
    assert_eq!(place.read("b/scripts/in/.é x"), "b");
    let left = std::fs::read_dir(place.experiment.join("arrays/mz-x1-0-1")).unwrap();
    assert_eq!(left.count(), 3);
}
