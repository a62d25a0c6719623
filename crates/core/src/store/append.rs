//! Writing: new experiments, and events with the rows that are made from them.

use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};

use super::{Lease, Store, StoreError};
use crate::model::{Event, EventKind, ExitRecord, ExperimentId, FailureClass, JobState, Timestamp};
use crate::plan::Plan;

/// The number of an experiment that ran elsewhere is this and the time of its creation: below all numbers that SQLite gives.
const HISTORY: i64 = -(1 << 62);
/// Bits for the spent attempts of one failure class in `jobs.spent`.
const SPENT_BITS: u32 = 16;

/// Packs how many further attempts were spent of each class.
pub(crate) fn pack_spent(spent: [u16; 4]) -> i64 {
    spent.iter().enumerate().fold(0, |packed, (class, count)| {
        packed | i64::from(*count) << (SPENT_BITS * class as u32)
    })
}

/// The counts that [`pack_spent`] packed.
pub(crate) fn unpack_spent(packed: i64) -> [u16; 4] {
    std::array::from_fn(|class| (packed >> (SPENT_BITS * class as u32)) as u16)
}

impl Store {
    /// Writes a new experiment with all of its jobs, none of them submitted.
    ///
    /// # Errors
    /// The id is taken, or the store can't be written.
    pub fn insert_experiment(
        &mut self,
        id: &ExperimentId,
        plan: &Plan,
        document: &serde_json::Value,
        created: Timestamp,
    ) -> Result<(), StoreError> {
        self.prepare_to_write()?;
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let texts = PlanTexts::of(plan, document).map_err(|error| self.unwritable(error))?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        if !insert_rows(&transaction, None, id, plan, &texts, created).map_err(failed)? {
            return Err(StoreError::Exists(id.to_string()));
        }
        transaction.commit().map_err(failed)
    }

