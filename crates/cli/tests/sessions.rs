//! Whole sessions, as a user would have them: exit status, standard output, standard error.

mod support;

use support::{Session, page, plain};

/// Prepares, sweeps, fails.
const SWEEP: &str = r#"
title = "sweep"
on_failure = "continue"

[[tasks]]
name = "prepare"
run = ["sh", "-c", "echo prepared"]

[[tasks]]
name = "train"
run = ["sh", "-c", "echo training with ${lr}; test ${lr} != 2 || { echo 'ValueError: too large' >&2; exit 3; }"]
sweep = { lr = [1, 2] }
after = ["prepare"]

[[tasks]]
name = "report"
run = ["echo", "all trained"]
after = ["train"]
"#;

#[test]
fn a_command_runs_and_its_output_is_its_own() {
    let session = Session::new();
    let said = session.run(&["run", "--", "printf", "a\\tb \\377\\n%s", "no end"]);
    assert_eq!(said.stdout, "a\tb \u{fffd}\nno end");
    insta::assert_snapshot!(page(&session, &said));
    let raw = session
        .command(&["run", "-q", "--", "printf", "\\377\\000\\r"])
        .output()
        .unwrap();
    assert_eq!(raw.stdout, b"\xff\0\r");
    assert!(raw.stderr.is_empty(), "{raw:?}");
}

#[test]
fn a_command_that_fails() {
    let session = Session::new();
    insta::assert_snapshot!(page(
        &session,
        &session.run(&["run", "--", "sh", "-c", "echo oh; exit 7"])
    ));
    insta::assert_snapshot!(page(
        &session,
        &session.run(&["run", "--", "no-such-program-here"])
    ));
    insta::assert_snapshot!(page(
        &session,
        &session.run(&["run", "--", "sh", "-c", "kill -9 $$"])
    ));
}

#[test]
fn a_command_is_tried_again() {
    let session = Session::new();
    let words = [
        "run",
        "--retries",
        "2",
        "--set",
        "tasks[0].retries={failure=2, backoff=\"10ms\"}",
        "--",
    ];
    let script = [
        "sh",
        "-c",
        "echo attempt $MIZZEN_ATTEMPT; test $MIZZEN_ATTEMPT = 2",
    ];
    insta::assert_snapshot!(page(
        &session,
        &session.run(&[&words[..], &script[..]].concat())
    ));
    assert_eq!(session.ok(&["logs"]), "attempt 2\n");
    assert_eq!(session.ok(&["logs", "--attempt", "1"]), "attempt 1\n");
    insta::assert_snapshot!(page(&session, &session.run(&["logs", "--attempt", "3"])));
    insta::assert_snapshot!(plain(&session, &session.ok(&["status"])));
}

#[test]
fn what_stands_behind_the_dashes_arrives_unchanged() {
    let session = Session::new();
    let words = [
        "$HOME",
        "${lr}",
        "$$",
        "a b",
        "'\"",
        "\\n",
        "",
        "*",
        "${env:HOME}",
        "-x",
        "--json",
        "→",
    ];
    let said = session.run(&[&["run", "-q", "--", "printf", "%s\\n"][..], &words[..]].concat());
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), words);
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let session = Session::new();
    let mut command = session.command(&["run", "--", "echo"]);
    let output = command
        .arg(std::ffi::OsStr::from_bytes(b"a\xffb"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr));
    assert!(!session.home().exists(), "nothing was made");
}

#[test]
fn ranks_are_told_apart() {
    let session = Session::new();
    let said = session.run(&[
        "run",
        "-q",
        "--nproc",
        "2",
        "--",
        "sh",
        "-c",
        "echo here is $RANK",
    ]);
    let mut lines: Vec<&str> = said.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["rank 0 │ here is 0", "rank 1 │ here is 1"]);
    assert_eq!(session.ok(&["logs", "--rank", "1"]), "here is 1\n");
    assert_eq!(
        session.ok(&["logs", "--no-prefix"]),
        "here is 0\nhere is 1\n"
    );
}

