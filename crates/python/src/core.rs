//! The library for one home and one environment.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_core::config::{Format, Layer, Origin, overrides};
use mizzen_core::context::{Agent, Context, FixedId, RandomIds, SystemClock};
use mizzen_core::executor;
use mizzen_core::logs::{Selection, add_usage};
use mizzen_core::model::{CancelMode, ExperimentId};
use mizzen_core::packager::{self, Packager};
use mizzen_core::store::{Filter, Store};
use mizzen_core::submit::{self, Preparation, PrepareError, Prepared};
use mizzen_core::tunnel::Login;
use mizzen_core::watch::ensure_supervised;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::error::Failed;
use crate::logs::Logs;
use crate::preview::Preview;
use crate::status;
use crate::watch::Watch;

/// What a document is called in messages.
const PYTHON: &str = "experiment built in Python";
/// The title of a document without one.
const DEFAULT_TITLE: &str = "experiment";

/// The library, told its surroundings. Holds no connection: each call opens the store, so it may be shared by threads and
/// survives a fork.
#[pyclass(frozen, module = "mizzen._core")]
pub(crate) struct Core {
    context: Context,
    command: Vec<String>,
}

#[pymethods]
impl Core {
    /// `home`, `program` (the `mizzen` executable) and `workdir` are absolute paths.
    #[new]
    fn new(
        home: String,
        program: String,
        workdir: String,
        environment: BTreeMap<String, String>,
        command: Vec<String>,
    ) -> Core {
        let program = Utf8PathBuf::from(program);
        let user = match nix::unistd::User::from_uid(nix::unistd::getuid()) {
            Ok(Some(entry)) => entry.name,
            _ => nix::unistd::getuid().to_string(),
        };
        let host = nix::unistd::gethostname().map_or_else(
            |_| "localhost".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Core {
            context: Context {
                home: Utf8PathBuf::from(home),
                workdir: Utf8PathBuf::from(workdir),
                environment: Arc::new(environment),
                host,
                user,
                clock: Arc::new(SystemClock),
                ids: Arc::new(RandomIds),
                // Only supervisors start agents, and they carry their own.
                agent: Agent::File(program.with_file_name("mizzen-agent")),
                program,
            },
            command,
        }
    }

    /// The home.
    #[getter]
    fn home(&self) -> &str {
        self.context.home.as_str()
    }

    /// What would be sent for the jobs of a document. Writes nothing.
    fn plan(&self, py: Python<'_>, document: &str, base: &str) -> PyResult<Preview> {
        py.detach(|| {
            let mut context = self.context.clone();
            let preview = ExperimentId::parse("preview")
                .map_err(|error| Failed::new("ConfigError", error.to_string()))?;
            context.ids = Arc::new(FixedId(preview));
            let mut prepared = self.prepare(&context, document, base)?;
            prepared.package(&context, false)?;
            Preview::new(context, prepared)
        })
        .map_err(PyErr::from)
    }

    /// Writes an experiment down and starts nothing. Returns its id.
    #[pyo3(signature = (document, base, id = None))]
    fn create(
        &self,
        py: Python<'_>,
        document: &str,
        base: &str,
        id: Option<&str>,
    ) -> PyResult<String> {
        py.detach(|| {
            let mut context = self.context.clone();
            if let Some(id) = id {
                let id = ExperimentId::parse(id)
                    .map_err(|error| Failed::new("ConfigError", error.to_string()))?;
                context.ids = Arc::new(FixedId(id));
            }
            let mut prepared = self.prepare(&context, document, base)?;
            for note in prepared.package(&context, true)? {
                let _ = writeln!(std::io::stderr(), "mizzen: {}", note.text);
            }
            let login = if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
                Login::Terminal
            } else {
                Login::Silent
            };
            submit::reach(&context, &prepared.plan, login, &|words| {
                let _ = std::io::stderr().write_all(words);
            })?;
            let mut store = Store::open(&context.home)?;
            submit::create(&context, &mut store, &prepared, &self.command)?;
            Ok::<_, Failed>(prepared.id.to_string())
        })
        .map_err(PyErr::from)
    }

