//! What jobs do to those who keep them: deaf to signals, forking away, writing without end, or not there at all.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::scene::{Scene, ends, exit_record, job, launch_detached, peak_memory, status, until};
use crate::support::Session;

/// What a supervisor or a client of a debug build may come to need, in bytes.
const SMALL: u64 = 48 << 20;
/// What jobs write, in bytes.
const MUCH: u64 = 256 << 20;

#[test]
fn a_job_that_ignores_sigterm_is_killed_after_its_grace() {
    let session = Session::new();
    let mut task = session.task("deaf", "trap '' TERM; while :; do sleep 0.05; done");
    task["grace"] = json!("300ms");
    let id = launch_detached(&session, &json!({ "title": "deaf", "tasks": [task] }));
    session.runs("deaf:1");
    until("the trap is set", || {
        let pid = session.ranks().first()?.pid;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ignored = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))?;
        (u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << 14) != 0).then_some(())
    });
    let began = Instant::now();
    session.ok(&["cancel", &id]);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(10),
        "{took:?}"
    );
    let status = status(&session, &id);
    assert_eq!(ends(&status)["deaf"], "CANCELLED cancelled");
    assert_eq!(
        exit_record(&job(&status, "deaf")["attempts"][0])["ranks"][0]["signal"],
        9
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn what_a_job_forks_away_ends_with_it() {
    let session = Session::new();
    // Twice away from its parent, in a session of its own, once deaf and once not.
    let script = "(setsid sh -c 'echo up > one; exec sleep 1000' &)
        (setsid sh -c 'trap \"\" TERM; echo up > two; while :; do sleep 0.05; done' &)
        until test -e one && test -e two; do sleep 0.01; done";
    let id = launch_detached(
        &session,
        &json!({ "title": "fork", "tasks": [session.task("one", script), {
        "name": "after", "after": "one", "run": session.task("after", "")["run"] }] }),
    );
    assert_eq!(session.run(&["wait", &id]).status, 0);
    let status = status(&session, &id);
    assert_eq!(
        exit_record(&job(&status, "one")["attempts"][0])["stragglers"]
            .as_u64()
            .map(|count| count >= 2),
        Some(true)
    );
    session.ran_as_told(&status);
    session.nothing_is_left();
}

#[test]
fn much_output_needs_little_memory() {
    let session = Session::new();
    session.gate("gate");
    let write =
        format!("head -c {MUCH} /dev/zero | tr '\\0' 'x'; echo written > written; read x < gate");
    let document = json!({ "title": "much", "tasks": [session.task("one", &write)] });
    session.write("experiment.json", &document.to_string());
    // The client that shows the output has to take one endless line in.
    let output = std::fs::File::create(session.workdir().join("shown")).unwrap();
    let mut client = session
        .command(&["launch", "-f", "experiment.json"])
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("all is written", || {
        session.workdir().join("written").exists().then_some(())
    });
    let id = session.json(&["status", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let supervisor = session.supervisors(&id)[0];
    let agent = session.agents()[0].pid;
    for (name, pid) in [("supervisor", supervisor), ("agent", agent)] {
        let peak = peak_memory(pid).unwrap();
        assert!(peak < SMALL, "{name}: {peak}");
    }
    session.release("gate");
    let (client_status, client_peak) = end_and_peak(&mut client);
    assert_eq!(client_status, 0);
    assert!(client_peak < SMALL, "client: {client_peak}");
    let status = status(&session, &id);
    let attempt = &job(&status, "one")["attempts"][0];
    let log = std::fs::metadata(attempt["log"].as_str().unwrap()).unwrap();
    assert_eq!(log.len(), MUCH);
    for words in [
        &["logs"][..],
        &["logs", "--tail", "1"],
        &["logs", "--grep", "y"],
        &["logs", "--grep", "^x"],
    ] {
        let mut logs = session
            .command(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (_, peak) = end_and_peak(&mut logs);
        assert!(peak < SMALL, "{words:?}: {peak}");
    }
    session.nothing_is_left();
}

#[test]
fn a_failing_job_with_an_endless_line_leaves_a_small_record() {
    let session = Session::new();
    let script = "head -c 50000000 /dev/zero | tr '\\0' 'x'; exit 1";
    let said = session.run(&["run", "--", "sh", "-c", script]);
    assert_eq!(said.status, 1);
    assert_eq!(said.stdout.len(), 50_000_000);
    let status = status(&session, "latest");
    let record = exit_record(&status["jobs"][0]["attempts"][0]).to_string();
    assert!(record.len() < 64 << 10, "{} bytes of record", record.len());
    assert!(
        said.stderr.len() < 64 << 10,
        "{} bytes of talk",
        said.stderr.len()
    );
    session.nothing_is_left();
}

/// Waits for a command; its exit status and the most memory it was seen to have had. (wait4(2) would count the memory of
/// whoever started it as well.)
fn end_and_peak(child: &mut std::process::Child) -> (i32, u64) {
    let mut peak = 0;
    let status = until("the command has ended", || {
        peak = peak.max(peak_memory(child.id() as i32).unwrap_or(0));
        child.try_wait().unwrap()
    });
    (status.code().unwrap_or(-1), peak)
}

#[test]
fn binary_output_comes_back_byte_for_byte() {
    let session = Session::new();
    let bytes: Vec<u8> = (0..=255u8).cycle().take(70_000).collect();
    std::fs::write(session.workdir().join("bytes"), &bytes).unwrap();
    let output = session
        .command(&["run", "--", "cat", "bytes"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "`run` shows what the job wrote");
    let output = session.command(&["logs"]).output().unwrap();
    assert!(output.stdout == bytes, "`logs` shows what the job wrote");
    for words in [
        &["logs", "--grep", "A"][..],
        &["logs", "--tail", "3"],
        &["status"],
        &["status", "--json"],
    ] {
        assert_eq!(session.run(words).status, 0, "{words:?}");
    }
    // A failure's last lines go into the record, the store, JSON and the terminal.
    let said = session.run(&["run", "--", "sh", "-c", "cat bytes; exit 1"]);
    assert_eq!(said.status, 1);
    assert!(
        !said.stderr.contains('\u{1b}'),
        "no escape sequence of a job reaches the terminal as talk"
    );
    assert_eq!(session.json(&["status", "--json"])["state"], "FAILED");
    session.nothing_is_left();
}

#[test]
fn programs_that_can_not_be_started_say_why() {
    let session = Session::new();
    session.write("plain.txt", "no program\n");
    let script = |name: &str, text: &str| {
        let path = session.write(name, text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("no-such-interpreter", "#!/no/such/interpreter\n");
    script("garbage", "\u{1}\u{2}\u{3}\n");
    std::fs::create_dir(session.workdir().join("folder")).unwrap();
    let cases = [
        (
            "missing",
            json!(["no-such-program-here"]),
            json!(null),
            &["no-such-program-here"][..],
        ),
        (
            "missing-path",
            json!(["./no-such-file"]),
            json!(null),
            &["./no-such-file"],
        ),
        (
            "not-executable",
            json!(["./plain.txt"]),
            json!(null),
            &["plain.txt", "not executable"],
        ),
        ("folder", json!(["./folder"]), json!(null), &["folder"]),
        (
            "interpreter",
            json!(["./no-such-interpreter"]),
            json!(null),
            &["/no/such/interpreter"],
        ),
        (
            "workdir",
            json!(["true"]),
            json!("no/such/folder"),
            &["no/such/folder"],
        ),
        (
            "workdir-is-a-file",
            json!(["true"]),
            json!("plain.txt"),
            &["plain.txt"],
        ),
    ];
    let tasks: Vec<_> = cases
        .iter()
        .map(|(name, run, workdir, _)| {
            let mut task = json!({ "name": name, "run": run, "retries": 3 });
            if !workdir.is_null() {
                task["workdir"] = workdir.clone();
            }
            task
        })
        .collect();
    session.write(
        "experiment.json",
        &json!({ "title": "none", "tasks": tasks }).to_string(),
    );
    let said = session.run(&["launch", "experiment.json"]);
    assert_eq!(said.status, 1, "{said:?}");
    let status = status(&session, "none");
    for (name, _, _, words) in cases {
        assert_eq!(ends(&status)[name], "FAILED launch-failure", "{name}");
        assert_eq!(
            job(&status, name)["attempts"].as_array().unwrap().len(),
            1,
            "{name}: not tried again"
        );
        let lines: Vec<&str> = said
            .stderr
            .lines()
            .filter(|line| line.contains(&format!(" {name} FAILED")))
            .collect();
        for word in words {
            assert!(
                lines.iter().any(|line| line.contains(word)),
                "{name}: `{word}` in {lines:?} of {}",
                said.stderr
            );
        }
    }
    session.nothing_is_left();
}

#[test]
fn a_script_without_interpreter_line_is_explained_or_run() {
    let session = Session::new();
    let path = session.write("bare", "echo it runs\n");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    // As execvp(3) and every shell do: what the kernel does not know is the shell's.
    let said = session.run(&["run", "--", "./bare"]);
    assert!(
        (said.status == 0 && said.stdout == "it runs\n")
            || (said.status == 1 && said.stderr.contains("#!")),
        "{said:?}"
    );
    session.nothing_is_left();
}
