//! Samples of what the job in hand uses, taken at a low rate while it runs.
//!
//! ```text
//! agent's clock ─▶ look: tree (stat, io of each process) ─┐
//!                        group (memory of its cgroup) ────┼─▶ Series of each member ─▶ file: a line
//!                        gpus (nvidia-smi's words) ───────┘            │
//! ends of children ─▶ what they had read and written ──────────────────┴─▶ finish: UsageSummary of the record
//! ```
//!
//! The first look comes after a second: a job that is shorter has nothing of this but a deadline that is not reached. Then looks get
//! rarer, and rarer still where one of them takes long, so that all of them together take less than a thousandth of a processor.
//! Nothing here can fail: what can't be read counts as nothing, what can't be written is left out.

mod file;
mod gpus;
mod group;
mod series;
mod tree;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{Job, Member};
use mizzen_agent::samples::{UsageSummary, file_name};

use crate::clock::now_micros;
use crate::reap::children;
use crate::spawn::Spawner;
use crate::surroundings::surroundings;
use crate::sys::Usage;
use gpus::Gpus;
use group::Group;
use series::{Reading, Series};
use tree::{Io, Process, Tree};

/// The first look, and the shortest pause behind it; doubled each time.
const FIRST: Duration = Duration::from_secs(1);
/// The pause between two looks, and after an hour.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_PAUSE: Duration = Duration::from_secs(30);
const AN_HOUR: Duration = Duration::from_secs(3600);
/// A look, and a walk through pages, each may take one part in so many of the time.
const SHARE: u32 = 2000;
/// But a look comes at least this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// If all but the largest process have so much together, it is worth to know what they share.
const WORTH_A_WALK: u64 = 64 << 20;
/// A walk through pages ends after this: what it has seen stands for the rest.
const LONGEST_WALK: Duration = Duration::from_millis(100);

/// What a look is told of the job.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) job: &'a Job,
    /// The devices that the job was given.
    pub(crate) devices: &'a [String],
    pub(crate) host: &'a str,
    /// The ranks that live, and whose they are.
    pub(crate) ranks: HashMap<i32, usize>,
    /// What each member's processes had used that have ended.
    pub(crate) ended: Vec<Usage>,
    pub(crate) spawner: &'a Spawner,
}

/// The samples of a job.
#[derive(Debug)]
pub(crate) struct Sampling {
    began: Instant,
    due: Instant,
    pause: Duration,
    /// There once there was a look.
    state: Option<Box<State>>,
    /// A child that has ended, while its entry is still there.
    ending: Option<(i32, Io)>,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    group: Option<Group>,
    /// A series for each member.
    series: Vec<Series>,
    gpus: Option<Gpus>,
    looks: u32,
    shared: Shared,
}

/// How much of its memory the job's processes share.
#[derive(Debug, Clone, Copy)]
struct Shared {
    /// What a resident byte counts, sharing taken into account.
    worth: f64,
    next_walk: Option<Instant>,
}

impl Sampling {
    pub(crate) fn new(now: Instant) -> Sampling {
        Sampling {
            began: now,
            due: now + FIRST,
            pause: FIRST,
            state: None,
            ending: None,
        }
    }

