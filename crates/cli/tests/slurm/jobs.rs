//! Jobs of several nodes, members and components, and what they get.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::desk::{Desk, escaped, executors, shared};
use crate::scene::{ends, exit_record, job, until};
use crate::slurm::Variant;

/// Meets the other ranks as torch.distributed does: at MASTER_ADDR and MASTER_PORT.
const MEET: &str = r#"
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    listener = socket.create_server(address)
    for _ in range(size - 1):
        connection, _ = listener.accept()
        connection.sendall(b"hello " + connection.recv(100))
else:
    for _ in range(600):
        try:
            connection = socket.create_connection(address)
            break
        except OSError:
            time.sleep(0.1)
    connection.sendall(b"%d" % rank)
    print("heard", connection.recv(100).decode())
names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK MASTER_ADDR".split()
print(*(os.environ[name] for name in names), "on", os.environ["SLURMD_NODENAME"])
"#;

#[test]
fn what_ranks_of_nodes_use_is_added_up() {
    let Some((_, laptop)) = shared(Variant::Plain, "nodes = 2\nntasks_per_node = 2") else {
        return;
    };
    // One agent a rank, and one agent a node.
    for launcher in ["none", "ranks"] {
        let said = laptop.session.run(&[
            "run",
            "-e",
            "cluster",
            "--name",
            "use",
            "--launcher",
            launcher,
            "--",
            "sh",
            "-c",
            "head -c 1M /dev/zero >data.$RANK; sleep 2",
        ]);
        assert_eq!(said.status, 0, "{said:?}");
        let status = laptop.session.json(&["status", "--json"]);
        let usage = &job(&status, "use")["attempts"][0]["usage"];
        let number = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("{usage}"));
        assert!(
            number("samples") >= 1 && number("processes_peak") >= 4,
            "{usage}"
        );
        assert!((4 << 20..5 << 20).contains(&number("written")), "{usage}");
        // Samples of what runs come home with the logs.
        let id = status["id"].as_str().unwrap();
        let writer = if launcher == "ranks" { "1" } else { "rank-3" };
        let samples = laptop.log("use", id, &format!("use/attempts/1/samples-{writer}.jsonl"));
        assert!(samples.contains("\"usage\":{\"samples\":"), "{samples}");
    }
}

#[test]
fn two_nodes_meet() {
    let Some((_, laptop)) = shared(
        Variant::Plain,
        "nodes = 2\nntasks_per_node = 2\ngpus_per_node = 2",
    ) else {
        return;
    };
    let script = laptop.session.write("meet.py", MEET);
    let script = script.display().to_string();
    // One agent a rank, and one agent a node that starts its ranks.
    for launcher in ["none", "ranks"] {
        let said = laptop.session.run(&[
            "run",
            "-e",
            "cluster",
            "--name",
            "torch",
            "--launcher",
            launcher,
            "--",
            "python3",
            &script,
        ]);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.stdout.contains("rank 3 │ heard hello 3"), "{said:?}");
        let status = laptop.session.json(&["status", "--json"]);
        let id = status["id"].as_str().unwrap();
        assert_eq!(job(&status, "torch")["attempts"][0]["exit_code"], 0);
        for rank in 0..4 {
            let log = laptop.log("torch", id, &format!("torch/attempts/1/rank-{rank}.log"));
            let said = log.lines().last().unwrap();
            let (node, local) = (rank / 2, rank % 2);
            let wanted = format!("{rank} 4 {local} 2 {node} 127.0.0.1 on n");
            assert!(said.starts_with(&wanted), "rank {rank}: {log}");
            let shown = laptop
                .session
                .ok(&["logs", id, "--rank", &rank.to_string()]);
            assert!(shown.contains(said), "{shown}");
        }
        let record = exit_record(&job(&status, "torch")["attempts"][0]);
        assert_eq!(record["ranks"].as_array().unwrap().len(), 4);
        let nodes = job(&status, "torch")["attempts"][0]["nodes"].clone();
        assert_eq!(nodes.as_array().unwrap().len(), 2, "{nodes}");
    }
}

/// What a member tells of itself.
const TELL: &str =
    "echo $SLURM_NNODES $SLURMD_NODENAME $SLURM_PROCID ${COLOR:-none} ${SHADE:-none}";

/// Ends a server as the end of its clients does: it waits for ever.
const SERVE: &str = "trap 'echo told to end; exit 0' TERM; echo serving; read never <never";

