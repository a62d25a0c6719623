//! Ending containers, and taking them away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use mizzen_agent::protocol::{END_FILE, EndHow, EndOrder};

use super::super::engine::{LIMIT, Refusal, refusal, words};
use super::super::payload::LABEL;
use super::{Part, Seen, Shared, Watched};
use crate::executor::{CancelError, ObserveError};
use crate::model::{CancelMode, Handle};
use crate::tunnel::Cmd;

/// How long a container may take to end beyond its job's grace: its agent has still to write down how it ended.
const BEYOND: Duration = Duration::from_secs(5);

/// Names of containers that are to be removed together.
#[derive(Default)]
pub(super) struct Removals {
    waiting: Mutex<Vec<String>>,
    turn: tokio::sync::Mutex<()>,
}

impl Shared {
    /// Asks a unit to end, as [`crate::executor::Scheduler::cancel`].
    pub(super) async fn cancel(
        self: &Arc<Self>,
        handle: &Handle,
        mode: CancelMode,
    ) -> Result<(), CancelError> {
        let job = {
            let mut state = self.lock();
            let Some(job) = state.jobs.get_mut(handle) else {
                return Ok(());
            };
            job.cancelled = true;
            job.clone()
        };
        let living: Vec<&Part> = job.parts.iter().filter(|part| !part.has_ended()).collect();
        let immediately = mode == CancelMode::Kill;
        self.end(&job, &living, EndHow::Cancelled, immediately)
            .await
            .map_err(|error| CancelError(error.0))?;
        self.watch_the_end(handle, &job, immediately);
        Ok(())
    }

    /// One of a unit's containers has ended. Whether the others are to end with it, and were told so.
    pub(super) async fn end_the_others(
        self: &Arc<Self>,
        job: &Watched,
    ) -> Result<bool, ObserveError> {
        let Some(how) = self.follows(job).await? else {
            return Ok(false);
        };
        let living: Vec<&Part> = job.parts.iter().filter(|part| !part.has_ended()).collect();
        self.end(job, &living, how, false).await?;
        if let Some(part) = job.parts.first() {
            let handle = self.lock().names.get(&part.name).cloned();
            if let Some(handle) = handle {
                self.watch_the_end(&handle, job, false);
            }
        }
        Ok(true)
    }

    /// Tells containers to end: why, in their folders; that, by a signal.
    async fn end(
        &self,
        job: &Watched,
        parts: &[&Part],
        how: EndHow,
        immediately: bool,
    ) -> Result<(), ObserveError> {
        for (host, at) in self.hosts.iter().enumerate() {
            let here: Vec<&&Part> = parts.iter().filter(|part| part.host == host).collect();
            if here.is_empty() {
                continue;
            }
            let order = serde_json::to_vec(&EndOrder { how, immediately })
                .map_err(|error| ObserveError(error.to_string()))?;
            for part in &here {
                let files = vec![(END_FILE.to_owned(), order.clone(), 0o600)];
                let written = at.write(&part.record_dir, files, 0).await;
                written.map_err(|error| ObserveError(error.to_string()))?;
            }
            let (made, running): (Vec<&Part>, Vec<&Part>) = here
                .into_iter()
                .copied()
                .partition(|part| part.seen == Seen::Created);
            if !running.is_empty() {
                self.signal(host, &running, "TERM").await?;
            }
            // What was never started takes no signal.
            if !made.is_empty() && job.cancelled {
                let names = made.iter().map(|part| part.name.clone());
                self.rm(host, names.collect()).await?;
            }
        }
        Ok(())
    }

    /// Sends a signal. To have ended is no error.
    async fn signal(&self, host: usize, parts: &[&Part], signal: &str) -> Result<(), ObserveError> {
        let mut arguments = vec!["kill".to_owned(), format!("--signal={signal}")];
        arguments.extend(parts.iter().map(|part| part.name.clone()));
        let command = self.engine.command(arguments);
        let finished = self.hosts[host]
            .tunnel
            .run(&command)
            .await
            .map_err(|error| ObserveError(error.to_string()))?;
        let said = words(&finished.stderr);
        let ended = [
            "is not running",
            "no such container",
            "no container with",
            "can only kill running",
        ]
        .iter()
        .any(|known| said.to_ascii_lowercase().contains(known));
        if finished.status == 0 || ended {
            return Ok(());
        }
        Err(ObserveError(said))
    }

