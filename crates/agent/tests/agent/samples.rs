//! What a job uses: told while it runs, and in its record.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use mizzen_agent::protocol::{Devices, Job};
use mizzen_agent::record::ExitRecord;
use mizzen_agent::samples::{Sample, Source, UsageSummary};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::support::{AGENT, Agent, LIMIT, PATH, Scratch, readable, wait_for_end};

const MIB: u64 = 1 << 20;

/// Waits until the newest sample in an attempt's folder is as it should be.
fn sampled(attempt: &Path, wanted: impl Fn(&UsageSummary) -> bool) -> UsageSummary {
    let news = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify");
    news.add_watch(attempt, AddWatchFlags::IN_MODIFY)
        .expect("a folder to watch");
    let began = Instant::now();
    loop {
        match UsageSummary::of_running(attempt) {
            Some(usage) if wanted(&usage) => return usage,
            usage => assert!(
                began.elapsed() < LIMIT && readable(news.as_fd()),
                "it stays at {usage:?}"
            ),
        }
        news.read_events().expect("events");
    }
}

/// Runs a job up to a sample that is as it should be, tells it to go on by a line, and hears of its end.
fn run(
    scratch: &Scratch,
    agent: &mut Agent,
    job: &Job,
    wanted: impl Fn(&UsageSummary) -> bool,
) -> (UsageSummary, ExitRecord) {
    agent.run(job);
    agent.started();
    let folder = Path::new(&job.members[0].attempt_dir);
    let running = sampled(folder, wanted);
    let lines = scratch.0.join("go");
    fs::write(lines, "on\non\non\non\n").expect("a FIFO that is read");
    (running, agent.ended().remove(0))
}

fn near(value: f64, wanted: f64, tolerance: f64) -> bool {
    (value - wanted).abs() <= tolerance
}

#[test]
fn a_short_job_has_no_samples_and_no_file() {
    let scratch = Scratch::new();
    let record = Agent::start().finish(&scratch.shell("short", "exit 0"));
    assert_eq!(record.usage, None);
    let usage = UsageSummary::of_record(&record);
    assert_eq!(usage.samples, 0);
    assert!(usage.memory_peak > 0 && usage.seconds > 0.0);
    assert!(!scratch.0.join("attempts/short/samples-0.jsonl").exists());
}

#[test]
fn processor_time_of_what_has_ended_stays_counted() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    // One after the other, each waited for by its parent, so that the sum must not fall when one ends.
    let burn = "timeout 1.5 sh -c 'while :; do :; done'";
    let script = format!("{burn}; {burn}; read line <go");
    let job = scratch.shell("burn", &script);
    let (running, record) = run(&scratch, &mut Agent::start(), &job, |usage| {
        usage.samples >= 2 && usage.seconds > 3.2
    });
    let used = record.user_seconds + record.system_seconds;
    assert!(used > 0.5, "{used} s on a machine that does nothing else");
    assert!(
        near(running.cpu_seconds, used, 0.2),
        "{running:?} of {used}"
    );
    let usage = record.usage.expect("samples");
    assert!(near(usage.cpu_seconds, used, 0.05), "{usage:?} of {used}");
    assert!(near(usage.cpu_mean, used / usage.seconds, 0.01));
    assert!(
        usage.cpu_peak >= usage.cpu_mean && usage.cpu_peak < 2.5,
        "{usage:?}"
    );
    let lines = fs::read_to_string(scratch.0.join("attempts/burn/samples-0.jsonl")).unwrap();
    let sums: Vec<f64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Sample>(line).unwrap())
        .map(|sample| sample.usage.unwrap().cpu_seconds)
        .collect();
    assert!(sums.is_sorted(), "{sums:?}");
}

#[test]
fn memory_of_all_processes_is_added_up() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    // Without a line end tail keeps all of it.
    let hold = "{ head -c 60M /dev/zero; read line <go; } | tail >/dev/null";
    let script = format!("{hold} & {hold} & wait");
    let job = scratch.shell("hold", &script);
    let (running, record) = run(&scratch, &mut Agent::start(), &job, |usage| {
        usage.memory_peak > 115 * MIB
    });
    assert!(running.processes_peak >= 5, "{running:?}");
    let usage = record.usage.expect("samples");
    let peak = usage.memory_peak / MIB;
    assert!((115..160).contains(&peak), "{peak} MiB");
    assert!(record.peak_memory < 100 * MIB, "each has half of it");
    assert!(usage.memory_mean <= usage.memory_peak && usage.memory_mean > 0);
    assert_eq!(usage.source, Source::Processes);
}

