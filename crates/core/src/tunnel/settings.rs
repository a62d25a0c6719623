//! Which tunnel, as documents say it: `tunnel = { kind = "ssh", host = "login", job_dir = "/scratch/me" }`.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cmd, LocalTunnel, Login, SshConnection, SshTunnel, Tunnel, TunnelError};
use crate::context::Context;

/// Where commands are run that submit jobs, and where jobs' files are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TunnelSettings {
    /// This machine.
    Local(LocalTunnel),
    /// Another machine, by `ssh`.
    Ssh(SshTunnel),
}

impl Default for TunnelSettings {
    fn default() -> TunnelSettings {
        TunnelSettings::Local(LocalTunnel::default())
    }
}

impl TunnelSettings {
    /// The folder for jobs' files.
    #[must_use]
    pub fn job_dir(&self) -> Option<&Utf8Path> {
        match self {
            TunnelSettings::Local(local) => local.job_dir.as_deref(),
            TunnelSettings::Ssh(ssh) => ssh.job_dir.as_deref(),
        }
    }

    /// Where an experiment's folder is, for the one that is `here` (`<home>/experiments/<title>/<id>`): in the folder for jobs'
    /// files, or where it is here.
    #[must_use]
    pub fn experiment_dir(&self, here: &Utf8Path) -> Utf8PathBuf {
        let mut names = here.components().rev().map(|part| part.as_str());
        match (self.job_dir(), names.next(), names.next()) {
            (Some(folder), Some(id), Some(title)) => folder.join(title).join(id),
            _ => here.to_owned(),
        }
    }

    /// The other side, for people: `this machine`, or `user@host:port`.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            TunnelSettings::Local(_) => super::local::NAME.to_owned(),
            TunnelSettings::Ssh(ssh) => ssh.name(),
        }
    }

    /// The folder where we keep what concerns this place: `$MIZZEN_HOME/places/<place>`. It may not be there yet.
    #[must_use]
    pub fn place_dir(&self, context: &Context) -> Utf8PathBuf {
        context.home.join("places").join(escaped(&self.place()))
    }

    /// A tunnel that connects when it is first used, heals by itself, and never asks anybody ([`Login::Silent`]).
    #[must_use]
    pub fn open(&self, context: &Context) -> Arc<dyn Tunnel> {
        match self {
            TunnelSettings::Local(local) => local.connect(context),
            TunnelSettings::Ssh(ssh) => ssh.open(context, Login::Silent),
        }
    }

    /// Logs in now, as far as `login` allows: for commands at a terminal, before anything is created. `say` gets what
    /// ssh says while it asks. On this machine there is nothing to do.
    ///
    /// # Errors
    /// As [`SshTunnel::connect`].
    pub async fn login(
        &self,
        context: &Context,
        login: Login,
        say: &(dyn Fn(&[u8]) + Sync),
    ) -> Result<(), TunnelError> {
        match self {
            TunnelSettings::Local(_) => Ok(()),
            TunnelSettings::Ssh(ssh) => ssh.connect(context, login, say).await.map(drop),
        }
    }
}

impl TunnelSettings {
    /// A command at this process's own terminal, or with its own streams: standard input and output are the other side's, the
    /// exit status is the command's (255 also where the connection broke). It needs a connection that is open
    /// ([`TunnelSettings::login`]). `terminal`: give it a terminal there, whose signals are the command's.
    ///
    /// # Errors
    /// No connection is open, or the command can't be sent.
    pub async fn session(
        &self,
        context: &Context,
        command: &Cmd,
        terminal: bool,
    ) -> Result<Session, TunnelError> {
        match self {
            TunnelSettings::Local(_) => {
                command.check()?;
                let mut program =
                    std::process::Command::new(&*command.program().unwrap_or_default());
                program
                    .args(&command.argv[1..])
                    .env_clear()
                    .envs(context.environment.iter())
                    .envs(&command.env)
                    .current_dir(match &command.cwd {
                        Some(folder) => context.workdir.join(folder),
                        None => context.workdir.clone(),
                    });
                Ok(Session {
                    program,
                    elsewhere: None,
                })
            }
            TunnelSettings::Ssh(ssh) => {
                let connection = ssh.connect(context, Login::Never, &|_| {}).await?;
                let (program, process) = connection.session_of_its_own(command, terminal).await?;
                let elsewhere = process.map(|process| (connection, process));
                Ok(Session { program, elsewhere })
            }
        }
    }

