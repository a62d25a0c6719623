//! What the ends of ranks mean for their members and for the job: bookkeeping without a system call.
//!
//! ```text
//! rank ends ──▶ first bad one? ──▶ the job ends: Failed, the other members GroupFailed
//!          └──▶ a leader's last, all 0? ──▶ the job ends well: the other members GroupEnded
//! timeout, cancel, signal ──▶ the job ends: TimedOut, Cancelled, Interrupted
//! ```
//!
//! The first reason to end is the one that counts; what the ranks do once they were told to end changes no verdict. A
//! member that had ended well before is `Succeeded` whatever comes later.

use mizzen_agent::protocol::Job;
use mizzen_agent::record::{Outcome, RankExit};

/// Why the job is being ended before all of its ranks ended by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A rank failed, or could not be started.
    Failure {
        member: usize,
        rank: usize,
        outcome: Outcome,
    },
    /// A rank of another node failed: this node's part of that, and the status to end with.
    Elsewhere { outcome: Outcome, status: u8 },
    /// A leader ended well.
    LeaderEnded,
    /// The wall time is used up.
    TimedOut,
    /// The supervisor asked for it.
    Cancelled,
    /// The agent got this signal.
    Interrupted(i32),
}

/// The state of all members.
#[derive(Debug)]
pub(crate) struct Verdict {
    members: Vec<MemberState>,
    reason: Option<Reason>,
}

#[derive(Debug)]
struct MemberState {
    leader: bool,
    ranks: Vec<Option<RankExit>>,
    /// All ranks exited with 0 before there was a reason to end the job.
    ended_well: bool,
}

impl Verdict {
    pub(crate) fn new(job: &Job) -> Verdict {
        let member = |member: &mizzen_agent::protocol::Member| MemberState {
            leader: member.leader,
            ranks: vec![None; member.ranks.len()],
            // A member without a process has nothing that could fail.
            ended_well: member.ranks.is_empty(),
        };
        Verdict {
            members: job.members.iter().map(member).collect(),
            reason: None,
        }
    }

    /// Takes a rank's end. `failed_as` is the outcome if this is the failure that ends the job. True if the rest of the
    /// job is to be ended because of it.
    pub(crate) fn rank_ended(
        &mut self,
        member: usize,
        rank: usize,
        exit: RankExit,
        failed_as: Outcome,
    ) -> bool {
        let well = exit.code == Some(0);
        let state = &mut self.members[member];
        state.ranks[rank] = Some(exit);
        if self.reason.is_some() {
            return false;
        }
        if !well {
            self.reason = Some(Reason::Failure {
                member,
                rank,
                outcome: failed_as,
            });
            return true;
        }
        // Without a reason to end, every end so far was a good one.
        state.ended_well = state.ranks.iter().all(Option::is_some);
        if state.ended_well && state.leader {
            self.reason = Some(Reason::LeaderEnded);
            return true;
        }
        false
    }

    /// Gives a reason to end the job; false if it has one already.
    pub(crate) fn end(&mut self, reason: Reason) -> bool {
        let first = self.reason.is_none();
        self.reason.get_or_insert(reason);
        first
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason
    }

    pub(crate) fn outcome(&self, member: usize) -> Outcome {
        if self.members[member].ended_well {
            return Outcome::Succeeded;
        }
        match self.reason {
            Some(Reason::Failure {
                member: failed,
                outcome,
                ..
            }) if failed == member => outcome,
            Some(Reason::Failure { .. }) => Outcome::GroupFailed,
            Some(Reason::Elsewhere { outcome, .. }) => outcome,
            Some(Reason::LeaderEnded) => Outcome::GroupEnded,
            Some(Reason::TimedOut) => Outcome::TimedOut,
            Some(Reason::Cancelled) => Outcome::Cancelled,
            Some(Reason::Interrupted(_)) => Outcome::Interrupted,
            // A member that did not end well has failed, which is a reason.
            None => unreachable!("asked for the outcome of a member that still runs"),
        }
    }

    /// The rank of this member that failed first, if that is why the job ended.
    pub(crate) fn first_failure(&self, member: usize) -> Option<usize> {
        match self.reason {
            Some(Reason::Failure {
                member: failed,
                rank,
                ..
            }) if failed == member => Some(rank),
            _ => None,
        }
    }

    /// The ends of a member's ranks, by number; `missing` stands for those that were never started.
    pub(crate) fn ranks(&mut self, member: usize, missing: &RankExit) -> Vec<RankExit> {
        self.members[member]
            .ranks
            .iter_mut()
            .map(|exit| exit.take().unwrap_or_else(|| missing.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mizzen_agent::protocol::{Member, Rank};

    /// A job of members given as (leader, number of ranks).
    fn verdict(members: &[(bool, usize)]) -> Verdict {
        let member = |(leader, ranks): &(bool, usize)| Member {
            name: String::new(),
            attempt_dir: String::new(),
            log_dir: None,
            first_rank: 0,
            workdir: String::new(),
            env: Vec::new(),
            inherit: false,
            code: None,
            world: None,
            of_node: false,
            leader: *leader,
            ranks: vec![
                Rank {
                    argv: Vec::new(),
                    env: Vec::new()
                };
                *ranks
            ],
        };
        Verdict::new(&Job {
            key: String::new(),
            members: members.iter().map(member).collect(),
            timeout: None,
            grace: 0.0,
            devices: None,
            heartbeat: 0.0,
            peers: Vec::new(),
        })
    }

    fn code(code: i32) -> RankExit {
        RankExit {
            code: Some(code),
            signal: None,
            error: None,
            ended: 0,
            host: None,
        }
    }

    #[test]
    fn the_first_failure_counts_and_later_ones_do_not() {
        let mut job = verdict(&[(false, 3), (false, 1)]);
        assert!(!job.rank_ended(0, 0, code(0), Outcome::Failed));
        assert!(job.rank_ended(0, 2, code(7), Outcome::Failed));
        assert!(!job.rank_ended(0, 1, code(9), Outcome::OutOfMemory));
        assert!(!job.rank_ended(1, 0, code(1), Outcome::Failed));
        assert_eq!(
            (job.outcome(0), job.outcome(1)),
            (Outcome::Failed, Outcome::GroupFailed)
        );
        assert_eq!(
            (job.first_failure(0), job.first_failure(1)),
            (Some(2), None)
        );
    }

    #[test]
    fn who_had_ended_well_stays_so() {
        let mut job = verdict(&[(false, 1), (false, 1)]);
        assert!(!job.rank_ended(0, 0, code(0), Outcome::Failed));
        assert!(job.end(Reason::Cancelled));
        assert!(!job.end(Reason::TimedOut));
        assert!(!job.rank_ended(1, 0, code(0), Outcome::Failed));
        assert_eq!(
            (job.outcome(0), job.outcome(1)),
            (Outcome::Succeeded, Outcome::Cancelled)
        );
    }

    #[test]
    fn a_leader_ends_the_group_with_its_last_rank() {
        let mut job = verdict(&[(true, 2), (false, 1)]);
        assert!(!job.rank_ended(0, 0, code(0), Outcome::Failed));
        assert!(job.rank_ended(0, 1, code(0), Outcome::Failed));
        assert!(!job.rank_ended(1, 0, code(143), Outcome::Failed));
        assert_eq!(
            (job.outcome(0), job.outcome(1)),
            (Outcome::Succeeded, Outcome::GroupEnded)
        );
    }
}
