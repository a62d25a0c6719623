//! How two experiments differ: in their code, their configuration, their surroundings and what came of them.

use std::collections::BTreeMap;
use std::str::FromStr;

use mizzen_agent::bundle::{Entry, Kind, TreeHash};
use serde::Serialize;
use serde_json::Value;

use super::SubmitError;
use crate::context::Context;
use crate::model::ExperimentId;
use crate::packager::PackError;
use crate::packager::bundle::Bundles;
use crate::plan::Code;
use crate::store::Store;

/// How two experiments differ. Everything is in an order that does not change.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Comparison {
    /// Files of the code.
    pub code: Vec<FileChange>,
    /// What can't be compared of the code, and why.
    pub code_unknown: Option<String>,
    /// Values of the configuration, by JSON pointer (RFC 6901).
    pub config: Vec<Change>,
    /// Repository, machine, Python and packages, who and where.
    pub environment: Vec<Change>,
    /// States, causes and exit codes of jobs.
    pub outcome: Vec<Change>,
}

impl Comparison {
    /// They are the same in everything that is compared.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.code.is_empty()
            && self.code_unknown.is_none()
            && self.config.is_empty()
            && self.environment.is_empty()
            && self.outcome.is_empty()
    }
}

/// A value that differs; `None` where there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What it is.
    pub path: String,
    /// The first experiment's.
    pub a: Option<Value>,
    /// The second one's.
    pub b: Option<Value>,
}

/// A file, link or empty folder that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path; what is not UTF-8 in it is replaced.
    pub path: String,
    /// What happened to it on the way from the first to the second.
    pub change: FileChangeKind,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChangeKind {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// It has another content.
    Changed,
    /// Only its executable bit differs.
    Mode,
}

/// The trees of two experiments, where both have one and they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trees {
    /// The first one's.
    pub a: TreeHash,
    /// The second one's.
    pub b: TreeHash,
}

/// Compares two experiments. Trees that differ are answered too, for who wants to read the files.
///
/// # Errors
/// There is no such experiment, or the store can't be read.
pub fn compare(
    context: &Context,
    store: &Store,
    a: &ExperimentId,
    b: &ExperimentId,
) -> Result<(Comparison, Vec<Trees>), SubmitError> {
    let records = (store.document(a)?, store.document(b)?);
    let plans = (store.plan_without_jobs(a)?, store.plan_without_jobs(b)?);
    let mut comparison = Comparison {
        config: changes(
            &leaves(records.0.get("document").unwrap_or(&Value::Null)),
            &leaves(records.1.get("document").unwrap_or(&Value::Null)),
        ),
        environment: changes(&environment(&records.0), &environment(&records.1)),
        outcome: changes(&outcome(store, a)?, &outcome(store, b)?),
        ..Comparison::default()
    };
    let trees = code(context, &plans.0.code, &plans.1.code, &mut comparison)?;
    Ok((comparison, trees))
}

type Values = BTreeMap<String, Value>;

/// The leaves of a document by JSON pointer.
fn leaves(value: &Value) -> Values {
    fn walk(value: &Value, pointer: String, found: &mut Values) {
        let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    walk(value, format!("{pointer}/{}", escaped(key)), found);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (index, value) in items.iter().enumerate() {
                    walk(value, format!("{pointer}/{index}"), found);
                }
            }
            Value::Null => {}
            // A list of words is one thing to a reader.
            leaf => {
                found.insert(pointer, leaf.clone());
            }
        }
    }
    let mut found = Values::new();
    walk(value, String::new(), &mut found);
    found
}

fn changes(a: &Values, b: &Values) -> Vec<Change> {
    let mut paths: Vec<&String> = a.keys().chain(b.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| a.get(*path) != b.get(*path))
        .map(|path| Change {
            path: path.clone(),
            a: a.get(path).cloned(),
            b: b.get(path).cloned(),
        })
        .collect()
}

