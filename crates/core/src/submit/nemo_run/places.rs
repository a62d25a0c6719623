//! What jobs left at their places, and what NeMo-Run's schedulers wrote about them: states, exit codes, logs.
//!
//! Jobs on this machine have `<job>/nemo_run/<app>/<role>/<replica>/*.log` and a file `SUCCESS` (failed ones, too) that holds
//! their last state and exit codes; `.local_jobs.json` in the home has the last state seen of each. Jobs in containers leave
//! `status_<name>.out`. The states of Slurm's and all others' are asked for each time and written nowhere; `.slurm_jobs` has the
//! folders of Slurm's jobs, by their numbers: `<number> = <folder>/log*,<folder on this machine>,<LocalTunnel|SSHTunnel>,{…}`.

use std::collections::{BTreeMap, HashMap};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::Unreadable;
use super::home::{Found, entries, text_of};
use crate::model::{Cause, JobState};

/// The files in which the states of jobs stand, by job.
const STATE_FILES: [&str; 2] = [".local_jobs.json", ".skypilot_jobs.json"];
/// The file in which Slurm's jobs stand.
const SLURM_FILE: &str = ".slurm_jobs";
/// How the handles of jobs on this machine begin.
const LOCAL_HANDLE: &str = "local_persistent://nemo_run/";
/// How the handles of Slurm's jobs begin.
const SLURM_HANDLE: &str = "slurm_tunnel://nemo_run/";

/// What NeMo-Run's schedulers wrote about all jobs.
pub(super) struct States {
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
    pub(super) fn read(home: &Utf8Path, unreadable: &mut Vec<Unreadable>) -> States {
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

/// Where a job ran, and what it left there.
pub(super) struct Place<'a> {
    folder: &'a Utf8Path,
    pub(super) handle: Option<String>,
    /// What the handle ends with.
    app: Option<String>,
    /// The folder of a job on this machine.
    local: Option<Utf8PathBuf>,
}

/// How a job ended, as far as that is known.
pub(super) struct End {
    pub(super) state: JobState,
    pub(super) cause: Option<Cause>,
    pub(super) message: Option<String>,
}

impl<'a> Place<'a> {
    pub(super) fn find(
        job: &Found,
        folder: &'a Utf8Path,
        alone: bool,
        states: &States,
    ) -> Place<'a> {
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
    pub(super) fn logs(&self, id: &str, alone: bool, states: &States) -> Vec<Vec<Utf8PathBuf>> {
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
    pub(super) fn end(&self, job: &Found, states: &States) -> End {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
