//! How a job has ended that has left the queue, or that Slurm says has ended.

use std::collections::HashMap;

use mizzen_agent::record::ExitRecord;

use super::super::evidence;
use super::super::queue::{self, LIMIT, Row};
use super::super::site::read_broken;
use super::super::words::{End, Word, meaning};
use super::folders::Found;
use super::look::Open;
use super::{SlurmScheduler, Watched};
use crate::executor::{MemberEnd, ObserveError, Observed, end_from_record};
use crate::model::Timestamp;
use crate::tunnel::Cmd;

/// For how many seconds a record may take to be seen after Slurm says that a job has ended: files come late from other nodes.
const RECORD_LATE: f64 = 15.0;
/// For how many seconds a job that was cancelled, and that has left the queue, may still show that it had begun.
const CANCEL_SETTLED: f64 = 5.0;
/// For how many seconds a job that nothing knows of is looked for.
const LOST_AFTER: f64 = 180.0;
/// And how often at least.
const LOST_LOOKS: u32 = 5;

impl Open {
    /// It has left the queue without ever having begun: it was seen to wait, and whatever had begun since then and ended
    /// would still be in the queue. `remembers`: for how many seconds the controller keeps what has ended.
    pub(super) fn never_began(&self, now: Timestamp, remembers: f64) -> bool {
        let waited = |since: Timestamp| now.seconds_since(since) < remembers;
        self.row.is_none() && self.job.cancelled && self.job.waited.is_some_and(waited)
    }

    /// How a job has ended while its nodes are being cleaned, which may take minutes: its records are enough.
    pub(super) fn ended_by_itself(
        &mut self,
        folders: &[Found],
        now: Timestamp,
    ) -> Option<Vec<MemberEnd>> {
        let records: Option<Vec<&ExitRecord>> =
            folders.iter().map(|found| found.record.as_ref()).collect();
        let records = records.filter(|records| !records.is_empty())?;
        if !evidence::ended_well(&records) {
            // Slurm may yet say why: that a node is lost, or that the time was over.
            let (since, _) = self.job.missing.get_or_insert((now, 0));
            let waited = now.seconds_since(*since) >= RECORD_LATE;
            if !waited || !evidence::ended_by_itself(&records) {
                return None;
            }
        }
        Some(records.into_iter().cloned().map(end_from_record).collect())
    }
}

impl SlurmScheduler {
    /// For how many seconds the controller surely keeps what has ended, if somebody here has to know.
    pub(super) async fn remembers(&self, open: &[Open]) -> f64 {
        if !open
            .iter()
            .any(|one| one.row.is_none() && one.job.cancelled)
        {
            return 0.0;
        }
        let config = self.site.config(&self.context, self.tunnel.as_ref()).await;
        // Clocks that differ by a little, and an answer on its way, change nothing.
        config.map_or(0.0, |config| config.min_job_age / 2.0)
    }