    /// When the next look is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.due
    }

    /// Takes a sample if one is due. `nobodys`: children of the agent that are no job's, where a helper of this joins them.
    pub(crate) fn look(&mut self, now: Instant, facts: &Facts<'_>, nobodys: &mut HashSet<i32>) {
        if now < self.due {
            return;
        }
        let state = self
            .state
            .get_or_insert_with(|| Box::new(State::new(facts, self.began)));
        let walked = state.look(now, facts, nobodys);
        let took = now.elapsed().saturating_sub(walked);
        let longest = if now.saturating_duration_since(self.began) < AN_HOUR {
            PAUSE
        } else {
            LONG_PAUSE
        };
        let pause = self.pause.max(took * SHARE).min(LONGEST_PAUSE);
        self.pause = (self.pause * 2).min(longest);
        self.due = now + pause;
    }

    /// To be called before the end of a child is taken: then what it has read and written is gone.
    pub(crate) fn before_wait(&mut self) {
        if self.state.is_some() {
            self.ending = crate::sys::peek_pid().and_then(|pid| Some((pid, Io::of(pid)?)));
        }
    }

    /// The end of a child was taken that was of this member.
    pub(crate) fn child_ended(&mut self, pid: i32, member: usize) {
        let (Some(state), Some((ending, io))) = (&mut self.state, self.ending.take()) else {
            return;
        };
        if let Some(series) = state.series.get_mut(member).filter(|_| ending == pid) {
            series.child_ended(io);
        }
    }

    /// What a member has used in all, in so many seconds; none if no sample was taken.
    pub(crate) fn finish(&self, member: usize, seconds: f64, ended: Usage) -> Option<UsageSummary> {
        let state = self.state.as_ref()?;
        let gpus = state.gpus.as_ref().map(Gpus::usage).unwrap_or_default();
        state.series.get(member)?.finish(seconds, ended, gpus)
    }
}

impl State {
    fn new(facts: &Facts<'_>, began: Instant) -> State {
        let series = facts.job.members.iter();
        State {
            tree: Tree::new(),
            group: Group::find(),
            series: series
                .map(|member| {
                    let folder = member.log_dir.as_ref().unwrap_or(&member.attempt_dir);
                    let path = Path::new(folder).join(file_name(&writer(member)));
                    Series::new(path, began)
                })
                .collect(),
            gpus: None,
            looks: 0,
            shared: Shared {
                worth: 1.0,
                next_walk: None,
            },
        }
    }

    /// Takes a sample of each member; says how much of the time was spent walking through pages.
    fn look(&mut self, now: Instant, facts: &Facts<'_>, nobodys: &mut HashSet<i32>) -> Duration {
        self.looks += 1;
        let roots: Vec<i32> = children()
            .into_iter()
            .filter(|pid| !nobodys.contains(pid))
            .collect();
        let processes = self.tree.look(&roots, &facts.ranks);
        let began = Instant::now();
        let memory = self.memory(now, &processes);
        let walked = began.elapsed();
        self.look_at_gpus(now, facts, &processes, nobodys);
        let mut readings = vec![Reading::default(); self.series.len()];
        for process in &processes {
            let Some(reading) = readings.get_mut(process.member) else {
                continue;
            };
            reading.processes += 1;
            reading.cpu_seconds += process.cpu_seconds;
            reading.memory += (process.resident as f64 * memory.worth) as u64;
            reading.io.add(Io::of(process.pid).unwrap_or_default());
        }
        let (usage, gpus) = match &mut self.gpus {
            Some(gpus) => (gpus.usage(), gpus.since_last()),
            None => (Vec::new(), Vec::new()),
        };
        let running: HashSet<usize> = facts.ranks.values().copied().collect();
        for (member, series) in self.series.iter_mut().enumerate() {
            if !running.contains(&member) {
                continue;
            }
            let mut reading = readings[member];
            let ended = facts.ended.get(member).copied().unwrap_or_default();
            reading.cpu_seconds += ended.user_seconds + ended.system_seconds;
            if let (Some(bytes), 1) = (memory.of_group, facts.job.members.len()) {
                reading.memory = bytes;
                reading.of_group = true;
            }
            series.add(now, now_micros(), &reading, &usage, &gpus);
        }
        walked
    }

    fn memory(&mut self, now: Instant, processes: &[Process]) -> Memory {
        let of_group = self.group.as_ref().and_then(|group| {
            let mut inside: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
            inside.insert(nix::unistd::getpid().as_raw());
            inside.extend(self.gpus.as_ref().and_then(Gpus::pid));
            group.memory(&inside)
        });
        let all: u64 = processes.iter().map(|process| process.resident).sum();
        let largest = processes.iter().map(|process| process.resident).max();
        let shares = all - largest.unwrap_or(0) >= WORTH_A_WALK && of_group.is_none();
        if !shares {
            self.shared.worth = 1.0;
        } else if self.shared.next_walk.is_none_or(|at| at <= now) {
            let began = Instant::now();
            self.shared.worth = worth(processes, began).unwrap_or(1.0);
            self.shared.next_walk = Some(now + (began.elapsed() * SHARE).max(PAUSE));
        }
        Memory {
            of_group,
            worth: self.shared.worth,
        }
    }

