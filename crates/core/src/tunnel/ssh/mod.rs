//! Another machine, by the system's `ssh`: the user's own configuration, agent, jump hosts and host-key checking.
//!
//! ```text
//! SshTunnel ── connect(Login) ──▶ a master of the user's own? ── or one of ours? ── else log in, once ──▶ SshConnection
//!                                                                                                            │ exec
//!                       ssh -S SOCKET … 'exec sh -c …'  (can't log in: its ProxyCommand is `false`)  ◀───────┘
//! ```
//!
//! `master.rs` finds, opens and closes masters; `script.rs` wraps commands; `words.rs` reads what ssh says.

mod alive;
mod connection;
mod master;
mod script;
mod words;

use std::sync::Arc;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::{Tunnel, TunnelError};
use crate::context::Context;

pub use connection::SshConnection;
pub(super) use connection::{Session, SessionEnd};
pub use master::{OpenMaster, open_masters};
pub(super) use script::Told;

/// Jobs are submitted on another machine, reached by `ssh`. Names and fields are NeMo-Run's; `ssh_config` is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshTunnel {
    /// The machine: a name of ~/.ssh/config or of the network, or an address.
    pub host: String,
    /// The user there; without it, what ~/.ssh/config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder for jobs' files there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job_dir: Option<Utf8PathBuf>,
    /// The port; without it, what ~/.ssh/config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The file of a private key. It is offered first; an agent's other keys are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub identity: Option<Utf8PathBuf>,
    /// The shell that runs `pre_command` and then the command, such as `bash -l`; without it, `sh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Shell text that runs before each command, such as `module load slurm`; what it prints is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_command: Option<String>,
    /// Another file than ~/.ssh/config, as ssh's `-F` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ssh_config: Option<Utf8PathBuf>,
}

/// What may be done to get a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Use one that is open.
    Never,
    /// Log in if none is open, with what asks nobody: keys and agents.
    Silent,
    /// Log in if none is open; ssh may ask on the terminal, once.
    Terminal,
}

impl SshTunnel {
    /// A tunnel to a host, with everything else as ~/.ssh/config says.
    pub fn new(host: impl Into<String>) -> SshTunnel {
        SshTunnel {
            host: host.into(),
            user: None,
            job_dir: None,
            port: None,
            identity: None,
            shell: None,
            pre_command: None,
            ssh_config: None,
        }
    }

    /// The other side, for people: `user@host`.
    #[must_use]
    pub fn name(&self) -> String {
        let host = match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        };
        match self.port {
            Some(port) if host.contains(':') => format!("[{host}]:{port}"),
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }

    /// A connection: one that is open, or a new one, as far as `login` allows. `say` gets what ssh says while it asks on
    /// the terminal.
    ///
    /// # Errors
    /// The settings are wrong, or the other side can't be reached or does not let us in.
    pub async fn connect(
        &self,
        context: &Context,
        login: Login,
        say: &(dyn Fn(&[u8]) + Sync),
    ) -> Result<SshConnection, TunnelError> {
        self.check()?;
        let master = master::get(self, context, login, say).await?;
        Ok(SshConnection::new(self.clone(), context.clone(), master))
    }

    /// A tunnel that connects when it is first used, as far as `login` allows, and heals by itself. It never asks anybody:
    /// [`Login::Terminal`] is taken for [`Login::Silent`].
    #[must_use]
    pub fn open(&self, context: &Context, login: Login) -> Arc<dyn Tunnel> {
        Arc::new(Channel::new(self, context, login))
    }

    /// The name or address that ssh connects to: `HostName` of its configuration. Nothing is connected to.
    ///
    /// # Errors
    /// The settings are wrong, or `ssh` can't be run.
    pub async fn host_name(&self, context: &Context) -> Result<String, TunnelError> {
        self.check()?;
        master::host_name(self, context).await
    }

