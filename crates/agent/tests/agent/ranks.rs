//! One job, its ranks and what stays of them: statuses, logs, environments, and programs that can't be started.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use mizzen_agent::protocol::{Job, KEY_VARIABLE};
use mizzen_agent::record::{ExitRecord, LAST_LINES, Outcome, RECORD_VERSION};

use crate::support::{AGENT, Agent, PATH, Scratch, signals};

#[test]
fn exit_statuses_and_signals_reach_the_record() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let table = [
        ("exit 0", Some(0), None, Outcome::Succeeded),
        ("exit 1", Some(1), None, Outcome::Failed),
        ("exit 255", Some(255), None, Outcome::Failed),
        ("kill -SEGV $$", None, Some(libc::SIGSEGV), Outcome::Failed),
        ("kill -KILL $$", None, Some(libc::SIGKILL), Outcome::Failed),
        ("kill -TERM $$", None, Some(libc::SIGTERM), Outcome::Failed),
    ];
    for (number, (script, code, signal, outcome)) in table.into_iter().enumerate() {
        let job = scratch.shell(&format!("job{number}"), &format!("ulimit -c 0; {script}"));
        let record = agent.finish(&job);
        assert_eq!(
            (record.ranks[0].code, record.ranks[0].signal),
            (code, signal),
            "{script}"
        );
        assert_eq!(record.outcome, outcome, "{script}");
        assert_eq!(
            record.first_failure.is_some(),
            outcome != Outcome::Succeeded,
            "{script}"
        );
        assert_eq!(
            scratch.record(&format!("job{number}")),
            Some(record),
            "the file says what the report says"
        );
    }
}

#[test]
fn a_record_is_complete_and_private() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let job = scratch.shell("job", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    let record = agent.finish(&job);
    assert_eq!(
        (record.version, record.key.as_str(), record.name.as_str()),
        (RECORD_VERSION, job.key.as_str(), "job")
    );
    assert_eq!(record.host, agent.identity.host);
    assert!(record.started > 1_600_000_000_000_000 && record.ended > record.started);
    assert!(record.user_seconds + record.system_seconds > 0.0);
    assert!(
        record.peak_memory > 100 * 1024,
        "{} bytes",
        record.peak_memory
    );
    assert_eq!((record.stragglers, record.devices.len()), (0, 0));
    let folder = scratch.0.join("attempts/job");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(
        (
            mode(&folder.join("exit.json")),
            mode(&folder.join("rank-0.log"))
        ),
        (0o600, 0o600)
    );
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["agent", "exit.json", "rank-0.log"],
        "nothing else lies about"
    );
}

#[test]
fn both_outputs_stand_in_the_order_in_which_they_were_written() {
    let scratch = Scratch::new();
    let script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    Agent::start().finish(&scratch.shell("job", script));
    let expected: String = (0..500)
        .map(|number| format!("out {number}\nerr {number}\n"))
        .collect();
    assert_eq!(String::from_utf8(scratch.log("job", 0)).unwrap(), expected);
}

#[test]
fn last_lines_of_an_endless_binary_log_are_bounded() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let record =
        agent.finish(&scratch.shell("endless", "head -c 3000000 /dev/zero | tr '\\0' x; exit 1"));
    let lines = record.first_failure.unwrap().last_lines;
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with('…') && lines[0].len() < 3000,
        "{} bytes",
        lines[0].len()
    );
    assert_eq!(scratch.log("endless", 0).len(), 3_000_000);

    let record = agent.finish(&scratch.shell(
        "binary",
        "head -c 100000 /dev/urandom; echo; echo the end; exit 1",
    ));
    let lines = record.first_failure.unwrap().last_lines;
    assert!(lines.len() <= LAST_LINES);
    assert_eq!(lines.last().unwrap(), "the end");

    let record = agent.finish(&scratch.shell("many", "seq 100000; exit 1"));
    let lines = record.first_failure.unwrap().last_lines;
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[19].as_str()),
        (LAST_LINES, "99981", "100000")
    );
}

