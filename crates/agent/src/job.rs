//! The job in hand: from the claim to the exit records.
//!
//! ```text
//! begin: devices ─▶ claim ─▶ logs ─▶ start the ranks in order
//!                                        │
//!          ┌─────────────────────────────▼─────────────┐   first failure · leader · timeout ·
//!          │ running: ranks live, children are reaped  │◀─ cancel · signal: end() sends the first
//!          └─────────────────────────────┬─────────────┘   signal, SIGKILL after the grace period
//!                         the last rank ended
//!                                        ▼
//!                         sweep: nothing of it is left ─▶ finish: records, devices free
//! ```
//!
//! Nothing here waits; `agent` calls in when a child ended, a command came or `deadline` has passed.
//! Pitfall: a rank is signalled only until its end was taken by wait4(2); afterwards its number may be somebody else's.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{HEARTBEAT, Identity, Job, KEY_VARIABLE, Member, Refusal};
use mizzen_agent::record::{ExitRecord, FirstFailure, Outcome, RECORD_VERSION, RankExit};

use crate::claim::{ClaimError, Claims};
use crate::clock::{now_micros, seconds};
use crate::code;
use crate::devices::{DeviceError, HeldDevices};
use crate::oom::OomCounter;
use crate::program::{LaunchError, Program};
use crate::reap::{Look, Sweep, ToldGroups};
use crate::sampling::{Facts, Sampling};
use crate::spawn::Spawner;
use crate::sys::{self, ChildEnd, How, Usage, Waited};
use crate::tail::last_lines;
use crate::verdict::{Reason, Verdict};

/// No heartbeat comes more often than this.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);
/// A shell reports a command that died by SIGKILL with this status.
const SHELL_KILLED: i32 = 128 + libc::SIGKILL;

/// What a job needs of its agent.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) identity: Identity,
    /// The identity as a claim has it.
    pub(crate) claim_text: String,
    pub(crate) spawner: Spawner,
    pub(crate) oom: OomCounter,
}

/// What came of a job that was to be begun.
#[derive(Debug)]
pub(crate) enum Begun {
    InHand(Box<JobInHand>),
    Taken { by: String },
    Refused(Refusal),
}

/// A claimed job.
#[derive(Debug)]
pub(crate) struct JobInHand {
    job: Job,
    devices: HeldDevices,
    verdict: Verdict,
    /// The ranks that have not been waited for, by pid.
    live: HashMap<i32, LiveRank>,
    tallies: Vec<Tally>,
    all_started: bool,
    started_at: i64,
    grace: Duration,
    timeout_at: Option<Instant>,
    kill_at: Option<Instant>,
    heartbeat_at: Option<Instant>,
    sampling: Sampling,
    /// What the sweep must know of the signals before it.
    groups: ToldGroups,
    /// There once the last rank has ended, if something is left.
    sweep: Option<Sweep>,
    /// SIGKILL was asked for: leftovers get no grace period either.
    impatient: bool,
    oom_kills_before: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct LiveRank {
    member: usize,
    rank: usize,
    /// The agent has sent it SIGKILL.
    killed: bool,
}

/// What is summed up for one member.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    usage: Usage,
    /// When the first rank was started.
    started: Option<i64>,
    /// When the last process was gone.
    ended: i64,
}

/// A failure to start, and where.
struct FailedStart {
    member: usize,
    rank: usize,
    error: LaunchError,
}

impl JobInHand {
    /// Takes devices, claims the attempts and starts every rank; or does nothing at all.
    pub(crate) fn begin(job: Job, tools: &Tools) -> Begun {
        let devices = match job.devices.as_ref().map(HeldDevices::take).transpose() {
            Ok(devices) => devices.unwrap_or_default(),
            Err(DeviceError::Busy { free }) => {
                return Begun::Refused(Refusal::DevicesBusy { free });
            }
            Err(DeviceError::Storage { path, error }) => return storage(&path, &error),
        };
        let claims = match Claims::make(&job.members, &tools.claim_text) {
            Ok(claims) => claims,
            Err(ClaimError::Taken(by)) => return Begun::Taken { by },
            Err(ClaimError::Storage { path, error }) => return storage(&path, &error),
        };
        let logs = match open_logs(&job) {
            Ok(logs) => logs,
            Err((path, error)) => {
                claims.undo();
                return storage(&path, &error);
            }
        };
        let mut in_hand = Box::new(JobInHand {
            devices,
            verdict: Verdict::new(&job),
            live: HashMap::new(),
            tallies: vec![Tally::default(); job.members.len()],
            all_started: false,
            started_at: now_micros(),
            grace: seconds(job.grace),
            timeout_at: None,
            kill_at: None,
            heartbeat_at: None,
            sampling: Sampling::new(Instant::now()),
            groups: ToldGroups::default(),
            sweep: None,
            impatient: false,
            oom_kills_before: tools.oom.read(),
            job,
        });
        match in_hand.start_ranks(&logs, &tools.spawner) {
            Ok(()) => in_hand.all_started = true,
            Err(failed) => in_hand.launch_failed(&failed),
        }
        // All clocks of the job start when its ranks have.
        let now = Instant::now();
        in_hand.timeout_at = in_hand.job.timeout.map(|timeout| now + seconds(timeout));
        in_hand.heartbeat_at = in_hand.heartbeat().map(|period| now + period);
        Begun::InHand(in_hand)
    }

