//! The live connection to a cluster.
//!
//! ```text
//! submit_many ─▶ submit ─▶ sbatch              find_many ─ find.rs ─▶ queue by key · claims in the attempts' folders
//! observe ─ look.rs ─▶ snapshot (one squeue for all) ─┬ waits, runs ─▶ told as it is
//!                                                     └ ended, restarted, not there ─ folders.rs ─▶ records
//!                                                          conclude.rs ◀─ accounting, evidence ◀────┘
//! ```
//!
//! Evidence, best first: the agent's record, the controller's word, the accounting's word. That a job is not in the queue
//! says only that the controller has forgotten it; what became of it is then looked for, and only a job that nothing knows
//! of for minutes, and whose ranks show no sign of life, is lost.

mod conclude;
mod find;
mod folders;
mod look;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::payload::Submission;
use super::queue::{LIMIT, Row};
use super::settings::SlurmSettings;
use super::site::Site;
use super::snapshot::Shared;
use super::submit::{Extra, Limits, id_of, submit};
use crate::context::Context;
use crate::executor::{
    CancelError, MemberEnd, Observation, ObserveError, Request, Scheduler, SubmitError,
};
use crate::model::{CancelMode, Handle, SubmissionKey, Timestamp};
use crate::tunnel::{Cmd, Tunnel};

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
    /// When the controller was last asked and said that it waits.
    waited: Option<Timestamp>,
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

    async fn ask(&self, command: &Cmd) -> Result<String, ObserveError> {
        let finished = self
            .tunnel
            .run(command)
            .await
            .and_then(|finished| finished.ok(command))
            .map_err(|error| ObserveError(error.to_string()))?;
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
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
            waited: None,
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
        self.look_for(requests).await
    }

    async fn observe(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError> {
        self.look(handles).await
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
        // What was asked before says nothing of what became of them.
        let now = self.context.clock.now();
        let mut state = self.lock();
        for handle in handles {
            if let Some(job) = state.jobs.get_mut(handle) {
                job.since = now;
            }
        }
        Ok(())
    }
}
