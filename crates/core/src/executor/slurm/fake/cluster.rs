//! The virtual cluster: its jobs, its nodes, its time.
//!
//! Time is a number that only [`Cluster::advance`] moves: from event to event (a job's end, its limit, a time to begin,
//! a look of the scheduler), so that an hour costs as much as what happens in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mizzen_agent::record::Outcome;

use super::files::{self, Member};
use super::job::{Dependency, DependencyKind, Job, Phase, Run, Unit, Work, WorkEnd};
use super::{Accounting, Settings};
use crate::context::Clock;
use crate::model::Timestamp;

/// A second, in the clock's unit.
pub(super) const SECOND: i64 = 1_000_000;
/// How often the scheduler looks.
const LOOK: i64 = SECOND;
/// How long nodes are cleaned after a job was ended from outside.
const CLEANING: i64 = SECOND;

/// The virtual time, as a clock.
#[derive(Debug)]
pub struct FakeClock(pub(super) AtomicI64);

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// What a job does, by its key and attempt.
pub(super) type Plan = Box<dyn Fn(&str, u32) -> Work + Send>;

/// Something that was accepted by sbatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The job's number, the array's for its tasks.
    pub id: u32,
    /// The comment.
    pub comment: String,
    /// The script, as it was given.
    pub script: String,
    /// How many tasks it has, if it is an array.
    pub tasks: Option<usize>,
    /// The dependencies, as they were given.
    pub dependency: String,
}

pub(super) struct Cluster {
    pub(super) clock: Arc<FakeClock>,
    pub(super) settings: Settings,
    pub(super) jobs: Vec<Job>,
    /// What the accounting keeps when the controller has forgotten it.
    pub(super) archive: Vec<Job>,
    pub(super) next: u32,
    pub(super) down: BTreeSet<String>,
    pub(super) accepted: Vec<Accepted>,
    /// Attempts' folders by how often a job has begun to run them.
    pub(super) runs: BTreeMap<String, u32>,
    pub(super) units: BTreeMap<String, Vec<Member>>,
    pub(super) plan: Plan,
    /// Files that are written later: when, where, what.
    late: Vec<(i64, camino::Utf8PathBuf, String)>,
    /// When the scheduler looks next.
    look: Option<i64>,
}

