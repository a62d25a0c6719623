//! Ranks that are one world, all of them this agent's.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{Bind, Job, Report, World};
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{Agent, Scratch};

/// A world of one node on this machine.
pub(crate) fn world(per_node: u32) -> World {
    World {
        nodes: 1,
        per_node,
        max_restarts: 0,
        hang_timeout: None,
        bind: Bind::None,
        gpus_per_rank: None,
        omp_num_threads: None,
        stop_grace: 0.5,
        join_timeout: 60.0,
        address: "127.0.0.1".to_owned(),
        port: None,
        run_id: "run".to_owned(),
        meeting: None,
    }
}

fn job(scratch: &Scratch, world: World, scripts: &[&str]) -> Job {
    let mut member = scratch.member("job", scripts);
    member.world = Some(world);
    scratch.job("world", vec![member])
}

fn run(scratch: &Scratch, world: World, scripts: &[&str]) -> ExitRecord {
    to_the_end(&mut Agent::start(), &job(scratch, world, scripts))
}

/// Whether it starts or not.
fn to_the_end(agent: &mut Agent, job: &Job) -> ExitRecord {
    agent.run(job);
    match agent.report() {
        Report::Started { .. } => agent.ended().remove(0),
        Report::Ended { mut records, .. } => records.remove(0),
        other => panic!("{other:?}"),
    }
}

fn log(scratch: &Scratch, rank: usize) -> String {
    String::from_utf8(scratch.log("job", rank)).unwrap()
}

const TELL: &str = "env | sort";

#[test]
fn ranks_find_what_programs_look_for() {
    let scratch = Scratch::new();
    let nodes = World {
        nodes: 2,
        max_restarts: 3,
        ..world(2)
    };
    let record = run(&scratch, nodes, &[TELL; 4]);
    assert_eq!(record.outcome, Outcome::Succeeded);
    let port = |log: &str| {
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix("MASTER_PORT="));
        line.unwrap().parse::<u16>().unwrap()
    };
    let first = port(&log(&scratch, 0));
    for rank in 0..4 {
        let log = log(&scratch, rank);
        assert_eq!(port(&log), first);
        let (local, node) = (rank % 2, rank / 2);
        for wanted in [
            format!("RANK={rank}"),
            format!("LOCAL_RANK={local}"),
            "WORLD_SIZE=4".to_owned(),
            "LOCAL_WORLD_SIZE=2".to_owned(),
            format!("NODE_RANK={node}"),
            format!("GROUP_RANK={node}"),
            "MASTER_ADDR=127.0.0.1".to_owned(),
            "TORCHELASTIC_RESTART_COUNT=0".to_owned(),
            "TORCHELASTIC_MAX_RESTARTS=3".to_owned(),
            "TORCHELASTIC_RUN_ID=run".to_owned(),
            format!("OMPI_COMM_WORLD_RANK={rank}"),
            format!("PMI_RANK={rank}"),
            format!("JAX_COORDINATOR_ADDRESS=127.0.0.1:{first}"),
            format!("MIZZEN_RANK={rank}"),
            "TORCHELASTIC_ERROR_FILE=".to_owned(),
            "OMP_NUM_THREADS=".to_owned(),
        ] {
            let found = log
                .lines()
                .any(|line| line == wanted || (wanted.ends_with('=') && line.starts_with(&wanted)));
            assert!(found, "rank {rank}: {wanted} in\n{log}");
        }
    }
}

#[test]
fn what_the_user_set_for_threads_stays() {
    let scratch = Scratch::new();
    let mut member = scratch.member("job", &["echo $OMP_NUM_THREADS"]);
    member.world = Some(world(1));
    member
        .env
        .push(("OMP_NUM_THREADS".to_owned(), "7".to_owned()));
    let mut agent = Agent::start();
    agent.finish(&scratch.job("threads", vec![member]));
    assert_eq!(log(&scratch, 0), "7\n");
}

#[test]
fn a_failing_rank_ends_the_others_within_a_second() {
    let scratch = Scratch::new();
    let mut up = scratch.fifo("up");
    let go = scratch.fifo("go");
    // The second one takes no notice of being told to end.
    let stubborn = format!(
        "trap '' TERM; echo up >{}; while :; do sleep 60; done",
        up.path
    );
    let fails = format!("read -r word <{}; kill -SEGV $$", go.path);
    let mut agent = Agent::start();
    agent.run(&job(&scratch, world(2), &[&fails, &stubborn]));
    agent.started();
    assert_eq!(up.line(), "up");
    go.write("go\n");
    let begun = Instant::now();
    let record = agent.ended().remove(0);
    let took = begun.elapsed();
    assert_eq!(record.outcome, Outcome::Failed);
    let failure = record.first_failure.as_ref().unwrap();
    assert_eq!((failure.rank, record.ranks[0].signal), (0, Some(11)));
    assert_eq!(record.ranks[1].signal, Some(9));
    let apart = record.ranks[1].ended - record.ranks[0].ended;
    assert!(apart < 1_000_000, "{apart} µs, {took:?}");
}