#[test]
fn of_four_ranks_the_first_to_fail_is_named_and_the_others_are_ended() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    let wait = format!("echo up > {}; sleep 1000", ready.path);
    let fail = format!(
        "echo up > {}; read line < {}; echo ouch >&2; exit 42",
        ready.path, go.path
    );
    let mut agent = Agent::start();
    let job = scratch.job(
        "job",
        vec![scratch.member("job", &[&wait, &wait, &fail, &wait])],
    );
    agent.run(&job);
    agent.started();
    for _ in 0..4 {
        ready.line();
    }
    go.write("now\n");
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Failed);
    let failure = record.first_failure.unwrap();
    assert_eq!(
        (failure.rank, &failure.last_lines[..]),
        (2, &["ouch".to_owned()][..])
    );
    assert_eq!(record.ranks[2].code, Some(42));
    for other in [0, 1, 3] {
        assert_eq!(record.ranks[other].signal, Some(libc::SIGTERM));
    }
}

fn launch_failure(agent: &mut Agent, job: &Job) -> (ExitRecord, String) {
    agent.run(job);
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    assert_eq!(
        record.first_failure.as_ref().map(|failure| failure.rank),
        Some(0)
    );
    assert_eq!(record.started, record.ended);
    let error = record.ranks[0].error.clone().expect("a reason");
    (record, error)
}

#[test]
fn what_can_not_be_started_says_why() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let plain = scratch.script("plain", "echo no first line\n");
    let lost = scratch.script("lost", "#!/no/such/interpreter -x\n");
    let windows = scratch.script("windows", "#!/bin/sh\r\necho\r\n");
    std::fs::write(scratch.text("data"), "").unwrap();
    let data = scratch.text("data");
    let folder = scratch.text("");
    let long = "x".repeat(3 << 20);
    let table: [(&[&str], String); 12] = [
        (&[], "no command was given".to_owned()),
        (&["python4"], "python4: no such program in PATH".to_owned()),
        (&[""], ": no such program in PATH".to_owned()),
        (&["./gone"], "./gone: no such file".to_owned()),
        (
            &[&data],
            format!("{data}: not executable, or a folder above it may not be entered"),
        ),
        (
            &["./data"],
            "./data: not executable, or a folder above it may not be entered".to_owned(),
        ),
        (&[&folder], format!("{folder}: is a directory")),
        (
            &[&plain],
            format!(
                "{plain}: not a program of this machine's kind, or a script without a `#!` line"
            ),
        ),
        (
            &[&lost],
            format!("{lost}: its interpreter /no/such/interpreter does not exist or can't be run"),
        ),
        (
            &[&windows],
            format!(
                "{windows}: its first line ends in a carriage return: save it with Unix line ends"
            ),
        ),
        (
            &["true", &long],
            "true: its arguments and its environment are longer than the system allows".to_owned(),
        ),
        (
            &["true", "a\0b"],
            "argument 1 holds a NUL byte, which no program can be given".to_owned(),
        ),
    ];
    for (number, (argv, expected)) in table.into_iter().enumerate() {
        let job = scratch.command(&format!("job{number}"), argv);
        let (record, error) = launch_failure(&mut agent, &job);
        assert_eq!(error, expected);
        assert_eq!(scratch.record(&format!("job{number}")), Some(record));
    }
    let mut job = scratch.shell("workdir", "true");
    job.members[0].workdir = scratch.text("nowhere");
    assert_eq!(
        launch_failure(&mut agent, &job).1,
        format!("{}: no such working directory", scratch.text("nowhere"))
    );
    let mut job = scratch.shell("variable", "true");
    job.members[0]
        .env
        .push(("SECRET".to_owned(), "hunter2\0".to_owned()));
    let error = launch_failure(&mut agent, &job).1;
    assert_eq!(
        error,
        "the environment variable \"SECRET\" holds a NUL byte, which no program can be given"
    );
    // The agent is none the worse for all that.
    assert_eq!(
        agent.finish(&scratch.shell("after", "true")).outcome,
        Outcome::Succeeded
    );
}

#[test]
fn ranks_before_one_that_can_not_be_started_are_ended() {
    let scratch = Scratch::new();
    let mut member = scratch.member("job", &["sleep 1000", "true", "true"]);
    // Found by name, so that only the exec itself fails.
    member.ranks[1].argv = vec![scratch.script("lost", "#!/no/such/interpreter\n")];
    let mut agent = Agent::start();
    agent.run(&scratch.job("job", vec![member]));
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    assert_eq!(record.ranks[0].signal, Some(libc::SIGTERM));
    assert!(record.ranks[1].error.is_some());
    assert_eq!(
        record.ranks[2].error.as_deref(),
        Some("not started, because another rank could not be")
    );
    assert_eq!(record.first_failure.unwrap().rank, 1);
}

