//! What outlives the ranks: daemons, what forks itself on, and what a killed agent leaves behind.

use std::time::Duration;

use mizzen_agent::identity::{find_by_key, sweep};
use mizzen_agent::protocol::KEY_VARIABLE;
use mizzen_agent::record::Outcome;

use crate::support::{Agent, Scratch, is_gone, kill, wait_for_end};

/// Leaves a process behind in a session of its own, whose parent is gone.
fn daemon(before: &str, ready: &str) -> String {
    format!("setsid sh -c '({before} echo $$ > {ready}; exec sleep 1000) > /dev/null 2>&1 &' &")
}

#[test]
fn daemons_are_gone_when_the_job_has_ended() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    let script = format!(
        "{}\n{}\nread line < {}",
        daemon("", &ready.path),
        daemon("", &ready.path),
        go.path
    );
    let job = scratch.shell("job", &script);
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    ready.line();
    // The shells wrote their own pids; the daemons are found by what every process of a job carries.
    let daemons: Vec<i32> = find_by_key(&job.key)
        .into_iter()
        .filter(|pid| mizzen_agent::process_table::ProcessStat::read(*pid).is_some())
        .collect();
    assert!(daemons.len() >= 3, "two daemons and the rank: {daemons:?}");
    go.write("now\n");
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Succeeded);
    assert!(record.stragglers >= 2, "{}", record.stragglers);
    assert!(daemons.into_iter().all(is_gone));
    assert_eq!(find_by_key(&job.key), Vec::<i32>::new());
}

#[test]
fn leftovers_that_ignore_sigterm_are_killed() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    let mut job = scratch.shell(
        "job",
        &format!(
            "{}\nread line < {}",
            daemon("trap \"\" TERM;", &ready.path),
            go.path
        ),
    );
    job.grace = 0.1;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    go.write("now\n");
    let record = agent.ended().remove(0);
    assert_eq!((record.outcome, record.stragglers), (Outcome::Succeeded, 1));
    assert_eq!(find_by_key(&job.key), Vec::<i32>::new());
}

#[test]
fn an_immediate_cancel_does_not_wait_for_leftovers() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut job = scratch.shell(
        "job",
        &format!("{}\nsleep 1000", daemon("trap \"\" TERM;", &ready.path)),
    );
    job.grace = 1000.0;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    agent.cancel(&job, true);
    let record = agent.ended().remove(0);
    assert_eq!((record.outcome, record.stragglers), (Outcome::Cancelled, 1));
    assert!(record.ended - record.started < 60_000_000);
}

#[test]
fn mere_background_children_that_ended_are_no_stragglers() {
    let scratch = Scratch::new();
    // The last one is nobody's child but the agent's, and gone only once the agent has taken its end.
    let script = "true & true & wait; orphan=$(true > /dev/null & echo $!); while kill -0 $orphan; do :; done";
    let record = Agent::start().finish(&scratch.shell("job", script));
    assert_eq!((record.outcome, record.stragglers), (Outcome::Succeeded, 0));
}

#[test]
fn a_child_of_the_rank_has_the_whole_grace_period_to_save_its_state() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let go = scratch.fifo("go");
    // The rank dies of the first SIGTERM, its child goes on for as long as the test likes; a second one would end it.
    let saver = scratch.script(
        "saver",
        &format!(
            "#!/bin/sh\nsave() {{ trap 'exit 1' TERM; echo saving > {0}; read line < {1}; echo saved; exit 0; }}\n\
             trap save TERM\necho up > {0}\nwhile :; do sleep 0.01; done\n",
            ready.path, go.path
        ),
    );
    let job = scratch.shell("job", &format!("{saver} & wait"));
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    assert_eq!(ready.line(), "up");
    agent.cancel(&job, false);
    assert_eq!(ready.line(), "saving");
    go.write("now\n");
    let record = agent.ended().remove(0);
    assert_eq!((record.outcome, record.stragglers), (Outcome::Cancelled, 0));
    // The shell may have said "Terminated" of its own child before.
    assert!(scratch.log("job", 0).ends_with(b"saved\n"));
}

#[test]
fn what_forks_itself_on_into_new_sessions_is_caught() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    // Each generation lives for a moment. Bounded by a file, so that a broken agent leaves no comet behind.
    std::fs::write(scratch.text("fuel"), "").unwrap();
    let fuel = scratch.text("fuel");
    let comet = scratch.script(
        "comet",
        &format!("#!/bin/sh\ntrap '' TERM\n[ -e {fuel} ] && setsid \"$0\" &\n"),
    );
    let mut job = scratch.shell(
        "job",
        &format!("{comet}; {comet}; {comet}; echo up > {}", ready.path),
    );
    job.grace = 0.05;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    ready.line();
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Succeeded);
    assert_eq!(find_by_key(&job.key), Vec::<i32>::new());
    drop(scratch);
}

#[test]
fn a_tree_of_processes_falls_as_a_whole() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    // Each shell starts two more, five levels deep, all in sessions of their own and deaf to SIGTERM.
    let tree = scratch.script(
        "tree",
        &format!(
            "#!/bin/sh\ntrap '' TERM\nif [ $1 -gt 0 ]; then setsid \"$0\" $(($1-1)) & setsid \"$0\" $(($1-1)) & else echo up > {}; fi\nsleep 1000\n",
            ready.path
        ),
    );
    let mut job = scratch.shell("job", &format!("{tree} 5 & wait"));
    job.grace = 0.05;
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    for _ in 0..32 {
        ready.line();
    }
    agent.cancel(&job, false);
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert!(record.stragglers >= 62, "{}", record.stragglers);
    assert_eq!(find_by_key(&job.key), Vec::<i32>::new());
}

#[test]
fn ranks_die_with_their_agent_and_the_rest_is_swept() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let mut up = scratch.fifo("up");
    let script = format!(
        "{}\necho $$ > {}; trap '' TERM; sleep 1000",
        daemon("trap \"\" TERM;", &ready.path),
        up.path
    );
    let job = scratch.shell("job", &script);
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    let rank = up.pid();
    ready.line();
    kill(agent.pid(), libc::SIGKILL);
    wait_for_end(rank);
    agent.wait();
    assert_eq!(agent.identity.is_alive(), Some(false));
    assert_eq!(scratch.record("job"), None, "nobody was left to write it");
    assert!(
        !find_by_key(&job.key).is_empty(),
        "the daemon outlives its agent"
    );
    let swept = sweep(&job.key, Duration::from_millis(100));
    assert!(swept.signalled >= 1 && swept.left.is_empty(), "{swept:?}");
    assert_eq!(find_by_key(&job.key), Vec::<i32>::new());
    assert_eq!(sweep(&job.key, Duration::ZERO).signalled, 0);
}

#[test]
fn sweeping_ends_a_stopped_process_and_spares_others() {
    let scratch = Scratch::new();
    let key = scratch.key("stopped");
    let sleep = |key: &str| {
        std::process::Command::new("sleep")
            .arg("1000")
            .env(KEY_VARIABLE, key)
            .spawn()
            .unwrap()
    };
    let mut ours = sleep(&key);
    let mut other = sleep(&format!("{key}0"));
    kill(i32::try_from(ours.id()).unwrap(), libc::SIGSTOP);
    let swept = sweep(&key, Duration::from_secs(30));
    assert_eq!((swept.signalled, swept.left), (1, Vec::new()));
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(ours.wait().unwrap().signal(), Some(libc::SIGTERM));
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
}
