//! `rank` and `conclude`: the tasks of a step as another launcher starts them, and the one record of all of them.

use std::fs;
use std::process::{Child, Command, Stdio};

use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{AGENT, Scratch};

fn rank(scratch: &Scratch, number: u32, of: u32, script: &str) -> Child {
    Command::new(AGENT)
        .args(["rank", "--key", "k", "--name", "train", "--grace", "5"])
        .args(["--attempt", &scratch.text("attempts/1")])
        .args(["--", "sh", "-c", script])
        .env("SLURM_PROCID", number.to_string())
        .env("SLURM_NTASKS", of.to_string())
        .env("SLURM_LOCALID", (number % 2).to_string())
        .env("SLURM_NODEID", (number / 2).to_string())
        .env("SLURM_STEP_TASKS_PER_NODE", "2(x2)")
        .env("LOCAL_RANK", "mine")
        .current_dir(&scratch.0)
        .stdin(Stdio::null())
        .spawn()
        .expect("an agent")
}

fn conclude(scratch: &Scratch, ranks: u32, status: i32, more: &[&str]) -> ExitRecord {
    let folder = scratch.text("attempts/1");
    let ended = Command::new(AGENT)
        .args([
            "conclude",
            "--key",
            "k",
            "--name",
            "train",
            "--attempt",
            &folder,
        ])
        .args([
            "--ranks",
            &ranks.to_string(),
            "--status",
            &status.to_string(),
        ])
        .args(more)
        .status()
        .expect("an agent");
    assert!(ended.success());
    let text = fs::read(scratch.0.join("attempts/1/exit.json")).expect("a record");
    serde_json::from_slice(&text).expect("a record that can be read")
}

#[test]
fn the_ranks_of_a_step_make_one_record() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("attempts/1")).unwrap();
    let show = "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $NODE_RANK";
    let scripts = ["", "echo broken >&2; exit 7", "", ""];
    let ranks: Vec<Child> = (0..4)
        .map(|number| {
            let script = format!("{show}; {}", scripts[number as usize]);
            rank(&scratch, number, 4, &script)
        })
        .collect();
    let codes: Vec<Option<i32>> = ranks
        .into_iter()
        .map(|mut rank| rank.wait().expect("an end").code())
        .collect();
    assert_eq!(codes, [Some(0), Some(7), Some(0), Some(0)]);
    let log = |number: u32| {
        fs::read_to_string(scratch.0.join(format!("attempts/1/rank-{number}.log"))).expect("a log")
    };
    assert_eq!(log(3), "3/4 mine/2 1\n");
    let record = conclude(&scratch, 4, 7, &[]);
    assert_eq!(record.outcome, Outcome::Failed);
    let first = record.first_failure.expect("a first failure");
    assert_eq!(
        (first.rank, first.last_lines.last().unwrap().as_str()),
        (1, "broken")
    );
    let codes: Vec<Option<i32>> = record.ranks.iter().map(|rank| rank.code).collect();
    assert_eq!(codes, [Some(0), Some(7), Some(0), Some(0)]);
}

#[test]
fn a_rank_runs_once_in_an_attempt() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("attempts/1")).unwrap();
    let code = || {
        rank(&scratch, 0, 1, "echo ran")
            .wait()
            .expect("an end")
            .code()
    };
    assert_eq!((code(), code()), (Some(0), Some(75)));
    let log = fs::read_to_string(scratch.0.join("attempts/1/rank-0.log")).unwrap();
    assert_eq!(log, "ran\n");
}

#[test]
fn a_rank_that_was_told_to_end_is_not_the_first_failure() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("attempts/1")).unwrap();
    let mut ready = scratch.fifo("ready");
    // Nobody writes into it.
    let never = scratch.fifo("never");
    let script = format!(
        "trap 'exit 3' TERM; echo up >{}; while :; do read -r x; done <{}",
        ready.path, never.path
    );
    let mut child = rank(&scratch, 0, 1, &script);
    assert_eq!(ready.line(), "up");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let record = conclude(&scratch, 1, 143, &[]);
    assert_eq!(record.outcome, Outcome::Interrupted);
    assert_eq!(record.first_failure, None);
}

#[test]
fn a_rank_may_hear_of_the_end_before_its_agent() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("attempts/1")).unwrap();
    // As Slurm's signal does, which goes to all processes, one after the other.
    let script = "(sleep 0.02; kill -TERM $PPID) & kill -TERM $$";
    rank(&scratch, 0, 1, script).wait().expect("an end");
    let record = conclude(&scratch, 1, 143, &[]);
    assert_eq!(record.outcome, Outcome::Interrupted);
    assert_eq!(record.ranks[0].signal, Some(libc::SIGTERM));
}

#[test]
fn a_step_that_never_began_says_what_its_launcher_said() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("attempts/1")).unwrap();
    fs::write(scratch.0.join("srun.log"), "srun: error: no such image\n").unwrap();
    let record = conclude(&scratch, 2, 1, &["--log", &scratch.text("srun.log")]);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    assert_eq!(
        record.first_failure.unwrap().last_lines,
        ["srun: error: no such image"]
    );
    assert!(record.ranks.iter().all(|rank| rank.error.is_some()));
}
