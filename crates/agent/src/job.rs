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
//! Where ranks are one world, what their ends mean is the world's to say; `worlds` does what it wants.
//! Pitfall: a rank is signalled only until its end was taken by wait4(2); afterwards its number may be somebody else's.

mod worlds;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{
    EndHow, EndOrder, HEARTBEAT, Identity, Job, KEY_VARIABLE, Member, Refusal,
};
use mizzen_agent::record::{ExitRecord, FirstFailure, Outcome, RECORD_VERSION, RankExit};

use crate::blame::{self, Papers};
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
use crate::verdict::{Reason, Verdict};
use crate::world::{Farewell, Stacks, WorldInHand};

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
    /// By member: its world, if its ranks are one.
    worlds: Vec<Option<WorldInHand>>,
    /// By member: the first failure, where its world tells it.
    first_failures: Vec<Option<FirstFailure>>,
    /// Of the member whose world hangs.
    stacks: Option<(usize, Stacks)>,
    /// What earlier rounds of worlds left behind.
    stragglers: u32,
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
        let host = &tools.identity.host;
        let worlds: Result<Vec<_>, _> = { job.members.iter() }
            .map(|member| WorldInHand::of(member, host).map_err(|error| (member, error)))
            .collect();
        let worlds = match worlds {
            Ok(worlds) => worlds,
            Err((member, error)) => {
                claims.undo();
                return storage(Path::new(&member.attempt_dir), &error);
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
            worlds,
            first_failures: vec![None; job.members.len()],
            stacks: None,
            stragglers: 0,
            job,
        });
        let ready = in_hand.ready();
        match in_hand.start_ranks(&ready, &logs, &tools.spawner) {
            Ok(()) => in_hand.all_started = ready.len() == in_hand.job.members.len(),
            Err(failed) => in_hand.launch_failed(&failed),
        }
        in_hand.obey_worlds(tools);
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

    /// Ranks were told to end from here: their ends need no other reason.
    pub(crate) fn ends_its_ranks(&self) -> bool {
        { self.live.keys() }.any(|pid| self.groups.told.contains_key(pid))
    }

    /// No rank lives any more; what is left is swept.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.live.is_empty() && !self.is_waiting()
    }

    fn heartbeat(&self) -> Option<Duration> {
        let period = seconds(self.job.heartbeat);
        (!period.is_zero()).then(|| period.max(SHORTEST_HEARTBEAT))
    }

    /// Makes all programs ready before the first one starts: a misspelt name on the last rank starts nothing.
    fn start_ranks(
        &mut self,
        members: &[usize],
        logs: &[Vec<File>],
        spawner: &Spawner,
    ) -> Result<(), FailedStart> {
        let devices = self.devices.names.join(",");
        let mut own = vec![(KEY_VARIABLE, self.job.key.as_str())];
        if self.job.devices.is_some() {
            own.push(("CUDA_VISIBLE_DEVICES", &devices));
        }
        let mut programs = Vec::new();
        for &member in members {
            let described = &self.job.members[member];
            if let Some(code) = &described.code {
                code::put(code).map_err(|reason| FailedStart {
                    member,
                    rank: 0,
                    error: LaunchError::Code(reason),
                })?;
            }
            for (rank, command) in described.ranks.iter().enumerate() {
                let failed = |error| FailedStart {
                    member,
                    rank,
                    error,
                };
                let (of_world, share) = self.world_variables(member, rank);
                let of_world = of_world.iter();
                let of_world = of_world.map(|(name, value)| (name.as_str(), value.as_str()));
                let own: Vec<(&str, &str)> = { own.iter().copied() }.chain(of_world).collect();
                let mut program = Program::prepare(described, command, &own).map_err(failed)?;
                program.share = share;
                programs.push((member, rank, program));
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
        self.worlds_started(members);
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
        if self.world_takes(failed.member, failed.rank, &exit, Outcome::LaunchFailed) {
            return;
        }
        if self
            .verdict
            .rank_ended(failed.member, failed.rank, exit, Outcome::LaunchFailed)
        {
            self.end_ranks(libc::SIGTERM);
        }
    }

    /// Takes every child that has ended. True once nothing of the job is left.
    pub(crate) fn reap(&mut self, tools: &Tools, abandoned: &mut HashSet<i32>) -> Reaped {
        let childless = loop {
            self.sampling.before_wait();
            match sys::wait_any() {
                Waited::Ended(ended) => self.child_ended(&ended, &tools.oom, abandoned),
                Waited::NoneEnded => break false,
                Waited::NoChildren => break true,
            }
        };
        self.obey_worlds(tools);
        if !self.live.is_empty() || self.is_waiting() {
            return Reaped::NotYet;
        }
        let swept = if childless {
            Reaped::Done
        } else {
            self.sweep(abandoned)
        };
        if swept == Reaped::NotYet || !self.worlds_are_gone(tools) {
            return Reaped::NotYet;
        }
        swept
    }

    fn sweep(&mut self, abandoned: &mut HashSet<i32>) -> Reaped {
        let now = Instant::now();
        let grace = if self.impatient {
            Duration::ZERO
        } else {
            self.leftovers_grace()
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
        if abandoned.remove(&ended.pid) || self.stacks_child_ended(ended.pid) {
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
        if self.world_takes(live.member, live.rank, &exit, failed_as) {
            return;
        }
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
        self.leave_worlds();
        if immediately || again {
            self.kill_ranks();
            if let Some(sweep) = &mut self.sweep {
                sweep.kill_now(Instant::now());
            }
        } else {
            self.end_ranks(signal);
        }
    }

    /// Somebody wants the job to end, and says why.
    pub(crate) fn obey(&mut self, order: EndOrder) {
        let outcome = match order.how {
            EndHow::Cancelled => return self.cancel(libc::SIGTERM, order.immediately),
            EndHow::GroupFailed => Outcome::GroupFailed,
            EndHow::GroupEnded => Outcome::GroupEnded,
        };
        self.verdict_end(Reason::Elsewhere { outcome, status: 0 });
        self.leave_worlds();
        match order.immediately {
            true => self.kill_ranks(),
            false => self.end_ranks(libc::SIGTERM),
        }
    }

    /// The other members of its group, and how they are to end: once, when it is known.
    pub(crate) fn last_words(&mut self) -> Option<(Vec<String>, EndHow)> {
        if self.job.peers.is_empty() {
            return None;
        }
        let how = match self.verdict.reason()? {
            Reason::Failure { .. } | Reason::TimedOut => EndHow::GroupFailed,
            Reason::LeaderEnded => EndHow::GroupEnded,
            _ => return None,
        };
        Some((std::mem::take(&mut self.job.peers), how))
    }

    /// The agent was told to end by this signal.
    pub(crate) fn interrupt(&mut self, signal: i32) {
        self.verdict_end(Reason::Interrupted(signal));
        self.leave_worlds();
        self.end_ranks(signal);
    }

    /// A job whose last rank has ended needs no reason any more: its verdicts stand.
    fn verdict_end(&mut self, reason: Reason) {
        if !self.live.is_empty() || self.is_waiting() {
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
        let running = !self.live.is_empty() || self.is_waiting();
        let timeout_at = self
            .timeout_at
            .filter(|_| running && self.verdict.reason().is_none());
        let kill_at = self.kill_at.filter(|_| running);
        let sweep_at = self.sweep.as_ref().map(Sweep::deadline);
        let sample_at = (!self.live.is_empty()).then(|| self.sampling.deadline());
        [timeout_at, kill_at, self.heartbeat_at, sweep_at, sample_at]
            .into_iter()
            .chain(self.world_deadlines())
            .flatten()
            .min()
    }

    /// Does what is due, but for the sweep, which is [`JobInHand::reap`]'s.
    pub(crate) fn tick(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if !self.live.is_empty() || self.is_waiting() {
            if due(self.timeout_at) && self.verdict.end(Reason::TimedOut) {
                self.leave_worlds();
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
        let stragglers = self.stragglers + self.sweep.as_ref().map_or(0, Sweep::stragglers);
        let mut records = Vec::with_capacity(self.job.members.len());
        for (index, member) in self.job.members.iter().enumerate() {
            let tally = self.tallies[index];
            let folder = PathBuf::from(&member.attempt_dir);
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
            let outcome = self.verdict.outcome(index);
            let ranks = self.verdict.ranks(index, &not_started);
            let first_failure = self.first_failures[index].take().or_else(|| {
                let rank = self.verdict.first_failure(index)?;
                Some(blamed(member, rank, outcome, &ranks))
            });
            let record = ExitRecord {
                version: RECORD_VERSION,
                key: self.job.key.clone(),
                name: member.name.clone(),
                host: identity.host.clone(),
                outcome,
                started: tally.started.unwrap_or(ended),
                ended,
                user_seconds: tally.usage.user_seconds,
                system_seconds: tally.usage.system_seconds,
                peak_memory: tally.usage.peak_memory,
                ranks,
                first_failure,
                devices: self.devices.names.clone(),
                stragglers: if index == 0 { stragglers } else { 0 },
                nodes: Vec::new(),
                restarts: self.worlds[index]
                    .as_mut()
                    .map(|world| std::mem::take(&mut world.restarts))
                    .unwrap_or_default(),
                usage: self.sampling.finish(index, lasted, tally.usage),
            };
            records.push((folder, record));
        }
        let grace = self.grace;
        let mut worlds = self.worlds.into_iter().flatten();
        let world = worlds.next();
        Finished {
            follows: world.as_ref().is_some_and(WorldInHand::follows),
            farewell: world.and_then(|world| world.farewell(grace)),
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
    /// Another agent tells how all ended.
    pub(crate) follows: bool,
    /// Others who still have to hear of the end.
    pub(crate) farewell: Option<Farewell>,
}

fn storage(path: &Path, error: &std::io::Error) -> Begun {
    Begun::Refused(Refusal::Storage(format!("{}: {error}", path.display())))
}

/// Where a member's rank leaves its words.
fn papers(member: &Member, rank: usize) -> Papers {
    let folder = member.log_dir.as_ref().unwrap_or(&member.attempt_dir);
    Papers::of(Path::new(folder), member.first_rank as usize + rank)
}

/// Whom of a member's ranks to blame. `first`: the place of the one that ended badly first.
fn blamed(member: &Member, first: usize, outcome: Outcome, exits: &[RankExit]) -> FirstFailure {
    let mut failure = blame::of_ranks(first, outcome, exits, |rank| papers(member, rank));
    // A record of one task's rank has that rank as its first.
    if member.world.is_some() || member.of_node {
        failure.rank += member.first_rank;
    }
    failure
}

/// One file for both outputs of a rank, opened once: what comes first stands first.
fn open_logs(job: &Job) -> Result<Vec<Vec<File>>, (PathBuf, std::io::Error)> {
    job.members.iter().map(logs_of).collect()
}

fn logs_of(member: &Member) -> Result<Vec<File>, (PathBuf, std::io::Error)> {
    let open = |rank| {
        let path = papers(member, rank).log;
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| (path, error))
    };
    (0..member.ranks.len()).map(open).collect()
}
