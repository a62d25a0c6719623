//! Reads NeMo-Run's home: folders, `_CONFIG`, `_TASKS`.
//!
//! Layout, as of NeMo-Run 0.11: `experiments/<title>/<title>_<time in ns>/` with `_CONFIG`, `_TASKS` (a list of pairs: job,
//! task), `_VERSION`, `_DONE`, and a folder for each job. What jobs left there, and what became of them: [`super::places`].

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::places::{Place, States};
use super::{ImportError, Past, PastExperiment, PastJob, Unreadable, objects};
use crate::config::names::{NAME_LIMIT, RESERVED_TITLES};
use crate::model::{ExperimentId, JobState, Timestamp};

/// How many folders deep experiments are looked for: titles may hold slashes.
const DEPTH_LIMIT: u32 = 5;
/// A larger file is none of NeMo-Run's.
const FILE_LIMIT: u64 = 256 << 20;

/// Reads the home.
pub(super) fn read(home: &Utf8Path) -> Result<Past, ImportError> {
    let root = home.join("experiments");
    if !root.is_dir() {
        return Err(ImportError::NoHome(home.to_owned()));
    }
    let mut past = Past::default();
    let states = States::read(home, &mut past.unreadable);
    let mut folders = Vec::new();
    find(&root, 0, &mut folders, &mut past.unreadable);
    for folder in folders {
        let title = folder
            .parent()
            .and_then(|parent| parent.strip_prefix(&root).ok())
            .map_or("", Utf8Path::as_str);
        past.experiments.push(experiment(&folder, title, &states));
    }
    past.experiments.sort_by(|one, other| {
        (one.created, &one.original_id).cmp(&(other.created, &other.original_id))
    });
    Ok(past)
}

/// The folders of experiments: those with one of the files that NeMo-Run writes first.
fn find(
    folder: &Utf8Path,
    depth: u32,
    found: &mut Vec<Utf8PathBuf>,
    unreadable: &mut Vec<Unreadable>,
) {
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) => {
            unreadable.push(Unreadable {
                path: folder.to_owned(),
                reason: error.to_string(),
            });
            return;
        }
    };
    let mut folders = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) if entry.path().is_dir() => folders.push(entry.into_path()),
            Ok(_) => {}
            Err(error) => unreadable.push(Unreadable {
                path: folder.to_owned(),
                reason: format!("an entry of it can't be read: {error}"),
            }),
        }
    }
    folders.sort();
    for folder in folders {
        let is_experiment = ["_CONFIG", "_TASKS", "_VERSION"]
            .iter()
            .any(|name| folder.join(name).exists());
        if is_experiment {
            found.push(folder);
        } else if depth < DEPTH_LIMIT {
            find(&folder, depth + 1, found, unreadable);
        }
    }
}

/// A small file's text; `None` if it is not there.
pub(super) fn text_of(path: &Utf8Path) -> Result<Option<String>, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > FILE_LIMIT => return Err("it is too large".to_owned()),
        Ok(_) => {}
    }
    std::fs::read_to_string(path)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// When a file was written last.
fn written(path: &Utf8Path) -> Option<Timestamp> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Timestamp)
}

/// One job as `_TASKS` or the folders have it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) group: Option<String>,
    pub(super) task: Value,
    pub(super) executor: Value,
    pub(super) handle: Option<String>,
    pub(super) after: Vec<String>,
    /// The state when it was written last.
    pub(super) word: Option<String>,
}

fn experiment(folder: &Utf8Path, title: &str, states: &States) -> PastExperiment {
    let mut notes = Vec::new();
    let config = text_of(&folder.join("_CONFIG"))
        .and_then(|text| text.ok_or_else(|| "it is not there".to_owned()))
        .and_then(|text| objects::read(&text).map_err(|error| error.to_string()))
        .unwrap_or_else(|reason| {
            notes.push(format!(
                "`_CONFIG`: {reason}; title and id are those of the folders"
            ));
            Value::Null
        });
    let named = |name: &str, other: &str| {
        let found = config.get(name).and_then(Value::as_str);
        found
            .filter(|text| !text.is_empty())
            .unwrap_or(other)
            .to_owned()
    };
    let original_id = named("id", folder.file_name().unwrap_or_default());
    let original_title = named("title", title);
    let done = written(&folder.join("_DONE"));
    let tasks_written = written(&folder.join("_TASKS"));
    let created = time_in(&original_id)
        .or_else(|| written(&folder.join("_CONFIG")))
        .or(tasks_written)
        .or_else(|| written(folder))
        .unwrap_or(Timestamp(0));

    let found = tasks(folder).unwrap_or_else(|reason| {
        notes.push(format!(
            "`_TASKS`: {reason}; the jobs are those that have a folder"
        ));
        jobs_in_folders(folder)
    });
    let jobs = jobs(folder, found, states);
    let ended = jobs
        .iter()
        .filter_map(|job| job.last_written)
        .chain(done.or(tasks_written))
        .fold(created, Timestamp::max);
    PastExperiment {
        id: id_of(&original_title, &original_id),
        title: clean_title(&original_title),
        version: text_of(&folder.join("_VERSION"))
            .ok()
            .flatten()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()),
        state: state_of(&jobs),
        original_id,
        original_title,
        folder: folder.to_owned(),
        created,
        ended,
        jobs,
        notes,
    }
}

