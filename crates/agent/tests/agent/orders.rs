//! `run FILE --once`: one job from a file that goes away, ended by what stands in its folder. As a container's first process, too.
#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::process::{Child, Command, Stdio};

use mizzen_agent::protocol::{END_FILE, EXIT_RECORD, Job};
use mizzen_agent::record::Outcome;

use crate::support::{AGENT, LIMIT, Scratch, kill, wait_for_end};

/// An agent with one job. Killed if the test forgets it.
struct Once(Child);

impl Once {
    fn start(scratch: &Scratch, job: &Job) -> Once {
        Once::start_by(Command::new(AGENT), scratch, job)
    }

    fn start_by(mut program: Command, scratch: &Scratch, job: &Job) -> Once {
        let file = scratch.text(&format!("{}.json", job.members[0].name));
        fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
        // Whoever sends a job makes its folder before.
        fs::create_dir_all(&job.members[0].attempt_dir).unwrap();
        program.args(["run", &file, "--once"]).env_clear();
        Once(program.stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn status(&mut self) -> Option<i32> {
        wait_for_end(self.pid());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn order(scratch: &Scratch, member: &str, text: &str) {
    let folder = scratch.0.join("attempts").join(member);
    let draft = folder.join("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, folder.join(END_FILE)).unwrap();
}

/// Says so when it runs, counts the signals that it gets, and ends at a word. A shell misses signals that come just before it reads;
/// `wait` misses none.
fn counting(told: &str, word: &str) -> String {
    format!(
        "n=0; trap 'n=$((n+1)); echo got $n; echo got >{told}' TERM; trap 'echo usr >{told}' USR1; \
         (trap '' TERM USR1; echo up >{told}; read line <{word}) & until wait $!; do :; done; echo all $n"
    )
}

#[test]
fn the_file_goes_away_and_the_second_start_takes_nothing() {
    let scratch = Scratch::new();
    let job = scratch.shell("job", "echo ran");
    assert_eq!(Once::start(&scratch, &job).status(), Some(0));
    assert!(!scratch.0.join("job.json").exists());
    let record = fs::read(scratch.0.join("attempts/job").join(EXIT_RECORD)).unwrap();
    // The same container started again finds no file; one that was made twice finds the claim.
    let mut again = Command::new(AGENT);
    again.args(["run", &scratch.text("job.json"), "--once"]);
    let again = again.stderr(Stdio::null()).status().unwrap();
    assert_eq!(again.code(), Some(75));
    assert_eq!(Once::start(&scratch, &job).status(), Some(75));
    let kept = fs::read(scratch.0.join("attempts/job").join(EXIT_RECORD)).unwrap();
    assert_eq!(kept, record);
    assert_eq!(scratch.log("job", 0), b"ran\n");
}

#[test]
fn a_signal_alone_interrupts() {
    let scratch = Scratch::new();
    let mut told = scratch.fifo("told");
    let job = scratch.shell("job", &format!("echo up >{}; exec sleep 600", told.path));
    let mut once = Once::start(&scratch, &job);
    told.line();
    kill(once.pid(), libc::SIGTERM);
    assert_eq!(once.status(), Some(128 + libc::SIGTERM));
    assert_eq!(scratch.record("job").unwrap().outcome, Outcome::Interrupted);
}

#[test]
fn the_folder_says_why_with_a_signal_and_without() {
    let scratch = Scratch::new();
    let wishes = [
        ("cancelled", Outcome::Cancelled),
        ("group-failed", Outcome::GroupFailed),
        ("group-ended", Outcome::GroupEnded),
    ];
    for (how, outcome) in wishes {
        for signal in [false, true] {
            let name = format!("{how}-{signal}");
            let mut told = scratch.fifo(&format!("told-{name}"));
            let job = scratch.shell(&name, &format!("echo up >{}; exec sleep 600", told.path));
            let mut once = Once::start(&scratch, &job);
            told.line();
            order(&scratch, &name, &format!(r#"{{"how":"{how}"}}"#));
            if signal {
                // It may have ended by then.
                // SAFETY: kill(2) takes two integers; the child was not waited for.
                unsafe { libc::kill(once.pid(), libc::SIGTERM) };
            }
            assert_eq!(once.status(), Some(0), "{name}");
            assert_eq!(scratch.record(&name).unwrap().outcome, outcome, "{name}");
        }
    }
}

#[test]
fn an_order_and_its_signal_are_one_wish() {
    let scratch = Scratch::new();
    let mut told = scratch.fifo("told");
    let word = scratch.fifo("word");
    let job = scratch.shell("job", &counting(&told.path, &word.path));
    let mut once = Once::start(&scratch, &job);
    assert_eq!(told.line(), "up");
    order(
        &scratch,
        "job",
        r#"{"how":"cancelled","immediately":false}"#,
    );
    // The file alone was enough; who wrote it now sends the signal, for agents that could not see the file.
    assert_eq!(told.line(), "got");
    kill(once.pid(), libc::SIGTERM);
    // Passed on in their order: once the second has reached the rank, the first has been dealt with.
    signal_is_taken(once.pid());
    kill(once.pid(), libc::SIGUSR1);
    assert_eq!(told.line(), "usr");
    word.write("end\n");
    assert_eq!(once.status(), Some(0));
    let log = String::from_utf8(scratch.log("job", 0)).unwrap();
    assert_eq!(log, "got 1\nall 1\n");
    assert_eq!(scratch.record("job").unwrap().outcome, Outcome::Cancelled);
}

/// Waits until no signal is pending for a process: it has read all.
fn signal_is_taken(pid: i32) {
    let give_up_at = std::time::Instant::now() + LIMIT;
    let pending = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let pending = |name| status.lines().find(|line| line.starts_with(name)).unwrap();
        crate::support::signals(pending("ShdPnd")) != 0
    };
    while pending() {
        assert!(std::time::Instant::now() < give_up_at, "not read");
        std::thread::yield_now();
    }
}

#[test]
fn a_second_order_may_be_less_patient() {
    let scratch = Scratch::new();
    let mut told = scratch.fifo("told");
    let word = scratch.fifo("word");
    let job = scratch.shell("job", &counting(&told.path, &word.path));
    let mut once = Once::start(&scratch, &job);
    assert_eq!(told.line(), "up");
    order(&scratch, "job", r#"{"how":"group-failed"}"#);
    assert_eq!(told.line(), "got");
    order(&scratch, "job", r#"{"how":"cancelled","immediately":true}"#);
    once.status();
    // The first reason counts.
    let record = scratch.record("job").unwrap();
    assert_eq!(record.outcome, Outcome::GroupFailed);
    assert_eq!(record.ranks[0].signal, Some(libc::SIGKILL));
}

#[test]
fn who_fails_tells_the_others_and_a_leader_does() {
    let scratch = Scratch::new();
    let ends = [
        ("exit 3", false, Outcome::GroupFailed),
        ("exit 0", true, Outcome::GroupEnded),
    ];
    for (script, leader, outcome) in ends {
        let (first, other) = (format!("first-{leader}"), format!("other-{leader}"));
        let mut told = scratch.fifo(&format!("told-{leader}"));
        let script_of_other = format!("echo up >{}; exec sleep 600", told.path);
        let mut other_job = scratch.shell(&other, &script_of_other);
        let mut job = scratch.shell(&first, script);
        job.members[0].leader = leader;
        job.peers = vec![
            scratch.text("attempts/not-there"),
            other_job.members[0].attempt_dir.clone(),
        ];
        other_job.peers = vec![job.members[0].attempt_dir.clone()];
        let mut peer = Once::start(&scratch, &other_job);
        told.line();
        Once::start(&scratch, &job).status();
        assert_eq!(peer.status(), Some(0), "{other}");
        assert_eq!(scratch.record(&other).unwrap().outcome, outcome);
        // Who was told tells nobody.
        assert!(
            !scratch
                .0
                .join("attempts")
                .join(&first)
                .join(END_FILE)
                .exists()
        );
        let left = fs::read_dir(scratch.0.join("attempts").join(&other)).unwrap();
        let drafts = left.flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("end.json.")
        });
        assert_eq!(drafts.count(), 0);
    }
}

#[test]
fn who_ends_well_and_leads_nobody_tells_nobody() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.text("attempts/other")).unwrap();
    let mut job = scratch.shell("job", "true");
    job.peers = vec![scratch.text("attempts/other")];
    assert_eq!(Once::start(&scratch, &job).status(), Some(0));
    assert!(!scratch.0.join("attempts/other").join(END_FILE).exists());
}

#[test]
fn it_is_the_first_process_of_a_container() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    let mut try_out = Command::new("unshare");
    try_out.args(["--pid", "--fork", "--mount-proc", "true"]);
    if !try_out
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        #[expect(clippy::disallowed_methods, reason = "a test asks where it runs")]
        let in_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(
            !in_ci,
            "no namespace can be made here, and CI skips nothing"
        );
        eprintln!("skipped: no namespace of processes can be made here");
        return;
    }
    let scratch = Scratch::new();
    let mut told = scratch.fifo("told");
    let word = scratch.fifo("word");
    // A grandchild whose parent is gone becomes the first process's, in a session of its own.
    let script = format!(
        "[ $PPID = 1 ] || exit 9; (setsid sh -c 'echo orphan >{0}; exec sleep 600' &); read line <{1}; exec sleep 600",
        told.path, word.path
    );
    let job = scratch.shell("job", &script);
    unshare.arg(AGENT);
    let mut once = Once::start_by(unshare, &scratch, &job);
    assert_eq!(told.line(), "orphan");
    word.write("go\n");
    order(&scratch, "job", r#"{"how":"cancelled"}"#);
    assert_eq!(once.status(), Some(0));
    let record = scratch.record("job").unwrap();
    assert_eq!((record.outcome, record.stragglers), (Outcome::Cancelled, 1));
    let claim = fs::read_link(scratch.0.join("attempts/job/agent")).unwrap();
    assert_eq!(claim.to_string_lossy().split(':').nth(1), Some("1"));
}
