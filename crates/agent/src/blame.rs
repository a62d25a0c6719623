//! Which rank of an attempt is to blame, and why: from the ends of the ranks, their error files and their logs.
//!
//! ```text
//! first by time ─ explain ─▶ a reason of its own? ─▶ that one
//!                                  └ no: the others ─ explain ─▶ why::choose
//! ```
//!
//! Pitfall: after the first failure the others are told to end. What they say then may be no reason of anything.

use std::path::{Path, PathBuf};

use mizzen_agent::record::{ExitRecord, FirstFailure, LAST_LINES, Outcome, RankExit};
use mizzen_agent::why::{self, Facts, Suspect, Why};

use crate::tail::{last_lines, last_words};

/// Only so many ranks are looked into: one that has a reason is among the first of thousands.
const MOST: usize = 64;

/// Where a rank leaves its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Papers {
    /// Its log.
    pub(crate) log: PathBuf,
    /// Its error file, which need not be there.
    pub(crate) error_file: PathBuf,
}

impl Papers {
    /// Of the rank with this number (counted over all nodes) whose logs are in this folder.
    pub(crate) fn of(folder: &Path, number: usize) -> Papers {
        Papers {
            log: folder.join(format!("rank-{number}.log")),
            error_file: folder.join("errors").join(format!("rank-{number}.json")),
        }
    }

    fn explain(&self, exit: &RankExit, outcome: Outcome) -> Option<Why> {
        why::explain(&Facts {
            exit,
            outcome,
            last_lines: &last_words(&self.log),
            error_file: Some(&self.error_file),
        })
    }
}

/// The failure of ranks that one agent has seen end. `first`: the place in `exits` of the one that ended badly first;
/// `outcome`: how; `papers`: of the rank with a place.
pub(crate) fn of_ranks(
    first: usize,
    outcome: Outcome,
    exits: &[RankExit],
    papers: impl Fn(usize) -> Papers,
) -> FirstFailure {
    let explain = |rank: usize| {
        let outcome = if rank == first {
            outcome
        } else {
            Outcome::Failed
        };
        papers(rank).explain(&exits[rank], outcome)
    };
    let (mut blamed, mut reason) = (first, explain(first));
    if reason.as_ref().is_some_and(|why| why.kind.is_follower()) {
        let others = (0..exits.len()).filter(|rank| *rank != first && ended_badly(&exits[*rank]));
        let mut looked: Vec<(usize, Option<Why>)> = vec![(first, reason)];
        looked.extend(others.take(MOST).map(|rank| (rank, explain(rank))));
        let suspects: Vec<Suspect> = looked
            .iter()
            .map(|(rank, why)| Suspect {
                // The first is first whatever the clock says.
                ended: if *rank == first {
                    exits[first].ended
                } else {
                    exits[*rank].ended.max(exits[first].ended)
                },
                reason: why.as_ref().map(|why| why.kind),
                by_itself: *rank == first,
            })
            .collect();
        let chosen = why::choose(&suspects).unwrap_or(0);
        (blamed, reason) = looked.swap_remove(chosen);
    }
    let others = exits
        .iter()
        .enumerate()
        .filter(|(rank, exit)| *rank != blamed && ended_badly(exit))
        .map(|(_, exit)| exit.ended);
    if let Some(why) = &mut reason {
        // Which node this is, the record tells where there are several.
        why.host = why.host.take().filter(|host| !is_this_machine(host));
    }
    FirstFailure {
        rank: u32::try_from(blamed).unwrap_or(u32::MAX),
        last_lines: last_lines(&papers(blamed).log),
        host: exits.get(blamed).and_then(|exit| exit.host.clone()),
        ahead: why::ahead(exits[blamed].ended, others),
        reason,
    }
}

/// Of records of single ranks that failed by themselves, with their numbers, the one to blame. `ended`: when a record's rank did.
pub(crate) fn among<'a>(
    failed: &[(usize, &'a ExitRecord)],
    ended: impl Fn(&ExitRecord) -> i64,
) -> Option<(usize, &'a ExitRecord)> {
    let suspects: Vec<Suspect> = failed
        .iter()
        .map(|(_, record)| Suspect {
            ended: ended(record),
            reason: reason_of(record).map(|why| why.kind),
            by_itself: true,
        })
        .collect();
    why::choose(&suspects).map(|chosen| failed[chosen])
}

fn reason_of(record: &ExitRecord) -> Option<&Why> {
    record.first_failure.as_ref()?.reason.as_ref()
}

/// The machine of a record, if not all of these ran on one.
pub(crate) fn host_among(record: &ExitRecord, all: &[Option<ExitRecord>]) -> Option<String> {
    all.iter()
        .flatten()
        .any(|other| other.host != record.host)
        .then(|| record.host.clone())
}

/// Seconds from the end of a record's rank to the next one that did not end well.
pub(crate) fn ahead(
    record: &ExitRecord,
    all: &[Option<ExitRecord>],
    ended: impl Fn(&ExitRecord) -> i64,
) -> Option<f64> {
    let others = all
        .iter()
        .flatten()
        .filter(|other| !std::ptr::eq(*other, record) && other.outcome != Outcome::Succeeded)
        .map(&ended);
    why::ahead(ended(record), others)
}

/// `n2` and `n2.cluster` are one machine.
fn is_this_machine(host: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let own = nix::unistd::gethostname().unwrap_or_default();
    short(&own.to_string_lossy()) == short(host)
}

fn ended_badly(exit: &RankExit) -> bool {
    exit.code != Some(0) && exit.error.is_none()
}

/// The reason of a rank that left no record, by what its launcher said of it: those words go behind its own.
pub(crate) fn of_lost(
    exit: &RankExit,
    outcome: Outcome,
    log: Option<&Path>,
    words: Vec<String>,
) -> FirstFailure {
    let mut lines = log.map(last_words).unwrap_or_default();
    lines.extend(words.iter().cloned());
    let reason = why::explain(&Facts {
        exit,
        outcome,
        last_lines: &lines,
        error_file: None,
    });
    let mut last_lines = log.map(last_lines).unwrap_or_default();
    let room = LAST_LINES.saturating_sub(words.len());
    last_lines.drain(..last_lines.len().saturating_sub(room));
    last_lines.extend(words);
    FirstFailure {
        last_lines,
        reason,
        ..FirstFailure::default()
    }
}
