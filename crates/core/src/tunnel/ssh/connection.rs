//! Commands over a master.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{OnceCell, Semaphore};

use super::super::command::quote;
use super::super::local::feed_until;
use super::super::transfer::token;
use super::super::{Cmd, Ended, Input, Output, Tunnel, TunnelError, last_words};
use super::SshTunnel;
use super::master::{Master, NO_HOST, no_ssh, through};
use super::script::{self, Errors, Script, Told};
use super::words::use_failure;
use crate::context::Context;

/// sshd's MaxSessions is 10 by default; some are left to other processes.
const SESSIONS: usize = 8;
/// How often a command is tried again that found all sessions taken.
const BUSY_TRIES: u32 = 8;
/// How long it waits first; twice as long each time.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Login files that print more than this before the command are no login files.
const MOST_NOISE: usize = 1 << 20;
/// How much of what a lasting command says on standard error is kept.
const MOST_SAID: usize = 64 << 10;
/// The other side's time to end a command whose time is over.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Keeps what it reads in a file, and says where.
const WRITE_SCRIPT: &str = r#"umask 077; file=$(mktemp) && cat >"$file" && printf %s "$file""#;

/// A connection over a master that was alive when it was made. It never logs in: once the master is gone, every command
/// fails, and [`SshTunnel::connect`] is the way to a new one.
#[derive(Debug)]
pub struct SshConnection {
    tunnel: SshTunnel,
    context: Context,
    master: Master,
    sessions: Semaphore,
    agent: OnceCell<Option<Utf8PathBuf>>,
}

impl SshConnection {
    pub(super) fn new(tunnel: SshTunnel, context: Context, master: Master) -> SshConnection {
        SshConnection {
            tunnel,
            context,
            master,
            sessions: Semaphore::new(SESSIONS),
            agent: OnceCell::new(),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &SshTunnel {
        &self.tunnel
    }

    /// The connection was opened just now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.master.fresh
    }

    /// It is one of ours, not the user's own.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.master.ours
    }

    /// As [`super::super::TunnelSettings::session`], with the file that names the process, if it has no terminal. What is to run travels ahead as a file that removes itself: standard
    /// input is the command's own, and neither words nor variables stand in the process table of either machine.
    ///
    /// # Errors
    /// The command can't be sent.
    pub(in super::super) async fn session_of_its_own(
        &self,
        command: &Cmd,
        terminal: bool,
    ) -> Result<(std::process::Command, Option<String>), TunnelError> {
        let text = script::of_session(command, self.tunnel.pre_command.as_deref(), terminal)?;
        let write = Cmd::script(WRITE_SCRIPT, Vec::<String>::new()).stdin(text);
        let written = self.run(&write).await?.ok(&write)?;
        let path = String::from_utf8_lossy(&written.stdout).into_owned();
        let shell = self.tunnel.shell.as_deref().unwrap_or("sh");
        let mut ssh = through(&self.context, &self.master.socket);
        // Without "Shared connection to … closed."
        ssh.args(["-o", "LogLevel=ERROR", if terminal { "-t" } else { "-T" }]);
        ssh.args(["--", NO_HOST, &format!("exec {shell} {}", quote(&path))]);
        let process = (!terminal).then(|| path + script::PROCESS);
        Ok((ssh.into_std(), process))
    }

    /// As [`super::super::TunnelSettings::proxy_command`].
    ///
    /// # Errors
    /// The settings are wrong.
    pub(in super::super) fn proxy_command(&self) -> Result<String, TunnelError> {
        let ssh = super::master::jump(&self.tunnel, &self.context, &self.master.socket)?;
        let words: Vec<String> = std::iter::once(ssh.as_std().get_program())
            .chain(ssh.as_std().get_args())
            .map(|word| quote(&word.to_string_lossy()).replace('%', "%%"))
            .collect();
        Ok(format!(
            "{} -W '[%h]:%p' -- {}",
            words.join(" "),
            self.tunnel.host
        ))
    }

    fn script(&self, command: &Cmd) -> Result<Script, TunnelError> {
        let shell = self.tunnel.shell.as_deref().unwrap_or("sh");
        Script::new(
            command,
            shell,
            self.tunnel.pre_command.as_deref(),
            &token()?,
        )
    }