#[test]
fn what_processes_share_counts_once() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    let script = "text=$(head -c 100M /dev/zero | tr '\\0' x)
        for i in 1 2 3; do (read line <go) & done
        wait";
    let job = scratch.shell("share", script);
    let (running, record) = run(&scratch, &mut Agent::start(), &job, |usage| {
        usage.processes_peak == 4
    });
    let alone = record.peak_memory;
    assert!(alone > 95 * MIB, "{alone}");
    let peak = record.usage.expect("samples").memory_peak;
    assert!(
        peak < alone + 64 * MIB,
        "{} MiB for all, the largest alone {} MiB: {running:?}",
        peak / MIB,
        alone / MIB
    );
}

#[test]
fn what_is_read_and_written_is_counted_to_the_end() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    let write = "dd if=/dev/zero bs=1M count=16 conv=fsync 2>/dev/null of";
    let script = format!("{write}=one; read line <go; {write}=two; cksum one two");
    let job = scratch.shell("write", &script);
    let (running, record) = run(&scratch, &mut Agent::start(), &job, |usage| {
        usage.written >= 16 * MIB
    });
    assert!(running.written < 17 * MIB, "{running:?}");
    let usage = record.usage.expect("samples");
    assert!((32 * MIB..33 * MIB).contains(&usage.written), "{usage:?}");
    assert!((64 * MIB..66 * MIB).contains(&usage.read), "{usage:?}");
    // A file system in memory has no storage to write to.
    let disk = usage.disk_written;
    assert!(
        disk == 0 || (32 * MIB..34 * MIB).contains(&disk),
        "{usage:?}"
    );
}

#[test]
fn members_of_a_group_have_samples_of_their_own() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    let members = vec![
        scratch.member("idle", &["read line <go"]),
        // What it leaves behind stays its own while somebody lives of it.
        scratch.member(
            "busy",
            &["timeout 3 sh -c 'while :; do :; done'; read line <go"],
        ),
    ];
    let job = scratch.job("group", members);
    let mut agent = Agent::start();
    agent.run(&job);
    agent.started();
    let busy = sampled(&scratch.0.join("attempts/busy"), |usage| {
        usage.seconds > 3.5
    });
    let idle = sampled(&scratch.0.join("attempts/idle"), |usage| {
        usage.seconds > 3.5
    });
    assert!(
        busy.cpu_seconds > 0.5 && idle.cpu_seconds < 0.2,
        "{busy:?} {idle:?}"
    );
    fs::write(scratch.0.join("go"), "on\non\n").unwrap();
    let records = agent.ended();
    assert!(records.iter().all(|record| record.usage.is_some()));
}

#[test]
fn samples_that_cant_be_written_harm_nothing() {
    let scratch = Scratch::new();
    let job = scratch.shell("full", "timeout 1.5 sh -c 'while :; do :; done'; exit 0");
    fs::create_dir_all(scratch.0.join("attempts/full/samples-0.jsonl")).unwrap();
    let record = Agent::start().finish(&job);
    assert_eq!(record.ranks[0].code, Some(0));
    assert!(record.usage.expect("samples all the same").samples > 0);
}

fn with_gpus(scratch: &Scratch, script: &str) -> Job {
    let mut job = scratch.shell("gpu", script);
    job.devices = Some(Devices {
        count: 2,
        pool: vec!["0".to_owned(), "3".to_owned()],
        locks: scratch.text("locks"),
        shared: false,
    });
    job
}

