//! The lines that jobs write.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mizzen_core::context::Context;
use mizzen_core::logs::{self, Followed, Follower, LogLine, Mirroring, Redactor, Selection};
use mizzen_core::model::ExperimentId;
use mizzen_core::store::Store;
use mizzen_core::watch::ensure_supervised;
use pyo3::prelude::*;

use crate::error::Failed;

/// The longest wait before Python looks for signals, and before the jobs' states are read again.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether the supervisor still lives.
const SUPERVISION_CHECK: Duration = Duration::from_secs(1);

/// A line: job, attempt, rank, bytes without the line end.
type Line = (String, u32, u32, Vec<u8>);

/// The logs of some jobs of an experiment.
#[pyclass(frozen, module = "mizzen._core")]
pub(crate) struct Logs {
    state: Mutex<State>,
}

struct State {
    context: Context,
    id: ExperimentId,
    jobs: Vec<u32>,
    follow: bool,
    follower: Follower,
    redactor: Redactor,
    /// The lines that were asked for of what there was at the beginning.
    last_lines: Vec<Line>,
    /// All that there is has been handed on.
    finished: bool,
    supervised: Option<Instant>,
    /// Brings here what jobs write elsewhere.
    mirroring: Option<Mirroring>,
}

fn say(words: &str) {
    // There is nobody to tell when even this can't be written.
    let _ = std::io::stderr().write_all(format!("mizzen: {words}\n").as_bytes());
}

impl Logs {
    pub(crate) fn new(
        context: Context,
        store: &Store,
        id: ExperimentId,
        selection: Selection,
        follow: bool,
    ) -> Result<Logs, Failed> {
        let view = store.view(&id)?;
        let plan = store.plan(&id)?;
        let redactor = Redactor::new(
            plan.jobs
                .iter()
                .flat_map(|job| job.secrets.values().map(String::as_str)),
            &context.environment,
        );
        let tail = selection.tail;
        let chosen = &selection.jobs;
        let over = view.summary.is_over();
        // The last lines are those of what is there, which has to be here for that.
        let missing = logs::may_be_incomplete(&view, chosen);
        if !missing.is_empty() && (!follow || over || tail.is_some()) {
            logs::fetch(&context, &plan, &view, &missing)
                .iter()
                .for_each(|words| say(words));
        }
        let mirroring = (follow && !over)
            .then(|| Mirroring::start(&context, plan, &view, chosen))
            .flatten();
        let mut state = State {
            context,
            id,
            jobs: selection.jobs.clone(),
            follow,
            follower: Follower::new(&view.dir, &Followed::all(&view), selection),
            redactor,
            last_lines: Vec::new(),
            finished: false,
            supervised: None,
            mirroring,
        };
        if tail.is_some() {
            // The last lines are those of now: what is written before the first call of `next` comes behind them.
            state.last_lines = state.poll(false)?;
        }
        Ok(Logs {
            state: Mutex::new(state),
        })
    }
}

#[pymethods]
impl Logs {
    /// The next lines; none once `timeout` seconds have passed without any; `None` at the end.
    fn next(&self, py: Python<'_>, timeout: f64) -> PyResult<Option<Vec<Line>>> {
        let limit = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
        let began = Instant::now();
        loop {
            let (lines, finished) = py.detach(|| {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.finished {
                    return Ok((Vec::new(), true));
                }
                let lines = state.read()?;
                if lines.is_empty() && !state.finished {
                    let left = limit.saturating_sub(began.elapsed()).min(LONGEST_PAUSE);
                    if !left.is_zero() {
                        state.follower.wait(left);
                    }
                }
                Ok::<_, Failed>((lines, state.finished))
            })?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if finished {
                return Ok(None);
            }
            if began.elapsed() >= limit {
                return Ok(Some(Vec::new()));
            }
            py.check_signals()?;
        }
    }
}

impl State {
    /// What is new; nothing may be left after it where the jobs had ended before.
    fn read(&mut self) -> Result<Vec<Line>, Failed> {
        if !self.last_lines.is_empty() {
            return Ok(std::mem::take(&mut self.last_lines));
        }
        let ended = !self.follow || self.have_ended()?;
        if let Some(mirroring) = &mut self.mirroring {
            mirroring.words().iter().for_each(|words| say(words));
            if ended {
                mirroring.end();
            }
        }
        self.poll(ended)
    }

    /// What is new. After the jobs' end nothing new is the end.
    fn poll(&mut self, ended: bool) -> Result<Vec<Line>, Failed> {
        let mut lines = Vec::new();
        let redactor = &self.redactor;
        let mut sink = |line: LogLine<'_>| {
            let bytes = redactor
                .redact(line.bytes)
                .unwrap_or_else(|| line.bytes.to_vec());
            lines.push((line.job.to_owned(), line.attempt, line.rank, bytes));
            Ok(())
        };
        let failed = |error: std::io::Error| Failed::new("StoreError", error.to_string());
        let something = self.follower.poll(&|_| true, &mut sink).map_err(failed)?;
        if ended && !something {
            self.follower.finish(&mut sink).map_err(failed)?;
            self.finished = true;
        }
        Ok(lines)
    }

    /// Read before the logs are: what was written before a job's end is then found.
    fn have_ended(&mut self) -> Result<bool, Failed> {
        let store = Store::open_existing(&self.context.home)?.ok_or_else(|| {
            Failed::new("StoreError", format!("{} is gone", self.context.database()))
        })?;
        let view = store.view(&self.id)?;
        let due = self
            .supervised
            .is_none_or(|checked| checked.elapsed() >= SUPERVISION_CHECK);
        if due {
            self.supervised = Some(Instant::now());
            ensure_supervised(&self.context, &store, &self.id)?;
        }
        // Of imported history, jobs stay UNKNOWN.
        Ok(view.summary.is_over()
            || view
                .jobs
                .iter()
                .filter(|job| self.jobs.is_empty() || self.jobs.contains(&job.index))
                .all(|job| job.state.is_final()))
    }
}
