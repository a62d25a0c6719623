//! The head's decisions: when the ranks of all nodes start, stop, start again, and how it ended. Nothing here waits or sends.
//!
//! ```text
//! gathering ── all joined ──▶ running ── a rank failed · a node is lost · all are quiet ──▶ stopping
//!                                │ ▲                                                            │ all gone
//!                                │ └──────────────── restarts left ─────────────────────────────┤
//!                                └── all gone, none failed ──▶ over ◀── none left ──────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mizzen_agent::protocol::World;
use mizzen_agent::record::{FirstFailure, Outcome, RankExit, Restart};
use mizzen_agent::why::{Why as Reason, WhyKind};
use serde::{Deserialize, Serialize};

use crate::clock::{now_micros, seconds};

/// A port that somebody else has taken between its choice and its use is no failure of the program's: so often the world starts
/// again for that alone.
const PORT_TRIES: u32 = 3;

/// The failure that ends a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The rank, counted over all nodes.
    pub(crate) rank: u32,
    /// Its node.
    pub(crate) node: u32,
    pub(crate) exit: RankExit,
    pub(crate) outcome: Outcome,
    pub(crate) first: FirstFailure,
    /// It says that the rendezvous port was taken.
    pub(crate) port_taken: bool,
}

impl Failure {
    /// Of a rank that has nothing to say itself.
    pub(crate) fn of(node: u32, rank: u32, exit: RankExit, outcome: Outcome) -> Failure {
        let last_lines = exit.error.iter().cloned().collect();
        Failure {
            rank,
            node,
            exit,
            outcome,
            first: FirstFailure {
                rank,
                last_lines,
                ..FirstFailure::default()
            },
            port_taken: false,
        }
    }

    /// The status that a program ends with because of it.
    pub(crate) fn status(&self) -> u8 {
        match (self.outcome, self.exit.code, self.exit.signal) {
            (Outcome::LaunchFailed, ..) => 127,
            (_, Some(code), _) if code != 0 => u8::try_from(code & 0xff).unwrap_or(1),
            (_, _, Some(signal)) => u8::try_from(128 + signal).unwrap_or(1),
            _ => 1,
        }
    }
}

/// Why a round is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    Failure,
    Hung,
    Leaving,
}

/// What agents of one world say to each other: the first four to the head, the others by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The first of a node's ranks has failed.
    Failed { round: u32, failure: Box<Failure> },
    /// Nothing of a node's ranks is left; if some ended badly, whom of them to blame.
    Gone {
        round: u32,
        failure: Option<Box<FirstFailure>>,
    },
    /// How long none of a node's ranks has given a sign of life, and which of them is silent longest.
    Quiet {
        round: u32,
        seconds: f64,
        first: Box<FirstFailure>,
    },
    /// The node's agent ends its job because it was asked to.
    Leaving,
    /// Start the ranks.
    Start {
        round: u32,
        port: u16,
        /// Why it is not the first time.
        restart: Option<Box<Restart>>,
    },
    /// End the ranks.
    Stop { round: u32, why: Why },
    /// All is over.
    Over { failure: Option<Box<Failure>> },
}

/// What the head has decided.
#[derive(Debug)]
pub(crate) enum Decision {
    Start {
        round: u32,
        restart: Option<Box<Restart>>,
    },
    Stop {
        round: u32,
        why: Why,
    },
    Over {
        failure: Option<Box<Failure>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Gathering,
    Running,
    Stopping,
    Over,
}

/// Who is here, and what is known of them.
#[derive(Debug)]
pub(crate) struct Head {
    nodes: u32,
    per_node: u32,
    restarts_left: u32,
    port_tries_left: u32,
    hang_timeout: Option<Duration>,
    join_timeout: f64,
    join_by: Instant,
    state: State,
    round: u32,
    joined: BTreeSet<u32>,
    gone: BTreeSet<u32>,
    quiet: BTreeMap<u32, (Instant, FirstFailure)>,
    failure: Option<Box<Failure>>,
    leaving: bool,
    lost: bool,
}

impl Head {
    /// `agents`: how many nodes will join.
    pub(crate) fn new(world: &World, agents: u32, now: Instant) -> Head {
        Head {
            nodes: agents,
            per_node: world.per_node,
            restarts_left: world.max_restarts,
            port_tries_left: PORT_TRIES,
            hang_timeout: world.hang_timeout.map(seconds),
            join_timeout: world.join_timeout,
            join_by: now + seconds(world.join_timeout),
            state: State::Gathering,
            round: 0,
            joined: BTreeSet::new(),
            gone: BTreeSet::new(),
            quiet: BTreeMap::new(),
            failure: None,
            leaving: false,
            lost: false,
        }
    }

    /// A node is here.
    pub(crate) fn joined(&mut self, node: u32) -> Option<Decision> {
        if node < self.nodes {
            self.joined.insert(node);
        }
        if self.state != State::Gathering || self.joined.len() < self.nodes as usize {
            return None;
        }
        self.state = State::Running;
        Some(Decision::Start {
            round: 0,
            restart: None,
        })
    }

    /// A node's connection ended before the world did.
    pub(crate) fn lost(&mut self, node: u32) -> Option<Decision> {
        if self.state == State::Over || !self.joined.contains(&node) {
            return None;
        }
        self.lost = true;
        self.gone.insert(node);
        let exit = RankExit {
            error: Some(format!("the agent of node {node} is gone")),
            ended: now_micros(),
            ..RankExit::default()
        };
        let failure = Failure::of(node, node * self.per_node, exit, Outcome::Failed);
        self.failed(failure, Why::Failure).or_else(|| self.settle())
    }