    /// What became of a job that has ended, or that the controller has forgotten.
    pub(super) async fn conclude(
        &self,
        one: &mut Open,
        folders: Vec<Found>,
        accounting: Option<&Vec<Row>>,
        accounting_asked: bool,
        never_began: bool,
    ) -> Option<Observed> {
        let members = one.job.folders.len();
        let complete =
            folders.len() == members && folders.iter().all(|found| found.record.is_some());
        let begun = folders.iter().any(|found| found.claim.is_some());
        let alive = folders.iter().any(|found| found.alive);
        // Somebody else's job runs this attempt: ours has seen that and gone.
        let other = folders
            .iter()
            .filter_map(|found| found.claim.as_ref())
            .find(|claim| **claim != one.job.id)
            .cloned();
        if let (Some(other), false) = (other, complete) {
            one.job.id = other;
            one.job.since = self.context.clock.now();
            one.job.missing = None;
            return None;
        }
        let records: Vec<Option<ExitRecord>> =
            folders.into_iter().map(|found| found.record).collect();
        let now = self.context.clock.now();
        let (since, looks) = one.job.missing.get_or_insert((now, 0));
        *looks += 1;
        let (waited, looks) = (now.seconds_since(*since), *looks);
        let last = accounting.and_then(|runs| runs.last());
        let word = one.ended.zip(one.row.as_ref()).or_else(|| {
            let row = last?;
            match meaning(&row.state) {
                Some(Word::Ended(end)) => Some((end, row)),
                _ => None,
            }
        });
        match word {
            // A job that never began, or whose records are here, has nothing more to tell.
            Some((End::Cancelled, row)) if row.reason == "DependencyNeverSatisfied" => {
                Some(Observed::NeverSatisfied)
            }
            // What had nodes may have begun, though nothing of that is to be seen here yet.
            Some((end, row))
                if complete || (!begun && !had_nodes(row)) || waited >= RECORD_LATE =>
            {
                if end == End::NodeFail {
                    self.broken(&row.nodes).await;
                }
                Some(Observed::Ended(evidence::ends(end, row, records)))
            }
            Some(_) => None,
            None if complete && (accounting_asked || waited >= RECORD_LATE) => Some(
                Observed::Ended(records.into_iter().flatten().map(end_from_record).collect()),
            ),
            None if one.unsigned => Some(Observed::Unknown(format!(
                "Slurm's job {} does not say whose it is",
                one.job.id
            ))),
            // A waiting task of an array leaves no trace when it is cancelled.
            None if one.job.cancelled
                && !begun
                && (never_began || (waited >= CANCEL_SETTLED && looks > 1)) =>
            {
                Some(Observed::Ended(evidence::cancelled(members, None)))
            }
            None if !begun && waited >= LOST_AFTER && looks >= LOST_LOOKS && accounting_asked => {
                let words = "it is not in Slurm's queue any more, and it had never begun";
                Some(Observed::Ended(evidence::cancelled(members, Some(words))))
            }
            None if !alive && waited >= LOST_AFTER && looks >= LOST_LOOKS && accounting_asked => {
                Some(Observed::Ended(evidence::lost(members)))
            }
            None => Some(Observed::Unknown(
                "Slurm's controller has forgotten it; looking for what became of it".to_owned(),
            )),
        }
    }

    /// What the accounting says of jobs; nothing where there is none.
    pub(super) async fn accounting(
        &self,
        ids: &[&str],
    ) -> Result<HashMap<String, Vec<Row>>, ObserveError> {
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        if ids.is_empty()
            || !self
                .site
                .config(&self.context, self.tunnel.as_ref())
                .await?
                .accounting
        {
            return Ok(rows);
        }
        let text = self.ask(&queue::sacct(ids)).await?;
        for row in queue::read_sacct(&text) {
            rows.entry(row.id.clone()).or_default().push(row);
        }
        Ok(rows)
    }

    /// Which of the nodes are out of order now. They are remembered.
    async fn broken(&self, nodes: &str) -> Vec<String> {
        if nodes.is_empty() {
            return Vec::new();
        }
        let command = Cmd::new([
            "sinfo",
            "--Node",
            "--noheader",
            "--format=%N|%T",
            &format!("--nodes={nodes}"),
        ])
        .timeout(LIMIT);
        // Only a hint: without an answer nothing is remembered.
        let broken = read_broken(&self.ask(&command).await.unwrap_or_default());
        if !broken.is_empty() {
            self.site.remember_bad(&broken, self.context.clock.now());
        }
        broken
    }

    /// How the run before a restart ended.
    pub(super) async fn end_of_run(
        &self,
        job: &Watched,
        restart: u32,
        found: Vec<Found>,
        accounting: Option<&Vec<Row>>,
    ) -> Vec<MemberEnd> {
        let records = found.into_iter().map(|found| found.record).collect();
        let told = accounting.and_then(|runs| runs.get(restart as usize));
        if let Some(row) = told {
            return evidence::restarted(Some(row), records);
        }
        let broken = self.broken(&job.nodes).await;
        let row = Row {
            state: "NODE_FAIL".to_owned(),
            nodes: broken.join(","),
            ..Row::default()
        };
        evidence::restarted((!broken.is_empty()).then_some(&row), records)
    }
}

/// The job was given nodes. The accounting has words for none.
fn had_nodes(row: &Row) -> bool {
    !matches!(row.nodes.as_str(), "" | "None assigned" | "(null)")
}