    /// Starts to ask for GPUs once it is known that the job has some: it was given them, or has one open.
    fn look_at_gpus(
        &mut self,
        now: Instant,
        facts: &Facts<'_>,
        processes: &[Process],
        nobodys: &mut HashSet<i32>,
    ) {
        if let Some(gpus) = &mut self.gpus {
            gpus.read(now);
        } else if self.looks.is_power_of_two() {
            let given = visible(facts);
            let has_some = match &given {
                Some(devices) => !devices.is_empty(),
                None => {
                    Path::new("/dev/nvidiactl").exists()
                        && processes.iter().any(|process| tree::has_gpu(process.pid))
                }
            };
            if has_some && is_ours(given.as_deref().unwrap_or_default()) {
                self.gpus = Gpus::find(given.as_deref().unwrap_or_default(), facts.host);
            }
        }
        if let Some(gpus) = &mut self.gpus
            && gpus.keep_running(now, facts.spawner)
        {
            nobodys.extend(gpus.pid());
        }
    }
}

/// What was found out about memory.
#[derive(Debug, Clone, Copy)]
struct Memory {
    of_group: Option<u64>,
    worth: f64,
}

/// What a resident byte counts on average: less than one where processes share pages.
fn worth(processes: &[Process], began: Instant) -> Option<f64> {
    let (mut resident, mut proportional) = (0, 0);
    for process in processes {
        if began.elapsed() >= LONGEST_WALK {
            break;
        }
        if let Some(bytes) = tree::proportional(process.pid) {
            resident += process.resident;
            proportional += bytes;
        }
    }
    (resident > 0).then(|| (proportional as f64 / resident as f64).min(1.0))
}

/// Who writes a file of samples of a member: the node's agent, or the agent of one rank of a step.
fn writer(member: &Member) -> String {
    match &member.world {
        Some(world) => world
            .meeting
            .as_ref()
            .map_or(0, |meeting| meeting.node)
            .to_string(),
        None if member.log_dir.is_some() => format!("rank-{}", member.first_rank),
        None => "0".to_owned(),
    }
}

/// The GPUs that the job's programs are shown; `None` if nobody has said which.
fn visible(facts: &Facts<'_>) -> Option<Vec<String>> {
    if facts.job.devices.is_some() {
        return Some(facts.devices.to_vec());
    }
    let member = facts.job.members.first()?;
    let own = member
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "CUDA_VISIBLE_DEVICES")
        .map(|(_, value)| value.clone());
    let value = own.or_else(|| variable("CUDA_VISIBLE_DEVICES").filter(|_| member.inherit))?;
    let devices = value.split(',').map(str::trim);
    // CUDA stops at the first one that is none, such as -1 or NoDevFiles.
    let known = devices.take_while(|device| {
        device.starts_with(|first: char| first.is_ascii_digit()) || device.contains("GPU-")
    });
    Some(known.map(str::to_owned).collect())
}

/// Of the tasks of a step that see the same GPUs of a node, the first one tells of them.
fn is_ours(devices: &[String]) -> bool {
    let first = variable("SLURM_LOCALID").is_none_or(|local| local == "0");
    let of_node = variable("SLURM_STEP_GPUS").or_else(|| variable("SLURM_JOB_GPUS"));
    let of_node = of_node.map(|all| all.split(',').count());
    first || of_node.is_some_and(|all| !devices.is_empty() && devices.len() < all)
}

fn variable(wanted: &str) -> Option<String> {
    let mut all = surroundings().iter();
    let (_, value) = all.find(|(name, _)| name == wanted.as_bytes())?;
    String::from_utf8(value.clone()).ok()
}