#[test]
fn gpus_are_told_of_by_a_helper_that_is_no_part_of_the_job() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    let mut told = scratch.fifo("told");
    fs::create_dir_all(scratch.0.join("bin")).unwrap();
    let words = "echo $$ \"$@\" >>told
        echo 'something that is no line of numbers'
        echo '0, GPU-a, NVIDIA H100, 90, 1000, 80000'
        echo '3, GPU-b, NVIDIA H100, [N/A], 10, 80000'
        echo '0, GPU-a, NVIDIA H100, 70, 3000, 80000'
        printf '0, GPU-a, NVIDIA'
        exec tail -f /dev/null";
    let program = format!("#!/bin/sh\ncd '{}'\n{words}\n", scratch.text(""));
    scratch.script("bin/nvidia-smi", &program);
    let path = format!("{}:{PATH}", scratch.text("bin"));
    let mut agent = Agent::start_with(Command::new(AGENT).env("PATH", path));
    let job = with_gpus(&scratch, "read line <go");
    let (running, record) = run(&scratch, &mut agent, &job, |usage| !usage.gpus.is_empty());
    let words = told.line();
    let (helper, words) = words.split_once(' ').unwrap();
    assert!(words.ends_with("--id=0,3"), "{words}");
    let usage = record.usage.expect("samples");
    assert_eq!(running.gpus, usage.gpus);
    let [first, second] = &usage.gpus[..] else {
        panic!("two GPUs: {usage:?}");
    };
    assert_eq!(
        (first.index, &*first.uuid, &*first.name),
        (0, "GPU-a", "NVIDIA H100")
    );
    assert_eq!(first.host, agent.identity.host);
    assert_eq!(
        (first.utilization_mean, first.utilization_peak),
        (Some(80.0), Some(90.0))
    );
    assert_eq!(
        (first.memory_mean, first.memory_peak, first.memory_total),
        (2000 * MIB, 3000 * MIB, 80_000 * MIB)
    );
    assert_eq!(
        (second.utilization_mean, second.memory_peak),
        (None, 10 * MIB)
    );
    // It ends with the job, and is none of its stragglers.
    wait_for_end(helper.parse().unwrap());
    assert_eq!((record.stragglers, record.ranks[0].code), (0, Some(0)));
    // The agent takes the next job as if nothing had been.
    assert_eq!(agent.finish(&scratch.shell("next", "true")).stragglers, 0);
}

#[test]
fn a_helper_that_fails_and_one_that_is_missing_are_the_same() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("bin")).unwrap();
    let program = "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk to the driver.'\nexit 9\n";
    for (key, program) in [("broken", Some(program)), ("missing", None)] {
        if let Some(program) = program {
            scratch.script("bin/nvidia-smi", program);
        }
        let path = match program {
            Some(_) => format!("{}:{PATH}", scratch.text("bin")),
            None => scratch.text("nothing"),
        };
        let mut agent = Agent::start_with(Command::new(AGENT).env("PATH", path));
        let mut job = with_gpus(&scratch, "timeout 2.5 sh -c 'while :; do :; done'; exit 0");
        job.key = scratch.key(key);
        job.members[0].attempt_dir = scratch.text(&format!("attempts/{key}"));
        let record = agent.finish(&job);
        assert_eq!(
            (record.ranks[0].code, record.stragglers),
            (Some(0), 0),
            "{key}"
        );
        let usage = record.usage.expect("samples");
        assert!(
            usage.gpus.is_empty() && usage.cpu_seconds > 0.2,
            "{key}: {usage:?}"
        );
    }
}

#[test]
fn ranks_of_a_step_are_added_up() {
    let scratch = Scratch::new();
    let _go = scratch.fifo("go");
    let attempt = scratch.0.join("attempts/1");
    fs::create_dir_all(&attempt).unwrap();
    let ranks: Vec<_> = (0..2)
        .map(|number: u32| {
            Command::new(AGENT)
                .args(["rank", "--key", "k", "--name", "train", "--grace", "5"])
                .args(["--attempt", &scratch.text("attempts/1")])
                .args([
                    "--",
                    "sh",
                    "-c",
                    "head -c 1M /dev/zero >$RANK; read line <go",
                ])
                .env("SLURM_PROCID", number.to_string())
                .env("SLURM_NTASKS", "2")
                .current_dir(&scratch.0)
                .stdin(Stdio::null())
                .spawn()
                .expect("an agent")
        })
        .collect();
    sampled(&attempt, |usage| usage.written >= 2 * MIB);
    assert!(attempt.join("samples-rank-1.jsonl").exists());
    fs::write(scratch.0.join("go"), "on\non\n").unwrap();
    for mut rank in ranks {
        assert!(rank.wait().expect("an end").success());
    }
    let concluded = Command::new(AGENT)
        .args(["conclude", "--key", "k", "--name", "train", "--ranks", "2"])
        .args(["--status", "0", "--attempt", &scratch.text("attempts/1")])
        .status()
        .expect("an agent");
    assert!(concluded.success());
    let record = fs::read(attempt.join("exit.json")).unwrap();
    let record: ExitRecord = serde_json::from_slice(&record).unwrap();
    let usage = record.usage.expect("samples");
    assert!((2 * MIB..3 * MIB).contains(&usage.written));
    assert!(near(
        usage.cpu_seconds,
        record.user_seconds + record.system_seconds,
        0.05
    ));
}