    /// Nothing more is to be decided.
    pub(crate) fn end(&mut self) {
        self.state = State::Over;
    }

    fn failed(&mut self, failure: Failure, why: Why) -> Option<Decision> {
        match self.state {
            State::Gathering => {
                self.state = State::Over;
                Some(Decision::Over {
                    failure: Some(Box::new(failure)),
                })
            }
            State::Running => {
                self.state = State::Stopping;
                self.failure = Some(Box::new(failure));
                Some(Decision::Stop {
                    round: self.round,
                    why,
                })
            }
            State::Stopping | State::Over => None,
        }
    }

    /// A node says something.
    pub(crate) fn hear(&mut self, node: u32, order: Order, now: Instant) -> Option<Decision> {
        match order {
            Order::Failed { round, failure } if round == self.round => {
                self.failed(*failure, Why::Failure)
            }
            Order::Gone { round, failure } if round == self.round => {
                if let Some(failure) = failure {
                    self.blame(node, *failure);
                }
                self.gone.insert(node);
                self.settle()
            }
            Order::Quiet {
                round,
                seconds: quiet,
                first,
            } if round == self.round => {
                let since = now.checked_sub(seconds(quiet)).unwrap_or(now);
                self.quiet.insert(node, (since, *first));
                self.hung(now)
            }
            Order::Leaving if self.state != State::Over => {
                self.leaving = true;
                let running = self.state == State::Running;
                self.state = State::Stopping;
                running.then_some(Decision::Stop {
                    round: self.round,
                    why: Why::Leaving,
                })
            }
            _ => None,
        }
    }

    /// All nodes are silent for too long: a world of which one rank hangs is one in which all wait for it, and often one rank alone
    /// has something to say.
    fn hung(&mut self, now: Instant) -> Option<Decision> {
        let limit = self.hang_timeout?;
        if self.state != State::Running || self.quiet.len() < self.nodes as usize {
            return None;
        }
        let latest = self.quiet.values().map(|(since, _)| *since).max()?;
        if now.duration_since(latest) < limit {
            return None;
        }
        let (node, (_, first)) = self.quiet.iter().min_by_key(|(_, (since, _))| *since)?;
        let (node, first) = (*node, first.clone());
        let exit = RankExit {
            error: Some(format!(
                "no rank has given a sign of life for {} s",
                limit.as_secs_f64()
            )),
            ended: now_micros(),
            ..RankExit::default()
        };
        let mut failure = Failure::of(node, first.rank, exit, Outcome::Hung);
        failure.first = FirstFailure {
            reason: Some(Reason::new(
                WhyKind::Hung,
                format!(
                    "no rank wrote anything or touched its heartbeat file for {} s",
                    limit.as_secs_f64()
                ),
            )),
            ..first
        };
        self.failed(failure, Why::Hung)
    }

    /// A node has looked at all of its ranks' ends: it knows best whom of them to blame. Another node's rank is blamed if the first
    /// said no more than that somebody was gone, and that one has a reason of its own.
    fn blame(&mut self, node: u32, found: FirstFailure) {
        let Some(failure) = &mut self.failure else {
            return;
        };
        if failure.outcome == Outcome::Hung {
            return;
        }
        let kind = |first: &FirstFailure| first.reason.as_ref().map(|why| why.kind);
        let follows = kind(&failure.first).is_some_and(WhyKind::is_follower);
        let own = kind(&found).is_some_and(|kind| !kind.is_follower() && !kind.is_told());
        if node == failure.node || (follows && own) {
            failure.rank = found.rank;
            failure.node = node;
            failure.first = found;
        }
    }

    /// What comes once all ranks are gone.
    fn settle(&mut self) -> Option<Decision> {
        if self.gone.len() < self.nodes as usize
            || !matches!(self.state, State::Running | State::Stopping)
        {
            return None;
        }
        let failure = self.failure.take();
        let again = failure.as_ref().is_some_and(|failure| {
            let sensible = failure.outcome != Outcome::LaunchFailed && !self.lost && !self.leaving;
            if sensible && failure.port_taken && self.port_tries_left > 0 {
                self.port_tries_left -= 1;
                return true;
            }
            let again = sensible && self.restarts_left > 0;
            self.restarts_left -= u32::from(again);
            again
        });
        match failure {
            Some(failure) if again => {
                self.round += 1;
                self.gone.clear();
                self.quiet.clear();
                self.state = State::Running;
                Some(Decision::Start {
                    round: self.round,
                    restart: Some(Box::new(Restart {
                        time: now_micros(),
                        first_failure: failure.first,
                    })),
                })
            }
            failure => {
                self.state = State::Over;
                Some(Decision::Over { failure })
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.state == State::Gathering).then_some(self.join_by)
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Decision> {
        if self.state != State::Gathering || now < self.join_by {
            return None;
        }
        let missing: Vec<u32> = (0..self.nodes)
            .filter(|node| !self.joined.contains(node))
            .collect();
        let first = *missing.first()?;
        let names: Vec<String> = missing.iter().map(u32::to_string).collect();
        let exit = RankExit {
            error: Some(format!(
                "of {} nodes these did not come within {} s: {}",
                self.nodes,
                self.join_timeout,
                names.join(", ")
            )),
            ended: now_micros(),
            ..RankExit::default()
        };
        let failure = Failure::of(first, first * self.per_node, exit, Outcome::LaunchFailed);
        self.failed(failure, Why::Failure)
    }
}