    /// Closes the connection of ours, if one is open. The user's own are left alone. Answers whether one was open.
    ///
    /// # Errors
    /// The settings are wrong, or `ssh` can't be run.
    pub async fn close(&self, context: &Context) -> Result<bool, TunnelError> {
        self.check()?;
        master::close(self, context).await
    }

    /// Whether ssh can be given these texts, which it takes for options, patterns and parts of command lines if it can.
    fn check(&self) -> Result<(), TunnelError> {
        let wrong = |words: String| {
            Err(TunnelError::Configuration {
                name: self.host.clone(),
                words,
            })
        };
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && !text.ends_with('\\')
                && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        };
        let host = |c: char| c.is_ascii_alphanumeric() || ".-_:%[]".contains(c);
        if !plain(&self.host) || !self.host.chars().all(host) {
            return wrong(format!("{:?} is no host", self.host));
        }
        if let Some(user) = &self.user
            && (!plain(user) || user.chars().any(|c| "'`\";&<>|(){}$%".contains(c)))
        {
            return wrong(format!("{user:?} is no user"));
        }
        if self.port == Some(0) {
            return wrong("0 is no port".to_owned());
        }
        for path in [&self.identity, &self.ssh_config].into_iter().flatten() {
            if path.as_str().is_empty()
                || path.as_str().chars().any(char::is_control)
                || path.as_str().contains("${")
            {
                return wrong(format!("ssh can't take the path {path:?}"));
            }
        }
        if let Some(shell) = &self.shell {
            let sign = |c: char| c.is_ascii_alphanumeric() || "/._+=- ".contains(c);
            if shell.trim().is_empty() || shell.starts_with('-') || !shell.chars().all(sign) {
                return wrong(format!(
                    "{shell:?} is no shell: words of plain signs are, such as `bash -l`"
                ));
            }
        }
        if self
            .pre_command
            .as_ref()
            .is_some_and(|text| text.contains('\0'))
        {
            return wrong("`pre_command` holds a NUL byte".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_settings_are_refused() {
        let with = |change: &dyn Fn(&mut SshTunnel)| {
            let mut tunnel = SshTunnel::new("host");
            change(&mut tunnel);
            tunnel.check()
        };
        for host in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\n",
            "$(x)",
            "a;b",
            "a'b",
            "`x`",
            "h\u{e4}",
        ] {
            assert!(with(&|t| t.host = host.to_owned()).is_err(), "{host:?}");
        }
        for user in ["", "-l", "a b", "a;b", "a\\", "$(x)", "%h"] {
            assert!(
                with(&|t| t.user = Some(user.to_owned())).is_err(),
                "{user:?}"
            );
        }
        for shell in ["", " ", "-c", "sh -c 'x'", "sh;x", "$SHELL"] {
            assert!(
                with(&|t| t.shell = Some(shell.to_owned())).is_err(),
                "{shell:?}"
            );
        }
        for path in ["", "a\nb", "${HOME}/x"] {
            assert!(
                with(&|t| t.identity = Some(path.into())).is_err(),
                "{path:?}"
            );
        }
        for host in [
            "login.example.org",
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "gpu_1",
        ] {
            assert!(with(&|t| t.host = host.to_owned()).is_ok(), "{host:?}");
        }
        for user in ["ada", "DOMAIN\\ada", "ada@example.org"] {
            assert!(
                with(&|t| t.user = Some(user.to_owned())).is_ok(),
                "{user:?}"
            );
        }
        assert!(with(&|t| t.shell = Some("bash -l".to_owned())).is_ok());
    }

    #[test]
    fn settings_are_a_document() {
        let text = r#"{"host":"login","user":"ada","job_dir":"/scratch/ada","port":2222,"identity":"~/.ssh/id"}"#;
        let tunnel: SshTunnel = serde_json::from_str(text).unwrap();
        assert_eq!(tunnel.name(), "ada@login:2222");
        let back = serde_json::to_value(&tunnel).unwrap();
        assert_eq!(
            back,
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
        assert!(serde_json::from_str::<SshTunnel>(r#"{"host":"login","prot":22}"#).is_err());
    }
}
