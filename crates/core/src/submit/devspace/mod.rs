//! Devspaces: an sshd in a job, and an entry in ~/.ssh/config that leads to it.
//!
//! ```text
//! document ─▶ an ordinary experiment ─▶ sshd.sh on a node ─▶ <job>/devspace/where: user, port, hosts, host key
//!                                                                 │ by the tunnel
//! ssh NAME ─▶ ~/.ssh/config: Host NAME ─ ProxyCommand through the tunnel's connection ─▶ sshd of the job
//! ```
//!
//! The key is made for one devspace and stays on this machine; the host key is made by the job, and is known because the
//! file that names it comes by the tunnel. What belongs to a devspace stands in `$MIZZEN_HOME/devspaces/<name>` (0700).
//!
//! Pitfall: a job that starts again does so on another node, with another port and key. [`Devspace::enter`] may be called
//! at any time and makes the entry right.

use std::io;
use std::net::Ipv6Addr;
use std::process::Stdio;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::{Context, create_private_dir, write_file};
use crate::model::{ExperimentId, Timestamp};
use crate::tunnel::{Cmd, SshConfigFile, Tunnel, TunnelError, TunnelSettings};

/// What runs on the node.
const SCRIPT: &str = include_str!("sshd.sh");
/// Prints a file once it is there, or nothing after some tenths of seconds.
const READ: &str = r#"i=0
while [ ! -s "$1" ] && [ "$i" -lt "$2" ]; do
    sleep 0.1
    i=$((i + 1))
done
[ ! -s "$1" ] || cat "$1""#;
/// How long one look for the file may wait at the place, in tenths of seconds.
const LOOK: u32 = 20;
/// A place that does not answer by then does not answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one address of a node is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// The longest name.
const LONGEST_NAME: usize = 40;
/// The title of devspaces' experiments.
pub const TITLE: &str = "devspace";

/// A devspace, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Devspace {
    /// Its name: the host for ssh.
    pub name: String,
    /// The experiment whose job it is.
    pub experiment: ExperimentId,
    /// The executor's name.
    pub executor: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// The configuration of ssh that it is entered in.
    pub ssh_config: Utf8PathBuf,
    /// Where it is, once it is entered.
    pub address: Option<Address>,
}

/// Where a devspace's sshd listens, as the job says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The user.
    pub user: String,
    /// The port.
    pub port: u16,
    /// Names and addresses of the node, the likelier ones first; after [`Devspace::enter`] the one that leads there.
    pub hosts: Vec<String>,
    /// The host key: its type and itself.
    pub key: String,
}

/// A devspace can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DevspaceError {
    /// The place can't be reached.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// A file can't be read or written.
    #[error("{0}")]
    Files(#[from] io::Error),
    /// What the job wrote makes no sense.
    #[error("the job's word on where its sshd listens is not understood: {0}")]
    Address(String),
    /// The job's sshd can't be reached.
    #[error("the sshd of the devspace can't be reached at any of {hosts}: {words}")]
    Unreachable {
        /// What was tried.
        hosts: String,
        /// What ssh said last.
        words: String,
    },
    /// `ssh-keygen` can't make a key.
    #[error("can't make a key with `ssh-keygen`: {0}")]
    Key(String),
}

/// Whether a devspace may have this name; why not, if not. It is a host's for ssh, and a task's.
///
/// # Errors
/// It may not.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() > LONGEST_NAME {
        return Err(format!(
            "the name is too long: at most {LONGEST_NAME} letters"
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        return Err(format!(
            "`{name}` can't be a devspace's name: it has letters, digits, `.`, `_` and `-`, and begins with a letter or digit"
        ));
    }
    Ok(())
}

/// The experiment of a devspace: one task, which serves this public key.
#[must_use]
pub fn document(name: &str, public_key: &str) -> serde_json::Value {
    json!({
        "title": TITLE,
        "tasks": [{
            "name": name,
            "description": "an sshd for one key, on the node that the job gets",
            "inline": SCRIPT,
            "env": {"MIZZEN_DEVSPACE_KEY": public_key.replace('$', "$$")},
        }],
    })
}

