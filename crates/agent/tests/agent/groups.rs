//! Job groups: several members started together, with or without a leader.

use mizzen_agent::protocol::Report;
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{Agent, Scratch};

fn outcomes(records: &[ExitRecord]) -> Vec<Outcome> {
    records.iter().map(|record| record.outcome).collect()
}

#[test]
fn without_a_leader_a_group_ends_with_its_last_member() {
    let scratch = Scratch::new();
    let go = scratch.fifo("go");
    let members = vec![
        scratch.member("a", &["true", "true"]),
        scratch.member("b", &[&format!("read line < {}", go.path)]),
    ];
    let mut agent = Agent::start();
    agent.run(&scratch.job("group", members));
    agent.started();
    assert_eq!(
        scratch.record("a"),
        None,
        "records come when the whole group has ended"
    );
    go.write("now\n");
    let records = agent.ended();
    assert_eq!(outcomes(&records), [Outcome::Succeeded, Outcome::Succeeded]);
    assert_eq!(
        records
            .iter()
            .map(|record| record.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        [scratch.record("a").unwrap(), scratch.record("b").unwrap()][..],
        records[..]
    );
}

#[test]
fn a_leader_that_ends_well_ends_the_others() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    let server = format!("echo up > {}; sleep 1000", ready.path);
    let mut members = vec![
        scratch.member("server", &[&server]),
        scratch.member("leader", &[&format!("read line < {}", go.path), "true"]),
        scratch.member("done", &["true"]),
    ];
    members[1].leader = true;
    let mut agent = Agent::start();
    agent.run(&scratch.job("group", members));
    agent.started();
    ready.line();
    go.write("now\n");
    let records = agent.ended();
    // The third ended before or after the leader, by itself: both are an end that nobody has to look at.
    assert_eq!(
        outcomes(&records)[..2],
        [Outcome::GroupEnded, Outcome::Succeeded]
    );
    assert!(matches!(
        records[2].outcome,
        Outcome::Succeeded | Outcome::GroupEnded
    ));
    assert_eq!(records[0].ranks[0].signal, Some(libc::SIGTERM));
    assert!(records.iter().all(|record| record.first_failure.is_none()));
}

#[test]
fn a_member_that_fails_ends_the_group() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    let wait = format!("echo up > {}; sleep 1000", ready.path);
    let fail = format!(
        "echo up > {}; read line < {}; echo broken; exit 3",
        ready.path, go.path
    );
    let mut members = vec![
        scratch.member("a", &[&wait]),
        scratch.member("b", &[&wait, &fail]),
        scratch.member("c", &[&wait]),
    ];
    members[0].leader = true;
    let mut agent = Agent::start();
    agent.run(&scratch.job("group", members));
    agent.started();
    for _ in 0..4 {
        ready.line();
    }
    go.write("now\n");
    let records = agent.ended();
    assert_eq!(
        outcomes(&records),
        [Outcome::GroupFailed, Outcome::Failed, Outcome::GroupFailed]
    );
    assert_eq!(records[0].first_failure, None);
    let failure = records[1].first_failure.clone().unwrap();
    assert_eq!(
        (failure.rank, &failure.last_lines[..]),
        (1, &["broken".to_owned()][..])
    );
}

#[test]
fn a_misspelt_program_on_the_last_member_starts_nothing() {
    let scratch = Scratch::new();
    let mut members = vec![
        scratch.member("a", &["touch started"]),
        scratch.member("b", &["true"]),
    ];
    members[1].ranks[0].argv = vec!["python4".to_owned()];
    let mut agent = Agent::start();
    agent.run(&scratch.job("group", members));
    let records = agent.ended();
    assert_eq!(
        outcomes(&records),
        [Outcome::GroupFailed, Outcome::LaunchFailed]
    );
    assert!(!scratch.0.join("started").exists());
}

#[test]
fn a_group_is_claimed_as_a_whole_or_not_at_all() {
    let scratch = Scratch::new();
    let mut agent = Agent::start();
    agent.finish(&scratch.shell("b", "true"));
    let members = || {
        vec![
            scratch.member("a", &["touch started"]),
            scratch.member("b", &["touch started"]),
        ]
    };
    agent.run(&scratch.job("group", members()));
    match agent.report() {
        Report::Taken { by, .. } => assert_eq!(by, agent.identity.to_text()),
        other => panic!("not taken, but {other:?}"),
    }
    assert!(!scratch.0.join("started").exists());
    assert!(
        !scratch.0.join("attempts/a/agent").is_symlink(),
        "the first member's claim is given back"
    );
    assert_eq!(
        agent
            .finish(&scratch.job("later", vec![scratch.member("a", &["true"])]))
            .outcome,
        Outcome::Succeeded
    );
}