/// What surrounded an experiment, as far as it is recorded, with names that people read.
fn environment(record: &Value) -> Values {
    let mut found = Values::new();
    for name in ["user", "host", "workdir", "version"] {
        if let Some(value) = record.get(name).filter(|value| !value.is_null()) {
            found.insert(name.to_owned(), value.clone());
        }
    }
    let surroundings = record.get("surroundings").unwrap_or(&Value::Null);
    let git = surroundings.get("git").unwrap_or(&Value::Null);
    for name in ["commit", "branch", "remotes", "submodules"] {
        if let Some(value) = git.get(name) {
            found.insert(format!("git {name}"), value.clone());
        }
    }
    for (name, hash) in surroundings
        .get("lock_files")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        found.insert(format!("file {name}"), hash.clone());
    }
    let machine = surroundings.get("machine").unwrap_or(&Value::Null);
    for name in [
        "os",
        "kernel",
        "architecture",
        "processor",
        "processors",
        "memory",
        "gpus",
        "driver",
    ] {
        if let Some(value) = machine.get(name) {
            found.insert(format!("machine {name}"), value.clone());
        }
    }
    let python = machine.get("python").unwrap_or(&Value::Null);
    for name in ["program", "version"] {
        if let Some(value) = python.get(name) {
            found.insert(format!("python {name}"), value.clone());
        }
    }
    let packages = python.get("packages").and_then(Value::as_array);
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.into_iter().flatten().filter_map(Value::as_str) {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        let known = versions.entry(name).or_default();
        if !known.contains(&version) {
            known.push(version);
        }
    }
    // One that is installed twice (in an environment and below it) has both.
    let packages = versions.into_iter();
    found.extend(
        packages.map(|(name, versions)| (format!("package {name}"), versions.join(" and ").into())),
    );
    found
}

fn outcome(store: &Store, id: &ExperimentId) -> Result<Values, SubmitError> {
    let view = store.view(id)?;
    let mut found = Values::new();
    found.insert(
        "experiment".to_owned(),
        view.summary.state.to_string().into(),
    );
    for job in &view.jobs {
        let mut words = job.state.to_string();
        if let Some(cause) = job.cause {
            words.push_str(&format!(", {cause}"));
        }
        let code = job.attempts.last().and_then(|attempt| attempt.exit_code);
        if let Some(code) = code.filter(|code| *code != 0) {
            words.push_str(&format!(", exit status {code}"));
        }
        if job.attempts.len() > 1 {
            words.push_str(&format!(", {} attempts", job.attempts.len()));
        }
        found.insert(format!("job {}", job.name), words.into());
    }
    Ok(found)
}

fn code(
    context: &Context,
    a: &BTreeMap<String, Code>,
    b: &BTreeMap<String, Code>,
    comparison: &mut Comparison,
) -> Result<Vec<Trees>, SubmitError> {
    let distinct = |codes: &BTreeMap<String, Code>| {
        let mut trees: Vec<String> = codes
            .values()
            .map(|code| code.remote.clone().unwrap_or_else(|| code.tree.clone()))
            .collect();
        trees.sort();
        trees.dedup();
        trees
    };
    let (one, other) = (distinct(a), distinct(b));
    if one == other && one.iter().all(|tree| !tree.is_empty()) {
        return Ok(Vec::new());
    }
    let (Some((first, [])), Some((second, []))) = (one.split_first(), other.split_first()) else {
        comparison.code_unknown = (one != other || one.contains(&String::new())).then(|| match one
            .len()
            .max(other.len())
        {
            0 | 1 => "one of them has no recorded code".to_owned(),
            _ => "they have several trees each, and these differ".to_owned(),
        });
        // Without any code on both sides there is nothing that could differ.
        if one.is_empty() && other.is_empty() {
            comparison.code_unknown = None;
        }
        return Ok(Vec::new());
    };
    let (Ok(first), Ok(second)) = (TreeHash::from_str(first), TreeHash::from_str(second)) else {
        comparison.code_unknown = Some("the code of one of them is not kept".to_owned());
        return Ok(Vec::new());
    };
    let bundles = Bundles::open(&context.home).map_err(PackError::from)?;
    let manifest = |tree: &TreeHash| bundles.manifest(tree).ok().flatten();
    let (Some(from), Some(to)) = (manifest(&first), manifest(&second)) else {
        comparison.code_unknown = Some(format!(
            "the trees {} and {} differ, and one of them is not kept any more",
            first.short(),
            second.short()
        ));
        return Ok(Vec::new());
    };
    comparison.code = files(from.entries(), to.entries());
    Ok(vec![Trees {
        a: first,
        b: second,
    }])
}

fn files(from: &[Entry], to: &[Entry]) -> Vec<FileChange> {
    let index = |entries: &[Entry]| -> BTreeMap<Vec<u8>, Kind> {
        entries
            .iter()
            .map(|entry| (entry.path.clone(), entry.kind.clone()))
            .collect()
    };
    let (from, to) = (index(from), index(to));
    let mut paths: Vec<&Vec<u8>> = from.keys().chain(to.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| {
            let change = match (from.get(path), to.get(path)) {
                (None, _) => FileChangeKind::Added,
                (_, None) => FileChangeKind::Removed,
                (one, other) if one == other => return None,
                (Some(Kind::File { object: one, .. }), Some(Kind::File { object: other, .. }))
                    if one == other =>
                {
                    FileChangeKind::Mode
                }
                _ => FileChangeKind::Changed,
            };
            Some(FileChange {
                path: String::from_utf8_lossy(path).into_owned(),
                change,
            })
        })
        .collect()
}