#[test]
fn a_file_runs_and_tells_what_failed() {
    let session = Session::new();
    session.write("sweep.toml", SWEEP);
    let said = session.run(&["launch", "sweep.toml"]);
    assert_eq!((said.status, &*said.stdout), (1, ""));
    let mut lines: Vec<String> = plain(&session, &said.stderr)
        .lines()
        .map(str::to_owned)
        .collect();
    // Jobs that run at once come in any order.
    let last = lines.len() - 2;
    lines[1..last].sort();
    insta::assert_snapshot!(lines.join("\n"));

    insta::assert_snapshot!(
        "sweep-status",
        page(&session, &session.run(&["status", "sweep"]))
    );
    insta::assert_snapshot!("sweep-ls", page(&session, &session.run(&["ls"])));
    insta::assert_snapshot!(
        "sweep-logs",
        page(&session, &session.run(&["logs", "latest", "train"]))
    );
    insta::assert_snapshot!(
        "sweep-grep",
        page(
            &session,
            &session.run(&["logs", "--grep", "Error|prepared"])
        )
    );
    insta::assert_snapshot!("sweep-show", page(&session, &session.run(&["show"])));
    insta::assert_snapshot!(
        "no-job",
        page(&session, &session.run(&["logs", "sweep", "trian"]))
    );
    insta::assert_snapshot!(
        "job-for-experiment",
        page(&session, &session.run(&["logs", "report"]))
    );
    insta::assert_snapshot!(
        "no-experiment",
        page(&session, &session.run(&["status", "swep"]))
    );
}

#[test]
fn what_would_run_is_shown_and_nothing_is_made() {
    let session = Session::new().with("HF_TOKEN", "hunter2");
    session.write("sweep.toml", SWEEP);
    insta::assert_snapshot!(page(
        &session,
        &session.run(&["plan", "sweep.toml", "--set", "tasks.train.retries=2"])
    ));
    let words = [
        "plan",
        "--env",
        "HF_TOKEN",
        "--secret",
        "KEY=env:HF_TOKEN",
        "--timeout",
        "2h",
        "--",
        "python3",
        "x y.py",
    ];
    let said = session.run(&words);
    assert!(!format!("{said:?}").contains("hunter2"), "{said:?}");
    insta::assert_snapshot!(page(&session, &said));
    assert!(!session.home().exists());
}

#[test]
fn the_scripts_of_a_cluster_are_shown_without_what_is_private() {
    let session = Session::new();
    session.write(
        "cluster.toml",
        r#"
[executors.cluster]
kind = "slurm"
account = "physics"
env_vars = { WANDB_API_KEY = "hunter2" }
tunnel = { kind = "ssh", host = "login", job_dir = "/scratch/me" }
[[tasks]]
name = "train"
executor = "cluster"
run = ["echo", "it's $HOME"]
env = { HF_TOKEN = "hunter2" }
sweep = { x = [1, 2, 3, 4] }
"#,
    );
    let said = session.ok(&["plan", "cluster.toml"]);
    assert!(!said.contains("hunter2"), "{said}");
    assert!(
        !session
            .ok(&["plan", "--json", "cluster.toml"])
            .contains("hunter2")
    );
    for line in [
        "#SBATCH --account=physics",
        "export HF_TOKEN='********'",
        "exec echo \"it's \"'$HOME'",
        "script   train-x=4/submit/1.sh (",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!session.home().exists());
}

#[test]
fn mistakes_in_a_file_are_shown_where_they_are() {
    let session = Session::new();
    session.write(
        "bad.toml",
        "title = \"x\"\n[[tasks]]\nname = \"a\"\nrum = [\"true\"]\nafter = [\"b\"]\n",
    );
    for words in [
        &["launch", "bad.toml"][..],
        &["launch", "missing.toml"],
        &["launch", "sweep.txt"],
        &["launch", "-"],
        &["run", "-e", "gpu", "--", "true"],
        &["run", "--env", "NOT_SET_HERE", "--", "true"],
        &["run", "--secret", "TOKEN=hunter2", "--", "true"],
        &["run", "--set", "tasks[0].retires=1", "--", "true"],
    ] {
        let said = session.run(words);
        assert_eq!(said.status, 2, "{words:?}");
        insta::assert_snapshot!(
            format!(
                "mistake-{}",
                words[..words.len().min(3)]
                    .join("-")
                    .replace(['/', '=', '.'], "_")
            ),
            page(&session, &said)
        );
    }
    assert!(!session.home().exists(), "nothing was made");
}

