//! Runs commands and moves files where jobs are submitted: on this machine, or on another by the system's `ssh`.
//!
//! ```text
//!                  ┌ LocalTunnel ─────────────────────────┐
//! TunnelSettings ──┤                                      ├─▶ Tunnel ── run(Cmd) ──▶ Finished: status, stdout, stderr
//!        open      └ SshTunnel ── channel ── ssh: master ─┘     ├─ put, get           files and folders, whole or not at all
//!                                                               ├─ exec               the same with streams
//!                                                               └─ agent              mizzen-agent, on the other side
//! ```
//!
//! [`TunnelSettings`] are values that hold no connection. [`TunnelSettings::open`] answers with a [`Tunnel`] that connects
//! when it is used, and again when the connection broke (`channel`); [`TunnelSettings::login`] is for people at a terminal.
//! [`SshTunnel::connect`] gives the plain connection below, for those who want to know about it. A command is a value too ([`Cmd`]): nobody writes text for a shell but [`quote`].
//!
//! Pitfalls:
//! - ssh's exit status 255 may be the command's own, a lost connection, a refused session or a refused login. So each
//!   remote command prints its own status at its end, and only that is believed (`ssh/script.rs`).
//! - `ssh` that finds its master dead logs in anew by itself: for people with a second factor that is a prompt out of
//!   nowhere. Every use of a master is told of a way to connect that always fails (`ssh/master.rs`), so that only
//!   [`SshTunnel::connect`] logs in, and only as its [`Login`] allows.
//! - A connection that broke after a command had begun says nothing about the command: [`TunnelError::Interrupted`] is
//!   neither success nor failure, and repeating is the caller's decision.
//!
//! One more kind of tunnel: a file here with its settings, a variant of [`TunnelSettings`], and implementations of
//! [`Tunnel::exec`] and [`Tunnel::agent`] (for which `ship` does the work); files follow from it.

mod archive;
mod channel;
mod command;
mod deliver;
mod error;
mod follow;
mod local;
mod mirror;
mod settings;
mod ship;
mod ssh;
mod ssh_config;
mod transfer;

use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::Context;

pub use archive::Archive;
pub(crate) use archive::add as add_to_archive;
pub use channel::{ConnectionFact, ConnectionState, connection};
pub use command::{Cmd, quote};
pub use deliver::{DeliverError, deliver};
pub use error::TunnelError;
pub use follow::follow_without_agent;
pub use local::LocalTunnel;
pub use mirror::{mirror, mirror_once};
pub use settings::{Session, TunnelSettings};
pub use ssh::{Login, OpenMaster, SshConnection, SshTunnel, open_masters};
pub use ssh_config::SshConfigFile;

/// What a command reads.
pub type Input<'a> = &'a mut (dyn AsyncRead + Send + Unpin);
/// Where a command's standard output goes.
pub type Output<'a> = &'a mut (dyn AsyncWrite + Send + Unpin);

/// A way to the machine where jobs are submitted.
#[async_trait]
pub trait Tunnel: Send + Sync {
    /// The other side, for people: `user@host`.
    fn name(&self) -> String;

    /// What this side was told.
    fn context(&self) -> &Context;

    /// The agent's executable on the other side. It is sent there once for each version and tried: `None` where it can't
    /// run (another processor or system, a file system that executes nothing). Asked once a connection.
    ///
    /// # Errors
    /// As [`Tunnel::exec`]; the file can't be read here or written there.
    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError>;

    /// Runs a command: `input` is its standard input (not [`Cmd::stdin`]), its standard output goes to `output`.
    ///
    /// # Errors
    /// The other side was not reached, the connection broke, the command can't be sent, or its time ran out (it was ended
    /// then, as far as the other side could be told). A command that ended with a status other than 0 is no error here.
    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError>;

    /// Runs a command and keeps what it prints.
    ///
    /// # Errors
    /// As [`Tunnel::exec`].
    async fn run(&self, command: &Cmd) -> Result<Finished, TunnelError> {
        let mut stdout = Vec::new();
        let mut input = &command.stdin[..];
        let ended = self.exec(command, &mut input, &mut stdout).await?;
        Ok(Finished {
            status: ended.status,
            stdout,
            stderr: ended.stderr,
        })
    }

    /// Copies a file or a folder of this machine to `there`, which is replaced. Permissions and times are kept, owners
    /// are not. Folders above `there` are made, 0700. A file is replaced in one step; of a folder the old one is gone for
    /// a moment. Until then what was there stays as it is.
    ///
    /// # Errors
    /// As [`Tunnel::exec`]; the file can't be read here or written there.
    async fn put(&self, here: &Utf8Path, there: &Utf8Path) -> Result<(), TunnelError> {
        transfer::put(self, here, there).await
    }

    /// Copies a file or a folder from there to this machine; otherwise as [`Tunnel::put`].
    ///
    /// # Errors
    /// As [`Tunnel::put`].
    async fn get(&self, there: &Utf8Path, here: &Utf8Path) -> Result<(), TunnelError> {
        transfer::get(self, there, here).await
    }
}

/// How a command ended whose output went elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; 128 + the signal's number if a signal ended it, as shells have it.
    pub status: i32,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// As [`Ended::status`].
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// The same if its status is 0.
    ///
    /// # Errors
    /// [`TunnelError::Failed`] with the command's last words.
    pub fn ok(self, command: &Cmd) -> Result<Finished, TunnelError> {
        if self.status == 0 {
            return Ok(self);
        }
        Err(TunnelError::Failed {
            command: command.to_string(),
            status: self.status,
            words: last_words(&self.stderr),
        })
    }
}

/// The last lines of what a program said, for a message.
fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// How long a process that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(3);
