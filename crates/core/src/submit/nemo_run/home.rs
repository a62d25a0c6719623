//! Reads NeMo-Run's home: folders, `_CONFIG`, `_TASKS`, the files in which its schedulers keep states, logs.
//!
//! Layout, as of NeMo-Run 0.11: `experiments/<title>/<title>_<time in ns>/` with `_CONFIG`, `_TASKS` (a list of pairs: job,
//! task), `_VERSION`, `_DONE`, and a folder for each job. Local jobs have `<job>/nemo_run/<app>/<role>/<replica>/*.log` and
//! a file `SUCCESS` (of failed ones, too) that holds their last state and exit codes; `.local_jobs.json` in the home has the
//! last state seen of each. Jobs in containers leave `status_<name>.out`. The states of Slurm's and all others' are asked for
//! each time and written nowhere; `.slurm_jobs` has the folders of Slurm's jobs, by their numbers:
//! `<number> = <folder>/log*,<folder on this machine>,<LocalTunnel|SSHTunnel>,{…}`.

use std::collections::{BTreeMap, HashMap, HashSet};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::{ImportError, Past, PastExperiment, PastJob, Unreadable, objects};
use crate::config::names::{NAME_LIMIT, RESERVED_TITLES};
use crate::model::{Cause, ExperimentId, JobState, Timestamp};

/// How many folders deep experiments are looked for: titles may hold slashes.
const DEPTH_LIMIT: u32 = 5;
/// A larger file is none of NeMo-Run's.
const FILE_LIMIT: u64 = 256 << 20;
/// The files in which the states of jobs stand, by job.
const STATE_FILES: [&str; 2] = [".local_jobs.json", ".skypilot_jobs.json"];
/// How the handles of jobs on this machine begin.
const LOCAL_HANDLE: &str = "local_persistent://nemo_run/";
/// How the handles of Slurm's jobs begin.
const SLURM_HANDLE: &str = "slurm_tunnel://nemo_run/";
/// The file in which Slurm's jobs stand.
const SLURM_FILE: &str = ".slurm_jobs";

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
fn text_of(path: &Utf8Path) -> Result<Option<String>, String> {
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

/// What NeMo-Run's schedulers wrote about all jobs.
struct States {
    /// The last state that was seen, by what a handle ends with.
    seen: HashMap<String, String>,
    /// Slurm's jobs.
    numbered: Vec<Numbered>,
}

/// A line of `.slurm_jobs`.
#[derive(Debug, PartialEq, Eq)]
struct Numbered {
    number: String,
    /// The job's folder on this machine.
    folder: Utf8PathBuf,
    /// Where its logs are, if that is on this machine.
    logs: Option<Utf8PathBuf>,
}

impl Numbered {
    fn parse(line: &str) -> Option<Numbered> {
        let (number, rest) = line.split_once(" = ")?;
        let number = number.trim();
        let (rest, _) = rest.split_once(",{").unwrap_or((rest, ""));
        let (paths, tunnel) = rest.rsplit_once(',')?;
        let (logs, folder) = paths.split_once(",/")?;
        let logs = Utf8Path::new(logs).parent()?;
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| Numbered {
            number: number.to_owned(),
            folder: Utf8PathBuf::from(format!("/{folder}")),
            logs: (tunnel == "LocalTunnel").then(|| logs.to_owned()),
        })
    }

    /// The folder is that of this job; the home may have been moved since.
    fn is_of(&self, job_folder: &Utf8Path) -> bool {
        let ends = |path: &Utf8Path| {
            let experiment = path.parent()?.file_name()?.to_owned();
            Some((experiment, path.file_name()?.to_owned()))
        };
        ends(&self.folder).is_some_and(|found| ends(job_folder) == Some(found))
    }
}

impl States {
    fn read(home: &Utf8Path, unreadable: &mut Vec<Unreadable>) -> States {
        let mut states = HashMap::new();
        for name in STATE_FILES {
            let path = home.join(name);
            let read = text_of(&path).and_then(|text| match text {
                Some(text) if !text.trim().is_empty() => {
                    serde_json::from_str::<BTreeMap<String, Value>>(&text)
                        .map_err(|error| error.to_string())
                }
                _ => Ok(BTreeMap::new()),
            });
            match read {
                Ok(apps) => states.extend(
                    apps.iter()
                        .filter_map(|(app, entry)| Some((app.clone(), state_in(entry)?))),
                ),
                Err(reason) => unreadable.push(Unreadable { path, reason }),
            }
        }
        let path = home.join(SLURM_FILE);
        let numbered = text_of(&path).unwrap_or_else(|reason| {
            unreadable.push(Unreadable { path, reason });
            None
        });
        // A torn last line is none.
        let numbered = numbered.iter().flat_map(|text| text.lines());
        States {
            seen: states,
            numbered: numbered.filter_map(Numbered::parse).collect(),
        }
    }
}