/// Fails in its first rounds, as its restart count says.
const FAILS_TWICE: &str = "echo round $TORCHELASTIC_RESTART_COUNT at $MASTER_PORT; test $TORCHELASTIC_RESTART_COUNT -ge 2 || exit 9";

#[test]
fn a_world_starts_again_until_it_ends_well() {
    let scratch = Scratch::new();
    let settings = World {
        max_restarts: 3,
        ..world(2)
    };
    let other = "test $TORCHELASTIC_RESTART_COUNT -ge 2 || sleep 60";
    let record = run(&scratch, settings, &[FAILS_TWICE, other]);
    assert_eq!(record.outcome, Outcome::Succeeded, "{record:?}");
    assert_eq!(record.first_failure, None);
    assert_eq!(record.restarts.len(), 2);
    assert_eq!(record.restarts[0].first_failure.rank, 0);
    assert_eq!(record.ranks.len(), 2);
    let log = log(&scratch, 0);
    let rounds: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("round"))
        .collect();
    assert_eq!(rounds.len(), 3, "{log}");
    assert!(
        log.contains("mizzen: restart 1: rank 0 failed first"),
        "{log}"
    );
}

#[test]
fn restarts_are_counted() {
    let scratch = Scratch::new();
    let settings = World {
        max_restarts: 1,
        ..world(1)
    };
    let record = run(&scratch, settings, &["echo again; exit 4"]);
    assert_eq!(record.outcome, Outcome::Failed);
    assert_eq!((record.restarts.len(), record.ranks[0].code), (1, Some(4)));
    assert_eq!(log(&scratch, 0).matches("again").count(), 2);
}

#[test]
fn what_a_round_left_behind_is_gone_before_the_next() {
    let scratch = Scratch::new();
    let settings = World {
        max_restarts: 1,
        ..world(1)
    };
    let script =
        "if [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then setsid sleep 600 & echo $! >left; exit 1; fi
        exec ls -d /proc/$(cat left)";
    let record = run(&scratch, settings, &[script]);
    // `ls` says that it is not there, which fails.
    assert_eq!(record.ranks[0].code, Some(2), "{record:?}");
    assert!(record.stragglers >= 1);
}

#[test]
fn a_rank_that_ends_early_and_well_ends_nobody() {
    let scratch = Scratch::new();
    let mut up = scratch.fifo("up");
    let go = scratch.fifo("go");
    let waits = format!("echo up >{}; read -r word <{}", up.path, go.path);
    let mut agent = Agent::start();
    agent.run(&job(&scratch, world(2), &["exit 0", &waits]));
    agent.started();
    assert_eq!(up.line(), "up");
    go.write("go\n");
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Succeeded);
}

#[test]
fn silence_for_too_long_is_a_hang() {
    let scratch = Scratch::new();
    let settings = World {
        hang_timeout: Some(0.4),
        ..world(2)
    };
    // One beats its heart and writes nothing for longer than that, then is silent like the other.
    let beats = "for i in 1 2 3 4 5 6; do touch $MIZZEN_HEARTBEAT_FILE; sleep 0.2; done; echo quiet now; exec sleep 600";
    let begun = Instant::now();
    let record = run(&scratch, settings, &["exec sleep 600", beats]);
    assert_eq!(record.outcome, Outcome::Hung, "{record:?}");
    assert!(begun.elapsed() > Duration::from_millis(1400));
    let failure = record.first_failure.unwrap();
    assert_eq!(failure.rank, 0);
    let reason = failure.reason.unwrap().text;
    assert!(reason.contains("0.4 s"), "{reason}");
    assert!(log(&scratch, 1).contains("quiet now"));
}

#[test]
fn a_hung_worlds_stacks_are_kept() {
    let scratch = Scratch::new();
    // What takes the place of the tool: it is found by name, in the agent's PATH.
    scratch.script("py-spy", "#!/bin/sh\necho \"stacks of $3 by $1\"\n");
    let settings = World {
        hang_timeout: Some(0.3),
        ..world(1)
    };
    let path = format!("{}:{}", scratch.text(""), crate::support::PATH);
    let mut command = std::process::Command::new(crate::support::AGENT);
    command.env("PATH", path);
    let mut agent = Agent::start_with(&mut command);
    let script = "exec python3 -c 'import time; time.sleep(600)'";
    let record = agent.finish(&job(&scratch, settings, &[script]));
    assert_eq!(record.outcome, Outcome::Hung);
    let stacks = fs::read_to_string(scratch.0.join("attempts/job/stacks/rank-0.txt")).unwrap();
    assert!(
        stacks.starts_with("stacks of ") && stacks.ends_with("by dump\n"),
        "{stacks}"
    );
}

