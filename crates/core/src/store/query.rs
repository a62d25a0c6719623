//! Reading.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};

use super::append::unpack_spent;
use super::{
    AttemptView, ExperimentSummary, ExperimentView, JobView, StateCounts, Store, StoreError,
};
use crate::executor;
use crate::model::{
    Cause, Event, EventKind, ExitRecord, ExperimentId, Handle, JobState, Timestamp, Usage,
};
use crate::plan::{Plan, PlannedJob};

/// Which experiments a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those with this title.
    pub title: Option<String>,
    /// Only those in this state.
    pub state: Option<JobState>,
    /// At most so many, the newest.
    pub limit: Option<u32>,
}

/// A job as the supervisor reads it when it takes an experiment over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRow {
    /// Its state.
    pub state: JobState,
    /// Why.
    pub cause: Option<Cause>,
    /// How many attempts were begun.
    pub attempts: u32,
    /// When the next one may start.
    pub retry_at: Option<Timestamp>,
    /// Further attempts spent, by failure class.
    pub spent: [u16; 4],
}

/// An attempt that has not ended, as far as the store knows.
#[derive(Debug, Clone)]
pub(crate) struct OpenAttempt {
    /// The job.
    pub(crate) job: u32,
    /// The attempt.
    pub(crate) attempt: u32,
    /// What names it at its place; `None`: it was to be submitted, and may have been.
    pub(crate) handle: Option<Handle>,
}

/// Texts that many rows have in common, each kept once.
#[derive(Default)]
struct Shared {
    texts: HashMap<String, Arc<str>>,
    lists: HashMap<String, Arc<[String]>>,
}

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.get(text) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(
                self.texts
                    .entry(text.to_owned())
                    .or_insert_with(|| text.into()),
            ),
        }
    }

    /// The names in a text that has commas between them.
    fn list(&mut self, text: &str) -> Arc<[String]> {
        match self.lists.get(text) {
            Some(known) => Arc::clone(known),
            None => {
                let names = text
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                Arc::clone(self.lists.entry(text.to_owned()).or_insert(names))
            }
        }
    }
}

fn state_of(row: &Row<'_>, column: usize) -> rusqlite::Result<JobState> {
    let number: u8 = row.get(column)?;
    JobState::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(
        column,
        i64::from(number),
    ))
}

fn cause_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Cause>> {
    let number: Option<u8> = row.get(column)?;
    Ok(number.and_then(Cause::from_number))
}

fn time_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