    pub(crate) fn key(&self) -> &str {
        &self.job.key
    }

    pub(crate) fn all_started(&self) -> bool {
        self.all_started
    }

    pub(crate) fn started_at(&self) -> i64 {
        self.started_at
    }

    pub(crate) fn devices(&self) -> &[String] {
        &self.devices.names
    }

    /// No rank lives any more; what is left is swept.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.live.is_empty()
    }

    fn heartbeat(&self) -> Option<Duration> {
        let period = seconds(self.job.heartbeat);
        (!period.is_zero()).then(|| period.max(SHORTEST_HEARTBEAT))
    }

    /// Makes all programs ready before the first one starts: a misspelt name on the last rank starts nothing.
    fn start_ranks(&mut self, logs: &[Vec<File>], spawner: &Spawner) -> Result<(), FailedStart> {
        let devices = self.devices.names.join(",");
        let mut own = vec![(KEY_VARIABLE, self.job.key.as_str())];
        if self.job.devices.is_some() {
            own.push(("CUDA_VISIBLE_DEVICES", &devices));
        }
        let mut programs = Vec::new();
        for (member, described) in self.job.members.iter().enumerate() {
            if let Some(code) = &described.code {
                code::put(code).map_err(|reason| FailedStart {
                    member,
                    rank: 0,
                    error: LaunchError::Code(reason),
                })?;
            }
            for (rank, command) in described.ranks.iter().enumerate() {
                let program = Program::prepare(described, command, &own);
                programs.push((
                    member,
                    rank,
                    program.map_err(|error| FailedStart {
                        member,
                        rank,
                        error,
                    })?,
                ));
            }
        }
        for (member, rank, program) in programs {
            let started = spawner.spawn(&program, logs[member][rank].as_fd());
            let pid = started.map_err(|error| FailedStart {
                member,
                rank,
                error,
            })?;
            self.live.insert(
                pid,
                LiveRank {
                    member,
                    rank,
                    killed: false,
                },
            );
            self.tallies[member].started.get_or_insert_with(now_micros);
        }
        Ok(())
    }

    fn launch_failed(&mut self, failed: &FailedStart) {
        let exit = RankExit {
            code: None,
            signal: None,
            error: Some(failed.error.to_string()),
            ended: now_micros(),
            host: None,
        };
        if self
            .verdict
            .rank_ended(failed.member, failed.rank, exit, Outcome::LaunchFailed)
        {
            self.end_ranks(libc::SIGTERM);
        }
    }

    /// Takes every child that has ended. True once nothing of the job is left.
    pub(crate) fn reap(&mut self, oom: &OomCounter, abandoned: &mut HashSet<i32>) -> Reaped {
        let childless = loop {
            self.sampling.before_wait();
            match sys::wait_any() {
                Waited::Ended(ended) => self.child_ended(&ended, oom, abandoned),
                Waited::NoneEnded => break false,
                Waited::NoChildren => break true,
            }
        };
        if !self.live.is_empty() {
            return Reaped::NotYet;
        }
        if childless {
            return Reaped::Done;
        }
        let now = Instant::now();
        let grace = if self.impatient {
            Duration::ZERO
        } else {
            self.grace
        };
        let kill_at = self.kill_at;
        let sweep = self
            .sweep
            .get_or_insert_with(|| Sweep::new(now, grace, kill_at));
        match sweep.look(now, abandoned, &self.groups) {
            Look::NotYet => Reaped::NotYet,
            Look::Done => Reaped::Done,
            Look::GivenUp(left) => {
                abandoned.extend(&left);
                Reaped::GivenUp(left)
            }
        }
    }

    fn child_ended(&mut self, ended: &ChildEnd, oom: &OomCounter, abandoned: &mut HashSet<i32>) {
        if abandoned.remove(&ended.pid) {
            return;
        }
        let live = self.live.remove(&ended.pid);
        let member = live.map_or(0, |live| live.member);
        self.sampling.child_ended(ended.pid, member);
        let Some(live) = live else {
            // What no rank waited for is charged to the first member.
            if let Some(tally) = self.tallies.first_mut() {
                tally.usage.add(ended.usage);
                if self
                    .sweep
                    .as_mut()
                    .is_some_and(|sweep| sweep.child_ended(ended.pid))
                {
                    tally.ended = now_micros();
                }
            }
            return;
        };
        let time = now_micros();
        let tally = &mut self.tallies[live.member];
        tally.usage.add(ended.usage);
        tally.ended = tally.ended.max(time);
        let killed = matches!(
            ended.how,
            How::Signal(libc::SIGKILL) | How::Code(SHELL_KILLED)
        );
        let out_of_memory = killed && !live.killed && oom.read() > self.oom_kills_before;
        let failed_as = if out_of_memory {
            Outcome::OutOfMemory
        } else {
            Outcome::Failed
        };
        let (code, signal) = match ended.how {
            How::Code(code) => (Some(code), None),
            How::Signal(signal) => (None, Some(signal)),
        };
        let exit = RankExit {
            code,
            signal,
            error: None,
            ended: time,
            host: None,
        };
        if self
            .verdict
            .rank_ended(live.member, live.rank, exit, failed_as)
        {
            self.end_ranks(libc::SIGTERM);
        }
    }

    /// The supervisor wants the job to end; the second time it means at once.
    pub(crate) fn cancel(&mut self, signal: i32, immediately: bool) {
        let again = self.verdict.reason() == Some(Reason::Cancelled);
        self.verdict_end(Reason::Cancelled);
        if immediately || again {
            self.kill_ranks();
            if let Some(sweep) = &mut self.sweep {
                sweep.kill_now(Instant::now());
            }
        } else {
            self.end_ranks(signal);
        }
    }

    /// The agent was told to end by this signal.
    pub(crate) fn interrupt(&mut self, signal: i32) {
        self.verdict_end(Reason::Interrupted(signal));
        self.end_ranks(signal);
    }

    /// A job whose last rank has ended needs no reason any more: its verdicts stand.
    fn verdict_end(&mut self, reason: Reason) {
        if !self.live.is_empty() {
            self.verdict.end(reason);
        }
    }

    /// Passes a signal to every rank's process group.
    pub(crate) fn forward(&mut self, signal: i32) {
        for (pid, rank) in &mut self.live {
            if signal == libc::SIGKILL {
                rank.killed = true;
                self.groups.killed.insert(*pid);
            }
            // Errors are left aside: a number that is no signal, or processes of another user, which only they can end.
            let _ = sys::signal_group(*pid, signal);
        }
    }

    /// The first signal to all that live, and the start of the grace period if it isn't running yet.
    fn end_ranks(&mut self, signal: i32) {
        self.forward(signal);
        // A stopped process takes no signal but SIGKILL before it goes on.
        self.forward(libc::SIGCONT);
        for pid in self.live.keys() {
            self.groups.told.entry(*pid).or_insert(signal);
        }
        if !self.live.is_empty() {
            self.kill_at
                .get_or_insert_with(|| Instant::now() + self.grace);
        }
    }

    fn kill_ranks(&mut self) {
        self.impatient = true;
        self.kill_at = None;
        self.forward(libc::SIGKILL);
    }

    /// When [`JobInHand::tick`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let running = !self.live.is_empty();
        let timeout_at = self
            .timeout_at
            .filter(|_| running && self.verdict.reason().is_none());
        let kill_at = self.kill_at.filter(|_| running);
        let sweep_at = self.sweep.as_ref().map(Sweep::deadline);
        let sample_at = running.then(|| self.sampling.deadline());
        [timeout_at, kill_at, self.heartbeat_at, sweep_at, sample_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due, but for the sweep, which is [`JobInHand::reap`]'s.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !self.live.is_empty() {
            if due(self.timeout_at) && self.verdict.end(Reason::TimedOut) {
                self.end_ranks(libc::SIGTERM);
            }
            if due(self.kill_at) {
                self.kill_at = None;
                self.forward(libc::SIGKILL);
            }
        }
        if due(self.heartbeat_at) {
            self.heartbeat_at = self.heartbeat().map(|period| now + period);
            for member in &self.job.members {
                // A full disk must not end a job; a missing heartbeat is no verdict.
                let _ = sys::touch(&Path::new(&member.attempt_dir).join(HEARTBEAT));
            }
        }
    }

    /// Takes a sample of what the job uses, if one is due. `nobodys`: children of the agent that are no job's.
    pub(crate) fn sample(&mut self, now: Instant, tools: &Tools, nobodys: &mut HashSet<i32>) {
        if self.live.is_empty() || now < self.sampling.deadline() {
            return;
        }
        let ranks = self.live.iter().map(|(pid, rank)| (*pid, rank.member));
        let facts = Facts {
            job: &self.job,
            devices: &self.devices.names,
            host: &tools.identity.host,
            ranks: ranks.collect(),
            ended: self.tallies.iter().map(|tally| tally.usage).collect(),
            spawner: &tools.spawner,
        };
        self.sampling.look(now, &facts, nobodys);
    }

    /// The records of all members, each with its attempt's folder, and the devices, which are free once dropped.
    pub(crate) fn finish(mut self, identity: &Identity) -> Finished {
        let now = now_micros();
        let stragglers = self.sweep.as_ref().map_or(0, Sweep::stragglers);
        let mut records = Vec::with_capacity(self.job.members.len());
        for (index, member) in self.job.members.iter().enumerate() {
            let tally = self.tallies[index];
            let folder = PathBuf::from(&member.attempt_dir);
            let first_failure = self.verdict.first_failure(index).map(|rank| FirstFailure {
                rank: u32::try_from(rank).unwrap_or(u32::MAX),
                last_lines: last_lines(&log_path(member, rank)),
                ..FirstFailure::default()
            });
            let ended = if tally.ended == 0 { now } else { tally.ended };
            let not_started = RankExit {
                code: None,
                signal: None,
                error: Some("not started, because another rank could not be".to_owned()),
                ended,
                host: None,
            };
            let lasted = tally
                .started
                .map_or(0.0, |started| (ended - started) as f64 / 1e6);
            let record = ExitRecord {
                version: RECORD_VERSION,
                key: self.job.key.clone(),
                name: member.name.clone(),
                host: identity.host.clone(),
                outcome: self.verdict.outcome(index),
                started: tally.started.unwrap_or(ended),
                ended,
                user_seconds: tally.usage.user_seconds,
                system_seconds: tally.usage.system_seconds,
                peak_memory: tally.usage.peak_memory,
                ranks: self.verdict.ranks(index, &not_started),
                first_failure,
                devices: self.devices.names.clone(),
                stragglers: if index == 0 { stragglers } else { 0 },
                nodes: Vec::new(),
                restarts: Vec::new(),
                usage: self.sampling.finish(index, lasted, tally.usage),
            };
            records.push((folder, record));
        }
        Finished {
            key: self.job.key,
            reason: self.verdict.reason(),
            records,
            devices: self.devices,
        }
    }
}