#[test]
fn a_port_that_is_somebodys_is_said() {
    let scratch = Scratch::new();
    let theirs = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = theirs.local_addr().unwrap().port();
    let settings = World {
        port: Some(port),
        ..world(1)
    };
    let record = run(&scratch, settings, &["exit 0"]);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    let said = record.ranks[0].error.clone().unwrap();
    assert!(
        said.contains(&format!("port {port} can't be used")),
        "{said}"
    );
}

#[test]
fn a_port_that_was_taken_meanwhile_is_no_failure_of_the_programs() {
    let scratch = Scratch::new();
    let script = "test $TORCHELASTIC_RESTART_COUNT -ge 2 && exit 0
        echo \"failed to bind to [::]:$MASTER_PORT (errno: 98 - Address already in use)\"; exit 1";
    let record = run(&scratch, world(1), &[script]);
    assert_eq!(record.outcome, Outcome::Succeeded, "{record:?}");
    assert_eq!(record.restarts.len(), 2);
}

#[test]
fn a_cancelled_world_does_not_start_again() {
    let scratch = Scratch::new();
    let mut up = scratch.fifo("up");
    let script = format!("echo up >{}; exec sleep 600", up.path);
    let settings = World {
        max_restarts: 5,
        ..world(2)
    };
    let job = job(&scratch, settings, &[&script, &script]);
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    assert_eq!((up.line(), up.line()), ("up".to_owned(), "up".to_owned()));
    agent.cancel(&job, false);
    let record = agent.ended().remove(0);
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert!(record.restarts.is_empty());
}

#[test]
fn a_program_that_is_not_there_starts_nothing_and_nothing_again() {
    let scratch = Scratch::new();
    let settings = World {
        max_restarts: 2,
        ..world(2)
    };
    let mut job = job(&scratch, settings, &["echo started", ""]);
    job.members[0].ranks[1].argv = vec!["no-such-program".to_owned()];
    let record = to_the_end(&mut Agent::start(), &job);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    let said = record.ranks[1].error.clone().unwrap();
    assert!(said.contains("no such program"), "{said}");
    assert!(record.restarts.is_empty());
    assert_eq!(log(&scratch, 0), "");
}

const COUNT: &str =
    "python3 -c 'import os; print(len(os.sched_getaffinity(0)))'; echo $OMP_NUM_THREADS";

#[test]
fn processors_are_shared_out() {
    let scratch = Scratch::new();
    let settings = World {
        bind: Bind::Cores,
        ..world(2)
    };
    let record = run(&scratch, settings, &[COUNT; 2]);
    assert_eq!(record.outcome, Outcome::Succeeded);
    let shares: usize = (0..2)
        .map(|rank| {
            let log = log(&scratch, rank);
            let lines: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(lines[0], lines[1], "{log}");
            lines[0]
        })
        .sum();
    let scratch = Scratch::new();
    run(&scratch, world(1), &[COUNT]);
    let count: usize = log(&scratch, 0).lines().next().unwrap().parse().unwrap();
    assert_eq!(shares, count.max(2));
}

/// A control group with a limit of memory, as containers and clusters make them; gone with the test.
struct Limited(PathBuf);

impl Limited {
    /// None where this user may make none.
    fn new(bytes: u64) -> Option<Limited> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let below = |controller: &str| {
            let mark = format!(":{controller}:");
            let line = groups.lines().find(|line| line.contains(&mark))?;
            Some(line.rsplit(':').next()?.trim_start_matches('/').to_owned())
        };
        let name = format!("mizzen-test-{}", std::process::id());
        let (folder, limit) = match below("memory") {
            Some(own) => (
                PathBuf::from("/sys/fs/cgroup/memory").join(own),
                "memory.limit_in_bytes",
            ),
            None => (
                PathBuf::from("/sys/fs/cgroup").join(below("")?),
                "memory.max",
            ),
        };
        let group = Limited(folder.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Fails while a process is in it: the test has failed then.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_rank_that_the_kernel_ends_for_its_memory_is_named() {
    let Some(group) = Limited::new(96 << 20) else {
        #[expect(clippy::disallowed_methods, reason = "a test's own question")]
        let in_ci = std::env::var_os("CI").is_some();
        assert!(!in_ci, "no control group can be made");
        println!("skipped: no control group can be made");
        return;
    };
    let scratch = Scratch::new();
    let mut command = std::process::Command::new("sh");
    let inside = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.0.display());
    command.args(["-c", &inside, "sh", crate::support::AGENT]);
    let mut agent = Agent::start_with(&mut command);
    let greedy = "exec python3 -c 'x = bytearray(300 << 20); print(len(x))'";
    let record = agent.finish(&job(&scratch, world(2), &["exec sleep 600", greedy]));
    agent.close();
    agent.wait();
    assert_eq!(record.outcome, Outcome::OutOfMemory, "{record:?}");
    let failure = record.first_failure.unwrap();
    assert_eq!(failure.rank, 1);
    let reason = failure.reason.unwrap().text;
    assert!(reason.contains("out of memory"), "{reason}");
}
