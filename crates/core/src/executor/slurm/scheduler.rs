//! The live connection to a cluster.
//!
//! ```text
//! submit_many ─▶ submit ─▶ sbatch                       find_many ─▶ queue by key · claims in the attempts' folders
//! observe ─▶ snapshot (one squeue for all) ─┬ waits, runs ─▶ told as it is
//!                                           └ ended, restarted, not there ─▶ records ─▶ accounting ─▶ evidence
//! ```
//!
//! Evidence, best first: the agent's record, the controller's word, the accounting's word. That a job is not in the queue
//! says only that the controller has forgotten it; what became of it is then looked for, and only a job that nothing knows
//! of for minutes, and whose ranks show no sign of life, is lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mizzen_agent::record::ExitRecord;

use super::evidence;
use super::payload::{ARRAYS, Submission};
use super::queue::{self, LIMIT, Row};
use super::settings::SlurmSettings;
use super::site::{Site, read_broken};
use super::snapshot::Shared;
use super::submit::{Extra, Limits, id_of, submit};
use super::words::{End, Word, meaning, reason};
use crate::context::Context;
use crate::executor::{
    CancelError, MemberEnd, Observation, ObserveError, Observed, Request, Scheduler, SubmitError,
    end_from_record,
};
use crate::model::{CancelMode, Handle, SubmissionKey, Timestamp};
use crate::tunnel::{Cmd, Tunnel};

/// For how many seconds a record may take to be seen after Slurm says that a job has ended: files come late from other nodes.
const RECORD_LATE: f64 = 15.0;
/// For how many seconds a job that was cancelled, and that has left the queue, may still show that it had begun.
const CANCEL_SETTLED: f64 = 5.0;
/// For how many seconds a job that nothing knows of is looked for.
const LOST_AFTER: f64 = 180.0;
/// And how often at least.
const LOST_LOOKS: u32 = 5;
/// An expected start is told to this many seconds.
const START_STEP: i64 = 600;

/// Prints a line for each attempt's folder on standard input: whose it is, and its record, or a `-`, with the name of a
/// file that was touched of late if there is one.
const RECORDS: &str = r#"cd -- "$1" || exit
while IFS= read -r folder; do
  if [ -L "$folder/job" ]; then printf '%s ' "$(readlink "$folder/job" || echo -)"; else printf -- '- '; fi
  if [ -f "$folder/exit.json" ]; then tr -d '\n' <"$folder/exit.json"; echo
  else
    printf -- '-'
    if [ -d "$folder/ranks" ]; then find "$folder/ranks" -name heartbeat -mmin -2 2>/dev/null | head -n 1 | tr -d '\n'; fi
    echo
  fi
done"#;

/// Prints the claims of the attempts on standard input, and the keys of all arrays.
const CLAIMS: &str = r#"cd -- "$1" 2>/dev/null || exit 0
while IFS= read -r folder; do
  if [ -L "$folder/job" ]; then printf 'claim %s\n' "$(readlink "$folder/job" || echo -)"; else echo 'claim -'; fi
done
for array in "$2"/*/keys; do
  [ -f "$array" ] || continue
  folder=${array%/keys}; name=${folder##*/}
  while IFS=' ' read -r key rest; do printf 'array %s %s\n' "$name" "$key"; done <"$array"
done"#;

/// The connection to a cluster.
pub(super) struct SlurmScheduler {
    context: Context,
    tunnel: Arc<dyn Tunnel>,
    /// What handles begin with.
    prefix: String,
    place: String,
    /// The jobs' files are not where the experiment's are here.
    elsewhere: bool,
    site: Site,
    shared: Shared,
    free_restarts: bool,
    avoid_bad_nodes: bool,
    state: Mutex<State>,
}

struct State {
    jobs: HashMap<Handle, Watched>,
    pace: f64,
}