    /// The words of an `ssh` that leads from here to an address behind the place (`%h`, `%p`), as a `ProxyCommand` takes them:
    /// by the connection that is open now, or, once that has gone, by a login of its own. `None` where nothing is between.
    ///
    /// # Errors
    /// No connection is open.
    pub async fn proxy_command(&self, context: &Context) -> Result<Option<String>, TunnelError> {
        match self {
            TunnelSettings::Local(_) => Ok(None),
            TunnelSettings::Ssh(ssh) => {
                let connection = ssh.connect(context, Login::Never, &|_| {}).await?;
                connection.proxy_command().map(Some)
            }
        }
    }
}

/// A command that is ready to be run with this process's own streams.
#[derive(Debug)]
pub struct Session {
    /// What is to be run here: the command, or `ssh`.
    pub program: std::process::Command,
    /// The connection, and the file there that names the command's process.
    elsewhere: Option<(SshConnection, String)>,
}

impl Session {
    /// What the program gets from its terminal reaches the command. Otherwise it must be told by [`Session::end`].
    #[must_use]
    pub fn hears_signals(&self) -> bool {
        self.elsewhere.is_none()
    }

    /// Asks a command elsewhere to end, by SIGTERM.
    ///
    /// # Errors
    /// The other side is not reached, or the command is not there any more.
    pub async fn end(&self) -> Result<(), TunnelError> {
        if let Some((connection, process)) = &self.elsewhere {
            let command = Cmd::script(END, [process]).timeout(END_PATIENCE);
            connection.run(&command).await?.ok(&command)?;
        }
        Ok(())
    }
}

/// Ends the process that a file names, which may only just have been started.
const END: &str = r#"i=0
while [ ! -s "$1" ] && [ "$i" -lt 20 ]; do
    sleep 0.1
    i=$((i + 1))
done
kill -TERM "$(cat "$1")""#;
/// How long that may take.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// A text as the name of a folder: what is neither a letter nor a digit nor one of `.-_@:` becomes `%` and two digits.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@:".contains(&byte);
    text.bytes()
        .enumerate()
        .map(|(position, byte)| match byte {
            // No hidden folder, and none of the two that mean something else.
            b'.' if position == 0 => "%2E".to_owned(),
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_a_document() {
        let read = |text: &str| serde_json::from_str::<TunnelSettings>(text);
        assert_eq!(
            read(r#"{"kind":"local"}"#).unwrap(),
            TunnelSettings::default()
        );
        assert_eq!(TunnelSettings::default().job_dir(), None);
        let text =
            r#"{"kind":"ssh","host":"login","user":"ada","job_dir":"/scratch/ada","port":2222}"#;
        let ssh = read(text).unwrap();
        assert_eq!(ssh.place(), "ada@login:2222");
        assert_eq!(ssh.job_dir(), Some(Utf8Path::new("/scratch/ada")));
        assert_eq!(serde_json::to_string(&ssh).unwrap(), text);
        for wrong in [
            r#"{"kind":"ssh","host":"login","prot":22}"#,
            r#"{"kind":"ssh"}"#,
            r#"{"kind":"local","host":"x"}"#,
            r#"{"kind":"smoke"}"#,
            r#"{"host":"x"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_place_is_a_folder() {
        assert_eq!(escaped("ada@login:2222"), "ada@login:2222");
        assert_eq!(escaped("this machine"), "this%20machine");
        assert_eq!(escaped("a/../b%"), "a%2F..%2Fb%25");
        assert_eq!(escaped(".."), "%2E.");
    }
}
