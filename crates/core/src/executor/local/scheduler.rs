//! The live connection to this machine.
//!
//! ```text
//! submit ─▶ agent ─ Started, Ended ─▶ news ─▶ observe          an attempt that an agent of ours runs
//! find   ─▶ claim, exit.json, is the agent alive? ─▶ observe   one that another supervisor had started
//! ```
//!
//! Evidence, best first: the agent's record in the attempt's folder; the agent's report; the claim together with the
//! agent's life. An attempt is lost only when its agent is known to be dead and no record is there; what it left behind
//! is ended before that is said.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use mizzen_agent::identity;
use mizzen_agent::protocol::{
    CLAIM, Command, Devices, EXIT_RECORD, Identity, Job, Refusal, Report,
};
use mizzen_agent::record::ExitRecord;
use tokio::sync::Notify;

use super::agents::{AgentId, Heard, Pool};
use crate::context::Context;
use crate::executor::{
    CancelError, MemberEnd, Observation, ObserveError, Observed, Request, Scheduler, SubmitError,
    end_from_record, resolve_secret,
};
use crate::model::{CancelMode, Cause, Handle, JobState, SubmissionKey, Timestamp};

/// How long what an agent left behind may take to end after SIGTERM.
const SWEEP_GRACE: Duration = Duration::from_secs(2);
/// How often a foreign agent's attempt is looked at where the kernel can't tell of its end.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The connection to this machine.
pub(super) struct LocalScheduler {
    context: Context,
    agent: Utf8PathBuf,
    devices: Option<Devices>,
    pool: Arc<Pool>,
    shared: Arc<Shared>,
}

/// What the reading tasks write and the scheduler reads.
#[derive(Debug)]
struct Shared {
    host: String,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    attempts: HashMap<String, Attempt>,
    observations: VecDeque<Observation>,
}

/// An attempt that is not known to have ended.
#[derive(Debug, Clone)]
struct Attempt {
    members: Vec<Utf8PathBuf>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// An agent of ours has it.
    Ours(AgentId),
    /// An agent that another process started has it.
    Foreign(Identity),
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, key: &str) -> Handle {
        Handle(format!("local://{}/{key}", self.host))
    }

    fn tell(&self, key: &str, observed: Observed) {
        let mut state = self.lock();
        if matches!(observed, Observed::Ended(_) | Observed::Bounced(_)) {
            state.attempts.remove(key);
        }
        state.observations.push_back(Observation {
            handle: self.handle(key),
            observed,
        });
        drop(state);
        self.news.notify_one();
    }

    /// An attempt whose agent is known to be dead: its records if it wrote them, else it is lost.
    fn settle(&self, key: &str, members: &[Utf8PathBuf]) {
        let ends = match read_records(members, key) {
            Some(records) => records.into_iter().map(end_from_record).collect(),
            None => {
                let swept = identity::sweep(key, SWEEP_GRACE);
                let message = if swept.left.is_empty() {
                    "the agent beside the job was killed; what it left behind was ended".to_owned()
                } else {
                    format!(
                        "the agent beside the job was killed; these processes could not be ended: {:?}",
                        swept.left
                    )
                };
                // Some members' records may be there.
                members
                    .iter()
                    .map(|dir| match read_record(dir, key) {
                        Some(record) => end_from_record(record),
                        None => MemberEnd {
                            state: JobState::Failed,
                            cause: Some(Cause::Lost),
                            message: Some(message.clone()),
                            record: None,
                        },
                    })
                    .collect()
            }
        };
        self.tell(key, Observed::Ended(ends));
    }
}

/// [`Command::Run`] with a job that is JSON already.
fn run_line(job: &str) -> String {
    format!("{{\"run\":{job}}}\n")
}

fn attempt_dirs(request: &Request) -> Vec<Utf8PathBuf> {
    request
        .members
        .iter()
        .map(|member| Utf8PathBuf::from(&member.attempt_dir))
        .collect()
}

