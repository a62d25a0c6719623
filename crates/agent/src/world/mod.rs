//! The ranks of a member as one world: they find each other, fail together, and may start again inside the attempt.
//!
//! ```text
//! node 0's agent                                      every other node's
//! ┌───────────────────────────┐  Hello · Failed ·   ┌───────────────────────────┐
//! │ head: who is here, who    │◀─ Gone · Quiet ─────│ job in hand: its ranks    │
//! │ failed first, again or not│── Start · Stop ────▶│                           │
//! │ job in hand: its ranks    │     · Over          └───────────────────────────┘
//! └───────────────────────────┘
//! ```
//!
//! A world of one agent is the same without the connections: the head decides, and its only node hears it at once. `head` is pure,
//! `meeting` has the sockets, `port` holds the rendezvous port, `contract` makes the variables, `bind` the shares of processors,
//! `hang` looks for signs of life. What is to be done comes out of [`WorldInHand::next_step`]; the job in hand does it.
//! Pitfall: a node may be told to stop before it has heard of its own rank's failure being known: orders carry the round.

mod bind;
mod contract;
mod hang;
mod head;
mod meeting;
mod port;
mod process;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::{Member, World};
use mizzen_agent::record::{FirstFailure, Outcome, RankExit, Restart};
use nix::poll::PollFd;

use crate::clock::seconds;

pub(crate) use bind::Share;
use hang::Activity;
pub(crate) use hang::Stacks;
use head::{Decision, Head};
pub(crate) use head::{Failure, Order, Why};
use meeting::{Heard, Link};
use port::HeldPort;

/// The variable that names the file which a rank may touch to say that it lives.
const HEARTBEAT_VARIABLE: &str = "MIZZEN_HEARTBEAT_FILE";
/// How long a program that starts again because its port was taken may have run.
const PORT_TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// How long the head waits for the others to go before it ends itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where a world is, on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No order to start has come yet, or its ranks are gone and those of other nodes may not be.
    Waiting,
    Running,
    Stopping,
    /// Nothing more will come.
    Over,
}

/// What the job in hand is to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// Start this node's ranks.
    Start,
    /// End them.
    Stop(Why),
    /// All is over: with a failure, or well.
    Over(Option<Box<Failure>>),
}

/// The world of one member.
#[derive(Debug)]
pub(crate) struct WorldInHand {
    settings: World,
    node: u32,
    /// The number of this node's first rank, and how many it has.
    first_rank: u32,
    ranks: u32,
    log_dir: PathBuf,
    host: String,
    link: Link,
    head: Option<Head>,
    phase: Phase,
    round: u32,
    started: Option<Instant>,
    held: Option<HeldPort>,
    port: u16,
    activity: Option<Activity>,
    steps: VecDeque<Step>,
    /// How its ranks ended in this round, by their place on this node.
    pub(crate) exits: Vec<Option<(RankExit, Outcome)>>,
    /// The place of the rank whose failure was told to the head.
    told: Option<usize>,
    /// By the head's own words.
    heard_the_end: bool,
    /// The head's connection ended before its last word.
    lost_head: bool,
    pub(crate) restarts: Vec<Restart>,
    /// When the others are killed that still live after a failure.
    pub(crate) kill_at: Option<Instant>,
    join_by: Instant,
}

impl WorldInHand {
    /// The world that a member asks for, if it does.
    ///
    /// # Errors
    /// The first node can't listen.
    pub(crate) fn of(member: &Member, host: &str) -> io::Result<Option<WorldInHand>> {
        let Some(settings) = member.world.clone() else {
            return Ok(None);
        };
        let now = Instant::now();
        let log_dir = PathBuf::from(member.log_dir.as_ref().unwrap_or(&member.attempt_dir));
        let node = settings.meeting.as_ref().map_or(0, |meeting| meeting.node);
        let agents = settings.meeting.as_ref().map_or(1, |_| settings.nodes);
        let (link, head) = match &settings.meeting {
            Some(meeting) if settings.nodes > 1 => {
                let folder = Path::new(&meeting.attempt_dir);
                if node == 0 {
                    let link = Link::listen(
                        folder,
                        &settings.address,
                        meeting.port,
                        meeting.token.as_deref(),
                    )?;
                    (link, Some(Head::new(&settings, agents, now)))
                } else {
                    (Link::to(folder, node, host), None)
                }
            }
            _ => (Link::Alone, Some(Head::new(&settings, 1, now))),
        };
        let ranks = u32::try_from(member.ranks.len()).unwrap_or(u32::MAX);
        let mut world = WorldInHand {
            node,
            first_rank: member.first_rank,
            ranks,
            log_dir,
            host: host.to_owned(),
            link,
            head,
            phase: Phase::Waiting,
            round: 0,
            started: None,
            held: None,
            port: 0,
            activity: None,
            steps: VecDeque::new(),
            exits: vec![None; member.ranks.len()],
            told: None,
            heard_the_end: false,
            lost_head: false,
            restarts: Vec::new(),
            kill_at: None,
            join_by: now + seconds(settings.join_timeout),
            settings,
        };
        contract::make_folders(&world.log_dir, world.settings.hang_timeout.is_some());
        if world.head.is_some() {
            let decision = world.head.as_mut().and_then(|head| head.joined(0));
            world.decided(decision);
        }
        Ok(Some(world))
    }

