//! `mizzen-agent conclude`: one record of an attempt from those of its ranks, after the step has ended.
//!
//! ```text
//! ranks/*/exit.json + the launcher's status ─▶ who failed first ─▶ exit.json
//! nodes/*/exit.json of a world: the same, and its first node's record says who failed first
//! ```
//!
//! The first failure is the earliest among the ranks that failed by themselves. A rank that was told to end, or that left
//! nothing because the launcher killed it with its agent, is never the first: it ended because of something else.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use mizzen_agent::node;
use mizzen_agent::protocol::{CLAIM, EXIT_RECORD};
use mizzen_agent::record::{ExitRecord, FirstFailure, Outcome, RECORD_VERSION, RankExit};
use mizzen_agent::samples::UsageSummary;

use crate::blame;
use crate::channel::say;
use crate::clock::now_micros;
use crate::options::Options;
use crate::rank::{node_folder, rank_folder};
use crate::tail::last_lines;
use crate::writer::Writer;

/// How long records may take to be seen: ranks of other nodes write to the same file system, but not through the same
/// cache.
const LATE: Duration = Duration::from_secs(5);
/// The first pause between two looks; doubled each time.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a full disk is waited for.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Conclude {
    attempt: String,
    key: String,
    name: String,
    ranks: u32,
    /// Of a world: how many ranks each node has, which left one record for all of them.
    per_node: Option<u32>,
    status: i32,
    log: Option<String>,
    end: Option<Outcome>,
}