fn read_record(attempt_dir: &Utf8Path, key: &str) -> Option<ExitRecord> {
    let bytes = std::fs::read(attempt_dir.join(EXIT_RECORD)).ok()?;
    let record: ExitRecord = serde_json::from_slice(&bytes).ok()?;
    (record.key == key).then_some(record)
}

fn read_records(members: &[Utf8PathBuf], key: &str) -> Option<Vec<ExitRecord>> {
    members.iter().map(|dir| read_record(dir, key)).collect()
}

fn read_claim(attempt_dir: &Utf8Path) -> Result<Option<Identity>, ObserveError> {
    let path = attempt_dir.join(CLAIM);
    match std::fs::read_link(&path) {
        Ok(target) => match target.to_str().and_then(Identity::from_text) {
            Some(identity) => Ok(Some(identity)),
            None => Err(ObserveError(format!("{path} is no claim of an agent"))),
        },
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(ObserveError(format!("{path}: {error}"))),
    }
}

impl LocalScheduler {
    pub(super) fn new(
        context: Context,
        agent: Utf8PathBuf,
        devices: Option<Devices>,
    ) -> LocalScheduler {
        let shared = Shared {
            host: context.host.clone(),
            state: Mutex::default(),
            news: Notify::new(),
        };
        LocalScheduler {
            context,
            agent,
            devices,
            pool: Arc::default(),
            shared: Arc::new(shared),
        }
    }

    /// What the agent gets: the request as it was rendered, with secrets resolved and devices to choose from where there
    /// are any. The environment around the job's own is the agent's, which got it from us.
    fn command(&self, request: &Request) -> Result<String, SubmitError> {
        if request.secrets.is_empty() && self.devices.is_none() {
            return Ok(run_line(&request.payload));
        }
        let unreadable = |error: serde_json::Error| {
            SubmitError::Rejected(format!("the request can't be read: {error}"))
        };
        let mut job: Job = serde_json::from_str(&request.payload).map_err(unreadable)?;
        job.devices.clone_from(&self.devices);
        for secret in &request.secrets {
            let value =
                resolve_secret(&secret.reference, &self.context.environment).map_err(|error| {
                    SubmitError::Rejected(format!("the secret {}: {error}", secret.variable))
                })?;
            if let Some(member) = job.members.get_mut(secret.member) {
                member.env.retain(|(name, _)| *name != secret.variable);
                member.env.push((secret.variable.clone(), value));
            }
        }
        serde_json::to_string(&job)
            .map(|job| run_line(&job))
            .map_err(unreadable)
    }

    /// Takes over the watch of an attempt that somebody else's agent has.
    fn watch_foreign(
        shared: &Arc<Shared>,
        key: String,
        members: Vec<Utf8PathBuf>,
        identity: Identity,
    ) {
        let attempt = Attempt {
            members: members.clone(),
            place: Place::Foreign(identity.clone()),
        };
        shared.lock().attempts.insert(key.clone(), attempt);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let mut told = false;
            loop {
                if let Some(records) = read_records(&members, &key) {
                    shared.tell(
                        &key,
                        Observed::Ended(records.into_iter().map(end_from_record).collect()),
                    );
                    return;
                }
                match identity.is_alive() {
                    Some(false) => {
                        let last = Arc::clone(&shared);
                        // A record that was written just before its agent ended is read there.
                        let _ =
                            tokio::task::spawn_blocking(move || last.settle(&key, &members)).await;
                        return;
                    }
                    Some(true) if !told => {
                        told = true;
                        let since = claimed_at(&members);
                        shared.tell(
                            &key,
                            Observed::Running {
                                nodes: vec![identity.host.clone()],
                                since,
                            },
                        );
                    }
                    None if !told => {
                        told = true;
                        let word = format!(
                            "started on {}, which can't be asked from here",
                            identity.host
                        );
                        shared.tell(&key, Observed::Unknown(word));
                    }
                    Some(true) | None => {}
                }
                wait_for_end_of(identity.pid).await;
            }
        });
    }
}

