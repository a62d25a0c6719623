//! Running a past experiment again from what was kept of it: its document and its code.
//!
//! ```text
//! id ─▶ record: document ─┐
//!    └▶ plan.code ─ trees ─ unpack ─▶ base ─┴─▶ prepare with the code pinned ─▶ a new experiment
//! ```
//!
//! The working tree of today has no say: files that the document names are read from the kept tree, and jobs run from it, never
//! in place. What can't be the same is told before anything is created.

use std::collections::BTreeMap;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::bundle::TreeHash;
use serde_json::{Value, json};

use super::SubmitError;
use super::preview::MASK;
use crate::context::Context;
use crate::model::ExperimentId;
use crate::packager::PackError;
use crate::packager::bundle::Bundles;
use crate::plan::Code;
use crate::store::Store;

/// What a past experiment is run again from.
#[derive(Debug, Clone)]
pub struct Reprise {
    /// Its document, with every layer applied.
    pub document: Value,
    /// The folder that relative paths start from: in the kept tree.
    pub base: Utf8PathBuf,
    /// Its code.
    pub pinned: Pinned,
    /// What will or may not be as it was.
    pub notes: Vec<String>,
}

/// Code that is decided already.
#[derive(Debug, Clone, Default)]
pub struct Pinned {
    /// By the executor's name.
    pub by_executor: BTreeMap<String, Code>,
    /// For executors that had none.
    pub otherwise: Code,
    /// The experiment that it belongs to.
    pub from: String,
}

impl Pinned {
    /// The code of an executor's jobs.
    #[must_use]
    pub fn of(&self, executor: &str) -> &Code {
        self.by_executor.get(executor).unwrap_or(&self.otherwise)
    }
}

/// Looks up what a past experiment can be run again from. `executor` replaces all of its executors.
///
/// # Errors
/// There is no such experiment, it did not run here, or its code is not kept.
pub fn reprise(
    context: &Context,
    store: &Store,
    id: &ExperimentId,
    executor: Option<&str>,
) -> Result<Reprise, SubmitError> {
    let cant = |reason: String| SubmitError::NotRepeatable {
        id: id.clone(),
        reason,
    };
    let record = store.document(id)?;
    let plan = store.plan_without_jobs(id)?;
    let Some(mut document) = record.get("document").filter(|it| it.is_object()).cloned() else {
        return Err(cant(
            "its configuration is not kept: it ran elsewhere, and only its history is here"
                .to_owned(),
        ));
    };
    let used: Vec<&String> = plan.tasks.iter().map(|task| &task.executor).collect();
    let codes: BTreeMap<String, Code> = plan
        .code
        .iter()
        .filter(|(name, _)| used.contains(name))
        .map(|(name, code)| (name.clone(), code.clone()))
        .collect();
    let kept = |code: &&Code| !code.tree.is_empty();
    let Some(first) = codes.values().find(kept).cloned() else {
        let reason = codes
            .values()
            .find_map(|code| code.not_kept.clone())
            .unwrap_or_else(|| "it was run without recording its code".to_owned());
        return Err(cant(format!("its code is not kept: {reason}")));
    };
    let bundles = Bundles::open(&context.home).map_err(PackError::from)?;
    let mut base = Utf8PathBuf::new();
    for code in codes
        .values()
        .filter(kept)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let tree = TreeHash::from_str(&code.tree).map_err(|error| cant(error.to_string()))?;
        base = bundles
            .unpack(&tree)
            .map_err(PackError::from)?
            .join(&code.inside);
    }
    let mut notes = notes(context, &record, &document, &first);
    let mut hidden = Vec::new();
    drop_hidden(&mut document, &mut hidden);
    if !hidden.is_empty() {
        notes.push(format!(
            "the private variable {} was left out when it was exported: give it with `--env`",
            hidden.join(", ")
        ));
    }
    if let Some(executor) = executor {
        replace_executors(&mut document, executor);
    }
    if codes.values().any(|code| code.in_place) {
        notes.push(
            "it ran in its working tree; it is run from the kept copy of that, without what git ignores"
                .to_owned(),
        );
    }
    let pin = |code: &Code| Code {
        in_place: code.in_place && code.tree.is_empty(),
        ..code.clone()
    };
    Ok(Reprise {
        document,
        base,
        pinned: Pinned {
            by_executor: codes
                .iter()
                .map(|(name, code)| (name.clone(), pin(code)))
                .collect(),
            otherwise: pin(&first),
            from: id.to_string(),
        },
        notes,
    })
}

/// All tasks run on one executor.
fn replace_executors(document: &mut Value, executor: &str) {
    let tasks = document.get_mut("tasks").and_then(Value::as_array_mut);
    for task in tasks.into_iter().flatten().filter_map(Value::as_object_mut) {
        task.remove("executor");
    }
    if let Some(document) = document.as_object_mut() {
        let defaults = document.entry("defaults").or_insert_with(|| json!({}));
        defaults["executor"] = executor.into();
    }
}

/// Takes out variables whose values were hidden; answers with their names.
fn drop_hidden(value: &mut Value, hidden: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            entries.retain(|name, value| {
                let is_hidden = value == MASK;
                if is_hidden {
                    hidden.push(name.clone());
                }
                !is_hidden
            });
            entries
                .iter_mut()
                .for_each(|(_, value)| drop_hidden(value, hidden));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_hidden(item, hidden)),
        _ => {}
    }
}

/// What will or may not be as it was.
fn notes(context: &Context, record: &Value, document: &Value, code: &Code) -> Vec<String> {
    let mut notes = Vec::new();
    let (mut absolute, mut variables) = (Vec::new(), Vec::new());
    each_text(document, "", &mut |pointer, text| {
        if !code.root.is_empty() && Utf8Path::new(text).starts_with(&code.root) {
            absolute.push(pointer.to_owned());
        }
        if text.contains("${env:") {
            variables.push(pointer.to_owned());
        }
    });
    if !absolute.is_empty() {
        notes.push(format!(
            "{} names a path in {}, which is today's and not the kept one",
            absolute.join(", "),
            code.root
        ));
    }
    if !variables.is_empty() {
        notes.push(format!(
            "{} is filled in from today's environment",
            variables.join(", ")
        ));
    }
    let secrets = document
        .pointer("/tasks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .chain(document.get("defaults"))
        .filter_map(|holder| holder.get("secrets")?.as_object())
        .flatten();
    for (name, reference) in secrets {
        let missing = match reference.as_str().and_then(|text| text.split_once(':')) {
            Some(("env", variable)) => context.variable(variable).is_none(),
            Some(("file", path)) => !context.workdir.join(path).exists(),
            _ => false,
        };
        if missing {
            notes.push(format!(
                "the secret {name} ({}) is not there any more",
                reference.as_str().unwrap_or_default()
            ));
        }
    }
    let version = record
        .get("version")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !version.is_empty() && version != env!("CARGO_PKG_VERSION") {
        notes.push(format!("it was planned by mizzen {version}"));
    }
    notes
}

fn each_text(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::String(text) => visit(pointer.trim_start_matches('/'), text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_text(item, &format!("{pointer}/{index}"), visit);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                each_text(item, &format!("{pointer}/{key}"), visit);
            }
        }
        _ => {}
    }
}
