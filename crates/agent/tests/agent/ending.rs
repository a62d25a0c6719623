//! Jobs that are ended: by a timeout, a cancel, a signal to the agent, and against their will.

use std::time::{Duration, Instant};

use mizzen_agent::protocol::Command;
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{Agent, LIMIT, Scratch, kill};

/// A rank that says that it is up, and then waits; `before` comes first.
fn waiting(before: &str, ready: &str) -> String {
    format!("{before}; echo $$ > {ready}; sleep 1000 & wait; sleep 1000")
}

fn end_of(record: &ExitRecord) -> (Outcome, Option<i32>, Option<i32>) {
    (record.outcome, record.ranks[0].code, record.ranks[0].signal)
}

#[test]
fn a_timeout_ends_the_job() {
    let scratch = Scratch::new();
    let mut job = scratch.shell("job", "echo working; sleep 1000");
    job.timeout = Some(0.2);
    let record = Agent::start().finish(&job);
    assert_eq!(
        end_of(&record),
        (Outcome::TimedOut, None, Some(libc::SIGTERM))
    );
    assert!(record.ended - record.started >= 200_000);
    assert_eq!(record.first_failure, None);
}

#[test]
fn what_ignores_the_first_signal_is_killed_after_the_grace_period() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut job = scratch.shell("job", &waiting("trap '' TERM", &ready.path));
    job.grace = 0.3;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    let asked = Instant::now();
    agent.cancel(&job, false);
    let record = agent.ended().remove(0);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        end_of(&record),
        (Outcome::Cancelled, None, Some(libc::SIGKILL))
    );
}

#[test]
fn a_cancel_lets_the_job_end_in_its_own_way_and_counts_all_the_same() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let job = scratch.shell(
        "job",
        &waiting("trap 'echo saved; exit 0' TERM", &ready.path),
    );
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    agent.cancel(&job, false);
    let record = agent.ended().remove(0);
    assert_eq!(end_of(&record), (Outcome::Cancelled, Some(0), None));
    assert_eq!(scratch.log("job", 0), b"saved\n");
    // The job is over: a cancel that comes now is for nobody, and changes nothing.
    agent.cancel(&job, true);
    assert_eq!(
        agent.finish(&scratch.shell("next", "true")).outcome,
        Outcome::Succeeded
    );
    assert_eq!(scratch.record("job").unwrap().outcome, Outcome::Cancelled);
}

#[test]
fn a_second_cancel_and_an_immediate_one_kill_at_once() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut agent = Agent::start();
    for (name, cancels) in [("twice", &[false, false][..]), ("immediately", &[true])] {
        let mut job = scratch.shell(name, &waiting("trap '' TERM INT", &ready.path));
        job.grace = 1000.0;
        agent.run(&job);
        agent.started();
        ready.line();
        for immediately in cancels {
            agent.cancel(&job, *immediately);
        }
        assert_eq!(
            end_of(&agent.ended()[0]),
            (Outcome::Cancelled, None, Some(libc::SIGKILL))
        );
    }
}

#[test]
fn cancels_and_signals_for_others_are_left_aside() {
    let scratch = Scratch::new();
    let go = scratch.fifo("go");
    let job = scratch.shell("job", &format!("read line < {}", go.path));
    let other = scratch.shell("other", "true");
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    agent.cancel(&other, true);
    agent.send(&Command::Signal {
        key: other.key.clone(),
        signal: libc::SIGKILL,
    });
    agent.send(&Command::Signal {
        key: job.key.clone(),
        signal: 4711,
    });
    go.write("now\n");
    assert_eq!(agent.ended()[0].outcome, Outcome::Succeeded);
}

#[test]
fn a_stopped_job_can_be_cancelled() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut job = scratch.shell(
        "job",
        &format!("echo $$ > {}; kill -STOP 0; exit 5", ready.path),
    );
    job.grace = 1000.0;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    let pid = ready.pid();
    kill(pid, libc::SIGSTOP);
    agent.cancel(&job, false);
    assert_eq!(
        end_of(&agent.ended()[0]),
        (Outcome::Cancelled, None, Some(libc::SIGTERM))
    );
}

#[test]
fn signals_are_passed_on() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let script = |signal: &str| waiting(&format!("trap 'exit 7' {signal}"), &ready.path);
    let mut agent = Agent::start();
    let jobs = [
        scratch.shell("command", &script("USR1")),
        scratch.shell("agent", &script("USR2")),
    ];
    for job in &jobs {
        agent.run(job);
        agent.started();
        ready.line();
        if job.members[0].name == "command" {
            agent.send(&Command::Signal {
                key: job.key.clone(),
                signal: libc::SIGUSR1,
            });
        } else {
            kill(agent.pid(), libc::SIGUSR2);
        }
        assert_eq!(end_of(&agent.ended()[0]), (Outcome::Failed, Some(7), None));
    }
}

#[test]
fn an_agent_told_to_end_ends_its_job_first() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    for (signal, name) in [
        (libc::SIGTERM, "TERM"),
        (libc::SIGINT, "INT"),
        (libc::SIGHUP, "HUP"),
    ] {
        let job = scratch.shell(
            name,
            &waiting(
                &format!("trap 'echo got {name}; exit 0' {name}"),
                &ready.path,
            ),
        );
        let mut agent = Agent::start();
        agent.run(&job);
        agent.started();
        ready.line();
        kill(agent.pid(), signal);
        assert_eq!(
            end_of(&agent.ended()[0]),
            (Outcome::Interrupted, Some(0), None)
        );
        assert!(agent.wait().success());
        assert_eq!(
            String::from_utf8(scratch.log(name, 0)).unwrap(),
            format!("got {name}\n")
        );
    }
    let mut idle = Agent::start();
    kill(idle.pid(), libc::SIGTERM);
    assert!(idle.wait().success());
}

#[test]
fn when_a_rank_dies_the_others_are_down_within_a_second() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let wait = waiting("true", &ready.path);
    let job = scratch.job("job", vec![scratch.member("job", &[&wait, &wait, &wait])]);
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    let pids: Vec<i32> = (0..3).map(|_| ready.pid()).collect();
    kill(pids[1], libc::SIGKILL);
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Failed);
    let first = record.ranks.iter().map(|rank| rank.ended).min().unwrap();
    let last = record.ranks.iter().map(|rank| rank.ended).max().unwrap();
    assert!(
        last - first < 1_000_000,
        "{} µs (of a limit of {LIMIT:?} for the whole test)",
        last - first
    );
}
