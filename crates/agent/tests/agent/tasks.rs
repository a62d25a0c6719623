//! Tasks of a cluster's step: one agent for each rank of a job.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use mizzen_agent::protocol::{EXIT_RECORD, Identity, KEY_VARIABLE};
use mizzen_agent::record::{ExitRecord, Outcome};

use crate::support::{AGENT, PATH, Scratch, is_gone, kill, wait_for_end};

/// One task of a step.
struct Task {
    attempt: PathBuf,
    key: String,
    command: Command,
}

impl Task {
    fn new(scratch: &Scratch, rank: u32, script: &str) -> Task {
        Task::with(scratch, rank, &[], &["sh", "-c", script])
    }

    fn with(scratch: &Scratch, rank: u32, options: &[&str], program: &[&str]) -> Task {
        // The job's own folder is there before any task.
        fs::create_dir_all(scratch.0.join("job")).unwrap();
        let attempt = scratch.0.join("job/attempts/1");
        let key = scratch.key("step");
        let mut command = Command::new(AGENT);
        command
            .arg("rank")
            .arg("--attempt")
            .arg(&attempt)
            .args(["--key", &key, "--name", "job"])
            .args(options)
            .arg("--")
            .args(program)
            .env_clear()
            .env("PATH", PATH)
            .env("SLURM_PROCID", rank.to_string())
            .current_dir(&scratch.0)
            .stdin(Stdio::null());
        Task {
            attempt,
            key,
            command,
        }
    }

    fn start(&mut self) -> Child {
        self.command.spawn().unwrap()
    }

    fn finish(&mut self) -> ExitStatus {
        end_of(&mut self.start())
    }