/// A job that is watched.
#[derive(Debug, Clone)]
struct Watched {
    /// Its number, such as `12` or `12_3`.
    id: String,
    experiment: String,
    /// Its key.
    key: String,
    /// The key in its row, once that was seen: in an array the first task's.
    shown: Option<String>,
    /// It is to end: somebody here has said so.
    cancelled: bool,
    /// The files with its secrets, relative to E.
    secrets: Vec<String>,
    directory: String,
    folders: Vec<String>,
    /// The attempt that it was submitted as.
    first: u32,
    /// It need not be in an answer that is older.
    since: Timestamp,
    /// Since when the evidence of its end is looked for, and how often that was done.
    missing: Option<(Timestamp, u32)>,
    /// The nodes of its last run.
    nodes: String,
    /// How the runs before the last one ended, by their number.
    restarts: BTreeMap<u32, Vec<MemberEnd>>,
}

impl Watched {
    fn attempt_dirs(&self, restart: u32) -> Vec<String> {
        let attempt = self.first + restart;
        self.folders
            .iter()
            .map(|folder| format!("{folder}/attempts/{attempt}"))
            .collect()
    }

    /// The row is of this job, and not of one that got its number later.
    fn is_mine(&self, row: &Row) -> bool {
        let Some(key) = row.key() else {
            // A site's plugin may have put words of its own in the comment's place; other jobs mostly have none.
            return !row.comment.is_empty();
        };
        match &self.shown {
            Some(shown) => shown == key,
            None if self.id.contains('_') => key.starts_with(&format!("mz-{}-", self.experiment)),
            None => self.key == key,
        }
    }
}

/// What an attempt's folder holds.
#[derive(Debug, Clone, Default)]
struct Found {
    claim: Option<String>,
    record: Option<ExitRecord>,
    alive: bool,
}

/// Connects when something is asked for the first time.
pub(super) fn connect(settings: &SlurmSettings, context: &Context) -> SlurmScheduler {
    SlurmScheduler::new(settings, context, settings.tunnel.open(context))
}