/// `["RUNNING", …]`, `{"job_status": "RUNNING", …}`.
fn state_in(entry: &Value) -> Option<String> {
    let word = match entry {
        Value::Array(parts) => parts.first(),
        Value::Object(fields) => ["job_status", "state", "status"]
            .iter()
            .find_map(|name| fields.get(*name)),
        _ => None,
    };
    word.and_then(Value::as_str).map(str::to_owned)
}

/// One job as `_TASKS` or the folders have it.
#[derive(Debug, Default)]
struct Found {
    id: String,
    group: Option<String>,
    task: Value,
    executor: Value,
    handle: Option<String>,
    after: Vec<String>,
    /// The state when it was written last.
    word: Option<String>,
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
fn entries(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
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

/// Where a job ran, and what it left there.
struct Place<'a> {
    folder: &'a Utf8Path,
    handle: Option<String>,
    /// What the handle ends with.
    app: Option<String>,
    /// The folder of a job on this machine.
    local: Option<Utf8PathBuf>,
}

/// How a job ended, as far as that is known.
struct End {
    state: JobState,
    cause: Option<Cause>,
    message: Option<String>,
}

impl<'a> Place<'a> {
    fn find(job: &Found, folder: &'a Utf8Path, alone: bool, states: &States) -> Place<'a> {
        let apps = folder.join("nemo_run");
        let app_of = |handle: &str| handle.rsplit('/').next().map(str::to_owned);
        let mut handle = job.handle.clone();
        if handle.is_none() {
            // Handles are written down last: a job of a launcher that was killed has a folder, and no handle.
            let ran = entries(&apps).into_iter().find(|app| {
                app.join(&job.id).is_dir()
                    && app
                        .file_name()
                        .is_some_and(|name| name.starts_with(&format!("{}-", job.id)))
            });
            handle = ran
                .as_ref()
                .and_then(|app| app.file_name())
                .map(|app| format!("{LOCAL_HANDLE}{app}"));
        }
        if handle.is_none() && alone {
            let sent = states.numbered.iter().rev();
            handle = sent
                .filter(|sent| sent.is_of(folder))
                .map(|sent| format!("{SLURM_HANDLE}{}", sent.number))
                .next();
        }
        let app = handle.as_deref().and_then(app_of);
        let local = app
            .as_ref()
            .map(|app| apps.join(app))
            .filter(|folder| folder.is_dir());
        Place {
            folder,
            handle,
            app,
            local,
        }
    }

    /// The logs of each attempt, by rank.
    fn logs(&self, id: &str, alone: bool, states: &States) -> Vec<Vec<Utf8PathBuf>> {
        let Some(app) = &self.app else {
            return Vec::new();
        };
        if let Some(local) = &self.local {
            let roles = entries(local).into_iter().filter(|path| path.is_dir());
            let mut replicas: Vec<(u32, Utf8PathBuf)> = roles
                .flat_map(|role| entries(&role))
                .filter_map(|replica| Some((replica.file_name()?.parse().ok()?, replica)))
                .collect();
            replicas.sort();
            let log_in = |replica: &Utf8Path| {
                ["combined.log", "stdout.log", "stderr.log"]
                    .iter()
                    .map(|name| replica.join(name))
                    .find(|path| path.is_file())
            };
            let logs = replicas.iter().filter_map(|(_, replica)| log_in(replica));
            return vec![logs.collect()];
        }
        let there = |name: String| Some(self.folder.join(name)).filter(|path| path.is_file());
        let one = there(format!("log_{app}.out")).or_else(|| there(format!("log_{id}.out")));
        if let Some(log) = one {
            return vec![vec![log]];
        }
        if app.bytes().all(|byte| byte.is_ascii_digit()) {
            let mut files = entries(self.folder);
            let sent = states.numbered.iter().rfind(|sent| sent.number == *app);
            if let Some(logs) = sent.and_then(|sent| sent.logs.as_deref()) {
                files.extend(entries(logs).into_iter().filter(|_| logs != self.folder));
            }
            let named = |path: &Utf8Path, begin: &str, end: &str| {
                path.file_name()
                    .is_some_and(|name| name.starts_with(begin) && name.ends_with(end))
            };
            // Each restart by Slurm has its own log: `log-<name>_<job>_<restart>.out`.
            let mut restarts: BTreeMap<u32, Vec<Utf8PathBuf>> = BTreeMap::new();
            for file in &files {
                let restart = file
                    .file_name()
                    .filter(|name| name.starts_with("log-"))
                    .and_then(|name| name.strip_suffix(".out")?.rsplit_once('_'))
                    .filter(|(rest, _)| rest.ends_with(&format!("_{app}")))
                    .and_then(|(_, number)| number.parse().ok());
                if let Some(restart) = restart {
                    restarts.entry(restart).or_default().push(file.clone());
                }
            }
            if !restarts.is_empty() {
                return restarts.into_values().collect();
            }
            let batch = files
                .iter()
                .find(|path| named(path, "sbatch_", &format!("_{app}.out")));
            return vec![batch.into_iter().cloned().collect()];
        }
        let common = ["log-allranks_0.out", "run.log"]
            .iter()
            .find_map(|name| there((*name).to_owned()))
            .filter(|_| alone);
        vec![common.into_iter().collect()]
    }

    /// The job's end: what stands in its folder, else what NeMo-Run saw of it last.
    fn end(&self, job: &Found, states: &States) -> End {
        if let Some(end) = self.local.as_deref().and_then(end_on_this_machine) {
            return end;
        }
        if let Some(end) = end_in_container(&self.folder.join(format!("status_{}.out", job.id))) {
            return end;
        }
        let seen = self.app.as_ref().and_then(|app| states.seen.get(app));
        let words = [seen, job.word.as_ref()];
        let ended = words.iter().flatten().find_map(|word| final_state(word));
        if let Some(state) = ended {
            return End {
                state,
                cause: None,
                message: None,
            };
        }
        let last = words.iter().flatten().next();
        let reason = match (&self.app, last) {
            (None, _) => "NeMo-Run wrote down no launch of it".to_owned(),
            (Some(app), Some(word)) if app.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!(
                    "NeMo-Run keeps no state of it, last written {word}; `sacct -j {app}` may know"
                )
            }
            (Some(app), None) if app.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("NeMo-Run keeps no state of it; `sacct -j {app}` may know")
            }
            (Some(_), Some(word)) => {
                format!("NeMo-Run wrote {word} last and did not see its end")
            }
            (Some(_), None) => "NeMo-Run wrote down no state of it".to_owned(),
        };
        End {
            state: JobState::Unknown,
            cause: None,
            message: Some(reason),
        }
    }
}

