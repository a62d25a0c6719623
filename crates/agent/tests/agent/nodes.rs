//! Worlds over several nodes: one agent each, as a cluster's step starts them. Here all nodes are this machine.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mizzen_agent::protocol::{EXIT_RECORD, World};
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{AGENT, PATH, Scratch, wait_for_end};
use crate::worlds::world;

/// A step with one task a node.
struct Step<'a> {
    scratch: &'a Scratch,
    attempt: PathBuf,
    key: String,
    world: World,
}

impl Step<'_> {
    fn new(scratch: &Scratch, world: World) -> Step<'_> {
        fs::create_dir_all(scratch.0.join("job/attempts/1")).unwrap();
        Step {
            attempt: scratch.0.join("job/attempts/1"),
            key: scratch.key("step"),
            scratch,
            world,
        }
    }

    fn start(&self, node: u32, script: &str) -> Child {
        Command::new(AGENT)
            .args(["node", "--attempt"])
            .arg(&self.attempt)
            .args([
                "--key", &self.key, "--name", "job", "--grace", "20", "--world",
            ])
            .arg(serde_json::to_string(&self.world).unwrap())
            .args(["--", "sh", "-c", script])
            .env_clear()
            .env("PATH", PATH)
            .env("SLURM_PROCID", node.to_string())
            .env("SLURM_NTASKS", self.world.nodes.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .current_dir(&self.scratch.0)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// All nodes run the same; their statuses.
    fn run(&self, script: &str) -> Vec<Option<i32>> {
        let nodes = (0..self.world.nodes).map(|node| self.start(node, script));
        ends(nodes.collect())
    }

    fn record_of(&self, node: u32) -> ExitRecord {
        let text = fs::read(self.attempt.join(format!("nodes/{node}/{EXIT_RECORD}"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn log(&self, rank: u32) -> String {
        fs::read_to_string(self.attempt.join(format!("rank-{rank}.log"))).unwrap()
    }

    /// What the launcher's end makes of the nodes' records.
    fn conclude(&self, status: i32) -> ExitRecord {
        let ranks = self.world.nodes * self.world.per_node;
        let done = Command::new(AGENT)
            .args(["conclude", "--attempt"])
            .arg(&self.attempt)
            .args(["--key", &self.key, "--name", "job"])
            .args(["--ranks", &ranks.to_string()])
            .args(["--per-node", &self.world.per_node.to_string()])
            .args(["--status", &status.to_string()])
            .status()
            .unwrap();
        assert!(done.success());
        serde_json::from_slice(&fs::read(self.attempt.join(EXIT_RECORD)).unwrap()).unwrap()
    }
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn ends(nodes: Vec<Child>) -> Vec<Option<i32>> {
    let end = |mut node: Child| {
        wait_for_end(pid(&node));
        node.wait().unwrap().code()
    };
    nodes.into_iter().map(end).collect()
}

fn nodes(nodes: u32, per_node: u32) -> World {
    World {
        nodes,
        address: String::new(),
        ..world(per_node)
    }
}

#[test]
fn nodes_are_one_world() {
    let scratch = Scratch::new();
    let step = Step::new(&scratch, nodes(3, 2));
    let tell = "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $NODE_RANK $MASTER_ADDR:$MASTER_PORT $SLURM_PROCID $SLURM_LOCALID";
    assert_eq!(step.run(tell), [Some(0); 3]);
    let port = step.log(0).trim().rsplit_once(':').unwrap().1.to_owned();
    let port = port.split(' ').next().unwrap();
    for rank in 0..6 {
        let (local, node) = (rank % 2, rank / 2);
        let wanted = format!("{rank}/6 {local}/2 {node} 127.0.0.1:{port} {rank} {local}\n");
        assert_eq!(step.log(rank), wanted);
    }
    let record = step.conclude(0);
    assert_eq!(
        (record.outcome, record.ranks.len()),
        (Outcome::Succeeded, 6)
    );
    assert!(record.ranks[5].host.is_some());
    assert!(!step.attempt.join("meeting.json").exists());
}

#[test]
fn a_failure_on_any_node_ends_all_and_is_named() {
    let scratch = Scratch::new();
    let step = Step::new(&scratch, nodes(3, 2));
    let mut up = scratch.fifo("up");
    let go = scratch.fifo("go");
    let script = format!(
        "echo up >{}; if [ $RANK = 3 ]; then read -r word <{}; echo it broke; exit 7; fi; trap '' TERM; while :; do sleep 60; done",
        up.path, go.path
    );
    let running: Vec<Child> = (0..3).map(|node| step.start(node, &script)).collect();
    for _ in 0..6 {
        assert_eq!(up.line(), "up");
    }
    let begun = Instant::now();
    go.write("go\n");
    // The first node tells how it ended, the others end well themselves.
    assert_eq!(ends(running), [Some(7), Some(0), Some(0)]);
    let took = begun.elapsed();
    let record = step.conclude(7);
    assert_eq!(record.outcome, Outcome::Failed);
    let failure = record.first_failure.unwrap();
    assert_eq!(failure.rank, 3);
    assert!(failure.host.is_some());
    assert_eq!(failure.last_lines, ["it broke"]);
    let failed = record.ranks[3].ended;
    let last = record.ranks.iter().map(|rank| rank.ended).max().unwrap();
    assert!(last - failed < 1_000_000, "{} µs, {took:?}", last - failed);
    assert_eq!(step.record_of(2).outcome, Outcome::GroupFailed);
}

#[test]
fn all_nodes_start_again_together() {
    let scratch = Scratch::new();
    let restarting = World {
        max_restarts: 2,
        ..nodes(2, 2)
    };
    let step = Step::new(&scratch, restarting);
    let script = "echo round $TORCHELASTIC_RESTART_COUNT $MASTER_PORT
        test $TORCHELASTIC_RESTART_COUNT = 1 && exit 0
        test $RANK = 2 && exit 5
        exec sleep 600";
    assert_eq!(step.run(script), [Some(0), Some(0)]);
    let record = step.conclude(0);
    assert_eq!(record.outcome, Outcome::Succeeded);
    assert_eq!(record.restarts.len(), 1);
    assert_eq!(record.restarts[0].first_failure.rank, 2);
    let rounds = |rank| {
        let log = step.log(rank);
        let lines = log.lines().filter(|line| line.starts_with("round"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rounds(0).len(), 2);
    assert!((1..4).all(|rank| rounds(rank) == rounds(0)));
}

#[test]
fn silence_of_one_node_alone_is_no_hang() {
    let scratch = Scratch::new();
    let hanging = World {
        hang_timeout: Some(0.5),
        ..nodes(2, 1)
    };
    let step = Step::new(&scratch, hanging);
    // The second node never says anything; the first goes on for longer than the limit, and then hangs too.
    let script =
        "test $RANK = 0 && for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.15; done; exec sleep 600";
    let statuses = step.run(script);
    assert_ne!(statuses[0], Some(0));
    let record = step.conclude(statuses[0].unwrap_or(1));
    assert_eq!(record.outcome, Outcome::Hung, "{record:?}");
    let failure = record.first_failure.unwrap();
    assert_eq!(failure.rank, 1);
    assert_eq!(step.log(0).lines().count(), 8);
}

#[test]
fn a_node_that_does_not_come_is_named() {
    let scratch = Scratch::new();
    let impatient = World {
        join_timeout: 0.5,
        ..nodes(3, 1)
    };
    let step = Step::new(&scratch, impatient);
    let running = vec![step.start(0, "echo ran"), step.start(2, "echo ran")];
    assert_eq!(ends(running)[0], Some(127));
    let record = step.record_of(0);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    let failure = record.first_failure.unwrap();
    assert_eq!(failure.rank, 1);
    assert!(failure.last_lines[0].contains("did not come within 0.5 s: 1"));
    assert!(step.log(0).is_empty());
}

#[test]
fn a_first_node_that_does_not_come_is_named() {
    let scratch = Scratch::new();
    let impatient = World {
        join_timeout: 0.5,
        ..nodes(2, 1)
    };
    let step = Step::new(&scratch, impatient);
    assert_eq!(ends(vec![step.start(1, "echo ran")]), [Some(127)]);
    let said = step.record_of(1).ranks[0].error.clone().unwrap();
    assert!(said.contains("did not answer within 0.5 s"), "{said}");
}

#[test]
fn a_node_that_is_lost_ends_the_others() {
    let scratch = Scratch::new();
    let restarting = World {
        max_restarts: 2,
        ..nodes(3, 1)
    };
    let step = Step::new(&scratch, restarting);
    let mut up = scratch.fifo("up");
    let script = format!("echo up >{}; exec sleep 600", up.path);
    let mut running: Vec<Child> = (0..3).map(|node| step.start(node, &script)).collect();
    for _ in 0..3 {
        assert_eq!(up.line(), "up");
    }
    running[1].kill().unwrap();
    let statuses = ends(running);
    assert_eq!(
        (statuses[0], statuses[1], statuses[2]),
        (Some(1), None, Some(0))
    );
    let record = step.record_of(0);
    assert_eq!(record.outcome, Outcome::Failed);
    let failure = record.first_failure.unwrap();
    assert_eq!((failure.rank, record.restarts.len()), (1, 0));
    assert!(failure.last_lines[0].contains("node 1 is gone"));
}

#[test]
fn the_first_nodes_end_ends_the_others() {
    let scratch = Scratch::new();
    let step = Step::new(&scratch, nodes(2, 1));
    let mut up = scratch.fifo("up");
    let script = format!("echo up >{}; exec sleep 600", up.path);
    let mut running: Vec<Child> = (0..2).map(|node| step.start(node, &script)).collect();
    assert_eq!((up.line(), up.line()), ("up".to_owned(), "up".to_owned()));
    running[0].kill().unwrap();
    let statuses = ends(running);
    assert!(
        statuses[1].is_some_and(|status| status != 0),
        "{statuses:?}"
    );
    assert_eq!(step.record_of(1).ranks[0].signal, Some(15));
}

#[test]
fn told_to_end_all_nodes_do_and_none_starts_again() {
    let scratch = Scratch::new();
    let restarting = World {
        max_restarts: 2,
        ..nodes(2, 1)
    };
    let step = Step::new(&scratch, restarting);
    let mut up = scratch.fifo("up");
    let script = format!(
        "trap 'exit 3' TERM; echo up >{}; while :; do sleep 0.1; done",
        up.path
    );
    let running: Vec<Child> = (0..2).map(|node| step.start(node, &script)).collect();
    assert_eq!((up.line(), up.line()), ("up".to_owned(), "up".to_owned()));
    // As at a preemption: one agent hears of it first.
    crate::support::kill(pid(&running[1]), libc::SIGTERM);
    ends(running);
    let records = [step.record_of(0), step.record_of(1)];
    assert_eq!(records[1].outcome, Outcome::Interrupted);
    assert!(records.iter().all(|record| record.restarts.is_empty()));
    assert_eq!(records[0].outcome, Outcome::Interrupted, "{:?}", records[0]);
}

#[test]
fn a_first_node_that_is_slow_is_waited_for() {
    let scratch = Scratch::new();
    let step = Step::new(&scratch, nodes(2, 1));
    let late = step.start(1, "echo ran $RANK");
    // It has claimed its part, and looks for the first node.
    let claim = step.attempt.join("nodes/1/agent");
    let begun = Instant::now();
    while fs::symlink_metadata(&claim).is_err() {
        assert!(begun.elapsed() < crate::support::LIMIT);
        std::thread::yield_now();
    }
    let first = step.start(0, "echo ran $RANK");
    assert_eq!(ends(vec![first, late]), [Some(0), Some(0)]);
    assert_eq!(step.log(1), "ran 1\n");
}