    /// Writes an experiment that ran elsewhere, with everything that is known to have happened. It stands behind all
    /// experiments of this store, in the order of its like: the newest experiment is one that was run here. `false`: it
    /// is there already, and nothing was written.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn insert_history(
        &mut self,
        id: &ExperimentId,
        plan: &Plan,
        document: &serde_json::Value,
        created: Timestamp,
        events: &[(Timestamp, EventKind)],
    ) -> Result<bool, StoreError> {
        self.prepare_to_write()?;
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let texts = PlanTexts::of(plan, document).map_err(|error| self.unwritable(error))?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let number: i64 = transaction
            .query_row(
                // The first free number from the one that stands for its time.
                "WITH RECURSIVE free(number) AS (
                   SELECT ?1 UNION ALL SELECT number + 1 FROM free WHERE number IN (SELECT number FROM experiments))
                 SELECT max(number) FROM free",
                [HISTORY.saturating_add(created.0.max(0))],
                |row| row.get(0),
            )
            .map_err(failed)?;
        if !insert_rows(&transaction, Some(number), id, plan, &texts, created).map_err(failed)? {
            return Ok(false);
        }
        for (time, kind) in events {
            write_event(&transaction, number, *time, kind).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    fn unwritable(&self, error: serde_json::Error) -> StoreError {
        StoreError::Other {
            path: self.path(),
            detail: error.to_string(),
        }
    }

    /// Writes events of one experiment, in order, with everything that follows from them. With a lease, only if it is
    /// still held. Answers with the last event's sequence.
    ///
    /// # Errors
    /// The lease is lost, or the store can't be written; nothing was written then.
    pub(crate) fn append(
        &mut self,
        experiment: i64,
        lease: Option<&Lease>,
        events: &[(Timestamp, EventKind)],
    ) -> Result<u64, StoreError> {
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        if let Some(lease) = lease {
            let generation: i64 = transaction
                .prepare_cached("SELECT generation FROM leases WHERE name = ?1")
                .and_then(|mut statement| statement.query_row([&lease.name], |row| row.get(0)))
                .map_err(failed)?;
            if generation as u64 != lease.generation {
                return Err(StoreError::LeaseLost);
            }
        }
        let mut last = 0;
        for (time, kind) in events {
            last = write_event(&transaction, experiment, *time, kind).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(last)
    }

    /// Writes events of an experiment that nobody drives.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be written.
    pub fn append_unleased(
        &mut self,
        id: &ExperimentId,
        events: &[(Timestamp, EventKind)],
    ) -> Result<u64, StoreError> {
        self.prepare_to_write()?;
        let experiment = self.number(id)?;
        self.append(experiment, None, events)
    }

    /// Makes an experiment's states again from its events: what `jobs` and `attempts` say is thrown away.
    ///
    /// # Errors
    /// An event can't be read, or the store can't be written.
    pub fn rebuild(&mut self, id: &ExperimentId) -> Result<(), StoreError> {
        self.prepare_to_write()?;
        let experiment = self.number(id)?;
        let events: Vec<Event> = self.events_since(id, 0)?;
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        transaction
            .execute(
                "UPDATE jobs SET state = ?2, cause = NULL, message = NULL, attempts = 0, retry_at = NULL, spent = 0 WHERE experiment = ?1",
                params![experiment, JobState::Unsubmitted as u8],
            )
            .map_err(failed)?;
        transaction
            .execute("DELETE FROM attempts WHERE experiment = ?1", [experiment])
            .map_err(failed)?;
        transaction
            .execute(
                "UPDATE experiments SET state = ?2, ended = NULL WHERE number = ?1",
                params![experiment, JobState::Submitted as u8],
            )
            .map_err(failed)?;
        for event in &events {
            project(
                &transaction,
                experiment,
                event.time,
                event.sequence as i64,
                &event.kind,
            )
            .map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    /// Removes an experiment.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn delete_experiment(&mut self, id: &ExperimentId) -> Result<(), StoreError> {
        self.prepare_to_write()?;
        let experiment = self.number(id)?;
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for table in ["jobs", "plans", "attempts", "events", "requests"] {
            transaction
                .execute(
                    &format!("DELETE FROM {table} WHERE experiment = ?1"),
                    [experiment],
                )
                .map_err(failed)?;
        }
        transaction
            .execute("DELETE FROM leases WHERE name = ?1", [lease_name(id)])
            .map_err(failed)?;
        transaction
            .execute("DELETE FROM experiments WHERE number = ?1", [experiment])
            .map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// Writes a request for the holder of an experiment's lease.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn request(
        &mut self,
        id: &ExperimentId,
        now: Timestamp,
        request: &EventKind,
    ) -> Result<(), StoreError> {
        self.prepare_to_write()?;
        let experiment = self.number(id)?;
        let text = serde_json::to_string(request).map_err(|error| self.unreadable(error))?;
        self.connection
            .execute(
                "INSERT INTO requests (experiment, time, request) VALUES (?1, ?2, ?3)",
                params![experiment, now.0, text],
            )
            .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Writes that an experiment is over and gives its lease back. `false`: another process asks for something, and
    /// nothing was written.
    ///
    /// # Errors
    /// The lease is lost, or the store can't be written.
    pub(crate) fn finish(
        &mut self,
        experiment: i64,
        lease: &Lease,
        now: Timestamp,
        state: JobState,
    ) -> Result<bool, StoreError> {
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let asked: bool = transaction
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM requests WHERE experiment = ?1)",
                [experiment],
                |row| row.get(0),
            )
            .map_err(failed)?;
        if asked {
            return Ok(false);
        }
        let given = transaction
            .execute(
                "UPDATE leases SET holder = '', renewed = ?3 WHERE name = ?1 AND generation = ?2",
                params![lease.name, lease.generation as i64, now.0],
            )
            .map_err(failed)?;
        if given == 0 {
            return Err(StoreError::LeaseLost);
        }
        write_event(
            &transaction,
            experiment,
            now,
            &EventKind::Finished { state },
        )
        .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    /// Sets jobs back so that they run again: through whoever drives the experiment, else by itself.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be written.
    pub(crate) fn reset(
        &mut self,
        id: &ExperimentId,
        jobs: &[u32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.prepare_to_write()?;
        let experiment = self.number(id)?;
        let path = self.path();
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let live = |store: &Store| {
            Ok(store
                .lease(&lease_name(id))?
                .is_some_and(|lease| lease.is_live(now)))
        };
        // The lease is looked at inside the transaction: it can't be given back between the look and the writing.
        self.connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(failed)?;
        let written = live(self).and_then(|live| {
            for &job in jobs {
                let event = EventKind::Reset { job };
                if live {
                    let text =
                        serde_json::to_string(&event).map_err(|error| self.unreadable(error))?;
                    self.connection
                        .execute(
                            "INSERT INTO requests (experiment, time, request) VALUES (?1, ?2, ?3)",
                            params![experiment, now.0, text],
                        )
                        .map_err(failed)?;
                } else {
                    write_event(&self.connection, experiment, now, &event).map_err(failed)?;
                }
            }
            Ok(())
        });
        let end = if written.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        self.connection.execute_batch(end).map_err(failed)?;
        written
    }

    /// What was asked of an experiment since jobs were set back last, or since it ended last: to be done again by whoever
    /// takes it over.
    ///
    /// # Errors
    /// The store can't be read.
    pub(crate) fn open_cancels(&self, experiment: i64) -> Result<Vec<EventKind>, StoreError> {
        let texts = self
            .connection
            .prepare(
                r#"SELECT kind FROM events WHERE experiment = ?1 AND kind LIKE '{"cancel-requested"%' AND sequence > (
                     SELECT coalesce(max(sequence), 0) FROM events
                     WHERE experiment = ?1 AND (kind LIKE '{"reset"%' OR kind LIKE '{"finished"%'))
                   ORDER BY sequence"#,
            )
            .and_then(|mut statement| statement.query_map([experiment], |row| row.get(0))?.collect::<Result<Vec<String>, _>>())
            .map_err(|error| self.failed(&error))?;
        texts
            .iter()
            .map(|text| serde_json::from_str(text).map_err(|error| self.unreadable(error)))
            .collect()
    }

    /// Takes the requests of an experiment out of the store and writes them as its events, in one transaction.
    ///
    /// # Errors
    /// The lease is lost, a request can't be read, or the store can't be written.
    pub(crate) fn take_requests(
        &mut self,
        experiment: i64,
        lease: &Lease,
    ) -> Result<Vec<(Timestamp, EventKind)>, StoreError> {
        let found = self
            .connection
            .prepare_cached("SELECT sequence, time, request FROM requests WHERE experiment = ?1 ORDER BY sequence")
            .and_then(|mut statement| {
                let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Timestamp(row.get(1)?), row.get(2)?));
                statement.query_map([experiment], read)?.collect::<Result<Vec<(i64, Timestamp, String)>, _>>()
            })
            .map_err(|error| self.failed(&error))?;
        let Some(last) = found.last().map(|(sequence, ..)| *sequence) else {
            return Ok(Vec::new());
        };
        let mut events = Vec::with_capacity(found.len());
        for (_, time, text) in found {
            events.push((
                time,
                serde_json::from_str(&text).map_err(|error| self.unreadable(error))?,
            ));
        }
        // First the events, then the requests go: cut in between, a request is met twice, which does no harm.
        self.append(experiment, Some(lease), &events)?;
        self.connection
            .execute(
                "DELETE FROM requests WHERE experiment = ?1 AND sequence <= ?2",
                [experiment, last],
            )
            .map_err(|error| self.failed(&error))?;
        Ok(events)
    }
}

