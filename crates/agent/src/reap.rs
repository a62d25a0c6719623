//! Ends what the ranks of a job left behind: background processes, daemons, whatever forks itself on.
//!
//! ```text
//! the last rank ended ──▶ any children? ── no ──▶ done (every ordinary job)
//!                            │ yes
//!                            ▼
//!           SIGTERM each new one ── grace over ──▶ SIGKILL in rounds ── 30 s over ──▶ give the rest up, by name
//!                └───────────── ECHILD: done ◀───────────┘
//! ```
//!
//! The agent is a subreaper: when a process ends, its children become the agent's. So all that is left of a job shows
//! up here sooner or later, a generation at a time, whatever session or group it fled to. Killing goes by process
//! group as well as by process: a group is signalled as one, which a process that forks and ends can't outrun.
//!
//! What was told to end together with its rank, because it is of the rank's group, and catches that signal is not told
//! again: a program that saves its state on the first SIGTERM may well give up on a second one, and has the job's whole
//! grace period to finish. What ignores that signal (a shell's background children ignore SIGINT), or came to be just
//! after it, is told by SIGTERM like everything else.
//!
//! Pitfall: what runs as another user (sudo) or sleeps in the kernel on a dead file server can't be ended by anybody
//! like us. After the last limit such processes are abandoned and named on stderr, so that the job can end.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use mizzen_agent::process_table::{ProcessStat, catches, pids};

use crate::sys;

/// The longest time that leftovers have between SIGTERM and SIGKILL.
const LONGEST_GRACE: Duration = Duration::from_secs(2);
/// How long killing goes on before the rest is given up.
const KILLING: Duration = Duration::from_secs(30);
/// The pauses between two looks grow from this one on; an ended child cuts them short.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// No longer than this while killing: what is killed may have made another one before.
const KILLING_PAUSE: Duration = Duration::from_millis(50);
/// No longer than this while something is busy with the signal that it got: it may stop catching it (by an exec, say).
const SPARING_PAUSE: Duration = Duration::from_secs(1);

/// The end of one job's leftovers.
#[derive(Debug)]
pub(crate) struct Sweep {
    kill_at: Instant,
    give_up_at: Instant,
    pause: Duration,
    next_look: Instant,
    /// Living children that were signalled here, and have not been seen to end.
    signalled: HashSet<i32>,
    /// Those of them that count as stragglers: not the ones that are about to follow their rank.
    counted: HashSet<i32>,
    stragglers: u32,
}

/// The process groups of ranks that were signalled while their ranks lived.
#[derive(Debug, Default)]
pub(crate) struct ToldGroups {
    /// Told to end, by which signal.
    pub(crate) told: HashMap<i32, i32>,
    /// Sent SIGKILL: what is still there is on its way out.
    pub(crate) killed: HashSet<i32>,
}

/// What a look at the leftovers brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Something is still there.
    NotYet,
    /// Nothing is there that this job has to wait for.
    Done,
    /// These could not be ended in the time there was.
    GivenUp(Vec<i32>),
}

impl Sweep {
    /// `job_kill_at`: when the job's own grace period is over, if it is being ended.
    pub(crate) fn new(now: Instant, grace: Duration, job_kill_at: Option<Instant>) -> Sweep {
        let kill_at = now + grace.min(LONGEST_GRACE);
        let kill_at = job_kill_at.map_or(kill_at, |job_kill_at| job_kill_at.max(kill_at));
        Sweep {
            kill_at,
            give_up_at: kill_at + KILLING,
            pause: FIRST_PAUSE,
            next_look: now,
            signalled: HashSet::new(),
            counted: HashSet::new(),
            stragglers: 0,
        }
    }

    /// Skips what is left of the grace period.
    pub(crate) fn kill_now(&mut self, now: Instant) {
        if now < self.kill_at {
            self.kill_at = now;
            self.give_up_at = now + KILLING;
        }
        self.next_look = self.next_look.min(now);
    }

    /// Takes note of a child's end; true if it was a process that had to be ended.
    pub(crate) fn child_ended(&mut self, pid: i32) -> bool {
        self.signalled.remove(&pid);
        let straggler = self.counted.remove(&pid);
        self.stragglers += u32::from(straggler);
        straggler
    }

    pub(crate) fn stragglers(&self) -> u32 {
        self.stragglers
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_look
    }

    /// Signals what there is to signal. `abandoned` are children of which this job is not to take notice.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        abandoned: &HashSet<i32>,
        groups: &ToldGroups,
    ) -> Look {
        let left: Vec<i32> = children()
            .into_iter()
            .filter(|pid| !abandoned.contains(pid))
            .collect();
        if left.is_empty() {
            return Look::Done;
        }
        let killing = now >= self.kill_at;
        if killing && now >= self.give_up_at {
            return Look::GivenUp(left);
        }
        let mut sparing = false;
        for pid in left {
            let Some(stat) = ProcessStat::read(pid).filter(|stat| !stat.is_dead()) else {
                continue;
            };
            if killing {
                self.signalled.insert(pid);
                if !groups.killed.contains(&stat.group) {
                    self.counted.insert(pid);
                }
                kill(&stat, pid);
                continue;
            }
            let told = groups.told.get(&stat.group);
            if told.is_some_and(|signal| catches(pid, *signal)) {
                sparing = true;
                continue;
            }
            if !self.signalled.insert(pid) {
                continue;
            }
            if told.is_none() {
                self.counted.insert(pid);
            }
            // Each by itself, so that each is told once. Errors are left aside: it has ended, or can't be ended by us
            // and will be given up by name. And a stopped process takes no SIGTERM before it goes on.
            let _ = sys::signal_process(pid, libc::SIGTERM);
            let _ = sys::signal_process(pid, libc::SIGCONT);
        }
        self.next_look = if killing {
            now + self.next_pause(KILLING_PAUSE)
        } else if sparing {
            self.kill_at.min(now + self.next_pause(SPARING_PAUSE))
        } else {
            self.kill_at
        };
        Look::NotYet
    }

    fn next_pause(&mut self, longest: Duration) -> Duration {
        let pause = self.pause.min(longest);
        self.pause = (pause * 2).min(longest);
        pause
    }
}

/// Kills a child and the rest of its group, unless that is the agent's own: ranks start in sessions of their own, so
/// only a child that the agent was started with can share it.
fn kill(stat: &ProcessStat, pid: i32) {
    // Errors are left aside: it has ended, or it can't be ended and will be given up by name.
    if stat.group != nix::unistd::getpgrp().as_raw() {
        let _ = sys::signal_group(stat.group, libc::SIGKILL);
    }
    let _ = sys::signal_process(pid, libc::SIGKILL);
}

/// The children of this process, zombies included.
pub(crate) fn children() -> Vec<i32> {
    // One file with all children of a thread; kernels without CONFIG_PROC_CHILDREN lack it.
    if let Ok(list) = fs::read_to_string("/proc/thread-self/children") {
        return list
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
    }
    let own = nix::unistd::getpid().as_raw();
    pids()
        .into_iter()
        .filter(|pid| ProcessStat::read(*pid).is_some_and(|stat| stat.parent == own))
        .collect()
}