/// The same experiment gets the same id, whenever and from wherever it is imported.
fn id_of(title: &str, id: &str) -> ExperimentId {
    let hash = blake3::hash(format!("nemo-run\0{title}\0{id}").as_bytes());
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&hash.as_bytes()[..10]);
    ExperimentId::from_bytes(&bytes)
}

/// The time behind the last `_` of an id: nanoseconds, or seconds in the first versions.
fn time_in(id: &str) -> Option<Timestamp> {
    let digits = id.rsplit_once('_')?.1;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i64 = digits.parse().ok()?;
    match digits.len() {
        19 => Some(Timestamp(number / 1000)),
        10 => Some(Timestamp(number * 1_000_000)),
        _ => None,
    }
}

/// What the jobs' states come to. One that failed is enough; after that, one that is not known.
fn state_of(jobs: &[PastJob]) -> JobState {
    let any = |state: JobState| jobs.iter().any(|job| job.state == state);
    if any(JobState::Failed) {
        JobState::Failed
    } else if jobs.is_empty() || jobs.iter().any(|job| !job.state.is_final()) {
        JobState::Unknown
    } else if any(JobState::Cancelled) {
        JobState::Cancelled
    } else {
        JobState::Succeeded
    }
}

/// The jobs in `_TASKS`.
fn tasks(folder: &Utf8Path) -> Result<Vec<Found>, String> {
    let listed = text_of(&folder.join("_TASKS"))?.ok_or("it is not there")?;
    let pairs: Vec<Vec<String>> =
        serde_json::from_str(&listed).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let part = |index: usize| {
            let stored = pair.get(index).ok_or("a part of it is missing".to_owned());
            stored
                .and_then(|stored| objects::read(stored).map_err(|error| error.to_string()))
                .map_err(|error| format!("job {}: {error}", number + 1))
        };
        let job = part(0)?;
        let task = part(1)?;
        let is_group = text(&job, "_target_").ends_with(".JobGroup");
        if is_group {
            found.extend(members(&job, &task));
        } else {
            found.push(Found {
                id: text(&job, "id"),
                group: None,
                task,
                executor: field(&job, "executor"),
                handle: Some(text(&job, "handle")).filter(|handle| !handle.is_empty()),
                after: texts(&job, "dependencies"),
                word: state_word(job.get("state")),
            });
        }
    }
    Ok(found)
}

/// The members of a group, as jobs. One executor or one handle is all members'.
fn members(group: &Value, tasks: &Value) -> Vec<Found> {
    let id = text(group, "id");
    let list = |name: &str| {
        let field = group.get(name).and_then(Value::as_array);
        field.map(Vec::as_slice).unwrap_or_default()
    };
    let nth = |name: &str, index: usize| {
        let all = list(name);
        all.get(index).or(all.first().filter(|_| all.len() == 1))
    };
    let tasks = tasks.as_array().map(Vec::as_slice).unwrap_or_default();
    (0..tasks.len())
        .map(|index| Found {
            id: format!("{id}-{index}"),
            group: Some(id.clone()),
            task: tasks[index].clone(),
            executor: nth("executors", index).cloned().unwrap_or_default(),
            handle: nth("handles", index)
                .and_then(Value::as_str)
                .filter(|handle| !handle.is_empty())
                .map(str::to_owned),
            after: texts(group, "dependencies"),
            word: state_word(nth("states", index)),
        })
        .collect()
}

fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    let found = value.get(name).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let found = value.get(name).and_then(Value::as_array);
    let items = found.into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The word in `torchx.specs.api.AppState.RUNNING`, or in plain text.
fn state_word(value: Option<&Value>) -> Option<String> {
    let value = value?;
    let text = value
        .as_str()
        .or_else(|| value.get("_target_").and_then(Value::as_str))?;
    text.rsplit('.').next().map(str::to_owned)
}