/// A plan and its document as the tables hold them.
struct PlanTexts {
    without_jobs: String,
    document: String,
    jobs: Vec<String>,
}

impl PlanTexts {
    fn of(plan: &Plan, document: &serde_json::Value) -> serde_json::Result<PlanTexts> {
        Ok(PlanTexts {
            without_jobs: plan.to_json_without_jobs()?,
            document: serde_json::to_string(document)?,
            jobs: plan
                .jobs
                .iter()
                .map(serde_json::to_string)
                .collect::<serde_json::Result<_>>()?,
        })
    }
}

/// Writes the rows of a new experiment, under a number of its own or the next one. `false`: the id is taken.
fn insert_rows(
    transaction: &Connection,
    number: Option<i64>,
    id: &ExperimentId,
    plan: &Plan,
    texts: &PlanTexts,
    created: Timestamp,
) -> rusqlite::Result<bool> {
    let inserted = transaction.execute(
        "INSERT OR IGNORE INTO experiments (number, id, title, state, created, plan, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![number, id.as_str(), plan.title, JobState::Submitted as u8, created.0, texts.without_jobs, texts.document],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    let number = transaction.last_insert_rowid();
    let mut jobs = transaction.prepare(
        "INSERT INTO jobs (experiment, job, name, state, attempts, spent) VALUES (?1, ?2, ?3, ?4, 0, 0)",
    )?;
    let mut plans =
        transaction.prepare("INSERT INTO plans (experiment, job, plan) VALUES (?1, ?2, ?3)")?;
    for (index, (job, text)) in plan.jobs.iter().zip(&texts.jobs).enumerate() {
        let index = index as i64;
        jobs.execute(params![
            number,
            index,
            job.name,
            JobState::Unsubmitted as u8
        ])?;
        plans.execute(params![number, index, text])?;
    }
    Ok(true)
}

/// The name of an experiment's lease.
pub(crate) fn lease_name(id: &ExperimentId) -> String {
    format!("experiment:{id}")
}

fn write_event(
    transaction: &Connection,
    experiment: i64,
    time: Timestamp,
    kind: &EventKind,
) -> rusqlite::Result<u64> {
    let text = serde_json::to_string(kind)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    cached(
        transaction,
        "INSERT INTO events (experiment, time, kind) VALUES (?1, ?2, ?3)",
    )?
    .execute(params![experiment, time.0, text])?;
    let sequence = transaction.last_insert_rowid();
    project(transaction, experiment, time, sequence, kind)?;
    Ok(sequence as u64)
}

fn cached<'transaction>(
    transaction: &'transaction Connection,
    sql: &str,
) -> rusqlite::Result<CachedStatement<'transaction>> {
    transaction.prepare_cached(sql)
}

