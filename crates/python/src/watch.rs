//! What happens to an experiment, as it happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mizzen_core::context::Context;
use mizzen_core::model::{Event, EventKind, ExperimentId, Failure};
use mizzen_core::store::Store;
use mizzen_core::watch::{ensure_supervised, last_words};
use nix::poll::{PollTimeout, poll};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::error::Failed;

/// How often it is looked whether the supervisor still lives.
const SUPERVISION_CHECK: Duration = Duration::from_secs(1);
/// After so many supervisors that ended without anything happening, the caller is told why.
const MANY_RESTARTS: u32 = 5;
/// The longest pause between two looks at the store: after it Python looks for signals.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The first pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// The events of an experiment.
#[pyclass(frozen, module = "mizzen._core")]
pub(crate) struct Watch {
    state: Mutex<State>,
}

struct State {
    context: Context,
    store: Store,
    /// The process that opened the store: its child must not use it.
    process: u32,
    id: ExperimentId,
    sequence: u64,
    version: i64,
    supervised: Option<Instant>,
    restarts: u32,
}

impl Watch {
    pub(crate) fn new(context: Context, store: Store, id: ExperimentId, sequence: u64) -> Watch {
        Watch {
            state: Mutex::new(State {
                context,
                store,
                process: std::process::id(),
                id,
                sequence,
                version: -1,
                supervised: None,
                restarts: 0,
            }),
        }
    }
}

#[pymethods]
impl Watch {
    /// The events since the last call, each as JSON; none once `timeout` seconds have passed without any; `None` when the
    /// experiment is over. While it is asked, the experiment is kept supervised.
    fn next(&self, py: Python<'_>, timeout: f64) -> PyResult<Option<Vec<String>>> {
        let limit = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
        let began = Instant::now();
        let mut pause = SHORTEST_PAUSE;
        loop {
            let looked = py.detach(|| {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let looked = state.look()?;
                if matches!(looked, Looked::Nothing) && began.elapsed() < limit {
                    state.rest(pause.min(limit.saturating_sub(began.elapsed())))?;
                }
                Ok::<_, Failed>(looked)
            })?;
            match looked {
                Looked::Events(events) => return Ok(Some(events)),
                Looked::Over => return Ok(None),
                Looked::Nothing if began.elapsed() >= limit => return Ok(Some(Vec::new())),
                Looked::Nothing => {}
            }
            py.check_signals()?;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

enum Looked {
    Events(Vec<String>),
    Over,
    Nothing,
}

impl State {
    fn look(&mut self) -> Result<Looked, Failed> {
        if self.process != std::process::id() {
            // A database must not be used on both sides of a fork (sqlite.org/howtocorrupt.html).
            let store = Store::open_existing(&self.context.home)?.ok_or_else(|| self.gone())?;
            std::mem::forget(std::mem::replace(&mut self.store, store));
            self.process = std::process::id();
            self.version = -1;
        }
        let version = self.store.data_version()?;
        if version != self.version {
            self.version = version;
            let events = self.store.events_since(&self.id, self.sequence)?;
            if let Some(last) = events.last() {
                self.sequence = last.sequence;
                self.restarts = 0;
                // The next look finds out whether these were the last ones.
                self.version = -1;
                return Ok(Looked::Events(events.iter().map(event_text).collect()));
            }
            if self.store.summary(&self.id)?.ended.is_some() {
                return Ok(Looked::Over);
            }
        }
        self.keep_supervised()?;
        Ok(Looked::Nothing)
    }

    fn keep_supervised(&mut self) -> Result<(), Failed> {
        let due = self
            .supervised
            .is_none_or(|checked| checked.elapsed() >= SUPERVISION_CHECK);
        if !due {
            return Ok(());
        }
        if !self.store.path().exists() {
            return Err(self.gone());
        }
        self.supervised = Some(Instant::now());
        if ensure_supervised(&self.context, &self.store, &self.id)? {
            self.restarts += 1;
            if self.restarts == MANY_RESTARTS {
                let summary = self.store.summary(&self.id)?;
                let dir = self.context.experiment_dir(&summary.title, &self.id);
                let reason = last_words(&dir).unwrap_or_else(|| "it says nothing".to_owned());
                return Err(Failed::new(
                    "ExperimentError",
                    format!(
                        "the supervisor of {} keeps ending: {reason}\nhint: {dir}/supervisor.log has all that it said",
                        self.id
                    ),
                ));
            }
        }
        Ok(())
    }

    fn gone(&self) -> Failed {
        Failed::new(
            "StoreError",
            format!(
                "{} is gone: somebody removed Mizzen's home while {} was watched",
                self.store.path(),
                self.id
            ),
        )
    }

    /// Pauses until the store was written or the pause is over.
    fn rest(&self, pause: Duration) -> Result<(), Failed> {
        let began = Instant::now();
        while began.elapsed() < pause && self.store.data_version()? == self.version {
            let left = pause
                .saturating_sub(began.elapsed())
                .min(Duration::from_millis(20));
            let left = left.max(Duration::from_millis(1));
            let _ = poll(
                &mut [],
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            );
        }
        Ok(())
    }
}

/// An event as flat JSON: `sequence`, `time` (RFC 3339), `type`, and the fields of its type; of an end also `failure`, which says who
/// failed first, and why.
fn event_text(event: &Event) -> String {
    let mut flat = json!({
        "sequence": event.sequence,
        "time": event.time.to_text(),
        "type": event.kind.name(),
    });
    if let (Ok(Value::Object(kind)), Value::Object(flat)) =
        (serde_json::to_value(&event.kind), &mut flat)
    {
        for fields in kind.into_values() {
            if let Value::Object(fields) = fields {
                flat.extend(fields.into_iter().filter(|(name, _)| name != "time"));
            }
        }
    }
    if let EventKind::Ended {
        record: Some(record),
        ..
    } = &event.kind
    {
        flat["failure"] = json!(Failure::of(record));
    }
    flat.to_string()
}
