//! The pool of agents: one for each job that runs at once, each taking many jobs one after another.
//!
//! ```text
//! LocalScheduler ─ Command ─▶ socket ─▶ agent          a free agent, or a new one
//!        ◀── Report, or the socket's end ──┘           one reading task for each agent
//! ```
//!
//! An agent is in a session of its own and outlives this process: it finishes what it has in hand, writes the record
//! and ends. Pitfall: the lines hold secrets, so they are never logged.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8Path;
use mizzen_agent::protocol::{Command, Report};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

/// Names an agent of this pool.
pub(super) type AgentId = u64;

/// What an agent said, or that it is gone.
#[derive(Debug)]
pub(super) enum Heard {
    Report(Report),
    /// The socket ended; the agent had the job with this key in hand.
    Gone(Option<String>),
}

/// The agents of one scheduler.
#[derive(Debug, Default)]
pub(super) struct Pool {
    agents: Mutex<Agents>,
}

#[derive(Debug, Default)]
struct Agents {
    next: AgentId,
    idle: Vec<AgentId>,
    all: HashMap<AgentId, Agent>,
}

#[derive(Debug)]
struct Agent {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    child: Child,
    in_hand: Option<String>,
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free agent with the job `key` in hand from now on; a new one if all are busy. `hear` gets what it says.
    pub(super) fn take(
        self: &Arc<Self>,
        program: &Utf8Path,
        environment: &std::collections::BTreeMap<String, String>,
        key: &str,
        hear: impl Fn(AgentId, Heard) + Send + 'static,
    ) -> std::io::Result<AgentId> {
        let free = self.lock().idle.pop();
        let id = match free {
            Some(id) => id,
            None => self.start(program, environment, hear)?,
        };
        if let Some(agent) = self.lock().all.get_mut(&id) {
            agent.in_hand = Some(key.to_owned());
        }
        Ok(id)
    }

    fn start(
        self: &Arc<Self>,
        program: &Utf8Path,
        environment: &std::collections::BTreeMap<String, String>,
        hear: impl Fn(AgentId, Heard) + Send + 'static,
    ) -> std::io::Result<AgentId> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let input: OwnedFd = theirs.try_clone()?.into();
        let output: OwnedFd = theirs.into();
        let child = Program::new(program)
            .arg("work")
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .map_err(|error| {
                std::io::Error::new(
                    error.kind(),
                    format!("can't start the agent {program}: {error}"),
                )
            })?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let id = {
            let mut agents = self.lock();
            agents.next += 1;
            let id = agents.next;
            let writer = Arc::new(tokio::sync::Mutex::new(writer));
            agents.all.insert(
                id,
                Agent {
                    writer,
                    child,
                    in_hand: None,
                },
            );
            id
        };
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // What is no report is an agent's of another version; its records still tell.
                let Ok(report) = serde_json::from_str::<Report>(&line) else {
                    continue;
                };
                if matches!(
                    report,
                    Report::Ended { .. } | Report::Taken { .. } | Report::Refused { .. }
                ) {
                    pool.release(id);
                }
                hear(id, Heard::Report(report));
            }
            hear(id, Heard::Gone(pool.remove(id)));
        });
        Ok(id)
    }

    fn release(&self, id: AgentId) {
        let mut agents = self.lock();
        if let Some(agent) = agents.all.get_mut(&id) {
            agent.in_hand = None;
            agents.idle.push(id);
        }
    }

    fn remove(&self, id: AgentId) -> Option<String> {
        let agent = {
            let mut agents = self.lock();
            agents.idle.retain(|idle| *idle != id);
            agents.all.remove(&id)
        };
        let mut agent = agent?;
        // Its end of the socket is closed, so it has ended or is about to; what is not reaped now goes with this process.
        let _ = agent.child.try_wait();
        agent.in_hand
    }

    /// Writes a command to an agent.
    pub(super) async fn send(&self, id: AgentId, command: &Command) -> std::io::Result<()> {
        let line = serde_json::to_string(command).map_err(std::io::Error::other)?;
        self.send_line(id, line + "\n").await
    }

    /// Writes a command that is a line already.
    pub(super) async fn send_line(&self, id: AgentId, line: String) -> std::io::Result<()> {
        let gone = || std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the agent is gone");
        let writer = self
            .lock()
            .all
            .get(&id)
            .map(|agent| Arc::clone(&agent.writer))
            .ok_or_else(gone)?;
        writer.lock().await.write_all(line.as_bytes()).await
    }
}
