//! From layers of configuration to a plan and its record: what the command line and the Python package have in common
//! before anything is created.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};

use super::provenance::{self, Collected};
use super::repro::Pinned;
use super::{SubmitError, launchers, package};
use crate::config::{self, Format, Layer, Loaded, Origin, Override};
use crate::context::Context;
use crate::executor;
use crate::model::ExperimentId;
use crate::packager::Note;
use crate::plan::{self, Plan, PlanError, PlanInputs};

/// What a plan is made from.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// The layers, lowest first: those of [`surrounding_layers`], then the experiment's own.
    pub layers: &'a [Layer],
    /// The overrides, in the user's order.
    pub overrides: &'a [Override],
    /// The folder that relative paths start from (absolute).
    pub base: &'a Utf8Path,
    /// The title of a document without one.
    pub default_title: &'a str,
    /// The code, where it is decided already; else it is packed ([`Prepared::package`]).
    pub pinned: Option<&'a Pinned>,
}

/// A plan, and what it was made from.
#[derive(Debug)]
pub struct Prepared {
    /// The experiment's new id.
    pub id: ExperimentId,
    /// The plan.
    pub plan: Plan,
    /// The plan's fingerprint.
    pub fingerprint: String,
    loaded: Loaded,
    base: Utf8PathBuf,
    pub(super) collected: Collected,
    pinned: Option<Pinned>,
}

impl Prepared {
    /// Packs the code of the jobs, and names it in the plan. Answers with what people should know about it. `keep`: without it
    /// nothing is written, and the code is only named.
    ///
    /// # Errors
    /// Code that is to be sent can't be packed.
    pub fn package(&mut self, context: &Context, keep: bool) -> Result<Vec<Note>, SubmitError> {
        let (plan, base) = (&mut self.plan, &self.base);
        let program = plan.jobs.first().map(|job| job.role.entrypoint.clone());
        let program = program.as_deref();
        if let Some(pinned) = &self.pinned {
            for name in plan.executors.keys() {
                plan.code.insert(name.clone(), pinned.of(name).clone());
            }
            self.collected.provenance = provenance::of_machine(context, program);
            return Ok(Vec::new());
        }
        if !keep {
            return package::package(context, plan, base, keep);
        }
        // Both wait for git most of the time.
        std::thread::scope(|scope| {
            let collecting = scope.spawn(|| provenance::collect(context, base, program));
            let notes = package::package(context, plan, base, keep);
            self.collected = collecting.join().unwrap_or_default();
            notes
        })
    }

    /// What is stored beside the plan: document, provenance, who, where, and by which command line.
    #[must_use]
    pub fn record(&self, context: &Context, command: &[String]) -> Value {
        let place = |place: config::Place| {
            json!({
                "origin": place.origin.to_string(),
                "source": place.source,
                "line": place.line,
                "column": place.column,
            })
        };
        let provenance: Map<String, Value> = self
            .loaded
            .provenance
            .iter(&self.loaded.sources)
            .map(|(pointer, found)| (pointer.to_owned(), place(found)))
            .collect();
        json!({
            "repeats": self.pinned.as_ref().map(|pinned| &pinned.from),
            "code": self.plan.code,
            "surroundings": self.collected.provenance,
            "document": self.loaded.document,
            "provenance": provenance,
            "command": command,
            "user": context.user,
            "host": context.host,
            "workdir": context.workdir,
            "version": env!("CARGO_PKG_VERSION"),
            "fingerprint": self.fingerprint,
        })
    }
}

/// Nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A file of configuration is there and can't be read.
    #[error("{path} can't be read: {source}")]
    Read {
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is wrong: every mistake at once.
    #[error("{0}")]
    Config(Box<config::Failure>),
    /// The configuration is right and can't be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A task can't be started by its launcher.
    #[error(transparent)]
    Launcher(#[from] launchers::TaskLauncherError),
}

/// The layers below the experiment: the user's `executors.toml`, and the project's `mizzen.toml`, looked for from `base` up
/// to the root of its repository.
///
/// # Errors
/// A file is there and can't be read.
pub fn surrounding_layers(home: &Utf8Path, base: &Utf8Path) -> Result<Vec<Layer>, PrepareError> {
    let mut layers = Vec::new();
    let mut add = |origin, path: Utf8PathBuf| -> Result<bool, PrepareError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => layers.push(Layer {
                origin,
                name: path.into_string(),
                format: Format::Toml,
                text,
            }),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(false);
            }
            Err(source) => return Err(PrepareError::Read { path, source }),
        }
        Ok(true)
    };
    add(Origin::User, home.join("executors.toml"))?;
    for folder in base.ancestors() {
        if add(Origin::Project, folder.join("mizzen.toml"))? || folder.join(".git").exists() {
            break;
        }
    }
    Ok(layers)
}

/// Merges the layers, checks them and plans. Nothing is written.
///
/// # Errors
/// What is wrong in the layers or the overrides: every mistake at once.
pub fn prepare(context: &Context, preparation: &Preparation<'_>) -> Result<Prepared, PrepareError> {
    let vocabulary = executor::vocabulary();
    let environment = |name: &str| context.variable(name).map(str::to_owned);
    let loaded = config::load(
        preparation.layers,
        preparation.overrides,
        &environment,
        &vocabulary,
    )
    .map_err(|failure| PrepareError::Config(Box::new(failure)))?;
    let id = context.ids.experiment();
    let title = loaded
        .spec
        .title
        .as_deref()
        .unwrap_or(preparation.default_title);
    let here = context.experiment_dir(title, &id);
    let place = |config: &plan::ExecutorConfig| match executor::build("", config) {
        Ok(executor) => plan::Place {
            experiment_dir: executor.experiment_dir(&here),
            code: match preparation.pinned {
                Some(pinned) => package::pinned_place(&*executor, pinned),
                None => package::code_place(&*executor, preparation.base),
            },
        },
        // What can't be made is told of when it is to be used.
        Err(_) => plan::Place {
            experiment_dir: here.clone(),
            code: None,
        },
    };
    let inputs = PlanInputs {
        title,
        place: &place,
        base: preparation.base,
        environment: &environment,
        macros: &vocabulary.macros,
    };
    let mut plan = plan::plan(&loaded.spec, &inputs)?;
    for (name, config) in &mut plan.executors {
        let settled = executor::build(name, config).map(|executor| executor.settled(context));
        config
            .settings
            .extend(settled.ok().flatten().into_iter().flatten());
    }
    launchers::settle(&mut plan, preparation.base)?;
    let mut folders: Vec<Utf8PathBuf> = plan
        .executors
        .values()
        .map(|config| place(config).experiment_dir)
        .chain([here.clone()])
        .collect();
    // A folder within another is replaced first.
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.as_str().len()));
    let fingerprint = plan.fingerprint(&folders);
    Ok(Prepared {
        id,
        plan,
        fingerprint,
        loaded,
        base: preparation.base.to_owned(),
        collected: Collected::default(),
        pinned: preparation.pinned.cloned(),
    })
}