impl Conclude {
    /// Reads the mode's arguments.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Conclude, String> {
        let known = [
            "attempt", "key", "name", "ranks", "per-node", "status", "log", "end",
        ];
        let options = Options::read("conclude", arguments, &known)?;
        let end = match options.find("end") {
            None => None,
            Some("group-ended") => Some(Outcome::GroupEnded),
            Some("group-failed") => Some(Outcome::GroupFailed),
            Some("cancelled") => Some(Outcome::Cancelled),
            Some("timed-out") => Some(Outcome::TimedOut),
            Some("interrupted") => Some(Outcome::Interrupted),
            Some(other) => return Err(format!("--end: {other:?} is no way to end")),
        };
        Ok(Conclude {
            attempt: options.get("attempt")?.to_owned(),
            key: options.get("key")?.to_owned(),
            name: options.get("name")?.to_owned(),
            ranks: options.number("ranks")?.ok_or("`conclude` needs --ranks")?,
            per_node: options.number("per-node")?.filter(|count| *count > 0),
            status: options
                .number("status")?
                .ok_or("`conclude` needs --status")?,
            log: options.find("log").map(str::to_owned),
            end,
        })
    }

    /// Writes the attempt's record.
    pub(crate) fn run(&self) -> ExitCode {
        let folder = Path::new(&self.attempt);
        let record = self.record(self.read_records());
        let mut writer = Writer::default();
        let Err(error) = writer.write(folder, &record) else {
            return ExitCode::SUCCESS;
        };
        say(&format!(
            "{}: can't write the record, will try again: {error}",
            self.attempt
        ));
        let give_up_at = Instant::now() + WRITE_LIMIT;
        while writer.has_pending() && Instant::now() < give_up_at {
            if let Some(at) = writer.deadline() {
                thread::park_timeout(at.saturating_duration_since(Instant::now()));
            }
            writer.retry(Instant::now());
        }
        if writer.has_pending() {
            say(&format!("{}: gave up writing the record", self.attempt));
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    /// How many ranks one record is of.
    fn width(&self) -> u32 {
        self.per_node.unwrap_or(1)
    }

    /// The folder of the record with a number: a rank's, or a node's.
    fn folder(&self, part: usize) -> String {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        match self.per_node {
            Some(_) => node_folder(&self.attempt, part),
            None => rank_folder(&self.attempt, part),
        }
    }

    /// The first rank that the record with a number is of.
    fn first_rank(&self, part: usize) -> u32 {
        u32::try_from(part)
            .unwrap_or(u32::MAX)
            .saturating_mul(self.width())
    }

    fn is_claimed(&self, part: usize) -> bool {
        fs::symlink_metadata(Path::new(&self.folder(part)).join(CLAIM)).is_ok()
    }

    fn read_records(&self) -> Vec<Option<ExitRecord>> {
        let mut records: Vec<Option<ExitRecord>> =
            vec![None; self.ranks.div_ceil(self.width()) as usize];
        let give_up_at = Instant::now() + LATE;
        let mut pause = PAUSE;
        loop {
            for (rank, record) in records
                .iter_mut()
                .enumerate()
                .filter(|(_, record)| record.is_none())
            {
                *record = read(&self.folder(rank), &self.key);
            }
            let missing = records.iter().filter(|record| record.is_none()).count();
            let failed = records
                .iter()
                .flatten()
                .any(|record| is_own_failure(record.outcome));
            // Once a failure explains the status, the others were killed before they could write anything.
            let explained = failed && self.status != 0;
            if missing == 0 || explained || Instant::now() >= give_up_at {
                return records;
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn record(&self, records: Vec<Option<ExitRecord>>) -> ExitRecord {
        let now = now_micros();
        let failed: Vec<(usize, &ExitRecord)> = records
            .iter()
            .enumerate()
            .filter_map(|(rank, record)| Some((rank, record.as_ref()?)))
            .filter(|(_, record)| is_own_failure(record.outcome))
            .collect();
        // A world's first node has heard of all failures in their order.
        let of_head = { failed.first() }
            .filter(|(part, record)| *part == 0 && record.first_failure.is_some())
            .filter(|_| self.per_node.is_some())
            .copied();
        let first = of_head.or_else(|| blame::among(&failed, failed_at));
        let well = |record: &Option<ExitRecord>| {
            record
                .as_ref()
                .is_some_and(|record| record.outcome == Outcome::Succeeded)
        };
        // A claim without a record: it has begun, and was killed with its agent.
        let lost =
            (0..records.len()).find(|rank| records[*rank].is_none() && self.is_claimed(*rank));
        let words = self.log.as_deref().map(Path::new).map(last_lines);
        let words = words.unwrap_or_default();
        let outcome = match (&first, self.end) {
            (Some((_, record)), None | Some(Outcome::Interrupted)) => record.outcome,
            // Its group's end came first, or a failure of another member did.
            (_, Some(end)) if !records.iter().all(well) => end,
            (Some((_, record)), Some(_)) => record.outcome,
            // Who had ended well stays so, whatever its launcher was told afterwards.
            _ if records.iter().all(well) && (self.status == 0 || self.end.is_some()) => {
                Outcome::Succeeded
            }
            // Each rank has ended well, and srun all the same says otherwise.
            _ if records.iter().all(well) => Outcome::Failed,
            _ if records
                .iter()
                .flatten()
                .any(|record| record.outcome == Outcome::Interrupted) =>
            {
                Outcome::Interrupted
            }
            // Killed with its agent, which Slurm does to all of a step that has used up its memory.
            _ if lost.is_some() && words.iter().any(|line| says_out_of_memory(line)) => {
                Outcome::OutOfMemory
            }
            _ if lost.is_none() && records.iter().all(Option::is_none) && self.status != 0 => {
                Outcome::LaunchFailed
            }
            _ => Outcome::Failed,
        };
        let missing = RankExit {
            code: None,
            signal: None,
            error: Some(match self.status {
                0 => "left no record".to_owned(),
                status => format!("left no record; the step ended with status {status}"),
            }),
            ended: now,
            host: None,
        };
        let first_failure = match first {
            Some((_, record)) if outcome == record.outcome && self.per_node.is_some() => {
                record.first_failure.clone()
            }
            Some((rank, record)) if outcome == record.outcome => Some(FirstFailure {
                rank: u32::try_from(rank).unwrap_or(u32::MAX),
                host: blame::host_among(record, &records),
                ahead: blame::ahead(record, &records, failed_at),
                ..record.first_failure.clone().unwrap_or_default()
            }),
            _ if matches!(
                outcome,
                Outcome::LaunchFailed | Outcome::Failed | Outcome::OutOfMemory
            ) =>
            {
                let part = lost.or_else(|| records.iter().position(Option::is_none));
                let rank = self.first_rank(part.unwrap_or(0));
                let log = lost.map(|_| Path::new(&self.attempt).join(format!("rank-{rank}.log")));
                let exit = records.get(part.unwrap_or(0)).and_then(Option::as_ref);
                let exit = exit.and_then(|record| record.ranks.first());
                Some(FirstFailure {
                    rank,
                    ..blame::of_lost(exit.unwrap_or(&missing), outcome, log.as_deref(), words)
                })
            }
            _ => None,
        };
        let there = || records.iter().flatten();
        ExitRecord {
            version: RECORD_VERSION,
            key: self.key.clone(),
            name: self.name.clone(),
            host: first
                .map(|(_, record)| record)
                .or_else(|| there().next())
                .map(|record| record.host.clone())
                .unwrap_or_default(),
            outcome,
            started: there().map(|record| record.started).min().unwrap_or(now),
            ended: there().map(|record| record.ended).max().unwrap_or(now),
            user_seconds: there().map(|record| record.user_seconds).sum(),
            system_seconds: there().map(|record| record.system_seconds).sum(),
            peak_memory: there().map(|record| record.peak_memory).max().unwrap_or(0),
            ranks: records
                .iter()
                .flat_map(|record| {
                    let of_node = |exit: &RankExit, record: &ExitRecord| RankExit {
                        host: self.per_node.map(|_| record.host.clone()),
                        ..exit.clone()
                    };
                    (0..self.width() as usize).map(move |place| {
                        let record = record.as_ref();
                        let exit =
                            record.and_then(|record| Some((record.ranks.get(place)?, record)));
                        exit.map(|(exit, record)| of_node(exit, record))
                    })
                })
                .map(|exit| exit.unwrap_or_else(|| missing.clone()))
                .collect(),
            first_failure,
            devices: Vec::new(),
            stragglers: there().map(|record| record.stragglers).sum(),
            nodes: node::read_all(Path::new(&self.attempt)),
            restarts: { there().next() }
                .map(|record| record.restarts.clone())
                .unwrap_or_default(),
            usage: usage(&records),
        }
    }
}

/// What all of them used together; none if no sample was taken of any.
fn usage(records: &[Option<ExitRecord>]) -> Option<UsageSummary> {
    let all = records.iter().flatten();
    all.clone().find(|record| record.usage.is_some())?;
    UsageSummary::together(all.map(UsageSummary::of_record))
}

fn read(folder: &str, key: &str) -> Option<ExitRecord> {
    let bytes = fs::read(Path::new(folder).join(EXIT_RECORD)).ok()?;
    let record: ExitRecord = serde_json::from_slice(&bytes).ok()?;
    (record.key == key).then_some(record)
}

/// Slurm's words for the kernel's out-of-memory killer.
fn says_out_of_memory(line: &str) -> bool {
    ["oom_kill event", "oom-kill event", "Out Of Memory"]
        .iter()
        .any(|words| line.contains(words))
}

fn is_own_failure(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed
            | Outcome::LaunchFailed
            | Outcome::OutOfMemory
            | Outcome::Hung
            | Outcome::TimedOut
    )
}

/// When a rank's process ended: the record's own end comes later, when nothing of it is left.
fn failed_at(record: &ExitRecord) -> i64 {
    record.ranks.first().map_or(record.ended, |rank| rank.ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome, ended: i64, code: i32) -> Option<ExitRecord> {
        let exit = RankExit {
            code: Some(code),
            signal: None,
            error: None,
            ended,
            host: None,
        };
        Some(ExitRecord {
            version: RECORD_VERSION,
            key: "k".to_owned(),
            name: "n".to_owned(),
            host: format!("host-{ended}"),
            outcome,
            started: ended - 5,
            ended: ended + 100,
            user_seconds: 1.0,
            system_seconds: 0.5,
            peak_memory: ended.unsigned_abs(),
            ranks: vec![exit],
            first_failure: is_own_failure(outcome).then(|| FirstFailure {
                rank: 0,
                last_lines: vec![format!("failed at {ended}")],
                ..FirstFailure::default()
            }),
            devices: Vec::new(),
            stragglers: 1,
            nodes: Vec::new(),
            restarts: Vec::new(),
            usage: None,
        })
    }

    fn conclude(status: i32, end: Option<Outcome>, records: Vec<Option<ExitRecord>>) -> ExitRecord {
        let conclude = Conclude {
            attempt: "/nowhere".to_owned(),
            key: "k".to_owned(),
            name: "n".to_owned(),
            ranks: u32::try_from(records.len()).unwrap(),
            per_node: None,
            status,
            log: None,
            end,
        };
        conclude.record(records)
    }

    #[test]
    fn the_earliest_failure_of_its_own_is_the_first() {
        let merged = conclude(
            7,
            None,
            vec![
                record(Outcome::Interrupted, 10, 143),
                record(Outcome::Failed, 40, 7),
                None,
                record(Outcome::Failed, 30, 9),
            ],
        );
        assert_eq!(merged.outcome, Outcome::Failed);
        let first = merged.first_failure.unwrap();
        assert_eq!(
            (first.rank, first.last_lines),
            (3, vec!["failed at 30".to_owned()])
        );
        assert_eq!(first.host.as_deref(), Some("host-30"));
        assert_eq!(first.ahead, None, "another one had ended before it");
        assert_eq!(merged.host, "host-30");
        assert_eq!(
            (merged.started, merged.ended, merged.stragglers),
            (5, 140, 3)
        );
        assert!((merged.user_seconds - 3.0).abs() < f64::EPSILON);
        assert_eq!(merged.ranks.len(), 4);
        assert!(
            merged.ranks[2]
                .error
                .as_deref()
                .unwrap()
                .contains("left no record")
        );
        assert_eq!(merged.ranks[3].code, Some(9));
    }

    #[test]
    fn who_only_lost_a_peer_is_not_blamed() {
        use mizzen_agent::why::{Why, WhyKind};
        let told = |mut record: Option<ExitRecord>, kind| {
            let first = record.as_mut().and_then(|one| one.first_failure.as_mut());
            first.unwrap().reason = Some(Why::new(kind, "words"));
            record
        };
        let second = 1_000_000;
        let merged = conclude(
            1,
            None,
            vec![
                told(record(Outcome::Failed, second, 1), WhyKind::PeerLost),
                record(Outcome::Interrupted, 4 * second, 143),
                told(record(Outcome::Failed, 2 * second, 1), WhyKind::DiskFull),
                told(record(Outcome::Failed, 3 * second, 1), WhyKind::Exception),
            ],
        );
        let first = merged.first_failure.unwrap();
        assert_eq!(
            (first.rank, first.host.as_deref(), first.ahead),
            (2, Some("host-2000000"), None)
        );
        assert_eq!(first.reason.unwrap().kind, WhyKind::DiskFull);
        assert_eq!(merged.host, "host-2000000");
    }

    #[test]
    fn ways_to_end() {
        let well = || record(Outcome::Succeeded, 1, 0);
        let told = || record(Outcome::Interrupted, 1, 143);
        let table = [
            (0, None, vec![well(), well()], Outcome::Succeeded),
            (1, None, vec![well(), well()], Outcome::Failed),
            (143, None, vec![well(), told()], Outcome::Interrupted),
            (
                143,
                Some(Outcome::GroupEnded),
                vec![well(), well()],
                Outcome::Succeeded,
            ),
            (1, None, vec![None, None], Outcome::LaunchFailed),
            (0, None, vec![well(), None], Outcome::Failed),
            (
                143,
                Some(Outcome::GroupEnded),
                vec![told(), None],
                Outcome::GroupEnded,
            ),
            (
                0,
                Some(Outcome::GroupFailed),
                vec![well()],
                Outcome::Succeeded,
            ),
            (
                9,
                Some(Outcome::Interrupted),
                vec![record(Outcome::Failed, 3, 9)],
                Outcome::Failed,
            ),
            (
                1,
                Some(Outcome::GroupFailed),
                vec![record(Outcome::Failed, 3, 1)],
                Outcome::GroupFailed,
            ),
        ];
        for (status, end, records, expected) in table {
            let shown = format!("{status} {end:?} {records:?}");
            assert_eq!(conclude(status, end, records).outcome, expected, "{shown}");
        }
    }
}