    fn session(&self, script: &Script) -> Result<Child, TunnelError> {
        let mut ssh = through(&self.context, &self.master.socket);
        ssh.args(["-T", "--", NO_HOST, &script.line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for whoever called, who decides what becomes of the command.
            .process_group(0);
        ssh.spawn().map_err(no_ssh)
    }

    /// One try. What was not begun has read nothing of the input.
    async fn attempt(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
        timed: bool,
    ) -> Result<Ended, TunnelError> {
        let session = self.sessions.acquire().await;
        let script = self.script(command)?;
        let mut child = self.session(&script)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut stdout), Some(mut errors)) = pipes else {
            unreachable!("all three are pipes");
        };
        let mut process = None;
        let mut stderr = Vec::new();
        let run = async {
            let said = async { errors.read_to_end(&mut stderr).await.map(drop) };
            let work = async {
                // The script goes first; a session that was refused reads nothing, and says so by its end.
                let _ = stdin.write_all(script.text.as_bytes()).await;
                let Some((id, rest)) = begin(&script, &mut stdout).await? else {
                    return Ok(());
                };
                process = Some(id);
                let read = async {
                    output.write_all(&rest).await?;
                    tokio::io::copy(&mut stdout, output).await.map(drop)
                };
                feed_until(input, stdin, read).await
            };
            tokio::try_join!(said, work)?;
            child.wait().await
        };
        let timeout = command.timeout.filter(|_| timed);
        let ended = match timeout {
            None => run.await,
            Some(after) => match tokio::time::timeout(after, run).await {
                Ok(ended) => ended,
                Err(_) => {
                    // Ending it takes a session too.
                    drop((child, session));
                    let ended = match process {
                        Some(process) => self.end(process).await,
                        None => false,
                    };
                    return Err(TunnelError::TimedOut {
                        name: self.name(),
                        command: command.to_string(),
                        after,
                        ended,
                    });
                }
            },
        };
        ended.map_err(|error| TunnelError::Here(error.to_string()))?;
        self.told(command, script.errors(stderr), process.is_some())
    }

    /// What the end of a session means.
    fn told(&self, command: &Cmd, errors: Errors, begun: bool) -> Result<Ended, TunnelError> {
        let name = self.name();
        match errors.told {
            Some(Told::End(status)) => Ok(Ended {
                status,
                stderr: errors.own,
            }),
            Some(Told::Pre(status)) => Err(TunnelError::PreCommand {
                name,
                status,
                words: last_words(&errors.before),
            }),
            Some(Told::Cwd) => Err(TunnelError::Path {
                name,
                path: command
                    .cwd
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                words: last_words(&errors.own),
            }),
            None if !begun => Err(use_failure(&name, &errors.before)),
            None => {
                let words = match (last_words(&errors.own), last_words(&errors.before)) {
                    (own, before) if own.is_empty() => before,
                    (own, _) => own,
                };
                Err(TunnelError::Interrupted { name, words })
            }
        }
    }

    /// Starts a command that is talked to as long as it lasts, over a session of its own.
    pub(in super::super) async fn session_with(
        &self,
        command: &Cmd,
    ) -> Result<Session, TunnelError> {
        let mut pause = BUSY_PAUSE;
        let mut tries = 1;
        loop {
            match self.try_session(command).await {
                Err(TunnelError::Busy { .. }) if tries < BUSY_TRIES => {
                    tokio::time::sleep(pause).await;
                }
                other => return other,
            }
            pause *= 2;
            tries += 1;
        }
    }

