//! The channel: what closes it, what breaks it, and many jobs over one.

use std::fs;
use std::os::unix::process::CommandExt as _;

use mizzen_agent::process_table::ProcessStat;
use mizzen_agent::protocol::{Refusal, Report};
use mizzen_agent::record::Outcome;

use crate::support::{Agent, Scratch, signals};

#[test]
fn when_the_channel_closes_the_job_in_hand_is_finished_and_no_other_begun() {
    let scratch = Scratch::new();
    let go = scratch.fifo("go");
    let mut agent = Agent::start();
    agent.run(&scratch.shell("first", &format!("read line < {}; echo done", go.path)));
    agent.started();
    agent.run(&scratch.shell("second", "touch second-ran"));
    agent.close();
    match agent.report() {
        Report::Refused { reason, .. } => assert_eq!(reason, Refusal::Busy),
        other => panic!("{other:?}"),
    }
    go.write("now\n");
    assert!(agent.wait().success());
    assert_eq!(scratch.record("first").unwrap().outcome, Outcome::Succeeded);
    assert_eq!(scratch.log("first", 0), b"done\n");
    assert!(!scratch.0.join("attempts/second").exists() && !scratch.0.join("second-ran").exists());
}

#[test]
fn a_dead_supervisor_is_no_loss() {
    let scratch = Scratch::new();
    let go = scratch.fifo("go");
    let mut agent = Agent::start();
    agent.run(&scratch.shell("job", &format!("read line < {}", go.path)));
    // Both ends go away before anything was read: reports have nowhere to go, and SIGPIPE must not end the agent.
    drop(agent.child.stdout.take());
    agent.close();
    go.write("now\n");
    assert!(agent.wait().success());
    assert_eq!(scratch.record("job").unwrap().outcome, Outcome::Succeeded);
}

#[test]
fn nonsense_is_left_out() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    agent.send_bytes(b"\n\nnonsense\n{\"run\":{}}\n{\"dance\":1}\n[[[[\n\0\xff\n{\"run\":{\"key\":\"x\",\"surprise\":1}}\n");
    assert_eq!(
        agent.finish(&scratch.shell("job", "true")).outcome,
        Outcome::Succeeded
    );
    agent.send_bytes(b"{\"run\":{\"key\":");
    agent.close();
    assert!(agent.wait().success());
}

#[test]
fn a_supervisor_that_does_not_read_does_not_hold_up_the_agent() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut agent = Agent::start();
    let job = scratch.shell(
        "job",
        &format!(
            "trap 'echo ended > {0}; exit 0' TERM; echo up > {0}; sleep 1000 & wait",
            ready.path
        ),
    );
    agent.run(&job);
    ready.line();
    // Each is answered with a refusal: far more than a pipe holds.
    let another = scratch.shell("another", "true");
    for _ in 0..3000 {
        agent.run(&another);
    }
    agent.cancel(&job, false);
    assert_eq!(ready.line(), "ended");
    agent.started();
    for _ in 0..3000 {
        assert!(matches!(
            agent.report(),
            Report::Refused {
                reason: Refusal::Busy,
                ..
            }
        ));
    }
    assert_eq!(agent.ended()[0].outcome, Outcome::Cancelled);
}

#[test]
fn a_record_that_can_not_be_written_is_written_later() {
    let scratch = Scratch::new();
    let obstacle = scratch.text("attempts/job/exit.json.tmp");
    fs::create_dir_all(&obstacle).unwrap();
    let mut agent = Agent::start();
    let record = agent.finish(&scratch.shell("job", "exit 3"));
    assert_eq!(
        (record.outcome, scratch.record("job")),
        (Outcome::Failed, None)
    );
    // The agent takes new jobs meanwhile.
    assert_eq!(
        agent.finish(&scratch.shell("next", "true")).outcome,
        Outcome::Succeeded
    );
    fs::remove_dir(&obstacle).unwrap();
    agent.close();
    assert!(agent.wait().success());
    assert_eq!(scratch.record("job"), Some(record));
}

#[test]
fn many_jobs_leave_nothing_behind() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    let descriptors = |agent: &Agent| {
        fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .unwrap()
            .count()
    };
    let before = descriptors(&agent);
    for number in 0..1000 {
        let record = agent.finish(&scratch.command(&format!("job{number}"), &["true"]));
        assert_eq!(record.outcome, Outcome::Succeeded);
    }
    assert_eq!(descriptors(&agent), before);
    let pid = agent.pid();
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default(),
        ""
    );
    agent.close();
    assert!(agent.wait().success());
}

#[test]
fn an_agent_lives_in_its_own_session_and_takes_nothing_along() {
    let scratch = Scratch::new();
    let mut command = std::process::Command::new("sh");
    // A starter that ignores signals, leaves a child behind and an open file, and becomes the agent.
    command.args(["-c", "trap '' HUP CHLD USR1; sleep 60 > /dev/null 2>&1 & echo $! > child; exec 7< /dev/null; exec \"$0\" \"$@\""]);
    command.arg(crate::support::AGENT).current_dir(&scratch.0);
    let mut agent = Agent::start_with(&mut command);
    let inherited = fs::read_link(format!("/proc/{}/fd/7", agent.pid()));
    assert_ne!(
        inherited.ok().as_deref(),
        Some(std::path::Path::new("/dev/null"))
    );
    let record = agent.finish(&scratch.shell("job", "grep SigIgn /proc/self/status; exit 4"));
    assert_eq!((record.ranks[0].code, record.stragglers), (Some(4), 0));
    let log = String::from_utf8(scratch.log("job", 0)).unwrap();
    assert_eq!(signals(log.trim()), 0);
    // SAFETY: getsid(2) takes an integer.
    assert_eq!(unsafe { libc::getsid(agent.pid()) }, agent.pid());
    let bystander: i32 = fs::read_to_string(scratch.text("child"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(
        ProcessStat::read(bystander).is_some_and(|stat| !stat.is_dead()),
        "not the job's, so not the agent's to end"
    );
    crate::support::kill(bystander, libc::SIGKILL);
    // The leader of a group can't leave its session, and works all the same.
    let mut leader = std::process::Command::new(crate::support::AGENT);
    let mut leader = Agent::start_with(leader.process_group(0));
    assert_eq!(
        leader.finish(&scratch.shell("leader", "true")).outcome,
        Outcome::Succeeded
    );
}
