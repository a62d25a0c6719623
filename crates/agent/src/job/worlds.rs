//! What the job in hand does for the worlds of its members: starts their ranks, ends them, starts them again, takes their last word.
//!
//! A world's ranks tell the verdict nothing while they run: an end that is a failure elsewhere is here the beginning of a stop, and
//! perhaps of another round. Once the world is over, all of its last round's ends are told at once.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mizzen_agent::record::{Outcome, RankExit};
use nix::poll::PollFd;

use super::{JobInHand, Tools, blamed, logs_of, papers};
use crate::surroundings::surroundings;
use crate::sys;
use crate::verdict::Reason;
use crate::world::{Failure, Share, Step, Why, WorldInHand};

impl JobInHand {
    fn worlds(&self) -> impl Iterator<Item = &WorldInHand> {
        self.worlds.iter().flatten()
    }

    /// A world waits for other nodes: this job has no ranks, and is not over.
    pub(super) fn is_waiting(&self) -> bool {
        self.worlds().any(WorldInHand::is_waiting)
    }

    /// The members whose ranks can be started right away: those without a world, and those whose world needs nobody else.
    pub(super) fn ready(&mut self) -> Vec<usize> {
        let ready = |world: &mut Option<WorldInHand>| match world {
            None => true,
            Some(world) => world.take_start(),
        };
        (0..self.worlds.len())
            .filter(|member| ready(&mut self.worlds[*member]))
            .collect()
    }

    /// What a world adds to the environment of a rank, and the processors that it gives to it.
    pub(super) fn world_variables(
        &self,
        member: usize,
        rank: usize,
    ) -> (Vec<(String, String)>, Option<Share>) {
        let Some(world) = &self.worlds[member] else {
            return (Vec::new(), None);
        };
        let described = &self.job.members[member];
        let has = |name: &str| {
            let given = described.env.iter().chain(&described.ranks[rank].env);
            let inherited = || surroundings().iter().any(|(one, _)| one == name.as_bytes());
            { given }.any(|(one, _)| one == name) || (described.inherit && inherited())
        };
        world.variables(rank, &has, &self.devices.names)
    }

    pub(super) fn worlds_started(&mut self, members: &[usize]) {
        let now = Instant::now();
        for &member in members {
            let described = &self.job.members[member];
            let logs: Vec<PathBuf> = (0..described.ranks.len())
                .map(|rank| papers(described, rank).log)
                .collect();
            if let Some(world) = &mut self.worlds[member] {
                world.started(now, logs);
            }
        }
    }

    /// Gives a rank's end to its world; false if it has none.
    pub(super) fn world_takes(
        &mut self,
        member: usize,
        rank: usize,
        exit: &RankExit,
        outcome: Outcome,
    ) -> bool {
        let described = &self.job.members[member];
        let Some(world) = &mut self.worlds[member] else {
            return false;
        };
        if outcome == Outcome::LaunchFailed {
            // Its ranks count as started, those that are and those that can't be.
            world.started(Instant::now(), Vec::new());
        }
        let blame = |exits: &[RankExit]| blamed(described, rank, outcome, exits);
        world.rank_ended(rank, exit.clone(), outcome, Instant::now(), blame);
        true
    }

    /// Does what worlds want done.
    pub(super) fn obey_worlds(&mut self, tools: &Tools) {
        for member in 0..self.worlds.len() {
            self.leave_group_behind(member);
            while let Some(step) = self.worlds[member]
                .as_mut()
                .and_then(WorldInHand::next_step)
            {
                match step {
                    Step::Start => self.start_world(member, tools),
                    Step::Stop(Why::Leaving) => {
                        if self.verdict.reason().is_none() {
                            self.interrupt(libc::SIGTERM);
                        }
                    }
                    Step::Stop(why) => self.stop_world(member, why == Why::Hung),
                    Step::Over(failure) => self.world_is_over(member, failure),
                }
            }
        }
    }

    /// In a group the ranks of one member may be gone while others run: what they left behind is swept with the others'.
    fn leave_group_behind(&mut self, member: usize) {
        let asked = self.verdict.reason().is_some();
        let none_live = self.live.values().all(|rank| rank.member != member);
        let others = !self.live.is_empty();
        if let Some(world) = &mut self.worlds[member]
            && others
            && none_live
            && !world.is_waiting()
            && !world.is_over()
        {
            let described = &self.job.members[member];
            world.gone(asked, &|first, outcome, exits| {
                blamed(described, first, outcome, exits)
            });
        }
    }

    fn start_world(&mut self, member: usize, tools: &Tools) {
        let described = &self.job.members[member];
        // The folder was writable when the job began: what can't be opened now is a failure like any other.
        let logs =
            logs_of(described).map_err(|(path, error)| format!("{}: {error}", path.display()));
        let logs = match logs {
            Ok(logs) => logs,
            Err(words) => {
                let exit = RankExit {
                    error: Some(words),
                    ended: crate::clock::now_micros(),
                    ..RankExit::default()
                };
                self.world_takes(member, 0, &exit, Outcome::LaunchFailed);
                return;
            }
        };
        if let Some(world) = &self.worlds[member]
            && world.round() > 0
        {
            let words = world.words_between();
            for mut log in &logs {
                // A full disk must not keep a job from starting again.
                let _ = log.write_all(words.as_bytes());
            }
        }
        let mut all: Vec<Vec<std::fs::File>> =
            { 0..self.worlds.len() }.map(|_| Vec::new()).collect();
        all[member] = logs;
        match self.start_ranks(&[member], &all, &tools.spawner) {
            Ok(()) => {}
            Err(failed) => self.launch_failed(&failed),
        }
    }