/// When the attempt was claimed, from the claim's own modification time.
fn claimed_at(members: &[Utf8PathBuf]) -> Timestamp {
    let modified = members.first().and_then(|dir| {
        std::fs::symlink_metadata(dir.join(CLAIM))
            .ok()?
            .modified()
            .ok()
    });
    let since_epoch = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Timestamp(since_epoch.map_or(0, |time| time.as_micros() as i64))
}

/// Resolves when the process has ended or some time has passed, whichever comes first.
async fn wait_for_end_of(pid: i32) {
    // SAFETY: pidfd_open(2) takes two integers and gives a new descriptor or -1.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let ended = async {
        if descriptor >= 0 {
            use std::os::fd::FromRawFd;
            // SAFETY: the descriptor was made just now and belongs to nobody else.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
            let interest = tokio::io::Interest::READABLE;
            // SAFETY: the descriptor is owned by what watches it and closed with it, not before.
            let watched =
                unsafe { tokio::io::unix::AsyncFd::register_with_interest(owned, interest) };
            if let Ok(watched) = watched {
                let _ = watched.readable().await;
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        () = tokio::time::sleep(LOOK_AGAIN) => {}
    }
}

#[async_trait]
impl Scheduler for LocalScheduler {
    async fn submit(&self, request: &Request) -> Result<Handle, SubmitError> {
        let command = self.command(request)?;
        let key = request.key.as_str().to_owned();
        let members = attempt_dirs(request);
        let shared = Arc::clone(&self.shared);
        let host = self.context.host.clone();
        let hear = move |agent: AgentId, heard: Heard| hear(&shared, &host, agent, heard);
        let agent = self
            .pool
            .take(&self.agent, &self.context.environment, &key, hear)
            .map_err(|error| SubmitError::Unreachable(error.to_string()))?;
        self.shared.lock().attempts.insert(
            key.clone(),
            Attempt {
                members,
                place: Place::Ours(agent),
            },
        );
        match self.pool.send_line(agent, command).await {
            Ok(()) => Ok(self.shared.handle(&key)),
            Err(error) => {
                self.shared.lock().attempts.remove(&key);
                Err(SubmitError::Uncertain(error.to_string()))
            }
        }
    }

    async fn find(
        &self,
        key: &SubmissionKey,
        request: &Request,
    ) -> Result<Option<Handle>, ObserveError> {
        let members = attempt_dirs(request);
        if let Some(records) = read_records(&members, key.as_str()) {
            self.shared.tell(
                key.as_str(),
                Observed::Ended(records.into_iter().map(end_from_record).collect()),
            );
            return Ok(Some(self.shared.handle(key.as_str())));
        }
        let Some(first) = members.first() else {
            return Ok(None);
        };
        let Some(identity) = read_claim(first)? else {
            return Ok(None);
        };
        Self::watch_foreign(&self.shared, key.as_str().to_owned(), members, identity);
        Ok(Some(self.shared.handle(key.as_str())))
    }

    async fn observe(&self, handles: &[Handle]) -> Result<Vec<Observation>, ObserveError> {
        let mut state = self.shared.lock();
        let (wanted, others) = state
            .observations
            .drain(..)
            .partition(|seen| handles.contains(&seen.handle));
        state.observations = others;
        Ok(Vec::from(wanted))
    }

    async fn changed(&self) {
        self.shared.news.notified().await;
    }

    fn pace(&self) -> f64 {
        // Everything here is told by itself; this is the net under it.
        5.0
    }

    async fn cancel(&self, handle: &Handle, mode: CancelMode) -> Result<(), CancelError> {
        let Some((_, key)) = handle.0.rsplit_once('/') else {
            return Ok(());
        };
        let Some(attempt) = self.shared.lock().attempts.get(key).cloned() else {
            return Ok(());
        };
        let signal = match mode {
            CancelMode::Interrupt => libc::SIGINT,
            CancelMode::Terminate | CancelMode::Kill => libc::SIGTERM,
        };
        match attempt.place {
            Place::Ours(agent) => {
                let command = Command::Cancel {
                    key: key.to_owned(),
                    signal,
                    immediately: mode == CancelMode::Kill,
                };
                // An agent that is gone has its end told by its reading task.
                let _ = self.pool.send(agent, &command).await;
                Ok(())
            }
            Place::Foreign(identity) => match identity.is_alive() {
                Some(true) if mode == CancelMode::Kill => {
                    let key = key.to_owned();
                    let _ =
                        tokio::task::spawn_blocking(move || identity::sweep(&key, Duration::ZERO))
                            .await;
                    Ok(())
                }
                Some(true) => {
                    let pid = nix::unistd::Pid::from_raw(identity.pid);
                    let signal = nix::sys::signal::Signal::try_from(signal)
                        .map_err(|error| CancelError(error.to_string()))?;
                    nix::sys::signal::kill(pid, signal)
                        .map_err(|error| CancelError(format!("the agent {pid}: {error}")))
                }
                Some(false) => Ok(()),
                None => Err(CancelError(format!(
                    "it runs on {}; cancel it there",
                    identity.host
                ))),
            },
        }
    }
}

/// What an agent says becomes an observation.
fn hear(shared: &Arc<Shared>, host: &str, agent: AgentId, heard: Heard) {
    match heard {
        Heard::Report(Report::Ready(_)) => {}
        Heard::Report(Report::Started { key, time, .. }) => {
            shared.tell(
                &key,
                Observed::Running {
                    nodes: vec![host.to_owned()],
                    since: Timestamp(time),
                },
            );
        }
        Heard::Report(Report::Ended { key, records }) => {
            shared.tell(
                &key,
                Observed::Ended(records.into_iter().map(end_from_record).collect()),
            );
        }
        Heard::Report(Report::Taken { key, by }) => {
            let members = shared
                .lock()
                .attempts
                .get(&key)
                .map(|attempt| attempt.members.clone());
            if let (Some(members), Some(identity)) = (members, Identity::from_text(&by)) {
                LocalScheduler::watch_foreign(shared, key, members, identity);
            }
        }
        Heard::Report(Report::Refused { key, reason }) => match reason {
            Refusal::DevicesBusy { free } => {
                shared.tell(
                    &key,
                    Observed::Bounced(format!("waits for GPUs: {free} free")),
                );
            }
            Refusal::Busy => shared.tell(&key, Observed::Bounced("waits for an agent".to_owned())),
            Refusal::Storage(reason) => {
                let members = shared
                    .lock()
                    .attempts
                    .get(&key)
                    .map_or(1, |attempt| attempt.members.len());
                let end = MemberEnd {
                    state: JobState::Failed,
                    cause: Some(Cause::LaunchFailure),
                    message: Some(format!("its folder can't be written: {reason}")),
                    record: None,
                };
                shared.tell(&key, Observed::Ended(vec![end; members]));
            }
        },
        Heard::Gone(None) => {}
        Heard::Gone(Some(key)) => {
            let attempt = shared.lock().attempts.get(&key).cloned();
            // An attempt that was taken by another agent in the meantime is none of this agent's.
            let Some(attempt) = attempt
                .filter(|attempt| matches!(attempt.place, Place::Ours(owner) if owner == agent))
            else {
                return;
            };
            let shared = Arc::clone(shared);
            tokio::task::spawn_blocking(move || gone(&shared, &key, &attempt.members));
        }
    }
}

/// An agent ended with a job in hand. It may have ended before it claimed the job: then nothing has happened yet.
fn gone(shared: &Shared, key: &str, members: &[Utf8PathBuf]) {
    let claimed = members
        .first()
        .is_some_and(|dir| !matches!(read_claim(dir), Ok(None)));
    if claimed {
        shared.settle(key, members);
    } else {
        shared.tell(
            key,
            Observed::Bounced("its agent ended before it started the job".to_owned()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_agent_is_the_command_that_it_knows() {
        let job = Job {
            key: "k".to_owned(),
            members: vec![],
            timeout: None,
            grace: 1.0,
            devices: None,
            heartbeat: 0.0,
            peers: Vec::new(),
        };
        let line = run_line(&serde_json::to_string(&job).unwrap());
        let whole = serde_json::to_string(&Command::Run(Box::new(job))).unwrap();
        assert_eq!(line, format!("{whole}\n"));
    }
}