    /// Kills what has not ended by itself when its grace is over.
    fn watch_the_end(self: &Arc<Self>, handle: &Handle, job: &Watched, immediately: bool) {
        let grace = match immediately {
            true => Duration::ZERO,
            false => Duration::from_secs_f64(job.grace.max(0.0)),
        };
        let (shared, handle) = (Arc::downgrade(self), handle.clone());
        tokio::spawn(async move {
            tokio::time::sleep(grace + BEYOND).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let Some(job) = shared.lock().jobs.get(&handle).cloned() else {
                return;
            };
            for host in 0..shared.hosts.len() {
                let living: Vec<&Part> = job
                    .parts
                    .iter()
                    .filter(|part| part.host == host && !part.has_ended())
                    .collect();
                if !living.is_empty() {
                    let _ = shared.signal(host, &living, "KILL").await;
                }
            }
        });
    }

    /// A unit is over for good: its containers, its network and its secrets go.
    pub(super) async fn remove(&self, handle: &Handle) {
        let Some(job) = self.lose(handle) else {
            return;
        };
        for host in 0..self.hosts.len() {
            let here: Vec<&Part> = job.parts.iter().filter(|part| part.host == host).collect();
            if here.is_empty() {
                continue;
            }
            if !self.keep_containers {
                let names = here.iter().map(|part| part.name.clone()).collect();
                let _ = self.remove_together(host, names).await;
            }
            self.remove_files(host, &here).await;
            if let Some(network) = &job.own_network
                && !self.keep_containers
            {
                let command = self.engine.command(["network", "rm", network]);
                let _ = self.hosts[host].tunnel.run(&command).await;
            }
        }
    }

    /// Removes what is left of an experiment that is over.
    pub(super) async fn leave(&self, experiment: &str) {
        if self.keep_containers {
            return;
        }
        for host in 0..self.hosts.len() {
            let Ok(rows) = self.list(host, experiment).await else {
                continue;
            };
            if !rows.is_empty() {
                let _ = self.rm(host, rows.into_keys().collect()).await;
            }
            let filter = format!("--filter=label={LABEL}.experiment={experiment}");
            let command = self
                .engine
                .command(["network", "ls", "--quiet", filter.as_str()]);
            let networks = self.ask(host, &command).await.unwrap_or_default();
            if !networks.is_empty() {
                let words = ["network", "rm"].into_iter().chain(networks.lines());
                let _ = self.hosts[host]
                    .tunnel
                    .run(&self.engine.command(words))
                    .await;
            }
        }
    }

    /// Files that were not read by the container that they were for: they hold secrets.
    async fn remove_files(&self, host: usize, parts: &[&Part]) {
        let at = &self.hosts[host];
        if at.here {
            for part in parts {
                let _ = std::fs::remove_file(Utf8Path::new(&part.job_file));
            }
            return;
        }
        let files = parts.iter().map(|part| part.job_file.clone());
        let words = ["rm", "-f", "--"]
            .map(str::to_owned)
            .into_iter()
            .chain(files);
        let _ = at.tunnel.run(&Cmd::new(words).timeout(LIMIT)).await;
    }

    /// Removes containers, together with those that others want removed meanwhile.
    async fn remove_together(&self, host: usize, names: Vec<String>) -> Result<(), ObserveError> {
        let removals = &self.removing[host];
        let waiting = || {
            let waiting = removals.waiting.lock();
            waiting.unwrap_or_else(PoisonError::into_inner)
        };
        waiting().extend(names);
        let _turn = removals.turn.lock().await;
        let all = std::mem::take(&mut *waiting());
        if all.is_empty() {
            // Somebody before has taken ours along.
            return Ok(());
        }
        let removed = self.rm(host, all.clone()).await;
        if removed.is_err() {
            // An engine that does not answer now may do so when the next are removed.
            waiting().extend(all);
        }
        removed
    }

    async fn rm(&self, host: usize, names: Vec<String>) -> Result<(), ObserveError> {
        let words = ["rm", "--force", "--volumes"].map(str::to_owned);
        let command = self.engine.command(words.into_iter().chain(names));
        let finished = self.hosts[host]
            .tunnel
            .run(&command)
            .await
            .map_err(|error| ObserveError(error.to_string()))?;
        let said = super::super::engine::words(&finished.stderr);
        match finished.status == 0 || refusal(&said) == Refusal::NoContainer {
            true => Ok(()),
            false => Err(ObserveError(said)),
        }
    }

    /// Nothing is heard of a unit any more.
    pub(super) fn lose(&self, handle: &Handle) -> Option<Watched> {
        let mut state = self.lock();
        let job = state.jobs.remove(handle)?;
        for part in &job.parts {
            state.names.remove(&part.name);
        }
        Some(job)
    }
}