impl Cluster {
    pub(super) fn new(settings: Settings) -> Cluster {
        // 2026-01-01T00:00:00Z.
        let clock = Arc::new(FakeClock(AtomicI64::new(1_767_225_600 * SECOND)));
        Cluster {
            clock,
            next: settings.first_id,
            settings,
            jobs: Vec::new(),
            archive: Vec::new(),
            down: BTreeSet::new(),
            accepted: Vec::new(),
            runs: BTreeMap::new(),
            units: BTreeMap::new(),
            plan: Box::new(|_, _| Work::default()),
            late: Vec::new(),
            look: None,
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    pub(super) fn number(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The scheduler looks soon.
    pub(super) fn wake(&mut self) {
        let soon = self.now() + LOOK;
        self.look = Some(self.look.map_or(soon, |look| look.min(soon)));
    }

    pub(super) fn advance(&mut self, by: i64) {
        let end = self.now() + by;
        while let Some(event) = self.next_event().filter(|event| *event <= end) {
            self.clock.0.store(event.max(self.now()), Ordering::SeqCst);
            self.happen();
        }
        self.clock.0.store(end, Ordering::SeqCst);
    }

    fn next_event(&self) -> Option<i64> {
        let age = self.settings.min_job_age;
        self.jobs
            .iter()
            .filter_map(|job| match job.phase {
                Phase::Pending => (job.begin > self.now()).then_some(job.begin),
                Phase::Running | Phase::Completing => job.due,
                Phase::Ended => job.forgotten(age),
            })
            .chain(self.look)
            .chain(self.late.iter().map(|(at, ..)| *at))
            .min()
    }

    fn happen(&mut self) {
        let now = self.now();
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.late = later;
        for (_, path, text) in due {
            files::write(&path, &text);
        }
        for number in 0..self.jobs.len() {
            let job = &self.jobs[number];
            let due = job.due.is_some_and(|due| due <= now);
            match job.phase {
                Phase::Running if due => self.end_of_work(number),
                Phase::Completing if due => self.cleaned(number),
                Phase::Pending if job.begin == now => self.wake(),
                _ => {}
            }
        }
        let age = self.settings.min_job_age;
        let keeps = self.settings.accounting != Accounting::None;
        let archive = &mut self.archive;
        self.jobs.retain(|job| {
            let gone = job.forgotten(age).is_some_and(|at| at <= now);
            if gone && keeps {
                archive.push(job.clone());
            }
            !gone
        });
        if self.look.is_some_and(|look| look <= now) {
            self.look = None;
            self.schedule();
        }
    }

    // --- scheduling ----------------------------------------------------------------------------------------------------

    fn nodes(&self) -> Vec<String> {
        (1..=self.settings.nodes)
            .map(|number| format!("n{number}"))
            .collect()
    }

    /// Starts what can be started, and says of the rest what it waits for.
    fn schedule(&mut self) {
        let now = self.now();
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        let mut running = 0;
        for job in &self.jobs {
            if matches!(job.phase, Phase::Running | Phase::Completing) {
                running += 1;
                for node in &job.nodes {
                    *load.entry(node.clone()).or_insert(0) += 1;
                }
            }
        }
        let mut full = false;
        let mut broken = Vec::new();
        for number in 0..self.jobs.len() {
            let job = &self.jobs[number];
            if job.phase != Phase::Pending {
                continue;
            }
            if job.held || job.begin > now {
                let reason = match job.held {
                    true if job.reason == HELD_REQUEUE => HELD_REQUEUE,
                    true => "JobHeldUser",
                    false => "BeginTime",
                };
                self.jobs[number].reason = reason.to_owned();
                continue;
            }
            match self.dependencies(job) {
                Met::Yes => {}
                Met::NotYet => {
                    self.jobs[number].reason = "Dependency".to_owned();
                    continue;
                }
                Met::Never => {
                    let kill = job.unit.kill_invalid;
                    self.jobs[number].reason = NEVER.to_owned();
                    if kill {
                        broken.push(number);
                    }
                    continue;
                }
            }
            let throttled = job.unit.throttle.is_some_and(|most| {
                let alike = |other: &&Job| {
                    other.phase == Phase::Running
                        && other.array.map(|(array, _)| array) == job.array.map(|(array, _)| array)
                };
                self.jobs.iter().filter(alike).count() >= most
            });
            if throttled {
                self.jobs[number].reason = "JobArrayTaskLimit".to_owned();
                continue;
            }
            if self
                .settings
                .max_running
                .is_some_and(|most| running >= most)
            {
                self.jobs[number].reason = "QOSMaxJobsPerUserLimit".to_owned();
                continue;
            }
            let wanted = job.unit.nodes as usize;
            if wanted > self.settings.nodes as usize {
                self.jobs[number].reason = "PartitionConfig".to_owned();
                continue;
            }
            let most = self.settings.jobs_per_node;
            let free: Vec<String> = self
                .nodes()
                .into_iter()
                .filter(|node| !self.down.contains(node) && !job.unit.exclude.contains(node))
                .filter(|node| load.get(node).is_none_or(|count| *count < most))
                .take(wanted)
                .collect();
            if free.len() < wanted {
                let reason = if full { "Priority" } else { "Resources" };
                full = true;
                self.jobs[number].reason = reason.to_owned();
                continue;
            }
            for node in &free {
                *load.entry(node.clone()).or_insert(0) += 1;
            }
            running += 1;
            self.start(number, free);
        }
        for number in broken {
            self.end_waiting(number);
        }
    }

    fn dependencies(&self, job: &Job) -> Met {
        let all: Vec<Met> = job
            .unit
            .dependencies
            .iter()
            .map(|dependency| self.dependency(dependency))
            .collect();
        if all.contains(&Met::Never) {
            Met::Never
        } else if all.contains(&Met::NotYet) {
            Met::NotYet
        } else {
            Met::Yes
        }
    }

    fn dependency(&self, dependency: &Dependency) -> Met {
        let mut met = Met::Yes;
        for (number, index) in &dependency.on {
            // What the controller has forgotten, or never knew, holds nobody up, however it has ended.
            for job in self.jobs.iter().filter(|job| job.is(*number, *index)) {
                let ended = job.phase == Phase::Ended;
                let well = job.word == "COMPLETED";
                met = met.min(match dependency.kind {
                    DependencyKind::Start if job.has_started() => Met::Yes,
                    DependencyKind::Any | DependencyKind::Ok | DependencyKind::NotOk if !ended => {
                        Met::NotYet
                    }
                    DependencyKind::Any => Met::Yes,
                    DependencyKind::Ok if well => Met::Yes,
                    DependencyKind::NotOk if !well => Met::Yes,
                    DependencyKind::Ok | DependencyKind::NotOk => Met::Never,
                    DependencyKind::Start => Met::NotYet,
                });
            }
        }
        met
    }

    // --- a job's life --------------------------------------------------------------------------------------------------

    /// A waiting task of an array gets a record of its own; the last one has the array's.
    fn split(&mut self, number: usize) {
        let job = &self.jobs[number];
        let Some((array, _)) = job.array.filter(|_| job.number.is_none()) else {
            return;
        };
        let waiting = self
            .jobs
            .iter()
            .filter(|other| other.number.is_none())
            .filter(|other| other.array.is_some_and(|(of, _)| of == array))
            .count();
        let own = if waiting == 1 { array } else { self.number() };
        self.jobs[number].number = Some(own);
    }

    fn start(&mut self, number: usize, nodes: Vec<String>) {
        self.split(number);
        let now = self.now();
        let members = self.members(number);
        let job = &self.jobs[number];
        let first = members.first();
        let key = first.map_or(job.comment.as_str(), |member| member.key.as_str());
        let attempt = first.map_or(1, |member| member.attempt) + job.restarts;
        let work = (self.plan)(key, attempt);
        let follows = job.het.is_some_and(|(_, offset)| offset > 0);
        let (claim, restarts) = (job.claim(), job.restarts);
        let mut taken = false;
        if !follows {
            for member in &members {
                match files::begin(member, restarts, &claim, &work, now) {
                    true => {
                        let path = member.attempt_dir(restarts).into_string();
                        *self.runs.entry(path).or_insert(0) += 1;
                    }
                    false => taken = true,
                }
            }
        }
        let by_work = now + (work.seconds * SECOND as f64) as i64;
        let job = &mut self.jobs[number];
        let due = match job.unit.limit {
            Some(limit) => by_work.min(now + limit),
            None => by_work,
        };
        job.phase = Phase::Running;
        job.word = "";
        job.waited = std::mem::replace(&mut job.reason, "None".to_owned());
        job.nodes = nodes;
        job.start = Some(now);
        job.end = None;
        job.due = Some(if taken { now + SECOND } else { due });
        job.taken = taken;
        job.work = work;
    }

    /// The members whose files a job writes: those that the test told of, else the one whose script it is.
    fn members(&self, number: usize) -> Vec<Member> {
        let job = &self.jobs[number];
        let Some(guessed) = files::guess(job) else {
            return Vec::new();
        };
        self.units
            .get(&guessed.key)
            .cloned()
            .unwrap_or_else(|| vec![guessed])
    }

    /// A job ends by itself, or its time is over.
    fn end_of_work(&mut self, number: usize) {
        let now = self.now();
        let job = &self.jobs[number];
        let by_work = job.start.unwrap_or(now) + (job.work.seconds * SECOND as f64) as i64;
        if job.taken {
            // The script says so and ends with this status.
            return self.finish(number, "FAILED", 75 << 8, "NonZeroExitCode", None);
        }
        if by_work > now {
            return self.finish(
                number,
                "TIMEOUT",
                15,
                "TimeLimit",
                Some(Outcome::Interrupted),
            );
        }
        match job.work.end {
            WorkEnd::Exits(0) => {
                self.finish(number, "COMPLETED", 0, "None", Some(Outcome::Succeeded));
            }
            WorkEnd::Exits(status) => {
                let reason = "NonZeroExitCode";
                self.finish(number, "FAILED", status << 8, reason, Some(Outcome::Failed));
            }
            WorkEnd::Killed(signal) => {
                self.finish(number, "FAILED", signal, "JobLaunchFailure", None);
            }
            WorkEnd::OutOfMemory => {
                let outcome = Some(Outcome::OutOfMemory);
                self.finish(number, "OUT_OF_MEMORY", 125 << 8, "OutOfMemory", outcome);
            }
        }
    }

    fn finish(
        &mut self,
        number: usize,
        word: &'static str,
        exit: i32,
        reason: &str,
        outcome: Option<Outcome>,
    ) {
        if let Some(outcome) = outcome {
            self.record(number, outcome, exit);
        }
        let now = self.now();
        let job = &mut self.jobs[number];
        job.phase = Phase::Ended;
        job.word = word;
        job.exit = exit;
        job.reason = reason.to_owned();
        job.end = Some(now);
        job.due = None;
        self.wake();
    }

    /// Writes the members' records, now or later.
    fn record(&mut self, number: usize, outcome: Outcome, exit: i32) {
        let job = &self.jobs[number];
        let follows = job.het.is_some_and(|(_, offset)| offset > 0);
        let Some(after) = job.work.record.filter(|_| !job.taken && !follows) else {
            return;
        };
        let (start, restarts) = (job.start.unwrap_or(self.now()), job.restarts);
        let host = job.nodes.first().cloned().unwrap_or_default();
        let at = self.now() + (after * SECOND as f64) as i64;
        for member in self.members(number) {
            let text = files::record(&member, &host, outcome, exit, start, self.now());
            let path = member.attempt_dir(restarts).join("exit.json");
            if at <= self.now() {
                files::write(&path, &text);
            } else {
                self.late.push((at, path, text));
            }
        }
    }

    /// A job is ended from outside while it runs: its nodes are cleaned first. `back`: it goes to the queue again; `run` is
    /// then the accounting's word for the run.
    fn stop(&mut self, number: usize, word: &'static str, exit: i32, recorded: bool, back: bool) {
        if recorded {
            self.record(number, Outcome::Interrupted, exit);
        }
        let now = self.now();
        let job = &mut self.jobs[number];
        if back {
            job.runs.push(Run {
                word: word.to_owned(),
                start: job.start,
                end: now,
                nodes: node_list(&job.nodes),
                exit: 0,
                reason: "None".to_owned(),
            });
            job.restarts += 1;
        } else {
            job.end = Some(now);
            job.exit = exit;
        }
        job.phase = Phase::Completing;
        job.word = word;
        job.back = back;
        job.due = Some(now + CLEANING);
    }

    fn cleaned(&mut self, number: usize) {
        let begin = self.now() + (self.settings.requeue_delay * SECOND as f64) as i64;
        let job = &mut self.jobs[number];
        job.due = None;
        if job.back {
            job.back = false;
            job.phase = Phase::Pending;
            job.word = "";
            job.nodes.clear();
            job.begin = begin;
            // Until then what a waiting job shows as its start is when it may begin.
            job.start = Some(begin);
            if job.reason != HELD_REQUEUE {
                job.reason = "BeginTime".to_owned();
            }
        } else {
            job.phase = Phase::Ended;
        }
        self.wake();
    }

    /// A waiting job is cancelled, by somebody or because it can't ever begin. Its reason stays.
    fn end_waiting(&mut self, number: usize) {
        let now = self.now();
        let job = &mut self.jobs[number];
        job.phase = Phase::Ended;
        job.word = "CANCELLED";
        job.start = Some(now);
        job.end = Some(now);
        job.exit = 0;
        self.wake();
    }

    /// As scancel does. `alone`: the task of an array was named by its index; while it waits, no trace of it is left then
    /// (tried with 22.05: neither squeue nor sacct knows it afterwards).
    pub(super) fn cancel(&mut self, number: usize, alone: bool) {
        match self.jobs[number].phase {
            Phase::Pending => {
                if alone && self.jobs[number].number.is_none() {
                    self.jobs[number].traceless = true;
                } else {
                    self.split(number);
                }
                self.end_waiting(number);
            }
            Phase::Running => self.stop(number, "CANCELLED", 15, true, false),
            Phase::Completing if self.jobs[number].back => {
                self.jobs[number].back = false;
                self.jobs[number].word = "CANCELLED";
                self.jobs[number].end = Some(self.now());
            }
            Phase::Completing | Phase::Ended => {}
        }
        self.jobs.retain(|job| !job.traceless);
    }

    /// As `scontrol requeue` and `requeuehold` do.
    ///
    /// # Errors
    /// What scontrol says.
    pub(super) fn requeue(&mut self, number: usize, hold: bool) -> Result<(), &'static str> {
        let job = &mut self.jobs[number];
        match job.phase {
            Phase::Pending => return Err("Job is pending execution"),
            _ if !job.unit.requeue => return Err("Requested operation is presently disabled"),
            Phase::Completing => return Err("Job/step already completing or completed"),
            Phase::Running | Phase::Ended => {}
        }
        if hold {
            job.held = true;
            job.reason = HELD_REQUEUE.to_owned();
        }
        if job.phase == Phase::Running {
            self.stop(number, "REQUEUED", 15, true, true);
        } else {
            let (word, now) = (job.word, self.now());
            self.stop(number, word, 0, false, true);
            self.jobs[number].due = Some(now);
            self.cleaned(number);
        }
        Ok(())
    }

    /// A job of higher priority takes the nodes.
    pub(super) fn preempt(&mut self, number: usize, requeue: bool) {
        if self.jobs[number].phase == Phase::Running {
            let back = requeue && self.jobs[number].unit.requeue;
            self.stop(number, "PREEMPTED", 15, true, back);
        }
    }

    /// A node breaks: what ran there goes back to the queue, or has failed. Nothing is written any more.
    pub(super) fn break_node(&mut self, node: &str) {
        self.down.insert(node.to_owned());
        for number in 0..self.jobs.len() {
            let job = &self.jobs[number];
            if job.phase != Phase::Running || !job.nodes.iter().any(|name| name == node) {
                continue;
            }
            let back = job.unit.requeue;
            self.stop(number, "NODE_FAIL", 0, false, back);
            self.cleaned(number);
            if !back {
                self.jobs[number].reason = "NodeDown".to_owned();
            }
        }
    }

    /// Makes a job's record for a unit.
    pub(super) fn add(&mut self, mut job: Job) {
        job.submitted = self.now();
        self.jobs.push(job);
        self.wake();
    }

    /// A job that waits.
    pub(super) fn waiting(unit: Arc<Unit>, comment: String, held: bool, begin: i64) -> Job {
        Job {
            number: None,
            array: None,
            het: None,
            unit,
            comment,
            phase: Phase::Pending,
            word: "",
            shown: None,
            held,
            restarts: 0,
            reason: if held { "JobHeldUser" } else { "None" }.to_owned(),
            nodes: Vec::new(),
            waited: String::new(),
            exit: 0,
            start: None,
            end: None,
            begin,
            due: None,
            work: Work::default(),
            back: false,
            taken: false,
            runs: Vec::new(),
            traceless: false,
            submitted: 0,
        }
    }
}

/// The reason of a job that somebody put back and holds.
const HELD_REQUEUE: &str = "job requeued in held state";
/// The reason of a job whose dependency has failed.
const NEVER: &str = "DependencyNeverSatisfied";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Never,
    NotYet,
    Yes,
}

/// Names as Slurm writes them: `n[1-3]`, `n[1,3]`. The names are `n` and a number.
pub(super) fn node_list(names: &[String]) -> String {
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| name.strip_prefix('n')?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let ranges = super::ranges(&numbers);
    match numbers.len() {
        0 => String::new(),
        1 => format!("n{ranges}"),
        _ => format!("n[{ranges}]"),
    }
}