/// Makes the rows that follow from an event.
fn project(
    transaction: &Connection,
    experiment: i64,
    time: Timestamp,
    sequence: i64,
    kind: &EventKind,
) -> rusqlite::Result<()> {
    let set_job = |job: u32, state: JobState, attempt: u32| {
        cached(
            transaction,
            "UPDATE jobs SET state = ?3, attempts = ?4, cause = NULL, message = NULL, retry_at = NULL WHERE experiment = ?1 AND job = ?2",
        )?
        .execute(params![experiment, job, state as u8, attempt])
    };
    match kind {
        EventKind::Supervised { .. } => {
            cached(
                transaction,
                "UPDATE experiments SET state = ?2, ended = NULL WHERE number = ?1",
            )?
            .execute(params![experiment, JobState::Running as u8])?;
        }
        EventKind::Intended { job, attempt, .. } => {
            cached(transaction, "INSERT OR IGNORE INTO attempts (experiment, job, attempt, state) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![experiment, job, attempt, JobState::Unsubmitted as u8])?;
        }
        EventKind::Submitted {
            job,
            attempt,
            handle,
        } => {
            cached(
                transaction,
                "INSERT INTO attempts (experiment, job, attempt, state, handle) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET state = ?4, handle = ?5",
            )?
            .execute(params![experiment, job, attempt, JobState::Submitted as u8, handle.0])?;
            set_job(*job, JobState::Submitted, *attempt)?;
        }
        EventKind::Observed {
            job,
            attempt,
            state,
            detail,
        } => {
            cached(transaction, "UPDATE attempts SET state = ?4 WHERE experiment = ?1 AND job = ?2 AND attempt = ?3")?
                .execute(params![experiment, job, attempt, *state as u8])?;
            cached(
                transaction,
                "UPDATE jobs SET state = ?3, message = ?4 WHERE experiment = ?1 AND job = ?2",
            )?
            .execute(params![
                experiment,
                job,
                *state as u8,
                (!detail.is_empty()).then_some(detail)
            ])?;
        }
        EventKind::Started {
            job,
            attempt,
            handle,
            nodes,
            time,
        } => {
            cached(
                transaction,
                "INSERT INTO attempts (experiment, job, attempt, state, handle, started, nodes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET state = ?4, handle = ?5, started = ?6, nodes = ?7",
            )?
            .execute(params![experiment, job, attempt, JobState::Running as u8, handle.0, time.0, nodes.join(",")])?;
            set_job(*job, JobState::Running, *attempt)?;
        }
        EventKind::Ended {
            job,
            attempt,
            state,
            cause,
            message,
            record,
            retry,
        } => {
            let record = record.as_deref();
            cached(
                transaction,
                "INSERT INTO attempts (experiment, job, attempt, state, cause, started, ended, exit_code, ended_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT DO UPDATE SET state = ?4, cause = ?5, started = coalesce(started, ?6), ended = ?7, exit_code = ?8, ended_by = ?9",
            )?
            .execute(params![
                experiment,
                job,
                attempt,
                *state as u8,
                cause.map(|cause| cause as u8),
                record.map(|record| record.started),
                record.map_or(time.0, |record| record.ended),
                record.and_then(exit_code),
                sequence,
            ])?;
            let (job_state, at, spent) = match retry {
                Some(retry) => (JobState::Pending, Some(retry.at.0), pack_one(retry.class)),
                None => (*state, None, 0),
            };
            cached(
                transaction,
                "UPDATE jobs SET state = ?3, cause = ?4, message = ?5, attempts = ?6, retry_at = ?7, spent = spent + ?8 WHERE experiment = ?1 AND job = ?2",
            )?
            .execute(params![experiment, job, job_state as u8, cause.map(|cause| cause as u8), message, attempt, at, spent])?;
        }
        EventKind::Skipped {
            job,
            cause,
            message,
        } => {
            cached(transaction, "UPDATE jobs SET state = ?3, cause = ?4, message = ?5, retry_at = NULL WHERE experiment = ?1 AND job = ?2")?
                .execute(params![experiment, job, JobState::Cancelled as u8, *cause as u8, message])?;
        }
        EventKind::Reset { job } => {
            cached(
                transaction,
                "UPDATE jobs SET state = ?3, cause = NULL, message = NULL, retry_at = NULL, spent = 0 WHERE experiment = ?1 AND job = ?2",
            )?
            .execute(params![experiment, job, JobState::Unsubmitted as u8])?;
            cached(
                transaction,
                "UPDATE experiments SET state = ?2, ended = NULL WHERE number = ?1",
            )?
            .execute(params![experiment, JobState::Submitted as u8])?;
        }
        EventKind::CancelRequested { .. } => {}
        EventKind::Finished { state } => {
            cached(
                transaction,
                "UPDATE experiments SET state = ?2, ended = ?3 WHERE number = ?1",
            )?
            .execute(params![experiment, *state as u8, time.0])?;
        }
    }
    Ok(())
}

fn pack_one(class: FailureClass) -> i64 {
    let mut spent = [0; 4];
    spent[class as usize] = 1;
    pack_spent(spent)
}

/// The exit status to show for a record: the first failing rank's; 128 + the number of the signal that ended it.
fn exit_code(record: &ExitRecord) -> Option<i32> {
    let rank = record
        .first_failure
        .as_ref()
        .map_or(0, |failure| failure.rank as usize);
    let exit = record.ranks.get(rank)?;
    exit.code.or_else(|| exit.signal.map(|signal| 128 + signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spent_attempts_are_packed_by_class() {
        let spent = [1, 2, 65535, 7];
        assert_eq!(unpack_spent(pack_spent(spent)), spent);
        assert_eq!(unpack_spent(pack_one(FailureClass::Timeout)), [0, 0, 0, 1]);
    }
}