    fn live_of(&self, member: usize) -> Vec<(usize, i32)> {
        let mut live: Vec<(usize, i32)> = { self.live.iter() }
            .filter(|(_, rank)| rank.member == member)
            .map(|(pid, rank)| (rank.rank, *pid))
            .collect();
        live.sort_unstable();
        live
    }

    fn stop_world(&mut self, member: usize, hung: bool) {
        let live = self.live_of(member);
        let Some(world) = &mut self.worlds[member] else {
            return;
        };
        if hung && self.stacks.is_none() {
            let stacks = world.stacks(&live, Instant::now());
            if !stacks.are_done(Instant::now()) {
                self.stacks = Some((member, stacks));
                return;
            }
        }
        world.kill_at = Some(Instant::now() + world.stop_grace());
        for (_, pid) in live {
            let _ = sys::signal_group(pid, libc::SIGTERM);
            // A stopped process takes no signal but SIGKILL before it goes on.
            let _ = sys::signal_group(pid, libc::SIGCONT);
            self.groups.told.entry(pid).or_insert(libc::SIGTERM);
        }
    }

    fn kill_world(&mut self, member: usize) {
        if let Some(world) = &mut self.worlds[member] {
            world.kill_at = None;
        }
        for (pid, rank) in &mut self.live {
            if rank.member == member {
                rank.killed = true;
                self.groups.killed.insert(*pid);
                let _ = sys::signal_group(*pid, libc::SIGKILL);
            }
        }
    }

    /// A child was a tool that looked at stacks.
    pub(super) fn stacks_child_ended(&mut self, pid: i32) -> bool {
        let Some((_, stacks)) = &mut self.stacks else {
            return false;
        };
        stacks.child_ended(pid)
    }

    fn stacks_are_done(&mut self, now: Instant) {
        if let Some((member, stacks)) = &self.stacks
            && stacks.are_done(now)
        {
            let member = *member;
            self.stop_world(member, false);
            self.stacks = None;
        }
    }

    /// The job is being ended because somebody wants it.
    pub(super) fn leave_worlds(&mut self) {
        if self.verdict.reason().is_none() {
            return;
        }
        for world in self.worlds.iter_mut().flatten() {
            world.leave();
        }
    }

    /// Nothing of the ranks is left. True if nothing comes after that.
    pub(super) fn worlds_are_gone(&mut self, tools: &Tools) -> bool {
        let asked = self.verdict.reason().is_some();
        let mut some = false;
        for (world, member) in self.worlds.iter_mut().zip(&self.job.members) {
            if let Some(world) = world
                && !world.is_over()
                && !world.is_waiting()
            {
                world.gone(asked, &|first, outcome, exits| {
                    blamed(member, first, outcome, exits)
                });
                some = true;
            }
        }
        if some {
            if let Some(sweep) = self.sweep.take() {
                self.stragglers += sweep.stragglers();
            }
            self.obey_worlds(tools);
        }
        self.live.is_empty() && !self.is_waiting()
    }

    /// How long what ranks left behind may take to end: no longer than ranks may that are ended because of another.
    pub(super) fn leftovers_grace(&self) -> Duration {
        let asked = self.verdict.reason().is_some();
        let worlds = self.worlds().map(WorldInHand::stop_grace);
        worlds
            .min()
            .filter(|_| !asked)
            .map_or(self.grace, |grace| grace.min(self.grace))
    }

    /// The last word of a world: its ranks' ends become the member's.
    fn world_is_over(&mut self, member: usize, failure: Option<Box<Failure>>) {
        let Some(world) = &mut self.worlds[member] else {
            return;
        };
        let first_rank = self.job.members[member].first_rank;
        let place = failure.as_ref().and_then(|failure| {
            let place = failure.rank.checked_sub(first_rank)? as usize;
            (place < world.exits.len()).then_some(place)
        });
        let follower = world.is_follower();
        let mut exits = std::mem::take(&mut world.exits);
        if let Some(failure) = failure {
            let reason = match place {
                Some(rank) => {
                    exits[rank].get_or_insert((failure.exit.clone(), failure.outcome));
                    Reason::Failure {
                        member,
                        rank,
                        outcome: failure.outcome,
                    }
                }
                None => Reason::Elsewhere {
                    outcome: if follower {
                        Outcome::GroupFailed
                    } else {
                        failure.outcome
                    },
                    status: failure.status(),
                },
            };
            let first = self.verdict.end(reason);
            if first && !(follower && place.is_none()) {
                self.first_failures[member] = Some(failure.first);
            }
        }
        let mut ends = false;
        for (rank, exit) in exits.into_iter().enumerate() {
            if let Some((exit, outcome)) = exit {
                ends |= self.verdict.rank_ended(member, rank, exit, outcome);
            }
        }
        if ends || self.verdict.reason().is_some() {
            self.end_ranks(libc::SIGTERM);
        }
    }

    /// What to wait for besides children and commands.
    pub(crate) fn descriptors<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        for world in self.worlds() {
            world.descriptors(polled);
        }
    }

    pub(super) fn world_deadlines(&self) -> impl Iterator<Item = Option<Instant>> {
        let worlds = self.worlds();
        let of_worlds = worlds.flat_map(|world| [world.deadline(), world.kill_at]);
        let stacks = self.stacks.as_ref().map(|(_, stacks)| stacks.deadline());
        of_worlds.chain([stacks])
    }

    /// Hears what other nodes say, looks at the clock, and does what is due.
    pub(crate) fn turn_worlds(&mut self, now: Instant, tools: &Tools) {
        self.stacks_are_done(now);
        for member in 0..self.worlds.len() {
            let Some(world) = &mut self.worlds[member] else {
                continue;
            };
            world.turn(now);
            if world.kill_at.is_some_and(|at| at <= now) {
                self.kill_world(member);
            }
        }
        self.obey_worlds(tools);
    }
}