#[test]
fn hostile_text_arrives_unchanged() {
    let scratch = Scratch::new();
    let long = "é".repeat(60_000);
    let texts = [
        "",
        " ",
        "-n",
        "--",
        "a b",
        "'",
        "\"",
        "\\",
        "\\\\n",
        "`id`",
        "$(id)",
        "$HOME ${x} $$",
        "!history",
        "*?[a]{b,c}~",
        "a\nb\n",
        "\r\n\t\u{b}\u{1b}[31m",
        "# no comment",
        "; | & < > ( )",
        "%s %d %%",
        "naïve 漢字 🚢\u{200d}🏴",
        "\u{feff}\u{202e}rtl",
        "A=B=C",
        "\u{7f}\u{1}",
        &long,
    ];
    let mut agent = Agent::start();
    let argv: Vec<&str> = ["/usr/bin/printf", "%s\\0"]
        .into_iter()
        .chain(texts)
        .collect();
    agent.finish(&scratch.command("argv", &argv));
    let arrived = String::from_utf8(scratch.log("argv", 0)).unwrap();
    assert_eq!(
        arrived
            .strip_suffix('\0')
            .unwrap()
            .split('\0')
            .collect::<Vec<_>>(),
        texts
    );

    let mut job = scratch.command("env", &["cat", "/proc/self/environ"]);
    let pairs = texts
        .iter()
        .enumerate()
        .map(|(number, text)| (format!("odd name {number} 🚢"), (*text).to_owned()));
    job.members[0].env.extend(pairs);
    job.members[0].ranks[0].env = vec![("odd name 0 🚢".to_owned(), "of the rank".to_owned())];
    agent.finish(&job);
    let arrived = String::from_utf8(scratch.log("env", 0)).unwrap();
    let mut expected = vec![
        format!("PATH={PATH}"),
        "odd name 0 🚢=of the rank".to_owned(),
    ];
    expected.extend(
        texts
            .iter()
            .enumerate()
            .skip(1)
            .map(|(number, text)| format!("odd name {number} 🚢={text}")),
    );
    expected.push(format!("{KEY_VARIABLE}={}", job.key));
    assert_eq!(
        arrived
            .strip_suffix('\0')
            .unwrap()
            .split('\0')
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_rank_starts_with_a_clean_slate() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    // Session, group and pid are one; standard input is empty; no descriptor but the three, and ls's own folder.
    let job = scratch.shell("job", "cut -d' ' -f1,5,6 /proc/$$/stat; cat; grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd; pwd");
    agent.finish(&job);
    let log = String::from_utf8(scratch.log("job", 0)).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let ids: Vec<&str> = lines[0].split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{}", lines[0]);
    assert_eq!((signals(lines[1]), signals(lines[2])), (0, 0));
    assert_eq!(lines[3..7], ["0", "1", "2", "3"]);
    assert_eq!(lines[7], scratch.text("").trim_end_matches('/'));
}

#[test]
fn run_answers_by_its_exit_status() {
    let scratch = Scratch::new();
    let status = |job: &Job| {
        let file = scratch.0.join("job.json");
        std::fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
        Command::new(AGENT)
            .arg("run")
            .arg(file)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(status(&scratch.shell("good", "true")), Some(0));
    assert_eq!(
        status(&scratch.shell("good", "true")),
        Some(75),
        "an attempt is never run twice"
    );
    assert_eq!(status(&scratch.shell("bad", "exit 7")), Some(7));
    assert_eq!(
        status(&scratch.shell("signal", "kill -USR1 $$")),
        Some(128 + libc::SIGUSR1)
    );
    assert_eq!(status(&scratch.command("missing", &["python4"])), Some(127));
    let mut job = scratch.shell("late", "sleep 1000");
    job.timeout = Some(0.05);
    assert_eq!(status(&job), Some(124));
    assert_eq!(scratch.record("late").unwrap().outcome, Outcome::TimedOut);
}

#[test]
fn wrong_usage_is_told() {
    let run = |arguments: &[&str]| Command::new(AGENT).args(arguments).output().unwrap();
    for arguments in [
        &[][..],
        &["run"],
        &["dance"],
        &["work", "now"],
        &["run", "/no/such/file"],
        &["run", "/dev/null"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    let version = run(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("mizzen-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(
        String::from_utf8(run(&["--help"]).stdout)
            .unwrap()
            .contains("Usage: mizzen-agent work")
    );
}