/// All devspaces, by name.
///
/// # Errors
/// The home can't be read.
pub fn all(context: &Context) -> io::Result<Vec<Devspace>> {
    let entries = match fs_err::read_dir(context.home.join("devspaces")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        if let Some(name) = entry?.file_name().to_str() {
            found.extend(find(context, name)?);
        }
    }
    found.sort_by(|one: &Devspace, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The devspace of this name.
///
/// # Errors
/// Its file can't be read.
pub fn find(context: &Context, name: &str) -> io::Result<Option<Devspace>> {
    if check_name(name).is_err() {
        return Ok(None);
    }
    match fs_err::read(folder(context, name).join("devspace.json")) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn folder(context: &Context, name: &str) -> Utf8PathBuf {
    context.home.join("devspaces").join(name)
}

/// Makes the folder of a devspace anew and a key in it. Answers with the public key.
///
/// # Errors
/// The home can't be written, or there is no `ssh-keygen`.
pub fn make_key(context: &Context, name: &str) -> Result<String, DevspaceError> {
    let folder = folder(context, name);
    let _ = fs_err::remove_dir_all(&folder);
    create_private_dir(&folder)?;
    let path = folder.join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", ""])
        .args(["-C", &format!("mizzen-devspace-{name}"), "-f"])
        .arg(&path)
        .env_clear()
        .envs(context.environment.iter())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            DevspaceError::Key(format!("{error}; Debian's package is openssh-client"))
        })?;
    if !made.status.success() {
        let words = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(DevspaceError::Key(words));
    }
    let key = fs_err::read_to_string(path.with_extension("pub"))?;
    Ok(key.trim().to_owned())
}

/// Where the job writes down where it is: in the experiment's folder at the place.
#[must_use]
pub fn where_file(experiment_dir: &Utf8Path, name: &str) -> Utf8PathBuf {
    experiment_dir.join(name).join("devspace/where")
}

/// Looks where the job says that it is, and waits a moment there if it says nothing yet.
///
/// # Errors
/// The place can't be reached, or the job's words are not understood.
pub async fn look(tunnel: &dyn Tunnel, file: &Utf8Path) -> Result<Option<Address>, DevspaceError> {
    let command = Cmd::script(READ, [file.to_string(), LOOK.to_string()]).timeout(PATIENCE);
    let found = tunnel.run(&command).await?.ok(&command)?;
    if found.stdout.is_empty() {
        return Ok(None);
    }
    Address::read(&String::from_utf8_lossy(&found.stdout)).map(Some)
}

impl Address {
    /// Reads the job's words, and takes none that could be more than they seem.
    fn read(text: &str) -> Result<Address, DevspaceError> {
        let (mut user, mut port, mut key, mut hosts) = (None, None, None, Vec::new());
        for line in text.lines() {
            let strange = || DevspaceError::Address(format!("{line:?}"));
            let (name, value) = line.split_once(' ').ok_or_else(strange)?;
            let plain = |more: &str| {
                let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
                !value.is_empty() && !value.starts_with('-') && value.chars().all(fits)
            };
            match name {
                "user" if plain("._-@\\") => user = Some(value.to_owned()),
                "port" => port = value.parse::<u16>().ok().filter(|port| *port > 0),
                "host" if plain("._-:") => {
                    if !hosts.iter().any(|known| known == value) {
                        hosts.push(value.to_owned());
                    }
                }
                "key" if plain(" +/=-.@") => key = Some(value.to_owned()),
                _ => return Err(strange()),
            }
        }
        let missing = |what: &str| DevspaceError::Address(format!("there is no {what}"));
        // A node's local addresses mean nothing elsewhere, and are tried last.
        hosts.sort_by_key(|host| {
            host.starts_with("fe80") || host.parse::<Ipv6Addr>().is_ok() && host.starts_with("fd")
        });
        if hosts.is_empty() {
            return Err(missing("host"));
        }
        Ok(Address {
            user: user.ok_or_else(|| missing("user"))?,
            port: port.ok_or_else(|| missing("port"))?,
            key: key.ok_or_else(|| missing("key"))?,
            hosts,
        })
    }

    /// The same node, port and key; of the hosts, one may have been chosen.
    fn is_same(&self, other: &Address) -> bool {
        (&self.user, self.port, &self.key) == (&other.user, other.port, &other.key)
    }
}

impl Devspace {
    /// Writes it down.
    ///
    /// # Errors
    /// The home can't be written.
    pub fn save(&self, context: &Context) -> io::Result<()> {
        let folder = folder(context, &self.name);
        let text = serde_json::to_vec_pretty(self)?;
        let temporary = folder.join("devspace.json.new");
        write_file(&temporary, &text, 0o600)?;
        fs_err::rename(temporary, folder.join("devspace.json"))
    }

    /// Finds which of the addresses leads to the sshd, and enters it in the configuration of ssh. Does nothing but that
    /// where it is entered already.
    ///
    /// # Errors
    /// No address leads there, or a file can't be written.
    pub async fn enter(
        &mut self,
        context: &Context,
        tunnel: &TunnelSettings,
        address: &Address,
    ) -> Result<(), DevspaceError> {
        let folder = folder(context, &self.name);
        let file = SshConfigFile::new(&self.ssh_config);
        let proxy = tunnel.proxy_command(context).await?;
        let known = format!("{} {}\n", self.alias(), address.key);
        write_file(&folder.join("known_hosts"), known.as_bytes(), 0o600)?;
        let known = self.address.clone().filter(|known| known.is_same(address));
        let hosts = known.map_or_else(|| address.hosts.clone(), |known| known.hosts);
        let mut words = String::new();
        for host in &hosts {
            let options = self.options(&folder, address, host, proxy.as_deref())?;
            let own = folder.join("config");
            let text = format!("Host {}\n{}\n", self.name, options.join("\n"));
            write_file(&own, text.as_bytes(), 0o600)?;
            match self.try_it(context, &own).await? {
                None => {
                    file.add_entry(&self.name, &options)?;
                    self.address = Some(Address {
                        hosts: vec![host.clone()],
                        ..address.clone()
                    });
                    self.save(context)?;
                    return Ok(());
                }
                Some(said) => words = said,
            }
        }
        Err(DevspaceError::Unreachable {
            hosts: hosts.join(", "),
            words,
        })
    }

    /// Takes it out of the configuration of ssh. Answers whether it was there.
    ///
    /// # Errors
    /// The file can't be written, or the entry is damaged.
    pub fn leave(&self) -> io::Result<bool> {
        SshConfigFile::new(&self.ssh_config).remove_entry(&self.name)
    }

    /// Removes its folder, and with it its key.
    ///
    /// # Errors
    /// As rmdir(2).
    pub fn forget(&self, context: &Context) -> io::Result<()> {
        match fs_err::remove_dir_all(folder(context, &self.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn alias(&self) -> String {
        format!("mizzen-devspace-{}", self.name)
    }

    /// The entry's lines.
    fn options(
        &self,
        folder: &Utf8Path,
        address: &Address,
        host: &str,
        proxy: Option<&str>,
    ) -> io::Result<Vec<String>> {
        let proxy = proxy.unwrap_or("none");
        if proxy.contains(['\n', '\r']) {
            return Err(io::Error::other(
                "the tunnel's settings hold a line end, which no line of ssh's configuration can carry",
            ));
        }
        Ok(vec![
            format!("HostName {host}"),
            format!("Port {}", address.port),
            format!("User \"{}\"", address.user.replace('\\', "\\\\")),
            format!("HostKeyAlias {}", self.alias()),
            format!("UserKnownHostsFile {}", word(&folder.join("known_hosts"))?),
            "GlobalKnownHostsFile /dev/null".to_owned(),
            "StrictHostKeyChecking yes".to_owned(),
            "CheckHostIP no".to_owned(),
            format!("IdentityFile {}", word(&folder.join("key"))?),
            "IdentitiesOnly yes".to_owned(),
            "ServerAliveInterval 30".to_owned(),
            format!("ProxyCommand {proxy}"),
        ])
    }

    /// Logs in and does nothing; what ssh says if that does not work.
    async fn try_it(
        &self,
        context: &Context,
        config: &Utf8Path,
    ) -> Result<Option<String>, DevspaceError> {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args(["-F", config.as_str(), "-T", "-o", "BatchMode=yes"])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"])
            .args(["--", &self.name, "true"])
            .env_clear()
            .envs(context.environment.iter())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        match tokio::time::timeout(CONNECT_PATIENCE, ssh.output()).await {
            Err(_) => Ok(Some("it does not answer".to_owned())),
            Ok(output) => {
                let output = output?;
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.trim().replace("\r\n", "; ").replace('\n', "; ");
                Ok((!output.status.success()).then_some(said))
            }
        }
    }
}

/// A path as one word of ssh's configuration.
fn word(path: &Utf8Path) -> io::Result<String> {
    let text = path.as_str();
    if text.contains("${") || text.chars().any(|c| c.is_control() || "\"\\".contains(c)) {
        return Err(io::Error::other(format!(
            "ssh can't take the path {text:?}: choose another MIZZEN_HOME"
        )));
    }
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_names() {
        for name in ["dev", "gpu-dev", "a.b_c", "1"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "x".repeat(41);
        for name in ["", "-x", "*", "a b", "../a", ".", "a/b", "\u{e4}", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_jobs_words_are_read_with_care() {
        let good =
            "user ada\nport 23456\nhost n1\nhost 10.0.0.1\nhost n1\nkey ssh-ed25519 AAAA+/=\n";
        let address = Address::read(good).unwrap();
        assert_eq!((&*address.user, address.port), ("ada", 23456));
        assert_eq!(address.hosts, ["n1", "10.0.0.1"]);
        assert_eq!(address.key, "ssh-ed25519 AAAA+/=");
        for (from, to) in [
            ("ada", "ada\nProxyCommand x"),
            ("user ada\n", ""),
            ("23456", "0"),
            ("23456", "99999"),
            ("host n1", "host -oProxyCommand=x"),
            ("host 10.0.0.1", "host $(x)"),
            ("host 10.0.0.1", "host a b"),
            ("AAAA+/=", "AAAA\"\n"),
            ("port", "Port"),
        ] {
            assert!(Address::read(&good.replace(from, to)).is_err(), "{to}");
        }
        assert!(Address::read("").is_err());
    }

    #[test]
    fn an_entry_says_everything_that_others_could_say() {
        let devspace = Devspace {
            name: "dev".to_owned(),
            experiment: ExperimentId::from_bytes(&[7; 10]),
            executor: "gpu".to_owned(),
            created: Timestamp::from_jiff(jiff::Timestamp::UNIX_EPOCH),
            ssh_config: "/c".into(),
            address: None,
        };
        let address =
            Address::read("user ada\nport 2222\nhost n1\nkey ssh-ed25519 AAAA\n").unwrap();
        let folder = Utf8Path::new("/my home/100%/dev");
        let lines = devspace
            .options(
                folder,
                &address,
                "n1",
                Some("ssh -S x -W '[%h]:%p' -- login"),
            )
            .unwrap();
        assert_eq!(
            lines,
            [
                "HostName n1",
                "Port 2222",
                "User \"ada\"",
                "HostKeyAlias mizzen-devspace-dev",
                "UserKnownHostsFile \"/my home/100%%/dev/known_hosts\"",
                "GlobalKnownHostsFile /dev/null",
                "StrictHostKeyChecking yes",
                "CheckHostIP no",
                "IdentityFile \"/my home/100%%/dev/key\"",
                "IdentitiesOnly yes",
                "ServerAliveInterval 30",
                "ProxyCommand ssh -S x -W '[%h]:%p' -- login",
            ]
        );
        let odd = devspace.options(Utf8Path::new("/a\"b"), &address, "n1", None);
        assert!(odd.is_err());
        let odd = devspace.options(folder, &address, "n1", Some("a\nb"));
        assert!(odd.is_err());
    }
}