/// What [`JobInHand::reap`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reaped {
    NotYet,
    /// Nothing of the job is left.
    Done,
    /// Nothing is left but these, which nobody can end.
    GivenUp(Vec<i32>),
}

/// A job that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) key: String,
    pub(crate) reason: Option<Reason>,
    pub(crate) records: Vec<(PathBuf, ExitRecord)>,
    pub(crate) devices: HeldDevices,
}

fn storage(path: &Path, error: &std::io::Error) -> Begun {
    Begun::Refused(Refusal::Storage(format!("{}: {error}", path.display())))
}

fn log_path(member: &Member, rank: usize) -> PathBuf {
    let folder = member.log_dir.as_ref().unwrap_or(&member.attempt_dir);
    let number = member.first_rank as usize + rank;
    Path::new(folder).join(format!("rank-{number}.log"))
}

/// One file for both outputs of a rank, opened once: what comes first stands first.
fn open_logs(job: &Job) -> Result<Vec<Vec<File>>, (PathBuf, std::io::Error)> {
    let open = |member: &Member, rank| {
        let path = log_path(member, rank);
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| (path, error))
    };
    let member = |member: &Member| {
        (0..member.ranks.len())
            .map(|rank| open(member, rank))
            .collect()
    };
    job.members.iter().map(member).collect()
}
