//! Signals and deaths: what an attached command does when it, or the supervisor, is told to end.

mod support;

use nix::sys::signal::Signal;
use support::{Said, Session, page};

#[test]
fn one_ctrl_c_ends_the_job() {
    let session = Session::new();
    let script = "trap 'echo got it; exit 5' INT; echo up; while :; do sleep 0.02; done";
    let mut running = session.start(&["run", "--", "sh", "-c", script]);
    running.until("up");
    running.signal(Signal::SIGINT);
    let said = running.end();
    assert_eq!(said.status, 130);
    insta::assert_snapshot!(page(&session, &said));
    assert_eq!(session.json(&["status", "--json"])["state"], "CANCELLED");
}

#[test]
fn a_second_ctrl_c_kills_it() {
    let session = Session::new();
    let script = "trap 'echo never' INT TERM; echo up; while :; do sleep 0.02; done";
    let mut running = session.start(&["run", "--", "sh", "-c", script]);
    running.until("up");
    running.signal(Signal::SIGINT);
    running.until("never");
    running.signal(Signal::SIGINT);
    let Said { status, stderr, .. } = running.end();
    assert_eq!(status, 130);
    assert!(stderr.contains("killing the jobs at once"), "{stderr}");
    assert_eq!(session.json(&["status", "--json"])["state"], "CANCELLED");
}

#[test]
fn a_ctrl_c_may_leave_the_job_alone_and_so_does_a_sigterm() {
    for (words, signal, status) in [
        (
            &["run", "--on-interrupt", "detach"][..],
            Signal::SIGINT,
            130,
        ),
        (&["run"], Signal::SIGTERM, 143),
        (&["run"], Signal::SIGHUP, 143),
    ] {
        let session = Session::new();
        session.gate("gate");
        let mut running = session.start(
            &[
                words,
                &["--", "sh", "-c", "echo up; read x < gate; echo done"],
            ]
            .concat(),
        );
        running.until("up");
        running.signal(signal);
        let said = running.end();
        assert_eq!(said.status, status, "{said:?}");
        insta::assert_snapshot!(format!("left-{signal}"), page(&session, &said));
        session.release("gate");
        assert_eq!(session.run(&["wait"]).status, 0);
        assert_eq!(session.ok(&["logs"]), "up\ndone\n");
    }
}

#[test]
fn a_reader_that_goes_away_leaves_the_job_alone() {
    let session = Session::new();
    session.gate("gate");
    session.gate("end");
    let mut running = session.start(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo up; read x < gate; echo more; read x < end",
    ]);
    running.until("up");
    running.close_stdout();
    session.release("gate");
    let said = running.end();
    assert_eq!(said.status, 141, "{said:?}");
    assert!(said.stderr.contains("nobody reads the output"), "{said:?}");
    session.release("end");
    assert_eq!(session.run(&["wait"]).status, 0);
}

#[test]
fn a_killed_supervisor_is_replaced() {
    let session = Session::new();
    session.gate("gate");
    session.write(
        "two.toml",
        "title = \"two\"\n[[tasks]]\nname = \"one\"\nrun = [\"sh\", \"-c\", \"echo up; read x < gate\"]\n[[tasks]]\nname = \"two\"\nrun = \"echo second\"\nafter = \"one\"\n",
    );
    let mut running = session.start(&["launch", "-f", "two.toml"]);
    running.until("up");
    let supervisor = session.supervisor();
    nix::sys::signal::kill(supervisor, Signal::SIGKILL).unwrap();
    session.release("gate");
    let said = running.end();
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.stdout.contains("second"), "{said:?}");
    let status = session.json(&["status", "--json"]);
    for job in status["jobs"].as_array().unwrap() {
        assert_eq!(
            (&job["state"], job["attempts"].as_array().unwrap().len()),
            (&"SUCCEEDED".into(), 1)
        );
    }
}