    /// Starts a supervisor unless the experiment is over or one drives it. Returns whether one was started.
    fn supervise(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        py.detach(|| {
            let (store, id) = self.find(id)?;
            Ok::<_, Failed>(ensure_supervised(&self.context, &store, &id)?)
        })
        .map_err(PyErr::from)
    }

    /// The id of the experiment that a text names: an id, the beginning of one, a title, or `latest`.
    fn resolve(&self, text: &str) -> PyResult<String> {
        Ok(self.find(text)?.1.to_string())
    }

    /// An experiment with all of its jobs and attempts, as JSON.
    fn status(&self, py: Python<'_>, id: &str) -> PyResult<String> {
        py.detach(|| {
            let (store, id) = self.find(id)?;
            let mut view = store.view(&id)?;
            add_usage(&store, &mut view)?;
            let plan = store.plan_without_jobs(&id)?;
            text(&status::document(&view, &plan))
        })
        .map_err(PyErr::from)
    }

    /// What an experiment was made from: document, provenance, who, where.
    fn record(&self, py: Python<'_>, id: &str) -> PyResult<String> {
        py.detach(|| {
            let (store, id) = self.find(id)?;
            text(&store.document(&id)?)
        })
        .map_err(PyErr::from)
    }

    /// Experiments, newest first, as JSON.
    #[pyo3(signature = (title = None, limit = None))]
    fn list(&self, py: Python<'_>, title: Option<String>, limit: Option<u32>) -> PyResult<String> {
        py.detach(|| {
            let Some(store) = Store::open_existing(&self.context.home)? else {
                return Ok("[]".to_owned());
            };
            let filter = Filter {
                title,
                limit,
                ..Filter::default()
            };
            let experiments = store.experiments(&filter)?;
            let listed: Vec<Value> = experiments.iter().map(status::summary).collect();
            text(&Value::Array(listed))
        })
        .map_err(PyErr::from)
    }

    /// Asks for the end of jobs, all of them if none is named. `mode`: `terminate`, `interrupt` or `kill`.
    fn cancel(&self, py: Python<'_>, id: &str, jobs: Vec<u32>, mode: &str) -> PyResult<()> {
        py.detach(|| {
            let mode = match mode {
                "terminate" => CancelMode::Terminate,
                "interrupt" => CancelMode::Interrupt,
                "kill" => CancelMode::Kill,
                other => {
                    return Err(Failed::new(
                        "ConfigError",
                        format!(
                            "`{other}` is no way to cancel: `terminate`, `interrupt` or `kill`"
                        ),
                    ));
                }
            };
            let (mut store, id) = self.find(id)?;
            submit::cancel(&self.context, &mut store, &id, &jobs, mode)?;
            ensure_supervised(&self.context, &store, &id)?;
            Ok(())
        })
        .map_err(PyErr::from)
    }

    /// Runs jobs again that did not succeed, all of them if none is named. Returns the numbers of those that will run.
    fn retry(&self, py: Python<'_>, id: &str, jobs: Vec<u32>) -> PyResult<Vec<u32>> {
        py.detach(|| {
            let (mut store, id) = self.find(id)?;
            let again = submit::retry(&self.context, &mut store, &id, &jobs)?;
            ensure_supervised(&self.context, &store, &id)?;
            Ok::<_, Failed>(again)
        })
        .map_err(PyErr::from)
    }

    /// Removes an experiment that is over, with its folder.
    fn remove(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        py.detach(|| {
            let (mut store, id) = self.find(id)?;
            submit::remove(&self.context, &mut store, &id)?;
            Ok::<_, Failed>(())
        })
        .map_err(PyErr::from)
    }

    /// What happens to an experiment from an event's number on.
    #[pyo3(signature = (id, since = 0))]
    fn watch(&self, id: &str, since: u64) -> PyResult<Watch> {
        let (store, id) = self.find(id)?;
        Ok(Watch::new(self.context.clone(), store, id, since))
    }