impl SlurmScheduler {
    pub(super) fn new(
        settings: &SlurmSettings,
        context: &Context,
        tunnel: Arc<dyn Tunnel>,
    ) -> SlurmScheduler {
        let folder = settings.tunnel.place_dir(context);
        SlurmScheduler {
            context: context.clone(),
            tunnel,
            prefix: handle_prefix(settings),
            place: settings.tunnel.place(),
            elsewhere: settings.tunnel.job_dir().is_some(),
            site: Site::new(&folder),
            shared: Shared::new(&folder),
            free_restarts: settings.requeue == Some(true),
            avoid_bad_nodes: settings.exclude_bad_nodes,
            state: Mutex::new(State {
                jobs: HashMap::new(),
                pace: 1.0,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: &str, key: &SubmissionKey) -> Handle {
        Handle(format!("{}{id}/{key}", self.prefix))
    }

    /// What attempts' folders hold: one answer for each, in order. Folders are relative to their experiment's.
    async fn folders(&self, wanted: &[(String, String)]) -> Result<Vec<Found>, ObserveError> {
        let mut by_directory: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, (directory, _)) in wanted.iter().enumerate() {
            by_directory.entry(directory).or_default().push(number);
        }
        let mut found = vec![Found::default(); wanted.len()];
        for (directory, numbers) in by_directory {
            let list: String = numbers
                .iter()
                .map(|number| format!("{}\n", wanted[*number].1))
                .collect();
            let command = Cmd::script(RECORDS, [directory])
                .stdin(list.into_bytes())
                .timeout(LIMIT);
            let answer = self.ask(&command).await?;
            let mut lines = answer.lines();
            for number in numbers {
                let Some(line) = lines.next() else {
                    return Err(ObserveError(format!(
                        "{directory} can't be read at {}",
                        self.place
                    )));
                };
                found[number] = read_found(line);
            }
        }
        Ok(found)
    }

    async fn ask(&self, command: &Cmd) -> Result<String, ObserveError> {
        let finished = self
            .tunnel
            .run(command)
            .await
            .and_then(|finished| finished.ok(command))
            .map_err(|error| ObserveError(error.to_string()))?;
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    }

    /// What the accounting says of jobs; nothing where there is none.
    async fn accounting(&self, ids: &[&str]) -> Result<HashMap<String, Vec<Row>>, ObserveError> {
        let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
        if ids.is_empty()
            || !self
                .site
                .config(&self.context, self.tunnel.as_ref())
                .await?
                .accounting
        {
            return Ok(rows);
        }
        let text = self.ask(&queue::sacct(ids)).await?;
        for row in queue::read_sacct(&text) {
            rows.entry(row.id.clone()).or_default().push(row);
        }
        Ok(rows)
    }

    /// Which of the nodes are out of order now. They are remembered.
    async fn broken(&self, nodes: &str) -> Vec<String> {
        if nodes.is_empty() {
            return Vec::new();
        }
        let command = Cmd::new([
            "sinfo",
            "--Node",
            "--noheader",
            "--format=%N|%T",
            &format!("--nodes={nodes}"),
        ])
        .timeout(LIMIT);
        // Only a hint: without an answer nothing is remembered.
        let broken = read_broken(&self.ask(&command).await.unwrap_or_default());
        if !broken.is_empty() {
            self.site.remember_bad(&broken, self.context.clock.now());
        }
        broken
    }

    /// How the run before a restart ended.
    async fn end_of_run(
        &self,
        job: &Watched,
        restart: u32,
        found: Vec<Found>,
        accounting: Option<&Vec<Row>>,
    ) -> Vec<MemberEnd> {
        let records = found.into_iter().map(|found| found.record).collect();
        let told = accounting.and_then(|runs| runs.get(restart as usize));
        if let Some(row) = told {
            return evidence::restarted(Some(row), records);
        }
        let broken = self.broken(&job.nodes).await;
        let row = Row {
            state: "NODE_FAIL".to_owned(),
            nodes: broken.join(","),
            ..Row::default()
        };
        evidence::restarted((!broken.is_empty()).then_some(&row), records)
    }

    /// What a job's row says while it has not ended; `None` if it has.
    fn told(job: &Watched, row: &Row) -> Option<Observed> {
        match meaning(&row.state) {
            Some(Word::Waiting) => {
                let mut words = match row.state.as_str() {
                    "PENDING" => reason(&row.reason),
                    other => format!("{other}: {}", reason(&row.reason)),
                };
                if let Some(start) = queue::time(&row.start) {
                    words.push_str(&format!("; starts about {}", rounded(start)));
                }
                Some(Observed::Pending(words))
            }
            Some(Word::Running) => Some(Observed::Running {
                nodes: queue::nodes(&row.nodes),
                since: queue::time(&row.start).unwrap_or(job.since),
            }),
            // Nothing new until it has ended.
            Some(Word::Ending) => Some(Observed::Running {
                nodes: queue::nodes(&row.nodes),
                since: queue::time(&row.start).unwrap_or(job.since),
            }),
            Some(Word::Ended(_)) => None,
            None => Some(Observed::Unknown(format!("Slurm says {}", row.state))),
        }
    }
}

/// What the handles of all jobs of a cluster begin with: `slurm://<place>/`.
pub(super) fn handle_prefix(settings: &SlurmSettings) -> String {
    let mut place = settings.tunnel.place();
    if let Some(clusters) = &settings.clusters {
        place = format!("{place},{clusters}");
    }
    format!("slurm://{}/", place.replace(['/', ' '], "-"))
}

/// A time to the next ten minutes, for people: it changes with every look of the scheduler.
fn rounded(time: Timestamp) -> String {
    let step = START_STEP * 1_000_000;
    let rounded = Timestamp((time.0 + step - 1) / step * step);
    let text = rounded.to_text();
    format!("{} UTC", text[..text.len().min(16)].replace('T', " "))
}

fn read_found(line: &str) -> Found {
    let (claim, rest) = line.split_once(' ').unwrap_or((line, "-"));
    let claim = (claim != "-").then(|| claim.to_owned());
    match rest.strip_prefix('-') {
        Some(sign) => Found {
            claim,
            record: None,
            alive: !sign.is_empty(),
        },
        None => Found {
            claim,
            record: serde_json::from_str(rest).ok(),
            alive: false,
        },
    }
}

#[async_trait]
impl Scheduler for SlurmScheduler {
    async fn prepare(&self) {
        let _ = self.tunnel.agent().await;
        let _ = self.site.config(&self.context, self.tunnel.as_ref()).await;
    }

    async fn submit(&self, request: &Request) -> Result<Handle, SubmitError> {
        let mut answers = self.submit_many(std::slice::from_ref(request)).await;
        answers
            .pop()
            .unwrap_or_else(|| Err(SubmitError::Unreachable(self.place.clone())))
    }

    async fn submit_many(&self, requests: &[Request]) -> Vec<Result<Handle, SubmitError>> {
        let config = match self.site.config(&self.context, self.tunnel.as_ref()).await {
            Ok(config) => config,
            Err(error) => return vec![Err(error.into()); requests.len()],
        };
        let limits = Limits {
            array: config.max_array_size,
        };
        let extra = Extra {
            exclude: match self.avoid_bad_nodes {
                true => self.site.bad_nodes(self.context.clock.now()),
                false => None,
            },
        };
        let answers = submit(&self.context, &self.tunnel, requests, limits, &extra).await;
        requests
            .iter()
            .zip(answers)
            .map(|(request, answer)| answer.map(|id| self.handle(&id, &request.key)))
            .collect()
    }

    fn watch(&self, handle: &Handle, request: &Request) {
        let Ok(submission) = Submission::from_payload(&request.payload) else {
            return;
        };
        let mut parts = handle.0.rsplit('/');
        let (Some(key), Some(id)) = (parts.next(), parts.next()) else {
            return;
        };
        let experiment = key
            .strip_prefix("mz-")
            .and_then(|rest| rest.split('-').next())
            .unwrap_or_default();
        let mut secrets: Vec<String> = request
            .secrets
            .iter()
            .filter_map(|secret| submission.secrets_path(secret.member))
            .collect();
        secrets.dedup();
        let watched = Watched {
            id: id.to_owned(),
            experiment: experiment.to_owned(),
            key: key.to_owned(),
            shown: None,
            cancelled: false,
            secrets,
            directory: submission.directory,
            folders: submission.folders,
            first: submission.attempt,
            since: self.context.clock.now(),
            missing: None,
            nodes: String::new(),
            restarts: BTreeMap::new(),
        };
        self.lock().jobs.insert(handle.clone(), watched);
    }

    async fn find(
        &self,
        _key: &SubmissionKey,
        request: &Request,
    ) -> Result<Option<Handle>, ObserveError> {
        let mut found = self.find_many(std::slice::from_ref(request)).await?;
        Ok(found.pop().flatten())
    }

    async fn find_many(&self, requests: &[Request]) -> Result<Vec<Option<Handle>>, ObserveError> {
        let now = self.context.clock.now();
        let seen = self
            .shared
            .get(&self.context, self.tunnel.as_ref(), now)
            .await?;
        let by_key: HashMap<&str, Vec<&Row>> =
            seen.rows.iter().fold(HashMap::new(), |mut map, row| {
                if let Some(key) = row.key() {
                    map.entry(key).or_insert_with(Vec::new).push(row);
                }
                map
            });
        let submissions: Vec<Option<Submission>> = requests
            .iter()
            .map(|request| Submission::from_payload(&request.payload).ok())
            .collect();
        let mut by_directory: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, submission) in submissions.iter().enumerate() {
            if let Some(submission) = submission {
                by_directory
                    .entry(&submission.directory)
                    .or_default()
                    .push(number);
            }
        }
        let mut found: Vec<Option<String>> = vec![None; requests.len()];
        for (directory, numbers) in by_directory {
            let list: String = numbers
                .iter()
                .filter_map(|number| submissions[*number].as_ref())
                .map(|one| {
                    let folder = one.folders.first().map_or("", String::as_str);
                    format!("{folder}/attempts/{}\n", one.attempt)
                })
                .collect();
            let command = Cmd::script(CLAIMS, [directory, ARRAYS])
                .stdin(list.into_bytes())
                .timeout(LIMIT);
            let answer = self.ask(&command).await?;
            let claims: Vec<&str> = answer
                .lines()
                .filter_map(|line| line.strip_prefix("claim "))
                .collect();
            // A key may stand in several: one that was never accepted may be sent again with others.
            let mut arrays: HashMap<&str, Vec<(&str, usize)>> = HashMap::new();
            let mut next: HashMap<&str, usize> = HashMap::new();
            for line in answer.lines() {
                let Some((array, key)) = line
                    .strip_prefix("array ")
                    .and_then(|rest| rest.split_once(' '))
                else {
                    continue;
                };
                let index = next.entry(array).or_insert(0);
                arrays.entry(key).or_default().push((array, *index));
                *index += 1;
            }
            for (position, number) in numbers.into_iter().enumerate() {
                let key = requests[number].key.as_str();
                let claimed = claims
                    .get(position)
                    .filter(|claim| **claim != "-")
                    .map(|claim| (*claim).to_owned());
                let single = || {
                    by_key
                        .get(key)?
                        .iter()
                        .find(|row| !row.id.contains('_'))
                        .map(|row| row.id.clone())
                };
                let member = || {
                    arrays.get(key)?.iter().find_map(|(array, index)| {
                        by_key
                            .get(array)?
                            .iter()
                            .find(|row| row.id.ends_with(&format!("_{index}")))
                            .map(|row| row.id.clone())
                    })
                };
                found[number] = claimed.or_else(single).or_else(member);
            }
        }
        Ok(requests
            .iter()
            .zip(found)
            .map(|(request, id)| id.map(|id| self.handle(&id, &request.key)))
            .collect())
    }

    async fn observe(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError> {
        let now = self.context.clock.now();
        let jobs: Vec<(Handle, Watched)> = {
            let state = self.lock();
            handles
                .iter()
                .filter_map(|handle| Some((handle.clone(), state.jobs.get(handle)?.clone())))
                .collect()
        };
        let newest = jobs
            .iter()
            .map(|(_, job)| job.since)
            .max()
            .unwrap_or(Timestamp(0));
        // What was asked within this tick is good for all, unless a job came since then.
        let tick = now.plus_seconds(-0.8 * self.pace());
        let since = tick.max(newest.min(now));
        let seen = self
            .shared
            .get(&self.context, self.tunnel.as_ref(), since)
            .await?;
        self.lock().pace = seen.pace();
        let rows: HashMap<&str, &Row> =
            seen.rows.iter().map(|row| (row.id.as_str(), row)).collect();

        // First what the queue says; then, for those of which it says too little, their folders, all at once.
        let mut observations = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (handle, mut job) in jobs {
            let any = rows.get(job.id.as_str()).copied();
            let row = any.filter(|row| job.is_mine(row));
            let unsigned = any.is_some_and(|row| {
                row.key().is_none() && !matches!(meaning(&row.state), Some(Word::Ended(_)))
            });
            if let Some(key) = row.and_then(Row::key) {
                job.shown.get_or_insert_with(|| key.to_owned());
            }
            let restarts = row.map_or(0, |row| row.restarts);
            let told = row.and_then(|row| SlurmScheduler::told(&job, row));
            // While its last run is being cleaned up, that run's record may still be on its way.
            let cleaned = row.is_some_and(|row| meaning(&row.state) != Some(Word::Ending));
            let unknown: Vec<u32> = (0..restarts)
                .filter(|restart| cleaned && !job.restarts.contains_key(restart))
                .collect();
            let ended = row.and_then(|row| match meaning(&row.state) {
                Some(Word::Ended(end)) => Some(end),
                _ => None,
            });
            if row.is_none() && job.since > seen.asked {
                continue;
            }
            for restart in &unknown {
                for folder in job.attempt_dirs(*restart) {
                    wanted.push((job.directory.clone(), folder));
                }
            }
            let ending = row.is_some_and(|row| meaning(&row.state) == Some(Word::Ending));
            let looks = told.is_none() || ending;
            if looks {
                let last = if row.is_some() {
                    restarts
                } else {
                    job.restarts.keys().max().map_or(0, |last| last + 1)
                };
                for folder in job.attempt_dirs(last) {
                    wanted.push((job.directory.clone(), folder));
                }
                if row.is_none() {
                    for folder in job.attempt_dirs(last + 1) {
                        wanted.push((job.directory.clone(), folder));
                    }
                }
            } else {
                job.missing = None;
            }
            if let Some(row) = row.filter(|row| !row.nodes.is_empty() && unknown.is_empty()) {
                job.nodes.clone_from(&row.nodes);
            }
            open.push(Open {
                handle,
                job,
                row: row.cloned(),
                told,
                unknown,
                ended,
                looks,
                unsigned,
            });
        }
        let mut found = self.folders(&wanted).await?.into_iter();
        let gone: Vec<&str> = open
            .iter()
            .filter(|one| one.row.is_none() || !one.unknown.is_empty())
            .map(|one| one.job.id.as_str())
            .collect();
        // Many sites have no accounting, and where it is slow the rest must not wait for it.
        let (accounting, asked) = match self.accounting(&gone).await {
            Ok(rows) => (rows, true),
            Err(_) => (HashMap::new(), false),
        };
        for mut one in open {
            // A number may have been another job's; where the accounting keeps no comments nobody can tell.
            let runs: Option<Vec<Row>> = accounting.get(&one.job.id).map(|rows| {
                let mine = |row: &&Row| row.key().is_none() || one.job.is_mine(row);
                rows.iter().filter(mine).cloned().collect()
            });
            let runs = runs.as_ref();
            let members = one.job.folders.len();
            for restart in std::mem::take(&mut one.unknown) {
                let found: Vec<Found> = found.by_ref().take(members).collect();
                let ends = self.end_of_run(&one.job, restart, found, runs).await;
                one.job.restarts.insert(restart, ends);
            }
            let folders: Vec<Found> = match one.looks {
                true => found.by_ref().take(members).collect(),
                false => Vec::new(),
            };
            // It was restarted while nobody looked, and is forgotten already: the next look is for the run after this one.
            let mut went_on = false;
            if one.looks && one.row.is_none() {
                let next: Vec<Found> = found.by_ref().take(members).collect();
                let begun = |one_found: &Found| one_found.claim.as_ref() == Some(&one.job.id);
                went_on = next.iter().any(begun);
            }
            if went_on {
                let restart = one.job.restarts.keys().max().map_or(0, |last| last + 1);
                let ends = self
                    .end_of_run(&one.job, restart, folders.clone(), runs)
                    .await;
                one.job.restarts.insert(restart, ends);
                one.job.missing = None;
            }
            for (restart, ends) in &one.job.restarts {
                observations.push(Observation {
                    handle: one.handle.clone(),
                    observed: Observed::Restarted {
                        count: restart + 1,
                        ends: ends.clone(),
                        free: self.free_restarts,
                    },
                });
            }
            let observed = match one.told.take() {
                Some(told) => match one.ended_by_itself(&folders, now) {
                    Some(ends) => Some(Observed::Ended(ends)),
                    None => Some(told),
                },
                None if went_on => None,
                None => self.conclude(&mut one, folders, runs, asked).await,
            };
            if let Some(observed) = observed {
                // A short job was never seen to run: where it did is told with its end.
                if let (Observed::Ended(ends), Some(row)) = (&observed, &one.row)
                    && let Some(record) = ends.iter().find_map(|end| end.record.as_ref())
                {
                    observations.push(Observation {
                        handle: one.handle.clone(),
                        observed: Observed::Running {
                            nodes: queue::nodes(&row.nodes),
                            since: Timestamp(record.started),
                        },
                    });
                }
                observations.push(Observation {
                    handle: one.handle.clone(),
                    observed,
                });
            }
            let mut state = self.lock();
            if let Some(known) = state.jobs.get_mut(&one.handle) {
                one.job.cancelled |= known.cancelled;
                *known = one.job;
            }
        }
        Ok(observations)
    }

    async fn forget(&self, handle: &Handle) {
        let Some(job) = self.lock().jobs.remove(handle) else {
            return;
        };
        if job.secrets.is_empty() {
            return;
        }
        let words = ["rm", "-f", "--"].into_iter().map(str::to_owned);
        let command = Cmd::new(words.chain(job.secrets))
            .cwd(job.directory)
            .timeout(LIMIT);
        // They are readable by their owner alone; a place that can't be reached keeps them.
        let _ = self.tunnel.run(&command).await;
    }

    fn tunnel(&self) -> Option<Arc<dyn Tunnel>> {
        self.elsewhere.then(|| Arc::clone(&self.tunnel))
    }

    fn pace(&self) -> f64 {
        self.lock().pace
    }

    async fn cancel(&self, handle: &Handle, mode: CancelMode) -> Result<(), CancelError> {
        self.cancel_many(std::slice::from_ref(handle), mode).await
    }

    async fn cancel_many(&self, handles: &[Handle], mode: CancelMode) -> Result<(), CancelError> {
        let ids: Vec<String> = {
            let mut state = self.lock();
            let id = |handle: &Handle| match state.jobs.get_mut(handle) {
                // Another job may run the attempt than the one that the handle names.
                Some(job) => {
                    job.cancelled = true;
                    Some(job.id.clone())
                }
                None => id_of(handle).map(str::to_owned),
            };
            handles.iter().filter_map(id).collect()
        };
        for ids in ids.chunks(500) {
            let mut commands = Vec::new();
            if mode == CancelMode::Kill {
                commands.push(vec!["scancel", "--signal=KILL", "--full"]);
            }
            commands.push(vec!["scancel"]);
            for mut argv in commands {
                argv.extend(ids.iter().map(String::as_str));
                let command = Cmd::new(argv).timeout(LIMIT);
                let finished = self
                    .tunnel
                    .run(&command)
                    .await
                    .map_err(|error| CancelError(error.to_string()))?;
                let said = String::from_utf8_lossy(&finished.stderr);
                // A job that has ended needs no end.
                let over = |line: &str| {
                    line.trim().is_empty()
                        || line.contains("Invalid job id")
                        || line.contains("already completing or completed")
                };
                if finished.status != 0 && !said.lines().all(over) {
                    return Err(CancelError(format!("scancel: {}", said.trim())));
                }
            }
        }
        Ok(())
    }
}

/// A job on its way through one look.
struct Open {
    handle: Handle,
    job: Watched,
    row: Option<Row>,
    told: Option<Observed>,
    unknown: Vec<u32>,
    ended: Option<End>,
    looks: bool,
    /// A job has its number, and no sign of whose it is.
    unsigned: bool,
}

impl Open {
    /// How a job has ended while its nodes are being cleaned, which may take minutes: its records are enough.
    fn ended_by_itself(&mut self, folders: &[Found], now: Timestamp) -> Option<Vec<MemberEnd>> {
        let records: Option<Vec<&ExitRecord>> =
            folders.iter().map(|found| found.record.as_ref()).collect();
        let records = records.filter(|records| !records.is_empty())?;
        if !evidence::ended_well(&records) {
            // Slurm may yet say why: that a node is lost, or that the time was over.
            let (since, _) = self.job.missing.get_or_insert((now, 0));
            let waited = now.seconds_since(*since) >= RECORD_LATE;
            if !waited || !evidence::ended_by_itself(&records) {
                return None;
            }
        }
        Some(records.into_iter().cloned().map(end_from_record).collect())
    }
}

impl SlurmScheduler {
    /// What became of a job that has ended, or that the controller has forgotten.
    async fn conclude(
        &self,
        one: &mut Open,
        folders: Vec<Found>,
        accounting: Option<&Vec<Row>>,
        accounting_asked: bool,
    ) -> Option<Observed> {
        let members = one.job.folders.len();
        let complete =
            folders.len() == members && folders.iter().all(|found| found.record.is_some());
        let begun = folders.iter().any(|found| found.claim.is_some());
        let alive = folders.iter().any(|found| found.alive);
        // Somebody else's job runs this attempt: ours has seen that and gone.
        let other = folders
            .iter()
            .filter_map(|found| found.claim.as_ref())
            .find(|claim| **claim != one.job.id)
            .cloned();
        if let (Some(other), false) = (other, complete) {
            one.job.id = other;
            one.job.since = self.context.clock.now();
            one.job.missing = None;
            return None;
        }
        let records: Vec<Option<ExitRecord>> =
            folders.into_iter().map(|found| found.record).collect();
        let now = self.context.clock.now();
        let (since, looks) = one.job.missing.get_or_insert((now, 0));
        *looks += 1;
        let (waited, looks) = (now.seconds_since(*since), *looks);
        let last = accounting.and_then(|runs| runs.last());
        let word = one.ended.zip(one.row.as_ref()).or_else(|| {
            let row = last?;
            match meaning(&row.state) {
                Some(Word::Ended(end)) => Some((end, row)),
                _ => None,
            }
        });
        match word {
            // A job that never began, or whose records are here, has nothing more to tell.
            Some((End::Cancelled, row)) if row.reason == "DependencyNeverSatisfied" => {
                Some(Observed::NeverSatisfied)
            }
            Some((end, row)) if complete || !begun || waited >= RECORD_LATE => {
                if end == End::NodeFail {
                    self.broken(&row.nodes).await;
                }
                Some(Observed::Ended(evidence::ends(end, row, records)))
            }
            Some(_) => None,
            None if complete && (accounting_asked || waited >= RECORD_LATE) => Some(
                Observed::Ended(records.into_iter().flatten().map(end_from_record).collect()),
            ),
            None if one.unsigned => Some(Observed::Unknown(format!(
                "Slurm's job {} does not say whose it is",
                one.job.id
            ))),
            // A waiting task of an array leaves no trace when it is cancelled.
            None if one.job.cancelled && !begun && waited >= CANCEL_SETTLED && looks > 1 => {
                Some(Observed::Ended(evidence::cancelled(members, None)))
            }
            None if !begun && waited >= LOST_AFTER && looks >= LOST_LOOKS && accounting_asked => {
                let words = "it is not in Slurm's queue any more, and it had never begun";
                Some(Observed::Ended(evidence::cancelled(members, Some(words))))
            }
            None if !alive && waited >= LOST_AFTER && looks >= LOST_LOOKS && accounting_asked => {
                Some(Observed::Ended(evidence::lost(members)))
            }
            None => Some(Observed::Unknown(
                "Slurm's controller has forgotten it; looking for what became of it".to_owned(),
            )),
        }
    }
}
