//! `mizzen import-nemo`: NeMo-Run's past experiments become history here.

use camino::Utf8PathBuf;
use clap::Args;
use mizzen_core::store::{Store, StoreError};
use mizzen_core::submit::nemo_run::{self, ImportError, Logs, PastExperiment};

use crate::render::documents::{
    ImportDocument, ImportedExperiment, Layout, UnreadableDocument, json,
};
use crate::render::table::{Cell, Column, Table};
use crate::render::text::{count, printable};
use crate::render::time::ago;
use crate::render::{Outcome, Show, View, style};
use crate::report::{Report, Status};
use crate::surroundings::{Surroundings, user_home};

/// Imports the experiments of a NeMo-Run home as history
///
/// They can be listed, shown, read and removed, and neither run again nor cancelled. The home is only read. Importing again
/// adds what is new. States that NeMo-Run did not write down are UNKNOWN.
#[derive(Debug, Args)]
pub(crate) struct ImportNemoArgs {
    /// The home of NeMo-Run [default: $NEMORUN_HOME, else ~/.nemo_run]
    #[arg(value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    path: Option<Utf8PathBuf>,
    /// Say what would be imported, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Link to the logs instead of copying them: the home of NeMo-Run has to stay
    #[arg(long)]
    link_logs: bool,
    /// Print what was imported as JSON (schema: `mizzen schema import-nemo`)
    #[arg(long)]
    json: bool,
}

/// Imports.
///
/// # Errors
/// There is no such home, or the store can't be written.
pub(crate) fn run(args: ImportNemoArgs, surroundings: &Surroundings) -> Result<Outcome, Report> {
    let context = &surroundings.context;
    let home = match (&args.path, context.variable("NEMORUN_HOME")) {
        (Some(path), _) => path.clone(),
        (None, Some(home)) if !home.is_empty() => Utf8PathBuf::from(home),
        (None, _) => user_home(&context.environment)?.join(".nemo_run"),
    };
    let home = context.workdir.join(home);
    let past = nemo_run::read(&home)?;
    let mut known = 0;
    let mut imported = Vec::new();
    if args.dry_run {
        let store = Store::open_existing(&context.home)?;
        for experiment in &past.experiments {
            if is_known(store.as_ref(), experiment)? {
                known += 1;
            } else {
                imported.push(listed(experiment));
            }
        }
    } else if !past.experiments.is_empty() {
        let logs = if args.link_logs {
            Logs::Link
        } else {
            Logs::Copy
        };
        let mut store = Store::open(&context.home)?;
        for experiment in &past.experiments {
            if nemo_run::import(context, &mut store, experiment, logs)? {
                imported.push(listed(experiment));
            } else {
                known += 1;
            }
        }
    }
    let unreadable: Vec<UnreadableDocument> = past
        .unreadable
        .iter()
        .map(|found| UnreadableDocument {
            path: found.path.to_string(),
            reason: found.reason.clone(),
        })
        .collect();
    let output = &surroundings.output;
    for found in &unreadable {
        output.complain(&format!("{} can't be read: {}", found.path, found.reason));
    }
    let verb = if args.dry_run {
        "would be imported"
    } else {
        "imported"
    };
    let there = if known > 0 {
        format!("; {known} there before")
    } else {
        String::new()
    };
    output.say(&format!(
        "{home}: {} {verb}{there}",
        count(imported.len(), "experiment")
    ));
    let status = if unreadable.is_empty() {
        Status::Succeeded
    } else {
        Status::Failed
    };
    let document = ImportDocument {
        home: home.into_string(),
        dry_run: args.dry_run,
        imported,
        known,
        unreadable,
    };
    let times = past
        .experiments
        .iter()
        .map(|one| (one.id.to_string(), one.created));
    Ok(Outcome::show(
        History {
            document,
            created: times.collect(),
        },
        args.json,
    )
    .with_status(status))
}

fn is_known(store: Option<&Store>, experiment: &PastExperiment) -> Result<bool, StoreError> {
    match store.map(|store| store.summary(&experiment.id)) {
        None | Some(Err(StoreError::NoExperiment(_))) => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(error),
    }
}

fn listed(experiment: &PastExperiment) -> ImportedExperiment {
    let mut jobs = std::collections::BTreeMap::new();
    for job in &experiment.jobs {
        *jobs.entry(job.state).or_insert(0) += 1;
    }
    ImportedExperiment {
        id: experiment.id.to_string(),
        title: experiment.title.clone(),
        original: experiment.original_id.clone(),
        state: experiment.state,
        created: experiment.created.to_text(),
        folder: experiment.folder.to_string(),
        jobs,
        notes: experiment.notes.clone(),
    }
}

struct History {
    document: ImportDocument,
    created: std::collections::HashMap<String, mizzen_core::model::Timestamp>,
}

impl Show for History {
    fn text(&self, view: &View) -> String {
        if self.document.imported.is_empty() {
            return String::new();
        }
        let mut table = Table::new([
            Column::new("ID"),
            Column::new("TITLE").may_be_cut(),
            Column::new("STATE"),
            Column::new("JOBS").right(),
            Column::new("CREATED"),
            Column::new("NEMO-RUN").may_be_cut(),
        ]);
        for experiment in &self.document.imported {
            let created = self.created.get(&experiment.id);
            table.row([
                Cell::from(experiment.id.as_str()),
                experiment.title.as_str().into(),
                Cell::styled(experiment.state.as_str(), style::state(experiment.state)),
                experiment.jobs.values().sum::<u32>().to_string().into(),
                created
                    .map_or(String::new(), |created| ago(*created, view.now))
                    .into(),
                printable(&experiment.original).into(),
            ]);
        }
        let mut text = table.render(&view.page);
        for experiment in &self.document.imported {
            for note in &experiment.notes {
                text.push_str(&format!("{}: {}\n", experiment.id, printable(note)));
            }
        }
        text
    }

    fn json(&self, layout: Layout) -> String {
        json(layout, &self.document)
    }
}

impl From<ImportError> for Report {
    fn from(error: ImportError) -> Report {
        match error {
            ImportError::Store(error) => error.into(),
            ImportError::NoHome(_) => Report::usage(error.to_string()).hint(
                "name it: `mizzen import-nemo FOLDER`; NeMo-Run keeps it in $NEMORUN_HOME or ~/.nemo_run",
            ),
            ImportError::Files(_) => Report::usage(error.to_string()),
        }
    }
}