/// A word that is an end.
fn final_state(word: &str) -> Option<JobState> {
    word.parse::<JobState>()
        .ok()
        .filter(|state| state.is_final())
}

/// `SUCCESS` in the folder of a job on this machine: its last state and its processes' exit codes.
fn end_on_this_machine(app: &Utf8Path) -> Option<End> {
    let text = text_of(&app.join("SUCCESS")).ok().flatten()?;
    let record: Value = serde_json::from_str(&text).ok()?;
    let state = final_state(record.get("final_state")?.as_str()?)?;
    let roles = record.get("roles").and_then(Value::as_object);
    let code = roles
        .into_iter()
        .flat_map(|roles| roles.values())
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|replica| replica.get("exitcode")?.as_i64())
        .find(|code| *code != 0);
    Some(end_with_code(state, code))
}

/// `{"id": …, "exit_code": "3"}`, written when a container's command has ended.
fn end_in_container(path: &Utf8Path) -> Option<End> {
    let text = text_of(path).ok().flatten()?;
    let status: Value = serde_json::from_str(text.lines().last()?).ok()?;
    let code = status.get("exit_code")?;
    let code = code
        .as_i64()
        .or_else(|| code.as_str()?.trim().parse().ok())?;
    let state = if code == 0 {
        JobState::Succeeded
    } else {
        JobState::Failed
    };
    Some(end_with_code(state, Some(code).filter(|code| *code != 0)))
}

/// A failure is the program's own where its exit code is known. A signal may have come from anybody.
fn end_with_code(state: JobState, code: Option<i64>) -> End {
    let code = code.filter(|_| state == JobState::Failed);
    End {
        state,
        cause: code.filter(|code| *code > 0).map(|_| Cause::AppFailure),
        message: code.map(|code| {
            if code > 0 {
                format!("exit code {code}")
            } else {
                format!("ended by signal {}", -code)
            }
        }),
    }
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
    fn lines_about_jobs_of_slurm_are_read() {
        let line = r#"1010 = /scratch/t/t_1/j0/log*,/home/me/.nemo_run/experiments/t/t_1/j0,LocalTunnel,{"job_dir": "/scratch/t/t_1", "host": "localhost"}"#;
        let read = Numbered::parse(line).unwrap();
        assert_eq!(
            read,
            Numbered {
                number: "1010".to_owned(),
                folder: "/home/me/.nemo_run/experiments/t/t_1/j0".into(),
                logs: Some("/scratch/t/t_1/j0".into()),
            }
        );
        assert!(read.is_of("/elsewhere/experiments/t/t_1/j0".into()));
        assert!(!read.is_of("/elsewhere/experiments/t/t_2/j0".into()));
        let far = Numbered::parse(&line.replace("LocalTunnel", "SSHTunnel")).unwrap();
        assert_eq!(far.logs, None);
        for torn in [
            "",
            "1010",
            "1010 = /a/log*",
            "x = /a/log*,/b/c,SSHTunnel,{",
            "1010 = /a/log*,/b",
        ] {
            assert_eq!(Numbered::parse(torn), None, "{torn}");
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