#[test]
fn a_server_and_its_clients_share_an_allocation() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let server = "nodes = 1\nenv_vars = { COLOR = \"red\" }";
    let clients = "nodes = 3\nenv_vars = { SHADE = \"dark\" }";
    executors(&laptop, &[("one", server), ("three", clients)]);
    let never = laptop.session.gate("never");
    let met = laptop.session.gate("met");
    let (never, met) = (never.display(), met.display());
    let server = format!("{TELL}; echo go >{met}; {SERVE}").replace("<never", &format!("<{never}"));
    let client = format!("{TELL}; [ $SLURM_PROCID != 0 ] || read go <{met}; echo done");
    let document = json!({
        "title": "served",
        "groups": { "both": { "leader": "client" } },
        "tasks": [
            { "name": "server", "group": "both", "executor": "one", "run": ["sh", "-c", escaped(&server)] },
            { "name": "client", "group": "both", "executor": "three", "run": ["sh", "-c", escaped(&client)] },
        ],
    });
    let id = laptop.launch(&document);
    assert_eq!(
        laptop.wait(&id),
        0,
        "{:#}\n{}",
        laptop.status(&id),
        laptop.log("served", &id, "supervisor.log")
    );
    let status = laptop.status(&id);
    assert_eq!(job(&status, "client")["state"], "SUCCEEDED");
    let first = |path: &str| {
        let log = laptop.log("served", &id, path);
        log.lines().next().unwrap_or_default().to_owned()
    };
    let mut nodes = BTreeMap::new();
    let said = first("server/attempts/1/rank-0.log");
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[3..], ["red", "none"], "{said}");
    nodes.insert(words[1].to_owned(), "server");
    for rank in 0..3 {
        let said = first(&format!("client/attempts/1/rank-{rank}.log"));
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!(words[2..], [&rank.to_string(), "none", "dark"], "{said}");
        nodes.insert(words[1].to_owned(), "client");
    }
    assert_eq!(nodes.len(), 4, "each has a node of its own: {nodes:?}");
    crate::desk::until_booked(cluster, &id, 1);
    let server = laptop.log("served", &id, "server/attempts/1/rank-0.log");
    assert!(server.ends_with("told to end\n"), "{server}");
}

#[test]
fn components_of_a_heterogeneous_job_have_their_own_settings() {
    let Some((cluster, laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    let big = "nodes = 2\nntasks_per_node = 2\ngpus_per_node = 1\nheterogeneous = true\ntime = \"00:05:00\"\nenv_vars = { COLOR = \"red\", BOTH = \"big\" }";
    let small = "nodes = 1\ncpus_per_task = 3\nheterogeneous = true\ntime = \"00:03:00\"\nenv_vars = { SHADE = \"dark\", BOTH = \"small\" }";
    executors(&laptop, &[("big", big), ("small", small)]);
    let tell = "echo ${COLOR:-none} ${SHADE:-none} $BOTH $SLURM_NTASKS ${SLURM_CPUS_PER_TASK:-none} ${SLURM_GPUS_ON_NODE:-none} $WORLD $OWN; \
                scontrol show job $SLURM_JOB_ID | grep -o 'TimeLimit=[^ ]*'";
    let document = json!({
        "title": "het",
        "groups": { "both": {} },
        "defaults": { "env": { "WORLD": "ours" } },
        "tasks": [
            { "name": "trainer", "group": "both", "executor": "big", "env": { "OWN": "t" }, "run": ["sh", "-c", escaped(tell)] },
            { "name": "loader", "group": "both", "executor": "small", "env": { "OWN": "l" }, "run": ["sh", "-c", escaped(tell)] },
        ],
    });
    let id = laptop.launch(&document);
    assert_eq!(
        laptop.wait(&id),
        0,
        "{:#}\n{}",
        laptop.status(&id),
        laptop.log("het", &id, "supervisor.log")
    );
    for rank in 0..4 {
        let log = laptop.log("het", &id, &format!("trainer/attempts/1/rank-{rank}.log"));
        assert!(log.starts_with("red none big 4 "), "{log}");
        assert!(log.contains(" 1 ours t\n"), "{log}");
        assert!(log.contains("TimeLimit=00:05:00"), "{log}");
    }
    let log = laptop.log("het", &id, "loader/attempts/1/rank-0.log");
    assert!(
        log.starts_with("none dark small 1 3 none ours l\n"),
        "{log}"
    );
    assert!(log.contains("TimeLimit=00:03:00"), "{log}");
    // One line a component.
    crate::desk::until_booked(cluster, &id, 2);
}

/// Texts that a shell, a template, a list with commas or a line could break.
const HOSTILE: [&str; 12] = [
    "",
    " ",
    "a b",
    "it's \"quoted\"",
    "$HOME `id` $(id) ${x}",
    "back\\slash \\n",
    "; rm -rf nowhere; #",
    "line\nbreak",
    "tab\there",
    "{{ jinja }} {% x %}",
    "ü→💥",
    "-x --help=* ? [a] ~ ! & | < >",
];

#[test]
fn hostile_strings_arrive_as_they_are() {
    let Some((_, laptop)) = shared(Variant::Plain, "comment = 'its $(id) \"100%\" %j'") else {
        return;
    };
    let tell = laptop.session.write(
        "tell.py",
        "import json, os, sys\n\
         print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k.startswith('TEXT_')}]))\n",
    );
    let mut run = vec!["python3".to_owned(), tell.display().to_string()];
    run.extend(HOSTILE.map(escaped));
    let env: BTreeMap<String, String> = HOSTILE
        .iter()
        .enumerate()
        .map(|(number, text)| (format!("TEXT_{number}"), escaped(text)))
        .collect();
    // Both as a single job and as an array's.
    for (title, sweep) in [("A-1.x+_", json!(null)), ("many", json!({ "x": [1, 2] }))] {
        let mut task = json!({ "name": "tell", "env": env, "run": run });
        if !sweep.is_null() {
            task["sweep"] = sweep;
        }
        let id = laptop.launch(
            &json!({ "title": title, "tasks": [task], "defaults": { "executor": "cluster" } }),
        );
        assert_eq!(
            laptop.wait(&id),
            0,
            "{:#}\n{}",
            laptop.status(&id),
            laptop.session.run(&["logs", &id]).stdout
        );
        let status = laptop.status(&id);
        assert_eq!(status["title"], title);
        for one in status["jobs"].as_array().unwrap() {
            let log = std::fs::read_to_string(one["attempts"][0]["log"].as_str().unwrap()).unwrap();
            let told: Value = serde_json::from_str(&log).unwrap();
            assert_eq!(told[0], json!(HOSTILE), "{log}");
            for (number, text) in HOSTILE.iter().enumerate() {
                assert_eq!(told[1][format!("TEXT_{number}")], *text);
            }
        }
    }
}

/// The files below a folder that hold a text, and their modes.
fn holders(folder: &Path, text: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let inside = bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes());
                if inside {
                    let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                    found.push((entry.path().display().to_string(), mode));
                }
            }
        }
    }
    found
}