    /// The next thing to do, if there is one.
    pub(crate) fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// It waits for other nodes, and has no ranks.
    pub(crate) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The first order, if it is to start.
    pub(crate) fn take_start(&mut self) -> bool {
        let starts = matches!(self.steps.front(), Some(Step::Start));
        if starts {
            self.steps.pop_front();
        }
        starts
    }

    /// Another agent has said how all ended, and tells it.
    pub(crate) fn follows(&self) -> bool {
        self.head.is_none() && self.heard_the_end
    }

    /// This agent is one of several, and not the one that tells how all ended.
    pub(crate) fn is_follower(&self) -> bool {
        self.head.is_none()
    }

    pub(crate) const fn round(&self) -> u32 {
        self.round
    }

    /// What a rank of this node finds in its environment, by its place on the node. `has`: the variable is set already.
    pub(crate) fn variables(
        &self,
        place: usize,
        has: &dyn Fn(&str) -> bool,
        devices: &[String],
    ) -> (Vec<(String, String)>, Option<Share>) {
        let rank = self.first_rank + u32::try_from(place).unwrap_or(0);
        let facts = contract::Facts {
            world: &self.settings,
            rank,
            round: self.round,
            port: self.port,
            log_dir: &self.log_dir,
        };
        let mut variables = contract::variables(&facts);
        let local = rank % self.settings.per_node.max(1);
        if let Some(gpus) = self.settings.gpus_per_rank {
            variables.extend(contract::devices_of(local, gpus, devices));
        }
        // On this machine all ranks share its processors, whatever nodes they count as.
        let on_machine = if self.settings.meeting.is_some() {
            self.settings.per_node
        } else {
            self.settings.nodes * self.settings.per_node
        };
        let share = bind::share(
            self.settings.bind,
            u32::try_from(place).unwrap_or(0),
            on_machine,
        );
        if !has("OMP_NUM_THREADS") {
            let threads = self
                .settings
                .omp_num_threads
                .unwrap_or_else(|| bind::threads(share.as_ref(), on_machine));
            variables.push(("OMP_NUM_THREADS".to_owned(), threads.to_string()));
        }
        (variables, share)
    }

    /// The ranks of this round were started.
    pub(crate) fn started(&mut self, now: Instant, logs: Vec<PathBuf>) {
        self.phase = Phase::Running;
        self.started = Some(now);
        if self.settings.hang_timeout.is_some() {
            let beats = (0..self.ranks)
                .map(|place| contract::heartbeat_file(&self.log_dir, self.first_rank + place));
            self.activity = Some(Activity::new(logs.into_iter().zip(beats).collect(), now));
        }
    }

    /// Takes the end of one of its ranks. `blame` describes the failure, if this is one that nobody has told yet.
    pub(crate) fn rank_ended(
        &mut self,
        place: usize,
        exit: RankExit,
        outcome: Outcome,
        now: Instant,
        blame: impl FnOnce(&[RankExit]) -> FirstFailure,
    ) {
        let well = exit.code == Some(0);
        self.exits[place] = Some((exit.clone(), outcome));
        if well || self.told.is_some() || self.phase != Phase::Running {
            return;
        }
        self.told = Some(place);
        let first = self.with_host(blame(&self.ends()));
        let soon = self
            .started
            .is_some_and(|started| now.duration_since(started) < PORT_TAKEN_WITHIN);
        let failure = Failure {
            rank: first.rank,
            node: self.node,
            port_taken: soon
                && self.settings.port.is_none()
                && port::is_named_as_taken(&first.last_lines, self.port),
            exit,
            outcome,
            first,
        };
        self.tell(Order::Failed {
            round: self.round,
            failure: Box::new(failure),
        });
    }

    /// This agent was asked to end its job: there is nothing to come after it.
    pub(crate) fn leave(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        let waiting = self.phase == Phase::Waiting;
        if !waiting {
            self.phase = Phase::Stopping;
        }
        self.tell(Order::Leaving);
        if waiting {
            self.over(None);
        }
    }

    /// The ends of this node's ranks, as if those that still run had ended well.
    fn ends(&self) -> Vec<RankExit> {
        let well = RankExit {
            code: Some(0),
            ..RankExit::default()
        };
        let end = |exit: &Option<(RankExit, Outcome)>| {
            exit.as_ref()
                .map_or_else(|| well.clone(), |(exit, _)| exit.clone())
        };
        self.exits.iter().map(end).collect()
    }