    fn record(&self, rank: u32) -> ExitRecord {
        let text = fs::read(self.attempt.join(format!("ranks/{rank}/{EXIT_RECORD}"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn log(&self, rank: u32) -> String {
        fs::read_to_string(self.attempt.join(format!("rank-{rank}.log"))).unwrap()
    }
}

fn end_of(agent: &mut Child) -> ExitStatus {
    wait_for_end(pid(agent));
    agent.wait().unwrap()
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn each_task_has_its_own_claim_record_and_log() {
    let scratch = Scratch::new();
    let mut first = Task::new(&scratch, 0, "echo zero");
    let mut last = Task::new(&scratch, 17, "echo seventeen; echo bad >&2; exit 7");
    assert_eq!(first.finish().code(), Some(0));
    assert_eq!(last.finish().code(), Some(7));

    let record = first.record(0);
    assert_eq!(
        (record.outcome, record.ranks.len(), record.key.as_str()),
        (Outcome::Succeeded, 1, first.key.as_str())
    );
    let record = last.record(17);
    assert_eq!(
        (record.outcome, record.ranks[0].code, record.name.as_str()),
        (Outcome::Failed, Some(7), "job")
    );
    let failure = record.first_failure.unwrap();
    assert_eq!(
        (failure.rank, failure.last_lines),
        (0, vec!["seventeen".to_owned(), "bad".to_owned()]),
        "the one rank of its record is the first"
    );
    assert_eq!(first.log(0), "zero\n");

    let folder = last.attempt.join("ranks/17");
    let claim = fs::read_link(folder.join("agent")).unwrap();
    assert!(Identity::from_text(claim.to_str().unwrap()).is_some());
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(EXIT_RECORD)), 0o600);
    assert_eq!(mode(&last.attempt.join("rank-17.log")), 0o600);
    assert!(
        !last.attempt.join(EXIT_RECORD).exists(),
        "the attempt's own record is `conclude`'s"
    );
}

#[test]
fn a_task_runs_once() {
    let scratch = Scratch::new();
    let mut task = Task::new(&scratch, 3, "echo ran");
    assert_eq!(task.finish().code(), Some(0));
    assert_eq!(task.finish().code(), Some(75));
    assert_eq!(task.log(3), "ran\n");
    assert_eq!(task.record(3).outcome, Outcome::Succeeded);
}

#[test]
fn where_the_jobs_folder_is_gone_nothing_is_made_again() {
    let scratch = Scratch::new();
    let mut task = Task::new(&scratch, 0, "true");
    fs::remove_dir(scratch.0.join("job")).unwrap();
    assert_eq!(task.finish().code(), Some(75));
    assert!(!scratch.0.join("job").exists());
}

#[test]
fn the_environment_is_the_steps_own_and_torch_hears_what_slurm_says() {
    let scratch = Scratch::new();
    let mut task = Task::with(&scratch, 5, &[], &["env", "-0"]);
    task.command
        .env("ODD", OsStr::from_bytes(b"\xff\xfe"))
        .env("SLURM_NTASKS", "8")
        .env("SLURM_LOCALID", "1")
        .env("SLURM_NODEID", "1")
        .env("SLURM_STEP_TASKS_PER_NODE", "4(x2)")
        .env("MASTER_ADDR", "head")
        .env("WORLD_SIZE", "mine");
    assert_eq!(task.finish().code(), Some(0));
    let log = fs::read(task.attempt.join("rank-5.log")).unwrap();
    let key = format!("{KEY_VARIABLE}={}", task.key);
    let expected: [&[u8]; 8] = [
        b"ODD=\xff\xfe",
        b"MASTER_ADDR=head",
        b"WORLD_SIZE=mine",
        b"RANK=5",
        b"LOCAL_RANK=1",
        b"LOCAL_WORLD_SIZE=4",
        b"NODE_RANK=1",
        key.as_bytes(),
    ];
    let entries: Vec<&[u8]> = log.split(|byte| *byte == 0).collect();
    for variable in expected {
        assert!(
            entries.contains(&variable),
            "{} is missing",
            String::from_utf8_lossy(variable)
        );
    }
}

#[test]
fn descriptors_of_the_launcher_reach_the_program() {
    let scratch = Scratch::new();
    let mut said = scratch.fifo("said");
    // As Slurm's PMI-2 does it: a socket whose number stands in a variable.
    let file = fs::File::options().write(true).open(&said.path).unwrap();
    let number = file.as_raw_fd();
    nix::fcntl::fcntl(
        &file,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    let mut task = Task::new(&scratch, 0, "echo here >/proc/self/fd/$PMI_FD");
    task.command.env("PMI_FD", number.to_string());
    assert_eq!(task.finish().code(), Some(0), "{}", task.log(0));
    assert_eq!(said.line(), "here");
}

#[test]
fn signals_reach_the_program_and_the_first_to_end_it_has_its_grace() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let script = format!(
        "trap 'echo usr1; echo heard >{0}' USR1; trap 'echo saving; exit 0' TERM; \
         echo up >{0}; while :; do sleep 1000 & wait $!; done",
        ready.path
    );
    let mut task = Task::new(&scratch, 2, &script);
    let mut agent = task.start();
    assert_eq!(ready.line(), "up");
    kill(pid(&agent), libc::SIGUSR1);
    assert_eq!(ready.line(), "heard");
    kill(pid(&agent), libc::SIGTERM);
    assert_eq!(end_of(&mut agent).code(), Some(128 + libc::SIGTERM));
    let record = task.record(2);
    assert_eq!(
        (record.outcome, record.ranks[0].code),
        (Outcome::Interrupted, Some(0))
    );
    // The shell says of its own what became of what it waited for.
    let log = task.log(2);
    let said: Vec<&str> = log
        .lines()
        .filter(|line| ["usr1", "saving"].contains(line))
        .collect();
    assert_eq!(said, ["usr1", "saving"]);
}

#[test]
fn what_ignores_the_signal_is_killed_and_nothing_is_left() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let script = format!(
        "trap '' TERM; setsid sh -c 'echo $$ >{0}; exec sleep 1000' & sleep 1000",
        ready.path
    );
    let mut task = Task::with(&scratch, 0, &["--grace", "0.2"], &["sh", "-c", &script]);
    let mut agent = task.start();
    let straggler = ready.pid();
    kill(pid(&agent), libc::SIGTERM);
    end_of(&mut agent);
    assert!(is_gone(straggler));
    assert_eq!(task.record(0).outcome, Outcome::Interrupted);
}

#[test]
fn a_rank_that_a_launcher_ended_before_its_agent_heard_was_interrupted() {
    let scratch = Scratch::new();
    let mut ready = scratch.fifo("ready");
    let script = format!("echo $$ >{}; exec sleep 1000", ready.path);
    let mut task = Task::new(&scratch, 0, &script);
    let mut agent = task.start();
    let rank = ready.pid();
    kill(rank, libc::SIGTERM);
    kill(pid(&agent), libc::SIGTERM);
    end_of(&mut agent);
    assert_eq!(task.record(0).outcome, Outcome::Interrupted);
}

#[test]
fn a_rank_that_only_somebody_else_ended_has_failed() {
    let scratch = Scratch::new();
    let mut task = Task::new(&scratch, 0, "kill -TERM $$");
    assert_eq!(task.finish().code(), Some(128 + libc::SIGTERM));
    assert_eq!(task.record(0).outcome, Outcome::Failed);
}

#[test]
fn a_timeout_and_a_program_that_is_not_there() {
    let scratch = Scratch::new();
    let mut late = Task::with(&scratch, 0, &["--timeout", "0.1"], &["sleep", "1000"]);
    assert_eq!(late.finish().code(), Some(124));
    assert_eq!(late.record(0).outcome, Outcome::TimedOut);
    let mut missing = Task::with(&scratch, 1, &[], &["no-such-program"]);
    assert_eq!(missing.finish().code(), Some(127));
    let record = missing.record(1);
    assert_eq!(record.outcome, Outcome::LaunchFailed);
    assert_eq!(
        record.ranks[0].error.as_deref(),
        Some("no-such-program: no such program in PATH")
    );
}

#[test]
fn a_rank_that_was_killed_with_its_agent_was_started_all_the_same() {
    let table = [
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.",
            Outcome::OutOfMemory,
        ),
        ("srun: error: node1: task 0: Killed", Outcome::Failed),
    ];
    // Both wait for records that never come: at the same time.
    let begun = table.map(|(words, outcome)| {
        let scratch = Scratch::new();
        let mut ready = scratch.fifo("ready");
        let script = format!("echo step 42; echo $$ >{}; exec sleep 1000", ready.path);
        let mut task = Task::new(&scratch, 0, &script);
        let mut agent = task.start();
        let rank = ready.pid();
        kill(pid(&agent), libc::SIGKILL);
        end_of(&mut agent);
        wait_for_end(rank);
        fs::write(scratch.0.join("srun.out"), words).unwrap();
        let conclude = Command::new(AGENT)
            .arg("conclude")
            .arg("--attempt")
            .arg(&task.attempt)
            .args(["--key", &task.key, "--name", "job", "--ranks", "1"])
            .args(["--status", "137", "--log", &scratch.text("srun.out")])
            .spawn();
        (words, outcome, scratch, task, conclude.unwrap())
    });
    for (words, outcome, _scratch, task, mut conclude) in begun {
        assert_eq!(end_of(&mut conclude).code(), Some(0));
        let text = fs::read(task.attempt.join(EXIT_RECORD)).unwrap();
        let record: ExitRecord = serde_json::from_slice(&text).unwrap();
        assert_eq!(record.outcome, outcome);
        assert_eq!(record.first_failure.unwrap().last_lines, ["step 42", words]);
    }
}

#[test]
fn the_ranks_number_may_be_given_and_wrong_usage_is_said() {
    let scratch = Scratch::new();
    let mut task = Task::with(&scratch, 1, &["--rank", "4"], &["true"]);
    assert_eq!(task.finish().code(), Some(0));
    assert_eq!(task.record(4).outcome, Outcome::Succeeded);
    for arguments in [
        &["rank"][..],
        &["rank", "--attempt", "/x", "--key", "k", "--name", "n"],
        &[
            "rank",
            "--attempt",
            "/x",
            "--key",
            "k",
            "--name",
            "n",
            "--rank",
            "-1",
            "--",
            "true",
        ],
    ] {
        let output = Command::new(AGENT).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
