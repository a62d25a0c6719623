//! Writes past experiments down: a plan without executors, a record that says where they came from, the events of what is
//! known, and copies of their logs.

use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};

use super::{PastExperiment, PastJob, SOURCE};
use crate::context::{Context, create_private_dir, write_file};
use crate::model::{Env, EventKind, Handle, JobState, Role, Timestamp};
use crate::plan::{OnFailure, Plan, PlannedGroup, PlannedJob, PlannedTask, Retries};
use crate::store::{Store, StoreError};
use crate::submit::preview::{MASK, is_private};

/// History can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder is no home of NeMo-Run.
    #[error("{0} is no home of NeMo-Run: it has no folder `experiments`")]
    NoHome(Utf8PathBuf),
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The experiment's folder can't be written.
    #[error("{0}")]
    Files(io::Error),
}

/// What happens to logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// They are copied: NeMo-Run's home may go afterwards.
    Copy,
    /// Symbolic links point to them: no space is needed.
    Link,
}

/// Records a past experiment, unless it is there. Answers whether it was not.
///
/// # Errors
/// The store or the home can't be written; nothing is left behind then.
pub fn import(
    context: &Context,
    store: &mut Store,
    past: &PastExperiment,
    logs: Logs,
) -> Result<bool, ImportError> {
    match store.summary(&past.id) {
        Ok(_) => return Ok(false),
        Err(StoreError::NoExperiment(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = context.experiment_dir(&past.title, &past.id);
    let written = write(context, past, &dir, logs)
        .map_err(ImportError::Files)
        .and_then(|document| {
            let plan = plan(past);
            let added =
                store.insert_history(&past.id, &plan, &document, past.created, &events(past))?;
            Ok(added)
        });
    if written.is_err() {
        let _ = std::fs::remove_dir_all(&dir);
        if let Some(title) = dir.parent() {
            // Only if it holds no other experiment.
            let _ = std::fs::remove_dir(title);
        }
    }
    written
}

/// Makes the experiment's folder, with the logs and the record.
fn write(
    context: &Context,
    past: &PastExperiment,
    dir: &Utf8Path,
    logs: Logs,
) -> io::Result<Value> {
    // What an import that was killed left behind.
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private_dir(dir)?;
    let mut notes = past.notes.clone();
    for job in &past.jobs {
        for (number, sources) in (1_u32..).zip(&job.attempts) {
            let folder = dir
                .join(&job.name)
                .join("attempts")
                .join(number.to_string());
            create_private_dir(&folder)?;
            for (rank, source) in (0_u32..).zip(sources) {
                let log = folder.join(format!("rank-{rank}.log"));
                if let Err(error) = take(source, &log, logs) {
                    if error.kind() == io::ErrorKind::StorageFull {
                        return Err(error);
                    }
                    notes.push(format!("the log {source} can't be read: {error}"));
                }
            }
        }
    }
    let document = record(context, past, &notes);
    let text = serde_json::to_vec_pretty(&document).map_err(io::Error::other)?;
    write_file(&dir.join("experiment.json"), &text, 0o600)?;
    Ok(document)
}

fn take(source: &Utf8Path, target: &Utf8Path, logs: Logs) -> io::Result<()> {
    match logs {
        Logs::Link => std::os::unix::fs::symlink(source.canonicalize_utf8()?, target),
        Logs::Copy => {
            let mut from = File::open(source)?;
            write_file(target, b"", 0o600)?;
            let mut to = File::options().append(true).open(target)?;
            // copy_file_range(2) where the kernel can: such a copy shares its blocks on some file systems.
            io::copy(&mut from, &mut to).map(drop)
        }
    }
}

/// The class's own name in `nemo_run.core.execution.local.LocalExecutor`.
fn class(value: &Value) -> &str {
    let target = value.get("_target_").and_then(Value::as_str);
    target
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or("unknown")
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The words of a script with a path or a module.
fn words(task: &Value) -> Vec<String> {
    let path = text(task, "path");
    if path.is_empty() {
        return Vec::new();
    }
    let mut words = vec![text(task, "entrypoint").to_owned()];
    words.retain(|word| !word.is_empty());
    if task.get("m").and_then(Value::as_bool) == Some(true) {
        words.push("-m".to_owned());
    }
    words.push(path.to_owned());
    words.extend(texts(task.get("args")));
    words
}

fn is_script(task: &Value) -> bool {
    text(task, "_target_") == "nemo_run.config.Script"
}

/// A plan for showing: nothing of it can be run, and so it has no executors.
fn plan(past: &PastExperiment) -> Plan {
    let mut groups: Vec<PlannedGroup> = Vec::new();
    let (mut tasks, mut jobs) = (Vec::new(), Vec::new());
    for (index, job) in (0_u32..).zip(&past.jobs) {
        let group = job.group.as_ref().map(|name| {
            let known = groups.iter().position(|group| group.name == *name);
            let position = known.unwrap_or_else(|| {
                groups.push(PlannedGroup {
                    name: name.clone(),
                    jobs: Vec::new(),
                    leader: None,
                });
                groups.len() - 1
            });
            groups[position].jobs.push(index);
            position as u32
        });
        tasks.push(PlannedTask {
            name: job.name.clone(),
            first_job: index,
            jobs: 1,
            executor: class(&job.executor).to_owned(),
            after: Vec::new(),
            group,
        });
        jobs.push(planned(index, job));
    }
    Plan {
        title: past.title.clone(),
        description: String::new(),
        on_failure: OnFailure::Continue,
        executors: Default::default(),
        code: Default::default(),
        tasks,
        groups,
        jobs,
        files: Vec::new(),
    }
}

fn planned(index: u32, job: &PastJob) -> PlannedJob {
    let mut words = if is_script(&job.task) {
        words(&job.task)
    } else {
        Vec::new()
    }
    .into_iter();
    PlannedJob {
        name: job.name.clone(),
        task: index,
        role: Role {
            name: job.name.clone(),
            entrypoint: words.next().unwrap_or_default(),
            args: words.collect(),
            env: Env::new(),
            num_replicas: 1,
            ..Role::default()
        },
        secrets: Default::default(),
        workdir: String::new(),
        files: Vec::new(),
        variables: Vec::new(),
        launcher: None,
        retries: Retries::NONE,
        timeout: None,
        grace: 0.0,
    }
}

/// What happened, as far as it is known: handed over when the experiment was made; ended, or not known to have.
fn events(past: &PastExperiment) -> Vec<(Timestamp, EventKind)> {
    let mut events = Vec::new();
    let mut ends = Vec::new();
    for (index, job) in (0_u32..).zip(&past.jobs) {
        let attempts = job.attempts.len() as u32;
        if let Some(handle) = &job.handle {
            events.extend((1..=attempts).map(|attempt| {
                let handle = Handle(handle.clone());
                let submitted = EventKind::Submitted {
                    job: index,
                    attempt,
                    handle,
                };
                (past.created, submitted)
            }));
        }
        for attempt in 1..attempts {
            let earlier = EventKind::Observed {
                job: index,
                attempt,
                state: JobState::Unknown,
                detail: "its place started the job again".to_owned(),
            };
            ends.push((past.created, earlier));
        }
        let end = if job.state.is_final() {
            EventKind::Ended {
                job: index,
                attempt: attempts.max(1),
                state: job.state,
                cause: job.cause,
                message: job.message.clone(),
                record: None,
                retry: None,
            }
        } else {
            EventKind::Observed {
                job: index,
                attempt: attempts,
                state: JobState::Unknown,
                detail: job.message.clone().unwrap_or_default(),
            }
        };
        ends.push((job.last_written.unwrap_or(past.ended), end));
    }
    // Stable: of what has the same time, the earlier attempt comes first.
    ends.sort_by_key(|(time, _)| *time);
    events.append(&mut ends);
    events.push((past.ended, EventKind::Finished { state: past.state }));
    events
}

/// What is stored beside the plan.
fn record(context: &Context, past: &PastExperiment, notes: &[String]) -> Value {
    let name_of = |original: &String| {
        let job = past
            .jobs
            .iter()
            .find(|job| job.original_id == *original || job.group.as_ref() == Some(original));
        job.map_or(original, |job| job.group.as_ref().unwrap_or(&job.name))
            .clone()
    };
    let tasks: Vec<Value> = past
        .jobs
        .iter()
        .map(|job| task(job, job.after.iter().map(name_of).collect()))
        .collect();
    json!({
        "document": { "title": past.title, "tasks": tasks },
        "provenance": {},
        "command": [],
        "user": "",
        "host": "",
        "workdir": "",
        "version": env!("CARGO_PKG_VERSION"),
        "fingerprint": "",
        "imported": {
            "from": SOURCE,
            "version": past.version,
            "id": past.original_id,
            "title": past.original_title,
            "folder": past.folder,
            "time": context.clock.now().to_text(),
            "notes": notes,
        },
    })
}

/// A task in the words of an experiment file, as far as those reach; the rest stands under `metadata`.
fn task(job: &PastJob, after: Vec<String>) -> Value {
    let mut task = Map::new();
    let mut more = Map::new();
    task.insert("name".to_owned(), json!(job.name));
    if is_script(&job.task) {
        let inline = text(&job.task, "inline");
        if inline.is_empty() {
            task.insert("run".to_owned(), json!(words(&job.task)));
        } else {
            task.insert("inline".to_owned(), json!(inline));
            more.insert(
                "entrypoint".to_owned(),
                json!(text(&job.task, "entrypoint")),
            );
        }
        if let Some(env) = job.task.get("env").filter(|env| !is_empty(env)) {
            task.insert("env".to_owned(), masked(env));
        }
    } else if !job.task.is_null() {
        more.insert("task".to_owned(), masked(&job.task));
    }
    task.insert("executor".to_owned(), json!(class(&job.executor)));
    if !after.is_empty() {
        task.insert("after".to_owned(), json!(after));
    }
    if let Some(group) = &job.group {
        task.insert("group".to_owned(), json!(group));
    }
    more.insert("id".to_owned(), json!(job.original_id));
    more.insert("handle".to_owned(), json!(job.handle));
    more.insert("executor".to_owned(), masked(&settings(&job.executor)));
    more.retain(|_, value| !is_empty(value));
    task.insert("metadata".to_owned(), json!({ "nemo_run": more }));
    Value::Object(task)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// An executor's values without what was not set, and without NeMo-Run's own bookkeeping.
fn settings(executor: &Value) -> Value {
    const BOOKKEEPING: [&str; 4] = ["experiment_id", "job_dir", "packaging_jobs", "job_details"];
    match executor {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(name, _)| !BOOKKEEPING.contains(&name.as_str()))
                .filter(|(_, value)| !text(value, "_target_").ends_with(".launcher.Launcher"))
                .map(|(name, value)| (name.clone(), settings(value)))
                .filter(|(_, value)| !is_empty(value))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The value without texts that look like secrets by their names: NeMo-Run keeps those in the open, the store does not.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let value = match value {
                        Value::String(_) if is_private(name) => json!(MASK),
                        other => masked(other),
                    };
                    (name.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}