    fn with_host(&self, failure: FirstFailure) -> FirstFailure {
        FirstFailure {
            host: failure
                .host
                .or_else(|| self.settings.meeting.as_ref().map(|_| self.host.clone())),
            ..failure
        }
    }

    /// Nothing of this round's ranks is left. `asked`: the job is being ended because somebody wants it. `blame` describes the
    /// failure of a rank, from all ends.
    pub(crate) fn gone(
        &mut self,
        asked: bool,
        blame: &dyn Fn(usize, Outcome, &[RankExit]) -> FirstFailure,
    ) {
        let ends = self.ends();
        let earliest = || {
            let bad = |(_, exit): &(usize, &RankExit)| exit.code != Some(0) && exit.error.is_none();
            let bad = ends.iter().enumerate().filter(bad);
            bad.min_by_key(|(_, exit)| exit.ended)
                .map(|(place, _)| place)
        };
        let first = self.told.or_else(earliest).filter(|_| !asked);
        let failure = first.map(|place| {
            let outcome = self.exits[place]
                .as_ref()
                .map_or(Outcome::Failed, |(_, outcome)| *outcome);
            Box::new(self.with_host(blame(place, outcome, &ends)))
        });
        self.held = None;
        self.activity = None;
        self.kill_at = None;
        if self.phase != Phase::Over {
            self.phase = Phase::Waiting;
        }
        self.tell(Order::Gone {
            round: self.round,
            failure,
        });
        if self.phase != Phase::Over {
            if asked {
                self.over(None);
            } else if self.lost_head {
                self.over_without_head();
            }
        }
    }

    /// Makes room for the next round.
    pub(crate) fn begin_round(&mut self) {
        contract::put_error_files_aside(
            &self.log_dir,
            self.round,
            self.first_rank..self.first_rank + self.ranks,
        );
        self.exits.fill(None);
        self.told = None;
    }

    /// What stands in a rank's log between two rounds.
    pub(crate) fn words_between(&self) -> String {
        let size = (self.settings.nodes * self.settings.per_node) as usize;
        let because = { self.restarts.last() }
            .and_then(|restart| restart.first_failure.words(size))
            .map_or(String::new(), |words| format!(": {words}"));
        format!("mizzen: restart {}{because}\n", self.round)
    }

    pub(crate) fn stop_grace(&self) -> Duration {
        seconds(self.settings.stop_grace)
    }

    /// Looks for the stacks of the ranks with these places and pids.
    pub(crate) fn stacks(&self, ranks: &[(usize, i32)], now: Instant) -> Stacks {
        let numbered = ranks
            .iter()
            .map(|(place, pid)| (self.first_rank + u32::try_from(*place).unwrap_or(0), *pid));
        Stacks::new(&self.log_dir, numbered.collect(), now)
    }