#[test]
fn secrets_are_in_no_script_and_no_store() {
    let Some((cluster, mut laptop)) = shared(Variant::Plain, "") else {
        return;
    };
    // What is between the quotes survives every quoting as it is.
    let (secret, inside) = ("it's \"hunter2-swordfish\" $x", "hunter2-swordfish");
    laptop.session = laptop.session.with("MY_TOKEN", secret);
    // The check is by a digest: the text itself stands nowhere.
    let gate = laptop.session.gate("gate");
    let check = format!(
        "printf %s \"$TOKEN\" | md5sum; env | grep -c swordfish; read go <{}",
        gate.display()
    );
    let id = laptop.launch(&json!({ "title": "secret", "tasks": [
        { "name": "knows", "executor": "cluster", "secrets": { "TOKEN": "env:MY_TOKEN" }, "run": ["sh", "-c", escaped(&check)] },
    ]}));
    laptop.until_state(&id, "knows", "RUNNING");
    let there = laptop.there("secret", &id);
    let found = holders(&there, inside);
    let only: Vec<_> = found
        .iter()
        .map(|(path, mode)| (path.ends_with("/submit/1.secrets"), *mode))
        .collect();
    assert_eq!(only, [(true, 0o600)], "{found:?}");
    laptop.session.release("gate");
    assert_eq!(laptop.wait(&id), 0, "{:#}", laptop.status(&id));
    let log = laptop.log("secret", &id, "knows/attempts/1/rank-0.log");
    assert_eq!(log, "38e146f64d6f8f72015220d1e69b476d  -\n1\n");
    assert_eq!(holders(&laptop.session.home(), inside), []);
    until("the secret is removed there", || {
        holders(&there, inside).is_empty().then_some(())
    });
    // Slurm keeps the batch script and its environment.
    for state in ["state", "spool", "log"] {
        assert_eq!(holders(&cluster.folder.join(state), inside), []);
    }
}

#[test]
fn a_failing_rank_brings_its_step_down() {
    let Some((_, laptop)) = shared(Variant::Plain, "nodes = 4") else {
        return;
    };
    let never = laptop.session.gate("never");
    // The third rank fails once all of them are there; the others would stay for ever.
    let script = format!(
        "echo up >>{ups}; if [ $SLURM_PROCID = 2 ]; then until [ $(wc -l <{ups}) = 4 ]; do sleep 0.05; done; echo broken >&2; exit 3; fi; read x <{never}",
        ups = laptop.session.workdir().join("ups").display(),
        never = never.display(),
    );
    let id = laptop.launch(&json!({ "title": "failing", "tasks": [
        { "name": "four", "executor": "cluster", "run": ["sh", "-c", escaped(&script)] },
    ]}));
    assert_eq!(laptop.wait(&id), 1);
    let status = laptop.status(&id);
    assert_eq!(ends(&status)["four"], "FAILED app-failure");
    let attempt = &job(&status, "four")["attempts"][0];
    assert_eq!(attempt["exit_code"], 3, "{status:#}");
    let record = exit_record(attempt);
    assert_eq!(record["first_failure"]["rank"], 2, "{record:#}");
    let ended: Vec<i64> = record["ranks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rank| rank["ended"].as_i64().unwrap())
        .collect();
    let late = ended.iter().max().unwrap() - ended[2];
    assert!(late < 3_000_000, "{late} µs after the failure: {record:#}");
}
