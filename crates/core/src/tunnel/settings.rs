//! Which tunnel, as documents say it: `tunnel = { kind = "ssh", host = "login", job_dir = "/scratch/me" }`.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalTunnel, Login, SshTunnel, Tunnel, TunnelError};
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
