//! This machine: no shell between the words of a command and execve(2).

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Cmd, Ended, GRACE, Input, Output, Tunnel, TunnelError};
use crate::context::Context;

/// Jobs are submitted on this machine. The name and the field are NeMo-Run's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalTunnel {
    /// The folder for jobs' files; without it they stay in the experiment's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job_dir: Option<Utf8PathBuf>,
}

/// This machine, for people.
pub(super) const NAME: &str = "this machine";

impl LocalTunnel {
    /// A tunnel that ends where it begins.
    #[must_use]
    pub fn connect(&self, context: &Context) -> Arc<dyn Tunnel> {
        Arc::new(Here {
            context: context.clone(),
            job_dir: self.job_dir.clone(),
            agent: OnceCell::new(),
        })
    }
}

struct Here {
    context: Context,
    job_dir: Option<Utf8PathBuf>,
    agent: OnceCell<Option<Utf8PathBuf>>,
}

#[async_trait]
impl Tunnel for Here {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn context(&self) -> &Context {
        &self.context
    }

    async fn agent(&self) -> Result<Option<Utf8PathBuf>, TunnelError> {
        let Some(job_dir) = &self.job_dir else {
            let path = self.context.agent.path(&self.context.home);
            return path
                .map(Some)
                .map_err(|error| TunnelError::Here(error.to_string()));
        };
        // Jobs may run elsewhere, but the folder is one that this machine sees.
        let folder = self.context.workdir.join(job_dir);
        let ship = super::ship::ship(self, Some(&folder));
        self.agent.get_or_try_init(|| ship).await.cloned()
    }

    async fn exec(
        &self,
        command: &Cmd,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<Ended, TunnelError> {
        command.check()?;
        let folder = match &command.cwd {
            Some(folder) => self.context.workdir.join(folder),
            None => self.context.workdir.clone(),
        };
        if let Err(error) = fs_err::read_dir(&folder) {
            return Err(TunnelError::Path {
                name: self.name(),
                path: folder.into_string(),
                words: error.kind().to_string(),
            });
        }
        let program = command.program().unwrap_or_default();
        let mut child = Command::new(&*program);
        child
            .args(&command.argv[1..])
            .env_clear()
            .envs(self.context.environment.iter())
            .envs(&command.env)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = match child.spawn() {
            Ok(child) => child,
            // As a shell has it, so that both kinds of tunnels answer alike.
            Err(error) => {
                let status = if error.kind() == std::io::ErrorKind::NotFound {
                    127
                } else {
                    126
                };
                let stderr = format!("{program}: {error}\n").into_bytes();
                return Ok(Ended { status, stderr });
            }
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let (stdin, stdout, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(mut stdout), Some(mut errors)) = (stdin, stdout, errors) else {
            unreachable!("all three are pipes");
        };
        let mut stderr = Vec::new();
        let run = async {
            let copied = async { tokio::io::copy(&mut stdout, output).await.map(drop) };
            let said = async { errors.read_to_end(&mut stderr).await.map(drop) };
            let read = async {
                tokio::try_join!(copied, said)?;
                child.wait().await
            };
            feed_until(input, stdin, read).await
        };
        let status = match command.timeout {
            None => run.await,
            Some(after) => match tokio::time::timeout(after, run).await {
                Ok(status) => status,
                Err(_) => {
                    end_group(group, &mut child).await;
                    return Err(TunnelError::TimedOut {
                        name: self.name(),
                        command: command.to_string(),
                        after,
                        ended: true,
                    });
                }
            },
        };
        let status = status.map_err(|error| TunnelError::Here(error.to_string()))?;
        let status = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        Ok(Ended { status, stderr })
    }
}

/// Ends a process group: politely, then by force.
async fn end_group(group: Option<i32>, child: &mut tokio::process::Child) {
    use nix::sys::signal::{Signal, killpg};
    let Some(group) = group.map(nix::unistd::Pid::from_raw) else {
        return;
    };
    let _ = killpg(group, Signal::SIGTERM);
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
    // Also when the leader has gone: others of its group may ignore SIGTERM.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait().await;
}

/// Feeds a process while `work` reads what it says. A process that does not read to the end is no error; input that can't
/// be read is.
pub(super) async fn feed_until<T>(
    input: Input<'_>,
    mut stdin: tokio::process::ChildStdin,
    work: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    let feed = async move {
        match tokio::io::copy(input, &mut stdin).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
        let _ = stdin.shutdown().await;
        drop(stdin);
        Ok(())
    };
    tokio::pin!(feed);
    tokio::pin!(work);
    tokio::select! {
        fed = &mut feed => {
            fed?;
            work.await
        }
        done = &mut work => done,
    }
}