    /// The logs of jobs, all of them if none is named.
    #[pyo3(signature = (id, jobs, *, follow = false, rank = None, attempt = None, pattern = None, tail = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn logs(
        &self,
        py: Python<'_>,
        id: &str,
        jobs: Vec<u32>,
        follow: bool,
        rank: Option<u32>,
        attempt: Option<u32>,
        pattern: Option<&str>,
        tail: Option<usize>,
    ) -> PyResult<Logs> {
        let (store, id) = self.find(id)?;
        let grep = pattern
            .map(regex::bytes::Regex::new)
            .transpose()
            .map_err(|error| Failed::new("ConfigError", error.to_string()))?;
        let selection = Selection {
            jobs,
            rank,
            attempt,
            tail,
            grep,
        };
        // Other places may have to be asked.
        let context = self.context.clone();
        Ok(py.detach(move || Logs::new(context, &store, id, selection, follow))?)
    }

    /// Writes what a packager selects, for somebody who stands in `path`, to `dest` (`.tar.gz`). `settings` is JSON. Returns what
    /// people should know about it, with what may be done.
    fn package(
        &self,
        py: Python<'_>,
        settings: &str,
        path: &str,
        dest: &str,
    ) -> PyResult<Vec<(String, Option<String>)>> {
        py.detach(|| {
            let packager: Packager = serde_json::from_str(settings)
                .map_err(|error| Failed::new("ConfigError", error.to_string()))?;
            let listing = packager::list(&packager, Utf8Path::new(path), &self.context)?;
            packager::write_tar_gz(&listing, &packager.limits(), Utf8Path::new(dest))?;
            let notes = listing.notes.into_iter();
            Ok::<_, Failed>(notes.map(|note| (note.text, note.hint)).collect())
        })
        .map_err(PyErr::from)
    }

    /// The kind and the settings of an executor in a file (default: `executors.toml` in the home), as JSON.
    #[pyo3(signature = (name, file_path = None, overrides = Vec::new()))]
    fn import_executor(
        &self,
        py: Python<'_>,
        name: &str,
        file_path: Option<&str>,
        overrides: Vec<(String, String)>,
    ) -> PyResult<String> {
        py.detach(|| {
            let path = file_path.map(Utf8Path::new);
            let config = executor::import_executor_config(&self.context, name, path, &overrides)?;
            text(&json!({ "kind": config.kind, "settings": config.settings }))
        })
        .map_err(PyErr::from)
    }
}

impl Core {
    fn prepare(&self, context: &Context, document: &str, base: &str) -> Result<Prepared, Failed> {
        let base = Utf8Path::new(base);
        let mut layers = submit::surrounding_layers(&context.home, base)?;
        layers.push(Layer {
            origin: Origin::File,
            name: PYTHON.to_owned(),
            format: Format::Json,
            text: document.to_owned(),
        });
        let overrides = match context.variable("MIZZEN_SET") {
            Some(words) => overrides::parse_words(words, Origin::Environment)
                .map_err(|failure| PrepareError::Config(Box::new(failure)))?,
            None => Vec::new(),
        };
        let preparation = Preparation {
            pinned: None,
            layers: &layers,
            overrides: &overrides,
            base,
            default_title: DEFAULT_TITLE,
        };
        Ok(submit::prepare(context, &preparation)?)
    }

    fn find(&self, text: &str) -> Result<(Store, ExperimentId), Failed> {
        let home = &self.context.home;
        let store = Store::open_existing(home)?.ok_or_else(|| {
            Failed::new(
                "NotFoundError",
                format!("there is no experiment `{text}`: there is none yet in {home}"),
            )
        })?;
        let id = store.resolve(text)?;
        Ok((store, id))
    }
}

fn text(value: &Value) -> Result<String, Failed> {
    serde_json::to_string(value).map_err(|error| Failed::new("StoreError", error.to_string()))
}