/// Without `_TASKS`: the names of the configurations and of the logs that jobs left in their folders.
fn jobs_in_folders(folder: &Utf8Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for job_folder in entries(folder).into_iter().filter(|path| path.is_dir()) {
        let configured = entries(&job_folder.join("configs"));
        let mut ids: Vec<String> = configured
            .iter()
            .filter_map(|path| path.file_name()?.strip_suffix("_executor.yaml"))
            .map(str::to_owned)
            .collect();
        for app in entries(&job_folder.join("nemo_run")) {
            let roles = entries(&app).into_iter().filter(|path| path.is_dir());
            ids.extend(roles.filter_map(|role| role.file_name().map(str::to_owned)));
        }
        ids.sort();
        ids.dedup();
        found.extend(ids.into_iter().map(|id| Found {
            executor: serde_json::json!({ "job_dir": job_folder.as_str() }),
            id,
            ..Found::default()
        }));
    }
    found
}

/// What a folder holds, in order; nothing if it can't be read.
pub(super) fn entries(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(found) = folder.read_dir_utf8() else {
        return Vec::new();
    };
    let mut paths: Vec<Utf8PathBuf> = found.flatten().map(|entry| entry.into_path()).collect();
    paths.sort();
    paths
}

fn jobs(folder: &Utf8Path, found: Vec<Found>, states: &States) -> Vec<PastJob> {
    let folders: Vec<Utf8PathBuf> = found.iter().map(|job| job_folder(folder, job)).collect();
    let mut taken = HashSet::new();
    let mut jobs = Vec::with_capacity(found.len());
    for (job, job_folder) in found.into_iter().zip(&folders) {
        let alone = folders.iter().filter(|other| *other == job_folder).count() == 1;
        let place = Place::find(&job, job_folder, alone, states);
        let attempts = place.logs(&job.id, alone, states);
        let last_written = attempts
            .iter()
            .flatten()
            .filter(|log| std::fs::metadata(log).is_ok_and(|found| found.len() > 0))
            .filter_map(|log| written(log))
            .max();
        let end = place.end(&job, states);
        jobs.push(PastJob {
            name: unique(clean(&job.id, "job"), &mut taken),
            original_id: job.id,
            group: job.group,
            task: job.task,
            executor: job.executor,
            handle: place.handle,
            after: job.after,
            state: end.state,
            cause: end.cause,
            message: end.message,
            last_written,
            attempts,
        });
    }
    jobs
}

/// The folder of a job: the last part of the path that its executor had. The home may have been moved since.
fn job_folder(folder: &Utf8Path, job: &Found) -> Utf8PathBuf {
    let dir = text(&job.executor, "job_dir");
    let name = Utf8Path::new(&dir).file_name().unwrap_or(&job.id);
    folder.join(name)
}

/// A text in letters that names may have.
fn clean(text: &str, otherwise: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    let cleaned: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(NAME_LIMIT - 10)
        .collect();
    let cleaned = cleaned.trim_start_matches(['.', '+', '-']);
    if cleaned.is_empty() {
        otherwise.to_owned()
    } else {
        cleaned.to_owned()
    }
}

fn clean_title(text: &str) -> String {
    let title = clean(text, "experiment");
    if RESERVED_TITLES.contains(&&*title) {
        title + "-"
    } else {
        title
    }
}

fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}-{number}");
        number += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_their_time() {
        assert_eq!(
            time_in("a_b_1795370207768801596"),
            Some(Timestamp(1_795_370_207_768_801))
        );
        assert_eq!(
            time_in("a_1720000000"),
            Some(Timestamp(1_720_000_000_000_000))
        );
        for id in [
            "mine",
            "mine_2",
            "mine_",
            "a_12345678901234567890",
            "_1e10000000",
        ] {
            assert_eq!(time_in(id), None, "{id}");
        }
    }

    #[test]
    fn names_are_cleaned_and_told_apart() {
        let mut taken = HashSet::new();
        for (id, name) in [
            ("train", "train"),
            ("train", "train-2"),
            ("a b/c", "a-b-c"),
            ("../..", "job"),
            ("", "job-2"),
            (".hidden", "hidden"),
        ] {
            assert_eq!(unique(clean(id, "job"), &mut taken), name, "{id}");
        }
        assert_eq!(clean_title("latest"), "latest-");
        assert_eq!(clean(&"x".repeat(500), "job").len(), NAME_LIMIT - 10);
    }
}