#[test]
fn layers_and_overrides_go_from_the_general_to_the_particular() {
    let session = Session::new().with("MIZZEN_SET", "executors.box.slots=3 tasks[0].retries=4");
    std::fs::create_dir_all(session.home()).unwrap();
    std::fs::write(
        session.home().join("executors.toml"),
        "[executors.box]\nkind = \"local\"\nslots = 1\n",
    )
    .unwrap();
    session.write(
        "mizzen.toml",
        "[executors.box]\nkind = \"local\"\nslots = 2\nretries = 1\n",
    );
    let shown = session.json(&["executors", "box", "--json"]);
    assert_eq!(shown["configured"][0]["settings"]["slots"], 2);
    assert!(
        shown["configured"][0]["origin"]
            .as_str()
            .unwrap()
            .ends_with("/work/mizzen.toml")
    );
    let planned = session.json(&["plan", "--json", "-e", "box", "--", "true"]);
    assert_eq!(
        (
            &planned["jobs"][0]["executor"],
            &planned["jobs"][0]["retries"]
        ),
        (&"box".into(), &4.into())
    );
    let planned = session.json(&[
        "plan",
        "--json",
        "-e",
        "box",
        "--retries",
        "5",
        "--",
        "true",
    ]);
    assert_eq!(
        planned["jobs"][0]["retries"], 5,
        "a flag wins over the environment"
    );
    let words = [
        "plan",
        "--json",
        "-e",
        "box",
        "--set",
        "tasks[0].retries=6",
        "--retries",
        "7",
        "--",
        "true",
    ];
    assert_eq!(
        session.json(&words)["jobs"][0]["retries"],
        7,
        "the last word wins"
    );
    insta::assert_snapshot!(plain(&session, &session.ok(&["executors"])));
}