impl Store {
    /// The number of an experiment in the tables.
    pub(crate) fn number(&self, id: &ExperimentId) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("SELECT number FROM experiments WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_str()], |row| row.get(0))
                    .optional()
            })
            .map_err(|error| self.failed(&error))?
            .ok_or_else(|| StoreError::NoExperiment(id.to_string()))
    }

    /// Experiments, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn experiments(&self, filter: &Filter) -> Result<Vec<ExperimentSummary>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT number, id, title, state, created, ended FROM experiments
                 WHERE (?1 IS NULL OR title = ?1) AND (?2 IS NULL OR state = ?2) ORDER BY number DESC LIMIT ?3",
            )?;
            let limit = filter.limit.map_or(-1, i64::from);
            let state = filter.state.map(|state| state as u8);
            let rows = statement
                .query_map(rusqlite::params![filter.title, state, limit], |row| {
                    self.summary_of(row)
                })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(&error))
    }

    fn summary_of(&self, row: &Row<'_>) -> rusqlite::Result<ExperimentSummary> {
        let number: i64 = row.get(0)?;
        let id: String = row.get(1)?;
        Ok(ExperimentSummary {
            id: ExperimentId::parse(&id).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    1,
                    rusqlite::types::Type::Text,
                    Box::new(error),
                )
            })?,
            title: row.get(2)?,
            state: state_of(row, 3)?,
            created: Timestamp(row.get(4)?),
            ended: time_of(row, 5)?,
            counts: self.counts(number)?,
        })
    }

    fn counts(&self, number: i64) -> rusqlite::Result<StateCounts> {
        let mut counts = StateCounts::default();
        let mut statement = self.connection.prepare_cached(
            "SELECT state, count(*) FROM jobs WHERE experiment = ?1 GROUP BY state",
        )?;
        let mut rows = statement.query([number])?;
        while let Some(row) = rows.next()? {
            counts.0[state_of(row, 0)? as usize] = row.get(1)?;
        }
        Ok(counts)
    }

    /// One experiment's line.
    ///
    /// # Errors
    /// There is none with this id, or the store can't be read.
    pub fn summary(&self, id: &ExperimentId) -> Result<ExperimentSummary, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT number, id, title, state, created, ended FROM experiments WHERE id = ?1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_str()], |row| self.summary_of(row))
                    .optional()
            })
            .map_err(|error| self.failed(&error))?
            .ok_or_else(|| StoreError::NoExperiment(id.to_string()))
    }

    /// One experiment with all of its jobs and their attempts, as of one moment.
    ///
    /// # Errors
    /// There is none with this id, or the store can't be read.
    pub fn view(&self, id: &ExperimentId) -> Result<ExperimentView, StoreError> {
        let transaction = self
            .connection
            .unchecked_transaction()
            .map_err(|error| self.failed(&error))?;
        let summary = self.summary(id)?;
        let number = self.number(id)?;
        let plan = self.plan_without_jobs(id)?;
        let dir = self
            .home
            .join("experiments")
            .join(&summary.title)
            .join(id.as_str());
        let jobs = self
            .job_views(number, &plan)
            .map_err(|error| self.failed(&error))?;
        let sequence: i64 = self
            .connection
            .prepare_cached("SELECT coalesce(max(sequence), 0) FROM events WHERE experiment = ?1")
            .and_then(|mut statement| statement.query_row([number], |row| row.get(0)))
            .map_err(|error| self.failed(&error))?;
        transaction.finish().map_err(|error| self.failed(&error))?;
        Ok(ExperimentView {
            summary,
            dir,
            sequence: sequence as u64,
            jobs,
        })
    }

    fn job_views(&self, number: i64, plan: &Plan) -> rusqlite::Result<Vec<JobView>> {
        let mut group_of = HashMap::new();
        for group in &plan.groups {
            let name: Arc<str> = group.name.as_str().into();
            group_of.extend(group.jobs.iter().map(|job| (*job, Arc::clone(&name))));
        }
        let total = plan.tasks.iter().map(|task| task.jobs as usize).sum();
        let mut jobs: Vec<JobView> = Vec::with_capacity(total);
        let mut shared = Shared::default();
        let mut tasks = plan.tasks.iter().flat_map(|task| {
            let (name, executor) = (shared.text(&task.name), shared.text(&task.executor));
            let ranks = plan
                .executors
                .get(&task.executor)
                .and_then(|config| executor::build(&task.executor, config).ok())
                // A launcher of the task's own stands with its jobs, which are not read for this.
                .map_or(0, |executor| executor.ranks(None));
            std::iter::repeat_n((name, executor, ranks), task.jobs as usize)
        });
        let mut statement = self.connection.prepare_cached(
            "SELECT job, name, state, cause, message, retry_at FROM jobs WHERE experiment = ?1 ORDER BY job",
        )?;
        let mut rows = statement.query([number])?;
        while let Some(row) = rows.next()? {
            let index: u32 = row.get(0)?;
            let (task, executor, ranks) = tasks.next().unwrap_or_default();
            jobs.push(JobView {
                index,
                name: row.get(1)?,
                task,
                group: group_of.get(&index).map(Arc::clone),
                state: state_of(row, 2)?,
                cause: cause_of(row, 3)?,
                message: row.get(4)?,
                executor,
                ranks,
                retry_at: time_of(row, 5)?,
                attempts: Vec::new(),
            });
        }
        drop(tasks);
        let mut statement = self.connection.prepare_cached(
            "SELECT job, attempt, handle, state, cause, started, ended, nodes, exit_code, ended_by FROM attempts
             WHERE experiment = ?1 ORDER BY job, attempt",
        )?;
        let mut rows = statement.query([number])?;
        while let Some(row) = rows.next()? {
            let job: u32 = row.get(0)?;
            let Some(view) = jobs.get_mut(job as usize) else {
                continue;
            };
            let state = state_of(row, 3)?;
            let record = match (state, row.get::<_, Option<i64>>(9)?) {
                (JobState::Failed | JobState::Cancelled, Some(event)) => self.record_of(event)?,
                _ => None,
            };
            let nodes = row
                .get_ref(7)?
                .as_str_or_null()
                .ok()
                .flatten()
                .unwrap_or_default();
            // Mostly one, and mostly no second: room for one.
            view.attempts.reserve_exact(1);
            view.attempts.push(AttemptView {
                number: row.get(1)?,
                handle: row.get::<_, Option<String>>(2)?.map(Handle),
                state,
                cause: cause_of(row, 4)?,
                started: time_of(row, 5)?,
                ended: time_of(row, 6)?,
                nodes: shared.list(nodes),
                exit_code: row.get(8)?,
                record,
                usage: None,
            });
        }
        Ok(jobs)
    }

    fn record_of(&self, event: i64) -> rusqlite::Result<Option<ExitRecord>> {
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT kind FROM events WHERE sequence = ?1")?
            .query_row([event], |row| row.get(0))
            .optional()?;
        Ok(text.and_then(|text| match serde_json::from_str(&text) {
            Ok(EventKind::Ended { record, .. }) => record.map(|record| *record),
            _ => None,
        }))
    }

    /// The agent's record of an attempt's end.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn record(
        &self,
        id: &ExperimentId,
        job: u32,
        attempt: u32,
    ) -> Result<Option<ExitRecord>, StoreError> {
        let number = self.number(id)?;
        let read = || {
            let event: Option<Option<i64>> = self
                .connection
                .prepare_cached("SELECT ended_by FROM attempts WHERE experiment = ?1 AND job = ?2 AND attempt = ?3")?
                .query_row(rusqlite::params![number, job, attempt], |row| row.get(0))
                .optional()?;
            event
                .flatten()
                .map_or(Ok(None), |event| self.record_of(event))
        };
        read().map_err(|error| self.failed(&error))
    }

    /// What the attempts of an experiment used that have ended with a record, by job and attempt.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn usage(&self, id: &ExperimentId) -> Result<HashMap<(u32, u32), Usage>, StoreError> {
        let number = self.number(id)?;
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT attempts.job, attempt, kind FROM attempts JOIN events ON sequence = ended_by WHERE attempts.experiment = ?1",
            )?;
            let mut rows = statement.query([number])?;
            let mut usage = HashMap::new();
            while let Some(row) = rows.next()? {
                let text = row.get_ref(2)?.as_str()?;
                if let Ok(EventKind::Ended {
                    record: Some(record),
                    ..
                }) = serde_json::from_str(text)
                {
                    usage.insert((row.get(0)?, row.get(1)?), Usage::of_record(&record));
                }
            }
            Ok(usage)
        };
        read().map_err(|error: rusqlite::Error| self.failed(&error))
    }

    /// The events of an experiment after the one with this number, in order. An event that this build can't read (a newer
    /// one's) ends the list.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn events_since(&self, id: &ExperimentId, sequence: u64) -> Result<Vec<Event>, StoreError> {
        let number = self.number(id)?;
        let rows = self
            .connection
            .prepare_cached("SELECT sequence, time, kind FROM events WHERE experiment = ?1 AND sequence > ?2 ORDER BY sequence")
            .and_then(|mut statement| {
                let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?));
                statement
                    .query_map(rusqlite::params![number, sequence as i64], read)?
                    .collect::<rusqlite::Result<Vec<(i64, i64, String)>>>()
            })
            .map_err(|error| self.failed(&error))?;
        rows.into_iter()
            .map(|(sequence, time, text)| {
                let kind = serde_json::from_str(&text)
                    .map_err(|error| self.unreadable(format!("event {sequence}: {error}")))?;
                Ok(Event {
                    sequence: sequence as u64,
                    time: Timestamp(time),
                    kind,
                })
            })
            .collect()
    }

    /// An experiment's plan, its jobs left out.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn plan_without_jobs(&self, id: &ExperimentId) -> Result<Plan, StoreError> {
        let text: String = self.text(id, "SELECT plan FROM experiments WHERE id = ?1")?;
        serde_json::from_str(&text).map_err(|error| self.unreadable(error))
    }

    /// An experiment's whole plan.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn plan(&self, id: &ExperimentId) -> Result<Plan, StoreError> {
        let mut plan = self.plan_without_jobs(id)?;
        plan.jobs = self.planned_jobs(self.number(id)?, 0, u32::MAX)?;
        Ok(plan)
    }

    /// Some of an experiment's planned jobs: `count` from the number `first` on.
    pub(crate) fn planned_jobs(
        &self,
        experiment: i64,
        first: u32,
        count: u32,
    ) -> Result<Vec<PlannedJob>, StoreError> {
        let texts = self
            .connection
            .prepare_cached(
                "SELECT plan FROM plans WHERE experiment = ?1 AND job >= ?2 ORDER BY job LIMIT ?3",
            )
            .and_then(|mut statement| {
                statement
                    .query_map(rusqlite::params![experiment, first, count], |row| {
                        row.get(0)
                    })?
                    .collect::<rusqlite::Result<Vec<String>>>()
            })
            .map_err(|error| self.failed(&error))?;
        texts
            .iter()
            .map(|text| serde_json::from_str(text).map_err(|error| self.unreadable(error)))
            .collect()
    }

    /// The states of an experiment's jobs, in their order.
    pub(crate) fn job_rows(&self, experiment: i64) -> Result<Vec<JobRow>, StoreError> {
        self.connection
            .prepare_cached("SELECT state, cause, attempts, retry_at, spent FROM jobs WHERE experiment = ?1 ORDER BY job")
            .and_then(|mut statement| {
                let read = |row: &Row<'_>| {
                    Ok(JobRow {
                        state: state_of(row, 0)?,
                        cause: cause_of(row, 1)?,
                        attempts: row.get(2)?,
                        retry_at: time_of(row, 3)?,
                        spent: unpack_spent(row.get(4)?),
                    })
                };
                statement.query_map([experiment], read)?.collect()
            })
            .map_err(|error| self.failed(&error))
    }

    /// The last attempt of each job that has one which has not ended.
    pub(crate) fn open_attempts(&self, experiment: i64) -> Result<Vec<OpenAttempt>, StoreError> {
        let ends =
            [JobState::Succeeded, JobState::Failed, JobState::Cancelled].map(|end| end as u8);
        self.connection
            .prepare(
                "SELECT job, attempt, handle FROM attempts AS one WHERE experiment = ?1 AND state NOT IN (?2, ?3, ?4)
                   AND attempt = (SELECT max(attempt) FROM attempts WHERE experiment = ?1 AND job = one.job)
                 ORDER BY job",
            )
            .and_then(|mut statement| {
                let read = |row: &Row<'_>| {
                    let handle: Option<String> = row.get(2)?;
                    Ok(OpenAttempt {
                        job: row.get(0)?,
                        attempt: row.get(1)?,
                        handle: handle.map(Handle),
                    })
                };
                let values = rusqlite::params![experiment, ends[0], ends[1], ends[2]];
                statement.query_map(values, read)?.collect()
            })
            .map_err(|error| self.failed(&error))
    }

    /// The jobs that nobody is known to have started, or that wait for their next attempt, with their names.
    pub(crate) fn waiting_jobs(&self, experiment: i64) -> Result<Vec<(u32, String)>, StoreError> {
        let states = [JobState::Unsubmitted as u8, JobState::Pending as u8];
        self.connection
            .prepare("SELECT job, name FROM jobs WHERE experiment = ?1 AND state IN (?2, ?3) ORDER BY job")
            .and_then(|mut statement| {
                let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
                statement.query_map(rusqlite::params![experiment, states[0], states[1]], read)?.collect()
            })
            .map_err(|error| self.failed(&error))
    }

    /// What the experiment was made from, by whom and where.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn document(&self, id: &ExperimentId) -> Result<serde_json::Value, StoreError> {
        let text: String = self.text(id, "SELECT document FROM experiments WHERE id = ?1")?;
        serde_json::from_str(&text).map_err(|error| self.unreadable(error))
    }

    /// What an experiment was run with, if only its history was imported; `None` for those that ran here.
    ///
    /// # Errors
    /// There is no such experiment, or the store can't be read.
    pub fn imported(&self, id: &ExperimentId) -> Result<Option<String>, StoreError> {
        let document = self.document(id)?;
        let from = document
            .get("imported")
            .and_then(|imported| imported.get("from"));
        Ok(from.and_then(|from| from.as_str()).map(str::to_owned))
    }

    fn text(&self, id: &ExperimentId, sql: &str) -> Result<String, StoreError> {
        self.connection
            .query_row(sql, [id.as_str()], |row| row.get(0))
            .optional()
            .map_err(|error| self.failed(&error))?
            .ok_or_else(|| StoreError::NoExperiment(id.to_string()))
    }
}
