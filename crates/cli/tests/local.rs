//! What the settings of the executor for this machine do, seen from inside the jobs.

mod support;

use support::Session;

/// Launches a file that must succeed; the output of one of its jobs.
fn output(session: &Session, file: &str, job: &str) -> Vec<String> {
    session.write("e.toml", file);
    let said = session.run(&["launch", "e.toml"]);
    assert_eq!(said.status, 0, "{said:?}");
    session
        .ok(&["logs", "latest", job, "--no-prefix"])
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_rank_knows_its_place_and_macros_have_values() {
    let session = Session::new();
    let file = r#"
title = "ranks"
[executors.grid]
kind = "local"
nodes = 2
ntasks_per_node = 2
env_vars = { FROM_EXECUTOR = "yes" }
[[tasks]]
name = "t"
executor = "grid"
env = { HEAD = "$$${head_node_ip_var}" }
run = ["sh", "-c", 'echo "$RANK/$WORLD_SIZE local $LOCAL_RANK/$LOCAL_WORLD_SIZE node $NODE_RANK $1 $HEAD $FROM_EXECUTOR"', "sh", "of $$${num_nodes_var} at $$${node_rank_var}"]
"#;
    let mut lines = output(&session, file, "t");
    lines.sort();
    assert_eq!(
        lines,
        [
            "0/4 local 0/2 node 0 of 2 at 0 127.0.0.1 yes",
            "1/4 local 1/2 node 0 of 2 at 0 127.0.0.1 yes",
            "2/4 local 0/2 node 1 of 2 at 1 127.0.0.1 yes",
            "3/4 local 1/2 node 1 of 2 at 1 127.0.0.1 yes",
        ]
    );
    let third = session.ok(&["logs", "latest", "t", "--rank", "3", "--no-prefix"]);
    assert_eq!(third, "3/4 local 1/2 node 1 of 2 at 1 127.0.0.1 yes\n");
}

/// Two jobs at once, one GPU each, of two: a job holds its GPU's name as a folder while it runs and fails if it is there.
#[test]
fn no_two_jobs_have_the_same_gpu_at_once() {
    let session = Session::new();
    let file = r#"
title = "gpus"
[executors.gpu]
kind = "local"
gpus = 1
devices = ["GPU-a", "GPU-b"]
slots = 4
[[tasks]]
name = "t"
executor = "gpu"
sweep = { i = [1, 2, 3, 4, 5, 6, 7, 8] }
inline = """
mkdir "held-$CUDA_VISIBLE_DEVICES" || exit 1
python3 -c pass
rmdir "held-$CUDA_VISIBLE_DEVICES"
echo "had $CUDA_VISIBLE_DEVICES"
"""
"#;
    let lines = output(&session, file, "t");
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line == "had GPU-a" || line == "had GPU-b"),
        "{lines:?}"
    );
}

#[test]
fn more_gpus_than_there_are_is_said_and_starts_nothing() {
    let session = Session::new();
    session.write(
        "e.toml",
        "title = \"g\"\n[executors.gpu]\nkind = \"local\"\ngpus = 3\ndevices = [\"0\"]\n[[tasks]]\nname = \"t\"\nexecutor = \"gpu\"\nrun = [\"touch\", \"ran\"]\n",
    );
    let said = session.run(&["launch", "e.toml"]);
    assert!([1, 4].contains(&said.status), "{said:?}");
    assert!(
        said.stderr.contains("asks for 3 GPU(s)") && said.stderr.contains("has 1"),
        "{said:?}"
    );
    assert!(!session.workdir().join("ran").exists());
}

#[test]
fn slots_bound_how_many_run_at_once() {
    let session = Session::new();
    let file = r#"
title = "slots"
[executors.one]
kind = "local"
slots = 1
[[tasks]]
name = "t"
executor = "one"
sweep = { i = [1, 2, 3, 4, 5] }
inline = """
mkdir alone || exit 1
rmdir alone
echo done
"""
"#;
    assert_eq!(output(&session, file, "t").len(), 5);
}