#[test]
fn a_file_from_standard_input() {
    use std::io::Write;
    let session = Session::new();
    let mut command = session.command(&["launch", "-", "--format", "yaml", "--json"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"tasks:\n- name: a\n  run: 'echo x'\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["title"], &document["state"]),
        (&"work".into(), &"SUCCEEDED".into())
    );
}

#[test]
fn detached_then_followed_then_cancelled() {
    let session = Session::new();
    session.gate("gate");
    session.gate("end");
    let started = session.run(&[
        "run",
        "-d",
        "--title",
        "long",
        "--",
        "sh",
        "-c",
        "echo up; read x < gate; echo on; read x < end",
    ]);
    insta::assert_snapshot!(page(&session, &started));
    let id = started.stdout.trim().to_owned();
    let mut following = session.start(&["logs", "-f", &id[..6]]);
    following.until("up");
    session.release("gate");
    following.until("on");
    insta::assert_snapshot!(
        "wait-timeout",
        page(
            &session,
            &session.run(&["wait", "long", "--timeout", "10ms"])
        )
    );
    insta::assert_snapshot!("rm-running", page(&session, &session.run(&["rm", &id])));
    insta::assert_snapshot!(
        "cancelled",
        page(&session, &session.run(&["cancel", "long"]))
    );
    assert_eq!(following.end().status, 0);
    assert_eq!(session.run(&["wait", "long"]).status, 1);
    assert_eq!(
        session.json(&["status", "--json"])["jobs"][0]["cause"],
        "cancelled"
    );
    insta::assert_snapshot!(
        "cancelled-again",
        page(&session, &session.run(&["cancel", "long"]))
    );
    insta::assert_snapshot!("removed", page(&session, &session.run(&["rm", "long"])));
    assert_eq!(session.ok(&["ls"]), "");
    assert!(!session.home().join("experiments/long").exists());
}

#[test]
fn removing_what_runs_by_force() {
    let session = Session::new();
    let gate = session.gate("gate");
    session.ok(&["run", "-d", "--", "cat", gate.to_str().unwrap()]);
    assert_eq!(session.run(&["rm", "--force", "-y", "latest"]).status, 0);
    assert_eq!(session.json(&["ls", "--json"]), serde_json::json!([]));
}

#[test]
fn what_failed_is_run_again() {
    let session = Session::new();
    session.write("again.toml", "title = \"again\"\n[[tasks]]\nname = \"first\"\nrun = \"test -e ready\"\n[[tasks]]\nname = \"second\"\nrun = \"echo done\"\nafter = \"first\"\n");
    assert_eq!(session.run(&["launch", "-q", "again.toml"]).status, 1);
    session.write("ready", "");
    let said = session.run(&["retry", "again"]);
    assert_eq!(said.status, 0, "{said:?}");
    insta::assert_snapshot!(page(&session, &said));
    let attempts = session.json(&["status", "--json"])["jobs"][0]["attempts"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(attempts, 2);
    insta::assert_snapshot!(
        "nothing-to-retry",
        page(&session, &session.run(&["retry", "again"]))
    );
    assert_eq!(session.run(&["retry", "again", "second", "-q"]).status, 0);
}

#[test]
fn experiments_are_listed_and_chosen() {
    let session = Session::new();
    for (title, command) in [("one", "true"), ("two", "false"), ("one", "true")] {
        session.run(&["run", "-q", "--title", title, "--", command]);
    }
    let titles = |words: &[&str]| -> Vec<String> {
        let list = session.json(&[&["ls", "--json"], words].concat());
        list.as_array()
            .unwrap()
            .iter()
            .map(|found| found["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(titles(&[]), ["one", "two", "one"]);
    assert_eq!(titles(&["--title", "one", "--limit", "1"]), ["one"]);
    assert_eq!(titles(&["--state", "FAILED"]), ["two"]);
    assert_eq!(titles(&["--state", "succeeded"]), ["one", "one"]);
    let newest = session.json(&["ls", "--json"])[0]["id"].clone();
    for text in ["one", "latest", &newest.as_str().unwrap()[..8]] {
        assert_eq!(
            session.json(&["status", "--json", text])["id"],
            newest,
            "{text}"
        );
    }
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let session = Session::new();
    assert_eq!(session.run(&["doctor"]).status, 0);
    std::fs::create_dir_all(session.home()).unwrap();
    std::fs::write(
        session.home().join("mizzen.db"),
        "this is no database, whatever its name may say; it goes on for a while",
    )
    .unwrap();
    let said = session.run(&["doctor"]);
    assert_eq!(said.status, 1);
    assert!(said.stdout.contains("✗ database: "), "{said:?}");
    let broken = session.json(&["doctor", "--json"]);
    assert_eq!(broken["ok"], false);
    let hints = broken["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "failed");
    assert!(
        hints.clone().count() > 0 && hints.clone().all(|check| check["hint"].is_string()),
        "{broken:#}"
    );
    assert_eq!(session.run(&["status"]).status, 2);
    assert_eq!(session.run(&["doctor", "nowhere"]).status, 2);
    let agent = session
        .command(&["doctor"])
        .env("MIZZEN_AGENT", "/no/such/agent")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&agent.stdout).contains("✗ agent: "),
        "{agent:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let session = Session::new();
    session.ok(&["run", "--", "true"]);
    for words in [
        &["ls"][..],
        &["status"],
        &["schema"],
        &["--help"],
        &["show"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = session
            .command(words)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), &*output.stderr),
            (Some(0), &b""[..]),
            "{words:?}"
        );
    }
}

#[test]
fn a_full_disk_behind_a_redirection_is_an_error() {
    let session = Session::new();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = session
        .command(&["schema"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("No space left"),
        "{output:?}"
    );
}

#[test]
fn colours_only_where_they_are_wanted() {
    let session = Session::new();
    session.ok(&["run", "-q", "--", "true"]);
    let colored = |session: &Session, words: &[&str]| session.ok(words).contains('\u{1b}');
    assert!(!colored(&session, &["ls"]));
    assert!(colored(&session, &["ls", "--color", "always"]));
    let forced = session.with("CLICOLOR_FORCE", "1");
    assert!(colored(&forced, &["ls"]));
    assert!(!colored(&forced, &["ls", "--color=never"]));
    let refused = forced.with("NO_COLOR", "1");
    assert!(!colored(&refused, &["ls"]));
}

#[test]
fn shells_complete_experiments_and_jobs() {
    let session = Session::new();
    session.write("sweep.toml", SWEEP);
    session.run(&["launch", "-q", "sweep.toml"]);
    let complete = |words: &[&str]| {
        let mut command = session.command(&["--", "mizzen"]);
        let output = command
            .args(words)
            .env("COMPLETE", "fish")
            .output()
            .unwrap();
        plain(&session, &String::from_utf8_lossy(&output.stdout))
    };
    insta::assert_snapshot!("complete-experiments", complete(&["status", ""]));
    insta::assert_snapshot!("complete-jobs", complete(&["logs", "sweep", "tr"]));
    insta::assert_snapshot!("complete-executors", complete(&["run", "-e", ""]));
    insta::assert_snapshot!("complete-states", complete(&["ls", "--state", "S"]));
    assert!(complete(&["la"]).contains("launch"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = session.ok(&["completions", shell]);
        assert!(
            script.contains("COMPLETE") && script.contains("mizzen"),
            "{shell}"
        );
    }
    assert_eq!(session.run(&["completions", "tcsh"]).status, 2);
}

#[test]
fn manual_pages() {
    let session = Session::new();
    session.ok(&["man", "pages"]);
    let text = std::fs::read_to_string(session.workdir().join("pages/mizzen-launch.1")).unwrap();
    assert!(
        text.contains(".TH") && text.contains("experiment file"),
        "{text}"
    );
    assert!(session.workdir().join("pages/mizzen.1").exists());
}

/// The interpreter is told everything; here it is a program that says what it was told.
#[test]
fn a_function_is_handed_to_the_interpreter() {
    let session = Session::new();
    let python = session.write(
        "python",
        "#!/bin/sh\nshift 2\nfor word in \"$@\"; do echo \"<$word>\"; done\n",
    );
    let run = |words: &[&str]| {
        let mut command = session.command(words);
        let output = command.env("MIZZEN_PYTHON", &python).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let said = run(&[
        "run",
        "-e",
        "gpu",
        "--nodes",
        "2",
        "-d",
        "--name",
        "n",
        "f.py:main",
        "lr=0.1",
        "s=a b",
        "--",
        "--yes",
    ]);
    assert_eq!(
        said,
        "<f.py:main>\n<lr=0.1>\n<s=a b>\n<run.executor=gpu>\n<run.executor.nodes=2>\n<--name=n>\n<--detach>\n<--yes>\n"
    );
    assert!(run(&["run", "--env", "A=1", "f.py:main"]).contains("`--env` is not for functions"));
    assert!(run(&["run", "echo", "hi"]).contains("`mizzen run -- echo hi`"));
}

#[test]
fn a_time_limit_that_no_cluster_takes_is_shown_where_it_stands() {
    let session = Session::new();
    session.write(
        "mizzen.toml",
        "[executors.cluster]\nkind = \"slurm\"\ntime = \"2h\"\n",
    );
    let said = session.run(&["run", "-e", "cluster", "--", "true"]);
    assert_eq!(said.status, 2, "{said:?}");
    for words in [
        "`2h` is not a time limit",
        "mizzen.toml:3:8",
        "^ write minutes, hours:minutes:seconds",
    ] {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
}
