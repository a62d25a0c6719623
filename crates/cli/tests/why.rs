//! What users are told of failures: who failed first, and why; and lines of many ranks shown once.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use support::{Session, page, plain};

/// Three ranks; one of them fails of an exception, once the others wait.
const FAILS: &str = r#"import os
rank = int(os.environ["RANK"])
print("begin", flush=True)
if rank == 1:
    waiting = 0
    while waiting < 2:
        waiting += len(open("ready").readlines())
    raise ValueError("bad rate")
with open("ready", "w") as ready:
    print("waits", file=ready)
open("never").read()
"#;

/// Without what differs from run to run: how far ahead the first was.
fn without_pauses(text: &str) -> String {
    let found = regex::Regex::new(r"failed first(, [0-9.]+ m?s before the rest)?").unwrap();
    found
        .replace_all(text, "failed first, [PAUSE] before the rest")
        .into_owned()
}

#[test]
fn a_failure_is_explained_wherever_it_is_told_of() {
    let session = Session::new();
    session.write("fails.py", FAILS);
    session.gate("never");
    session.gate("ready");
    let said = session.run(&["run", "-q", "--nproc", "3", "--", "python3", "fails.py"]);
    assert_eq!(said.status, 1);
    let words = |text: &str| without_pauses(&plain(&session, text));
    let told = "rank 1 failed first, [PAUSE] before the rest: ValueError: bad rate (fails.py:8)";
    let status = words(&session.ok(&["status"]));
    assert!(status.lines().last().unwrap().ends_with(told), "{status}");
    let shown = words(&session.ok(&["show"]));
    assert!(
        shown.contains(&format!("failed   fails: {told}\n")),
        "{shown}"
    );
    let logs = session.run(&["logs"]);
    assert!(
        logs.stdout
            .starts_with("ranks 0-2 │ begin\nrank 1    │ Traceback"),
        "{logs:?}"
    );
    assert_eq!(
        words(&logs.stderr),
        format!("mizzen: fails failed: {told}\n")
    );
    let failure = &session.json(&["status", "--json"])["jobs"][0]["attempts"][0]["failure"];
    assert_eq!(
        (
            &failure["rank"],
            failure["kind"].as_str(),
            failure["reason"].as_str()
        ),
        (
            &1.into(),
            Some("exception"),
            Some("ValueError: bad rate (fails.py:8)")
        ),
        "{failure:#}"
    );
    assert!(failure["ahead"].as_f64().unwrap() < 60.0, "{failure:#}");
    let document = session.json(&["show", "--json"]);
    assert_eq!(document["failures"][0]["failure"], *failure);
    // The last words of the command itself.
    session.write("single.py", "import no_such_module_here\n");
    let said = session.run(&["run", "--", "python3", "single.py"]);
    insta::assert_snapshot!(page(&session, &said));
}

#[test]
fn several_failures_are_told_one_by_one() {
    let session = Session::new();
    session.write(
        "two.toml",
        "title = \"two\"\non_failure = \"continue\"\n[[tasks]]\nname = \"full\"\nrun = [\"sh\", \"-c\", \"echo \\\"cp: 'b': No space left on device\\\"; exit 1\"]\n[[tasks]]\nname = \"plain\"\nrun = [\"sh\", \"-c\", \"echo broken; exit 3\"]\n",
    );
    let said = session.run(&["launch", "two.toml"]);
    let mut lines: Vec<String> = plain(&session, &said.stderr)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
    insta::assert_snapshot!("two-status", plain(&session, &session.ok(&["status"])));
    let logs = session.run(&["logs", "latest", "plain"]);
    assert_eq!(
        (logs.stdout.as_str(), logs.stderr.as_str()),
        ("broken\n", "")
    );
}

const LIKE: &str = "echo begin; echo mine $RANK; test $RANK = 2 && echo more; echo end";

#[test]
fn what_ranks_write_alike_is_shown_once() {
    let session = Session::new();
    session.ok(&["run", "-q", "--nproc", "4", "--", "sh", "-c", LIKE]);
    assert_eq!(
        session.ok(&["logs"]),
        "ranks 0-3 │ begin\nrank 0    │ mine 0\nrank 1    │ mine 1\nrank 2    │ mine 2\nrank 2    │ more\nrank 3    │ mine 3\nranks 0-3 │ end\n"
    );
    let each = session.ok(&["logs", "--no-fold"]);
    assert_eq!(each.matches("begin").count(), 4, "{each}");
    assert!(
        each.starts_with("rank 0 │ begin\nrank 0 │ mine 0\nrank 0 │ end\nrank 1 │ begin\n"),
        "{each}"
    );
    assert_eq!(
        session.ok(&["logs", "--rank", "2"]),
        "begin\nmine 2\nmore\nend\n"
    );
    assert_eq!(session.ok(&["logs", "--json"]).lines().count(), 13);
    assert_eq!(session.ok(&["logs", "--no-prefix"]).lines().count(), 13);
    assert_eq!(session.ok(&["logs", "--tail", "1"]), "ranks 0-3 │ end\n");
    assert_eq!(
        session.ok(&["logs", "--grep", "^b", "--tail", "1"]),
        "ranks 0-3 │ begin\n"
    );
    // A log that was cut off in a line.
    session.ok(&["run", "-q", "--nproc", "2", "--", "printf", "one\\ntwo"]);
    assert_eq!(session.ok(&["logs"]), "ranks 0-1 │ one\nranks 0-1 │ two\n");
}

#[test]
fn jobs_with_several_ranks_are_named() {
    let session = Session::new();
    session.write(
        "jobs.toml",
        "title = \"jobs\"\n[executors.two]\nkind = \"local\"\nntasks_per_node = 2\n[[tasks]]\nname = \"a\"\nexecutor = \"two\"\nrun = [\"echo\", \"same\"]\n[[tasks]]\nname = \"b\"\nexecutor = \"two\"\nrun = [\"echo\", \"same\"]\n",
    );
    session.ok(&["launch", "-q", "jobs.toml"]);
    assert_eq!(session.ok(&["logs"]), "a[0-1] │ same\nb[0-1] │ same\n");
}

#[test]
fn following_brings_together_what_comes_close_together() {
    let session = Session::new();
    session.gate("late");
    let ready = session.gate("ready");
    // Open for both, so that it has no end before all have written.
    let ready = File::options().read(true).write(true).open(ready).unwrap();
    let script = "echo begin; test $RANK = 0 || echo own; echo >ready; test $RANK = 0 && read -r x <late; echo end";
    session.ok(&[
        "run", "-q", "--detach", "--nproc", "2", "--", "sh", "-c", script,
    ]);
    let written = BufReader::new(ready).lines().take(2).count();
    assert_eq!(written, 2);
    let mut following = session.start(&["logs", "-f"]);
    // The last line of rank 1 does not wait for that of rank 0 for ever.
    let seen = following.until("end");
    assert_eq!(
        seen,
        "ranks 0-1 │ begin\nrank 1    │ own\nrank 1    │ end\n"
    );
    session.release("late");
    let said = following.end();
    assert_eq!(
        (said.status, said.stdout),
        (0, format!("{seen}rank 0    │ end\n"))
    );
}
