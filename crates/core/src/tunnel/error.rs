//! What can go wrong on the way, told apart, with what to do.

use std::time::Duration;

/// A tunnel could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// The other side does not answer. Nothing was started there.
    #[error("{name} can't be reached: {words}")]
    Unreachable {
        /// The other side.
        name: String,
        /// What ssh said.
        words: String,
    },
    /// There is no open connection, and none may be opened. Nothing was started there.
    #[error("no connection to {name} is open")]
    NotOpen {
        /// The other side.
        name: String,
    },
    /// The other side does not let us in.
    #[error("{name} refused the login: {words}")]
    Authentication {
        /// The other side.
        name: String,
        /// What ssh said.
        words: String,
        /// Nobody was asked: a password, a code or a key's passphrase may be all that is missing.
        could_prompt: bool,
    },
    /// The other side shows another key than the one that is known.
    #[error("{name} shows another host key than the one that is known")]
    WrongHostKey {
        /// The other side.
        name: String,
    },
    /// The other side's key is not known.
    #[error("the host key of {name} is not known")]
    UnknownHost {
        /// The other side.
        name: String,
    },
    /// Settings, or ssh's configuration, are wrong.
    #[error("{name}: {words}")]
    Configuration {
        /// The other side.
        name: String,
        /// What is wrong.
        words: String,
    },
    /// All sessions of the connection are taken. Nothing was started there.
    #[error("{name} takes no more sessions over this connection")]
    Busy {
        /// The other side.
        name: String,
    },
    /// The connection broke while a command ran: it may have done its work, a part of it, or go on.
    #[error("the connection to {name} broke while a command ran: {words}")]
    Interrupted {
        /// The other side.
        name: String,
        /// What ssh said.
        words: String,
    },
    /// The command did not end in time and was ended.
    #[error("`{command}` did not end within {} s on {name}{}", .after.as_secs_f64(), if *.ended { "" } else { "; it may still run there" })]
    TimedOut {
        /// The other side.
        name: String,
        /// The command, as a shell would take it.
        command: String,
        /// The time.
        after: Duration,
        /// The other side has ended it.
        ended: bool,
    },
    /// The command said that it failed.
    #[error("`{command}` ended with status {status}{}{words}", if .words.is_empty() { "" } else { ": " })]
    Failed {
        /// The command, as a shell would take it.
        command: String,
        /// Its exit status.
        status: i32,
        /// Its last words.
        words: String,
    },
    /// The file or folder may not be read or written.
    #[error("no permission for {path} on {name}: {words}")]
    NoPermission {
        /// The other side.
        name: String,
        /// The path.
        path: String,
        /// What was said.
        words: String,
    },
    /// A folder or file is not what it should be: missing, or a folder where a file is wanted.
    #[error("{path} on {name}: {words}")]
    Path {
        /// The other side.
        name: String,
        /// The path.
        path: String,
        /// What is wrong.
        words: String,
    },
    /// `pre_command` failed; the command was not started.
    #[error("`pre_command` ended with status {status} on {name}{}{words}", if .words.is_empty() { "" } else { ": " })]
    PreCommand {
        /// The other side.
        name: String,
        /// Its exit status.
        status: i32,
        /// Its last words.
        words: String,
    },
    /// The command can't be run anywhere.
    #[error("the command can't be sent: {0}")]
    Unsendable(String),
    /// Something on this machine.
    #[error("{0}")]
    Here(String),
}

impl TunnelError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            TunnelError::Unreachable { .. } => {
                "see whether the network and its VPN are up, and whether `ssh` gets there by hand".to_owned()
            }
            TunnelError::NotOpen { name } => format!("`mizzen tunnel open {name}` opens one"),
            TunnelError::Authentication { name, could_prompt: true, .. } => {
                format!("`mizzen tunnel open {name}` in a terminal asks for what is missing (password, code, a key's passphrase), once")
            }
            TunnelError::Authentication { .. } => {
                "look at the user, the key (`ssh-add -l`) and the other side's authorized_keys".to_owned()
            }
            TunnelError::WrongHostKey { .. } => {
                "ask those who run the machine whether its key has changed; only then remove the old one with `ssh-keygen -R HOST`".to_owned()
            }
            TunnelError::UnknownHost { .. } => {
                "connect once by hand with `ssh` and compare the key's fingerprint; `mizzen tunnel open` in a terminal asks as well".to_owned()
            }
            TunnelError::Configuration { .. } => "correct the tunnel's settings or ~/.ssh/config".to_owned(),
            TunnelError::Busy { .. } => "wait until other commands have ended".to_owned(),
            TunnelError::Interrupted { .. } => {
                "the connection can be opened again; look first at what the command has done".to_owned()
            }
            TunnelError::NoPermission { .. } | TunnelError::Path { .. } => {
                "choose another folder, `job_dir` in the tunnel's settings".to_owned()
            }
            TunnelError::PreCommand { .. } => "try it by hand in a shell on the other side".to_owned(),
            TunnelError::TimedOut { .. }
            | TunnelError::Failed { .. }
            | TunnelError::Unsendable(_)
            | TunnelError::Here(_) => return None,
        };
        Some(hint)
    }

    /// The other side could not be reached, or did not let us in, and nothing was started there.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            TunnelError::Unreachable { .. }
                | TunnelError::NotOpen { .. }
                | TunnelError::Authentication { .. }
                | TunnelError::WrongHostKey { .. }
                | TunnelError::UnknownHost { .. }
                | TunnelError::Busy { .. }
        )
    }

    /// Whether a command may have been started before this went wrong.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        matches!(
            self,
            TunnelError::Interrupted { .. } | TunnelError::TimedOut { .. }
        )
    }
}