    async fn try_session(&self, command: &Cmd) -> Result<Session, TunnelError> {
        let here = |error: std::io::Error| TunnelError::Here(error.to_string());
        let script = self.script(command)?;
        let mut child = self.session(&script)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(mut stdout), Some(mut errors)) = pipes else {
            unreachable!("all three are pipes");
        };
        let _ = stdin.write_all(script.text.as_bytes()).await;
        let begun = begin(&script, &mut stdout).await.map_err(here)?;
        let Some((_, rest)) = begun else {
            let mut stderr = Vec::new();
            errors.read_to_end(&mut stderr).await.map_err(here)?;
            let failed = self.told(command, script.errors(stderr), false);
            // A script that ended before its first mark has told no end.
            return Err(failed
                .err()
                .unwrap_or_else(|| use_failure(&self.name(), b"")));
        };
        Ok(Session {
            stdin,
            stdout,
            rest,
            end: SessionEnd {
                child,
                errors,
                script,
                said: Vec::new(),
            },
        })
    }

    /// Ends a command on the other side. Answers whether that was done.
    async fn end(&self, process: i32) -> bool {
        let kill = script::kill(process).timeout(KILL_PATIENCE);
        let mut nothing = tokio::io::empty();
        let mut nobody = tokio::io::sink();
        let attempt = Box::pin(self.attempt(&kill, &mut nothing, &mut nobody, false));
        matches!(tokio::time::timeout(KILL_PATIENCE, attempt).await, Ok(Ok(ended)) if ended.status == 0)
    }
}

/// A command that is talked to, in the parts that are used at the same time.
pub(in super::super) struct Session {
    /// What it reads.
    pub(in super::super) stdin: ChildStdin,
    /// What it says.
    pub(in super::super) stdout: ChildStdout,
    /// What was read of that already.
    pub(in super::super) rest: Vec<u8>,
    /// Its end.
    pub(in super::super) end: SessionEnd,
}

impl Session {
    /// The next line that it says, without its end; `None` if it says no more.
    ///
    /// # Errors
    /// What it says can't be read.
    pub(in super::super) async fn line(&mut self) -> Result<Option<String>, TunnelError> {
        loop {
            if let Some(length) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=length).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..length]).into_owned()));
            }
            let read = self.stdout.read_buf(&mut self.rest).await;
            match read.map_err(|error| TunnelError::Here(error.to_string()))? {
                // Lines are short: what is none is for somebody else to read.
                1.. if self.rest.len() < MOST_SAID => {}
                _ => return Ok(None),
            }
        }
    }
}

/// How a session ends. Dropping this cuts it off.
pub(in super::super) struct SessionEnd {
    child: Child,
    errors: ChildStderr,
    script: Script,
    said: Vec<u8>,
}

impl SessionEnd {
    /// Waits for the end: how the command has ended and its last words; nothing of its end if the connection broke. May be
    /// dropped and called again.
    pub(in super::super) async fn wait(&mut self) -> (Option<Told>, String) {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = self.errors.read(&mut piece).await {
            self.said.extend_from_slice(&piece[..length]);
            // The first mark is in the way of the last only if much is said: then what was said last counts.
            let surplus = self.said.len().saturating_sub(MOST_SAID);
            self.said.drain(..surplus);
        }
        let _ = self.child.wait().await;
        let errors = self.script.errors(std::mem::take(&mut self.said));
        let words = match (last_words(&errors.own), last_words(&errors.before)) {
            (own, before) if own.is_empty() => before,
            (own, _) => own,
        };
        (errors.told, words)
    }
}

#[async_trait]
impl Tunnel for SshConnection {
    fn name(&self) -> String {
        self.tunnel.name()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        let ship = super::super::ship::ship(self, self.tunnel.job_dir.as_deref());
        self.agent.get_or_try_init(|| ship).await.cloned()
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        let mut pause = BUSY_PAUSE;
        for _ in 1..BUSY_TRIES {
            match self.attempt(command, input, output, true).await {
                Err(TunnelError::Busy { .. }) => tokio::time::sleep(pause).await,
                other => return other,
            }
            pause *= 2;
        }
        self.attempt(command, input, output, true).await
    }
}

/// Reads up to the mark behind which the command's own output begins: the process, and what was read of the output.
/// Nothing if the other side ended before.
async fn begin(
    script: &Script,
    stdout: &mut ChildStdout,
) -> std::io::Result<Option<(i32, Vec<u8>)>> {
    let mut read = Vec::new();
    while read.len() < MOST_NOISE {
        if stdout.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        if let Some((position, process)) = script.begin(&read) {
            return Ok(Some((process, read.split_off(position))));
        }
    }
    Ok(None)
}