    /// What to wait for.
    pub(crate) fn descriptors<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        self.link.descriptors(polled);
    }

    /// When [`WorldInHand::turn`] has something to do, unless something happens on a descriptor before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let head = self.head.as_ref().and_then(|head| head.deadline());
        let look = self.activity.as_ref().map(Activity::deadline);
        let join = self.joins().then_some(self.join_by);
        [head, look, join, self.link.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A node that has not reached the head yet; afterwards it is the head who knows how long others are waited for.
    fn joins(&self) -> bool {
        self.head.is_none() && self.started.is_none() && !self.link.is_connected()
    }

    /// Hears what others say, and looks at the clock.
    pub(crate) fn turn(&mut self, now: Instant) {
        if self.phase == Phase::Over {
            self.link.turn(now);
            return;
        }
        for heard in self.link.turn(now) {
            match heard {
                Heard::Joined(node) => {
                    let decision = self.head.as_mut().and_then(|head| head.joined(node));
                    self.decided(decision);
                }
                Heard::Said(node, order) => {
                    if self.head.is_some() {
                        self.hear(node, order, now);
                    } else {
                        self.obey(order);
                    }
                }
                Heard::Lost(node) => {
                    if self.head.is_some() {
                        let decision = self.head.as_mut().and_then(|head| head.lost(node));
                        self.decided(decision);
                    } else {
                        self.head_is_lost("the first node's agent is gone");
                    }
                }
            }
        }
        if self.joins() && now >= self.join_by {
            self.head_is_lost(&format!(
                "the first node ({}) did not answer within {} s",
                self.settings.address, self.settings.join_timeout
            ));
        }
        if let Some(activity) = &mut self.activity
            && activity.deadline() <= now
        {
            let period = seconds(self.settings.hang_timeout.unwrap_or(0.0));
            activity.look(now, period);
            let (quiet, place) = activity.quiet(now);
            if self.phase == Phase::Running {
                let rank = self.first_rank + u32::try_from(place).unwrap_or(0);
                let first = FirstFailure {
                    rank,
                    last_lines: crate::tail::last_lines(
                        &self.log_dir.join(format!("rank-{rank}.log")),
                    ),
                    ..FirstFailure::default()
                };
                self.tell(Order::Quiet {
                    round: self.round,
                    seconds: quiet.as_secs_f64(),
                    first: Box::new(self.with_host(first)),
                });
            }
        }
        let decision = self.head.as_mut().and_then(|head| head.tick(now));
        self.decided(decision);
    }

    /// Something of this node's for the head, wherever that is.
    fn tell(&mut self, order: Order) {
        if self.head.is_some() {
            self.hear(0, order, Instant::now());
        } else {
            self.link.tell_head(&order);
        }
    }

    fn hear(&mut self, node: u32, order: Order, now: Instant) {
        let decision = self
            .head
            .as_mut()
            .and_then(|head| head.hear(node, order, now));
        self.decided(decision);
    }

    /// The head has decided: all nodes hear it, this one too.
    fn decided(&mut self, decision: Option<Decision>) {
        let Some(decision) = decision else { return };
        let order = match decision {
            Decision::Start { round, restart } => match HeldPort::hold(self.settings.port) {
                Ok(held) => {
                    let port = held.number();
                    self.held = Some(held);
                    Order::Start {
                        round,
                        port,
                        restart,
                    }
                }
                Err(words) => {
                    let failure = self.own_failure(words, Outcome::LaunchFailed);
                    if let Some(head) = &mut self.head {
                        head.end();
                    }
                    Order::Over {
                        failure: Some(Box::new(failure)),
                    }
                }
            },
            Decision::Stop { round, why } => Order::Stop { round, why },
            Decision::Over { failure } => Order::Over { failure },
        };
        self.link.tell_all(&order);
        self.obey(order);
    }

    fn own_failure(&self, words: String, outcome: Outcome) -> Failure {
        let exit = RankExit {
            error: Some(words),
            ended: crate::clock::now_micros(),
            ..RankExit::default()
        };
        Failure::of(self.node, self.first_rank, exit, outcome)
    }

    fn head_is_lost(&mut self, words: &str) {
        if self.phase == Phase::Over {
            return;
        }
        if self.started.is_none() {
            let failure = self.own_failure(words.to_owned(), Outcome::LaunchFailed);
            self.over(Some(Box::new(failure)));
            return;
        }
        self.lost_head = true;
        match self.phase {
            // Whoever has ranks ends them first: the world is over when they are gone.
            Phase::Running => {
                self.phase = Phase::Stopping;
                self.steps.push_back(Step::Stop(Why::Failure));
            }
            Phase::Waiting => self.over_without_head(),
            Phase::Stopping | Phase::Over => {}
        }
    }

    fn over_without_head(&mut self) {
        let exit = RankExit {
            error: Some("the first node's agent is gone".to_owned()),
            ended: crate::clock::now_micros(),
            ..RankExit::default()
        };
        let failure = Failure::of(0, 0, exit, Outcome::Failed);
        self.over(Some(Box::new(failure)));
    }

    fn over(&mut self, failure: Option<Box<Failure>>) {
        self.phase = Phase::Over;
        self.held = None;
        self.steps.push_back(Step::Over(failure));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start {
                round,
                port,
                restart,
            } if self.phase == Phase::Waiting => {
                if round > 0 {
                    self.begin_round();
                }
                self.round = round;
                self.port = port;
                self.restarts.extend(restart.map(|restart| *restart));
                self.steps.push_back(Step::Start);
            }
            Order::Stop { round, why } if round == self.round && self.phase == Phase::Running => {
                self.phase = Phase::Stopping;
                self.steps.push_back(Step::Stop(why));
            }
            Order::Over { failure } if self.phase != Phase::Over => {
                self.heard_the_end = true;
                self.over(failure);
            }
            _ => {}
        }
    }

    /// What is left to say to others when the job is over.
    pub(crate) fn farewell(self, grace: Duration) -> Option<Farewell> {
        let link = self.link.ends()?;
        Some(Farewell {
            link,
            until: Instant::now() + FAREWELL + grace,
        })
    }
}

/// The head stays until the others have written their records, for its own end ends the step.
#[derive(Debug)]
pub(crate) struct Farewell {
    link: Link,
    until: Instant,
}

impl Farewell {
    pub(crate) fn descriptors<'a>(&'a self, polled: &mut Vec<PollFd<'a>>) {
        self.link.descriptors(polled);
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.until
    }

    /// True once there is nobody left to wait for.
    pub(crate) fn turn(&mut self, now: Instant) -> bool {
        self.link.turn(now);
        now >= self.until || !self.link.has_others()
    }
}