#[test]
fn timeout_workdir_and_retries_may_be_the_executors() {
    let session = Session::new();
    std::fs::create_dir(session.workdir().join("inside")).unwrap();
    let file = r#"
title = "settings"
on_failure = "continue"
[executors.set]
kind = "local"
timeout = "300ms"
workdir = "inside"
retries = 1
[[tasks]]
name = "where"
executor = "set"
run = ["sh", "-c", "basename $PWD"]
[[tasks]]
name = "slow"
executor = "set"
run = ["sleep", "60"]
[[tasks]]
name = "fails"
executor = "set"
run = ["false"]
"#;
    session.write("e.toml", file);
    let said = session.run(&["launch", "e.toml"]);
    assert_eq!(said.status, 1, "{said:?}");
    assert_eq!(session.ok(&["logs", "latest", "where"]), "inside\n");
    let status = session.json(&["status", "latest", "--json"]);
    let job = |name: &str| {
        status["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|job| job["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (
            &job("slow")["cause"],
            job("slow")["attempts"].as_array().unwrap().len()
        ),
        (&"timeout".into(), 1)
    );
    assert_eq!(
        (
            &job("fails")["cause"],
            job("fails")["attempts"].as_array().unwrap().len()
        ),
        (&"app-failure".into(), 2)
    );
}

/// Files of the experiment and of a task, and the folders' names in a command.
#[test]
fn a_document_brings_files() {
    let session = Session::new();
    let file = r#"
title = "files"
files = { "lib/hello.sh" = "echo hello ${not_touched:-from} the experiment" }
metadata = { anything = { goes = [1, "two"] } }
[[tasks]]
name = "t"
run = ["sh", "-c", '. "$1"; cat "$2"; echo "$3"', "sh", "${experiment_dir}/files/lib/hello.sh", "${job_dir}/in/a.txt", "${value}"]
sweep = { value = ["x"] }
files = { "in/a.txt" = "${job_dir} stays\n" }
metadata = { note = "n" }
"#;
    assert_eq!(
        output(&session, file, "t"),
        ["hello from the experiment", "${job_dir} stays", "x"]
    );
    let bad = file.replace("in/a.txt\" =", "../a.txt\" =");
    session.write("bad.toml", &bad);
    let said = session.run(&["launch", "bad.toml"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(said.stderr.contains("its parts must be names"), "{said:?}");
    let taken = file.replace("in/a.txt\" =", "attempts/1/exit.json\" =");
    session.write("taken.toml", &taken);
    assert_eq!(session.run(&["launch", "taken.toml"]).status, 2);
}

#[test]
fn every_launcher_hands_on_arguments_as_they_are() {
    use std::os::unix::fs::PermissionsExt as _;

    let session = Session::new();
    let bin = session.workdir().join("a bin");
    std::fs::create_dir_all(&bin).unwrap();
    for program in ["torchrun", "ft_launcher", "wrap", "python"] {
        let path = bin.join(program);
        let text = "#!/bin/sh\nuntil [ \"$1\" = t.py ]; do shift; done\nshift\nfor word; do printf '<%s>\\n' \"$word\"; done\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    for launcher in [
        "'none'",
        "'torchrun'",
        "'ft'",
        "'ranks'",
        "'mine'",
        "{ kind = 'ranks', max_restarts = 1 }",
    ] {
        let file = format!(
            "title = 'hostile'\n[launchers.mine]\ncommand = ['wrap', '$x']\n[[tasks]]\nname = 't'\nlauncher = {launcher}\n\
             env = {{ PATH = '{path}' }}\n\
             run = ['python', 't.py', 'a b', \"it's\", '\"', '$$HOME', '`id`', \"line\\nline\", '', '*', '{{{{ x }}}}', '-n']\n"
        );
        let expected = [
            "<a b>",
            "<it's>",
            "<\">",
            "<$HOME>",
            "<`id`>",
            "<line",
            "line>",
            "<>",
            "<*>",
            "<{{ x }}>",
            "<-n>",
        ];
        assert_eq!(output(&session, &file, "t"), expected, "{launcher}");
    }
}

#[test]
fn a_launchers_program_that_is_missing_is_named_before_anything_is_made() {
    let session = Session::new().with("PATH", "/usr/bin:/bin");
    let said = session.run(&["run", "--launcher", "ft", "--", "python", "t.py"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert!(
        said.stderr
            .contains("its launcher needs `ft_launcher`, which is not on its PATH"),
        "{said:?}"
    );
    assert_eq!(session.run(&["ls"]).stdout, "", "{said:?}");
    let template = session.run(&["run", "--launcher", "slurm_template", "--", "true"]);
    assert_eq!(template.status, 2, "{template:?}");
    assert!(
        template.stderr.contains(
            "the launcher `slurm_template` needs a place where a script can replace the command"
        ),
        "{template:?}"
    );
}
